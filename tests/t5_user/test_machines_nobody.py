"""Labs with machines of a user without a name and without privileges, from the installed wheel: namespaces, an uplink,
a virtual machine, a captive run, the shell, an import, a shape; and where user namespaces are refused, one sentence.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import peers
from tests.support.guest.image import image
from tests.support.installed import ALONE, NOBODY, Installed, Nobody
from tests.support.machines import APPEND, Shell, shell_arguments
from tests.support.rooms import need_namespaces
from tests.support.uplink_client import digest, pattern
from tests.support.uplink_rig import PYTHON, SCRIPT
from tests.support.uplink_world import echo
from tests.support.user import SECONDS, Answer, left_in, run
from tests.support.waiting import until

LAB = """\
name: room
vlans: {{office: 10, guests: 20}}
topology:
  kinds:
    vm: {{kernel: vmlinuz, initrd: initramfs, append: "{append}", memory: 96MiB}}
  nodes:
    s1:
      kind: switch
      ports:
        eth1: {{access: office}}
        eth2: {{access: office}}
        eth3: {{access: office}}
        eth4: {{access: guests}}
        eth5: {{access: guests}}
        eth6: {{access: guests}}
    h1: {{kind: netns, addresses: [10.0.0.1/24]}}
    h2: {{kind: netns, addresses: [10.0.0.2/24]}}
    vm1: {{kind: vm, args: {shell}, interfaces: {{eth0: {{addresses: [10.0.0.3/24]}}}}}}
    out: {{kind: uplink, addresses: [10.0.2.1/24], host-loopback: true}}
    c1: {{kind: netns}}
    c2: {{kind: netns}}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
    - endpoints: ["s1:eth3", "vm1:eth0"]
    - endpoints: ["s1:eth4", "out:eth0"]
    - endpoints: ["s1:eth5", "c1:eth0"]
    - endpoints: ["s1:eth6", "c2:eth0"]
