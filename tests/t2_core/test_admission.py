"""Whether a machine can carry a lab: memory, files, the right to make namespaces."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from daemons import admission, kvm, userns
from daemons.lab import loader
from daemons.lab.lab import Lab
from daemons.vm_admission import OVERHEAD
from netvirt.ports.errors import PortError
from tests.t2_core.test_lab_machines import Everywhere, vms

MIB = 1 << 20


class Here(Everywhere):
    """Files beside a lab file that is in this folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, path: str) -> str:
        return str(self.folder / path)


def rows(**memory: int) -> list[dict[str, Any]]:
    return [{"name": name, "memory": size * MIB} for name, size in memory.items()]


@pytest.mark.parametrize(
    ("running", "room", "refused"),
    [
        ({}, 300 * MIB + 2 * OVERHEAD, False),
        ({}, 300 * MIB + 2 * OVERHEAD - 1, True),
        ({}, None, False),  # nobody says how much there is
        ({"a": 100}, 200 * MIB + OVERHEAD, False),  # that one has its memory
        ({"a": 100}, 200 * MIB + OVERHEAD - 1, True),
        ({"a": 50, "b": 200}, 50 * MIB, False),  # it grows
        ({"a": 50, "b": 200}, 50 * MIB - 1, True),
        ({"a": 500, "b": 500, "c": 500}, 0, False),
    ],
)
def test_memory(running: dict[str, int], room: int | None, refused: bool) -> None:
    said = admission.memory(rows(a=100, b=200), rows(**running), room)
    assert bool(said) == refused
    if refused:
        assert "of memory, and" in said and "limits: {vm_memory: 300MiB}" in said


@pytest.fixture(autouse=True)
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seems to be installed: no test here starts it."""
    program = tmp_path / "bin/qemu-system-x86_64"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def lab(*keys: str, limits: str = "{}") -> Lab:
    return loader.parse(vms(*keys, limits=limits)).lab


def test_more_than_the_machine_has_is_refused_but_for_those_who_say_so(tmp_path: Path) -> None:
    (tmp_path / "k").touch()
    big = ("kernel: k, memory: 8TiB", "kernel: k, memory: 1TiB")
    [said] = admission.refusals(lab(*big), Here(tmp_path), {})
    assert said.startswith("the virtual machines need 9 TiB of memory, and ")
    assert admission.refusals(lab(*big, limits="{vm_memory: 9TiB}"), Here(tmp_path), {}) == []
    there = {"vmd": {"machines": [{"name": f"v{n}", "memory": 8 << 40} for n in (0, 1)]}}
    assert admission.refusals(lab(*big), Here(tmp_path), there) == []


def test_files(tmp_path: Path) -> None:
    (tmp_path / "raw.img").write_bytes(bytes(512))
    (tmp_path / "cloud.img").write_bytes(b"QFI\xfb" + bytes(508))
    (tmp_path / "folder").mkdir()
    keys = (
        "image: raw.img",
        "image: gone.img",
        "image: cloud.img",
        "kernel: folder",
        "image: cloud.img, format: qcow2",
    )
    said = admission.refusals(lab(*keys), Here(tmp_path), {})
    assert [each.partition(":")[0] for each in said] == ["v1", "v2", "v3"]
    assert f"its image {tmp_path}/gone.img cannot be used: No such file" in said[0]
    assert "write format: qcow2" in said[1]
    assert "is no file" in said[2]


def test_programs(tmp_path: Path, qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "k").touch()
    wanted = lab("kernel: k", "kernel: k, accel: kvm", "kernel: k, accel: kvm")
    monkeypatch.setattr(kvm, "refused", lambda: kvm.Answer(False, "there is no /dev/kvm"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert admission.refusals(wanted, Here(tmp_path), {}) == [
        "v1, v2: accel is kvm, but: there is no /dev/kvm; write accel: auto or tcg"
    ]
    monkeypatch.setattr(kvm, "refused", lambda: None)
    assert admission.refusals(wanted, Here(tmp_path), {}) == []
    qemu.unlink()
    assert admission.refusals(wanted, Here(tmp_path), {}) == [
        "v0, v1, v2: qemu-system-x86_64 is not installed here; install QEMU 7.2 or newer"
    ]


NETNS = (
    'name: t\ntopology:\n  nodes: {s: {kind: switch}, n: {kind: netns}}\n  links: [{endpoints: ["s:e1", "n:eth0"]}]\n'
)


def test_namespaces_are_asked_for_where_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "refusal", lambda: "this machine refuses")
    with_one = loader.parse(NETNS).lab
    assert admission.refusals(with_one, Here(tmp_path), {}) == ["this machine refuses"]
    assert admission.refusals(with_one, Here(tmp_path), {"netnsd": {}}) == []
    assert admission.refusals(loader.parse(NETNS.replace("netns", "host")).lab, Here(tmp_path), {}) == []


def test_what_is_said_of_namespaces() -> None:
    assert userns.refused("", "") == ""
    assert "as root: sysctl x=1" in userns.refused("Operation not permitted", "sysctl x=1")
    assert "inside a container" in userns.refused("Operation not permitted", "")
    tap = userns.refused("/dev/net/tun: Permission denied", "sysctl x=1")
    assert "refuses TAPs" in tap and "chmod 666 /dev/net/tun" in tap


def test_a_trial_is_made_in_a_child_and_leaves_nothing() -> None:
    here = os.stat("/proc/self/ns/net").st_ino
    before = set(os.listdir("/proc/self/fd"))

    def denied() -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def tun() -> None:
        raise PortError("/dev/net/tun: No such file or directory; a TAP needs this device")

    def wrong() -> None:
        raise RuntimeError

    assert userns.tried(lambda: None) == ""
    assert userns.tried(denied) == "Operation not permitted"
    assert userns.tried(tun) == "/dev/net/tun: No such file or directory"
    assert userns.tried(wrong) == "the trial broke off"
    userns.refusal()
    assert os.stat("/proc/self/ns/net").st_ino == here
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_switches_that_turn_them_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(userns, "SWITCHES", ((str(first), "0", "one"), (str(second), "1", "two")))
    assert userns.switched_off() == ""
    second.write_text("1\n")
    assert userns.switched_off() == "two"
    first.write_text("0\n")
    assert userns.switched_off() == "one"
