"""The media that members lie on: tmpfs, and a disk. Knows: which folder is on which, what free space it has, how a page
cache is emptied. Refuses to know: what is measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import FileIO

FOLDERS = {"tmpfs": "/dev/shm", "disk": "/var/tmp"}


def problem(medium: str, need: int) -> str:
    """Why `need` bytes can't be put on this medium; "" if they can."""
    folder = FOLDERS[medium]
    if not os.access(folder, os.W_OK):
        return f"{folder} is not writable"
    if (_kind(folder) == "tmpfs") != (medium == "tmpfs"):
        return f"{folder} is on {_kind(folder)}"
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    return f"{folder} has {free >> 20} MiB free, and {need >> 20} are needed" if free < need else ""


def memory_problem(need: int) -> str:
    """Why `need` bytes of a tmpfs would not fit into this machine's memory; "" if they do."""
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = {name: int(value.split()[0]) << 10 for name, value in (text.split(":") for text in file)}
    free = fields["MemAvailable"]
    return f"{free >> 20} MiB of memory are free, and {need >> 20} are needed" if free < need else ""


def _kind(folder: str) -> str:
    """The type of the file system that a folder is on (proc(5), mounts)."""
    path, kind, longest = os.path.realpath(folder), "", ""
    with open("/proc/mounts", encoding="utf-8", errors="replace") as file:
        for text in file:
            _device, mount, its_kind = text.split()[:3]
            if os.path.commonpath([path, mount]) == mount and len(mount) >= len(longest):
                kind, longest = its_kind, mount
    return kind


def settle(paths: Iterable[str]) -> None:
    """What earlier runs left to be written is written, so that it is not in the way of the next."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def cool(paths: Iterable[str]) -> None:
    """Nothing of these files is in the page cache afterwards (posix_fadvise drops clean pages only)."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def warm(paths: Iterable[str]) -> None:
    """All that these files have is in the page cache afterwards, if it is large enough; not their holes."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            for at, end in _filled(file):
                file.seek(at)
                while at < end and (piece := file.read(min(1 << 20, end - at))):
                    at += len(piece)


def _filled(file: FileIO) -> Iterator[tuple[int, int]]:
    """Where a file is no hole (lseek(2))."""
    hole, size = 0, os.fstat(file.fileno()).st_size
    with suppress(OSError):  # ENXIO: nothing but a hole is left
        while hole < size:
            at = os.lseek(file.fileno(), hole, os.SEEK_DATA)
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            yield at, hole