"""
PAIR = """\
name: pair
topology:
  nodes:
    s1: {kind: switch}
    h1: {kind: netns, addresses: [10.0.0.1/24]}
    h2: {kind: netns, addresses: [10.0.0.2/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
storage:
  pools: {p0: {members: [a.img, b.img], size: 64MiB}}
  volumes: {v0: {pool: p0, raid: raid1, size: 16MiB}}
  luns: {first: {volume: v0, nbd: true}}
"""
CLAB = """\
name: clab
topology:
  nodes:
    pc1: {kind: linux, exec: [ip addr add 10.1.0.1/24 dev eth1]}
    pc2: {kind: linux, exec: [ip addr add 10.1.0.2/24 dev eth1]}
  links:
    - endpoints: ["pc1:eth1", "pc2:eth1"]
"""
LOOPBACK = "192.0.0.1"  # what this machine's 127.0.0.1 is called behind an uplink with host-loopback
CLIENTS = ("c1", "c2")
SIZE = 300_000
# Someone who is nobody in a user namespace in which no further one may be made: as where root has forbidden them.
FORBIDDEN = (
    "setpriv", *ALONE, "unshare", "-U", f"--map-user={NOBODY}", "--keep-caps", "sh", "-c",
    'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all "$@"', "sh",
)  # fmt: skip
REFUSED = (
    "this machine refuses network namespaces (No space left on device), which netns hosts and uplinks need; as root:"
    " sysctl user.max_user_namespaces=10000"
)


class Rights(NamedTuple):
    uids: str
    capable: bool  # in the user namespace of all, where capabilities mean something


@pytest.fixture(scope="module")
def somebody(installed: Installed) -> Iterator[Nobody]:
    """One for all tests here, so that a lab can stay up for several."""
    need_namespaces(tun=True)
    for program in ("pasta", "nft", "busybox", "iperf3"):
        peers.need(program)
    with tempfile.TemporaryDirectory(prefix="vf-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = Nobody(folder, installed.vfab)
        made.use_tun()
        yield made
        made("down", "--all", code=None)
        assert made.processes() == []


def give(nobody: Nobody, **texts: str) -> None:
    """Files of his own in his working folder; `a_yml` is a.yml."""
    for name, text in texts.items():
        file = nobody.work / name.replace("_", ".")
        file.write_text(text)
        os.chown(file, NOBODY, NOBODY)


@pytest.fixture(scope="module")
def room(somebody: Nobody) -> Iterator[Nobody]:
    """LAB is up, and its virtual machine has its address."""
    peers.need("qemu-system-x86_64")
    files, work = image(), somebody.work
    shutil.copyfile(files.kernel, work / "vmlinuz")
    shutil.copyfile(files.initramfs, work / "initramfs")
    shutil.copyfile(Path(__file__).parents[1] / "support/uplink_client.py", work / "client.py")
    give(somebody, room_fab_yml=LAB.format(append=APPEND, shell=shell_arguments(f"{work}/sh1")), udhcpc_sh=SCRIPT)
    for path in work.iterdir():
        path.chmod(0o755)
    somebody("up", "room.fab.yml")
    yield somebody
    told = somebody("down", "room")
    assert "Lab room is down" in told.out
    assert left_in(somebody.home / ".local/state") == []


@pytest.fixture(scope="module")
def guest(room: Nobody) -> Iterator[Shell]:
    """The shell of vm1, which has its address."""
    shell = Shell(f"{room.work}/sh1").wait()
    shell.must("ip addr add 10.0.0.3/24 dev eth0; ip link set eth0 up")
    until(lambda: shell.run("ping -c1 -W1 10.0.0.1").code == 0, what="h1, from vm1")
    yield shell
    shell.close()


def rights(pid: str) -> Rights:
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    inside = os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")
    return Rights(" ".join(rows["Uid"].split()), not inside and int(rows["CapEff"], 16) != 0)


def belong_to(nobody: Nobody) -> set[str]:
    """The pids of what runs with his home."""
    mark, found = f"HOME={nobody.home}".encode(), set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def test_nothing_of_it_has_a_privilege(room: Nobody) -> None:
    pids = belong_to(room)
    nodes = room("ps", "--json").json["nodes"]
    assert set(nodes) == {"s1", "netnsd", "vmd"} and {str(row["pid"]) for row in nodes.values()} <= pids
    assert {rights(pid) for pid in pids} == {Rights(" ".join([str(NOBODY)] * 4), False)}


def throughput(nobody: Nobody, server: str, client: str, address: str) -> float:
    """iperf3 from one namespace to another, a moment long: bits per second."""
    listening = [*nobody.command(), "exec", server, "--", "iperf3", "-s", "-1", "--forceflush"]
    with subprocess.Popen(listening, cwd=nobody.work, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        out = process.stdout
        until(lambda: "listening" in out.readline(), what="the server")
        told = nobody("exec", client, "--", "iperf3", "-c", address, "-n", "10M", "-J").json
        process.communicate(timeout=SECONDS)
    return float(told["end"]["sum_received"]["bits_per_second"])


def test_namespaces(room: Nobody, guest: Shell) -> None:
    shown = room("exec", "h1", "--", "ip", "-json", "address", "show", "dev", "eth0").json
    assert shown[0]["addr_info"][0]["local"] == "10.0.0.1"
    assert "2 received" in room("ping", "h1", "h2", "-c", "2").out
    assert throughput(room, "h2", "h1", "10.0.0.2") > 0


def test_everybody_reaches_whom_the_file_says(room: Nobody, guest: Shell) -> None:
    told = room("pingall", "-W", "3", "--json").json
    reached = {(pair["source"], pair["target"]) for pair in told["pairs"] if pair["reached"]}
    assert {("h1", "h2"), ("h2", "h1"), ("h1", "vm1"), ("h2", "vm1")} <= reached
    assert not {pair for pair in reached if "out" in pair}
    assert "1 received" in room("ping", "h2", "vm1", "-c", "1", "-W", "10").out


def test_a_guest_and_its_console(room: Nobody, guest: Shell) -> None:
    guest.must("(read line </dev/ttyS0; echo heard $line >/dev/ttyS0) >/dev/null 2>&1 &")
    said = subprocess.run(
        [*room.command(), "console", "vm1"], cwd=room.work, input="good morning\n", capture_output=True, text=True,
        timeout=SECONDS, check=True,
    )  # fmt: skip
    assert "heard good morning" in said.stdout


def each(nobody: Nobody, *words: str) -> dict[str, str]:
    """Runs a program in all clients at the same time ({} becomes its name); what it prints."""
    running = {}
    for name in CLIENTS:
        command = [*nobody.command(), "exec", name, "--", *(word.replace("{}", name) for word in words)]
        running[name] = subprocess.Popen(command, cwd=nobody.work, stdout=subprocess.PIPE, text=True)
    said = {name: process.communicate(timeout=SECONDS)[0] for name, process in running.items()}
    assert all(process.returncode == 0 for process in running.values()), said
    return said


@contextlib.contextmanager
def outside() -> Iterator[int]:
    """The port of a server on the test's own loopback, which answers when two callers have said all."""
    together = threading.Barrier(len(CLIENTS))

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # its end
            echo(listener, together)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join(SECONDS)


def test_two_clients_of_an_uplink(room: Nobody) -> None:
    work = room.work
    udhcpc = ["busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-t", "20", "-T", "1", "-s", f"{work}/udhcpc.sh"]
    each(room, "env", f"LEASE={work}/{{}}.lease", *udhcpc)
    leases = {}
    for name in CLIENTS:
        text = (work / f"{name}.lease.bound").read_text()
        leases[name] = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert len({row["ip"] for row in leases.values()}) == 2
    assert {(row["router"], row["dns"]) for row in leases.values()} == {("10.0.2.1", "10.0.2.1")}
    assert set(each(room, "cat", "/etc/resolv.conf").values()) == {"nameserver 10.0.2.1\n"}
    told = room("pingall", "--json").json
    assert told["ok"] and ("c1", "out") in {
        (pair["source"], pair["target"]) for pair in told["pairs"] if pair["reached"]
    }
    with outside() as port:
        said = each(room, PYTHON, f"{work}/client.py", "tcp", LOOPBACK, str(port), "5", str(SIZE))
    assert {name: json.loads(text) for name, text in said.items()} == dict.fromkeys(CLIENTS, digest(pattern(5, SIZE)))


def test_the_shell(room: Nobody) -> None:
    said = room("shell", "-c", "h1 ping h2 -c 1", "-c", "link s1 h1 down", "-c", "link s1 h1 up", "-c", "h2 id -u")
    assert "1 packets transmitted, 1 received" in said.out and said.out.endswith("\n0\n")
    assert "s1:eth1 state: forwarding -> disabled" in said.out


def test_a_captive_run_of_a_fresh_copy(somebody: Nobody) -> None:
    give(somebody, pair_fab_yml=PAIR)
    vfab = somebody.command()[-1]
    inner = f'test -S "${{NBD_URI##*=}}" && {vfab} exec h1 -- ping -c 1 -W 5 10.0.0.2; exit 7'
    said = somebody("run", "--fresh", "pair.fab.yml", "--", "sh", "-c", inner, code=7)
    assert "1 received" in said.out and not (somebody.work / "a.img").exists()
    assert "pair" not in somebody("labs").out


def test_an_imported_lab(somebody: Nobody) -> None:
    give(somebody, pair_clab_yml=CLAB)
    somebody("import", "pair.clab.yml", "-o", "pair2.fab.yml")
    somebody("up", "pair2.fab.yml")
    reached = [pair for pair in somebody("-l", "clab", "pingall", "--json").json["pairs"] if pair["reached"]]
    assert {(pair["source"], pair["target"]) for pair in reached} == {("pc1", "pc2"), ("pc2", "pc1")}
    somebody("down", "clab")


def test_a_shape(somebody: Nobody) -> None:
    said = somebody("up", "--topo", "single,3", "--hosts", "netns")
    assert "is up" in said.out
    name = said.out.split("Lab ", 1)[1].split()[0]
    assert "as the lab file says" in somebody("-l", name, "pingall").out
    assert somebody("-l", name, "exec", "h3", "--", "ip", "-brief", "address", "show", "dev", "eth0").out
    somebody("down", name)


def forbidden(nobody: Nobody, *arguments: str, code: int) -> Answer:
    """His `vfab` where user namespaces are refused."""
    command = nobody.command()
    as_he_runs_it = command[command.index("env") :]
    return run(*FORBIDDEN, *as_he_runs_it, *arguments, code=code, cwd=nobody.work)


def test_where_user_namespaces_are_refused_each_says_so_in_one_sentence(somebody: Nobody) -> None:
    give(somebody, pair_fab_yml=PAIR)
    told = forbidden(somebody, "validate", "pair.fab.yml", code=0)
    assert told.err == f"warning: it cannot come up here: {REFUSED}\n" and told.out.endswith(": ok\n")
    told = forbidden(somebody, "doctor", code=0)
    assert [line for line in told.out.splitlines() if "namespaces" in line and REFUSED in line], told.told
    assert forbidden(somebody, "up", "pair.fab.yml", code=1).sentence == f"{somebody.work}/pair.fab.yml: {REFUSED}"
    assert not (somebody.work / "a.img").exists()
    assert forbidden(somebody, "up", "--topo", "single,2", code=0).err == ""
    forbidden(somebody, "down", "single-2", code=0)
