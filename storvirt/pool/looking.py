"""Looking into a pool: files, devices and exports, opened for reading and locked as readers are where locks are, and
nothing of them changes.

Knows: which file is which member. Refuses to know: what is looked for (fsck.py, inspection.py).

What opening writes (the log's end made whole, a checkpoint) goes to memory, and what the files hold can be read beside
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from storvirt.backing.files import close_all
from storvirt.backing.member import Member, PythonMember
from storvirt.backing.overlay import Overlay
from storvirt.backing.places import open_any
from storvirt.pool.assemble import open_pool


class Looked:
    """pool: open, degraded if files are missing; members: the files as they are, by number of the member."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises MemberError, with the process that has a file open if there is one; PoolError, BlockError,
        Suspended."""
        files: list[Member] = []
        try:
            for path in paths:
                files.append(open_any(path, True))
            above = [PythonMember(Overlay(file), file.name) for file in files]
            self.pool = open_pool(above, degraded=True, read_only=True)
        except BaseException:
            close_all(files)
            raise
        below = dict(zip(above, files, strict=True))
        self.members = [below[member] if isinstance(member, PythonMember) else None for member in self.pool.members]
        self._files = files

    def close(self) -> None:
        self.pool.abandon()
        close_all(self._files)

    def __enter__(self) -> Looked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
