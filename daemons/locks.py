"""One lock file, held by one living process: the kernel lets go of it when its holder dies, however that happens."""

from __future__ import annotations

import fcntl
import os


class Lock:
    """An flock on `path`; the file's text is the holder's pid."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def take(self) -> bool:
        """Take the lock if it is free; False when another process has it."""
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            if self._is_current(fd):
                break
            os.close(fd)  # its last holder removed the file after we had opened it
        os.ftruncate(fd, 0)
        os.write(fd, b"%d\n" % os.getpid())
        self._fd = fd
        return True

    def _is_current(self, fd: int) -> bool:
        try:
            named, held = os.stat(self.path), os.fstat(fd)
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def holder(self) -> int | None:
        """The pid in the file: the holder, if anybody holds it."""
        try:
            with open(self.path, "rb") as file:
                return int(file.read(32))
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
