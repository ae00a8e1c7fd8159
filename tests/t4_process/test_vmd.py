"""vmd as a process, with real QEMUs that have nothing to start from: what it does with machines, and what it says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemons import kvm
from daemons import process as processes
from daemons.client import Client, Refused
from daemons.control import encode
from daemons.process import identify
from daemons.vm_logs import KEEP_BYTES
from tests.support.guest.image import image
from tests.support.machines import machine, nic
from tests.support.waiting import until
from tests.t4_process.test_hostd import Daemon

pytestmark = pytest.mark.peer("qemu-system-x86_64")

MIB = 1 << 20


class Room:
    """A vmd; `machine` makes a row of its configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "logs").mkdir()
        self.vmd = Daemon("vmd", "vmd", folder)

    def again(self) -> None:
        self.vmd = Daemon("vmd", "vmd", self.folder)

    def machine(self, name: str, **more: Any) -> dict[str, Any]:
        return machine(self.folder, name, memory=16 * MIB, **more)

    def configure(self, *machines: dict[str, Any]) -> Any:
        return self.vmd.call("configure", config={"lab": "t", "epoch": 1, "machines": machines})

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.vmd.call("status")["machines"]}

    def trouble(self, name: str) -> dict[str, Any] | None:
        """Its row, if it has a problem."""
        row = self.rows()[name]
        return row if row["problem"] else None

    def wait(self, name: str, state: str, **more: Any) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            row = self.rows()[name]
            return row if all(row[key] == value for key, value in {"state": state, **more}.items()) else None

        return until(there, what=f"{name} {state}: {self.rows()}")

    def power(self, name: str, what: str) -> Any:
        return self.vmd.call("power", machine=name, what=what)

    def qmp(self, name: str, command: str, **arguments: Any) -> Any:
        return self.vmd.call("qmp", machine=name, command=command, arguments=arguments)

    def kill(self) -> None:
        self.vmd.process.kill()
        self.vmd.process.wait()

    def processes(self) -> list[int]:
        return [process.pid for process, _ in processes.with_option("-pidfile", f"{self.folder}/")]

    def files(self, name: str) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name.startswith(name))


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    with tempfile.TemporaryDirectory(prefix="vf-") as folder:
        monkeypatch.setenv("XDG_STATE_HOME", folder)
        made = Room(Path(folder))
        try:
            yield made
            assert made.vmd.process.poll() is not None or made.vmd.call("status")["mistakes"] == 0
        finally:
            made.kill()
            for pid in made.processes():
                os.kill(pid, signal.SIGKILL)
            until(lambda: not made.processes(), what="the end of all QEMUs")
            sys.stderr.write(made.vmd.log.read_text())


# --- one machine's life


def test_on_and_off_and_reset(room: Room) -> None:
    room.configure(room.machine("vm1", nics=[nic(room.folder, "vm1", "eth0", "02:00:00:00:00:01")]))
    row = room.wait("vm1", "running")
    assert identify(row["pid"]) is not None and os.getsid(row["pid"]) == row["pid"] and row["accel"] == "tcg"
    assert row["nics"] == [{"name": "eth0", "mac": "02:00:00:00:00:01"}] and row["problem"] == ""
    assert room.files("vm1") == ["vm1-eth0.qemu", "vm1.console", "vm1.mon", "vm1.pid", "vm1.qmp", "vm1.vm.json"]
    assert room.power("vm1", "reset")["pid"] == row["pid"]
    assert room.qmp("vm1", "query-name") == {"name": "vm1"}
    off = room.power("vm1", "off")
    assert (off["state"], off["pid"], off["note"], off["restarts"]) == ("stopped", None, "switched off", 0)
    assert identify(row["pid"]) is None
    assert room.files("vm1") == ["vm1.vm.json"]
    with pytest.raises(Refused, match="vm1 is stopped; vfab vm on vm1 starts it"):
        room.power("vm1", "reset")
    on = room.power("vm1", "on")
    assert on["state"] == "running" and on["pid"] not in (None, row["pid"])
    assert room.power("vm1", "on")["pid"] == on["pid"]


def test_a_machine_that_was_paused_is_said_to_be(room: Room) -> None:
    room.configure(room.machine("vm1"))
    room.wait("vm1", "running")
    room.qmp("vm1", "stop")
    room.wait("vm1", "paused")
    room.kill()
    room.again()
    room.configure(room.machine("vm1"))
    room.wait("vm1", "paused")
    room.qmp("vm1", "cont")
    room.wait("vm1", "running")


