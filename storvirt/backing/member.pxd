# What a pool sees of one backing file, for compiled rooms. Every method but the inherited Python ones may be called
# without the GIL and answers 0 or an errno. Nothing here is locked: members are used by several threads at once, but
# close() and resize() only when nobody else is inside.
from libc.stdint cimport uint8_t, uint64_t

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef class Member:
    cdef readonly str name
    cdef uint64_t length      # bytes; everything that is read or written lies inside
    cdef bint opened
    cdef readonly bint read_only
    cdef readonly int ended   # errno of the sync that failed: nothing is written any more
    cdef bint fetches         # it can tell what of it is in memory, and fetch the rest meanwhile

    # EIO when the file is shorter than it was: a member never ends early.
    cdef int read_at(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil
    # As read_at, but EAGAIN instead of waiting for a device. `to` may be half filled then.
    cdef int try_read_at(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil
    # `size` bytes, dealt over pieces of memory that have `size` together. Not wait: not if a device had to be waited for.
    # Any error says no more than that it was not done: read_at() or try_read_at() tell why.
    cdef int read_pieces_at(self, const iovec *pieces, int count, size_t size, uint64_t offset, bint wait) noexcept nogil
    # A descriptor with whose bytes these are exactly, for whoever reads many pieces of them at once; or -1.
    cdef int descriptor(self) noexcept nogil
    # Whether any of it is not in memory; that is being fetched then. Errors are told by the read.
    cdef bint fetch_at(self, size_t size, uint64_t offset) noexcept nogil
    cdef int write_at(self, const uint8_t *data, size_t size, uint64_t offset) noexcept nogil
    cdef int sync_now(self) noexcept nogil
    # What was written there begins to go to the device: nobody waits for it, and nothing is promised.
    cdef void start_at(self, size_t size, uint64_t offset) noexcept nogil
    cdef int punch_at(self, uint64_t offset, uint64_t length) noexcept nogil

    # What an implementation provides; the methods above have checked range and state.
    cdef int do_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil
    cdef int do_try_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil
    cdef int do_read_pieces(self, const iovec *pieces, int count, size_t size, uint64_t offset, bint wait) noexcept nogil
    cdef bint do_fetch(self, size_t size, uint64_t offset) noexcept nogil
    cdef int do_write(self, const uint8_t *data, size_t size, uint64_t offset) noexcept nogil
    cdef void do_start(self, size_t size, uint64_t offset) noexcept nogil
    cdef int do_sync(self) noexcept nogil
    cdef int do_punch(self, uint64_t offset, uint64_t length) noexcept nogil
    cdef int do_resize(self, uint64_t size) noexcept nogil

    cdef int refuses(self, uint64_t size, uint64_t offset, bint writing) noexcept nogil
    cdef object error(self, int number, str doing)


cdef class PythonMember(Member):
    cdef readonly object inner
    cdef readonly object raised   # the last exception of the inner object, None if there was none
    cdef int take(self, object content, uint8_t *to, size_t size) except -1
    cdef int deal(self, object content, const iovec *pieces, int count, size_t size) except -1
    cdef int failed(self, object exception) noexcept
