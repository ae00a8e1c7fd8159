"""What vmd asks of its host: how much memory there is, whether KVM was found to work; and what it keeps of logs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from daemons import kvm, kvm_memory
from daemons.errors import UserError
from daemons.kvm import Answer
from daemons.vm_admission import available
from daemons.vm_config import parse_config
from daemons.vm_image import image_format, overlay_command, overlay_path
from daemons.vm_logs import complaint, last_words, open_log, shorten
from daemons.vm_record import Record, load, save
from tests.support.machines import machine

MIB = 1 << 20


def _group(folder: Path, limit: str, current: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\nactive_file 2\n")


def test_the_tightest_limit_counts(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    4096 kB\n")
    inner = tmp_path / "user.slice" / "app.scope"
    inner.mkdir(parents=True)
    assert available(str(meminfo), str(inner)) == 4 * MIB
    _group(inner.parent, str(8 * MIB), 6 * MIB, cached=MIB)
    assert available(str(meminfo), str(inner)) == 3 * MIB
    _group(inner, "max", 0)
    assert available(str(meminfo), str(inner)) == 3 * MIB
    _group(inner, str(2 * MIB), 3 * MIB)
    assert available(str(meminfo), str(inner)) == 0
    assert available(str(tmp_path / "none"), str(tmp_path / "none")) is None
    meminfo.write_text("MemAvailable: much\n")
    assert available(str(meminfo), str(tmp_path / "none")) is None


def test_this_machine_has_memory() -> None:
    found = available()
    assert found is None or found > 0


# --- the answer about KVM


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(kvm, "refused", lambda: None)
    monkeypatch.setattr(kvm, "own_kernel", lambda: Path("/boot/vmlinuz"))
    monkeypatch.setattr(kvm_memory, "_key", lambda: "6.1, QEMU 7.2")
    return tmp_path / "virtfab" / "kvm.json"


class Trial:
    def __init__(self, usable: bool) -> None:
        self.usable = usable
        self.kernels: list[Path | None] = []

    def __call__(self, kernel: Path | None) -> Answer:
        self.kernels.append(kernel)
        return Answer(self.usable, "a reason")


@pytest.mark.parametrize("usable", [True, False])
def test_kvm_is_tried_once(trials: Path, usable: bool) -> None:
    trial = Trial(usable)
    for _ in range(3):
        assert kvm_memory.answer((), trial) == (usable, "a reason")
    assert trial.kernels == [Path("/boot/vmlinuz")]


def test_another_kernel_or_qemu_is_tried_again(trials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(True)
    kvm_memory.answer((), trial)
    monkeypatch.setattr(kvm_memory, "_key", lambda: "6.1, QEMU 8.0")
    kvm_memory.answer((), trial)
    assert len(trial.kernels) == 2


@pytest.mark.parametrize(("usable", "tried"), [(True, 1), (False, 2)])
def test_a_no_is_asked_again_after_a_reboot_a_yes_is_not(trials: Path, usable: bool, tried: int) -> None:
    trial = Trial(usable)
    kvm_memory.answer((), trial)
    trials.write_text(json.dumps({**json.loads(trials.read_text()), "boot": "another"}))
    kvm_memory.answer((), trial)
    assert len(trial.kernels) == tried


@pytest.mark.parametrize("junk", ["", "[]", "{}", '{"key": 1}', '{"key": "6.1, QEMU 7.2", "usable": true, "why": 7}'])
def test_a_damaged_memory_is_none(trials: Path, junk: str) -> None:
    trials.parent.mkdir()
    trials.write_text(junk)
    assert kvm_memory.answer((), Trial(False)) == (False, "a reason")


def test_without_a_kernel_in_boot_that_of_a_machine_is_tried(trials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "own_kernel", lambda: None)
    trial = Trial(False)
    kvm_memory.answer((), trial)
    assert trial.kernels == [None] and not trials.exists(), "nothing was tried, so nothing is known"
    kvm_memory.answer(("/no/such/kernel", __file__), trial)
    assert trial.kernels == [None, Path(__file__)] and trials.exists()
    assert kvm_memory.can_try((__file__,)) and not kvm_memory.can_try()


def test_what_says_no_by_itself_is_not_remembered(trials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kvm_memory.answer((), Trial(True))
    monkeypatch.setattr(kvm, "refused", lambda: Answer(False, "no permission"))
    assert kvm_memory.answer((), Trial(True)) == (False, "no permission")


# --- images


def test_without_qemu_img_there_is_no_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    row = machine(Path("/run"), "vm1", image="/data/disk", image_format=None)
    config = parse_config({"lab": "x", "epoch": 1, "machines": [row]}).machines["vm1"]
    assert overlay_path(config) == "/run/overlays/vm1.qcow2" and image_format(config) == "raw"
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(UserError, match=r"vm1: qemu-img is not installed .*, it makes what the guest writes into"):
        overlay_command(config)


# --- logs


def test_a_log_is_kept_short_while_somebody_appends_to_it(tmp_path: Path) -> None:
    path = tmp_path / "vm1.console.log"
    writer = open_log(str(path))
    try:
        for number in range(1000):
            os.write(writer, f"{number:07}\n".encode())
            shorten(str(path), keep=1000)
    finally:
        os.close(writer)
    old, new = Path(f"{path}.1").read_bytes(), path.read_bytes()
    assert len(old) <= 1000 and len(new) <= 1000
    numbers = [int(line) for line in (old + new).split()]
    assert numbers == list(range(numbers[0], 1000)) and len(numbers) > 125
    assert path.stat().st_mode & 0o077 == 0
    shorten(str(tmp_path / "none"))


def test_a_burst_is_cut_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old" * 1000 + b"new")
    shorten(str(path), keep=10)
    assert Path(f"{path}.1").read_bytes() == b"ldoldoldnew"[1:] and path.read_bytes() == b""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("one\n\n  two \n \n", "two"),
        ("qemu-system-x86_64: -device x: bad\nUse -device help\n", "-device x: bad"),
        ("/usr/bin/qemu-system-x86_64: a\nqemu-system-x86_64: warning: b\n", "a"),
        ("qemu-img: /x: no such file\n", "/x: no such file"),
    ],
)
def test_the_last_words_are_those_that_matter(text: str, words: str, tmp_path: Path) -> None:
    assert complaint(text) == words
    path = tmp_path / "log"
    path.write_text("earlier\n" + text)
    assert last_words(str(path), len("earlier\n")) == words
    assert last_words(str(path), 10_000) == (words or "earlier"), "it was cut since"
    assert last_words(str(tmp_path / "none")) == ""


# --- records


def test_a_record_is_read_back_and_junk_is_none(tmp_path: Path) -> None:
    from daemons.process import identify

    record = Record(True, True, identify(os.getpid()), "tcg", {"name": "vm1"}, ["/a", 1], 7, ("/s",))
    save(str(tmp_path), "vm1", record)
    assert load(str(tmp_path), "vm1") == record
    path = tmp_path / "vm1.vm.json"
    value = json.loads(path.read_text())
    for junk in (b"", b"[]", b"\xff", b"{}", *(json.dumps(each).encode() for each in _damaged(value))):
        path.write_bytes(junk)
        assert load(str(tmp_path), "vm1") is None, junk
    assert load(str(tmp_path), "vm2") is None


def _damaged(value: dict[str, object]) -> list[dict[str, object]]:
    return [
        {**value, "boot": "another"}, {**value, "raw": 7}, {**value, "process": ["a", 1]}, {**value, "more": 1},
        {**value, "sockets": 7}, {key: each for key, each in value.items() if key != "on"},
    ]  # fmt: skip
