"""KVM or TCG: what a machine's file says, held against what is known of KVM here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from daemons import vm_kvm
from daemons.vm_config import parse_config
from daemons.vm_kvm import Kvm
from daemons.vm_prepare import Ground, Preparation, Ready
from netvirt.ports.loop import Loop
from tests.support.links import run_until
from tests.support.machines import machine

WHY = "a reason"


def prepared(accel: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ready | str:
    """The result where the trial prints `said`; the program need not be QEMU, nobody starts it."""
    qemu = folder / vm_kvm.QEMU
    qemu.write_text("#!/bin/sh\n")
    qemu.chmod(0o755)
    monkeypatch.setattr(vm_kvm, "_COMMAND", (sys.executable, "-c", f"print({said!r})"))
    row = machine(Path("/run/x"), "vm1", accel=accel, qemu=str(qemu))
    config = parse_config({"lab": "x", "epoch": 1, "machines": [row]}).machines["vm1"]
    loop = Loop()
    results: list[Ready | str] = []
    preparation = Preparation(Ground(loop, "/run/x", Kvm(loop)), config, None, results.append)
    run_until(lambda: bool(results), loop)
    preparation.cancel()
    loop.close()
    (result,) = results
    return result


YES = '{"usable": true, "why": "a reason", "tried": true}'
NO = '{"usable": false, "why": "a reason", "tried": true}'
UNKNOWN = '{"usable": false, "why": "a reason", "tried": false}'


@pytest.mark.parametrize(
    ("accel", "said", "taken", "why"),
    [
        ("auto", YES, "kvm", WHY),
        ("auto", NO, "tcg", WHY),
        ("auto", UNKNOWN, "tcg", WHY),
        ("auto", "Traceback\nMemoryError", "tcg", "the trial of KVM failed: MemoryError"),
        ("kvm", YES, "kvm", ""),
        ("kvm", UNKNOWN, "kvm", ""),
        ("tcg", YES, "tcg", ""),
    ],
)
def test_what_is_taken(
    accel: str, said: str, taken: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = prepared(accel, said, tmp_path, monkeypatch)
    assert isinstance(result, Ready)
    assert (result.accel, result.accel_why) == (taken, why)
    assert taken in result.argv[result.argv.index("-accel") + 1]


def test_kvm_that_was_tried_in_vain_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = prepared("kvm", NO, tmp_path, monkeypatch)
    assert said == "vm1: accel is kvm, but: a reason; write accel: auto or tcg"
