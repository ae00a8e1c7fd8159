"""Ports of running labs that are containers': made, found, taken away. What is known of an attachment is in its port.

Knows: the row of such a port and its `attachment`, which labs run. Refuses to know: namespaces, IPAM, results.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from daemons import port_keys
from daemons.changes import settled
from daemons.client import Unreachable
from daemons.deposits import SOCKET, leave
from daemons.errors import UserError
from daemons.known import KnownLab, all_labs, choose
from daemons.lab_client import Lab
from netvirt.ports.errors import PortError
from netvirt.settings import PortSettings, VlanSettings
from tools.cni_config import Attachment, Network
from tools.cni_errors import CONFIG, FAILED, LIMITED, NOT_AVAILABLE, TRY_AGAIN, CniError
from tools.switches import ask

KEY: Final = "attachment"  # of a port's row: {network, container, ifname, netns}
_CARRIER_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02  # a switch tells of a port when it is asked


class Found(NamedTuple):
    """A container's port."""

    lab: KnownLab
    switch: str
    row: dict[str, Any]


def port_name(attachment: Attachment) -> str:
    """15 characters, as every port's name at the most; the same one every time."""
    return "cni-" + hashlib.sha256(f"{attachment.container}/{attachment.ifname}".encode()).hexdigest()[:11]


def temporary_name(attachment: Attachment) -> str:
    """Of the TAP on its way: up to 15 characters, too."""
    return "vf-" + port_name(attachment)[4:]


def lab_of(network: Network, code: int = TRY_AGAIN) -> KnownLab:
    """code: of the error where no such lab runs: it may come."""
    try:
        return choose(network.lab)
    except UserError as error:
        raise CniError(code, str(error)) from None


# --- making one


def plug(network: Network, attachment: Attachment) -> Found:
    """The port, in place of one that this attachment has had before. Raises CniError, and then there is none."""
    lab = lab_of(network)
    unplug([found for found in attached(lab) if _is_of(found.row, attachment)])
    try:
        with Lab(lab) as running:
            configs = running.configs()
            if network.switch not in configs:
                known = ", ".join(configs) or "none"
                raise CniError(CONFIG, f"lab {lab.name} has no switch {network.switch!r}; it has: {known}")
            row = _row(network, attachment, lab, configs[network.switch])
            waiting = running.change({network.switch: {"ports_added": {port_name(attachment): row}}})["waiting"]
    except UserError as error:
        raise CniError(TRY_AGAIN, f"lab {lab.name}: {error}") from None
    made = Found(lab, network.switch, row)
    if waiting:
        unplug([made])
        raise CniError(TRY_AGAIN, f"lab {lab.name}: {network.switch} is not up: {'; '.join(waiting.values())}")
    return made


def _settings(network: Network, config: dict[str, Any]) -> dict[str, Any]:
    names = {name: int(vid) for vid, name in config.get("vlans", {}).items()}
    try:
        whole = VlanSettings.from_json(config.get("vlans_settings", {}))
        return settled(PortSettings(), port_keys.wish(network.words, names), whole).to_json()
    except (ValueError, UserError) as error:
        raise CniError(CONFIG, str(error)) from None


def settings_of(network: Network, found: Found) -> dict[str, Any]:
    """What a port's settings should be."""
    return _settings(network, Lab.configs_of(found.lab)[found.switch])


def _row(network: Network, attachment: Attachment, lab: KnownLab, config: dict[str, Any]) -> dict[str, Any]:
    name = port_name(attachment)
    settings = _settings(network, config)
    try:
        path = lab.paths.socket(f"{network.switch}-{name}.tap")
    except UserError as error:
        raise CniError(CONFIG, str(error)) from None
    of = {"network": network.name, "container": attachment.container, "ifname": attachment.ifname}
    return {
        "name": name, **settings, "kind": "tap", "path": path, "offload": True,
        "peer": f"container {attachment.container[:12]} {attachment.ifname}", KEY: {**of, "netns": attachment.netns},
    }  # fmt: skip


