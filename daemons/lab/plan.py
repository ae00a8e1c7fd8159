"""The lab -> what fabricd sends to its switches and its hostd.

Knows: the two values of `configure` (ARCHITECTURE.md), which end of a link listens. Refuses to know: where sockets and
keys are (`Places` is asked), processes, what is running now (`actions`), other machines than hosts (`machine_plan`).
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from . import monitors
from .actions import Action as Action
from .actions import actions as actions
from .fields import Z85_KEY
from .lab import End, Host, Lab, Link, Nic, Port
from .machine_plan import interface_rows, monitor_path, nic_path
from .machines import TAPPED
from .plugs import row

Config = dict[str, Any]


class Places(Protocol):
    """Where things are; fabricd has one, and the planner only asks."""

    def endpoint(self, node: str) -> str:
        """The ipc endpoint of a switch, without `#port`."""
        ...

    def qemu_path(self, node: str, port: str) -> str:
        """The unix socket of a qemu port that the file gives no path for."""
        ...

    def run_file(self, name: str) -> str:
        """The path of a file of that name in the run folder."""
        ...

    def tcp_endpoint(self, link: Link) -> str:
        """Where a `transport: tcp` link is listened for, like tcp://127.0.0.1:40001; the same answer every time."""
        ...

    def public_key(self, name: str) -> str:
        """The Z85 public key of that name in the user's key folder."""
        ...

    def key_file(self, name: str) -> str:
        """The file with the key pair of that name."""
        ...


def listens(lab: Lab, link: Link) -> End:
    """The end of a link that listens: a switch towards a machine, else the first by name, so that both ends agree."""
    for end, other in ((link.a, link.b), (link.b, link.a)):
        if other.node in lab.hosts:
            return end
    return min(link.a, link.b)


def switch_config(lab: Lab, node: str, places: Places, epoch: int) -> Config:
    """What `configure` carries to the switchd of `node`."""
    switch = lab.switches[node]
    linked = lab.link_of()
    ports = [
        _port(lab, End(node, port.name), port, linked.get(End(node, port.name)), places)
        for port in switch.ports.values()
    ]
    return {
        "name": node,
        "lab": lab.name,
        "epoch": epoch,
        "ageing_s": switch.ageing_s,
        "mac_limit": switch.mac_limit,
        "vlans": {str(vid): name for name, vid in lab.vlans.items()},
        "vlans_settings": switch.vlans.to_json(),
        "mirrors": [mirror.to_json() for mirror in switch.mirrors],
        "static": [station._asdict() for station in switch.static],
        "listen": _listen(lab, node, places),
        "ports": ports,
    }


def switch_configs(lab: Lab, places: Places, epoch: int) -> dict[str, Config]:
    """All of them, by name, in the file's order."""
    return {node: switch_config(lab, node, places, epoch) for node in lab.switches}


def host_config(lab: Lab, places: Places, epoch: int) -> Config:
    """What `configure` carries to the lab's hostd, which has the nodes of kind host."""
    plugged = {host: (link, end) for link, host, end in lab.nic_links()}
    hosts = [_host(lab, host, plugged, places) for host in lab.of_kind("host")]
    return {"lab": lab.name, "epoch": epoch, "hosts": hosts}


def _listen(lab: Lab, node: str, places: Places) -> list[Config]:
    """Where the switch listens: its ipc endpoint, and every TCP address once."""
    tcp = [
        places.tcp_endpoint(link) for link in lab.links if link.transport == "tcp" and listens(lab, link).node == node
    ]
    wanted = (port.tcp for port in lab.switches[node].ports.values())
    tcp += [f"tcp://{peer.listen}" for peer in wanted if peer is not None and peer.listen is not None]
    key_file = places.key_file(lab.name) if tcp else None
    entries = [{"endpoint": endpoint, "key_file": key_file} for endpoint in dict.fromkeys(tcp)]
    return [{"endpoint": places.endpoint(node)}, *entries]


