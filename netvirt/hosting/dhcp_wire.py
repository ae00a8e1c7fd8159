"""DHCP for IPv4 as bytes (RFC 2131 section 2, RFC 2132): a message <-> values.

Knows: the 236 bytes of BOOTP, the cookie, options, long ones (RFC 3396) and the two fields that options may overflow
into (52). Refuses to know: leases, who may have which address. What is wrong raises Junk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from netvirt.addr import is_group

REQUEST_OP, REPLY_OP = 1, 2
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)

PAD, MASK, ROUTER, DNS, HOST_NAME, MTU, BROADCAST_ADDRESS = 0, 1, 3, 6, 12, 26, 28
REQUESTED, LEASE_TIME, OVERLOAD, KIND, SERVER, WANTED = 50, 51, 52, 53, 54, 55
RENEWAL, REBINDING, CLIENT, END = 58, 59, 61, 255

BROADCAST_FLAG: Final = 0x8000
NOWHERE: Final = bytes(4)
_ETHERNET: Final = 1
_COOKIE: Final = bytes((99, 130, 83, 99))
_HEAD: Final = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
_SHORTEST: Final = 300  # some clients and relays throw away what is shorter than a BOOTP message (RFC 1542 section 2.1)

# The lengths that a server has to rely on (RFC 2132). Others are only carried, or not looked at.
_LENGTHS: Final = {REQUESTED: 4, LEASE_TIME: 4, OVERLOAD: 1, KIND: 1, SERVER: 4}

REASONS: Final = {
    "short": "shorter than a DHCP message",
    "not-a-request": "an answer, which only servers send",
    "not-ethernet": "for another kind of network than Ethernet, or from an address that no single card has",
    "no-cookie": "without the four bytes that stand before DHCP options",
    "options-malformed": "an option that runs past its field, or has a length that it can't have",
    "bootp": "without a message type: BOOTP, older than DHCP",
    "unknown-type": "of a type that clients don't send",
    "relayed": "from a relay, which this server does not serve",
    "other-server": "for another server",
    "without-record": "about an address of which this server has no record for this client",
    "incomplete": "without what its type must have",
    "exhausted": "no address is left",
}


class Junk(Exception):
    """This message ends here; `reason` is one of REASONS."""

    def __init__(self, reason: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason)
        self.reason = reason


class Message(NamedTuple):
    """A request of a client. Addresses are 4 bytes (0.0.0.0: not filled in), `mac` 6; options by their code."""

    kind: int
    xid: int
    flags: int
    ciaddr: bytes
    giaddr: bytes
    mac: bytes
    options: Mapping[int, bytes]


def parse(data: bytes) -> Message:
    """A client's message. Raises Junk."""
    if len(data) < _HEAD.size:
        raise Junk("short")
    head = _HEAD.unpack_from(data)
    op, hardware, length, _hops, xid, _secs, flags, ciaddr, _yiaddr, _siaddr, giaddr, chaddr, sname, file, cookie = head
    if op != REQUEST_OP:
        raise Junk("not-a-request")
    mac = chaddr[:6]
    if hardware != _ETHERNET or length != 6 or is_group(mac) or not any(mac):
        raise Junk("not-ethernet")
    if cookie != _COOKIE:
        raise Junk("no-cookie")
    options = parse_options(data[_HEAD.size :], file, sname)
    if KIND not in options:
        raise Junk("bootp")
    return Message(options[KIND][0], xid, flags, ciaddr, giaddr, mac, options)


def parse_options(field: bytes, file: bytes = b"", sname: bytes = b"") -> dict[int, bytes]:
    """Options by their code, those in `file` and `sname` included where option 52 says so. Raises Junk."""
    options: dict[int, bytes] = {}
    _read(field, options)
    overload = options.get(OVERLOAD, b"\0")
    # RFC 2131 section 4.1: first the options, then file, then sname.
    for bit, more in ((1, file), (2, sname)):
        if overload[:1] and overload[0] & bit:
            _read(more, options)
    if any(len(options.get(code, bytes(length))) != length for code, length in _LENGTHS.items()):
        raise Junk("options-malformed")
    return options


def _read(field: bytes, options: dict[int, bytes]) -> None:
    """Adds the options of one field. One that comes again is continued (RFC 3396)."""
    at = 0
    while at < len(field) and field[at] != END:
        if field[at] == PAD:
            at += 1
            continue
        end = at + 2 + (field[at + 1] if at + 1 < len(field) else len(field))
        if end > len(field):
            raise Junk("options-malformed")
        code = field[at]
        options[code] = options.get(code, b"") + field[at + 2 : end]
        at = end


def build_options(options: Iterable[tuple[int, bytes]]) -> bytes:
    """In the order given, with the end; a value over 255 bytes is split (RFC 3396)."""
    parts = []
    for code, value in options:
        for start in range(0, max(1, len(value)), 255):
            piece = value[start : start + 255]
            parts.append(bytes((code, len(piece))) + piece)
    return b"".join(parts) + bytes((END,))


def build(
    op: int,
    xid: int,
    mac: bytes,
    options: Iterable[tuple[int, bytes]],
    *,
    flags: int = 0,
    ciaddr: bytes = NOWHERE,
    yiaddr: bytes = NOWHERE,
    giaddr: bytes = NOWHERE,
) -> bytes:
    """A message of either side; at least 300 bytes."""
    head = _HEAD.pack(
        op, _ETHERNET, 6, 0, xid, 0, flags, ciaddr, yiaddr, NOWHERE, giaddr, mac, b"", b"", _COOKIE
    )  # fmt: skip
    return (head + build_options(options)).ljust(_SHORTEST, b"\0")
