"""Bochs, a PC, with nothing in it but a card and that card's boot ROM: iPXE, which asks for an address over and over.

Knows: bochsrc, that Debian's Bochs draws on a terminal and waits there for its debugger. Refuses to know: switches.
"""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.support import peers

ROM = Path("/usr/lib/ipxe/qemu/pxe-ne2k_pci.rom")
BIOS = Path("/usr/share/bochs/BIOS-bochs-latest")
VGA = Path("/usr/share/bochs/VGABIOS-lgpl-latest")
# In real time iPXE waits for an address for 1, 2, 4 and 8 seconds, and gives up; without, it does so in half of one.
CONFIG = f"""\
config_interface: textconfig
display_library: term
romimage: file={BIOS}
vgaromimage: file={VGA}
megs: 32
clock: sync=realtime
pci: enabled=1, chipset=i440fx, slot1=ne2k
boot: network
panic: action=fatal
sound: waveoutdrv=dummy, waveindrv=dummy
speaker: enabled=0
"""


class Bochs:
    """A running one; `card` is the line of bochsrc that `vfab attach` prints. inside: a command that runs another."""

    def __init__(self, folder: Path, card: str, cwd: str, inside: Sequence[str] = ()) -> None:
        bochs = peers.need("bochs")
        for part in (ROM, BIOS, VGA):
            if not part.exists():
                peers.missing(str(part))
        config = folder / "bochsrc"
        config.write_text(f"{CONFIG}log: {folder}/bochs.log\n{card}, bootrom={ROM}\n")
        self._folder = folder
        self._terminal, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "LINES": "25", "COLUMNS": "80"}
        self._process = subprocess.Popen(
            [*inside, bochs, "-q", "-f", str(config)],
            cwd=cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
        )
        os.close(theirs)
        self._screen = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        os.write(self._terminal, b"c\n")  # go on, for a Bochs that was built with its debugger

    def _read(self) -> None:
        try:
            while data := os.read(self._terminal, 65536):
                self._screen += data
        except OSError:
            pass  # its other end is closed

    def alive(self) -> bool:
        """False: it has ended; `story` may tell why."""
        return self._process.poll() is None

    def story(self) -> str:
        """Its log and its screen, for people."""
        log = self._folder / "bochs.log"
        return (log.read_text(errors="replace") if log.exists() else "") + self._screen.decode(errors="replace")[-2000:]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._terminal)
