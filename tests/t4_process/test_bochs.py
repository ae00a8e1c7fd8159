"""Bochs with a boot ROM in its card, plugged in as `vfab attach` says: a host of the lab pings it over VDE, and another
over a TAP that it opens and a packet port serves.

iPXE has a link-local address of IPv6 while it asks for one by DHCP, and answers pings to it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netvirt.addr import mac_bytes
from netvirt.host import Host, Interface
from tests.support.bochs import Bochs
from tests.support.command import Vfab
from tests.support.rooms import Room, need_namespaces
from tests.support.switches import Switch, port
from tests.support.waiting import until
from tools.verbs import attach

pytestmark = pytest.mark.peer("bochs")

LAB = """
name: bochs
topology:
  nodes:
    s1: {kind: switch, ports: {eth1: {access: 10}, eth4: {access: 10, vde: listen}}}
    h1: {addresses: [10.0.0.1/24]}
  links: [{endpoints: ["s1:eth1", "h1:eth0"]}]
"""

SECOND = 1_000_000_000


def link_local(card: str) -> str:
    """The address that the card's owner gives himself (RFC 4291, appendix A)."""
    found = re.search(r"mac=([0-9a-f:]+)", card)
    assert found is not None
    mac = mac_bytes(found[1])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]))


def until_with(start: Callable[[], Bochs], condition: Callable[[], bool]) -> None:
    """iPXE gives up after half a minute, and a busy machine may have been too slow for that: then once more."""
    with contextlib.ExitStack() as stack:
        made: list[Bochs] = []

        def looked() -> bool:
            if not made or not made[-1].alive():
                assert len(made) < 3, made[-1].story()
                made.append(start())
                stack.callback(made[-1].close)
            return condition()

        until(looked, seconds=100, what="an answer from Bochs")


def test_a_host_pings_bochs_over_vde() -> None:
    with Vfab(LAB) as vfab:
        vfab("up", vfab.file)
        note, card = vfab.json("attach", "s1:eth4")["for"]["bochs"].splitlines()
        folder = note.split()[-1]  # the lab's run folder has a longer name than Bochs takes
        until_with(
            lambda: Bochs(vfab.path, card, folder),
            lambda: vfab.run("ping", "h1", link_local(card), "-c", "1").returncode == 0,
        )


def test_a_packet_port_serves_the_tap_that_bochs_opens(home: Path) -> None:
    need_namespaces(tun=True)
    with Room() as room:
        room.run("ip", "tuntap", "add", "dev", "vfbochs", "mode", "tap")
        room.run("ip", "link", "set", "vfbochs", "up")
        row = port("eth1", kind="packet", device="vfbochs", peer="")
        switch = Switch(home / "run", "s1", [row, port("eth2")], inside=room.inside)
        card = attach.ways("s1:eth1", {}, row, "02:00:00:00:00:b0")["bochs"].splitlines()[-1]
        try:
            with switch.nic("eth2") as nic:
                host = Host("h", [Interface("eth0", mac_bytes("02:00:00:00:00:0a"), addresses=["fe80::a/64"])])
                ping = host.start_ping(link_local(card), 1000, SECOND // 5, SECOND, 32, time.monotonic_ns())

                def answered() -> bool:
                    frame = nic.receive(0.05)
                    now = time.monotonic_ns()
                    for out in [*(host.receive(frame, now) if frame is not None else []), *host.tick(now)]:
                        nic.send(out)
                    return ping.received > 0

                until_with(lambda: Bochs(home, card, str(home), room.inside), answered)
        finally:
            switch.close()
