"""The egress queue: order, bounds, chunks, counters, and memory that is given back."""

from __future__ import annotations

import ctypes
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt.burst import Burst, BurstError
from netvirt.dataplane.queue import Queue

COST = 24  # the frame header, which counts
CHUNK_BYTES, CHUNK_FRAMES = 262_144, 1024  # "a switch fills it to 256 KiB or 1024 frames at most"


def frame(n: int, size: int = 60) -> bytes:
    return n.to_bytes(8, "big") + bytes(size - 8)


def drain(queue: Queue) -> list[bytes]:
    out: list[bytes] = []
    while (head := queue.head()) is not None:
        out += Burst.parse(head).frames()
        queue.pop()
    return out


def test_one_frame_is_a_message_at_once() -> None:
    queue = Queue(epoch=9)
    assert queue.head() is None
    assert queue.append(frame(1), time_ns=5, identity=6)
    head = queue.head()
    assert head is not None and head.readonly
    burst = Burst.parse(head)
    assert burst.epoch == 9
    assert [(f.data, f.time_ns, f.identity, f.flags, f.port) for f in burst] == [(frame(1), 5, 6, 0, 0)]
    assert (len(queue), queue.nbytes) == (1, 60 + COST)
    queue.epoch = 10
    assert struct.unpack_from("<Q", queue.head() or b"", 8) == (10,)
    queue.pop()
    assert (len(queue), queue.nbytes, queue.head()) == (0, 0, None)
    queue.pop()  # nothing there: nothing happens
    assert queue.statistics()["tx_frames"] == 1


def test_order_is_kept_and_many_small_bursts_leave_as_one() -> None:
    queue = Queue()
    for n in range(0, 100, 2):
        burst = Burst(3)
        burst.append(frame(n))
        burst.append(frame(n + 1), vnet=bytes(12))
        assert queue.append_burst(burst.message()) == 2
    head = queue.head()
    assert head is not None
    assert [f.vnet for f in Burst.parse(head)] == [b"", bytes(12)] * 50
    assert drain(queue) == [frame(n) for n in range(100)]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.one_of(st.none(), st.tuples(st.integers(14, 4000), st.integers(1, 200)), st.just((65_557, 3)))),
    st.integers(0, 3_000_000),
)
def test_bounds_order_and_counters_whatever_comes(steps: list[tuple[int, int] | None], limit: int) -> None:
    """A step appends so many frames of a size, or (None) sends one message."""
    queue, waiting, sent, full, number = Queue(limit), [], 0, 0, 0
    for step in steps:
        if step is None:
            head = queue.head()
            assert (head is None) == (not waiting)
            if head is not None:
                assert len(head) <= CHUNK_BYTES
                frames = Burst.parse(head).frames()
                assert len(frames) <= CHUNK_FRAMES
                assert frames == waiting[: len(frames)]
                del waiting[: len(frames)]
                sent += len(frames)
                queue.pop()
            continue
        size, count = step
        for _ in range(count):
            number += 1
            data = frame(number, size)
            fits = sum(map(len, waiting)) + COST * len(waiting) + size + COST <= limit
            assert queue.append(data) == fits
            if fits:
                waiting.append(data)
            else:
                full += 1
    statistics = queue.statistics()
    assert (len(queue), queue.nbytes) == (len(waiting), sum(map(len, waiting)) + COST * len(waiting))
    assert (statistics["tx_frames"], statistics["waiting_frames"]) == (sent, len(waiting))
    assert statistics["drops"] == ({"queue-full": full} if full else {})
    assert drain(queue) == waiting


def test_a_chunk_ends_at_its_frames_or_at_its_bytes() -> None:
    queue = Queue(8 << 20)
    for n in range(2 * CHUNK_FRAMES + 1):
        queue.append(frame(n, 14))
    sizes = []
    while (head := queue.head()) is not None:
        sizes.append(len(Burst.parse(head)))
        queue.pop()
    assert sizes == [CHUNK_FRAMES, CHUNK_FRAMES, 1]
    for n in range(9):
        queue.append(frame(n, 65_000))
    lengths = []
    while (head := queue.head()) is not None:
        lengths.append(len(head))
        queue.pop()
    assert len(lengths) == 3 and all(length <= CHUNK_BYTES for length in lengths)


def test_the_number_of_messages_is_bounded_too() -> None:
    queue = Queue(1 << 30)
    taken = sum(queue.append(frame(n, 14)) for n in range(100_000))
    assert taken == 64 * CHUNK_FRAMES
    assert queue.statistics()["drops"] == {"queue-full": 100_000 - taken}
    assert len(drain(queue)) == taken
    assert queue.append(frame(0))


def test_clear_counts_under_the_reason_that_it_is_given() -> None:
    queue = Queue()
    for n in range(5):
        queue.append(frame(n))
    assert queue.clear("link-down") == 5
    assert queue.clear("link-down") == 0
    queue.append(frame(5))
    assert queue.clear("port-removed") == 1
    statistics = queue.statistics()
    assert statistics["drops"] == {"link-down": 5, "port-removed": 1}
    assert (statistics["tx_frames"], statistics["waiting_frames"], statistics["waiting_bytes"]) == (0, 0, 0)
    queue.append(frame(6))
    assert drain(queue) == [frame(6)]


def test_bytes_sent_are_bytes_of_frames() -> None:
    queue = Queue()
    queue.append(frame(1, 60))
    queue.append(frame(2, 1514))
    drain(queue)
    assert queue.statistics()["tx_bytes"] == 60 + 1514


@pytest.mark.parametrize("size", [0, 13, 65_558])
def test_what_can_be_no_frame_is_a_mistake_not_a_drop(size: int) -> None:
    queue = Queue()
    with pytest.raises(ValueError, match=f"{size} bytes"):
        queue.append(bytes(size))
    assert queue.statistics()["drops"] == {}


@pytest.mark.parametrize(
    "message", [b"", bytes(16), b"VB\x01\x05" + bytes(12), b"VB\x01\0" + bytes(12) + b"\x0e" + bytes(30)]
)
def test_what_is_no_burst_is_a_value_error(message: bytes) -> None:
    with pytest.raises(ValueError):
        Queue().append_burst(message)


def rss() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_memory_is_given_back() -> None:
    """Fifty queues that were full and are empty again keep at most their two spare buffers, and none when cleared."""
    queues = [Queue(2 << 20) for _ in range(50)]
    before = rss()
    for _ in range(3):
        for queue in queues:
            while queue.append(frame(0, 1514)):
                pass
        full = sum(queue.nbytes for queue in queues)
        for queue in queues:
            queue.clear("link-down")
    # What is free, but not at its end, the C library keeps once a larger piece has been freed (mallopt(3), dynamic
    # threshold): an earlier test of the same process may have done so.
    ctypes.CDLL(None).malloc_trim(0)
    assert full > 90 << 20
    assert rss() - before < 20 << 20


def test_an_empty_queue_costs_little() -> None:
    before = rss()
    queues = [Queue(1 << 30) for _ in range(2000)]
    assert rss() - before < 12 << 20
    assert sum(len(queue) for queue in queues) == 0


def test_errors_of_bursts_are_value_errors_as_well() -> None:
    assert issubclass(BurstError, ValueError)
