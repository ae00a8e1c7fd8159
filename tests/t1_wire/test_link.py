"""One link's state machine without sockets: every state with every kind, credits, nonces, epochs, goodbye."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt import link as m
from netvirt.burst import MAX_MESSAGE, Burst, pack_header, unpack_header
from netvirt.link import DOWN, LEAVING, UP, WAITING, Event, Hello, Link, LinkError

FRAMES, HELLO, WELCOME, REFUSED, CREDIT, BYE, GONE, PACKED = range(8)
EXAMPLES = 5_000 if os.environ.get("VFAB_LONG") else 300

GREETING = {"port": "eth1", "name": "h1", "epoch": 3, "window": m.WINDOW, "role": "nic", "nonce": 5}


def greeting(kind: int, sender: int = 0, /, **value: Any) -> bytes:
    return pack_header(kind, 0, sender) + json.dumps(value).encode()


def frames(size: int = 64, epoch: int = 0) -> bytes:
    """A FRAMES message of exactly `size` bytes, not all of them frames: a link does not look inside."""
    return pack_header(FRAMES, 1, epoch) + bytes(size - 16)


def credit(total: int, epoch: int = 0) -> bytes:
    return pack_header(CREDIT, 0, epoch) + struct.pack("<Q", total)


def pair(window: int = m.WINDOW, **dialer: Any) -> tuple[Link, Link]:
    """(dialer, listener), both up."""
    one, two = Link("h1", window=window, **dialer), Link("s1", epoch=4, window=window)
    hello = m.parse_hello(one.dial("eth1", "nic"))
    assert one.receive(two.accept(hello)).what == "up"
    return one, two


def values(link: Link) -> dict[str, Any]:
    return {name: getattr(link, name) for name in Link.__slots__}


# --- greeting


def test_the_greeting_is_what_the_architecture_page_says() -> None:
    dialer, listener = Link("h1", epoch=3, window=m.MIN_WINDOW, nonce=41), Link("s1", epoch=4)
    hello = dialer.dial("eth1", "trunk")
    assert dialer.state == WAITING
    assert unpack_header(hello) == (HELLO, 0, 3)
    said = json.loads(hello[16:])
    assert said == {"port": "eth1", "name": "h1", "epoch": 3, "window": m.MIN_WINDOW, "role": "trunk", "nonce": 42}
    parsed = m.parse_hello(hello)
    assert parsed == Hello("eth1", "h1", 3, m.MIN_WINDOW, "trunk", 42)
    welcome = listener.accept(parsed, {"ports": {"0": "eth1"}})
    assert unpack_header(welcome) == (WELCOME, 0, 4)
    assert (listener.state, listener.peer, listener.peer_epoch) == (UP, "h1", 3)
    event = dialer.receive(welcome)
    assert (event.what, event.answer, event.info["ports"], event.info["name"]) == ("up", None, {"0": "eth1"}, "s1")
    assert (dialer.state, dialer.peer, dialer.peer_epoch) == (UP, "s1", 4)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", ""), ("port", None), ("port", 1), ("port", "x" * 81), ("port", "a\nb"), ("port", "a\x1b[31m"),
        ("name", ""), ("name", ["h1"]), ("name", "x" * 81), ("name", "\x00"),
        ("epoch", -1), ("epoch", 2**63), ("epoch", 1.0), ("epoch", True), ("epoch", "3"), ("epoch", None),
        ("window", 0), ("window", m.MIN_WINDOW - 1), ("window", m.MAX_WINDOW + 1), ("window", 10**400),
        ("role", "admin"), ("role", None), ("role", ["nic"]), ("role", {}),
        ("nonce", -1), ("nonce", "5"), ("nonce", 2**64),
    ],
)  # fmt: skip
def test_a_hello_with_one_wrong_value_is_junk(key: str, value: object) -> None:
    m.parse_hello(greeting(HELLO, **GREETING))
    with pytest.raises(LinkError) as caught:
        m.parse_hello(greeting(HELLO, **{**GREETING, key: value}))
    assert caught.value.reason == "junk"
    with pytest.raises(LinkError):
        m.parse_hello(greeting(HELLO, **{name: old for name, old in GREETING.items() if name != key}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'"x"',
        b"null",
        b"\xff\xfe",
        b"[" * 5000,
        b"NaN",
        b"{}" + b" " * 5000,
        b"9" * 4096,
        b'{"a":',
    ],
)
def test_a_greeting_that_is_no_object_is_junk(text: bytes) -> None:
    with pytest.raises(LinkError) as caught:
        m.parse_hello(pack_header(HELLO, 0, 0) + text)
    assert caught.value.reason == "junk"
    link = Link("h1")
    link.dial("eth1", "nic")
    for kind in (WELCOME, REFUSED):
        with pytest.raises(LinkError) as caught:
            link.receive(pack_header(kind, 0, 0) + text)
        assert caught.value.reason == "junk"
    assert link.state == WAITING


def test_an_answer_to_an_earlier_hello_changes_nothing() -> None:
    dialer, listener = Link("h1", nonce=9), Link("s1")
    old = m.parse_hello(dialer.dial("eth1", "nic"))
    new = m.parse_hello(dialer.dial("eth1", "nic"))
    assert new.nonce != old.nonce
    for answer in (listener.accept(old), m.refusal(0, "no", nonce=old.nonce, retry=False)):
        with pytest.raises(LinkError) as caught:
            dialer.receive(answer)
        assert caught.value.reason == "late"
        assert dialer.state == WAITING
    assert dialer.receive(listener.accept(new)).what == "up"


@pytest.mark.parametrize("retry", [True, False])
def test_a_refusal_brings_its_sentence(retry: bool) -> None:
    dialer = Link("h1")
    hello = m.parse_hello(dialer.dial("eth1", "nic"))
    answer = m.refusal(7, "port eth1 of s1 is taken by h2", nonce=hello.nonce, retry=retry)
    assert unpack_header(answer) == (REFUSED, 0, 7)
    event = dialer.receive(answer)
    assert (event.what, event.info) == ("refused", {"why": "port eth1 of s1 is taken by h2", "retry": retry})
    assert dialer.state == WAITING  # until it asks again, or the transport goes


# --- every state with every kind

OUTCOMES: dict[tuple[str, int], str] = {
    # An answer, "what" of an event, or "!reason" of the error; only the well-formed message of each kind.
    (DOWN, FRAMES): "!late", (DOWN, CREDIT): "!late", (DOWN, GONE): "!late",
    (WAITING, FRAMES): "!late", (WAITING, CREDIT): "!late", (WAITING, WELCOME): "up", (WAITING, REFUSED): "refused",
    (UP, FRAMES): "frames", (UP, CREDIT): "credit", (UP, BYE): "left",
    (DOWN, PACKED): "!late", (WAITING, PACKED): "!late", (LEAVING, PACKED): "!late",
    (LEAVING, FRAMES): "!late", (LEAVING, CREDIT): "!late", (LEAVING, BYE): "credit", (LEAVING, GONE): "gone",
}  # fmt: skip
AFTER = {"up": UP, "left": DOWN, "gone": DOWN}


def in_state(state: str) -> Link:
    if state in (DOWN, WAITING):
        link = Link("h1", nonce=4)
        if state == WAITING:
            link.dial("eth1", "nic")
        return link
    link, _ = pair(nonce=4)
    if state == LEAVING:
        link.leave()
    return link


def whole_message(kind: int) -> bytes:
    if kind == FRAMES:
        return frames(epoch=4)
    if kind == HELLO:
        return greeting(HELLO, **GREETING)
    if kind == WELCOME:
        return greeting(WELCOME, 4, name="s1", window=m.WINDOW, nonce=5)
    if kind == REFUSED:
        return greeting(REFUSED, 4, why="no", retry=True, nonce=5)
    return credit(0, 4) if kind == CREDIT else pack_header(kind, 0, 4)


@pytest.mark.parametrize("state", [DOWN, WAITING, UP, LEAVING])
@pytest.mark.parametrize("kind", range(8))
def test_every_state_with_every_kind(state: str, kind: int) -> None:
    link = in_state(state)
    assert link.state == state
    wanted = OUTCOMES.get((state, kind), "!unexpected")
    before = values(link)
    if wanted.startswith("!"):
        with pytest.raises(LinkError) as caught:
            link.receive(whole_message(kind))
        assert caught.value.reason == wanted[1:]
        assert values(link) == before
        return
    event = link.receive(memoryview(whole_message(kind)))
    assert event.what == wanted
    assert link.state == AFTER.get(wanted, state)
    assert (event.answer is not None) == (kind == BYE)
    if event.answer is not None:
        assert unpack_header(event.answer) == (GONE, 0, link.epoch)


@pytest.mark.parametrize("state", [DOWN, WAITING, UP, LEAVING])
@pytest.mark.parametrize(
    "message", [b"", b"V", b"VB\x01", bytes(15), bytes(16), b"VB\x02\x05" + bytes(12), b"VB\x01\x08" + bytes(12)]
)
def test_what_is_no_message_at_all(state: str, message: bytes) -> None:
    link = in_state(state)
    before = values(link)
    with pytest.raises(LinkError):
        link.receive(message)
    after = values(link)
    # Sixteen zero bytes on a link that is up are a FRAMES message to it: the plane finds out what it is not.
    assert after == before or (state == UP and len(message) >= 16 and message[3] == FRAMES)


# --- credits


def test_a_sender_stops_at_the_window_and_goes_on_with_credit() -> None:
    dialer, listener = pair(window=m.MIN_WINDOW)
    size = m.MIN_WINDOW // 8
    sent = 0
    while dialer.may_send(size):
        dialer.sent(size)
        assert listener.receive(frames(size)).what == "frames"
        sent += 1
    assert sent == 7  # the eighth would pass the window by the cost of the messages themselves
    answer = listener.consumed()
    assert answer is not None and unpack_header(answer) == (CREDIT, 0, 4)
    assert struct.unpack("<Q", answer[16:])[0] == sent * (size + m.MESSAGE_COST)
    assert listener.consumed() is None
    assert dialer.receive(answer).what == "credit"
    assert dialer.may_send(m.MIN_WINDOW - m.MESSAGE_COST)
    assert not dialer.may_send(m.MIN_WINDOW - m.MESSAGE_COST + 1)


def test_the_largest_message_fits_the_smallest_window_whenever_all_is_consumed() -> None:
    """Otherwise a link could stand still for ever: consumed() stays silent below a quarter of the window."""
    dialer, listener = pair(window=m.MIN_WINDOW)
    largest_burst = 262_144 + 65_557 + 24
    for size in [16 + 24 + 14, 200, 70_000, largest_burst] * 200:
        assert dialer.may_send(size), "stuck"
        dialer.sent(size)
        listener.receive(frames(size))
        answer = listener.consumed()
        if answer is not None:
            dialer.receive(answer)


def test_who_ignores_the_window_is_cut_off_and_counted_but_not_believed() -> None:
    dialer, listener = pair(window=m.MIN_WINDOW)
    size = m.MIN_WINDOW // 4
    for _ in range(3):
        listener.receive(frames(size))
    for _ in range(3):
        with pytest.raises(LinkError) as caught:
            listener.receive(frames(size))
        assert caught.value.reason == "over-credit"
    listener.receive(frames(size - 4 * m.MESSAGE_COST))
    answer = listener.consumed()
    assert answer is not None and struct.unpack("<Q", answer[16:])[0] == m.MIN_WINDOW
    listener.receive(frames(size))
    del dialer


@pytest.mark.parametrize("total", [1, 2**63, 2**64 - 1])
def test_credit_for_what_was_never_sent_is_junk(total: int) -> None:
    dialer, _ = pair()
    with pytest.raises(LinkError) as caught:
        dialer.receive(credit(total, 4))
    assert caught.value.reason == "junk"


def test_credit_never_runs_backwards() -> None:
    dialer, _ = pair()
    dialer.sent(1000)
    dialer.sent(1000)
    assert dialer.receive(credit(2 * (1000 + m.MESSAGE_COST), 4)).what == "credit"
    assert dialer.receive(credit(2 * (1000 + m.MESSAGE_COST), 4)).what == "credit"  # "are you there" says it again
    with pytest.raises(LinkError):
        dialer.receive(credit(1000 + m.MESSAGE_COST, 4))


@pytest.mark.parametrize("tail", [b"", bytes(7), bytes(9)])
def test_credit_has_eight_bytes(tail: bytes) -> None:
    dialer, _ = pair()
    with pytest.raises(LinkError):
        dialer.receive(pack_header(CREDIT, 0, 4) + tail)


def test_a_question_whether_anybody_is_there_changes_nothing() -> None:
    dialer, listener = pair(window=m.MIN_WINDOW)
    assert m.credit_again(Link("x")) is None
    dialer.sent(1000)
    listener.receive(frames(1000))
    question = m.credit_again(listener)
    assert question is not None
    before = values(dialer)
    assert dialer.receive(question).what == "credit"
    assert values(dialer) == before


def test_credits_begin_anew_with_every_connection() -> None:
    dialer, listener = pair(window=m.MIN_WINDOW)
    dialer.sent(m.MIN_WINDOW // 2)
    listener.receive(frames(m.MIN_WINDOW // 2))
    dialer.lost()
    listener.lost()
    assert not dialer.may_send(1)
    assert dialer.receive(listener.accept(m.parse_hello(dialer.dial("eth1", "nic")))).what == "up"
    assert dialer.may_send(m.MIN_WINDOW - m.MESSAGE_COST)
    listener.receive(frames(m.MIN_WINDOW - m.MESSAGE_COST))


def test_each_end_keeps_to_the_other_ends_window() -> None:
    dialer, listener = Link("h1", window=m.MAX_WINDOW), Link("s1", window=m.MIN_WINDOW)
    dialer.receive(listener.accept(m.parse_hello(dialer.dial("eth1", "nic"))))
    assert not dialer.may_send(m.MIN_WINDOW)
    assert listener.may_send(m.MIN_WINDOW * 2)


# --- epochs


def test_an_older_life_of_the_same_peer_is_refused_on_both_sides() -> None:
    listener = Link("s1", epoch=4)
    listener.accept(Hello("eth1", "h1", 9, m.WINDOW, "nic", 1))
    listener.lost()
    with pytest.raises(LinkError) as caught:
        listener.accept(Hello("eth1", "h1", 8, m.WINDOW, "nic", 2))
    assert caught.value.reason == "stale-epoch" and "h1" in str(caught.value)
    assert (listener.state, listener.peer_epoch) == (DOWN, 9)
    listener.accept(Hello("eth1", "h2", 1, m.WINDOW, "nic", 3))  # somebody else has a life of his own

    dialer, listener = pair()
    dialer.lost()
    nonce = m.parse_hello(dialer.dial("eth1", "nic")).nonce
    with pytest.raises(LinkError) as caught:
        dialer.receive(greeting(WELCOME, 3, name="s1", window=m.WINDOW, nonce=nonce))
    assert caught.value.reason == "stale-epoch"
    assert dialer.state == WAITING


@pytest.mark.parametrize("epoch", [0, 3, 5, 2**64 - 1])
def test_frames_of_another_epoch_are_dropped(epoch: int) -> None:
    dialer, _ = pair()
    assert dialer.peer_epoch == 4
    with pytest.raises(LinkError) as caught:
        dialer.receive(frames(epoch=epoch))
    assert caught.value.reason == "stale-epoch"
    assert dialer.receive(frames(epoch=4)).what == "frames"


# --- goodbye


def test_goodbye_from_either_end() -> None:
    for leaver, stayer in (pair(), pair()[::-1]):
        bye = leaver.leave()
        assert unpack_header(bye) == (BYE, 0, leaver.epoch)
        assert (leaver.state, leaver.may_send(1)) == (LEAVING, False)
        left = stayer.receive(bye)
        assert (left.what, stayer.state, stayer.may_send(1)) == ("left", DOWN, False)
        assert left.answer is not None
        assert leaver.receive(left.answer).what == "gone"
        assert leaver.state == DOWN


def test_both_say_goodbye_at_once() -> None:
    one, two = pair()
    bye_one, bye_two = one.leave(), two.leave()
    answer_one, answer_two = one.receive(bye_two).answer, two.receive(bye_one).answer
    assert answer_one is not None and answer_two is not None
    assert (one.state, two.state) == (LEAVING, LEAVING)
    assert one.receive(answer_two).what == two.receive(answer_one).what == "gone"
    assert (one.state, two.state) == (DOWN, DOWN)


# --- junk

kinds = st.integers(0, 8)
texts = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {},
        optional={
            key: st.one_of(st.just(value), st.integers(), st.text(max_size=5), st.none())
            for key, value in {**GREETING, "why": "x", "retry": True}.items()
        },
    ).map(lambda value: json.dumps(value).encode()),
)
messages = st.one_of(
    st.binary(max_size=80),
    st.builds(lambda kind, epoch, tail: b"VB\x01" + bytes([kind]) + struct.pack("<IQ", 0, epoch) + tail,
              kinds, st.sampled_from([0, 4, 5, 2**64 - 1]), texts),
)  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from([DOWN, WAITING, UP, LEAVING]), st.lists(messages, min_size=1, max_size=8))
def test_junk_raises_link_errors_only(state: str, junk: list[bytes]) -> None:
    link = in_state(state)
    for message in junk:
        for receive in (link.receive, m.parse_hello):
            try:
                what = receive(message)
            except LinkError as error:
                assert error.reason and str(error)
            else:
                assert isinstance(what, Event | Hello)
        assert link.state in (DOWN, WAITING, UP, LEAVING)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(16, 400_000)), max_size=200), st.integers(0, 3))
def test_an_honest_sender_is_never_over_credit_and_never_stuck(sends: list[tuple[bool, int]], delay: int) -> None:
    """Messages and credits are under way for a while; nothing that may_send() allowed is refused."""
    ends = pair(window=m.MIN_WINDOW)
    under_way: list[list[bytes]] = [[], []]  # towards the dialer, towards the listener
    epochs = (0, 4)

    def deliver(to: int, leave: int) -> None:
        while len(under_way[to]) > leave:
            event = ends[to].receive(under_way[to].pop(0))
            if event.what == "frames" and (answer := ends[to].consumed()) is not None:
                under_way[1 - to].append(answer)

    for listener_sends, size in sends:
        sender = int(listener_sends)
        if ends[sender].may_send(size):
            ends[sender].sent(size)
            under_way[1 - sender].append(frames(size, epochs[sender]))
        deliver(0, delay)
        deliver(1, delay)
    while under_way[0] or under_way[1]:
        deliver(0, 0)
        deliver(1, 0)
    assert ends[0].may_send(m.MIN_WINDOW // 2) and ends[1].may_send(m.MIN_WINDOW // 2)


def test_a_real_burst_is_a_frames_message() -> None:
    dialer, listener = pair()
    burst = Burst(0)
    burst.append(bytes(60))
    assert listener.receive(burst.message()).what == "frames"
    assert MAX_MESSAGE <= m.MIN_WINDOW
    del dialer
