"""A real virtual machine on a real lab, plugged in as `vfab attach` says: VLANs, a trunk, and a switch that is killed.

The VLANs share one subnet on purpose: whoever is not reached is kept away by the switches, not by a missing route.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator

import pytest

from tests.support.command import Vfab
from tests.support.guest.guest import Guest
from tests.support.guest.image import image
from tests.support.waiting import until

pytestmark = pytest.mark.peer("qemu-system-x86_64")

LAB = """
name: guest
vlans: {office: 10, lab: 20}
topology:
  nodes:
    s1:
      kind: switch
      ports:
        eth5: {access: office, qemu: dial}
        eth6: {access: office, qemu: listen}
        eth7: {trunk: [office, lab], qemu: dial}
        eth9: {trunk: [office, lab]}
    s2:
      kind: switch
      ports: {eth1: {access: office}, eth2: {access: lab}, eth9: {trunk: [office, lab]}}
    h1: {addresses: [10.0.0.1/24]}
    h2: {addresses: [10.0.0.2/24]}
  links:
    - endpoints: ["s1:eth9", "s2:eth9"]
    - endpoints: ["s2:eth1", "h1:eth0"]
    - endpoints: ["s2:eth2", "h2:eth0"]
"""
OFFICE, LAB_HOST = "10.0.0.1", "10.0.0.2"
CARDS = {"eth0": "s1:eth5", "eth1": "s1:eth6", "eth2": "s1:eth7"}  # the guest's cards and their ports
TAGGED = {"eth2.10": 10, "eth2.20": 20}


class Room:
    """The lab and the guest in it."""

    def __init__(self, vfab: Vfab, guest: Guest) -> None:
        self.vfab = vfab
        self.guest = guest

    def only(self, interface: str) -> None:
        """Gives 10.0.0.5 to this interface and takes it from all others: one subnet, one way out."""
        for name in (*TAGGED, *CARDS):
            self.guest.must(f"ip addr flush dev {name}; ip link set {name} down")
        for name in dict.fromkeys((interface.partition(".")[0], interface)):
            self.guest.must(f"ip link set {name} up")
        self.guest.must(f"ip addr add 10.0.0.5/24 dev {interface}")

    def reaches(self, address: str) -> bool:
        """After somebody in the VLAN has answered, one unanswered ping of 2 s is a proof, not a race."""
        return self.guest.run(f"ping -c1 -W2 {address}").code == 0

    def wait_for(self, address: str) -> None:
        until(lambda: self.reaches(address), seconds=40, what=f"an answer from {address}")


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    files = image()
    with Vfab(LAB) as vfab:
        vfab("up", vfab.file)
        arguments: list[str] = []
        for port in CARDS.values():
            arguments += shlex.split(vfab.json("attach", port)["for"]["qemu"], comments=True)
        with Guest(files, vfab.path / "guest.log", *arguments) as guest:
            for vid in TAGGED.values():
                guest.must(f"vconfig add eth2 {vid}")
            yield Room(vfab, guest)


@pytest.mark.parametrize("card", ["eth0", "eth1"])
def test_a_card_on_vlan_10_reaches_its_host_across_the_trunk_and_not_vlan_20(room: Room, card: str) -> None:
    room.only(card)
    room.wait_for(OFFICE)
    assert not room.reaches(LAB_HOST)
    assert room.vfab.run("ping", "h1", "10.0.0.5", "-c", "1").returncode == 0
    assert room.vfab.run("ping", "h2", "10.0.0.5", "-c", "1").returncode == 1


def test_the_guest_tags_vlans_itself_on_a_trunk_port(room: Room) -> None:
    room.only("eth2.10")
    room.wait_for(OFFICE)
    assert not room.reaches(LAB_HOST)
    room.only("eth2.20")
    room.wait_for(LAB_HOST)
    assert not room.reaches(OFFICE)
    room.only("eth2")  # untagged: the trunk has no native VLAN
    assert not room.reaches(OFFICE) and not room.reaches(LAB_HOST)


def test_a_ping_goes_on_by_itself_when_the_switch_is_killed_under_the_guest(room: Room) -> None:
    room.only("eth0")
    room.wait_for(OFFICE)
    guest, vfab = room.guest, room.vfab
    guest.must(f"ping -i 0.1 {OFFICE} >/tmp/ping 2>&1 & echo $! >/tmp/ping.pid")

    def last_answer() -> int:
        """The sequence number of the newest answer: answers of before the kill have smaller ones."""
        words = guest.run("grep -o 'seq=[0-9]*' /tmp/ping | tail -1").output.strip()
        return int(words.removeprefix("seq=") or -1)

    until(lambda: last_answer() >= 3, what="a ping that runs")
    before = vfab.json("ps")["nodes"]["s1"]
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: vfab.json("ps")["nodes"]["s1"]["pid"] not in (None, before["pid"]), what="a new process for s1")
    sent = int(guest.must("grep -o 'seq=[0-9]*' /tmp/ping | tail -1").strip().removeprefix("seq="))
    until(lambda: last_answer() > sent + 10, seconds=40, what="answers after the kill")
    guest.must("kill -INT $(cat /tmp/ping.pid)")
    assert vfab.json("ps")["nodes"]["s1"]["restarts"] == before["restarts"] + 1
    assert not room.reaches(LAB_HOST)
