"""Who holds a file's lock, for one clear sentence.

Knows: the format of /proc/locks. Refuses to know: what is locked, and why.
"""

from __future__ import annotations

import os


def owner(fd: int) -> int | None:
    """The id of the process that holds the flock of this open file; None if that cannot be told (other namespace)."""
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    status = os.fstat(fd)
    return find(text, f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}", status.st_ino)


def find(text: str, device: str, inode: int) -> int | None:
    """From lines like `3: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF`, device in hex and inode in decimal.

    btrfs shows another device number here than stat does: one flock of the same inode elsewhere is taken then.
    """
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 6 or words[1] != "FLOCK" or not words[4].isdigit():
            continue  # a waiting lock (`->`), another kind, or a process that is not seen from here (-1)
        where, _, number = words[5].rpartition(":")
        if number == str(inode) and int(words[4]) > 0:
            found[where] = int(words[4])
    if device in found:
        return found[device]
    return next(iter(found.values())) if len(found) == 1 else None
