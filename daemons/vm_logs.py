"""The logs of machines: kept short while QEMU writes to them, and asked for their last words.

Knows: files that somebody else appends to. Refuses to know: who that is, and what the words mean.
"""

from __future__ import annotations

import os
import re
import shutil

# Of each log this much is kept at least, and twice as much at most: half of it in a second file.
KEEP_BYTES = 4 << 20
_TAIL = 4096
# Hints may follow it on lines of their own. "warning:" is not what a program ended for.
_OWN = re.compile(r"(?:\S*/)?qemu-[\w-]+: (?!warning:)(.+)")


def open_log(path: str) -> int:
    """A descriptor that appends. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def shorten(path: str, keep: int = KEEP_BYTES) -> None:
    """When the log has more than `keep` bytes they go to `path`.1, in place of what is there.

    Its writer has the file open and appends (O_APPEND), so it goes on at the new end. What it writes between the copy
    and the cut is lost: microseconds' worth.
    """
    try:
        size = os.stat(path).st_size
        if size <= keep:
            return
        with open(path, "rb") as log, open(f"{path}.1", "wb") as old:
            log.seek(max(0, size - keep))
            shutil.copyfileobj(log, old)
        os.truncate(path, 0)
    except OSError:
        pass  # gone, or the disk is full: looked at again a moment later


def last_words(path: str, since: int = 0) -> str:
    """What matters of the log's end, of what was written behind the byte `since`; "" if nothing was."""
    try:
        with open(path, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(since if since <= size else 0, size - _TAIL))
            return complaint(log.read(_TAIL).decode(errors="replace"))
    except OSError:
        return ""


def complaint(text: str) -> str:
    """The last line in which a program of QEMU's speaks in its own name, without that name; else the last line."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    named = [found[1] for found in map(_OWN.match, lines) if found is not None]
    return (named or lines or [""])[-1]