def _port(lab: Lab, end: End, port: Port, link: Link | None, places: Places) -> Config:
    blocked = link is not None and link.index in lab.blocked
    made: Config = {"name": port.name, **port.settings.to_json(), "kind": "listen", "peer": ""}
    if blocked:
        made["state"] = "blocked"
    if link is None:
        return made | _open(end, lab, port, places)
    nic = link.other(end.node)
    kind = lab.hosts[nic.node].kind if nic.node in lab.hosts else "switch"
    if kind in ("switch", "host"):
        return made | _linked(lab, end, link, places)
    if kind == "external":
        return made | _open(end, lab, port, places) | {"peer": str(nic)}
    return made | _machine(kind, nic, nic_path(lab, nic, end, places), places)


def _machine(kind: str, nic: End, path: str, places: Places) -> Config:
    """The port of a machine that another daemon runs; path: where they meet."""
    made: Config = {"peer": str(nic), "path": path}
    if kind in TAPPED:
        return made | {"kind": "tap", "offload": True}
    return made | {"kind": "qemu", "role": "dial", "qmp": monitor_path(nic, places), "netdev": nic.port}


def _open(end: End, lab: Lab, port: Port, places: Places) -> Config:
    """What a port is by its own keys."""
    if port.tcp is not None:
        return _tcp(lab, port, places)
    monitor = monitors.row(port.monitor, *end, places.run_file) if port.monitor is not None else {}
    if port.qemu is not None:
        path = port.qemu.path or places.qemu_path(*end)
        return {"kind": "qemu", "peer": "a QEMU guest", "role": port.qemu.role, "path": path, **monitor}
    if port.plug is not None:
        return {**row(port.plug, places.run_file), **monitor}
    return {}


def _linked(lab: Lab, end: End, link: Link, places: Places) -> Config:
    peer = link.other(end.node)
    secured = link.transport == "tcp"
    if listens(lab, link) == end:
        allow = {"allow": [places.public_key(lab.name)]} if secured else {}
        return {"peer": str(peer), **allow}
    key = {"key_file": places.key_file(lab.name)} if secured else {}
    return {"kind": "dial", "peer": str(peer), "endpoint": _dialed(lab, link, places), **key}


def _dialed(lab: Lab, link: Link, places: Places) -> str:
    """The endpoint of a link's listening end, as its other end dials it. Within a lab both ends have the lab's key."""
    far = listens(lab, link)
    if link.transport == "tcp":
        return f"{places.tcp_endpoint(link)}?key={places.public_key(lab.name)}#{far.port}"
    return f"{places.endpoint(far.node)}#{far.port}"


def _tcp(lab: Lab, port: Port, places: Places) -> Config:
    peer = port.tcp
    assert peer is not None
    literal = re.fullmatch(Z85_KEY, peer.peer) is not None
    key = peer.peer if literal else places.public_key(peer.peer)
    name = "a switch of another lab" if literal else f"lab {peer.peer}"
    if peer.listen is not None:
        return {"peer": name, "allow": [key]}
    endpoint = f"tcp://{peer.connect}?key={key}#{peer.port}"
    return {"kind": "dial", "peer": name, "endpoint": endpoint, "key_file": places.key_file(lab.name)}


def _host(lab: Lab, host: Host, plugged: dict[End, tuple[Link, End]], places: Places) -> Config:
    links = {name: plugged[end][0] for name in host.nics if (end := End(host.name, name)) in plugged}
    return {"name": host.name, "nics": [_nic(lab, host.nics[name], link, places) for name, link in links.items()]}


def _nic(lab: Lab, nic: Nic, link: Link, places: Places) -> Config:
    return {
        "name": nic.name,
        "mac": nic.mac,
        "endpoint": _dialed(lab, link, places),
        "key_file": places.key_file(lab.name) if link.transport == "tcp" else None,
        "interfaces": interface_rows(nic),
    }
