"""The giving side of a handover against the taking side: plugged in, refused, lost and plugged in again."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons.loop import Loop
from netvirt.ports.errors import PortError
from netvirt.ports.handing import Handing
from netvirt.ports.handover import Handover
from tests.support.links import run_until


class Ends:
    """A port that takes descriptors, and what both sides were told."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.path = str(folder / "port.tap")
        self.taken: list[int] = []
        self.told: list[bool] = []
        self.refuse = ""
        self.read, self.write = os.pipe()
        self.giver = Handing(self.loop, self.path, self.write, self.told.append)

    def listen(self) -> Handover:
        port = Handover(self.loop, self.path, self._take, lambda: None)
        port.open()
        return port

    def _take(self, fd: int) -> None:
        if self.refuse:
            raise PortError(self.refuse)
        self.taken.append(fd)

    def wait(self, *told: bool) -> None:
        run_until(lambda: self.told == list(told), self.loop, what=f"{told} told")

    def close(self) -> None:
        self.giver.close()
        for fd in (*self.taken, self.read, self.write):
            os.close(fd)
        self.loop.close()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    made.close()


def test_a_port_that_comes_later_goes_and_comes_back(ends: Ends) -> None:
    ends.giver.open()
    assert "No such file" in ends.giver.problem and not ends.giver.plugged
    port = ends.listen()
    ends.wait(True)
    assert (ends.giver.plugged, ends.giver.problem, ends.giver.plugs) == (True, "", 1)
    os.write(ends.taken[0], b"it is this one")
    assert os.read(ends.read, 99) == b"it is this one"
    port.close()
    ends.wait(True, False)
    assert not ends.giver.plugged and "ended the connection" in ends.giver.problem
    port = ends.listen()
    ends.wait(True, False, True)
    os.write(ends.taken[1], b"the same")
    assert os.read(ends.read, 99) == b"the same" and ends.giver.plugs == 2
    port.close()


def test_refused_and_then_taken(ends: Ends) -> None:
    ends.refuse = "not today"
    port = ends.listen()
    ends.giver.open()
    run_until(lambda: "refuses the plug: not today" in ends.giver.problem, ends.loop, what="the refusal")
    assert ends.told == [] and port.refused >= 1
    ends.refuse = ""
    ends.wait(True)
    port.close()


def test_a_port_that_somebody_else_has_is_waited_for(ends: Ends) -> None:
    port = ends.listen()
    other = Handing(ends.loop, ends.path, ends.read, lambda plugged: None)
    other.open()
    run_until(lambda: other.plugged, ends.loop, what="the other's plug")
    ends.giver.open()
    run_until(lambda: "has a TAP already" in ends.giver.problem, ends.loop, what="the refusal")
    other.close()
    ends.wait(True)
    port.close()


@pytest.mark.parametrize("answer", [b"", b"junk\n", b"[]\n", b'{"ok": false}\n', b"{" * 9000, b"null\n"])
def test_whatever_answers_it_is_tried_again(ends: Ends, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(ends.path)
        listener.listen()
        ends.giver.open()
        for _ in range(2):
            run_until(lambda: _called(listener), ends.loop, what="a try")
            peer, _ = listener.accept()
            with peer:
                _, fds, _, _ = socket.recv_fds(peer, 100, 1)
                os.close(fds[0])
                with contextlib.suppress(OSError):
                    peer.send(answer)
            run_until(lambda: ends.giver.problem != "", ends.loop, what="a sentence")
    assert ends.told == [] and not ends.giver.plugged and ends.loop.mistakes == 0


def _called(listener: socket.socket) -> bool:
    return bool(select.select([listener], [], [], 0)[0])


def test_a_path_that_can_be_none(ends: Ends) -> None:
    with pytest.raises(PortError, match="107"):
        Handing(ends.loop, "/" + 200 * "x", ends.write, ends.told.append)
