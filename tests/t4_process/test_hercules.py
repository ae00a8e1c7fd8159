"""Hercules's LCS card, set up as `vfab attach` says, on a packet port: a frame for the mainframe's address goes through
the TAP that Hercules made, and comes back from the program in it."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from netvirt.addr import mac_bytes
from netvirt.hosting import arp
from tests.support.hercules import Hercules
from tests.support.rooms import Room, need_namespaces
from tests.support.switches import Switch, port
from tests.support.waiting import until
from tools.verbs import attach

pytestmark = pytest.mark.peer("hercules")

OURS, ALL = mac_bytes("02:00:00:00:00:0a"), b"\xff" * 6


def question(address: str) -> bytes:
    """Who has this address? Padded as Ethernet wants it."""
    said = arp.Arp(
        arp.REQUEST, OURS, ipaddress.ip_address("10.0.0.1").packed, bytes(6), ipaddress.ip_address(address).packed
    )
    return (ALL + OURS + b"\x08\x06" + arp.build(said)).ljust(60, b"\0")


def test_a_frame_to_the_mainframe_and_back(home: Path) -> None:
    need_namespaces(tun=True)
    with Room() as room:
        row = port("eth1", kind="packet", device="tap0", peer="")  # as Hercules calls the first TAP of a namespace
        switch = Switch(home / "run", "s1", [row, port("eth2")], inside=room.inside)
        card = attach.ways("s1:eth1", {}, row, "02:00:00:00:00:b0")["hercules"].splitlines()[-1]
        hercules = Hercules(home, card, room.inside)
        try:
            with switch.nic("eth2") as nic:
                sent = question(card.split()[-1])
                stranger = question("10.0.0.77")

                def came_back() -> bool:
                    nic.send_burst([stranger, sent])
                    return nic.receive(0.2) == sent

                until(came_back, what="the frame again")
            assert switch.port("eth1")["link"]["rx_frames"] > 0
        except AssertionError as error:
            raise AssertionError(hercules.story()) from error
        finally:
            hercules.close()
            switch.close()
