"""Programs in hosts of kind netns, with vfab exec: as whoever runs the tests, and as somebody without a privilege."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.installed import Nobody
from tests.support.rooms import need_namespaces
from tests.support.user import BIN, SECONDS, vfab
from tests.support.waiting import until

LAB = """
name: spaces
topology:
  nodes:
    s1:
      kind: switch
      ports: {eth3: {access: 20}, eth4: {access: 20}}
    h1: {kind: netns, addresses: [10.0.0.1/24, "fd00::1/64"], gateway: 10.0.0.254}
    h2: {kind: netns, addresses: [10.0.0.2/24, "fd00::2/64"]}
    h3: {kind: netns, addresses: [10.2.0.3/24], routes: [{to: 10.0.0.0/24, via: 10.2.0.254}]}
    r1:
      kind: netns
      sysctls: {net.ipv4.ip_forward: 1}
      interfaces: {eth0: {addresses: [10.0.0.254/24]}, eth1: {addresses: [10.2.0.254/24]}}
    u1: {kind: host, addresses: [10.0.0.9/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
    - endpoints: ["s1:eth3", "h3:eth0"]
    - endpoints: ["s1:eth4", "r1:eth1"]
    - endpoints: ["s1:eth5", "r1:eth0"]
    - endpoints: ["s1:eth6", "u1:eth0"]
"""

OUT = """
name: out
topology:
  nodes:
    s1: {kind: switch}
    h1: {kind: netns, addresses: [10.0.2.5/24], gateway: 10.0.2.1}
    h2: {kind: netns, addresses: [10.0.2.6/24]}
    out: {kind: uplink, addresses: [10.0.2.1/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
    - endpoints: ["s1:eth3", "out:eth0"]
"""


@pytest.fixture
def lab(home: Path) -> Iterator[Path]:
    need_namespaces(tun=True)
    file = home / "spaces.fab.yml"
    file.write_text(LAB)
    vfab("up", str(file))
    yield file
    vfab("down")


def test_input_output_and_exit_code_are_the_programs_own(lab: Path) -> None:
    said = subprocess.run(
        [BIN / "vfab", "exec", "h1", "--", "sh", "-c", "cat; echo to stderr >&2; exit 7"],
        input="through\n", capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stdout, said.stderr) == (7, "through\n", "to stderr\n")
    assert vfab("exec", "h1", "--", "sh", "-c", "echo $0 -- $#", "x", "--", "-l").out == "x -- 2\n"
    assert vfab("exec", "h1", "true").code == 0  # the -- is for commands that begin with a hyphen
    assert vfab("exec", "h1", SHELL=peers.need("true")).code == 0
    killed = vfab("exec", "h1", "--", "sh", "-c", "kill -9 $$", code=None)
    assert killed.code == -signal.SIGKILL  # no process of ours stands between


def test_it_is_that_hosts_network_and_its_own_sys(lab: Path) -> None:
    shown = json.loads(vfab("exec", "r1", "--", "ip", "-json", "address").out)
    assert [row["ifname"] for row in shown] == ["lo", "eth0", "eth1"]
    assert sorted(vfab("exec", "r1", "--", "ls", "/sys/class/net").out.split()) == ["eth0", "eth1", "lo"]
    assert "eth1" not in vfab("exec", "h1", "--", "cat", "/proc/net/dev").out
    assert vfab("exec", "r1", "--", "cat", "/proc/sys/net/ipv4/ip_forward").out == "1\n"
    assert vfab("exec", "h1", "--", "cat", "/proc/sys/net/ipv4/ip_forward").out == "0\n"
    assert "10.2.0.254" in vfab("exec", "h3", "--", "ip", "route", "get", "10.0.0.1").out


def _throughput(run: list[str], address: str) -> float:
    """iperf3 from h1 to a server in h3, a moment long: bits per second."""
    peers.need("iperf3")
    server = subprocess.Popen(
        [*run, "exec", "h3", "--", "iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        until(lambda: server.stdout is not None and "listening" in server.stdout.readline(), what="the server")
        words = ("iperf3", "-c", address, "-n", "20M", "-J", "--connect-timeout", "20000")
        done = subprocess.run(
            [*run, "exec", "h1", "--", *words], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        server.communicate(timeout=SECONDS)
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"])


def test_iperf3_between_two_vlans_by_a_router_that_is_a_host(lab: Path) -> None:
    assert _throughput([str(BIN / "vfab")], "10.2.0.3") > 0
    assert "Network is unreachable" in vfab("ping", "h2", "h3", "-c", "1", code=1).out
    vfab("exec", "h2", "--", "ip", "route", "add", "10.2.0.0/24", "via", "10.0.0.254")
    assert vfab("ping", "h2", "h3", "-c", "1", "-W", "5").code == 0
    assert "Unreachable" in vfab("exec", "h1", "--", "ping", "-c", "1", "-W", "5", "10.0.0.77", code=1).out


def test_pings_of_both_kinds_of_hosts(lab: Path) -> None:
    told = vfab("pingall", "--json").json
    assert told["ok"] is True
    reached = {(pair["source"], pair["target"]) for pair in told["pairs"] if pair["reached"]}
    assert {("h1", "h2"), ("h1", "u1"), ("u1", "h1"), ("r1", "u1"), ("h3", "r1"), ("u1", "r1")} <= reached
    for source, destination in (("h1", "u1"), ("u1", "h2"), ("h1", "h2"), ("h1", "fd00::2"), ("r1", "h3")):
        said = vfab("ping", source, destination, "-c", "2", "-W", "5", "--json").json
        assert (said["received"], said["dst"]) == (2, said["dst"])
    assert vfab("ping", "h1", "h9", "-c", "1", code=1).sentence.startswith("there is no host 'h9'")
    assert vfab("ping", "h11", "h1", code=2).sentence == "there is no host 'h11'; did you mean 'h1'?"


def test_what_can_not_be_is_one_sentence(lab: Path, home: Path) -> None:
    assert (
        vfab("exec", "h11", "--", "true", code=2).sentence == "there is no host of kind netns 'h11'; did you mean 'h1'?"
    )
    assert "there are: h1, h2, h3, r1" in vfab("exec", "gateway", "--", "true", code=2).sentence
    assert "h1 is no userspace host" in vfab("traffic", "h1", "u1", code=2).sentence
    assert vfab("traffic", "u9", "u1", code=2).sentence == "there is no userspace host 'u9'; there are: u1"
    assert "use vfab ping u1" in vfab("exec", "u1", "--", "true", code=2).sentence
    assert vfab("exec", "h1", "--", "/no/such", code=127).sentence == "cannot run /no/such: No such file or directory"
    assert vfab("exec", "h1", "--", "/etc", code=126).sentence == "cannot run /etc: Permission denied"
    assert "HOST" in vfab("exec", code=2).sentence
    assert "no lab 'other' runs" in vfab("exec", "-l", "other", "h1", "--", "true", code=1).sentence


def test_a_program_goes_on_while_the_lab_changes(lab: Path) -> None:
    words = [str(BIN / "vfab"), "exec", "h2", "--", "sh", "-c", "while read line; do readlink /proc/self/ns/net; done"]
    program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    with program:
        assert program.stdin is not None and program.stdout is not None
        program.stdin.write("now\n")
        first = program.stdout.readline()
        lab.write_text(LAB.replace("10.0.0.2/24", "10.0.0.22/24").replace("u1:", "u2:"))
        vfab("up", str(lab))
        program.stdin.write("now\n")
        assert program.stdout.readline() == first
        assert vfab("exec", "h2", "--", "readlink", "/proc/self/ns/net").out == first
        assert "10.0.0.22/24" in vfab("exec", "h2", "--", "ip", "address").out
        assert vfab("ping", "h1", "10.0.0.22", "-c", "1", "-W", "5").code == 0


def test_names_are_asked_of_the_uplink_that_is_the_gateway(home: Path) -> None:
    need_namespaces(tun=True)
    peers.need("pasta")
    file = home / "out.fab.yml"
    file.write_text(OUT)
    vfab("up", str(file))
    before = Path("/etc/resolv.conf").read_text()
    assert vfab("exec", "h1", "--", "cat", "/etc/resolv.conf").out == "nameserver 10.0.2.1\n"
    assert vfab("exec", "h2", "--", "cat", "/etc/resolv.conf").out == before == Path("/etc/resolv.conf").read_text()
    assert "wan0" in vfab("exec", "out", "--", "ls", "/sys/class/net").out
    vfab("down")


@pytest.mark.parametrize("node", ["netnsd", "s1"])
def test_what_is_killed_comes_back_with_all_its_plugs(lab: Path, node: str) -> None:
    os.kill(vfab("ps", "--json").json["nodes"][node]["pid"], signal.SIGKILL)
    until(lambda: vfab("ping", "h1", "h2", "-c", "1", "-W", "0.5", code=None).code == 0, what="a ping after the kill")
    assert "10.0.0.1/24" in vfab("exec", "h1", "--", "ip", "address").out
    until(lambda: vfab("status", code=None).code == 0, what="a lab that is whole")


def _sleeper(home: Path, host: str) -> subprocess.Popen[bytes]:
    """A program in a host that goes on by itself, from when it runs there."""
    there = home / f"{host}.there"
    words = ("exec", host, "--", "sh", "-c", f"echo > {there}; sleep 600 & wait")
    process = subprocess.Popen([BIN / "vfab", *words], stdin=subprocess.DEVNULL)
    until(there.exists, what=f"the program in {host}")
    return process


@pytest.mark.parametrize("killed", [("netnsd",), ("fabricd", "netnsd", "s1")], ids=["netnsd", "all"])
def test_programs_of_a_killed_netnsd_end_with_the_lab(lab: Path, home: Path, killed: tuple[str, ...]) -> None:
    program = _sleeper(home, "h1")
    ps = vfab("ps", "--json").json
    for node in killed:
        os.kill((ps["fabricd"] if node == "fabricd" else ps["nodes"][node])["pid"], signal.SIGKILL)
    if len(killed) == 1:
        until(lambda: vfab("status", code=None).code == 0, what="a lab that is whole")
    assert program.poll() is None, "it may still be of use"
    vfab("down")
    assert program.wait(SECONDS) == -signal.SIGTERM
    vfab("up", str(lab))  # for the end of the fixture


def test_somebody_without_a_privilege(nobody: Nobody) -> None:
    need_namespaces(tun=True)
    nobody.use_tun()
    (nobody.work / "spaces.fab.yml").write_text(LAB)
    nobody("up", "spaces.fab.yml")
    assert "as the lab file says" in nobody("pingall").out
    assert nobody("exec", "h1", "--", "id", "-u").out == "0\n"  # root in there, and nowhere else
    assert sorted(nobody("exec", "r1", "--", "ls", "/sys/class/net").out.split()) == ["eth0", "eth1", "lo"]
    assert _throughput(nobody.command(), "10.2.0.3") > 0
    assert nobody("exec", "h1", "--", "ip", "link", "set", "eth0", "down").code == 0
    assert nobody("exec", "h1", "--", "sh", "-c", "echo x > /etc/hostname", code=2).err
    assert "netnsd" in nobody("ps").out
    nobody("down")
