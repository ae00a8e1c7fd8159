"""What VDE's control socket carries (vde_switch, libvdeplug): a request, and an address; packed, native-endian.

Knows: both structures. Refuses to know: sockets, who asks, which ports there are.

Request: u32 magic 0xfeedface, u32 version 3, u32 type (0 = a plug, | port << 8, 0 = any), sockaddr_un of 110 bytes, a
description without a final NUL. Answer: the sockaddr_un of the switch's data socket. Version 1, of before 2005: magic,
type, a MAC address, sockaddr_un, description.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

MAGIC: Final = 0xFEEDFACE
ADDRESS_SIZE: Final = 110  # u16 family and 108 bytes of path
LONGEST_REQUEST: Final = 256  # what vde_switch reads (REQBUFLEN); libvdeplug describes itself in at most 128 bytes
LARGEST_PORT: Final = (1 << 16) - 1
_HEAD: Final = struct.Struct("=III")
_HEAD_V1: Final = struct.Struct("=II6x")
_ADDRESS: Final = struct.Struct("=H108s")
_PLUG: Final = 0
_MAGIC_BYTES: Final = struct.pack("=I", MAGIC)


class VdeError(ValueError):
    """Bytes that are no request or no address: one sentence."""


class Request(NamedTuple):
    """path: of the plug's data socket; an abstract name has its NUL in front and all 108 bytes. port: 0 = any."""

    path: bytes
    port: int = 0
    description: str = ""


def pack_address(path: bytes) -> bytes:
    """A sockaddr_un of 110 bytes. The caller has checked that the path fits."""
    return _ADDRESS.pack(socket.AF_UNIX, path)


def parse_address(data: bytes) -> bytes:
    """The path in a sockaddr_un. Raises VdeError."""
    if len(data) < ADDRESS_SIZE:
        raise VdeError(f"an address of {len(data)} bytes; it has {ADDRESS_SIZE}")
    family, path = _ADDRESS.unpack_from(data)
    if family != socket.AF_UNIX:
        raise VdeError(f"an address of family {family}; unix sockets have {int(socket.AF_UNIX)}")
    if path[:1] == b"\0":
        if not any(path):
            raise VdeError("an address without a path")
        return bytes(path)
    name, nul, _ = path.partition(b"\0")
    if not nul:
        raise VdeError("a path of 108 bytes has no room for its NUL")
    return bytes(name)


def pack_request(request: Request) -> bytes:
    """As libvdeplug sends it, version 3."""
    head = _HEAD.pack(MAGIC, 3, _PLUG | request.port << 8)
    return (head + pack_address(request.path) + request.description.encode())[:LONGEST_REQUEST]


def is_whole(data: bytes) -> bool:
    """Is there enough for parse_request? The description has no length: whatever has come then is all of it."""
    return len(data) >= _HEAD.size + ADDRESS_SIZE or (len(data) >= 4 and data[:4] != _MAGIC_BYTES)


def parse_request(data: bytes) -> Request:
    """Raises VdeError."""
    if len(data) < _HEAD.size:
        raise VdeError(f"a request of {len(data)} bytes")
    magic, version, kind = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise VdeError(f"a request that begins with 0x{magic:08x}, not with 0x{MAGIC:08x}")
    start = _HEAD.size
    if version & 0xFF == _PLUG:  # version 1 has its type here, and a port number above it
        kind, start = version, _HEAD_V1.size
    elif version != 3:
        raise VdeError(f"a request of version {version}; this is version 3")
    if kind & 0xFF != _PLUG:
        raise VdeError(f"a request of type {kind & 0xFF}; a plug is type {_PLUG}")
    if kind >> 8 > LARGEST_PORT:
        raise VdeError(f"a request for port {kind >> 8}")
    path = parse_address(data[start:])
    text = data[start + ADDRESS_SIZE :].split(b"\0", 1)[0].decode("utf-8", "replace")
    return Request(path, kind >> 8, "".join(letter for letter in text if letter.isprintable()))
