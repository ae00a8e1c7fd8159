"""The kernel's calls for TAP devices (if_tun.h) and for the interfaces that they are (netdevice(7)).

Knows: how a TAP is made, found, asked what it is, and told what we take. Refuses to know: frames, event loops.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from typing import Final, NamedTuple

from netvirt.ports.errors import PortError
from netvirt.ports.tap_io import set_speed

DEVICE: Final = "/dev/net/tun"
TUNSETIFF, TUNSETPERSIST, TUNSETOFFLOAD = 0x400454CA, 0x400454CB, 0x400454D0
TUNGETIFF, TUNSETVNETHDRSZ, TUNSETCARRIER = 0x800454D2, 0x400454D8, 0x400454E2
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x2, 0x1000, 0x4000, 0x100
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFMTU = 0x8913, 0x8914, 0x8922
IFF_UP: Final = 1
VNET_BYTES: Final = 12

CSUM, TSO4, TSO6, ECN, USO4, USO6 = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
# From much to little: USO came with Linux 6.2.
OFFLOADS: Final = (CSUM | TSO4 | TSO6 | ECN | USO4 | USO6, CSUM | TSO4 | TSO6 | ECN, CSUM, 0)
LONGEST_NAME: Final = 15  # IFNAMSIZ without its NUL

_REQUEST = struct.Struct("16sH22x")
_NUMBER = struct.Struct("16si20x")
RIGHTS: Final = "this needs CAP_NET_ADMIN, or a user namespace with a network of its own"


class Tap(NamedTuple):
    """An open TAP: its descriptor, the interface's name (of its own namespace), and what its frames carry."""

    fd: int
    name: str
    vnet: bool
    takes: int  # TUNSETOFFLOAD bits; 0 without virtio-net headers


def check_name(name: str) -> None:
    """Raises PortError for what the kernel takes for no interface's name (dev_valid_name())."""
    wrong = not name or len(name.encode()) > LONGEST_NAME or name in (".", "..") or not name.isprintable()
    if wrong or any(c in "/:%" or c.isspace() for c in name):
        raise PortError(f"{name!r} is no name for an interface; use up to {LONGEST_NAME} letters and digits")


def open_tap(name: str, persistent: bool = False) -> int:
    """The descriptor of the TAP `name`, made where there is none. Raises PortError, or BlockingIOError (in use)."""
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise PortError(f"{DEVICE}: {error.strerror}; a TAP needs this device, and the right to open it") from None
    try:
        _set_interface(fd, name)
        if persistent:
            fcntl.ioctl(fd, TUNSETPERSIST, 1)
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EBUSY:
            raise BlockingIOError(errno.EBUSY, "in use") from None
        raise PortError(f"cannot open the TAP {name}: {_why(error, name)}") from None
    return fd


def _set_interface(fd: int, name: str) -> None:
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    try:
        fcntl.ioctl(fd, TUNSETIFF, _REQUEST.pack(name.encode(), flags))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # One that was made with multi_queue takes no descriptor that does not say so.
        fcntl.ioctl(fd, TUNSETIFF, _REQUEST.pack(name.encode(), flags | IFF_MULTI_QUEUE))


def _why(error: OSError, name: str) -> str:
    if error.errno == errno.EPERM:
        return (
            f"{RIGHTS}, or a TAP that is yours already (as root: ip tuntap add dev {name} mode tap user {os.getuid()})"
        )
    if error.errno == errno.EINVAL:
        return f"there is an interface {name} that is no TAP; choose another name"
    return str(error.strerror)


def describe(fd: int, offload: bool) -> Tap:
    """What an open descriptor is, set up for us: headers of 12 bytes, and the offloads that the kernel has.

    A packet socket pair end in a TAP's place is taken, too (a frame per read, no headers). Raises PortError.
    """
    try:
        answer = fcntl.ioctl(fd, TUNGETIFF, bytes(40))
    except OSError:
        return Tap(fd, "", False, _check_socket(fd))
    raw, flags = _REQUEST.unpack(answer)
    name = raw.rstrip(b"\0").decode(errors="replace")
    if not flags & IFF_TAP or not flags & IFF_NO_PI:
        raise PortError(f"{name} gives no plain Ethernet frames; make it a TAP (not a TUN), with IFF_NO_PI")
    os.set_blocking(fd, False)
    if not flags & IFF_VNET_HDR:
        return Tap(fd, name, False, 0)
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_BYTES))
    for bits in OFFLOADS if offload else (0,):
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, TUNSETOFFLOAD, bits)
            return Tap(fd, name, True, bits)
    return Tap(fd, name, True, 0)


def is_alive(fd: int) -> bool:
    """Is it the descriptor of a TAP that there still is? One whose interface was deleted is good for nothing more."""
    try:
        fcntl.ioctl(fd, TUNGETIFF, bytes(40))
    except OSError:
        return False
    return True


def _check_socket(fd: int) -> int:
    try:
        with socket.socket(fileno=os.dup(fd)) as made:
            kind = made.type
    except OSError:
        kind = socket.SOCK_STREAM
    if kind not in (socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        raise PortError("the descriptor is neither a TAP nor a socket that keeps frames apart (SEQPACKET, DGRAM)")
    os.set_blocking(fd, False)
    return 0


def set_carrier(fd: int, up: bool) -> None:
    """What the TAP's other side sees of its cable. Before Linux 4.20, and for a socket, it sees nothing of it."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, TUNSETCARRIER, struct.pack("i", int(up)))


def set_link(name: str, mtu: int, speed_mbit: int, up: bool) -> str:
    """Makes an interface of this namespace what it should be; the sentence of what could not be done, or ""."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as made:
        try:
            if mtu:
                fcntl.ioctl(made, SIOCSIFMTU, _NUMBER.pack(name.encode(), mtu))
            if speed_mbit:
                set_speed(made.fileno(), name, speed_mbit)
            if up:
                _, flags = _REQUEST.unpack(fcntl.ioctl(made, SIOCGIFFLAGS, _REQUEST.pack(name.encode(), 0)))
                fcntl.ioctl(made, SIOCSIFFLAGS, _REQUEST.pack(name.encode(), flags | IFF_UP))
        except OSError as error:
            return f"{name} was taken as it is: {RIGHTS if error.errno == errno.EPERM else error.strerror}"
    return ""
