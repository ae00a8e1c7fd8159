"""MemoryMember: a member that lives and dies with the process. For tests, scratch pools and measurements.

Knows: one piece of zeroed memory. Refuses to know: files.
Pages that were never written cost nothing (the C library maps them when they are touched).
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from storvirt.backing.member cimport Member


cdef class MemoryMember(Member):
    """`size` bytes, zero at first. sync() has nothing to do."""

    cdef uint8_t *_data

    def __init__(self, uint64_t size, str name="memory"):
        if self._data is not NULL:
            raise ValueError("a member is made once")
        self.name = name
        self._data = <uint8_t *>calloc(size or 1, 1)
        if self._data is NULL:
            raise self.error(ENOMEM, f"make {size} bytes of memory")
        self.length = size
        self.opened = True

    def __dealloc__(self):
        free(self._data)

    cdef int do_read(self, uint8_t *to, size_t size, uint64_t offset) noexcept nogil:
        memcpy(to, self._data + offset, size)
        return 0

    cdef int do_write(self, const uint8_t *data, size_t size, uint64_t offset) noexcept nogil:
        if size:
            memcpy(self._data + offset, data, size)
        return 0

    cdef int do_punch(self, uint64_t offset, uint64_t length) noexcept nogil:
        memset(self._data + offset, 0, length)
        return 0

    cdef int do_resize(self, uint64_t size) noexcept nogil:
        cdef uint8_t *data = <uint8_t *>realloc(self._data, size or 1)
        if data is NULL:
            return ENOMEM
        self._data = data
        if size > self.length:
            memset(data + self.length, 0, size - self.length)
        return 0

    def close(self):
        """The content is gone."""
        self.opened = False
        free(self._data)
        self._data = NULL
