"""What a member's name names: a file, a block device, or an export elsewhere; and what may become of what is there.

Knows: that a file is made and a device or an export is there already, so that only an empty one may be taken.
Refuses to know: pools, what a superblock is.
"""

from __future__ import annotations

import errno
import os
import stat

from storvirt.backing.errors import MemberError
from storvirt.backing.file import FileMember
from storvirt.backing.member import Member
from storvirt.backing.nbd import open_nbd
from storvirt.nbd.uri import is_uri

# Where other people's signatures are: partition tables, file systems, LVM and ours at the beginning; the copy of a GPT,
# old md superblocks and ZFS labels at the end. EXTENTS_AT of storvirt.pool.format is the first; a test compares them.
HEAD_BYTES = 8 << 20
TAIL_BYTES = 1 << 20
_PIECE = 1 << 18


def is_elsewhere(path: str) -> bool:
    """A URI, not a path."""
    return is_uri(path)


def is_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_made(path: str) -> bool:
    """Whether a member of that name is made when it is not there; else it must be there."""
    return not is_elsewhere(path) and not is_device(path)


def open_any(path: str, read_only: bool = False) -> Member:
    """Raises MemberError."""
    return open_nbd(path, read_only) if is_elsewhere(path) else FileMember.open(path, read_only)


def is_blank(member: Member) -> bool:
    """Nothing is there that anybody would recognise. Raises MemberError."""
    for start, end in ((0, min(HEAD_BYTES, member.size)), (max(member.size - TAIL_BYTES, 0), member.size)):
        for at in range(start, end, _PIECE):
            size = min(_PIECE, end - at)
            if member.read(at, size) != bytes(size):
                return False
    return True


def must_be_blank(member: Member) -> None:
    """Raises MemberError for what holds something."""
    if not is_blank(member):
        raise MemberError(
            errno.EEXIST, member.name,
            f"{member.name} holds something, and a member is never made over that; if nobody needs it, fill its first"
            f" {HEAD_BYTES >> 20} MiB and its last MiB with zeros",
        )  # fmt: skip


def blank_again(member: Member) -> None:
    """What was blank before is made so again. Raises MemberError."""
    for at in range(0, min(HEAD_BYTES, member.size), _PIECE):
        member.write(at, bytes(min(_PIECE, member.size - at)))


def is_vacant(path: str) -> bool:
    """Whether a new member may be made there. Not of a server that can't be reached: who knows what it has."""
    if is_made(path):
        try:
            os.lstat(path)
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
            return False
        return False
    try:
        member = open_any(path, read_only=True)
    except MemberError:
        return False
    try:
        return is_blank(member)
    except MemberError:
        return False
    finally:
        member.close()
