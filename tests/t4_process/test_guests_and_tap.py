"""Two virtual machines, one on a stream and one on datagrams, and a namespace with a TAP: all reach all in two VLANs.

Each has VLAN 10 without tags and VLAN 20 with them on one trunk port, plugged in as `vfab attach` says.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from netvirt.ports.handover import hand_over
from tests.support import peers
from tests.support.command import Vfab
from tests.support.guest.guest import Guest
from tests.support.guest.image import image
from tests.support.taps import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.peer("qemu-system-x86_64")

LAB = """
name: three
vlans: {office: 10, lab: 20}
topology:
  nodes:
    s1:
      kind: switch
      ports:
        eth1: {trunk: [office, lab], native: office, qemu: dial}
        eth2: {trunk: [office, lab], native: office, qemu: dgram}
        eth3: {trunk: [office, lab], native: office, tap: listen}
"""
ADDRESSES = ("10.0.{0}.1", "10.0.{0}.2", "10.0.{0}.3")  # by VLAN: the stream's, the datagrams', the TAP's
VLANS = (10, 20)
ROOT = Path(__file__).parents[2]
Run = Callable[[str], tuple[int, str]]  # a line of shell -> exit code, output
PING = "ping -c 2 -i 0.1 -s 1400 -W 2"


def in_namespace(stack: Stack) -> Run:
    """As the guests have it: busybox runs the line."""
    inside = ["nsenter", "-t", str(stack.process.pid), "-U", "-n", "--preserve-credentials", "sh", "-c"]
    busybox = peers.need("busybox")

    def run(line: str) -> tuple[int, str]:
        words = [*inside, line.replace("ping", f"{busybox} ping")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


@contextlib.contextmanager
def vlan_20(stack: Stack) -> Iterator[None]:
    """The TAP becomes eth0, and eth0.20 is there while the block runs."""
    inside = ["nsenter", "-t", str(stack.process.pid), "-U", "-n", "--preserve-credentials"]
    for words in ("tap0 down", "tap0 name eth0", "eth0 up"):
        subprocess.run([*inside, peers.need("ip"), "link", "set", *words.split()], timeout=10, check=True)
    argv = [*inside, sys.executable, "-m", "tests.support.tagging_child", "eth0", "20"]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        yield
        child.communicate(timeout=10)


def must(run: Run, line: str) -> None:
    code, output = run(line)
    assert code == 0, (line, output)


def set_up(run: Run, number: int) -> None:
    """Its addresses in both VLANs."""
    for line in (
        "ip link set eth0 up",
        "ip link set eth0.20 up",
        f"ip address add {ADDRESSES[number].format(10)}/24 dev eth0",
        f"ip address add {ADDRESSES[number].format(20)}/24 dev eth0.20",
    ):
        must(run, line)


@pytest.fixture
def room() -> Iterator[tuple[Vfab, list[Run]]]:
    """The lab, and how each of the three runs a line."""
    files = image()
    with Vfab(LAB) as vfab, Stack([], None) as stack:
        vfab("up", vfab.file)
        lines = [shlex.split(vfab.json("attach", f"s1:eth{n}")["for"]["qemu"], comments=True) for n in (1, 2)]
        guests = [Guest(files, vfab.path / f"guest{n}.log", *words) for n, words in enumerate(lines)]
        try:
            for guest in guests:
                guest.start()
            [path] = vfab.path.rglob("s1-eth3.tap")
            with vlan_20(stack), hand_over(str(path), stack.tap):
                for guest in guests:
                    guest.wait().must("vconfig add eth0 20")
                runs = [*(guest.run for guest in guests), in_namespace(stack)]
                for number, run in enumerate(runs):
                    set_up(run, number)
                yield vfab, runs
        finally:
            for guest in guests:
                guest.stop()


def _succeeds(run: Run, command: str) -> bool:
    return run(command)[0] == 0


def test_all_reach_all_tagged_and_untagged(room: tuple[Vfab, list[Run]]) -> None:
    vfab, runs = room
    for vid, (who, other) in itertools.product(VLANS, itertools.permutations(range(3), 2)):
        ping = f"{PING} {ADDRESSES[other].format(vid)}"
        until(partial(_succeeds, runs[who], ping), 40, f"{who} {ping}")
    found = {(row["port"], row["vid"]) for row in vfab.json("fdb", "show", "s1")}
    assert found == {(f"eth{n}", vid) for n in (1, 2, 3) for vid in VLANS}
