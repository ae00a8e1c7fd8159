"""Ethernet frames from one table of cases, both ways: whole, byte by byte, with trailing data."""

from __future__ import annotations

import pytest

from netvirt.frame import TPID_CUSTOMER, TPID_SERVICE, Ethernet, FrameError, Tag, describe, parse, pop_tag, push_tag

A = bytes.fromhex("020000000001")
B = bytes.fromhex("020000000002")
ALL = b"\xff" * 6
ARP = bytes.fromhex("0001080006040001 020000000001 0a000001 000000000000 0a000002")
PING = bytes.fromhex("4500001c00010000400100000a0000010a000002 0800f7fd00010001")
DATAGRAM = bytes.fromhex(
    "6000000000081140" + "fe80" + "00" * 13 + "01" + "ff02" + "00" * 13 + "01" + "0007000900080000"
)

# (bytes, value, line of the log)
CASES: list[tuple[bytes, Ethernet, str]] = [
    (
        ALL + A + bytes.fromhex("0806") + ARP,
        Ethernet(ALL, A, (), 0x0806, ARP),
        "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff ARP who has 10.0.0.2, tell 10.0.0.1 (42 bytes)",
    ),
    (
        B + A + bytes.fromhex("8100 600a 0800") + PING,
        Ethernet(B, A, (Tag(TPID_CUSTOMER, 3, False, 10),), 0x0800, PING),
        "02:00:00:00:00:01 > 02:00:00:00:00:02 vlan 10 pcp 3 IPv4 10.0.0.1 > 10.0.0.2 ICMP type 8 (46 bytes)",
    ),
    (
        B + A + bytes.fromhex("88a8 1ffe 8100 f000 86dd") + DATAGRAM,
        Ethernet(B, A, (Tag(TPID_SERVICE, 0, True, 4094), Tag(TPID_CUSTOMER, 7, True, 0)), 0x86DD, DATAGRAM),
        "02:00:00:00:00:01 > 02:00:00:00:00:02 s-vlan 4094 pcp 0 dei vlan 0 pcp 7 dei"
        " IPv6 fe80::1 > ff02::1 UDP 7 > 9 (70 bytes)",
    ),
    (
        B + A + bytes.fromhex("8100 0fff 88cc"),
        Ethernet(B, A, (Tag(TPID_CUSTOMER, 0, False, 4095),), 0x88CC, b""),
        "02:00:00:00:00:01 > 02:00:00:00:00:02 vlan 4095 pcp 0 LLDP (18 bytes)",
    ),
    (
        bytes.fromhex("0180c2000000") + A + bytes.fromhex("0003 424203"),
        Ethernet(bytes.fromhex("0180c2000000"), A, (), 3, bytes.fromhex("424203")),
        "02:00:00:00:00:01 > 01:80:c2:00:00:00 LLC (spanning tree) (17 bytes)",
    ),
    (
        B + A + bytes.fromhex("1234 00"),
        Ethernet(B, A, (), 0x1234, b"\0"),
        "02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x1234 (15 bytes)",
    ),
]


@pytest.mark.parametrize(("data", "value", "line"), CASES)
def test_whole(data: bytes, value: Ethernet, line: str) -> None:
    assert parse(data) == value
    assert parse(memoryview(bytearray(data))) == value
    assert value.build() == data
    assert describe(data) == line


@pytest.mark.parametrize(("data", "value", "line"), CASES)
def test_byte_by_byte(data: bytes, value: Ethernet, line: str) -> None:
    headers = 14 + 4 * len(value.tags)
    for length in range(len(data)):
        if length < headers:
            with pytest.raises(FrameError, match=str(length)):
                parse(data[:length])
            assert describe(data[:length]).startswith(f"{length} bytes that are no frame: ")
        else:
            assert parse(data[:length]) == value._replace(payload=data[headers:length])
            assert f"({length} bytes)" in describe(data[:length])


@pytest.mark.parametrize(("data", "value", "line"), CASES)
def test_trailing_data_is_payload(data: bytes, value: Ethernet, line: str) -> None:
    assert parse(data + b"\0" * 18).payload == value.payload + b"\0" * 18


@pytest.mark.parametrize(("data", "value", "line"), CASES)
def test_push_and_pop_are_inverse(data: bytes, value: Ethernet, line: str) -> None:
    tag = Tag(TPID_CUSTOMER, 5, True, 100)
    pushed = push_tag(data, tag)
    assert parse(pushed) == value._replace(tags=(tag, *value.tags))
    assert pop_tag(pushed) == (tag, data)
    outer, rest = pop_tag(data)
    assert (push_tag(rest, outer) if outer else rest) == data


BAD_VALUES = [
    Ethernet(A[:5], B, (), 0x0800, b""),
    Ethernet(A, B + b"\0", (), 0x0800, b""),
    Ethernet(A, B, (), 0x10000, b""),
    Ethernet(A, B, (), -1, b""),
    Ethernet(A, B, (), 0x8100, b""),
    Ethernet(A, B, (Tag(0x9100, 0, False, 1),), 0x0800, b""),
    Ethernet(A, B, (Tag(TPID_CUSTOMER, 8, False, 1),), 0x0800, b""),
    Ethernet(A, B, (Tag(TPID_CUSTOMER, 0, False, 4096),), 0x0800, b""),
    Ethernet(A, B, (Tag(TPID_CUSTOMER, 0, False, -1),), 0x0800, b""),
]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_values_that_no_frame_can_carry(value: Ethernet) -> None:
    with pytest.raises(FrameError):
        value.build()


def test_a_runt_cannot_be_tagged() -> None:
    with pytest.raises(FrameError, match="13"):
        push_tag(bytes(13), Tag(TPID_CUSTOMER, 0, False, 1))
    with pytest.raises(FrameError, match="cut off"):
        pop_tag(A + B + bytes.fromhex("8100000a08"))
