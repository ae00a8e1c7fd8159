"""A real guest's carrier follows its switch port, over QMP, plugged in as `vfab attach` says: a stream and datagrams.

One port is disabled by hand, one is shut by a station too many; QEMU is started anew while a port is disabled.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.command import Vfab
from tests.support.guest.guest import Guest
from tests.support.guest.image import image
from tests.support.waiting import until

pytestmark = pytest.mark.peer("qemu-system-x86_64")

LAB = """
name: cable
vlans: {office: 10}
topology:
  nodes:
    s1:
      kind: switch
      ports:
        eth5: {access: office, qemu: {role: dial, qmp: auto}, mac-limit: 1, on-limit: shutdown}
        eth6: {access: office, qemu: {role: dgram, qmp: auto, netdev: second}}
        eth7: {access: office}
    h1: {addresses: [10.0.0.1/24]}
  links: [{endpoints: ["s1:eth7", "h1:eth0"]}]
"""
PORTS = {"eth0": "s1:eth5", "eth1": "s1:eth6"}  # the guest's cards and their ports
STRANGER = "02:00:00:00:00:99"


class Room:
    def __init__(self, vfab: Vfab) -> None:
        self.vfab = vfab
        self.files = image()
        self.arguments = [
            word
            for port in PORTS.values()
            for word in shlex.split(vfab.json("attach", port)["for"]["qemu"], comments=True)
        ]

    def guest(self) -> Guest:
        return Guest(self.files, self.vfab.path / "guest.log", *self.arguments)

    def link(self, port: str) -> dict[str, Any]:
        switch, _, name = port.partition(":")
        rows = self.vfab.json("status")["nodes"][switch]["ports"]
        found: dict[str, Any] = next(row for row in rows if row["name"] == name)
        return found

    def told_down(self, port: str) -> bool:
        return bool(self.link(port)["link"]["qmp-link"] == "down")


def carrier(guest: Guest, card: str, up: bool) -> None:
    until(lambda: guest.must(f"cat /sys/class/net/{card}/carrier").strip() == str(int(up)), what=f"carrier {up}")


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with Vfab(LAB) as vfab:
        vfab("up", vfab.file)
        yield Room(vfab)


def test_a_port_that_is_disabled_takes_the_guests_carrier_away(room: Room) -> None:
    with room.guest() as guest:
        for card in PORTS:
            guest.must(f"ip link set {card} up")
            carrier(guest, card, True)
        guest.must("ip addr add 10.0.0.5/24 dev eth0")
        until(lambda: guest.run("ping -c1 -W2 10.0.0.1").code == 0, seconds=40, what="an answer")
        for card, port in PORTS.items():
            room.vfab("port", "set", port, "state=disabled")
            carrier(guest, card, False)
            until(partial(room.told_down, port), what="the answer")
            room.vfab("port", "set", port, "state=forwarding")
            carrier(guest, card, True)
        guest.must("ping -c1 -W5 10.0.0.1")


def test_one_station_too_many_and_the_port_is_given_back(room: Room) -> None:
    with room.guest() as guest:
        guest.must("ip link set eth0 up; ip addr add 10.0.0.5/24 dev eth0")
        carrier(guest, "eth0", True)
        until(lambda: guest.run("ping -c1 -W2 10.0.0.1").code == 0, seconds=40, what="an answer")
        guest.must(f"ip link set eth0 down; ip link set eth0 address {STRANGER}; ip link set eth0 up")
        guest.run("ping -c1 -W1 10.0.0.1")
        carrier(guest, "eth0", False)
        assert room.link("s1:eth5")["shut"]
        room.vfab("port", "set", "s1:eth5", "state=forwarding", "mac-limit=8")
        carrier(guest, "eth0", True)


def test_a_qemu_that_starts_later_hears_of_a_disabled_port(room: Room) -> None:
    room.vfab("port", "set", "s1:eth6", "state=disabled")
    with room.guest() as guest:
        guest.must("ip link set eth0 up; ip link set eth1 up")
        carrier(guest, "eth1", False)
        carrier(guest, "eth0", True)
        room.vfab("port", "set", "s1:eth6", "state=forwarding")
        carrier(guest, "eth1", True)
    until(lambda: room.link("s1:eth6")["link"]["qmp"] == "absent", what="the end of QEMU")
    assert room.link("s1:eth6")["problem"] == ""