def test_one_that_is_killed_comes_back_and_one_that_ended_well_does_not(room: Room) -> None:
    room.configure(room.machine("vm1"), room.machine("vm2"))
    first, second = room.wait("vm1", "running"), room.wait("vm2", "running")
    os.kill(first["pid"], signal.SIGKILL)
    assert "SIGKILL" in room.wait("vm1", "waiting")["problem"]
    row = room.wait("vm1", "running", restarts=1)
    assert row["pid"] != first["pid"] and row["problem"] == ""
    room.qmp("vm2", "quit")
    assert room.wait("vm2", "stopped")["note"] == "somebody has ended QEMU"
    assert room.rows()["vm1"]["pid"] == row["pid"] and identify(second["pid"]) is None


def test_the_number_of_restarts_outlives_vmd(room: Room) -> None:
    room.configure(room.machine("vm1"))
    os.kill(room.wait("vm1", "running")["pid"], signal.SIGKILL)
    before = room.wait("vm1", "running", restarts=1)
    room.kill()
    room.again()
    room.configure(room.machine("vm1"))
    assert room.wait("vm1", "running")["pid"] == before["pid"] and room.rows()["vm1"]["restarts"] == 1
    os.kill(before["pid"], signal.SIGKILL)
    room.wait("vm1", "running", restarts=2)


def test_one_that_does_not_listen_is_killed(room: Room) -> None:
    room.configure(room.machine("vm1"))
    pid = room.wait("vm1", "running")["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert room.power("vm1", "off")["state"] == "stopped"
    assert identify(pid) is None


def test_orders_and_commands_that_are_no_good(room: Room) -> None:
    room.configure(room.machine("vm1"))
    room.wait("vm1", "running")
    for args, sentence in (
        ({"machine": "vm9", "what": "on"}, "there is no virtual machine 'vm9' here; there are: vm1"),
        ({"machine": "vm1", "what": "explode"}, "'what' is one of on, off, reset, shutdown, not 'explode'"),
        ({}, "there is no virtual machine ''"),
    ):
        with pytest.raises(Refused, match=sentence):
            room.vmd.call("power", **args)
    with pytest.raises(Refused, match="vm1: The command no-such has not been found"):
        room.qmp("vm1", "no-such")
    with pytest.raises(Refused, match="'command' is text, and 'arguments' are an object"):
        room.vmd.call("qmp", machine="vm1", command="quit", arguments=[])
    with pytest.raises(Refused, match="needs a list of 'machines'"):
        room.vmd.call("configure", config={"lab": "t", "epoch": 1})
    assert len(room.qmp("vm1", "query-qmp-schema")) > 500  # the longest answer there is


# --- machines that cannot be


def test_what_is_missing_is_one_sentence_and_the_others_go_on(room: Room) -> None:
    folder = room.folder
    (folder / "words.qcow2").write_text("no image")
    long = f"{folder}/{'n' * 100}.qemu"
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "program": ({"qemu": "qemu-system-none"}, "qemu-system-none is not installed here; install QEMU 7.2 or newer"),
        "kernel": ({"kernel": f"{folder}/no"}, f"its kernel {folder}/no cannot be used: No such file or directory"),
        "image": ({"image": f"{folder}/no"}, f"its image {folder}/no cannot be used: No such file or directory"),
        "folder": ({"image": str(folder)}, f"its image {folder} is no file"),
        "format": ({"image": f"{folder}/words.qcow2"}, "words.qcow2 is no qcow2 image, but its format is qcow2; write"),
        "long": ({"nics": [nic(folder, "x", "eth0", "02:00:00:00:00:09", path=long)]}, "bytes, Linux allows 107"),
        "args": ({"args": ["-device", "no-such"]}, "its QEMU ended with exit code 1 and said: -device no-such: "),
        "kind": ({"machine": "none-such"}, "unsupported machine type"),
        "disk": ({"disks": [{"lun": "l", "path": "/n/o", "export": "l", "read_only": False}]}, "/n/o"),
    }
    (folder / "half.qcow2").write_bytes(b"QFI\xfb\0\0\0\3" + bytes(100))
    wrong["damaged"] = ({"image": f"{folder}/half.qcow2"}, "no overlay of its image can be made: ")
    room.configure(room.machine("good"), *(room.machine(name, **more) for name, (more, _) in wrong.items()))
    room.wait("good", "running")
    for name, (_, sentence) in wrong.items():
        row = until(partial(room.trouble, name), what=name)
        assert row["problem"].startswith(f"{name}: ") and sentence in row["problem"], row
        assert "\n" not in row["problem"] and row["state"] in ("waiting", "preparing", "starting")
    assert set(room.vmd.call("status")["problems"]) == {row["problem"] for row in room.rows().values()} - {""}
    with pytest.raises(Refused, match="kernel: its kernel"):
        room.power("kernel", "on")


