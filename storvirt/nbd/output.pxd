# What waits to be sent to one client: replies are built in place, without the GIL. output.pyx explains.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    # proto.md; wire.py has the same numbers by name, and a test compares them.
    REPLY_SIMPLE = 0x67446698
    REPLY_STRUCTURED = 0x668E33EF
    SIMPLE_BYTES = 16
    CHUNK_BYTES = 20
    CHUNK_LAST = 1
    CHUNK_NONE = 0
    CHUNK_OFFSET_DATA = 1
    CHUNK_OFFSET_HOLE = 2
    CHUNK_BLOCK_STATUS = 5
    CHUNK_ERROR = 0x8001
    LONGEST_MESSAGE = 512  # bytes of a sentence with an error: proto.md allows 4096, nobody reads that


cdef class Output:
    cdef uint8_t *_data
    cdef size_t _start, _end, _capacity
    cdef Py_ssize_t _views
    cdef readonly bint structured
    cdef readonly uint64_t errors

    # All put_*: 0 or a place on success; -1 or NULL when there is no memory (or the bytes are just being looked at).
    cdef uint8_t *room(self, size_t size) noexcept nogil
    cdef size_t waiting(self) noexcept nogil
    cdef int put_done(self, uint64_t cookie) noexcept nogil
    # `length` bytes of data belong at the place that is returned; give_back() undoes it if they can't be read.
    cdef uint8_t *put_read(self, uint64_t cookie, uint64_t offset, uint32_t length) noexcept nogil
    cdef uint8_t *put_data_chunk(self, uint64_t cookie, uint64_t offset, uint32_t length, bint last) noexcept nogil
    cdef int put_hole_chunk(self, uint64_t cookie, uint64_t offset, uint32_t length, bint last) noexcept nogil
    cdef int put_none(self, uint64_t cookie) noexcept nogil
    cdef int put_error(self, uint64_t cookie, uint32_t error, const uint8_t *text, size_t size) noexcept nogil
    cdef void give_back(self, size_t mark) noexcept nogil
    cdef int _grow(self, size_t size) noexcept nogil
    cdef int _simple(self, uint64_t cookie, uint32_t error) noexcept nogil
    cdef uint8_t *_chunk(self, uint64_t cookie, uint16_t kind, bint last, uint32_t length, size_t body) noexcept nogil
    cdef void _release(self) noexcept nogil
