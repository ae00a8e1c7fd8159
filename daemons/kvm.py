"""Finds out whether KVM works here, by trying it: a guest must reach user space within 3 s.

Knows: the smallest guest there is (one kernel, and an init of some 100 bytes that says one word).
Refuses to know: what the guest is for; `vfab doctor`, vmd (kvm_memory.py) and the tests ask, and take TCG where the
answer is no.

/dev/kvm that opens proves nothing: inside some virtual machines it answers every call and a kernel still never gets
anywhere. x86-64 only, because the init is machine code.
"""

from __future__ import annotations

import os
import platform
import selectors
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

DEVICE: Final = "/dev/kvm"
QEMU: Final = "qemu-system-x86_64"
SECONDS: Final = 3.0
ACCELERATOR: Final = ("-accel", "kvm", "-cpu", "host")
_WORD: Final = b"virtfab-user-space\n"


class Answer(NamedTuple):
    usable: bool
    why: str


class Entry(NamedTuple):
    """One file of an initramfs; mode with its type bits, device as (major, minor)."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def cpio(entries: Iterable[Entry]) -> bytes:
    """An initramfs (newc, Linux Documentation/driver-api/early-userspace/buffer-format.rst). Parents come first."""
    parts = []
    for number, entry in enumerate((*entries, Entry("TRAILER!!!", 0)), start=1):
        name = entry.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        numbers = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % value for value in numbers) + name
        parts += [head, bytes(-len(head) % 4), entry.data, bytes(-len(entry.data) % 4)]
    return b"".join(parts)


def probe(kernel: Path | None = None, seconds: float = SECONDS) -> Answer:
    """Boots a guest with KVM and waits up to `seconds` for its user space.

    kernel: an x86-64 Linux image; None takes one of the machine's own from /boot.
    """
    refusal = refused()
    if refusal is not None:
        return refusal
    qemu = shutil.which(QEMU)
    if qemu is None:
        return Answer(False, f"{QEMU} is not installed, so KVM was not tried")
    kernel = kernel or own_kernel()
    if kernel is None:
        return Answer(False, f"{DEVICE} is there, but /boot has no readable kernel to try it with")
    return boots(qemu, kernel, ACCELERATOR, seconds)


def refused() -> Answer | None:
    """What says no without a guest; None: it has to be tried."""
    if platform.machine() != "x86_64":
        return Answer(False, f"KVM is tried on x86-64 only, this is {platform.machine()}")
    if not os.path.exists(DEVICE):
        return Answer(False, f"there is no {DEVICE}: the processor, the BIOS or the outer virtual machine has it off")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Answer(False, f"no permission to open {DEVICE}; join its group (usually: kvm)")
    return None


def boots(qemu: str, kernel: Path, accelerator: Sequence[str], seconds: float) -> Answer:
    """Boots the smallest guest with these QEMU arguments; usable when it reached user space within `seconds`."""
    with tempfile.TemporaryDirectory(prefix="virtfab-kvm-") as folder:
        initramfs = Path(folder) / "initramfs"
        initramfs.write_bytes(cpio(_files()))
        command = [qemu, *accelerator, "-M", "q35", "-m", "128", "-nodefaults", "-display", "none", "-no-reboot"]
        command += ["-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initramfs)]
        command += ["-append", "console=ttyS0 quiet panic=-1"]
        return _try(command, seconds)


def _try(command: Sequence[str], seconds: float) -> Answer:
    end = time.monotonic() + seconds
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    ) as guest:
        try:
            text = _read_until(guest, end)
        finally:
            guest.kill()
    if _WORD.strip() in text:
        return Answer(True, "a guest reached user space")
    if guest.returncode not in (0, -signal.SIGKILL):
        last = text.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        return Answer(False, f"QEMU ended: {last[0]}")
    return Answer(False, f"QEMU runs, but its guest did not reach user space in {seconds:g} s")


def _read_until(guest: subprocess.Popen[bytes], end: float) -> bytes:
    assert guest.stdout is not None
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(guest.stdout, selectors.EVENT_READ)
        while _WORD.strip() not in text and selector.select(max(0.0, end - time.monotonic())):
            piece = os.read(guest.stdout.fileno(), 65536)
            if not piece:
                guest.wait(1.0)
                break
            text += piece
    return text


def own_kernel() -> Path | None:
    """The running kernel's image, or another one of /boot that may be read (Ubuntu keeps them from ordinary users)."""
    running = Path("/boot") / f"vmlinuz-{platform.release()}"
    for path in (running, *sorted(Path("/boot").glob("vmlinuz*"), reverse=True)):
        if os.access(path, os.R_OK):
            return path
    return None


def _files() -> list[Entry]:
    """The kernel gives init its three descriptors from /dev/console, so that node must exist."""
    console = Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    return [Entry("dev", stat.S_IFDIR | 0o755), console, Entry("init", stat.S_IFREG | 0o755, _init())]


def _init() -> bytes:
    """A static x86-64 ELF: write(1, _WORD), then reboot(RESTART), which -no-reboot turns into the end of QEMU."""
    code = b"".join(
        (
            b"\xb8" + struct.pack("<I", 1),  # mov eax, SYS_write
            b"\xbf" + struct.pack("<I", 1),  # mov edi, 1
            b"\x48\x8d\x35" + struct.pack("<I", 31),  # lea rsi, [rip + 31]: the word, behind the code
            b"\xba" + struct.pack("<I", len(_WORD)),  # mov edx, its length
            b"\x0f\x05",  # syscall
            b"\xb8" + struct.pack("<I", 169),  # mov eax, SYS_reboot
            b"\xbf" + struct.pack("<I", 0xFEE1DEAD),  # mov edi, LINUX_REBOOT_MAGIC1
            b"\xbe" + struct.pack("<I", 672274793),  # mov esi, LINUX_REBOOT_MAGIC2
            b"\xba" + struct.pack("<I", 0x01234567),  # mov edx, LINUX_REBOOT_CMD_RESTART
            b"\x0f\x05",  # syscall
            b"\xeb\xfe",  # jmp self
        )
    )
    base, headers = 0x400000, 64 + 56
    size = headers + len(code) + len(_WORD)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return elf + segment + code + _WORD