def test_kvm_is_not_taken_on_trust(room: Room) -> None:
    """`accel: kvm` without a guest that ran with it is refused in a sentence."""
    refusing = room.folder / "bin"
    refusing.mkdir()
    fake = refusing / "qemu-system-aarch64"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    room.configure(room.machine("vm1", accel="kvm", qemu=str(fake)))
    problem = room.wait("vm1", "waiting")["problem"]
    assert problem == (
        "vm1: accel is kvm, but: KVM is tried with qemu-system-x86_64 only, not with qemu-system-aarch64;"
        " write accel: auto or tcg"
    )


def test_auto_is_what_a_trial_guest_says(room: Room) -> None:
    """There may be no kernel in /boot: that of a machine is tried, for all of them."""
    kernel = image().kernel
    room.configure(room.machine("vm1", accel="auto"), room.machine("vm2", accel="auto", kernel=str(kernel)))
    usable, why = kvm.probe(kernel)
    for name in ("vm1", "vm2"):
        row = room.wait(name, "running")
        assert (row["accel"], row["accel_why"]) == ("kvm" if usable else "tcg", why)
    remembered = room.folder / "virtfab" / "kvm.json"
    assert remembered.exists() == (kvm.refused() is None)


def test_logs_are_kept_short_while_a_machine_runs(room: Room) -> None:
    room.configure(room.machine("vm1"))
    room.wait("vm1", "running")
    log = room.folder / "logs" / "vm1.console.log"
    with log.open("ab") as file:  # as QEMU does, which writes as fast as the guest does
        file.write(b"x" * (KEEP_BYTES + 5))
    until(lambda: log.stat().st_size < KEEP_BYTES, what="a short log")
    assert Path(f"{log}.1").stat().st_size == KEEP_BYTES
    assert room.rows()["vm1"]["state"] == "running"


# --- what comes and goes


def test_only_what_changed_is_started_again(room: Room) -> None:
    rows = {name: room.machine(name) for name in ("vm1", "vm2", "vm3")}
    assert room.configure(*rows.values())["started"] == ["vm1", "vm2", "vm3"]
    before = {name: room.wait(name, "running")["pid"] for name in rows}
    rows["vm2"] = {**rows["vm2"], "memory": 24 * MIB, "cpus": 2}
    del rows["vm3"]
    told = room.configure(*rows.values())
    assert told == {"started": [], "changed": {"vm2": ["memory", "cpus"]}, "removed": ["vm3"]}
    until(lambda: room.rows()["vm2"]["pid"] not in (None, before["vm2"]), what="vm2, started again")
    row = room.wait("vm2", "running")
    assert row["note"] == "started again, because its memory, cpus changed" and row["restarts"] == 0
    assert len(room.qmp("vm2", "query-cpus-fast")) == 2
    until(lambda: identify(before["vm3"]) is None, what="the end of vm3")
    until(lambda: room.files("vm3") == [], what="nothing of vm3")
    assert room.rows()["vm1"]["pid"] == before["vm1"] and "vm3" not in room.rows()
    assert room.configure(*rows.values()) == {"started": [], "changed": {}, "removed": []}


def test_a_machine_that_was_off_stays_off_when_it_changes(room: Room) -> None:
    room.configure(room.machine("vm1"))
    room.wait("vm1", "running")
    room.power("vm1", "off")
    assert room.configure(room.machine("vm1", cpus=2))["changed"] == {"vm1": ["cpus"]}
    assert room.rows()["vm1"]["state"] == "stopped"
    room.power("vm1", "on")
    assert len(room.qmp("vm1", "query-cpus-fast")) == 2


# --- vmd ends, and comes back


def test_machines_outlive_a_killed_vmd_and_are_adopted(room: Room) -> None:
    names = ("same", "other", "gone", "off", "down", "killed")
    room.configure(*map(room.machine, names))
    before = {name: room.wait(name, "running")["pid"] for name in names}
    room.power("off", "off")
    room.kill()
    assert all(identify(before[name]) for name in names if name != "off")
    _quit(room.folder / "down.qmp")
    os.kill(before["killed"], signal.SIGKILL)
    until(lambda: not any(identify(before[name]) for name in ("down", "killed")), what="the end of two")
    room.again()
    room.configure(*map(room.machine, ("same", "off", "down", "killed")), room.machine("other", cpus=2))
    assert room.wait("same", "running")["pid"] == before["same"]
    assert room.qmp("same", "query-name") == {"name": "same"}
    until(lambda: room.rows()["other"]["pid"] not in (None, before["other"]), what="other, with more CPUs")
    assert room.wait("other", "running")["note"] == "started again, because its cpus changed"
    assert room.rows()["off"]["state"] == "stopped"
    assert room.rows()["down"]["note"] == "the guest has shut down"
    assert room.wait("killed", "running", restarts=1)["pid"] != before["killed"]
    until(lambda: identify(before["gone"]) is None, what="the end of one that has left the lab meanwhile")
    os.kill(before["same"], signal.SIGKILL)  # no child of this vmd, so nobody knows its exit code
    row = room.wait("same", "running", restarts=1)
    room.qmp("same", "quit")
    room.wait("same", "stopped")
    assert identify(row["pid"]) is None


