"""FileMember: a file or block device as a member. Opening, locking and creating are here too.

Knows: system calls, their partial results and interruptions, the lock that keeps a second opener out.
Refuses to know: what is stored, other members, when to sync.

Links are followed when a member is opened (/dev/disk/by-id is made of them) and never when one is created (O_EXCL).
The lock is flock's: it belongs to the open file, so it lasts until the last write that a killed process had in progress has
ended, and not only until the process has.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, ENOSYS, EOPNOTSUPP, errno
from libc.stdint cimport uint8_t, uint64_t

import errno as errno_names
import fcntl
import os
import stat

from storvirt.backing.member cimport Member, iovec

from storvirt.backing import locks
from storvirt.backing.errors import MemberError, reason

cdef extern from *:
    """
    #define _FILE_OFFSET_BITS 64
    #include <fcntl.h>
    #include <linux/falloc.h>
    #include <sys/uio.h>
    #include <unistd.h>
    #ifndef RWF_NOWAIT
    #define RWF_NOWAIT 0x00000008
    #endif
    """
    int RWF_NOWAIT
    int FALLOC_FL_PUNCH_HOLE
    int FALLOC_FL_KEEP_SIZE
    int POSIX_FADV_WILLNEED
    ssize_t c_pread "pread"(int fd, void *to, size_t size, long long offset) nogil
    ssize_t c_pwrite "pwrite"(int fd, const void *data, size_t size, long long offset) nogil
    ssize_t c_preadv2 "preadv2"(int fd, const iovec *pieces, int count, long long offset, int flags) nogil
    int c_fadvise "posix_fadvise"(int fd, long long offset, long long length, int advice) nogil
    int SYNC_FILE_RANGE_WRITE
    int c_sync_file_range "sync_file_range"(int fd, long long offset, long long length, unsigned flags) nogil
    int c_fdatasync "fdatasync"(int fd) nogil
    int c_ftruncate "ftruncate"(int fd, long long size) nogil
    int c_fallocate "fallocate"(int fd, int mode, long long offset, long long length) nogil
    int c_close "close"(int fd) nogil


cdef enum:
    PAGE = 4096          # or more, and then some are asked for twice


cdef class FileMember(Member):
    """An open, locked file. `FileMember.open()` and `FileMember.create()` make it; `fd` is taken over."""

    cdef readonly str path
    cdef int _fd
    cdef object _identity
    cdef bint _is_file

    def __cinit__(self):
        self._fd = -1

    def __init__(self, str path, int fd, bint read_only=False):
        if self._fd >= 0:
            raise ValueError("a member is made once")
        status = os.fstat(fd)
        self.length = os.lseek(fd, 0, os.SEEK_END)
        self.path = path
        self.name = path
        self.read_only = read_only
        self._identity = (status.st_dev, status.st_ino)
        self._is_file = stat.S_ISREG(status.st_mode)
        self.fetches = True  # until the file system says that it does not know RWF_NOWAIT
        self._fd = fd
        self.opened = True

    def __dealloc__(self):
        if self._fd >= 0:
            c_close(self._fd)

    @classmethod
    def open(cls, path, bint read_only=False):
        """Opens and locks; read-only openers share the lock. Raises MemberError."""
        path = os.fspath(path)
        # O_NONBLOCK so that a pipe in this place does not hang us; io_uring would take it seriously, so it is cleared.
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fd = _os_open(path, flags, "open", read_only)
        try:
            mode = os.fstat(fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise MemberError(EINVAL, path, f"{path} is neither a file nor a block device")
            _lock(path, fd, read_only)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
            return cls(path, fd, read_only)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def create(cls, path, uint64_t size):
        """A new sparse file of `size` zeros, mode 0600, its name durable. Never touches a file that is there."""
        path = os.fspath(path)
        fd = _os_open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, "create")
        try:
            _lock(path, fd, False)
            _prepare(path, fd, size)
            return cls(path, fd)
        except BaseException:
            os.unlink(path)
            os.close(fd)
            raise

    cdef int do_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        cdef ssize_t got
        while size:
            got = c_pread(self._fd, to, size, <long long>offset)
            if got < 0:
                if errno == EINTR:
                    continue
                return errno
            if got == 0:
                return EIO  # the file was cut short behind our back: check() says so
            to += got
            size -= got
            offset += got
        return 0

    cdef int do_try_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        cdef iovec piece
        cdef ssize_t got
        while size:
            if not self.fetches:
                return EAGAIN
            piece.iov_base = to
            piece.iov_len = size
            got = c_preadv2(self._fd, &piece, 1, <long long>offset, RWF_NOWAIT)
            if got < 0:
                if errno == EINTR:
                    continue
                if errno == EOPNOTSUPP or errno == ENOSYS:
                    self.fetches = False
                    continue
                return errno
            if got == 0:
                return EIO
            to += got
            size -= got
            offset += got
        return 0

    cdef int descriptor(self) noexcept nogil:
        return self._fd

    cdef int do_read_pieces(self, const iovec *pieces, int count, size_t size, uint64_t offset, bint wait) noexcept nogil:
        # What an error or a part means (the file's end, pages that are not in memory) the other reads find out.
        return 0 if c_preadv2(self._fd, pieces, count, <long long>offset, 0 if wait else RWF_NOWAIT) == <ssize_t>size else EIO

    cdef bint do_fetch(self, size_t size, uint64_t offset) noexcept nogil:
        # Where the file is in memory a byte of each page tells so, and copying one costs nothing.
        cdef uint64_t at = offset, end = offset + size
        cdef uint8_t byte
        while at < end:
            if self.do_try_read(&byte, 1, at) == EAGAIN:
                return self.fetches and c_fadvise(self._fd, <long long>at, <long long>(end - at), POSIX_FADV_WILLNEED) == 0
            at = (at | (PAGE - 1)) + 1
        return False

    cdef int do_write(self, const uint8_t *data, size_t size, uint64_t offset) noexcept nogil:
        cdef ssize_t put
        while size:
            put = c_pwrite(self._fd, data, size, <long long>offset)
            if put < 0:
                if errno == EINTR:
                    continue
                return errno
            if put == 0:
                return EIO
            data += put
            size -= put
            offset += put
        return 0

    cdef void do_start(self, size_t size, uint64_t offset) noexcept nogil:
        c_sync_file_range(self._fd, <long long>offset, <long long>size, SYNC_FILE_RANGE_WRITE)

    cdef int do_sync(self) noexcept nogil:
        # fdatasync takes the file's size with it, and the rest of the metadata is of no use to us.
        while c_fdatasync(self._fd) < 0:
            if errno != EINTR:
                return errno
        return 0

    cdef int do_punch(self, uint64_t offset, uint64_t length) noexcept nogil:
        cdef uint64_t end = offset + length
        if not self._is_file:  # a device gives back whole blocks of its own only, and refuses the rest
            offset, end = (offset + PAGE - 1) & ~<uint64_t>(PAGE - 1), end & ~<uint64_t>(PAGE - 1)
            if end <= offset:
                return 0
            length = end - offset
        while c_fallocate(self._fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) < 0:
            if errno == EOPNOTSUPP or errno == ENOSYS:
                return 0
            if errno != EINTR:
                return errno
        return 0

    cdef int do_resize(self, uint64_t size) noexcept nogil:
        while c_ftruncate(self._fd, size) < 0:
            if errno != EINTR:
                return errno
        return 0

    def fileno(self):
        """The descriptor (for polling and io_uring); it stays ours."""
        return self._fd

    def data_from(self, uint64_t offset, uint64_t end):
        if self._is_file:
            try:
                offset = os.lseek(self._fd, offset, os.SEEK_DATA)
            except OSError as error:
                offset = end if error.errno == errno_names.ENXIO else offset   # a file system may not know
        return min(offset, end)

    def check(self):
        """Costs an fstat and a stat."""
        if not self.opened:
            return f"{self.name} is closed"
        try:
            size = os.lseek(self._fd, 0, os.SEEK_END)
            links = os.fstat(self._fd).st_nlink
        except OSError as error:
            return f"{self.name} cannot be looked at any more: {reason(error.errno)}"
        try:
            status = os.stat(self.path)
            found = (status.st_dev, status.st_ino)
        except (FileNotFoundError, NotADirectoryError):
            return f"{self.name} was {'renamed or moved' if links and self._is_file else 'removed'}"
        except OSError as error:
            return f"{self.name} cannot be looked at any more: {reason(error.errno)}"
        if found != self._identity:
            return f"{self.name} was replaced by another file"
        if size < self.length:
            return f"{self.name} was truncated to {size} bytes, it had {self.length}"
        return None

    def close(self):
        """Closes and unlocks. Not while another thread is inside."""
        cdef int fd = self._fd
        self.opened = False
        self._fd = -1
        if fd >= 0:
            c_close(fd)


def _os_open(path, flags, doing, shared=True):
    try:
        # Of a block device O_EXCL is a claim that the kernel knows, too: not what is mounted, or a part of another disk.
        if not shared and stat.S_ISBLK(os.stat(path).st_mode):
            flags |= os.O_EXCL
        return os.open(path, flags, 0o600)
    except FileExistsError:
        raise MemberError(errno_names.EEXIST, path, f"{path} exists already: a member is never made over a file") from None
    except OSError as error:
        raise MemberError(error.errno, path, f"cannot {doing} {path}: {reason(error.errno)}") from None
    except ValueError:
        raise MemberError(EINVAL, path, f"{path!r} is no file name") from None


def _lock(path, fd, shared):
    """The lock, or one sentence that says who has it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        process = locks.owner(fd)
        where = f"process {process}" if process else "another process"
        raise MemberError(errno_names.EBUSY, path, f"{path} is open in {where}") from None
    except OSError as error:
        raise MemberError(error.errno, path, f"cannot lock {path}: {reason(error.errno)}") from None


def _prepare(path, fd, size):
    """Size and name are durable afterwards: a member that vanishes with the power would take its data along."""
    try:
        if size > 0x7FFFFFFFFFFFFFFF:
            raise OSError(errno_names.EFBIG, "")
        os.truncate(fd, size)
        os.fsync(fd)
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise MemberError(error.errno, path, f"cannot create {path} with {size} bytes: {reason(error.errno)}") from None
