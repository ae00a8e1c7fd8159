"""Two virtual machines on one switch, one over datagrams and one over a stream, plugged in as `vfab attach` says.

One subnet for all: whoever is not reached is kept away by VLANs. Cards: dgram, udp, vde and a dgram trunk in one guest.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.support.command import Vfab
from tests.support.guest.guest import Guest
from tests.support.guest.image import image
from tests.support.waiting import until

pytestmark = pytest.mark.peer("qemu-system-x86_64")

LAB = """
name: datagrams
vlans: {{office: 10, lab: 20}}
topology:
  nodes:
    s1:
      kind: switch
      ports:
        eth1: {{access: office, qemu: dial}}
        eth2: {{access: office, qemu: dgram}}
        eth3: {{access: office, udp: {{listen: "127.0.0.1:{0}", connect: "127.0.0.1:{1}"}}}}
        eth4: {{access: office, vde: listen}}
        eth5: {{trunk: [office, lab], qemu: dgram}}
        eth6: {{access: lab}}
    h2: {{addresses: [10.0.0.2/24]}}
  links: [{{endpoints: ["s1:eth6", "h2:eth0"]}}]
"""
STREAM, LAB_HOST, OURS = "10.0.0.1", "10.0.0.2", "10.0.0.5"
CARDS = {"eth0": "s1:eth2", "eth1": "s1:eth3", "eth2": "s1:eth4", "eth3": "s1:eth5"}


class Room:
    """The lab, the guest on datagrams, and the one on a stream, which is 10.0.0.1."""

    def __init__(self, vfab: Vfab, guest: Guest, other: Guest) -> None:
        self.vfab, self.guest, self.other = vfab, guest, other

    def only(self, interface: str) -> None:
        """Gives 10.0.0.5 to this interface and takes it from all others: one subnet, one way out."""
        for name in ("eth3.10", "eth3.20", *CARDS):
            self.guest.must(f"ip addr flush dev {name}; ip link set {name} down")
        for name in dict.fromkeys((interface.partition(".")[0], interface)):
            self.guest.must(f"ip link set {name} up")
        self.guest.must(f"ip addr add {OURS}/24 dev {interface}")

    def reaches(self, address: str) -> bool:
        return self.guest.run(f"ping -c1 -W2 {address}").code == 0

    def wait_for(self, address: str) -> None:
        until(lambda: self.reaches(address), seconds=40, what=f"an answer from {address}")


def free_udp() -> tuple[int, int]:
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def pasted(vfab: Vfab, port: str) -> list[str]:
    return shlex.split(vfab.json("attach", port)["for"]["qemu"], comments=True)


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    files = image()
    with Vfab(LAB.format(*free_udp())) as vfab:
        vfab("up", vfab.file)
        arguments = [word for port in CARDS.values() for word in pasted(vfab, port)]
        guest = Guest(files, vfab.path / "guest.log", *arguments)
        other = Guest(files, vfab.path / "other.log", *pasted(vfab, "s1:eth1"))
        try:
            guest.start(), other.start()
            guest.wait(), other.wait()
            for vid in (10, 20):
                guest.must(f"vconfig add eth3 {vid}")
            other.must(f"ip addr add {STREAM}/24 dev eth0; ip link set eth0 up")
            yield Room(vfab, guest, other)
        finally:
            guest.stop()
            other.stop()


@pytest.mark.parametrize("card", ["eth0", "eth1", "eth2"])
def test_a_card_reaches_the_guest_on_the_stream(room: Room, card: str) -> None:
    room.only(card)
    room.wait_for(STREAM)
    room.other.must(f"ping -c1 -W5 {OURS}")
    room.guest.must(f"ping -c3 -i 0.1 -s 1400 -W5 {STREAM}")


def test_tags_pass_a_dgram_trunk(room: Room) -> None:
    room.only("eth3.10")
    room.wait_for(STREAM)
    assert not room.reaches(LAB_HOST)
    room.only("eth3.20")
    room.wait_for(LAB_HOST)
    assert not room.reaches(STREAM)


def test_datagrams_go_on_when_the_switch_is_killed(room: Room) -> None:
    before = room.vfab.json("ps")["nodes"]["s1"]
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: room.vfab.json("ps")["nodes"]["s1"]["pid"] not in (None, before["pid"]), what="a new process for s1")
    for card in ("eth0", "eth1"):
        room.only(card)
        room.wait_for(STREAM)
