"""QEMU guest to guest through one switchd, beside a stream from QEMU to QEMU with nothing between. Rows net/guests/*.

Knows: the switch and its rows. Refuses to know: guests (tests.support.guest.transfer, a process of its own).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.bench.rig import Folder, SwitchRig
from tools.bench.rows import Row, make_row

ROOT = Path(__file__).parents[2]
SECONDS = 60
UNITS = {"tcp": "Gbit/s", "ping": "ms"}


def _transfer() -> dict[str, Any]:
    with Folder() as folder, SwitchRig(folder.path, ports=0) as rig:
        sockets = [f"{folder.path}/eth{n}.qemu" for n in (1, 2)]
        one = {"mode": "access", "pvid": 10, "allowed": "10", "kind": "qemu", "role": "listen"}
        ports = [{**one, "name": f"eth{n}", "path": path} for n, path in enumerate(sockets, 1)]
        rig.client.call("configure", config={"name": rig.name, "epoch": 1, "listen": [], "ports": ports})
        argv = [sys.executable, "-m", "tests.support.guest.transfer", folder.path, *sockets]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"the guests failed: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows() -> Iterator[Row]:
    found = _transfer()
    if "missing" in found:
        print(f"net/guests is left out: {found['missing']}", file=sys.stderr)
        return
    limit = "; emulated, so the guests are the limit" if found["accelerator"] == "TCG" else ""
    how = f"two guests ({found['accelerator']}, one core each, virtio-net{limit}), two cards each, in turns"
    settings = {
        "tcp": f"{how}; 32 MB from busybox httpd to wget; more is better",
        "ping": f"{how}; median of 200 pings of 56 bytes; less is better",
    }
    for what, unit in UNITS.items():
        ways = found[what]
        yield make_row(
            f"net/guests/{what}/vs-direct", unit, ways["switch"], ways["direct"], "QEMU to QEMU", settings[what]
        )
