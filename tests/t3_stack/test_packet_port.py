"""The packet driver: the contract, and what its watch of interfaces makes of rtnetlink's messages."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys

import pytest

from netvirt.ports.errors import PortError
from netvirt.ports.linkwatch import LinkState, LinkWatch, Message, parse, question
from netvirt.ports.loop import Loop
from netvirt.ports.packet import PacketPort
from tests.support import peers
from tests.support.links import End
from tests.support.rooms import need_namespaces
from tests.support.taps import ROOT


@pytest.mark.peer("unshare")
def test_a_packet_port() -> None:
    unshare = need_namespaces(tun=True)
    peers.need("tc")
    command = [unshare, "-Urn", sys.executable, "-m", "tests.support.packet_rig"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "kept\n", done.stderr


def link(kind: int, name: str, number: int = 3, flags: int = 0x43, mtu: int = 1500, family: int = 0) -> bytes:
    text = name.encode() + b"\0"
    attributes = struct.pack("=HH", 4 + len(text), 3) + text + bytes(-len(text) % 4)
    attributes += struct.pack("=HHI", 8, 4, mtu)
    body = struct.pack("=BxHiII", family, 1, number, flags, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


UP = LinkState(3, True, True, 1500)


@pytest.mark.parametrize(
    ("data", "heard"),
    [
        (link(16, "eth0"), [Message("eth0", 3, UP)]),
        (link(16, "eth0", flags=0x3), [Message("eth0", 3, LinkState(3, True, False, 1500))]),
        (link(16, "eth0", flags=0x40), [Message("eth0", 3, LinkState(3, False, False, 1500))]),
        (link(17, "eth0"), [Message("eth0", 3, None)]),
        (link(17, "eth0", family=7), []),  # a bridge has let it go
        (link(16, "a") + link(17, "b"), [Message("a", 3, UP), Message("b", 3, None)]),
        (struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -19), [Message("", 0, None)]),
        (struct.pack("=IHHII", 16, 3, 0, 0, 0), []),
        (b"", []),
        (b"\xff" * 40, []),
        (struct.pack("=IHHII", 0, 16, 0, 0, 0), []),
    ],
)
def test_messages_of_the_kernel(data: bytes, heard: list[Message]) -> None:
    assert list(parse(data)) == heard
    for end in range(len(data)):
        assert list(parse(data[:end])) in (heard[:n] for n in range(len(heard) + 1))


def test_an_interface_that_is_there() -> None:
    loop = Loop()
    heard: list[LinkState | None] = []
    watch = LinkWatch(loop, "lo", heard.append)
    watch.open()
    assert len(heard) == 1 and heard[0] is not None and heard[0].number == socket.if_nametoindex("lo")
    watch.again()
    loop.run_once(1)
    assert heard[1:] == heard[:1]
    watch.close()
    watch.ask()
    loop.close()
    assert len(question("lo")) == 40


def test_a_name_that_can_not_be() -> None:
    loop = Loop()
    end = End(loop)
    with pytest.raises(PortError, match="no name for an interface"):
        PacketPort(loop, end.queue, end.receive, end.carrier_changed, name="a b")
    loop.close()
