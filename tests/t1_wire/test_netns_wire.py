"""rtnetlink messages, each laid out by hand from the kernel's headers; the kernel's answers, whole and cut short."""

from __future__ import annotations

import random
import struct

import pytest

from daemons.netns_wire import (
    Answer,
    add_vlan,
    address,
    delete_link,
    forget_neighbour,
    parse_answer,
    route,
    set_link,
)

FOUR, ROUTER = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 254])


def parts(message: bytes) -> tuple[int, int, bytes]:
    """(type, flags, body); the length must be the message's own."""
    size, kind, flags, _, _ = struct.unpack_from("=IHHII", message)
    assert size == len(message)
    return kind, flags, message[16:]


CASES = {
    "link up": (set_link(3, up=True), 16, 0x5, "00000000 03000000 01000000 01000000"),
    "mac": (
        set_link(3, mac=bytes(range(6))), 16, 0x5,
        "00000000 03000000 00000000 00000000 0a000100 000102030405 0000",
    ),
    "mtu": (set_link(3, mtu=9000), 16, 0x5, "00000000 03000000 00000000 00000000 08000400 28230000"),
    "delete": (delete_link(3), 17, 0x5, "00000000 03000000 00000000 00000000"),
    "vlan": (
        add_vlan("v7", 2, 7, 0), 16, 0x605,
        "00000000 00000000 00000000 00000000 07000300 76370000 08000500 02000000"
        "1c001280 09000100 766c616e 00000000 0c000280 06000100 07000000",
    ),
    "address": (
        address(2, FOUR, 24), 20, 0x505,
        "02180000 02000000 08000200 0a000001 08000100 0a000001 08000400 0a0000ff",
    ),
    "host address": (address(2, FOUR, 32), 20, 0x505, "02200000 02000000 08000200 0a000001 08000100 0a000001"),
    "IPv6 address": (
        address(2, bytes(15) + b"\1", 64, delete=True), 21, 0x5,
        f"0a400200 02000000 14000200 {'00' * 15}01 14000100 {'00' * 15}01 08000800 02000000",
    ),
    "default": (
        route(bytes(4), 0, ROUTER, 2, 0), 24, 0x505,
        "02000000 fe040001 00000000 08000500 0a0000fe 08000400 02000000",
    ),
    "on-link": (
        route(FOUR, 32, b"", 2, 5), 24, 0x505,
        "02200000 fe04fd01 00000000 08000100 0a000001 08000400 02000000 08000600 05000000",
    ),
    "IPv4 by IPv6": (
        route(bytes(4), 0, bytes(15) + b"\1", 0, 0, delete=True), 25, 0x5,
        f"02000000 fe04ff01 00000000 16001200 0a00 {'00' * 15}01 0000",
    ),
    "neighbour": (forget_neighbour(2, FOUR), 29, 0x5, "02000000 02000000 00000000 08000100 0a000001"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_message_is_laid_out_as_the_headers_say(name: str) -> None:
    message, kind, flags, body = CASES[name]
    assert parts(message) == (kind, flags, bytes.fromhex(body))


def test_a_priority_is_mapped_for_every_socket() -> None:
    message = add_vlan("v7", 2, 7, 5)
    for each in range(8):
        assert struct.pack("=HHII", 12, 1, each, 5) in message


def answer(code: int, words: str = "", capped: bool = True) -> bytes:
    """As the kernel answers to a request of 32 bytes."""
    echo = struct.pack("=IHHII", 32, 24, 0x505, 1, 9) + (b"" if capped else bytes(16))
    text = words.encode() + b"\0"
    tail = struct.pack("=HH", 4 + len(text), 1) + text + bytes(-len(text) % 4) if words else b""
    body = struct.pack("=i", -code) + echo + tail
    flags = (0x100 if capped else 0) | (0x200 if words else 0)
    return struct.pack("=IHHII", 16 + len(body), 2, flags, 1, 9) + body


@pytest.mark.parametrize("capped", [True, False])
def test_answers(capped: bool) -> None:
    assert parse_answer(answer(0)) == (0, "")
    assert parse_answer(answer(22, capped=capped)) == (22, "")
    assert parse_answer(answer(101, "Nexthop has invalid gateway", capped)) == (101, "Nexthop has invalid gateway")
    other = struct.pack("=IHHII", 20, 16, 0, 0, 0) + bytes(4)
    assert parse_answer(other + answer(1)) == Answer(1, "")


def test_what_is_cut_short_or_junk_is_no_answer_and_no_error() -> None:
    whole = answer(22, "words")
    for length in range(20):
        assert parse_answer(whole[:length]) is None
    dice = random.Random(6)
    for _ in range(3000):
        junk = bytearray(whole)
        for _ in range(dice.randrange(1, 8)):
            junk[dice.randrange(len(junk))] = dice.randrange(256)
        for data in (bytes(junk), dice.randbytes(dice.randrange(80))):
            found = parse_answer(data)
            assert found is None or isinstance(found.words, str)
