"""What is in a port that is neither a link, nor QEMU's stream, nor another lab: from the file to a configuration row.

Knows: what is left out in the file (paths in the run folder, numbers), who must not share an address.
Refuses to know: where the run folder is (`plan` asks), drivers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from .mistake import At, Finding, quoted
from .port_model import Port as FilePort


class InRun(NamedTuple):
    """A value that stands for a file of this name in the run folder."""

    name: str


class Plug(NamedTuple):
    """key: of the lab file; kind: of the driver; who: for people; keys: what the driver is given.

    place: what only one switch, or only one port, may have, "" for nothing; shared: the ports of a switch may share it.
    """

    key: str
    kind: str
    who: str
    keys: tuple[tuple[str, Any], ...]
    place: str = ""
    shared: bool = False


def _udp(given: FilePort, node: str, name: str, index: int) -> Plug:
    assert given.udp is not None
    keys = (("listen", given.udp.listen), ("connect", given.udp.connect))
    return Plug("udp", "udp", f"UDP {given.udp.connect}", keys, given.udp.listen)


def _vde(given: FilePort, node: str, name: str, index: int) -> Plug:
    vde = given.vde
    assert vde is not None
    if vde.plug is not None:
        asked = (("role", "plug"), ("folder", vde.plug), ("number", vde.port or 0))
        return Plug("vde", "vde", f"vde_switch {vde.plug}", asked)
    digits = re.search(r"[0-9]{1,4}$", name)
    number = vde.port or (int(digits[0]) if digits else 0) or index
    own = vde.listen == "auto"
    keys = (("role", "listen"), ("folder", InRun(f"{node}.vde") if own else vde.listen), ("number", number))
    return Plug("vde", "vde", "a VDE plug", keys, "" if own else vde.listen or "", shared=True)


def _qemu(given: FilePort, node: str, name: str, index: int) -> Plug | None:
    qemu = given.qemu
    if qemu is None or qemu.role != "dgram":
        return None
    path = qemu.path or InRun(f"{node}-{name}.dgram")
    peer = qemu.peer or InRun(f"{node}-{name}.guest")
    return Plug("qemu", "dgram", "a QEMU guest", (("path", path), ("peer_path", peer)))


def _tap(given: FilePort, node: str, name: str, index: int) -> Plug:
    tap = given.tap
    assert tap is not None
    if tap.listen is not None:
        path = InRun(f"{node}-{name}.tap") if tap.listen == "auto" else tap.listen
        where = "" if tap.listen == "auto" else tap.listen
        return Plug("tap", "tap", "a TAP that is handed over", (("path", path), ("offload", tap.offload)), where)
    keys: list[tuple[str, Any]] = [("device", tap.name), ("create", tap.create), ("persistent", tap.persistent)]
    keys += [("offload", tap.offload), ("device_mtu", tap.mtu or 0)]
    keys += [("speed", tap.speed)] if tap.speed else []
    return Plug("tap", "tap", f"interface {tap.name}", tuple(keys), tap.name or "")


def _packet(given: FilePort, node: str, name: str, index: int) -> Plug:
    return Plug("packet", "packet", f"interface {given.packet}", (("device", given.packet),), given.packet or "")


MAKERS: Final[dict[str, Callable[[FilePort, str, str, int], Plug | None]]] = {"udp": _udp, "vde": _vde, "qemu": _qemu,
    "tap": _tap, "packet": _packet,
}  # fmt: skip


def plug_of(given: FilePort, node: str, name: str, index: int) -> Plug | None:
    """index: the port's place among those of its switch, from 1."""
    for key, make in MAKERS.items():
        if getattr(given, key) is not None:
            return make(given, node, name, index)
    return None


def row(plug: Plug, place: Callable[[str], str]) -> dict[str, Any]:
    """The keys of a configuration row. place: from the name of a file in the run folder to its path."""
    keys = {key: place(value.name) if isinstance(value, InRun) else value for key, value in plug.keys}
    return {"kind": plug.kind, "peer": plug.who, **keys}


def clashing(plugs: Mapping[tuple[str, str], Plug]) -> Iterator[Finding]:
    """Two ports that want one place. plugs: by (switch, port)."""
    owner: dict[tuple[str, str], tuple[str, str]] = {}
    for (switch, port), plug in plugs.items():
        if not plug.place:
            continue
        first = owner.setdefault((plug.key, plug.place), (switch, port))
        if first != (switch, port) and not (plug.shared and first[0] == switch):
            at: At = ("topology", "nodes", switch, "ports", port, plug.key)
            what = f"{quoted(plug.place)} is taken by port {':'.join(first)} already"
            yield Finding(at, what, "give this port another one")
