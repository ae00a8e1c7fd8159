"""Ports that come and go while a switch runs: rows of its configuration, without some and with new ones.

Knows: which ports somebody may take away (those at no cable of the lab file), which kinds may come, how both are said.
Refuses to know: how a row is made of words (`added_ports`), processes. What a row must have says `switch_config`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from daemons.errors import UserError
from daemons.lab.mistake import did_you_mean, listed, quoted
from netvirt.settings import PortSettings

Row = dict[str, Any]
# A cable between two switches (dial) is a link: whether it closes a circle is found out where both its ends are known.
KINDS: Final = ("listen", "tap", "packet", "qemu", "dgram", "udp", "vde", "websocket", "vxlan")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")
# What a lab file's link makes of a row's `peer`: the node and the port at its other end.
_CABLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}:[A-Za-z][A-Za-z0-9_.-]{0,14}")
_SETTINGS: Final = frozenset(PortSettings().to_json())


def without(node: str, rows: Iterable[Row], names: object) -> list[Row]:
    """Raises UserError for a port that there is not, and for one that belongs to a link."""
    left = {row["name"]: row for row in rows}
    if not isinstance(names, list):
        raise UserError(f"{node}: ports_removed is a list of names, not {quoted(names)}")
    for name in names:
        if not isinstance(name, str) or name not in left:
            raise UserError(f"{node} has no port {quoted(name)}; {_near(name, left)}")
        peer = str(left[name].get("peer", ""))
        if _CABLE.fullmatch(peer):
            raise UserError(
                f"{node}:{name} is an end of the lab file's link to {peer}; take that out of the file, then vfab up"
            )
        del left[name]
    return list(left.values())


def with_new(node: str, rows: Iterable[Row], given: Mapping[str, Any]) -> list[Row]:
    """Raises UserError for what can be no new port."""
    made = {row["name"]: row for row in rows}
    for name, row in given.items():
        if name in made:
            raise UserError(f"{node} has a port {name} already; choose another name")
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{node}: {quoted(name)} is no port name; use a letter, then up to 14 letters, digits, ., _ or -"
            )
        made[name] = _row(f"{node}:{name}", name, row)
    return list(made.values())


def _row(where: str, name: str, row: object) -> Row:
    if not isinstance(row, dict):
        raise UserError(f"{where}: a new port is keys and values, not {quoted(row)}")
    kind, peer = row.get("kind", "listen"), row.get("peer", "")
    if kind not in KINDS:
        raise UserError(f"{where}: a port of kind {quoted(kind)} cannot come while the lab runs; put it into the file")
    if not isinstance(peer, str) or _CABLE.fullmatch(peer):
        raise UserError(f"{where}: {quoted(peer)} cannot be the peer of a port that is at no cable")
    try:
        settings = PortSettings.from_json(row).to_json()
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    return {**row, "name": name, **settings, "kind": kind, "peer": peer}


def come_and_gone(before: Iterable[Row], after: Iterable[Row]) -> Iterator[tuple[str, str | None, str | None]]:
    """(port, what it was, what it is) for ports that only one side has, or that are of another kind now."""
    old, new = ({row["name"]: row for row in rows} for rows in (before, after))
    for name in dict.fromkeys([*old, *new]):
        one, other = old.get(name), new.get(name)
        if one is None or other is None or _driven(one) != _driven(other):
            yield name, None if one is None else said(one), None if other is None else said(other)


def said(row: Row) -> str:
    """Such as `tap, access 10`."""
    settings = PortSettings.from_json(row).to_json()
    vlans = settings["pvid"] if settings["mode"] in ("access", "dot1q-tunnel") else settings["allowed"]
    return f"{row.get('kind', 'listen')}, {settings['mode']} {vlans or 'none'}"


def _driven(row: Row) -> Row:
    """What is in the port, beside its settings."""
    return {key: value for key, value in row.items() if key not in _SETTINGS}


def _near(name: object, known: Iterable[str]) -> str:
    names = list(known)
    return did_you_mean(name, names, f"there are {listed(names, 30)}" if names else "it has none")
