"""The file in which an uplink's DHCP leases outlive their process.

Knows: lines that are appended, when the file is written anew, what of a damaged one can be read. Refuses to know: what
a lease says (netvirt.hosting.leases), and when one must be kept.

Each line is a JSON list of rows, the newest last; a row without a client says that its address is nobody's any more. So
a renewal costs its own 100 bytes, not a file of all 65,536 leases, which takes 0.3 s. The first line is all that there
was when the file was written, beside the old one and put in its place. Nothing is forced to the disk: the file outlives
our process, and the lab ends with the machine.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable
from typing import Any, Final

from netvirt.hosting.dhcp import Server

# A file that doubles before it is written anew has 20 MB at the most; what is longer is none of ours.
_LONGEST: Final = 64 << 20
_APPENDED: Final = 1 << 16  # bytes that may be appended to the smallest file


class LeaseFile:
    """`path` belongs to one process at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._room = 0  # bytes that may be appended; 0 where nobody knows what is in the file

    def kept(self) -> list[Any]:
        """The rows that save() left; without the lines that are damaged: clients that come back say what they had."""
        try:
            with open(self.path, "rb") as file:
                lines = file.read(_LONGEST).splitlines()
        except OSError:
            return []
        return _newest(row for line in lines for row in _rows(line))

    def save(self, server: Server) -> None:
        """Returns when all changes would survive the end of this process. Raises OSError."""
        rows = server.changed()
        if self._room > 0:
            with contextlib.suppress(FileNotFoundError):  # somebody has removed it: all of it is written again
                self._append(_line(rows))
                server.saved()
                return
        self._write(_line(server.dump()))
        server.saved()

    def rewrite(self) -> None:
        """The next save() writes the whole file: another server begins."""
        self._room = 0

    def _append(self, line: bytes) -> None:
        room, self._room = self._room, 0  # a line that is cut short must be the last one
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if os.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
        self._room = room - len(line)

    def _write(self, line: bytes) -> None:
        """Whole or not at all."""
        beside = f"{self.path}.new"
        try:
            with open(beside, "wb") as file:
                file.write(line)
            os.replace(beside, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        self._room = max(_APPENDED, len(line))


def _line(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, separators=(",", ":")).encode() + b"\n"


def _rows(line: bytes) -> list[Any]:
    try:
        rows = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return rows if isinstance(rows, list) else []


def _newest(rows: Iterable[Any]) -> list[Any]:
    """The last row of each address. What is no row is left to whoever counts such."""
    found: dict[int, Any] = {}
    strange: list[Any] = []
    for row in rows:
        address = row.get("address") if isinstance(row, dict) else None
        if not isinstance(address, int):
            strange.append(row)
        elif "client" in row:
            found[address] = row
        else:
            found.pop(address, None)
    return [*found.values(), *strange]
