"""A lab in this process, for journeys: switches on a bench, wired by a few words.

Knows: the configuration values that a Wiring is made of, copies by snapshot and restore. Refuses to know: processes.
"""

from __future__ import annotations

import json
from typing import Any

from netvirt.settings import Mirror, PortSettings, VlanSettings
from netvirt.switch import SECOND, Switch
from tools.frame_words import Start, build
from tools.journey import Copy, Journey, travel
from tools.journey_end import Verdict, verdict
from tools.wiring import Wiring

NOW = 1000 * SECOND
VLANS = {"10": "office", "20": "lab"}


def host(name: str, number: int, vlan: int = 0, priority: int = 0) -> dict[str, Any]:
    """A host with one NIC: 02:00:00:00:00:<number>, 10.0.0.<number>/24."""
    interface = {"name": "eth0", "vlan": vlan, "priority": priority, "addresses": [f"10.0.0.{number}/24"]}
    return {
        "name": name,
        "nics": [
            {"name": "eth0", "mac": f"02:00:00:00:00:{number:02x}", "interfaces": [{**interface, "gateway": None}]}
        ],
    }


class Lab:
    """ports: `s1:eth1` -> its settings; links: pairs of ends; hosts h1, h2, ... are made where a link names them.

    A port has a link, or (peers) other words for who is there, such as "lab west" or "a QEMU guest", or nobody.
    """

    def __init__(
        self,
        ports: dict[str, PortSettings],
        links: list[tuple[str, str]],
        peers: dict[str, tuple[str, str]] | None = None,
        hosts: list[dict[str, Any]] | None = None,
    ) -> None:
        self.switches: dict[str, Switch] = {}
        far = {near: ("listen", other) for a, b in links for near, other in ((a, b), (b, a))} | (peers or {})
        configs: dict[str, Any] = {}
        for place, settings in ports.items():
            switch, _, port = place.partition(":")
            self.switches.setdefault(switch, Switch(switch)).set_port(port, settings)
            self.switches[switch].set_carrier(port, place in far)
            kind, peer = far.get(place, ("listen", ""))
            row = {"name": port, "kind": kind, "peer": peer, "state": settings.state}
            configs.setdefault(switch, {"vlans": VLANS, "ports": []})["ports"].append(row)
        nodes = sorted({peer.partition(":")[0] for _, peer in far.values() if peer[0] == "h"})
        self.wiring = Wiring(configs, hosts or [host(node, int(node[1:])) for node in nodes])

    def change(self, switch: str, vlans: VlanSettings | None = None, mirrors: list[Mirror] | None = None) -> None:
        self.switches[switch].change({}, vlans, mirrors)

    def look(self) -> dict[str, Copy]:
        """Fresh copies, by way of JSON as the command has them."""
        values = {name: json.loads(json.dumps(switch.snapshot(NOW))) for name, switch in self.switches.items()}
        return {name: Copy(Switch.restore(value), NOW) for name, value in values.items()}

    def trace(self, where: str, words: str) -> tuple[Journey, Verdict]:
        """`vfab trace WHERE WORDS`; a host as WHERE is the port that it is plugged into."""
        place = self.wiring.plugged.get(f"{where}:eth0") or tuple(where.split(":"))
        switch, port = place[0], place[1]
        far = self.wiring.far(switch, port)
        behind = str(far) if far.kind == "host" else ""
        built = build(words.split(), self.wiring.stations, Start(f"{switch}:{port}", behind), self.wiring.vlans)
        copies = self.look()
        journey = travel(
            switch, port, built.frame, lambda name: copies.get(name, f"switch {name} is away"), self.wiring
        )
        return journey, verdict(journey, built.goal)
