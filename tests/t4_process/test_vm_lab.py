"""Real virtual machines that a lab file describes and `vfab up` starts: they reach each other across a VLAN, write to
their LUN, are seen on their console, outlive what is killed under them, and go with the lab.

The third machine is in another VLAN with the same subnet: whoever is not reached is kept away by the switch.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import process as processes
from daemons.process import identify
from tests.support.command import Vfab
from tests.support.guest.image import image
from tests.support.machines import APPEND, Shell, shell_arguments
from tests.support.waiting import until

pytestmark = pytest.mark.peer("qemu-system-x86_64")

LAB = """
name: vms
vlans: {{office: 10, lab: 20}}
topology:
  kinds:
    vm: {{kernel: {kernel}, initrd: {initrd}, append: "{append}", memory: 96MiB, accel: tcg}}
  nodes:
    s1:
      kind: switch
      ports: {{eth1: {{access: office}}, eth2: {{access: office}}, eth3: {{access: lab}}, eth4: {{access: office}}}}
    vm1: {{kind: vm, disks: [lun0], args: {shells[vm1]}}}
    vm2: {{kind: vm, args: {shells[vm2]}}}
    vm3: {{kind: vm, args: {shells[vm3]}}}
    h1: {{addresses: [10.0.0.9/24]}}
  links:
    - endpoints: ["s1:eth1", "vm1:eth0"]
    - endpoints: ["s1:eth2", "vm2:eth0"]
    - endpoints: ["s1:eth3", "vm3:eth0"]
    - endpoints: ["s1:eth4", "h1:eth0"]
storage:
  pools: {{p0: {{members: [a.img, b.img, c.img], size: 64MiB}}}}
  volumes: {{v0: {{pool: p0, raid: raid5, size: 32MiB}}}}
  luns: {{lun0: {{volume: v0, nbd: true}}}}
