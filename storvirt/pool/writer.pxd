# The writing half of the pool's data path, without what moves content (engine.pxd).
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from storvirt.pool.reader cimport Disk, Reader
from storvirt.pool.slab cimport Slab


cdef class Writer(Reader):
    cdef public uint64_t sequence        # of the first entry of the record that is being made
    cdef readonly list freed             # (slab, slot) to be given back when the next checkpoint is durable
    cdef public object refusal           # what writes raise (BlockError, Busy), None while there is room
    cdef public bint tight               # no slab can be cut: every new slot is asked for
    cdef readonly bint moving            # the grain that is being written needs no more space than there was before
    # the record that is being made; its payload is Reader.payload
    cdef bytearray entries
    cdef uint32_t entry_count, payload_blocks
    cdef list pending                    # keys of its blocks, in order
    cdef list zeroed                     # keys of the blocks that it makes zeros
    # the open segment
    cdef Slab segment
    cdef uint32_t segment_at, segment_size, record_limit
    cdef uint64_t durable_below          # what the next record says of flushes, 0 = nothing
    cdef readonly dict segment_keys      # slab number -> array of block keys that were logged there

    cdef uint64_t _now(self) noexcept
    cdef int _write(self, Disk disk, uint64_t offset, uint64_t length, const uint8_t *data) except -1
    cdef int _put(self, Disk disk, uint64_t offset, uint64_t length, const uint8_t *data) except -1
    cdef int _log_block(self, Disk disk, uint64_t block, const uint8_t *data) except -1
    cdef int _room(self, uint32_t entry, uint32_t blocks) except -1
    cdef int _write_grain(self, Disk disk, uint64_t grain, const uint8_t *data, const uint8_t *bad) except -1
    cdef tuple _new_slot(self, Disk disk, const uint8_t *data)
    cdef bint _append(self, uint32_t length) except? True
    cdef int _forget_logged(self, Disk disk, uint64_t grain) except -1
    cdef int _add_entry(self, int kind, Disk disk, uint64_t where, uint64_t arg, uint32_t crc, const uint32_t *crcs,
                        uint32_t crc_count) except -1
