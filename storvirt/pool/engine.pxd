# The pool's data path: what is read, written and moved.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from storvirt.pool.reader cimport Disk
from storvirt.pool.slab cimport Slab
from storvirt.pool.writer cimport Writer


cdef class Engine(Writer):
    cdef uint32_t batch                  # grains that are still to be moved in this call
    cdef Slab prepared                   # the slab whose next slots were asked for

    cdef int _prepare(self, Disk disk) except -1
    cdef object _gathered(self, Disk disk, uint64_t grain)
    cdef int _move(self, Disk disk, uint64_t grain, bytearray content) except -1
    cdef int _gather(self, Disk disk, uint64_t grain, uint8_t *content, uint8_t *bad) except -1
    cdef bint _all_zero(self, Disk disk, uint64_t grain) except? True
    cdef bint _readable(self, Disk disk, Slab slab, uint32_t slot, uint64_t grain, uint32_t seed, const uint32_t *crcs,
                        uint8_t *content) except? True
    cdef int _replay_record(self, const uint8_t *data, size_t part, uint32_t start, uint32_t segment, other) except -1
    cdef int _replay_block(self, Disk disk, uint64_t block, uint64_t sequence, uint32_t segment, uint32_t place,
                           uint32_t crc) except -1