def leave_tap(found: Found, fd: int) -> None:
    """With the lab, which plugs it into the port, now and whenever the switch is started anew."""
    try:
        leave(found.lab.paths.socket(SOCKET), f"{found.switch}:{found.row['name']}", fd)
    except PortError as error:
        raise CniError(FAILED, str(error)) from None


# --- finding and taking away


def attached(lab: KnownLab) -> Iterator[Found]:
    """The containers' ports of a lab; none where its state can't be read."""
    try:
        with_state = Lab.configs_of(lab)
    except UserError:
        return
    for switch, config in with_state.items():
        for row in config["ports"]:
            if isinstance(row.get(KEY), dict):
                yield Found(lab, switch, row)


def _is_of(row: dict[str, Any], attachment: Attachment) -> bool:
    of = row[KEY]
    return (of.get("container"), of.get("ifname")) == (attachment.container, attachment.ifname)


def ports_of(attachment: Attachment) -> list[Found]:
    """Wherever they are: the lab that a configuration names may be another one by now."""
    return [found for lab in all_labs() for found in attached(lab) if _is_of(found.row, attachment)]


def ports_where(network: Network, gone: Callable[[str, str], bool]) -> list[Found]:
    """Ports of a network for whose (container, ifname) `gone` says yes."""
    return [
        found
        for lab in all_labs()
        for found in attached(lab)
        if found.row[KEY].get("network") == network.name
        and gone(str(found.row[KEY].get("container")), str(found.row[KEY].get("ifname")))
    ]


def unplug(ports: list[Found]) -> None:
    """Takes them away. A lab of which nothing runs has let go of their TAPs already: that is no error."""
    for lab in dict.fromkeys(found.lab for found in ports):
        wishes: dict[str, dict[str, Any]] = {}
        for found in ports:
            if found.lab == lab:
                wishes.setdefault(found.switch, {}).setdefault("ports_removed", []).append(found.row["name"])
        try:
            with Lab(lab) as running:
                running.change(wishes)
        except Unreachable as error:
            if any(_answers(lab, switch) for switch in wishes):
                raise CniError(TRY_AGAIN, f"the controller of lab {lab.name} does not answer: {error}") from None
        except UserError as error:
            raise CniError(TRY_AGAIN, f"lab {lab.name}: {error}") from None


# --- how one is


def status(found: Found) -> dict[str, Any] | None:
    """What the switch says of the port; None where it does not know it. Raises UserError."""
    rows = ask(found.lab, found.switch, "status")["ports"]
    return next((row for row in rows if row["name"] == found.row["name"]), None)


def await_carrier(found: Found) -> str:
    """ "" as soon as the port has a carrier, else after some seconds why it has none."""
    deadline = time.monotonic() + _CARRIER_SECONDS
    while True:
        try:
            row = status(found)
        except UserError as error:
            return str(error)
        if row is None:
            return f"{found.switch} has no port {found.row['name']}"
        if row["carrier"]:
            return ""
        if row["problem"] or time.monotonic() > deadline:
            lost = "its TAP is lost, the lab's processes were killed perhaps; attach the container again"
            return row["problem"] or ("the interface is down" if row["link"].get("kept") else lost)
        time.sleep(_LOOK_SECONDS)


def check_running(network: Network) -> None:
    """Whether a container could be attached now. Raises CniError with the codes of STATUS."""
    lab = lab_of(network, LIMITED)
    if network.switch not in Lab.configs_of(lab):
        raise CniError(CONFIG, f"lab {lab.name} has no switch {network.switch!r}")
    if not _answers(lab, network.switch):
        raise CniError(LIMITED, f"{network.switch} of lab {lab.name} does not answer; see vfab status")
    try:
        with Lab(lab) as running:
            running.status()
    except UserError as error:
        raise CniError(NOT_AVAILABLE, f"the controller of lab {lab.name} does not answer: {error}") from None


def _answers(lab: KnownLab, switch: str) -> bool:
    try:
        ask(lab, switch, "statistics")
    except UserError:
        return False
    return True
