"""`mode=trunk allowed=10,office native=1`: a port's settings as words on a command line or in a program -> a wish.

Knows: the keys (those of lab files, and the field's own: mode, pvid, allowed), how each value is written. Refuses to
know: what the port is now, what goes together (`changes`). UserError has one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from daemons.errors import UserError
from daemons.lab import vids, words
from daemons.lab.mistake import did_you_mean, listed, quoted
from daemons.lab.words import SMALLEST_MTU
from netvirt.addr import format_vid_set
from netvirt.modes import LARGEST_MTU
from netvirt.settings import KINDS

Names = Mapping[str, int]  # VLANs of the lab: name -> ID
Wish = dict[str, Any]
_KINDS: Final = ("access", "trunk", "tunnel")  # each says the port's mode by itself
_YES: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def vlan(text: str, names: Names) -> int:
    """A VLAN by name or ID. Raises UserError."""
    if text.isdecimal() and len(text) <= 5:
        if not vids.is_vid(int(text)):
            raise UserError(f"VLAN ID {quoted(text)} is out of range; give a number from 1 to 4094")
        return int(text)
    if text not in names:
        known = f"there are {listed(names)}" if names else "the lab has none with a name; give an ID from 1 to 4094"
        raise UserError(f"there is no VLAN {quoted(text)}; {did_you_mean(text, names, known)}")
    return names[text]


def vlans(text: str, names: Names) -> frozenset[int]:
    """`10,office,20-30`, `all`, `none`."""
    if text in ("all", "none", ""):
        return vids.ALL if text == "all" else frozenset()
    found: set[int] = set()
    for part in text.split(","):
        several = vids.parse_range(part)
        found |= several if several is not None else {vlan(part.strip(), names)}
    return frozenset(found)


def _allowed(text: str, names: Names) -> Wish:
    sign = text[:1] if text[:1] in ("+", "-") else ""
    return {"allowed": sign + format_vid_set(vlans(text[len(sign) :], names))}


def _customer(text: str, names: Names) -> Wish:
    parts = [] if text in ("none", "all", "") else text.split(",")
    rest = format_vid_set(vlans(",".join(part for part in parts if part not in ("0", "untagged")), names))
    bare = ["0"] if {"0", "untagged"} & set(parts) else []
    return {"customer": ",".join([*bare, *([rest] if rest else [])])}


def _untagged(text: str, names: Names) -> Wish:
    return {"untagged": None if text == "native" else format_vid_set(vlans(text, names))}


def _one(text: str, names: Names) -> Wish:
    return {"pvid": 0 if text in ("none", "0") else vlan(text, names)}


def _translate(text: str, names: Names) -> Wish:
    pairs = []
    for part, wire, inside in _pairs(text, "100:10"):
        if not wire.isdecimal():
            raise UserError(f"{quoted(part)} begins with no VLAN ID; write WIRE:VLAN, such as 100:10")
        pairs.append([vlan(wire, {}), vlan(inside, names)])
    return {"translate": pairs}


def _storm(text: str, names: Names) -> Wish:
    found = {words.kind(kind): words.rate(rate) for _, kind, rate in _pairs(text, "broadcast:1000fps")}
    return {"storm": [[kind, *found[kind]] for kind in KINDS if kind in found]}


def _reserved(text: str, names: Names) -> Wish:
    peer, tunnel = words.reserved({name: action for _, name, action in _pairs(text, "lldp:tunnel")})
    return {"peer_addresses": sorted(peer), "tunnel_addresses": sorted(tunnel)}


def _flood(text: str, names: Names) -> Wish:
    kinds = KINDS if text == "all" else () if text == "none" else text.split(",")
    return {"flood": sorted({words.kind(kind) for kind in kinds})}


def _pairs(text: str, example: str) -> Iterable[tuple[str, str, str]]:
    for part in text.split(",") if text not in ("none", "") else ():
        one, colon, other = part.partition(":")
        if not colon or not other:
            raise UserError(f"{quoted(part)} has no colon; write it like {example}, or none")
        yield part, one.strip(), other.strip()


def _word(key: str) -> Callable[[str, Names], Wish]:
    return lambda text, names: {key: text}


def _number(key: str) -> Callable[[str, Names], Wish]:
    def read(text: str, names: Names) -> Wish:
        if text != "none" and not (text.isdecimal() and len(text) <= 12):
            raise UserError(f"{quoted(text)} is no number")
        return {key: 0 if text == "none" else int(text)}

    return read


def _mtu(text: str, names: Names) -> Wish:
    if not (text.isdecimal() and len(text) <= 12 and SMALLEST_MTU <= int(text) <= LARGEST_MTU):
        raise UserError(f"{quoted(text)} is no MTU; give a number from {SMALLEST_MTU} to {LARGEST_MTU}")
    return {"mtu": int(text)}


def _switch(key: str) -> Callable[[str, Names], Wish]:
    def read(text: str, names: Names) -> Wish:
        if text.lower() not in _YES:
            raise UserError(f"{quoted(text)} is neither true nor false")
        return {key: _YES[text.lower()]}

    return read


KEYS: Final[dict[str, Callable[[str, Names], Wish]]] = {
    "mode": _word("mode"),
    "access": lambda text, names: {"mode": "access", "pvid": vlan(text, names)},
    "trunk": lambda text, names: {"mode": "trunk", **_allowed(text, names)},
    "native": _one,
    "native-tagged": lambda text, names: {"mode": "native-tagged", **_one(text, names)},
    "tunnel": lambda text, names: {"mode": "dot1q-tunnel", "pvid": vlan(text, names)},
    "pvid": _one,
    "allowed": _allowed,
    "customer": _customer,
    "untagged": _untagged,
    "translate": _translate,
    "tpid": lambda text, names: {"tpid": words.tpid(text)},
    "priority": _number("priority"),
    "priority-tags": _word("priority_tags"),
    "accept": lambda text, names: {"accept": "" if text in ("default", "none") else text},
    "ingress-filter": _switch("ingress_filter"),
    "state": _word("state"),
    "mtu": _mtu,
    "flood": _flood,
    "storm": _storm,
    "protected": _switch("protected"),
    "mac-limit": _number("mac_limit"),
    "on-limit": _word("on_limit"),
    "sticky": _switch("sticky"),
    "reserved": _reserved,
}


def wish(given: Mapping[str, str], names: Names) -> Wish:
    """What the words ask of a port, in the keys of `changes`. Raises UserError."""
    made: Wish = {}
    kinds = [key for key in given if key in _KINDS]
    if len(kinds) > 1:
        raise UserError(f"{kinds[0]}= and {kinds[1]}= do not go together; a port is either access, trunk or tunnel")
    for key, text in given.items():
        if key not in KEYS:
            raise UserError(
                f"a port has no setting {quoted(key)}; {did_you_mean(key, KEYS, f'there are {listed(KEYS, 40)}')}"
            )
        try:
            found = KEYS[key](text, names)
        except (ValueError, UserError) as error:
            raise UserError(f"{key}: {error}") from None
        if key == "trunk" and "native-tagged" in given:
            found["mode"] = "native-tagged"
        made |= found
    return made


def text(value: object) -> str:
    """A value of a program as it would be written on the command line: {10, 20} is "10,20", None is "none"."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{text(each)}" for key, each in value.items()) or "none"
    if isinstance(value, set | frozenset | list | tuple):
        return ",".join(sorted(map(str, value)) if isinstance(value, set | frozenset) else map(str, value)) or "none"
    return str(value)
