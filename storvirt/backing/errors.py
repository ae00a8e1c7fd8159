"""What a member raises, and how an errno reads as a sentence.

Knows: errno values that files give, in words. Refuses to know: what a pool does about them.
"""

from __future__ import annotations

import errno
import os

# The first two are the host's trouble and never the member's (storvirt/pool): write again when there is space.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
# Of a member elsewhere: nothing is heard of it. That is no fsync that failed: what it answered before is true when it
# comes back. (An fsync of a file gives none of these.)
UNHEARD = frozenset({errno.ENOTCONN, errno.EHOSTDOWN})

REASONS = {
    errno.ENOSPC: "its file system is full",
    errno.EDQUOT: "the quota of its file system is used up",
    errno.EIO: "the device below reports an I/O error",
    errno.EBADF: "the member is closed",
    errno.EFBIG: "the file would pass the largest size that is allowed here (file system, or ulimit -f)",
    errno.EROFS: "it is read-only",
    errno.EINVAL: "this lies outside the member",
    errno.EACCES: "this user may not",
    errno.EPERM: "this user may not",
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.EISDIR: "it is a folder",
    errno.EMFILE: "this process has too many files open (ulimit -n)",
    errno.ENFILE: "the whole system has too many files open",
    errno.ENOTCONN: "its NBD server is gone",
    errno.EHOSTDOWN: "its NBD server does not answer",
    errno.EPROTO: "its NBD server broke the protocol",
    errno.ESHUTDOWN: "its NBD server is shutting down",
    errno.EBUSY: "it is in use: mounted, or a part of another disk",
    errno.EOPNOTSUPP: "its file system does not offer this",
}


def reason(number: int) -> str:
    """One phrase for an errno."""
    return REASONS.get(number) or os.strerror(number)


class MemberError(OSError):
    """A member could not do what was asked: `errno` for the pool, `name` of the member, one sentence for people."""

    def __init__(self, number: int, name: str, sentence: str) -> None:
        super().__init__(number, sentence)
        self.name = name

    def __str__(self) -> str:
        return str(self.strerror)
