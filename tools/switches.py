"""The switches of a lab as the command names and asks them: `s1`, `s1:eth1`.

Knows: the state file's list of nodes, their control sockets. Refuses to know: what is asked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from daemons.client import Client
from daemons.errors import UserError
from tools.errors import BadInput
from tools.labs import KnownLab, desired

_SECONDS = 10.0


class Place(NamedTuple):
    """Some switches of a lab; `port` only with one."""

    switches: list[str]
    port: str | None = None


def place(lab: KnownLab, where: str | None) -> Place:
    """What `s1` or `s1:eth1` means in this lab; nothing said means every switch. Raises UserError."""
    configs = {name: want.config for name, want in desired(lab).items() if want.kind == "switchd"}
    if where is None:
        return Place(sorted(configs))
    switch, colon, port = where.partition(":")
    if not switch or bool(colon) != bool(port):
        raise BadInput(f"{where!r} is no switch and no port; write SWITCH or SWITCH:PORT, such as s1:eth5")
    if switch not in configs:
        raise UserError(f"there is no switch {switch!r} in lab {lab.name}; there are: {', '.join(sorted(configs))}")
    names = [entry["name"] for entry in configs[switch]["ports"]]
    if port and port not in names:
        raise UserError(f"{switch} has no port {port!r}; its ports are: {', '.join(names)}")
    return Place([switch], port or None)


def vlan_names(lab: KnownLab) -> dict[str, int]:
    """Names of VLANs and their IDs."""
    configs = (want.config for want in desired(lab).values() if want.kind == "switchd")
    return {name: int(vid) for config in configs for vid, name in config.get("vlans", {}).items()}


def ask(lab: KnownLab, switch: str, op: str, **args: Any) -> Any:
    """An operation of a switch. Raises UserError."""
    with Client(lab.paths.control(switch), timeout=_SECONDS) as client:
        return client.call(op, **args)
