"""A v86 machine in Node.js with a boot sector of ours in it; tools/install-peers fetches v86.

Knows: where its parts are, how it is started and ended. Refuses to know: switches.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import peers

HERE = Path(__file__).parent
MODULES = Path(os.environ.get("VFAB_TEST_CACHE") or HERE.parents[2] / ".test-cache") / "npm" / "node_modules"
BIOS = Path("/usr/share/seabios/bios.bin")
ADDRESS = bytes.fromhex("020000000086")  # in what it sends first
HELLO = bytes.fromhex("ffffffffffff 020000000086 88b5") + b"v86 is here" + bytes(35)


def boot_sector(folder: Path) -> Path:
    """echo.S, assembled."""
    made = folder / "echo.bin"
    subprocess.run([peers.need("as"), "--32", "-o", folder / "echo.o", HERE / "echo.S"], check=True, timeout=20)
    link = [
        peers.need("ld"),
        "-m",
        "elf_i386",
        "-Ttext",
        "0x7c00",
        "--oformat",
        "binary",
        "-o",
        made,
        folder / "echo.o",
    ]
    subprocess.run(link, check=True, timeout=20)
    return made


@contextmanager
def machine(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """It runs, and connects to `url`; ends with the block."""
    node = peers.need("node")
    for part in (MODULES / "v86", MODULES / "ws", BIOS):
        if not part.exists():
            peers.missing(str(part))
    sector = boot_sector(folder)
    with open(folder / "node.log", "wb") as log:
        process = subprocess.Popen(
            [node, HERE / "machine.mjs", MODULES, sector, url], stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()
