"""Strangers on a listener's socket: junk, recordings, too much, too many. Counted, and nobody else notices."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
import zmq

from netvirt.burst import MAX_MESSAGE, pack_header
from tests.support.links import frame, frames_message, hello_message, numbers
from tests.support.world import World

MANY = 3000 if os.environ.get("VFAB_LONG") else 300


JUNK: list[list[bytes]] = [
    [b""],
    [b"x"],
    [b"GET / HTTP/1.1\r\n\r\n"],
    [bytes(16)],
    [b"VB\x01\x01" + bytes(12)],
    [pack_header(1, 0, 0) + b"{"],
    [pack_header(1, 0, 0) + b"[" * 4000],
    [pack_header(1, 0, 0) + b'{"port": "eth1"}'],
    [hello_message(role="root")],
    [hello_message(window=1)],
    [hello_message(port="../../etc/passwd")],
    [hello_message(name="\x1b[31m")],
    [pack_header(9, 0, 0)],
    [b"VB\x02\x01" + hello_message()[4:]],
    [frames_message(frame(1))],
    [pack_header(2, 0, 0) + b"{}"],
    [pack_header(4, 0, 0) + bytes(8)],
    [pack_header(5, 0, 0)],
    [pack_header(6, 0, 0)],
    [b"", b""],
    [b"", hello_message()],
    [hello_message(), b""],
    [frames_message(frame(1))] * 5,
    [b"x" * MAX_MESSAGE],
]


def test_junk_is_counted_answered_rarely_and_harms_nobody(world: World) -> None:
    there, here = world.pair()
    at = world.listeners[0]
    for parts in JUNK:
        for kind in (zmq.DEALER, zmq.REQ, zmq.PAIR):
            with contextlib.suppress(zmq.ZMQError):
                world.stranger(kind=kind).send_multipart(parts, zmq.NOBLOCK)
    world.until(lambda: sum(at.counts.values()) >= len(JUNK), "every piece of junk counted")
    assert set(at.counts) <= {"junk", "stranger", "refused"}
    assert (here.carriers, here.count("junk")) == ([True], 0)
    there.send(frame(1))
    world.until(lambda: here.frames)
    assert numbers(here.frames) == [1]


def test_a_message_over_the_limit_ends_its_sender_only(world: World) -> None:
    there, here = world.pair()
    big = world.stranger()
    big.send(bytes(MAX_MESSAGE + 1))
    big.send(b"x")
    for _ in range(20):
        there.send(frame(1))
        world.loop.run_once(0.01)
    world.until(lambda: len(here.frames) == 20)


def test_recorded_messages_played_back_get_a_stranger_nothing(world: World) -> None:
    at = world.listener()
    here = world.port(at)
    first = world.dial()
    world.up(first, here)
    replayer = world.stranger()
    recorded = [
        hello_message(name="h1", nonce=7),
        frames_message(frame(666), frame(667)),
        pack_header(4, 0, 0) + bytes(8),
    ]
    recorded += [pack_header(5, 0, 0), frames_message(frame(668), epoch=1)]
    for message in recorded * 3:
        replayer.send(message)
    world.until(lambda: at.counts.get("stranger", 0) >= 9)
    first.send(frame(1))
    here.send(frame(2))
    world.until(lambda: here.frames and first.frames)
    assert (numbers(here.frames), numbers(first.frames)) == ([1], [2])
    answers = []
    with contextlib.suppress(zmq.Again):
        while True:
            answers.append(replayer.recv(zmq.NOBLOCK))
    assert answers and all(answer[3] == 3 for answer in answers), "it was refused, and told nothing else"


def test_a_caller_that_breaks_the_rules_after_its_welcome_is_counted(world: World) -> None:
    at = world.listener()
    here = world.port(at)
    caller = world.stranger()
    caller.send(hello_message())
    world.up(here)
    for message in (b"", b"junk", hello_message(), pack_header(2, 0, 0) + b"{}", pack_header(4, 0, 0) + b"\xff" * 8,
                    frames_message(frame(1), epoch=9), pack_header(6, 0, 0)):  # fmt: skip
        caller.send(message)
    caller.send_multipart([frames_message(frame(2))] * 2)
    caller.send(frames_message(frame(3)))
    world.until(lambda: here.frames)
    assert numbers(here.frames) == [3]
    assert here.count("unexpected") == 3 and here.count("stale-epoch") == 1 and here.count("junk") == 3
    assert at.counts["junk"] == 1


def test_a_caller_that_ignores_its_window_gains_nothing(world: World) -> None:
    """Credit is given at the end of a turn, so a turn's worth of messages that is more than the window passes it."""
    at = world.listener()
    here = world.port(at)
    caller = world.stranger()
    caller.send(hello_message())
    world.up(here)
    message = frames_message(*(frame(n, 1514) for n in range(100)))
    sent = 100
    for _ in range(sent):
        caller.send(message)
    world.until(lambda: len(here.frames) // 100 + here.count("over-credit") == sent)
    assert here.count("over-credit") > 0
    assert here.driver.carrier


def test_identities_that_strangers_choose_take_nothing_from_anybody(world: World) -> None:
    there, here = world.pair()
    identity = here.driver.identity
    assert identity
    for _ in range(3):
        for wanted in (b"h1", b"eth1", b"s1", b"\x01" + identity[1:]):
            world.stranger(routing_id=wanted).send(hello_message())
    world.until(lambda: world.listeners[0].counts.get("refused", 0) >= 3)
    there.send(frame(1))
    here.send(frame(2))
    world.until(lambda: here.frames and there.frames)
    assert here.driver.identity == identity


@pytest.mark.parametrize("speaks", [False, True])
def test_hundreds_of_connections_at_once(world: World, speaks: bool) -> None:
    there, here = world.pair()
    crowd = [world.stranger() for _ in range(MANY)]
    if speaks:
        for socket in crowd:
            socket.send(b"junk", zmq.NOBLOCK)
            socket.send(hello_message(port="eth7"), zmq.NOBLOCK)
    at = world.listeners[0]
    for n in range(50):
        there.send(frame(n))
        world.loop.run_once(0.01)
    world.until(lambda: len(here.frames) == 50)
    if speaks:
        world.until(lambda: at.counts.get("stranger", 0) >= MANY, "all were heard")
        assert at.counts["stranger"] == MANY
    for socket in crowd:
        socket.close()
    world.sockets.clear()
    for n in range(50, 100):
        there.send(frame(n))
        world.loop.run_once(0.01)
    world.until(lambda: len(here.frames) == 100)
    assert (here.carriers, there.carriers) == ([True], [True])


def test_raw_bytes_on_the_socket_are_no_zeromq(world: World) -> None:
    there, here = world.pair()
    for text in (
        b"",
        b"\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(1000),
        b"\xff" + bytes(8) + b"\x7f\x03" + b"\xff" * 500,
    ):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(world.url.removeprefix("ipc://"))
            with contextlib.suppress(OSError):
                raw.sendall(text)
            there.send(frame(1))
            world.loop.run_once(0.01)
    world.until(lambda: len(here.frames) == 5)