def _quit(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(str(path))
        monitor.sendall(b'{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n')
        with contextlib.suppress(ConnectionResetError):
            while monitor.recv(4096):
                pass


def test_without_its_memory_a_machine_is_started_anew(room: Room) -> None:
    room.configure(room.machine("vm1"))
    before = room.wait("vm1", "running")["pid"]
    room.kill()
    (room.folder / "vm1.vm.json").write_text("[]")
    room.again()
    room.configure(room.machine("vm1"))
    until(lambda: room.rows()["vm1"]["pid"] not in (None, before), what="a new process")
    assert room.wait("vm1", "running")["note"] == "started again, because nobody knew how it had been started"
    assert identify(before) is None


def _term(room: Room) -> None:
    room.vmd.process.send_signal(signal.SIGTERM)


def _stop(room: Room) -> None:
    room.vmd.call("stop")


@pytest.mark.parametrize("how", [_term, _stop], ids=["SIGTERM", "stop"])
def test_its_end_is_theirs_and_what_should_run_runs_again(room: Room, how: Callable[[Room], None]) -> None:
    """Also of one that hears nothing, within the time that fabricd's launcher gives (3 s)."""
    room.configure(room.machine("vm1"), room.machine("vm2"), room.machine("vm3", qemu="qemu-none"))
    first, second = room.wait("vm1", "running"), room.wait("vm2", "running")
    os.kill(second["pid"], signal.SIGSTOP)
    how(room)
    assert room.vmd.process.wait(10.0) == 0
    assert identify(first["pid"]) is None and identify(second["pid"]) is None
    room.again()
    room.configure(room.machine("vm1"))
    assert room.wait("vm1", "running")["restarts"] == 0


# --- images


def _image(path: Path, kind: str) -> dict[str, Any]:
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, path, "1M"], check=True, timeout=30)
    return {"image": str(path), "image_format": kind}


def _backing(path: Path) -> str:
    done = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", path], capture_output=True, check=True, timeout=30
    )
    return str(json.loads(done.stdout)["backing-filename"])


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_image_is_left_as_it_is_and_the_overlay_stays_with_the_machine(room: Room, kind: str) -> None:
    image = room.folder / "disk, with a comma"
    row = room.machine("vm1", **_image(image, kind))
    content = image.read_bytes()
    overlay = room.folder / "overlays" / "vm1.qcow2"
    room.configure(row, {**row, **{key: room.machine("vm2")[key] for key in ("name", "console", "qmp", "log")}})
    room.wait("vm1", "running")
    room.wait("vm2", "running")  # two machines on one image
    assert _backing(overlay) == str(image)
    made = overlay.stat().st_ino
    room.power("vm1", "off")
    room.power("vm1", "on")
    assert overlay.stat().st_ino == made
    assert image.read_bytes() == content
    room.power("vm1", "off")
    os.utime(image, ns=(1, 1))  # somebody has written to it: what the overlay has of it is worth nothing
    kept = overlay.stat().st_mtime_ns
    room.power("vm1", "on")
    assert overlay.stat().st_mtime_ns != kept
    room.configure()
    until(lambda: not overlay.exists(), what="no overlay of a machine that has left the lab")
    assert image.exists()


def test_a_writable_image_has_one_writer(room: Room) -> None:
    image = room.folder / "disk.qcow2"
    row = room.machine("vm1", writable=True, **_image(image, "qcow2"))
    room.configure(row)
    room.wait("vm1", "running")
    room.configure(row, room.machine("vm2", writable=True, image=str(image), image_format="qcow2"))
    assert 'Failed to get "write" lock' in room.wait("vm2", "waiting")["problem"]
    assert not (room.folder / "overlays").exists()
    room.power("vm1", "off")
    room.power("vm2", "on")


def test_a_machine_that_was_being_switched_off_when_vmd_was_killed_stays_off(room: Room) -> None:
    vm1 = room.machine("vm1")
    room.configure(vm1)
    pid = room.wait("vm1", "running")["pid"]
    os.kill(pid, signal.SIGSTOP)
    order = Client(room.vmd.path, timeout=5)
    order._socket.sendall(encode({"id": 1, "op": "power", "args": {"machine": "vm1", "what": "off"}}))
    room.wait("vm1", "stopping")
    room.kill()
    order.close()
    room.again()
    room.configure(vm1)
    assert room.rows()["vm1"]["state"] == "stopping"
    os.kill(pid, signal.SIGCONT)
    assert room.wait("vm1", "stopped")["note"] == "switched off"
    assert room.processes() == []
