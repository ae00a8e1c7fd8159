"""Member: what a pool sees of one backing file, compiled below and Python above; and a member written in Python.

Knows: range, state (open, read-only, ended), errors as numbers for compiled callers and as one sentence for people.
Refuses to know: files, what is stored, other members.

An implementation provides the do_ methods of member.pxd and need not check anything.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EBADF, EINVAL, EIO, EROFS
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from storvirt.backing.errors import MemberError, reason


cdef class Member:
    """Base of all members. Offsets and lengths in bytes, any alignment. Every method raises MemberError.

    `ended` is 0, or the errno of the first sync that failed. The kernel may have forgotten what was written before it,
    and a second fsync would say that all is well, so such a member takes no write and no sync any more (reads go on).
    """

    cdef int refuses(self, uint64_t size, uint64_t offset, bint writing) noexcept nogil:
        """The errno that keeps this request from being tried, or 0."""
        if not self.opened:
            return EBADF
        if writing and self.read_only:
            return EROFS
        if writing and self.ended:
            return self.ended
        if offset > self.length or size > self.length - offset:
            return EINVAL if writing else EIO
        return 0

    cdef int read_at(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        cdef int number = self.refuses(size, offset, False)
        return number or self.do_read(to, size, offset)

    cdef int try_read_at(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        cdef int number = self.refuses(size, offset, False)
        return number or self.do_try_read(to, size, offset)

    cdef int read_pieces_at(self, const iovec *pieces, int count, size_t size, uint64_t offset, bint wait) noexcept nogil:
        cdef int number = self.refuses(size, offset, False)
        return number or self.do_read_pieces(pieces, count, size, offset, wait or not self.fetches)

    cdef int descriptor(self) noexcept nogil:
        return -1

    cdef bint fetch_at(self, size_t size, uint64_t offset) noexcept nogil:
        return self.fetches and self.refuses(size, offset, False) == 0 and self.do_fetch(size, offset)

    cdef int write_at(self, const uint8_t *data, size_t size, uint64_t offset) noexcept nogil:
        cdef int number = self.refuses(size, offset, True)
        return number or self.do_write(data, size, offset)

    cdef void start_at(self, size_t size, uint64_t offset) noexcept nogil:
        if self.refuses(size, offset, True) == 0:
            self.do_start(size, offset)

    cdef int punch_at(self, uint64_t offset, uint64_t length) noexcept nogil:
        cdef int number = self.refuses(length, offset, True)
        return number or (self.do_punch(offset, length) if length else 0)

    cdef int sync_now(self) noexcept nogil:
        cdef int number
        if not self.opened or self.ended:
            return self.ended or EBADF
        number = self.do_sync()
        # The kernel tells an error to one of two callers that are here at once: neither may say that all is well.
        if number and not self.ended:
            self.ended = number
        return self.ended

    cdef int do_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        return EIO

    cdef int do_try_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        return self.do_read(to, size, offset)

    cdef int do_read_pieces(self, const iovec *pieces, int count, size_t size, uint64_t offset, bint wait) noexcept nogil:
        cdef int i, number
        for i in range(count):
            number = self.do_read(<uint8_t *>pieces[i].iov_base, pieces[i].iov_len, offset)
            if number:
                return number
            offset += pieces[i].iov_len
        return 0

    cdef bint do_fetch(self, size_t size, uint64_t offset) noexcept nogil:
        return False

    cdef int do_write(self, const uint8_t *data, size_t size, uint64_t offset) noexcept nogil:
        return EIO

    cdef void do_start(self, size_t size, uint64_t offset) noexcept nogil:
        pass

    cdef int do_sync(self) noexcept nogil:
        return 0

    cdef int do_punch(self, uint64_t offset, uint64_t length) noexcept nogil:
        return 0

    cdef int do_resize(self, uint64_t size) noexcept nogil:
        return EINVAL

    cdef object error(self, int number, str doing):
        return MemberError(number, self.name, f"{self.name}: cannot {doing}: {reason(number)}")

    @property
    def size(self):
        """Bytes."""
        return self.length

    def read(self, uint64_t offset, uint64_t length):
        """`length` bytes; fewer are an error (EIO)."""
        cdef int number = self.refuses(length, offset, False)
        cdef bytes data
        cdef uint8_t *to
        if number == 0:
            data = PyBytes_FromStringAndSize(NULL, length)
            to = <uint8_t *>PyBytes_AS_STRING(data)
            with nogil:
                number = self.do_read(to, length, offset)
            if number == 0:
                return data
        raise self.error(number, f"read {length} bytes at offset {offset}")

    def try_read(self, uint64_t offset, uint64_t length):
        """As read(), or None where that would have to wait for a device."""
        cdef int number = self.refuses(length, offset, False)
        cdef bytes data
        cdef uint8_t *to
        if number == 0:
            data = PyBytes_FromStringAndSize(NULL, length)
            to = <uint8_t *>PyBytes_AS_STRING(data)
            with nogil:
                number = self.do_try_read(to, length, offset)
            if number == 0:
                return data
            if number == EAGAIN:
                return None
        raise self.error(number, f"read {length} bytes at offset {offset}")

    def fetch(self, uint64_t offset, uint64_t length):
        """Whether any of it is not in memory. That is being fetched then, and nobody waits for it; see try_read()."""
        return self.fetch_at(length, offset)

    def data_from(self, uint64_t offset, uint64_t end):
        """The first place from `offset` on that may hold something else than zeros; `end` if there is none before."""
        return min(offset, end)

    def write(self, uint64_t offset, const uint8_t[::1] data):
        """In the page cache when it returns. After an error any part of it may have been written."""
        cdef size_t size = data.shape[0]
        cdef const uint8_t *start = &data[0] if size else NULL
        cdef int number
        with nogil:
            number = self.write_at(start, size, offset)
        if number:
            raise self.error(number, f"write {size} bytes at offset {offset}")

    def sync(self):
        """Everything written before survives the loss of power when it returns. An error is final: see `ended`."""
        cdef int number
        with nogil:
            number = self.sync_now()
        if number:
            raise self.error(number, "make durable what was written")

    def punch(self, uint64_t offset, uint64_t length):
        """The space may be given back. What these bytes read as afterwards is not promised, but they can be read."""
        cdef int number
        with nogil:
            number = self.punch_at(offset, length)
        if number:
            raise self.error(number, f"give back {length} bytes at offset {offset}")

    def resize(self, uint64_t size):
        """New bytes are zero; not durable before sync()."""
        cdef int number = self.refuses(0, 0, True)
        if number == 0:
            with nogil:
                number = self.do_resize(size)
        if number:
            raise self.error(number, f"change the size from {self.length} to {size} bytes")
        self.length = size

    def check(self):
        """A sentence if what is below was removed, replaced or cut short behind our back; None if all is well."""
        return None

    def close(self):
        """Ends all use; a second call does nothing. Makes nothing durable."""
        self.opened = False

    def __repr__(self):
        return f"<{type(self).__name__} {self.name} of {self.length} bytes>"


cdef class PythonMember(Member):
    """A member whose bytes are kept by a Python object: the door for test doubles and wrappers.

    `inner` has size, read(offset, length) -> bytes and write(offset, data: bytes); and, where it cares, sync(), punch(offset,
    length), resize(size), check() and close(), try_read() and fetch() as Member has them. An OSError of it is passed on as its errno; any other exception as EIO,
    because compiled callers can carry nothing else. The last exception is kept in `raised`.
    """

    def __init__(self, inner, str name="member", bint read_only=False):
        self.inner = inner
        self.name = name
        self.length = inner.size
        self.read_only = read_only
        self.fetches = hasattr(inner, "try_read") and hasattr(inner, "fetch")
        self.opened = True

    cdef int failed(self, object exception) noexcept:
        self.raised = exception
        number = getattr(exception, "errno", None)
        return number if isinstance(exception, OSError) and isinstance(number, int) and number > 0 else EIO

    cdef object error(self, int number, str doing):
        error = Member.error(self, number, doing)
        error.__cause__ = self.raised
        return error

    cdef int take(self, object content, uint8_t *to, size_t size) except -1:
        cdef const uint8_t[::1] data = content
        if <size_t>data.shape[0] != size:
            return EIO
        if size:
            memcpy(to, &data[0], size)
        return 0

    cdef int deal(self, object content, const iovec *pieces, int count, size_t size) except -1:
        cdef const uint8_t[::1] data = content
        cdef size_t at = 0
        cdef int i
        if <size_t>data.shape[0] != size:
            return EIO
        for i in range(count):
            memcpy(pieces[i].iov_base, &data[at], pieces[i].iov_len)
            at += pieces[i].iov_len
        return 0

    cdef int do_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        with gil:
            try:
                return self.take(self.inner.read(offset, size), to, size)
            except BaseException as exception:
                return self.failed(exception)

    cdef int do_try_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        if not self.fetches:
            return self.do_read(to, size, offset)
        with gil:
            try:
                content = self.inner.try_read(offset, size)
                return EAGAIN if content is None else self.take(content, to, size)
            except BaseException as exception:
                return self.failed(exception)

    cdef int do_read_pieces(self, const iovec *pieces, int count, size_t size, uint64_t offset, bint wait) noexcept nogil:
        # One read, however many pieces: what is behind it may be far away.
        with gil:
            try:
                content = self.inner.read(offset, size) if wait else self.inner.try_read(offset, size)
                return EAGAIN if content is None else self.deal(content, pieces, count, size)
            except BaseException as exception:
                return self.failed(exception)

    cdef bint do_fetch(self, size_t size, uint64_t offset) noexcept nogil:
        with gil:
            try:
                return self.inner.fetch(offset, size)
            except BaseException as exception:
                self.failed(exception)
                return False

    cdef int do_write(self, const uint8_t *data, size_t size, uint64_t offset) noexcept nogil:
        with gil:
            try:
                self.inner.write(offset, PyBytes_FromStringAndSize(<const char *>data, size))
            except BaseException as exception:
                return self.failed(exception)
        return 0

    cdef int do_sync(self) noexcept nogil:
        with gil:
            try:
                if hasattr(self.inner, "sync"):
                    self.inner.sync()
            except BaseException as exception:
                return self.failed(exception)
        return 0

    cdef int do_punch(self, uint64_t offset, uint64_t length) noexcept nogil:
        with gil:
            try:
                if hasattr(self.inner, "punch"):
                    self.inner.punch(offset, length)
            except BaseException as exception:
                return self.failed(exception)
        return 0

    cdef int do_resize(self, uint64_t size) noexcept nogil:
        with gil:
            try:
                self.inner.resize(size)
            except AttributeError as exception:
                self.raised = exception
                return EINVAL
            except BaseException as exception:
                return self.failed(exception)
        return 0

    def check(self):
        return self.inner.check() if hasattr(self.inner, "check") else None

    def close(self):
        if self.opened and hasattr(self.inner, "close"):
            self.inner.close()
        self.opened = False
