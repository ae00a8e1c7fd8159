"""Runs in a network namespace of its own (unshare -Urn): makes a TAP, hands it out, and uses Linux's sockets when told.

    python -m tests.support.tap_child DESCRIPTOR

The descriptor is a unix stream socket. First line in: {"vnet", "offload", "mtu", "addresses", "ecn"}; the TAP's
descriptor goes back with a line that says which offloads the kernel took. Then {"op", ...} in, a line of JSON out.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
USO = 0x60
UDP_SEGMENT = 103
SECONDS = 30.0
WAITING: list[socket.socket] = []


def pattern(seed: int, size: int) -> bytes:
    """Bytes without a period that a lost or doubled segment could hide in."""
    blocks = (hashlib.sha256(struct.pack("!QQ", seed, n)).digest() for n in range((size + 31) // 32))
    return b"".join(blocks)[:size]


def open_tap(vnet: bool, offload: int) -> tuple[int, int]:
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet else 0)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", flags))
    if vnet:
        fcntl.ioctl(tap, TUNSETVNETHDRSZ, struct.pack("i", 12))
        try:
            fcntl.ioctl(tap, TUNSETOFFLOAD, offload)
        except OSError:  # before Linux 6.2 there is no USO
            offload &= ~USO
            fcntl.ioctl(tap, TUNSETOFFLOAD, offload)
    return tap, offload


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=SECONDS)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def bind(address: str, kind: str) -> int:
    made = socket.socket(family(address), socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    made.settimeout(SECONDS)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind((address, 0))
    if kind == "tcp":
        made.listen()
    WAITING.append(made)
    return int(made.getsockname()[1])


def read_all(stream: socket.socket) -> list[int | str]:
    digest, size = hashlib.sha256(), 0
    while data := stream.recv(1 << 16):
        digest.update(data)
        size += len(data)
    return [size, digest.hexdigest()]


def serve(seed: int, size: int) -> list[int | str]:
    """Takes one connection, reads it to its end, sends as much as it is told back."""
    stream, _ = WAITING.pop().accept()
    stream.settimeout(SECONDS)
    with stream:
        heard = read_all(stream)
        stream.sendall(pattern(seed, size))
    return heard


def call(address: str, port: int, seed: int, size: int) -> list[int | str]:
    with socket.create_connection((address, port), SECONDS) as stream:
        stream.sendall(pattern(seed, size))
        stream.shutdown(socket.SHUT_WR)
        return read_all(stream)


def send(address: str, port: int, seed: int, size: int, segment: int) -> int:
    """One large UDP send that the stack cuts up into datagrams of `segment` bytes, or has cut up."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        return made.sendto(pattern(seed, size), (address, port))


def take(count: int) -> list[str]:
    with WAITING.pop() as made:
        return [made.recv(1 << 16).hex() for _ in range(count)]


def errors() -> dict[str, int]:
    """Everything that this namespace's kernel found wrong with a packet."""
    found: dict[str, int] = {}
    with open("/proc/net/snmp") as file:
        rows = [line.split() for line in file]
    for names, values in zip(rows[::2], rows[1::2], strict=True):
        found |= {names[0][:-1] + name: int(value) for name, value in zip(names[1:], values[1:], strict=True)}
    with open("/proc/net/snmp6") as file:
        found |= {name: int(value) for name, value in (line.split() for line in file)}
    return {name: value for name, value in found.items() if value and name.endswith(("Errors", "InErrs"))}


OPS: dict[str, Callable[..., Any]] = {
    "bind": bind, "serve": serve, "call": call, "send": send, "take": take, "errors": errors,
}  # fmt: skip


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    lines = control.makefile("r")
    setup = json.loads(lines.readline())
    tap, offload = open_tap(setup["vnet"], setup["offload"])
    with open("/proc/sys/net/ipv4/tcp_ecn", "w") as file:
        file.write("1" if setup["ecn"] else "0")
    for address in setup["addresses"]:
        ip("address", "add", address, "dev", "tap0", *(["nodad"] if ":" in address else []))
    ip("link", "set", "tap0", "mtu", str(setup["mtu"]), "up")
    ip("link", "set", "lo", "up")
    socket.send_fds(control, [json.dumps(offload).encode() + b"\n"], [tap])
    for line in lines:
        request = json.loads(line)
        answer = OPS[request.pop("op")](**request)
        control.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
