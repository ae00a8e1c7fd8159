"""Programs that people know, in the namespaces of one lab: iperf3, dnsmasq, udhcpc, and tshark, which sees on a mirror
of the trunk what the file says of tags, priorities and MTU.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.command import SECONDS, Vfab
from tests.support.rooms import need_namespaces
from tests.support.uplink_rig import PYTHON, SCRIPT
from tests.support.waiting import until

LAB = """
name: inside
vlans: {office: 10, guests: 20}
topology:
  nodes:
    s1:
      kind: switch
      ports: {eth1: {access: office, priority: 5}, eth2: {access: guests}, eth8: {access: 99}}
      mirrors: {tap: {both: [eth9], to: eth8}}
    s2: {kind: switch, ports: {eth1: {access: office}, eth2: {access: guests, priority: 3}}}
    h1: {kind: netns, addresses: [10.0.0.1/24], mtu: 9000}
    h2: {kind: netns, addresses: [10.0.0.2/24], mtu: 9000}
    client: {kind: netns}
    names: {kind: netns, addresses: [10.2.0.1/24]}
    probe: {kind: netns}
  links:
    - endpoints: ["s1:eth9", "s2:eth9"]
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s2:eth1", "h2:eth0"]
    - endpoints: ["s1:eth2", "client:eth0"]
    - endpoints: ["s2:eth2", "names:eth0"]
    - endpoints: ["s1:eth8", "probe:eth0"]
"""
NAME, ANSWER = "printer.office.test", "10.2.0.9"
DNSMASQ = (
    "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--log-facility=-", "--log-dhcp",
    "--interface=eth0", "--except-interface=lo", "--bind-interfaces", "--no-resolv", "--no-hosts",
    "--dhcp-authoritative", "--no-ping", "--dhcp-range=10.2.0.50,10.2.0.60,1h", f"--address=/{NAME}/{ANSWER}",
)  # fmt: skip
COLUMNS = ("vlan.id", "vlan.priority", "vlan.etype", "ip.src", "ip.dst", "ip.len", "_ws.col.Protocol")
TCP_BYTES, UDP_BYTES = 20_000_000, 2_000_000


class Room(Vfab):
    """The lab, and programs in it whose output goes into files."""

    def __init__(self) -> None:
        need_namespaces(tun=True)
        super().__init__(LAB)

    @contextlib.contextmanager
    def inside(self, node: str, says: str, *command: str) -> Iterator[Path]:
        """Runs a program in a node, from when it says these words; the file with all that it says."""
        said = self.path / Path(command[0]).name
        with said.open("wb") as out:
            process = subprocess.Popen(
                self.argv("exec", node, "--", *command), env=self.environment, cwd=self.path, stdout=out, stderr=out
            )
        try:
            until(lambda: says in said.read_text(), what=f"{says!r} of {command[0]}: {said.read_text()!r}")
            yield said
        finally:
            process.terminate()
            process.wait(SECONDS)


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    made = Room()
    with made:
        made("up", made.file)
        yield made


@pytest.fixture
def trunk(room: Room) -> Iterator[Path]:
    """What tshark, at the mirror's port, prints of the trunk between the switches: a row of COLUMNS for each frame."""
    peers.need("tshark")
    fields = [word for column in COLUMNS for word in ("-e", column)]
    tshark = ("tshark", "-i", "eth0", "-l", "-n", "-T", "fields", "-E", "separator=|", *fields)
    with room.inside("probe", "Capturing on 'eth0'", *tshark) as said:
        yield said


def rows(file: Path) -> set[tuple[str, ...]]:
    lines = (tuple(line.split("|")) for line in file.read_text().splitlines())
    return {line for line in lines if len(line) == len(COLUMNS)}


def iperf3(room: Room, *words: str) -> dict[str, Any]:
    """From h1 on s1 to h2 on s2; what the client found in the end."""
    peers.need("iperf3")
    with room.inside("h2", "Server listening", "iperf3", "-s", "-1", "--forceflush"):
        told = json.loads(room("exec", "h1", "--", "iperf3", "-c", "10.0.0.2", "-J", *words))
    assert "error" not in told, told
    end: dict[str, Any] = told["end"]
    return end


def test_iperf3_by_tcp_and_by_udp_across_two_switches(room: Room) -> None:
    tcp = iperf3(room, "-n", str(TCP_BYTES))
    assert tcp["sum_sent"]["bytes"] >= TCP_BYTES and tcp["sum_received"]["bytes"] > 0
    udp = iperf3(room, "-u", "-b", "20M", "-l", "8000", "-n", str(UDP_BYTES))["sum"]
    assert udp["packets"] >= UDP_BYTES // 8000 and udp["lost_packets"] < udp["packets"] // 2


def test_the_mtu_of_the_file_is_the_largest_that_passes(room: Room) -> None:
    assert "mtu 9000" in room("exec", "h1", "--", "ip", "link", "show", "dev", "eth0")
    assert "mtu 1500" in room("exec", "client", "--", "ip", "link", "show", "dev", "eth0")
    ping = ("exec", "h1", "--", "ping", "-c", "1", "-W", "5", "-M", "do", "10.0.0.2")
    assert "1 received" in room(*ping, "-s", "8972")
    too_long = room.run(*ping, "-s", "8973")
    assert too_long.returncode != 0 and "mtu=9000" in too_long.stdout + too_long.stderr


def test_tshark_decodes_the_tags_and_priorities_of_the_trunk(room: Room, trunk: Path) -> None:
    room("exec", "h1", "--", "ping", "-c", "2", "-s", "3000", "10.0.0.2")
    there = ("10", "5", "0x0800", "10.0.0.1", "10.0.0.2", "3028", "ICMP")  # the access port's priority
    back = ("10", "0", "0x0800", "10.0.0.2", "10.0.0.1", "3028", "ICMP")
    until(lambda: {there, back} <= rows(trunk), what=f"a ping and its answer on the trunk: {rows(trunk)}")


def test_dnsmasq_gives_a_lease_and_names_over_a_vlan(room: Room, trunk: Path) -> None:
    dnsmasq = (peers.need("dnsmasq"), *DNSMASQ, f"--dhcp-leasefile={room.path}/dnsmasq.leases")
    with room.inside("names", "DHCP, sockets bound exclusively to interface eth0", *dnsmasq) as log:
        lease = leased(room)
        assert (lease["serverid"], lease["dns"], lease["subnet"]) == ("10.2.0.1", "10.2.0.1", "255.255.255.0")
        assert f"DHCPACK(eth0) {lease['ip']}" in log.read_text()
        asked = (PYTHON, str(Path(__file__).parents[1] / "support/uplink_client.py"), "dns", lease["dns"], NAME)
        assert json.loads(room("exec", "client", "--", *asked)) == [ANSWER]

    def seen() -> bool:
        found = {(row[0], row[1], row[3], row[-1]) for row in rows(trunk)}
        return {
            ("20", "3", "10.2.0.1", "DHCP"),
            ("20", "3", "10.2.0.1", "DNS"),
            ("20", "0", lease["ip"], "DNS"),
        } <= found

    until(seen, what=f"DHCP and DNS in VLAN 20 of the trunk: {rows(trunk)}")


def leased(room: Room) -> dict[str, str]:
    """What udhcpc was given in the client."""
    script = room.path / "udhcpc.sh"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    udhcpc = (peers.need("busybox"), "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-t", "20", "-T", "1", "-s", str(script))
    room("exec", "client", "--", "env", f"LEASE={room.path}/lease", *udhcpc)
    return dict(line.split("=", 1) for line in (room.path / "lease.bound").read_text().splitlines() if "=" in line)
