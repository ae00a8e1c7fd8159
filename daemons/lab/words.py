"""Settings of a port in people's words: `1000 fps`, `802.1ad`, `lacp: tunnel`; for lab files and for the command line.

Knows: the words, and what they are in netvirt.settings. Refuses to know: YAML, pydantic, other settings.
ValueError is "what is wrong; what to do".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from netvirt.modes import LARGEST_RATE
from netvirt.settings import C_TAG, KINDS, MVRP, RESERVED_OCTETS, S_TAG

from .mistake import did_you_mean, listed, quoted

TPIDS: Final = {"802.1q": C_TAG, "802.1ad": S_TAG}
# 802.1Q-2018 table 8-1 and whoever uses the address: the protocol's name -> last octet of 01-80-C2-00-00-xx
RESERVED: Final = {
    "stp": 0x00, "pause": 0x01, "lacp": 0x02, "dot1x": 0x03, "elmi": 0x07, "provider-stp": 0x08, "provider-mvrp": 0x0D,
    "lldp": 0x0E, "mvrp": MVRP,
}  # fmt: skip
SMALLEST_MTU: Final = 64  # a minimal Ethernet frame holds 46 bytes; much below it nothing passes
ACTIONS: Final = ("peer", "tunnel", "drop")
RATE: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z/]+)")
RATE_UNITS: Final = {
    "fps": (1, "fps"), "kfps": (1000, "fps"), "Mfps": (10**6, "fps"),
    "bit/s": (1, "bps"), "kbit/s": (1000, "bps"), "Mbit/s": (10**6, "bps"), "Gbit/s": (10**9, "bps"),
}  # fmt: skip
_OCTET = re.compile(r"0?[0-9A-Fa-f]|21")
Storm = tuple[tuple[str, int, str], ...]


def kind(text: object) -> str:
    """unicast (unknown), multicast or broadcast."""
    if not isinstance(text, str) or text not in KINDS:
        raise ValueError(f"{quoted(text)} is no kind of flooding; {did_you_mean(text, KINDS, f'use {listed(KINDS)}')}")
    return text


def rate(text: object) -> tuple[int, str]:
    """`1000 fps`, `10 Mbit/s` -> (1000, "fps"), (10000000, "bps")."""
    match = RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{quoted(text)} is no rate; write it like 1000 fps or 10 Mbit/s")
    if match[2] not in RATE_UNITS:
        fix = did_you_mean(match[2], RATE_UNITS, f"use {listed(RATE_UNITS)}")
        raise ValueError(f"{quoted(match[2])} is no unit of a rate; {fix}")
    factor, unit = RATE_UNITS[match[2]]
    whole, _, part = match[1].partition(".")
    number = int(whole) * factor + (int(part) * factor // 10 ** len(part) if part else 0)
    if not 1 <= number <= LARGEST_RATE:
        raise ValueError(f"the rate {quoted(text)} is out of range; give 1 to {LARGEST_RATE} frames or bits per second")
    return number, unit


def rate_text(number: int, unit: str) -> str:
    """The other way round, in the largest unit without a fraction."""
    for name, (factor, base) in reversed(RATE_UNITS.items()):
        if base == unit and number % factor == 0:
            return f"{number} {name}" if factor == 1 else f"{number // factor} {name}"
    return f"{number} {unit}"


def tpid(value: object) -> int:
    """`802.1q` or `802.1ad`; 0x8100 and 0x88a8 as numbers, too."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= 5:
        value = int(value)  # a program's number, which comes here as text
    known = {**TPIDS, "0x8100": C_TAG, "0x88a8": S_TAG}
    if type(value) is int and value in TPIDS.values():
        return value
    if not isinstance(value, str) or value.lower() not in known:
        said = f"{value:#06x}" if type(value) is int and value >= 0 else value
        raise ValueError(f"{quoted(said)} is no tag type; {did_you_mean(value, TPIDS, f'use {listed(TPIDS)}')}")
    return known[value.lower()]


def tpid_text(value: int) -> str:
    return next(name for name, number in TPIDS.items() if number == value)


def address(name: object) -> frozenset[int]:
    """`lldp`, `0E`, `all` -> last octets of reserved addresses."""
    if name == "all":
        return RESERVED_OCTETS
    if isinstance(name, str) and name in RESERVED:
        return frozenset({RESERVED[name]})
    if isinstance(name, str) and _OCTET.fullmatch(name):
        return frozenset({int(name, 16)})
    rule = f"use {listed(RESERVED)}, all, or the last octet: 00 to 0f, 21"
    raise ValueError(f"{quoted(name)} is no reserved address; {did_you_mean(name, [*RESERVED, 'all'], rule)}")


def address_text(octet: int) -> str:
    """The protocol's name, else the last octet."""
    return next((name for name, known in RESERVED.items() if known == octet), f"{octet:02x}")


def action(value: object) -> str:
    """peer (for the switch itself), tunnel (forwarded) or drop."""
    if not isinstance(value, str) or value not in ACTIONS:
        fix = did_you_mean(value, ACTIONS, f"use {listed(ACTIONS)}")
        raise ValueError(f"{quoted(value)} is nothing that can be done with a reserved address; {fix}")
    return value


def reserved(
    given: Mapping[str, str], peer: frozenset[int] = frozenset(), tunnel: frozenset[int] = frozenset({MVRP})
) -> tuple[frozenset[int], frozenset[int]]:
    """(peer, tunnel) after what is given; `all` counts first, wherever it stands."""
    for name, what in sorted(given.items(), key=lambda pair: pair[0] != "all"):
        octets = address(name)
        peer, tunnel = peer - octets, tunnel - octets
        if action(what) == "peer":
            peer |= octets
        elif what == "tunnel":
            tunnel |= octets
    return peer, tunnel
