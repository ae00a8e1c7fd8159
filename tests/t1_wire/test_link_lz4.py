"""Compressed bursts without sockets: who agrees to them, when they are chosen, and what a stranger can do with them."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lz4.block import compress

from netvirt import link as m
from netvirt import packing
from netvirt.burst import KIND_PACKED, MAX_MESSAGE, Burst, pack_header, unpack_header
from netvirt.link import UP, Hello, Link, LinkError
from netvirt.packing import GAIN, SAMPLE, SMALLEST, Packer

EXAMPLES = 3_000 if os.environ.get("VFAB_LONG") else 200
DICE = random.Random(20)


def burst(*payloads: bytes, epoch: int = 0) -> bytes:
    made = Burst(epoch)
    for number, payload in enumerate(payloads):
        made.append(bytes(12) + b"\x88\xb5" + payload, time_ns=1_700_000_000_000_000_000 + number, identity=number)
    return bytes(made.message())


def noise(size: int = 4000) -> bytes:
    return burst(DICE.randbytes(size))


def words(size: int = 4000) -> bytes:
    return burst((b"%d bottles of beer on the wall\n" % DICE.getrandbits(16) * (size // 25))[:size])


def packed(message: bytes, announced: int | None = None, epoch: int | None = None) -> bytes:
    """A PACKED message made by hand, as the architecture page has it."""
    _, count, own = unpack_header(message)
    body = compress(message[16:], store_size=False)
    length = struct.pack("<I", len(message) - 16 if announced is None else announced)
    return pack_header(KIND_PACKED, count, own if epoch is None else epoch) + length + body


def pair(dialer: bool = True, listener: bool = True, window: int = m.WINDOW) -> tuple[Link, Link]:
    """(dialer, listener), both up; each with compression or without."""
    one, two = Link("h1", window=window), Link("s1", epoch=4, window=window)
    hello = m.parse_hello(one.dial("eth1", "trunk", Packer if dialer else None))
    assert one.receive(two.accept(hello, None, Packer if listener else None)).what == "up"
    return one, two


def reason(link: Link, message: bytes) -> str:
    with pytest.raises(LinkError) as caught:
        link.receive(message)
    assert str(caught.value).isprintable()
    return caught.value.reason


# --- who agrees


@pytest.mark.parametrize("dialer", [True, False])
@pytest.mark.parametrize("listener", [True, False])
def test_both_ends_must_understand_it(dialer: bool, listener: bool) -> None:
    ends = pair(dialer, listener)
    agreed = dialer and listener
    for end, epoch in zip(ends, (4, 0), strict=True):
        assert (end.packer is not None) == agreed
        assert ("lz4" in end.statistics()) == agreed
        message = burst(bytes(600), epoch=epoch)
        if agreed:
            event = end.receive(packed(message))
            assert event.what == "frames" and event.frames is not None and bytes(event.frames) == message
        else:
            assert reason(end, packed(message)) == "unexpected"
        assert end.receive(message).frames is None and end.state == UP


def test_the_greeting_names_it_only_where_it_is_understood() -> None:
    assert b"lz4" not in Link("h1").dial("eth1", "nic")
    hello = Link("h1").dial("eth1", "nic", Packer)
    assert b'"lz4":true' in hello and m.parse_hello(hello).lz4
    assert b'"lz4":true' in Link("s1").accept(m.parse_hello(hello), None, Packer)
    assert b"lz4" not in Link("s1").accept(m.parse_hello(hello))
    assert b"lz4" not in Link("s1").accept(Hello("eth1", "h1", 0, m.WINDOW, "nic", 1), None, Packer)


@pytest.mark.parametrize("said", ["1", "null", '"true"', "[]"])
def test_neither_yes_nor_no_is_junk(said: str) -> None:
    link = Link("h1", nonce=4)
    link.dial("eth1", "nic", Packer)
    rest = f'"port":"eth1","name":"x","epoch":0,"window":{m.WINDOW},"role":"nic","nonce":5,"lz4":{said}'
    with pytest.raises(LinkError) as caught:
        m.parse_hello(pack_header(1, 0, 0) + b"{%s}" % rest.encode())
    assert caught.value.reason == "junk"
    assert reason(link, pack_header(2, 0, 0) + b"{%s}" % rest.encode()) == "junk"
    assert link.state == m.WAITING


def test_a_yes_to_what_was_not_offered_means_nothing() -> None:
    link = Link("h1", nonce=4)
    link.dial("eth1", "nic")
    text = f'{{"name":"s1","window":{m.WINDOW},"nonce":5,"lz4":true}}'.encode()
    assert link.receive(pack_header(2, 0, 4) + text).what == "up"
    assert link.packer is None and reason(link, packed(burst(bytes(600), epoch=4))) == "unexpected"


def test_each_connection_agrees_anew_and_the_numbers_go_on() -> None:
    dialer, listener = pair()
    assert dialer.packer is not None
    dialer.packer.pack(words())
    sent = dialer.statistics()
    assert sent["lz4-bursts"] == 1
    for understood in (False, True):
        dialer.lost()
        listener.lost()
        hello = m.parse_hello(dialer.dial("eth1", "trunk", Packer))
        dialer.receive(listener.accept(hello, None, Packer if understood else None))
        assert (dialer.packer is not None, listener.packer is not None) == (understood, understood)
        assert {**dialer.statistics(), "state": ""} == {**sent, "state": ""}


# --- when it is chosen


def tries(packer: Packer, messages: list[bytes], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many of the messages were run through lz4."""
    seen: list[int] = []

    def counted(data: Any) -> bytes:
        seen.append(len(data))
        return compress(data)

    monkeypatch.setattr(packing, "compress", counted)
    for message in messages:
        packer.pack(message)
    return len(seen)


