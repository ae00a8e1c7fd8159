"""A TAP that is left with a port: its plug is in without anybody at the other end, until it is gone itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.links import frame, run_until
from tests.t3_stack.test_tap_port import TapRig, count, plugged


@pytest.fixture
def rig(folder: Path) -> Iterator[TapRig]:
    made = TapRig(folder)
    made.port.open()
    yield made
    made.close()
    assert made.loop.mistakes == 0


def left(rig: TapRig) -> None:
    """As `hand_over(keep=True)` and an end at once; the loop of the port is ours, so it is done by hand."""
    rig.peer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rig.peer.setblocking(False)
    rig.plug = socket.socket(socket.AF_UNIX)
    rig.plug.connect(rig.path)
    socket.send_fds(rig.plug, [b"keep\n"], [theirs.fileno()])
    theirs.close()
    assert rig.answer() == '{"ok": true, "kept": true}\n'
    rig.plug.close()
    rig.plug = None


def test_the_plug_is_in_without_a_connection(rig: TapRig) -> None:
    left(rig)
    for number in range(3):
        rig.peer_sends([frame(number)])
        run_until(lambda number=number: len(rig.received) == number + 1, rig.loop, what="a frame")
    assert rig.port.carrier and (count(rig, "kept"), count(rig, "unplugged")) == (1, 0)


def test_another_plug_is_refused_meanwhile(rig: TapRig) -> None:
    left(rig)
    with socket.socket(socket.AF_UNIX) as rig.plug:
        rig.plug.connect(rig.path)
        assert "has a TAP already" in rig.answer()
    rig.plug = None
    assert rig.port.carrier and count(rig, "refused-plugs") == 1


def test_it_ends_with_the_tap_and_the_next_one_may_come(rig: TapRig) -> None:
    left(rig)
    rig.peer_goes()
    run_until(lambda: not rig.port.carrier, rig.loop, what="its end")
    assert count(rig, "kept") == 0 and "is gone" in rig.port.problem
    plugged(rig)
    assert rig.port.problem == ""
    rig.peer_goes()
    run_until(lambda: not rig.port.carrier, rig.loop, what="the end of a plug with a connection")


def test_it_ends_with_the_port(rig: TapRig) -> None:
    left(rig)
    rig.port.close()
    assert rig.peer is not None and rig.peer.recv(100) == b""


def test_who_stays_though_he_need_not_is_hung_up_when_the_tap_goes(rig: TapRig) -> None:
    rig.peer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.socket(socket.AF_UNIX) as rig.plug:
        rig.plug.connect(rig.path)
        socket.send_fds(rig.plug, [b"keep"], [theirs.fileno()])
        theirs.close()
        assert "kept" in rig.answer()
        rig.peer.close()
        rig.peer = None
        assert rig.answer() == ""
    rig.plug = None
    assert not rig.port.carrier
