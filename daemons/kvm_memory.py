"""Does KVM work here? The answer is found once (kvm.py boots a guest for it) and kept for this kernel and this QEMU.

Knows: the file with the answer, and when it is worth nothing any more. Refuses to know: how KVM is tried.

python -m daemons.kvm_memory [KERNEL...]    prints {"usable", "why", "tried"}: for a loop, which must not wait
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from daemons import kvm
from daemons.errors import UserError
from daemons.kvm import Answer
from daemons.paths import state_root
from daemons.process import boot_id

FILE = "kvm.json"
_VERSION_SECONDS = 10.0

Try = Callable[[Path | None], Answer]


def answer(kernels: Sequence[str] = (), probe: Try = kvm.probe) -> Answer:
    """The answer that is kept, or that of a trial now. kernels: Linux images to try with where /boot has none."""
    refusal = kvm.refused()
    if refusal is not None:  # permissions change from one moment to the next, and cost nothing to look at
        return refusal
    kernel = _kernel(kernels)
    key = _key()
    kept = _read(key)
    if kept is not None:
        return kept
    found = probe(kernel)
    if kernel is not None and key:
        _write(key, found)
    return found


def can_try(kernels: Sequence[str] = ()) -> bool:
    """Ubuntu keeps /boot's kernels from ordinary users: then nobody knows whether KVM works."""
    return kvm.refused() is not None or _kernel(kernels) is not None


def _kernel(kernels: Sequence[str]) -> Path | None:
    return kvm.own_kernel() or next((Path(path) for path in kernels if os.access(path, os.R_OK)), None)


def _key() -> str:
    """The kernel's release and QEMU's version; "" without QEMU."""
    qemu = shutil.which(kvm.QEMU)
    if qemu is None:
        return ""
    try:
        done = subprocess.run(
            [qemu, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_VERSION_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f"{platform.release()}, {(done.stdout.splitlines() or [''])[0]}"


def _file() -> str:
    return os.path.join(state_root(), FILE)


def _read(key: str) -> Answer | None:
    try:
        with open(_file(), encoding="utf-8") as file:
            value: Any = json.load(file)
    except (OSError, ValueError, UserError):
        return None
    if not isinstance(value, dict) or not key or value.get("key") != key or not isinstance(value.get("why"), str):
        return None
    # A no may be that of a busy machine, or of a module that was loaded otherwise: it is asked again after a reboot.
    if value.get("usable") is not True and value.get("boot") != boot_id():
        return None
    return Answer(value.get("usable") is True, value["why"])


def _write(key: str, found: Answer) -> None:
    try:
        path = _file()
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
            json.dump({"key": key, "boot": boot_id(), **found._asdict()}, file)
        os.replace(file.name, path)
    except (OSError, UserError):
        pass  # it is asked again next time


def main(argv: Sequence[str] | None = None) -> int:
    kernels = sys.argv[1:] if argv is None else argv
    print(json.dumps({**answer(kernels)._asdict(), "tried": can_try(kernels)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
