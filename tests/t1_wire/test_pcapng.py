"""pcapng as we write it, read back by an independent reader of the draft and by Wireshark's own programs."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvirt.capture import pcapng
from tests.support import peers


class Block(NamedTuple):
    kind: int
    body: bytes


def blocks(data: bytes) -> list[Block]:
    """Walks the blocks forward by the first length and checks the second one."""
    found = []
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0 and 12 <= size <= len(data)
        assert struct.unpack_from("<I", data, size - 4) == (size,)
        found.append(Block(kind, data[8 : size - 4]))
        data = data[size:]
    return found


def options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while data:
        code, size = struct.unpack_from("<HH", data)
        if code == 0:
            assert (size, len(data)) == (0, 4)
            break
        assert code not in found
        found[code] = data[4 : 4 + size]
        padded = size + -size % 4
        assert data[4 + size : 4 + padded] == bytes(padded - size)
        data = data[4 + padded :]
    return found


def packet(body: bytes) -> tuple[int, int, bytes, dict[int, bytes]]:
    """Interface, nanoseconds, frame, options."""
    interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
    assert captured == original
    end = 20 + captured + -captured % 4
    return interface, high << 32 | low, body[20 : 20 + captured], options(body[end:])


def test_section_header() -> None:
    (block,) = blocks(pcapng.section_header(application="virtfab 0.1.0", system="Linux"))
    assert block.kind == 0x0A0D0D0A
    assert struct.unpack_from("<IHHq", block.body) == (0x1A2B3C4D, 1, 0, -1)
    assert options(block.body[16:]) == {4: b"virtfab 0.1.0", 3: b"Linux"}


def test_interface_block() -> None:
    (block,) = blocks(pcapng.interface_block("s1:eth1", "to h1:eth0", bytes.fromhex("020000000001")))
    assert block.kind == 1
    assert struct.unpack_from("<HHI", block.body) == (1, 0, 0)
    wanted = {2: b"s1:eth1", 3: b"to h1:eth0", 6: bytes.fromhex("020000000001"), 9: b"\x09", 15: b"virtfab"}
    assert options(block.body[8:]) == wanted
    (plain,) = blocks(pcapng.interface_block("p"))
    assert options(plain.body[8:]) == {2: b"p", 9: b"\x09", 15: b"virtfab"}


def test_names_that_do_not_fit_are_cut_between_characters() -> None:
    (block,) = blocks(pcapng.interface_block("ü" * 40_000, "x" * 70_000))
    found = options(block.body[8:])
    assert found[2].decode() == "ü" * 32_767
    assert len(found[3]) == 65_535


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=200),
    st.sampled_from(["in", "out", ""]),
    st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    st.integers(0, 2**64 - 1),
)
def test_packet_block(
    interface: int, time_ns: int, frame: bytes, direction: pcapng.Direction, identity: int | None, dropped: int
) -> None:
    data = pcapng.packet_block(interface, time_ns, frame, direction=direction, identity=identity, dropped=dropped)
    (block,) = blocks(data)
    assert block.kind == 6
    wanted: dict[int, bytes] = {}
    if direction:
        wanted[2] = {"in": b"\1\0\0\0", "out": b"\2\0\0\0"}[direction]
    if dropped:
        wanted[4] = dropped.to_bytes(8, "little")
    if identity is not None:
        wanted[5] = identity.to_bytes(8, "little")
    assert packet(block.body) == (interface, time_ns, frame, wanted)


def test_statistics_block() -> None:
    start, end = 1_700_000_000_000_000_001, 1_700_000_001_000_000_002
    (block,) = blocks(pcapng.statistics_block(1, end, received=7, dropped=2, start_ns=start, end_ns=end))
    assert block.kind == 5
    assert struct.unpack_from("<III", block.body) == (1, end >> 32, end & 0xFFFFFFFF)
    times = {2: struct.pack("<II", start >> 32, start & 0xFFFFFFFF), 3: struct.pack("<II", end >> 32, end & 0xFFFFFFFF)}
    assert options(block.body[12:]) == {**times, 4: (7).to_bytes(8, "little"), 5: (2).to_bytes(8, "little")}
    (plain,) = blocks(pcapng.statistics_block(0, 5, received=0))
    assert options(plain.body[12:]) == {4: bytes(8)}


# --- Wireshark's programs

TIME = 1_700_000_000_123_456_789
ARP = (
    bytes.fromhex("ffffffffffff020000000001")
    + bytes.fromhex("0806000108000604000102000000000109090901")
    + bytes(6)
    + bytes.fromhex("09090902")
)
TAGGED = ARP[:12] + bytes.fromhex("8100a00a") + ARP[12:]  # PCP 5, VID 10
DOUBLE = ARP[:12] + bytes.fromhex("88a80064") + TAGGED[12:]  # 802.1ad VID 100 around it


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "c.pcapng"
    parts = [
        pcapng.section_header(application="virtfab"),
        pcapng.interface_block("s1:eth1", "to h1:eth0"),
        pcapng.interface_block("s1:eth9", "trunk to s2:eth9"),
        pcapng.packet_block(0, TIME, ARP, direction="in", identity=77),
        pcapng.packet_block(1, TIME + 1, TAGGED, direction="out", identity=77, dropped=3),
        pcapng.packet_block(1, TIME + 2, DOUBLE, direction="out", identity=78),
        pcapng.statistics_block(0, TIME + 3, received=1, dropped=0),
        pcapng.statistics_block(1, TIME + 3, received=2, dropped=3),
    ]
    path.write_bytes(b"".join(parts))
    return path


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.peer("tshark")
def test_tshark_reads_names_nanoseconds_directions_identities_and_tags(capture: Path) -> None:
    fields = ["frame.time_epoch", "frame.interface_name", "frame.interface_description", "frame.packet_flags_direction"]
    fields += ["frame.packet_id", "frame.drop_count", "vlan.id", "vlan.priority", "ieee8021ad.id", "arp.dst.proto_ipv4"]
    words: list[str] = [word for field in fields for word in ("-e", field)]
    lines = run(peers.need("tshark"), "-r", capture, "-T", "fields", "-E", "separator=|", *words).splitlines()
    assert [line.split("|") for line in lines] == [
        ["1700000000.123456789", "s1:eth1", "to h1:eth0", "0x00000001", "77", "", "", "", "", "9.9.9.2"],
        ["1700000000.123456790", "s1:eth9", "trunk to s2:eth9", "0x00000002", "77", "3", "10", "5", "", "9.9.9.2"],
        ["1700000000.123456791", "s1:eth9", "trunk to s2:eth9", "0x00000002", "78", "", "10", "5", "100", "9.9.9.2"],
    ]


@pytest.mark.peer("capinfos")
def test_capinfos_finds_the_file_whole(capture: Path) -> None:
    text = run(peers.need("capinfos"), capture)
    print(text)
    for wanted in (
        "Wireshark/... - pcapng",
        "File timestamp precision:  nanoseconds (9)",
        "Number of packets:   3",
        "Capture application: virtfab",
        "Name = s1:eth9",
        "Description = trunk to s2:eth9",
        "Number of stat entries = 1",
    ):
        assert wanted in text
