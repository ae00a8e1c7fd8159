"""Builds the guest of the tests once: a Debian kernel, a few of its modules, busybox, and `init` beside this file.

Knows: where the kernel package lies (tools/install-peers put it there) and how modules depend on each other.
Refuses to know: QEMU, networks. The result is kept under a name made from its content, so nothing ever goes stale.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from daemons.kvm import Entry, cpio
from tests.support import peers

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("VFAB_TEST_CACHE") or HERE.parents[2] / ".test-cache") / "guest"
MODULES = ("virtio_pci", "virtio_net", "virtio_blk", "8021q", "button", "evdev")
FOLDERS = ("bin", "dev", "proc", "sys", "modules", "tmp")


class Image(NamedTuple):
    kernel: Path
    initramfs: Path


def image() -> Image:
    """The guest's two files, built now if they are not there. Skips the test where the kernel or busybox is missing."""
    package = max(CACHE.glob("linux-image-*.deb"), key=lambda path: path.stat().st_mtime, default=None)
    if package is None:
        peers.missing(f"the guest's kernel ({CACHE}/linux-image-*.deb)")
    busybox = _static_busybox()
    content = hashlib.sha256()
    for part in (package.name.encode(), " ".join(MODULES).encode(), busybox, *(f.read_bytes() for f in _recipe())):
        content.update(hashlib.sha256(part).digest())
    folder = CACHE / content.hexdigest()[:16]
    if not folder.exists():
        _build(package, busybox, folder)
    return Image(folder / "vmlinuz", folder / "initramfs")


def _recipe() -> tuple[Path, Path]:
    return HERE / "init", Path(__file__)


def _static_busybox() -> bytes:
    """A dynamically linked one would need the machine's libraries: its ELF has an interpreter, PT_INTERP."""
    data = Path(peers.need("busybox")).read_bytes()
    if b"/ld-linux" in data[:4096] or b"/ld-musl" in data[:4096]:
        peers.missing("a static busybox")
    return data


def _build(package: Path, busybox: bytes, folder: Path) -> None:
    kernel, modules = _unpack(package)
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in FOLDERS]
    entries.append(Entry("init", stat.S_IFREG | 0o755, (HERE / "init").read_bytes()))
    entries.append(Entry("bin/busybox", stat.S_IFREG | 0o755, busybox))
    entries.append(Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    order = list(dict.fromkeys(name for wanted in MODULES for name in _with_needs(wanted, modules)))
    for name in order:
        entries.append(Entry(f"modules/{name}.ko", stat.S_IFREG | 0o644, modules[name]))
    listing = "".join(f"{name}.ko\n" for name in order)
    entries.append(Entry("modules/order", stat.S_IFREG | 0o644, listing.encode()))
    making = Path(tempfile.mkdtemp(dir=CACHE))
    making.chmod(0o755)
    (making / "vmlinuz").write_bytes(kernel)
    (making / "initramfs").write_bytes(cpio(entries))
    try:
        making.rename(folder)
    except OSError:  # another run was faster, and made the same
        shutil.rmtree(making)


def _unpack(package: Path) -> tuple[bytes, dict[str, bytes]]:
    """The kernel, and all modules by name ("-" as "_", as the kernel has it)."""
    kernel, modules = b"", {}
    command = [peers.need("dpkg-deb"), "--fsys-tarfile", str(package)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as unpacker,
        tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive,
    ):
        for member in archive:
            name = member.name.rsplit("/", 1)[-1]
            if name.startswith("vmlinuz-"):
                kernel = _contents(archive, member)
            elif found := re.fullmatch(r"(.+)\.ko(\.xz)?", name):
                data = _contents(archive, member)
                modules[found[1].replace("-", "_")] = lzma.decompress(data) if found[2] else data
    assert kernel and modules, f"{package} holds no kernel"
    return kernel, modules


def _contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file is not None else b""


def _with_needs(name: str, modules: dict[str, bytes]) -> Iterator[str]:
    """`name` behind what it needs; a module that the package does not have is built into the kernel."""
    if name not in modules:
        return
    needs = re.search(rb"(?:^|\0)depends=([^\0]*)\0", modules[name])
    for need in needs[1].decode().split(",") if needs else ():
        yield from _with_needs(need.replace("-", "_"), modules)
    yield name