def test_what_shrinks_is_compressed_from_the_first_burst_on() -> None:
    packer = Packer()
    assert packer.statistics()["lz4"] == "untried"
    raw = sent = 0
    for _ in range(50):
        message = words()
        wire = packer.pack(memoryview(message))
        assert unpack_header(wire) == (KIND_PACKED, 1, 0) and len(wire) <= GAIN * len(message)
        assert packer.unpack(wire) == message and packer.size(wire) == len(message)
        raw, sent = raw + len(message), sent + len(wire)
    said = packer.statistics()
    assert said == {
        "lz4": "on", "lz4-bursts": 50, "lz4-raw-bytes": raw, "lz4-sent-bytes": sent,
        "lz4-unpacked-bytes": raw, "lz4-received-bytes": sent,
    }  # fmt: skip
    assert raw > 3 * sent


def test_what_does_not_shrink_is_sampled_and_goes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    packer = Packer()
    messages = [noise() for _ in range(10 * SAMPLE)]
    assert all(packer.pack(message) is message for message in messages)
    assert packer.statistics()["lz4"] == "off" and packer.bursts == 0
    assert tries(packer, messages, monkeypatch) == 10


def test_small_messages_are_left_alone_and_are_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    packer = Packer()
    small = burst(bytes(SMALLEST - 16 - 24 - 14 - 1))
    assert len(small) == SMALLEST - 1
    assert tries(packer, [small] * 1000, monkeypatch) == 0
    assert packer.statistics()["lz4"] == "untried"
    assert unpack_header(packer.pack(words())).kind == KIND_PACKED
    assert packer.on and packer.pack(small) is small


def test_it_follows_what_passes_and_takes_no_more_than_a_few_bursts_to_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    packer = Packer()
    for _ in range(3):
        for _ in range(20 * SAMPLE):
            packer.pack(noise())
        assert not packer.on
        needed = 0
        while not packer.on:
            packer.pack(words())
            needed += 1
            assert needed <= 3 * SAMPLE
        for _ in range(100):
            assert unpack_header(packer.pack(words())).kind == KIND_PACKED
        wasted = tries(packer, [noise() for _ in range(SAMPLE)], monkeypatch)
        assert not packer.on and 2 <= wasted <= 12


def test_one_lucky_sample_does_not_turn_it_on() -> None:
    packer = Packer()
    for _ in range(10 * SAMPLE):
        packer.pack(noise())
    while True:
        wire = packer.pack(words())
        if unpack_header(wire).kind == KIND_PACKED:  # the sample: sent as it was made
            break
    assert not packer.on


def test_single_bursts_that_do_not_shrink_go_as_they_are_while_it_is_on() -> None:
    packer = Packer()
    for _ in range(30):
        for _ in range(3):
            assert unpack_header(packer.pack(words())).kind == KIND_PACKED
        message = noise()
        assert packer.pack(message) is message
        assert packer.on


# --- what a stranger can do


