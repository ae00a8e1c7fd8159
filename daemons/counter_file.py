"""The file in which a switch counts, beside its lock: `<run folder>/<switch>.counters`, for its user alone.

Knows: how it is made, enlarged, mapped, removed and looked at. Refuses to know: what is in it (netvirt's counters.py).
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Mapping

from daemons.errors import UserError
from netvirt.dataplane import counters

SUFFIX = ".counters"


class CounterFile:
    """The writer's end: `room` is what a Plane counts in. A file that cannot be made or enlarged ends shared counting,
    with a sentence on stderr, not the switch: then it counts in memory of its own.
    """

    def __init__(self, path: str, epoch: int) -> None:
        self.path = path
        self._epoch = epoch
        self._fd: int | None = None
        self._memory: counters.Memory = memoryview(b"")
        self._private: counters.Room | None = None

    def room(self, slots: int) -> counters.Memory:
        """Memory for `slots` ports with all that was counted before. What was given out earlier is to be given up."""
        if self._private is None:
            try:
                self._memory = self._create(slots) if self._fd is None else self._enlarge(self._fd, slots)
                return self._memory
            except OSError as error:
                why = error.strerror
                print(
                    f"cannot write counters to {self.path} ({why}); nobody can watch them", file=sys.stderr, flush=True
                )
                self._private = counters.private()
        memory = self._private(slots)
        memory[counters.HEADER : len(self._memory)] = self._memory[counters.HEADER :]
        self._memory = memory
        self.close()
        return memory

    def _create(self, slots: int) -> counters.Memory:
        fresh = self.path + ".new"  # nobody sees half a header
        try:
            os.unlink(fresh)
        except FileNotFoundError:
            pass
        self._fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            memory = self._map(self._fd, slots)
            counters.put_header(memory, slots, os.getpid(), self._epoch)
            os.rename(fresh, self.path)
        except OSError:
            os.unlink(fresh)
            raise
        return memory

    def _enlarge(self, fd: int, slots: int) -> counters.Memory:
        memory = self._map(fd, slots)
        counters.put_slots(memory, slots)
        return memory

    @staticmethod
    def _map(fd: int, slots: int) -> counters.Memory:
        # Blocks now: a store into a page for which a full file system has none would end the process (SIGBUS).
        os.posix_fallocate(fd, 0, counters.size(slots))
        return memoryview(mmap.mmap(fd, counters.size(slots)))

    def names(self, ports: Mapping[int, str]) -> None:
        """Which ports there are, by number; what was counted in the slots of others is forgotten."""
        slots = (len(self._memory) - counters.HEADER) // counters.SLOT
        for number in range(slots):
            name = ports.get(number)
            if name is None:
                counters.clear(self._memory, number)
            else:
                counters.put_name(self._memory, number, name)

    def close(self) -> None:
        """Remove the file, unless it is another's by now. What is mapped stays usable."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            if os.path.samestat(os.fstat(fd), os.stat(self.path)):
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        finally:
            os.close(fd)


def switches(folder: str) -> list[str]:
    """The switches that count in this run folder, in order; none when it is not there."""
    try:
        return sorted(name.removesuffix(SUFFIX) for name in os.listdir(folder) if name.endswith(SUFFIX))
    except OSError:
        return []


def look(folder: str, switch: str) -> counters.SwitchCounters:
    """What a switch has counted, without asking it. Raises UserError.

    The file is read, not mapped: a page that its writer has taken away would end the reader.
    """
    path = os.path.join(folder, switch + SUFFIX)
    try:
        with open(path, "rb") as file:
            data = file.read(counters.size(counters.MOST_SLOTS))
        return counters.read(data)
    except FileNotFoundError:
        raise UserError(f"switch {switch} has no counters; is it up? vfab status tells") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except counters.CountersError as error:
        raise UserError(f"cannot read the counters in {path}: {error}") from None
