"""Datagrams <-> FRAMES messages: many per call, whole or not at all, junk counted, a full peer waited for."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from netvirt.burst import FLAG_VNET, MAX_FRAME, Burst
from netvirt.ports.mmsg import Receiver, Sender
from tests.support.links import frame, frames_message
from tests.support.waiting import until

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for one in (ours, theirs):
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    with ours, theirs:
        yield ours, theirs


def everything(receiver: Receiver, sock: socket.socket) -> list[list[bytes]]:
    """The frames of all messages."""
    found = []
    while True:
        message = receiver.read(sock.fileno())
        if message is None:
            return found
        while message is not None:
            found.append(Burst.parse(message).frames())
            message = receiver.rest()


def datagrams(sock: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(1 << 17))
        except BlockingIOError:
            return found


def test_many_datagrams_are_one_message(pair: Pair) -> None:
    ours, theirs = pair
    sent = [frame(n, 60 + 23 * n) for n in range(60)]
    for data in sent:
        theirs.send(data)
    receiver = Receiver()
    assert everything(receiver, ours) == [sent]
    assert (receiver.frames, receiver.nbytes) == (60, sum(map(len, sent)))
    assert receiver.read(ours.fileno()) is None and receiver.rest() is None


def test_long_frames_come_in_several_messages_and_none_is_lost(pair: Pair) -> None:
    ours, theirs = pair
    sent = [frame(n, MAX_FRAME if n % 3 else 60) for n in range(30)]
    for data in sent:
        theirs.send(data)
    messages = everything(Receiver(), ours)
    assert [data for message in messages for data in message] == sent
    assert len(messages) > 3


def test_what_is_no_frame_is_counted_and_its_neighbours_arrive(pair: Pair) -> None:
    ours, theirs = pair
    junk = [b"", bytes(1), bytes(13), bytes(MAX_FRAME + 1), bytes(70_000)]
    for n, data in enumerate(junk):
        theirs.send(data)
        theirs.send(frame(n))
    receiver = Receiver()
    assert everything(receiver, ours) == [[frame(n) for n in range(len(junk))]]
    assert (receiver.empty, receiver.runts, receiver.oversize) == (1, 2, 2)
    theirs.send(b"")
    assert receiver.read(ours.fileno()) is None
    assert (receiver.empty, receiver.frames) == (2, len(junk))


def test_a_message_becomes_one_datagram_for_each_frame(pair: Pair) -> None:
    ours, theirs = pair
    sent = [frame(n, 14 + n) if n > 4 else frame(n) for n in range(300)]
    sender = Sender()
    assert sender.write(ours.fileno(), frames_message(*sent))
    assert datagrams(theirs) == sent
    assert (sender.frames, sender.nbytes) == (300, sum(map(len, sent)))


def test_a_full_peer_is_waited_for_and_the_message_may_grow_meanwhile(pair: Pair) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    sent = [frame(n, 1514) for n in range(200)]
    sender, got = Sender(), list[bytes]()
    assert not sender.write(ours.fileno(), frames_message(*sent))
    sent += [frame(n, 100) for n in range(200, 400)]
    message, turns = frames_message(*sent), 0
    while not sender.write(ours.fileno(), message):
        got += datagrams(theirs)
        turns += 1
    assert got + datagrams(theirs) == sent
    assert turns > 3
    assert sender.frames == 400


def test_frames_that_cannot_leave_are_left_out_and_counted(pair: Pair) -> None:
    ours, theirs = pair
    burst = Burst()
    for n in range(6):
        vnet = n in (0, 3, 5)
        burst.append(frame(n), flags=FLAG_VNET if vnet else 0, vnet=bytes(12) if vnet else b"")
    sender = Sender()
    assert sender.write(ours.fileno(), burst.message())
    assert datagrams(theirs) == [frame(1), frame(2), frame(4)]
    assert (sender.frames, sender.offload_unsupported) == (3, 3)


def test_a_frame_that_udp_cannot_carry_costs_itself_only() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs, socket.socket(type=socket.SOCK_DGRAM) as ours:
        theirs.bind(("127.0.0.1", 0))
        theirs.settimeout(10)
        ours.connect(theirs.getsockname())
        sender = Sender(lossy=True)
        assert sender.write(ours.fileno(), frames_message(frame(1), frame(2, 65_508), frame(3), frame(4, 65_507)))
        assert [theirs.recv(1 << 17) for _ in range(3)] == [frame(1), frame(3), frame(4, 65_507)]
        assert (sender.frames, sender.too_long) == (3, 1)


def test_nobody_at_a_udp_port_is_counted_or_told() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        ours.connect(gone.getsockname())
        gone.close()
        sender, asked = Sender(lossy=True), 0

        def refused() -> bool:
            nonlocal asked
            asked += 10
            assert sender.write(ours.fileno(), frames_message(*map(frame, range(10))))
            return sender.refused > 0

        until(refused, what="news that nobody is there")
        assert sender.refused + sender.frames == asked
        with pytest.raises(ConnectionRefusedError):
            until(lambda: sender.write(ours.fileno(), frames_message(frame(1))) and Receiver().read(ours.fileno()))


def test_the_end_of_a_peer_is_an_error_and_the_rest_can_go_to_the_next_one(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    sender = Sender()
    with pytest.raises(OSError) as caught:
        sender.write(ours.fileno(), frames_message(frame(1), frame(2)))
    assert caught.value.errno in (errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN)
    other, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with other, far:
        assert sender.write(other.fileno(), frames_message(frame(1), frame(2)))
        assert [far.recv(100), far.recv(100)] == [frame(1), frame(2)]


@pytest.mark.parametrize("cut", [1, 15, 17, 39, 41, 99])
def test_a_message_that_is_none_is_our_mistake(pair: Pair, cut: int) -> None:
    with pytest.raises(ValueError, match="FRAMES"):
        Sender().write(pair[0].fileno(), frames_message(frame(1))[:cut])


def test_a_datagram_of_no_bytes_never_leaves(pair: Pair) -> None:
    message = bytearray(frames_message(frame(1)))
    message[16:20] = bytes(4)
    with pytest.raises(ValueError, match="FRAMES"):
        Sender().write(pair[0].fileno(), message)
    assert datagrams(pair[1]) == []