HOSTILE = [
    b"", bytes(3), bytes(4), bytes(5), b"\xff" * 40,
    struct.pack("<I", MAX_MESSAGE - 15) + compress(bytes(MAX_MESSAGE - 15), store_size=False),
    struct.pack("<I", 2**32 - 1) + compress(bytes(4000), store_size=False),
    struct.pack("<I", 2**31) + compress(bytes(4000), store_size=False),
    struct.pack("<I", 4001) + compress(bytes(4000), store_size=False),
    struct.pack("<I", 3999) + compress(bytes(4000), store_size=False),
    struct.pack("<I", 0) + compress(b"", store_size=False),
    struct.pack("<I", 500) + compress(DICE.randbytes(500), store_size=False),  # longer than what is in it
    struct.pack("<I", 4000) + compress(bytes(4000), store_size=False)[:-1],
    struct.pack("<I", 4000) + compress(bytes(4000), store_size=False) + b"x",
    struct.pack("<I", 4000) + b"\x0f\xff\xff" + b"\xff" * 12,  # a match that reaches back before the beginning
    struct.pack("<I", 4000),
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE)
def test_what_does_not_unpack_to_what_it_announces_is_counted(body: bytes) -> None:
    dialer, listener = pair()
    assert reason(listener, pack_header(KIND_PACKED, 1, 0) + body) == "compression"
    message = words()
    assert listener.receive(message).what == "frames"
    event = listener.receive(packed(message))
    assert event.frames is not None and bytes(event.frames) == message
    assert listener.statistics()["lz4-unpacked-bytes"] == len(message)
    del dialer


def test_the_largest_message_unpacks_and_one_byte_more_does_not() -> None:
    _, listener = pair()
    head, body = pack_header(KIND_PACKED, 1, 0), bytes(MAX_MESSAGE - 16)
    event = listener.receive(head + compress(body))
    assert event.frames is not None and len(event.frames) == MAX_MESSAGE
    assert reason(listener, head + compress(body + b"x")) == "compression"


def test_a_bomb_takes_no_more_than_its_credit_and_is_not_unpacked_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 KiB on the wire, 1 MiB of work each: counted as what they hold, they end where plain messages would."""
    _, listener = pair(window=m.MIN_WINDOW * 2)
    bomb = pack_header(KIND_PACKED, 1, 0) + compress(bytes(MAX_MESSAGE - m.MESSAGE_COST - 16))
    assert len(bomb) < 5000
    unpacked: list[int] = []
    honest = Packer.unpack
    monkeypatch.setattr(Packer, "unpack", lambda self, data: unpacked.append(len(data)) or honest(self, data))
    for _ in range(2):
        assert listener.receive(bomb).what == "frames"
    for _ in range(20):
        assert reason(listener, bomb) == "over-credit"
    assert len(unpacked) == 2


def test_what_fails_to_unpack_uses_up_credit_too() -> None:
    _, listener = pair(window=m.MIN_WINDOW)
    broken = pack_header(KIND_PACKED, 1, 0) + struct.pack("<I", m.MIN_WINDOW // 4) + b"\xff" * 40
    assert [reason(listener, broken) for _ in range(5)] == ["compression"] * 3 + ["over-credit"] * 2


def test_an_old_epoch_is_not_unpacked() -> None:
    dialer, listener = pair()
    assert reason(listener, packed(words(), epoch=7)) == "stale-epoch"
    assert reason(dialer, packed(words(), epoch=0)) == "stale-epoch"
    assert listener.statistics()["lz4-received-bytes"] == dialer.statistics()["lz4-received-bytes"] == 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.sampled_from([0, 4]))
def test_junk_raises_link_errors_only(body: bytes, announced: int, epoch: int) -> None:
    _, listener = pair()
    for text in (body, struct.pack("<I", announced) + body, struct.pack("<I", announced % 5000) + body):
        message = pack_header(KIND_PACKED, 1, epoch) + text
        try:
            event = listener.receive(message)
        except LinkError as error:
            assert error.reason in ("compression", "stale-epoch", "over-credit")
        else:
            assert event.frames is not None and len(event.frames) == 16 + struct.unpack_from("<I", text)[0]


# --- credits


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(60, 200_000)), min_size=1, max_size=60), st.integers(0, 3))
def test_both_sides_count_the_same_whichever_way_a_burst_went(sends: list[tuple[bool, int]], delay: int) -> None:
    """Nothing that may_send() allowed is refused, all arrives byte for byte, and no credit is lost."""
    dialer, listener = pair(window=m.MIN_WINDOW)
    packer, under_way, arrived = dialer.packer, [], []
    assert packer is not None

    def deliver(leave: int) -> None:
        while len(under_way) > leave:
            wire = under_way.pop(0)
            event = listener.receive(wire)
            arrived.append(bytes(wire if event.frames is None else event.frames))
            if (answer := listener.consumed()) is not None:
                dialer.receive(answer)

    sent = []
    for plain, size in sends:
        message = pack_header(0, 1, 0) + (DICE.randbytes(size) if plain else bytes(size))
        if dialer.may_send(len(message)):
            under_way.append(packer.pack(message))
            dialer.sent(len(message))
            sent.append(message)
        deliver(delay)
    deliver(0)
    assert arrived == sent
    question = m.credit_again(listener)
    assert question is not None and dialer.receive(question).what == "credit"
    assert dialer.may_send(m.MIN_WINDOW // 2)