"""
ADDRESSES = {"vm1": "10.0.0.1", "vm2": "10.0.0.2", "vm3": "10.0.0.3"}


class Room:
    """The lab, and a shell in each of its machines."""

    def __init__(self, vfab: Vfab, folder: Path) -> None:
        self.vfab = vfab
        self.shells = {name: Shell(str(folder / name)) for name in ADDRESSES}
        for name in ADDRESSES:
            self.greet(name)

    def greet(self, name: str) -> None:
        """After each start of the guest."""
        self.shells[name].wait().must(f"ip addr add {ADDRESSES[name]}/24 dev eth0; ip link set eth0 up")

    def reaches(self, name: str, other: str) -> bool:
        return self.shells[name].run(f"ping -c1 -W2 {ADDRESSES.get(other, other)}").code == 0

    def wait_for(self, name: str, other: str) -> None:
        until(lambda: self.reaches(name, other), seconds=40, what=f"an answer from {other} to {name}")

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.vfab.json("vm", "list")}

    def kill(self, node: str) -> None:
        """SIGKILL, and wait until a new process answers for the node."""
        before = self.vfab.json("ps")["nodes"][node]
        os.kill(before["pid"], signal.SIGKILL)

        def back() -> bool:
            row = self.vfab.json("ps")["nodes"][node]
            return row["pid"] not in (None, before["pid"]) and row["state"] == "up"

        until(back, what=f"a new process for {node}")


def lab_file(folder: Path) -> str:
    files = image()
    shells = {name: shell_arguments(str(folder / name)) for name in ADDRESSES}
    return LAB.format(kernel=files.kernel, initrd=files.initramfs, append=APPEND, shells=shells)


def machines_in(folder: Path) -> list[int]:
    return [process.pid for process, _ in processes.with_option("-pidfile", f"{folder}/")]


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with tempfile.TemporaryDirectory(prefix="vf-") as name, Vfab(lab_file(Path(name))) as vfab:
        vfab("up", vfab.file)
        made = Room(vfab, Path(name))
        yield made
        for shell in made.shells.values():
            shell.close()


def test_they_reach_their_vlan_and_no_other(room: Room) -> None:
    assert {name: row["state"] for name, row in room.rows().items()} == dict.fromkeys(ADDRESSES, "running")
    room.wait_for("vm1", "vm2")
    assert room.reaches("vm2", "10.0.0.9"), "a userspace host in the same VLAN"
    assert not room.reaches("vm1", "vm3") and not room.reaches("vm3", "vm2")
    node = room.vfab.json("status")["nodes"]["s1"]
    assert all(port["carrier"] for port in node["ports"]) and not node["down"]


def test_a_machine_writes_to_its_lun_and_stord_may_be_killed(room: Room) -> None:
    shell = room.shells["vm1"]
    assert shell.must("cat /sys/block/vda/serial") == "lun0"
    shell.must("dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null")
    shell.must("dd if=/tmp/data of=/dev/vda bs=64k oflag=direct 2>/dev/null")
    room.kill("p0")
    shell.must("dd if=/dev/vda of=/tmp/back bs=64k count=16 iflag=direct 2>/dev/null && cmp /tmp/data /tmp/back")
    assert "i/o error" not in shell.must("dmesg").lower()


def test_they_live_on_when_vmd_is_killed_and_are_adopted(room: Room) -> None:
    room.wait_for("vm1", "vm2")
    before = {name: row["pid"] for name, row in room.rows().items()}
    room.kill("vmd")
    until(lambda: {row["state"] for row in room.rows().values()} == {"running"}, what="all adopted")
    assert {name: row["pid"] for name, row in room.rows().items()} == before
    assert room.reaches("vm1", "vm2")
    assert room.vfab.json("vm", "qmp", "vm1", "query-name") == {"name": "vm1"}


def test_they_reach_each_other_again_when_the_switch_was_killed(room: Room) -> None:
    room.wait_for("vm1", "vm2")
    room.kill("s1")
    room.wait_for("vm1", "vm2")
    assert not room.reaches("vm1", "vm3")


def test_a_machine_that_was_reset_or_off_is_back_on_its_port(room: Room) -> None:
    vfab = room.vfab
    pid = room.rows()["vm2"]["pid"]
    room.shells["vm2"].must("touch /tmp/before")
    assert vfab("vm", "reset", "vm2").startswith("vm2: running")
    until(lambda: room.shells["vm2"].wait().run("ls /tmp/before").code != 0, what="a guest that has started anew")
    room.greet("vm2")
    room.wait_for("vm2", "vm1")
    assert room.rows()["vm2"]["pid"] == pid
    assert vfab("vm", "off", "vm2") == "vm2: stopped (switched off)\n"
    assert "vm2 is stopped; vfab vm on vm2 starts it" in vfab.run("vm", "reset", "vm2").stderr
    assert vfab("vm", "on", "vm2") == "vm2: running\n"
    room.greet("vm2")
    room.wait_for("vm2", "vm1")
    assert room.reaches("vm1", "vm2")


def test_a_guest_that_shuts_down_stays_down_until_it_is_switched_on(room: Room) -> None:
    room.shells["vm3"].run("poweroff -f >/dev/null 2>&1 & true")
    until(lambda: room.rows()["vm3"]["state"] == "stopped", what="vm3 down")
    assert room.rows()["vm3"]["note"] == "the guest has shut down" and room.rows()["vm3"]["restarts"] == 0
    room.kill("vmd")
    assert room.rows()["vm3"]["state"] == "stopped"
    status = room.vfab.run("status")
    assert status.returncode == 0, status.stdout
    room.vfab("vm", "on", "vm3")
    room.greet("vm3")


def test_a_guest_without_a_power_button_is_said_to_have_none(room: Room) -> None:
    answer = room.vfab.run("vm", "shutdown", "vm1", "-t", "0.5")
    assert answer.returncode == 1
    assert "vm1 is not down after 0.5 s: its guest does not listen to the power button" in answer.stderr


HANDLER = "/etc/acpi/PWRF/00000080"  # what busybox's acpid runs for the power button


def test_a_guest_that_listens_to_its_power_button_shuts_down(room: Room) -> None:
    shell = room.shells["vm3"]
    shell.must(f"mkdir -p /etc/acpi/PWRF; printf '#!/bin/sh\\npoweroff -f\\n' >{HANDLER}; chmod +x {HANDLER}")
    shell.must("acpid -l /tmp/acpid.log")
    assert room.vfab("vm", "shutdown", "vm3", "-t", "40") == "vm3: stopped (the guest has shut down)\n"
    room.vfab("vm", "on", "vm3")
    room.greet("vm3")


def test_arguments_of_qmp_and_mistakes(room: Room) -> None:
    vfab = room.vfab
    assert vfab.json("vm", "qmp", "vm1", "set_link", "name=eth0", "up=true") == {}
    assert vfab.json("vm", "qmp", "vm1", "set_link", '{"name": "eth0", "up": true}') == {}
    for words, code, sentence in (
        (("qmp", "vm1", "set_link", "name=nobody", "up=true"), 1, "vm1: Device 'nobody' not found"),
        (("qmp", "vm1", "set_link", "name"), 2, "'name' is no argument; write KEY=VALUE, or one JSON object"),
        (("qmp", "vm1", "set_link", "{"), 2, "the arguments are no JSON object"),
        (("on", "vm9"), 1, "there is no virtual machine 'vm9' here; there are: vm1, vm2, vm3"),
    ):
        answer = vfab.run("vm", *words)
        assert answer.returncode == code and sentence in answer.stderr, (words, answer)


# --- the console


def test_the_console_takes_a_pipe_and_its_log_has_all(room: Room) -> None:
    vfab = room.vfab
    room.shells["vm1"].must("(read line </dev/ttyS0; echo heard $line >/dev/ttyS0) >/dev/null 2>&1 &")
    done = subprocess.run(
        vfab.argv("console", "vm1"), env=vfab.environment, input="good morning\n", capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert "heard good morning" in done.stdout
    assert "heard good morning" in vfab("logs", "vm1.console")


class Terminal:
    """`vfab console` in a terminal of its own."""

    def __init__(self, vfab: Vfab, machine: str) -> None:
        self.fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            vfab.argv("console", machine), env=vfab.environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def until(self, text: bytes) -> None:
        def there() -> bool:
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError:
                pass
            return text in self.seen

        os.set_blocking(self.fd, False)
        until(there, what=f"{text!r} on the console; so far {self.seen!r}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.fixture
def terminal(room: Room) -> Iterator[Callable[[str], Terminal]]:
    opened: list[Terminal] = []

    def make(machine: str) -> Terminal:
        opened.append(Terminal(room.vfab, machine))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_a_terminal_is_raw_goes_on_after_a_new_start_and_ends_with_its_key(
    room: Room, terminal: Callable[[str], Terminal]
) -> None:
    first = terminal("vm2")
    first.until(b"[console of vm2; Ctrl-] ends it]")
    room.shells["vm2"].must("(stty -F /dev/ttyS0 raw; dd bs=1 count=4 </dev/ttyS0 | od -c) >/dev/ttyS0 2>/dev/null &")
    first.type(b"a\x03\x04b")  # neither Ctrl-C nor Ctrl-D is for the terminal
    first.until(b"a 003 004   b")
    second = room.vfab.run("console", "vm2")
    assert second.returncode == 1 and "somebody has the console of vm2 open already" in second.stderr
    room.vfab("vm", "off", "vm2")
    first.until(b"[vm2 has ended; waiting until it is back, Ctrl-] gives up]")
    stopped = room.vfab.run("console", "vm2")
    assert stopped.returncode == 1 and "it is stopped; vfab vm on vm2 starts it" in stopped.stderr
    room.vfab("vm", "on", "vm2")
    first.until(b"[vm2 is back]")
    room.greet("vm2")
    room.shells["vm2"].must("echo here again >/dev/ttyS0")
    first.until(b"here again")
    first.type(b"\x1d")
    assert first.process.wait(20) == 0


# --- the end


@pytest.mark.parametrize("killed", [(), ("vmd",), ("fabricd", "vmd"), ("fabricd", "vmd", "s1", "p0")], ids="-".join)
def test_down_leaves_no_machine_whoever_was_killed_before(killed: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix="vf-") as name, Vfab(lab_file(Path(name))) as vfab:
        vfab("up", vfab.file)
        run = vfab.path / "run"
        pids = machines_in(run)
        assert len(pids) == 3
        nodes = vfab.json("ps")
        victims = {"fabricd": nodes["fabricd"]["pid"], **{node: row["pid"] for node, row in nodes["nodes"].items()}}
        for node in killed:
            os.kill(victims[node], signal.SIGKILL)
        vfab("down")
        assert machines_in(run) == [] and not any(map(identify, pids))
        assert [path for place in ("run", "state") for path in (vfab.path / place).rglob("*")] == []


def test_machines_that_leave_the_file_are_ended_and_a_new_one_is_started() -> None:
    with tempfile.TemporaryDirectory(prefix="vf-") as name, Vfab(lab_file(Path(name))) as vfab:
        vfab("up", vfab.file)
        before = {row["name"]: row["pid"] for row in vfab.json("vm", "list")}
        text = Path(vfab.file).read_text()
        lines = [line for line in text.splitlines() if "vm3" not in line]
        changed = "\n".join(lines).replace("vm2: {kind: vm,", "vm2: {kind: vm, cpus: 2,")
        Path(vfab.file).write_text(changed)
        vfab("up", vfab.file)
        until(lambda: identify(before["vm3"]) is None, what="the end of vm3")

        def other() -> bool:
            row = {row["name"]: row for row in vfab.json("vm", "list")}["vm2"]
            return row["state"] == "running" and row["pid"] != before["vm2"]

        until(other, seconds=40, what="vm2, started again")
        rows = {row["name"]: row for row in vfab.json("vm", "list")}
        assert set(rows) == {"vm1", "vm2"} and rows["vm1"]["pid"] == before["vm1"]
        assert rows["vm2"]["note"] == "started again, because its cpus changed"
