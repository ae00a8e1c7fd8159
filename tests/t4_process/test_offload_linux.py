"""Whole connections between two Linux stacks, every large frame cut up by us: the kernels find nothing wrong."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netvirt.burst import Burst
from netvirt.dataplane import offload
from netvirt.dataplane.queue import Queue
from tests.support import peers
from tests.support.tap_child import pattern
from tests.support.taps import Between, Stack, carry

pytestmark = pytest.mark.peer("unshare")
ALL = 0x6F
TSO = offload.CSUM | offload.TSO4 | offload.TSO6
SIZE = 3_000_001
FOUR, SIX = ("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")


def stack(number: int, bits: int | None, mtu: int = 1500, ecn: bool = False) -> Stack:
    return Stack([f"10.9.0.{number}/24", f"fd09::{number}/64"], bits, mtu, ecn)


class Wire:
    """What a port that takes `takes` gets; with a tag on the way, which is taken away again behind it."""

    def __init__(self, takes: int, tag: bytes = b"") -> None:
        self.takes, self.tag = takes, tag
        self.whole = 0  # frames that came to be cut up
        self.seen: list[bytes] = []
        self.types: set[int] = set()

    def __call__(self, header: bytes, frame: bytes) -> list[tuple[bytes, bytes]]:
        self.whole += header[1] != 0
        self.types.add(header[1])
        out = []
        for vnet, data in offload.leave(frame, header, self.takes, self.tag):
            self.seen.append(data)
            out += offload.leave(data, vnet or bytes(12), self.takes, strip=True) if self.tag else [(vnet, data)]
        return out

    def pcap(self, path: Path) -> str:
        with open(path, "wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 17, 1))
            for number, data in enumerate(self.seen):
                file.write(struct.pack("<IIII", number // 1000, number % 1000, len(data), len(data)) + data)
        return str(path)


def digest(seed: int, size: int) -> list[int | str]:
    return [size, hashlib.sha256(pattern(seed, size)).hexdigest()]


def talk(a: Stack, b: Stack, to: str, there: Between, back: Between, size: int = SIZE) -> None:
    """a sends `size` bytes to b and b to a, over one TCP connection."""
    port = b.do(op="bind", address=to, kind="tcp")
    b.ask(op="serve", seed=2, size=size)
    a.ask(op="call", address=to, port=port, seed=1, size=size)
    heard_by_a, heard_by_b = carry(a, b, there, back)
    assert heard_by_b == digest(1, size) and heard_by_a == digest(2, size)
    assert a.do(op="errors") == b.do(op="errors") == {}


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Stack, Stack]]:
    with stack(1, ALL) as a, stack(2, ALL) as b:
        yield a, b


@pytest.mark.parametrize("tag", [b"", b"\x81\x00\x60\x0a"])
@pytest.mark.parametrize("to", [FOUR[1], SIX[1]])
@pytest.mark.parametrize("takes", [0, offload.CSUM, TSO])
def test_a_tcp_connection_both_ways(pair: tuple[Stack, Stack], to: str, takes: int, tag: bytes) -> None:
    there, back = Wire(takes, tag), Wire(takes, tag)
    talk(*pair, to, there, back)
    for wire in (there, back):
        assert wire.whole and wire.types >= {4 if ":" in to else 1}
        assert (max(map(len, wire.seen)) > 1514 + len(tag)) == (takes == TSO)


@pytest.mark.parametrize("to", [FOUR[1], SIX[1]])
def test_a_receiver_that_knows_no_virtio_header(to: str) -> None:
    with stack(1, ALL) as a, stack(2, None) as b:
        there = Wire(0)
        talk(a, b, to, there, Wire(ALL))
        assert there.whole > 10


def test_jumbo_frames() -> None:
    with stack(1, ALL, 9000) as a, stack(2, None, 9000) as b:
        there = Wire(0)
        talk(a, b, FOUR[1], there, Wire(ALL))
        assert there.whole and max(map(len, there.seen)) == 9014


def test_tcp_copes_with_what_a_full_queue_loses(pair: tuple[Stack, Stack]) -> None:
    queue = Queue(20_000)

    def narrow(header: bytes, frame: bytes) -> list[tuple[bytes, bytes]]:
        offload.put(queue, frame, header)
        out: list[tuple[bytes, bytes]] = []
        while (head := queue.head()) is not None:
            out += [(b"", data) for data in Burst.parse(head).frames()]
            queue.pop()
        return out

    talk(*pair, FOUR[1], narrow, Wire(0), 400_000)
    assert queue.statistics()["drops"]["queue-full"] > 0


def congested(frame: bytes) -> bytes:
    """The IPv6 frame as a congested router sends it on (RFC 3168), if its sender knows about that."""
    capable = frame[12:14] == b"\x86\xdd" and frame[15] >> 4 & 3 == 2
    return frame[:15] + bytes([frame[15] | 0x30]) + frame[16:] if capable else frame


def test_congestion_is_told_once() -> None:
    """Marked segments make the sender say CWR, in frames that are to be cut up and say so (the ECN bit of gso_type)."""
    with stack(1, ALL, ecn=True) as a, stack(2, ALL, ecn=True) as b:
        there = Wire(0)

        def marking(header: bytes, frame: bytes) -> list[tuple[bytes, bytes]]:
            cut = there(header, frame)
            return [(vnet, congested(data)) for vnet, data in cut] if len(there.seen) > 200 else cut

        talk(a, b, SIX[1], marking, Wire(0))
        assert there.types >= {4, 4 | 0x80}


@pytest.mark.parametrize("to", [FOUR[1], SIX[1]])
@pytest.mark.parametrize(("size", "segment"), [(60_000, 1000), (50_001, 1432), (1001, 1000), (999, 1000)])
@pytest.mark.parametrize("takes", [0, ALL])
def test_datagrams_of_one_large_send(pair: tuple[Stack, Stack], to: str, size: int, segment: int, takes: int) -> None:
    a, b = pair
    if not a.takes & offload.USO4:
        peers.missing("Linux 6.2 (USO)")
    port = b.do(op="bind", address=to, kind="udp")
    count = (size + segment - 1) // segment
    b.ask(op="take", count=count)
    a.ask(op="send", address=to, port=port, seed=3, size=size, segment=segment)
    wire, data = Wire(takes), pattern(3, size)
    sent, heard = carry(a, b, wire, Wire(ALL))
    assert sent == size
    assert [bytes.fromhex(text) for text in heard] == [data[at : at + segment] for at in range(0, size, segment)]
    assert (5 in wire.types) == (count > 1)
    assert a.do(op="errors") == b.do(op="errors") == {}


def test_the_receiver_would_notice() -> None:
    with stack(1, ALL) as a, stack(2, None) as b:
        port = b.do(op="bind", address=FOUR[1], kind="udp")
        b.ask(op="take", count=1)
        a.ask(op="send", address=FOUR[1], port=port, seed=3, size=900, segment=400)

        def spoil(header: bytes, frame: bytes) -> list[tuple[bytes, bytes]]:
            cut = offload.segment(frame, header)
            return [(b"", data[:-1] + bytes([data[-1] ^ 1]) if len(data) == 442 else data) for data in cut]

        _, heard = carry(a, b, spoil, Wire(ALL))
        assert [bytes.fromhex(text) for text in heard] == [pattern(3, 900)[800:]]
        assert b.do(op="errors") == {"UdpInErrors": 2, "UdpInCsumErrors": 2}


CHECKED = ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status")


@pytest.mark.peer("tshark")
@pytest.mark.parametrize("tag", [b"", b"\x81\x00\x00\x2a"])
@pytest.mark.parametrize("to", [FOUR[1], SIX[1]])
def test_tshark_finds_no_bad_checksum_and_the_same_stream(
    pair: tuple[Stack, Stack], to: str, tag: bytes, tmp_path: Path
) -> None:
    there = Wire(0, tag)
    talk(*pair, to, there, Wire(0), 300_000)
    tshark = [peers.need("tshark"), "-r", there.pcap(tmp_path / "wire.pcap")]
    for name in ("ip", "tcp", "udp"):
        tshark += ["-o", f"{name}.check_checksum:TRUE"]

    def run(*more: str) -> list[str]:
        return subprocess.run([*tshark, *more], capture_output=True, text=True, timeout=60, check=True).stdout.split(
            "\n"
        )

    rows = run("-Y", "tcp", "-T", "fields", "-E", "separator=|", *(w for name in CHECKED for w in ("-e", name)))[:-1]
    assert len(rows) > 300_000 / 1500
    assert set(rows) == {"|1|" if ":" in to else "1|1|"}  # 1: good; IPv6 has none of its own
    follow = run("-q", "-z", "follow,tcp,raw,0")
    stream = "".join(line.strip() for line in follow if set(line.strip()) <= set("0123456789abcdef"))
    assert bytes.fromhex(stream) == pattern(1, 300_000)
