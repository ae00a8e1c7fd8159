"""Arbitrary and mutated messages: the reader knows one error, the plane counts, and neither crashes."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netvirt.burst import MAX_FRAME, MIN_FRAME, Burst, BurstError, unpack_header
from netvirt.dataplane.plane import Plane
from netvirt.dataplane.queue import Queue

EXAMPLES = 20_000 if os.environ.get("VFAB_LONG") else 400
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

frames = st.lists(
    st.tuples(st.binary(min_size=14, max_size=80), st.integers(0, 2**16 - 1), st.sampled_from([b"", bytes(12)])),
    max_size=6,
)


def message_of(parts: list[tuple[bytes, int, bytes]]) -> bytearray:
    burst = Burst()
    for data, flags, vnet in parts:
        burst.append(data, flags=flags, vnet=vnet)
    return bytearray(burst.message())


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A whole message with some bytes changed, cut out or put in: most of it still looks right."""
    message = message_of(draw(frames))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(message)))
        how = draw(st.sampled_from(["set", "cut", "insert", "number"]))
        if how == "set" and at < len(message):
            message[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del message[at : at + draw(st.integers(1, 30))]
        elif how == "insert":
            message[at:at] = draw(st.binary(max_size=30))
        elif how == "number" and at + 4 <= len(message):
            message[at : at + 4] = draw(st.sampled_from([0, 1, 13, 14, 65_557, 65_558, 2**31, 2**32 - 1])).to_bytes(
                4, "little"
            )
    return bytes(message)


anything = st.one_of(mutated(), st.binary(max_size=200), st.binary(max_size=100).map(lambda tail: b"VB\x01\0" + tail))


@fuzz
@example(b"")
@example(b"VB\x01\0" + bytes(12))
@given(anything)
def test_parse_raises_one_error_or_gives_frames(message: bytes) -> None:
    try:
        burst = Burst.parse(message)
    except BurstError:
        return
    assert bytes(burst.message()) == message
    assert unpack_header(message).frames == len(burst) == len(burst.frames())
    assert all(MIN_FRAME <= len(frame) <= MAX_FRAME for frame in burst.frames())


@fuzz
@given(anything)
def test_the_header_reader_raises_one_error(message: bytes) -> None:
    try:
        kind, count, epoch = unpack_header(message)
    except BurstError:
        return
    assert kind <= 7 and count < 2**32 and epoch < 2**64


@fuzz
@given(anything)
def test_a_queue_takes_whole_frames_of_what_is_a_burst(message: bytes) -> None:
    queue = Queue()
    try:
        wanted: list[bytes] | None = Burst.parse(message).frames()
    except BurstError:
        wanted = None
    try:
        assert queue.append_burst(message) == len(queue)
    except ValueError:
        assert wanted is None
    else:
        assert wanted is None or wanted == held(queue)
    # Whatever went in before a mistake was found is whole.
    assert len(held(queue)) == len(queue)


def held(queue: Queue) -> list[bytes]:
    head = queue.head()
    return [] if head is None else Burst.parse(head).frames()


def three_ports() -> Plane:
    plane = Plane()
    for number, takes_tagged in enumerate((False, True, True)):
        assert plane.add_port() == number
        plane.queue(number).open = True
        member = (1, 2) if takes_tagged else (1,)
        plane.set_port(number, state="forwarding", takes_tagged=takes_tagged, pvid=1, member=member, untagged=(1,))
    plane.add_capture([0, 1, 2])
    return plane


@fuzz
@given(st.lists(anything, min_size=1, max_size=4), st.integers(0, 2), st.integers(0, 2**63))
def test_the_plane_raises_nothing_and_counts_the_malformed(messages: list[bytes], number: int, now: int) -> None:
    plane = three_ports()
    for message in messages:
        before = plane.statistics(number)["drops"].get("malformed", 0)
        done = plane.forward(number, message, now, 0)
        counted = plane.statistics(number)["drops"].get("malformed", 0) - before
        try:
            assert (done, counted) == (len(Burst.parse(message)), 0)
        except BurstError:
            # A frame below 14 bytes is no burst to a reader, and a counted runt to a switch; otherwise it is malformed.
            assert counted == 1 or "runt" in plane.statistics(number)["drops"]
    for other in range(3):
        head = plane.queue(other).head()
        if head is not None:
            assert len(Burst.parse(head)) == len(plane.queue(other))
