"""The QEMU port driver against a real QEMU and its guest, both ways round, without any switch between."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons import kvm
from netvirt.burst import Burst
from netvirt.dataplane.queue import Queue
from netvirt.host import Host
from netvirt.hosting.interface import Interface
from netvirt.ports.loop import Loop
from netvirt.ports.qemu import QemuPort, Role
from tests.support import peers
from tests.support.guest.guest import Guest
from tests.support.guest.image import image

pytestmark = pytest.mark.peer("qemu-system-x86_64")

OUR_MAC = bytes.fromhex("020000000099")
UNTAGGED = Interface("eth0", OUR_MAC, addresses=["10.0.0.1/24"])
TAGGED = Interface("eth0.10", OUR_MAC, vlan=10, addresses=["10.0.10.1/24"])


class Answerer:
    """A userspace host behind a QemuPort: answers ARP and ping, and counts what it was asked."""

    def __init__(self, loop: Loop, path: str, role: Role) -> None:
        self._loop = loop
        self._queue = Queue()
        self._host = Host("answerer", [UNTAGGED, TAGGED])
        self.port = QemuPort(loop, path, role, self._queue, self._receive, lambda up: None)
        self.port.open()

    def _receive(self, message: memoryview) -> None:
        for frame in self._host.receive_burst(Burst.parse(message).frames(), self._loop.now()):
            self._queue.append(frame)
        self.port.flush()

    @property
    def received(self) -> int:
        return int(self.port.statistics()["rx_frames"])


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


Plug = Callable[[str, Role], Answerer]


@pytest.fixture
def plug(loop: Loop) -> Iterator[Plug]:
    """Makes answerers, and closes them before the loop."""
    made: list[Answerer] = []

    def make(path: str, role: Role) -> Answerer:
        made.append(Answerer(loop, path, role))
        return made[-1]

    yield make
    for answerer in made:
        answerer.port.close()


def until(loop: Loop, condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        loop.run_once(0.05)


def command(loop: Loop, guest: Guest, line: str) -> str:
    """Runs `line` in the guest while the loop serves its frames; the output, which must be a success."""
    assert guest.run(f"{{ {line} >/tmp/out 2>&1; echo $? >/tmp/code; }} &")[0] == 0
    done: list[str] = []

    def finished() -> bool:
        code, text = guest.run("cat /tmp/code")
        if code == 0 and text.strip():
            done.append(text.strip())
        return bool(done)

    until(loop, finished)
    output = guest.must("cat /tmp/out; rm -f /tmp/code /tmp/out")
    assert done == ["0"], output
    return output


def test_a_guest_with_two_cards_one_each_way_round(folder: Path, loop: Loop, plug: Plug) -> None:
    """eth0: QEMU listens and we dial, again after a restart of ours. eth1: we listen. Both untagged and on VLAN 10."""
    served, dialled = str(folder / "a.qemu"), str(folder / "b.qemu")
    listening = plug(dialled, "listen")
    arguments = ["-netdev", f"stream,id=n0,server=on,addr.type=unix,addr.path={served}"]
    arguments += ["-device", "virtio-net-pci,netdev=n0,mac=02:00:00:00:00:01"]
    arguments += ["-netdev", f"stream,id=n1,server=off,addr.type=unix,addr.path={dialled}"]
    arguments += ["-device", "virtio-net-pci,netdev=n1,mac=02:00:00:00:00:02"]
    with Guest(image(), folder / "guest.log", *arguments) as guest:
        dialling = plug(served, "dial")
        until(loop, lambda: listening.port.carrier and dialling.port.carrier)
        for card in ("eth0", "eth1"):
            guest.must(f"ip link set {card} up; ip addr add 10.0.0.2/24 dev {card}")
            assert "1 packets received" in command(loop, guest, "ping -c1 -W10 10.0.0.1")
            assert "3 packets received" in command(loop, guest, "ping -c3 -i0.1 -W10 -s 1472 10.0.0.1")
            guest.must(f"ip addr flush dev {card}; vconfig add {card} 10; ip link set {card}.10 up")
            guest.must(f"ip addr add 10.0.10.2/24 dev {card}.10")
            assert "1 packets received" in command(loop, guest, "ping -c1 -W10 10.0.10.1")
            guest.must(f"ip link set {card} down")
        assert dialling.received >= 6 and listening.received >= 6

        dialling.port.close()
        again = plug(served, "dial")
        guest.must("ip link set eth0 up; ip link set eth0.10 up")
        until(loop, lambda: again.port.carrier)
        assert "1 packets received" in command(loop, guest, "ping -c1 -W10 10.0.10.1")
        for answerer in (listening, dialling, again):
            statistics = answerer.port.statistics()
            assert (statistics["too-short"], statistics["too-long"], statistics["refused"]) == (0, 0, 0)
    until(loop, lambda: not again.port.carrier and not listening.port.carrier)
    again.port.close()
    listening.port.close()
    assert not Path(dialled).exists()


def test_qemu_comes_goes_and_comes_back(folder: Path, loop: Loop, plug: Plug) -> None:
    """A QEMU that is killed and started again is found again, in either role; it needs no guest for that."""
    qemu = peers.need(kvm.QEMU)
    served, dialled = str(folder / "a.qemu"), str(folder / "b.qemu")
    dialling, listening = plug(served, "dial"), plug(dialled, "listen")
    line = [qemu, "-S", "-M", "q35", "-m", "16", "-nodefaults", "-display", "none"]
    line += ["-netdev", f"stream,id=n0,server=on,addr.type=unix,addr.path={served}"]
    line += ["-netdev", f"stream,id=n1,server=off,addr.type=unix,addr.path={dialled}"]
    line += ["-device", "virtio-net-pci,netdev=n0", "-device", "virtio-net-pci,netdev=n1"]
    for _ in range(2):
        with subprocess.Popen(line, stdin=subprocess.DEVNULL) as process:
            try:
                until(loop, lambda: dialling.port.carrier and listening.port.carrier)
            finally:
                process.kill()
        until(loop, lambda: not dialling.port.carrier and not listening.port.carrier)
    for answerer in (dialling, listening):
        assert answerer.port.statistics()["connects"] == 2
        answerer.port.close()
