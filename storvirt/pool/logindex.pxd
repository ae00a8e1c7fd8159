# Where the newest logged content of a block is: a hash table in C.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    IN_SEGMENT = 0            # at `place` in the segment
    PENDING = 1               # in the record that is being made, payload block number `place`
    ZEROED = 2                # no content: reads as zeros

cdef struct logged_t:
    uint64_t key              # volume << 44 | block; 0 = empty (volumes count from 1)
    uint64_t sequence
    uint32_t segment          # the slab that the record is in
    uint32_t place            # byte offset in the segment
    uint32_t crc
    uint32_t kind


cdef inline uint64_t block_key(uint32_t volume, uint64_t block) noexcept nogil:
    return <uint64_t>volume << 44 | block


cdef class LogIndex:
    cdef logged_t *slots
    cdef uint64_t mask
    cdef uint32_t shift
    cdef readonly uint64_t count

    cdef logged_t *find(self, uint64_t key) noexcept nogil
    cdef logged_t *put(self, uint64_t key) except NULL
    cdef bint drop(self, uint64_t key) noexcept nogil
    cdef int _grow(self) except -1
