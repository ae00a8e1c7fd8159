"""Hercules, a mainframe, with an LCS card and a program of sixteen instructions that sends back each frame it gets.

Knows: S/370's start of a channel program (Principles of Operation, GA22-7000), LCS's framing (Linux has it in
drivers/s390/net/lcs.h), Hercules's console. Refuses to know: switches.

Program and data lie below 4096, where a displacement alone is an address. A frame of LCS: where the next one begins (2
bytes, 0 = the end), 0 = command or 1 = Ethernet, the port; what came in that form goes back as it is.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import peers

_STARTUP, _STARTLAN = 7, 1
_WRITE, _READ = 1, 2
_SLI = 0x20  # the count may be more than there is
_BUFFER = 0x5000  # the least that Hercules takes
_PSW = bytes.fromhex("0000000000000400")  # no interruptions; begins at 0x400
_PROGRAM = bytes.fromhex(
    "D20300480460"  # 400 MVC  the channel's program: start the card
    "9C000E21"  #     406 SIO  E21
    "9D000E21"  #     40A TIO  E21
    "4720040A"  #     40E BC   while it is busy
    "92000902"  #     412 MVI  no frame in the buffer yet
    "D20300480464"  # 416 MVC  the channel's program: read
    "9C000E20"  #     41C SIO  E20
    "9D000E20"  #     420 TIO  E20
    "47200420"  #     424 BC   while it is busy
    "95010902"  #     428 CLI  an Ethernet frame?
    "47700412"  #     42C BC   if not, again
    "D20300480468"  # 430 MVC  the channel's program: write what was read
    "9C000E21"  #     436 SIO  E21
    "9D000E21"  #     43A TIO  E21
    "4720043A"  #     43E BC   while it is busy
    "47F00412"  #     442 B    again
)
CONFIG = """\
ARCHMODE S/370
MAINSIZE 2
NUMCPU 1
"""


def _ccw(command: int, address: int, count: int) -> bytes:
    return struct.pack(">IBxH", command << 24 | address, _SLI, count)


def _command(code: int, following: int) -> bytes:
    """For Ethernet (1), adapter 0, with buffers of that size."""
    return struct.pack(">HBBBBHHBBH6x", following, 0, 0, code, 0, 0, 0, 1, 0, _BUFFER)


def storage() -> bytes:
    """The machine's first 4 KiB."""
    start = _command(_STARTUP, 20) + _command(_STARTLAN, 40) + bytes(2)
    core = bytearray(4096)
    for address, data in (
        (0x000, _PSW),
        (0x400, _PROGRAM),
        (0x460, struct.pack(">III", 0x470, 0x478, 0x480)),
        (0x470, _ccw(_WRITE, 0x800, len(start)) + _ccw(_READ, 0x900, _BUFFER) + _ccw(_WRITE, 0x900, _BUFFER)),
        (0x800, start),
    ):
        core[address : address + len(data)] = data
    return bytes(core)


class Hercules:
    """A running one; `card` is the line of its configuration that `vfab attach` prints. inside: runs a command."""

    def __init__(self, folder: Path, card: str, inside: Sequence[str] = ()) -> None:
        hercules = peers.need("hercules")
        self._log = folder / "hercules.log"
        (folder / "hercules.cnf").write_text(f"{CONFIG}{card}\n")
        (folder / "storage").write_bytes(storage())
        (folder / "hercules.rc").write_text(f"loadcore {folder}/storage 0\nrestart\n")
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [*inside, hercules, "-f", str(folder / "hercules.cnf")],
                env={**os.environ, "HERCULES_RC": str(folder / "hercules.rc")}, cwd=folder,
                stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip

    def story(self) -> str:
        """What it has said, for people."""
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
