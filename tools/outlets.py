"""What a program that runs beside a lab must know of it, as environment variables: free ports, LUNs, the lab itself.

Knows: the names of the variables. Refuses to know: who runs with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from tools import lunways, storage
from tools.labs import KnownLab, desired

# Where a switch port that waits for a program has its place, by kind.
_PLACES = ("path", "listen", "at", "folder", "endpoint")


def environment(lab: KnownLab) -> dict[str, str]:
    """`VFAB_LAB` (its id), `VFAB_RUN` (its folder of sockets), `VFAB_PORT_S1_ETH5`, `VFAB_LUN_DISK1`; and `NBD_URI`,
    the first LUN's, for programs that look for that.

    Ports are those that wait for somebody: a free one (or one of an `external` node) is an endpoint for `netvirt.Nic`,
    one of another kind its socket, address or folder. Names that become the same word are told apart (`distinct`).
    """
    luns = [(f"VFAB_LUN_{_word(lun['name'])}", lunways.uri(lun)) for pool in storage.pools(lab).values()
            for lun in pool["luns"]]  # fmt: skip
    first = {"NBD_URI": luns[0][1]} if luns else {}
    return {"VFAB_LAB": lab.id, "VFAB_RUN": lab.paths.run, **distinct([*_ports(lab), *luns]), **first}


def _ports(lab: KnownLab) -> Iterator[tuple[str, str]]:
    wanted = desired(lab)
    ours = {*wanted, *(row["name"] for want in wanted.values() for row in _machines(want.config))}
    for switch, config in ((name, want.config) for name, want in wanted.items() if want.kind == "switchd"):
        for port in config["ports"]:
            place = _place(config, port) if port["peer"].partition(":")[0] not in ours else None
            if place:
                yield f"VFAB_PORT_{_word(switch)}_{_word(port['name'])}", place


def distinct(variables: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Variables of one name each: of several the first keeps it, the others have `_2`, `_3` and so on behind it.

    `a-b`, `a_b` and `A.B` are three ports, and one word in an environment. A name that one of them has by itself is
    never given to another one, whatever their order.
    """
    rows = list(variables)
    taken, found = {name for name, _ in rows}, dict[str, str]()
    for name, value in rows:
        own = name if name not in found else next(each for n in count(2) if (each := f"{name}_{n}") not in taken)
        taken.add(own)
        found[own] = value
    return found


def _machines(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for key in ("hosts", "uplinks", "machines") for row in config.get(key, ())]


def _place(config: dict[str, Any], port: dict[str, Any]) -> str | None:
    if port.get("allow"):
        return None  # over TCP, for who has one of these keys: another lab's switch
    if port["kind"] == "listen":
        return f"{config['listen'][0]['endpoint']}#{port['name']}"
    if port["kind"] == "dial":
        return None
    return next((str(port[key]) for key in _PLACES if port.get(key)), None)


def _word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()
