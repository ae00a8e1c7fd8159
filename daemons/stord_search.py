"""Where members are that the lab file does not name, and what to call those that are not there.

Knows: the folders of the listed members, superblocks, the hints in the member table. Refuses to know: whether what is
found is any good (stord_open, storvirt.pool.assemble).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from storvirt.backing.errors import MemberError
from storvirt.backing.places import is_elsewhere, open_any
from storvirt.pool import format as f
from storvirt.pool.assemble import look
from storvirt.pool.errors import PoolError
from storvirt.pool.pool import Pool

# Files beside the members that are looked at for a member that is missing.
_MOST_STRANGERS = 1000


def neighbours(paths: Sequence[str]) -> list[str]:
    """Regular files in the members' folders that are no listed members."""
    found: list[str] = []
    for folder in dict.fromkeys(os.path.dirname(path) for path in paths):
        try:
            with os.scandir(folder) as entries:
                found += [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]
        except OSError:
            continue
    return [path for path in found if path not in paths][:_MOST_STRANGERS]


def identity(path: str, pool: bytes) -> bytes | None:
    """Which member of this pool a file is, if it is one."""
    try:
        # A hint is what some file says: no relative path, and no pipe, which would hang us.
        if not os.path.isabs(path) or not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            super_ = f.unpack_superblock(file.read(f.SUPER_SIZE))
    except (OSError, ValueError):
        return None
    return super_.member if super_.pool == pool else None


def identity_elsewhere(path: str, pool: bytes) -> bytes | None:
    """As identity(), of an export: its server is asked, and waited for."""
    try:
        member = open_any(path, read_only=True)
    except MemberError:
        return None
    try:
        super_ = look(member).super_
    except PoolError:
        return None
    finally:
        member.close()
    return super_.member if super_.pool == pool else None


def name_absent(numbers: dict[int, str], paths: Sequence[str], pool: Pool, left_out: set[str]) -> None:
    """Members that were left out keep the names that the lab file gives them, so that people can replace them: by what
    the file says of itself, or where the member was last seen; else by its place in the list, which is its number from
    the pool's creation on, and which was not that of one that is removed. Put into `numbers`: path by number."""
    guessed = left_out - {row.hint for row in pool.rows if row.state == f.REMOVED}
    absent = [n for n, row in enumerate(pool.rows) if row.state in (f.IN, f.OUT) and n not in numbers]
    said = {identity(path, pool.pool_id): path for path in left_out}
    folders = {os.path.dirname(path) for path in paths if os.path.isabs(path)}
    for number in absent:
        row = pool.rows[number]
        path = said.get(row.member)
        if path is None and row.hint in left_out:
            path = row.hint
        if path is None and os.path.dirname(row.hint) in folders and row.hint not in numbers.values():
            path = row.hint  # it came after the list was written
        if path is None and len(absent) == len(guessed) == 1:
            (path,) = guessed
        if path is None and number < len(paths) and paths[number] in guessed:
            path = paths[number]
        if path is None and (os.path.isabs(row.hint) or is_elsewhere(row.hint)) and row.hint not in numbers.values():
            path = row.hint
        if path is not None:
            numbers[number] = path
