"""Who is in a lab beside its switches, of every kind, and which process runs it: from the lab's desired state.

Knows: the daemons' configurations (ARCHITECTURE.md). Refuses to know: whether anything of it is up.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, NoReturn

from daemons.known import KnownLab, desired
from tools.errors import BadInput

# Process -> the lists in its configuration, and what kind of node each has.
_LISTS: Final = {
    "hostd": (("hosts", "host"),),
    "netnsd": (("hosts", "netns"), ("uplinks", "uplink")),
    "vmd": (("machines", "vm"),),
}


class Node(NamedTuple):
    """daemon: the process that runs it, by its name. networks: its addresses with prefix lengths, as in the file."""

    name: str
    kind: str
    daemon: str
    networks: tuple[str, ...]

    @property
    def addresses(self) -> list[str]:
        return [network.partition("/")[0] for network in self.networks]


def nodes(lab: KnownLab) -> dict[str, Node]:
    """By name; userspace hosts first, then in the order of _LISTS."""
    wanted = desired(lab)
    rows = [
        (row, kind, daemon)
        for daemon, lists in _LISTS.items()
        if daemon in wanted
        for key, kind in lists
        for row in wanted[daemon].config.get(key, ())
    ]
    return {row["name"]: Node(row["name"], kind, daemon, _networks(row)) for row, kind, daemon in rows}


def _networks(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        str(address)
        for nic in row.get("nics", ())
        for interface in nic.get("interfaces", ())
        for address in interface["addresses"]
    )


def nobody(lab: KnownLab, name: str, choices: list[str], what: str) -> NoReturn:
    """There is no such node; one of `choices` may be meant. what: "host of kind netns"."""
    from daemons.lab.mistake import did_you_mean, listed, quoted

    there = f"there are: {listed(choices)}" if choices else f"lab {lab.name} has none"
    raise BadInput(f"there is no {what} {quoted(name)}; {did_you_mean(name, choices, there)}")
