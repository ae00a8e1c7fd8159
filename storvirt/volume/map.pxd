# A volume's map in memory: leaves that are loaded, pointers to those that are not.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    PAGE_BYTES = 16384
    PAGE_HEAD = 64

# What stands of a grain in a leaf. slab 0 = a hole; its birth counts all the same.
cdef packed struct entry_t:
    uint32_t slab
    uint32_t slot
    uint64_t birth
    # uint32_t crc[blocks] follow


cdef inline uint32_t *entry_crcs(entry_t *entry) noexcept nogil:
    return <uint32_t *>(<uint8_t *>entry + sizeof(entry_t))


cdef class Leaf:
    cdef uint8_t *data
    cdef bint dirty, used


cdef class VolumeMap:
    cdef readonly uint32_t volume, grain, blocks, entry_size, per_leaf
    cdef readonly uint64_t grains
    cdef list _leaves                   # Leaf or None by leaf number
    cdef list _pointers                 # by level, by page number: format.PagePointer
    cdef list _dirty                    # by level: set of page numbers
    cdef object _load                   # PagePointer -> bytes
    cdef uint64_t _hand
    cdef readonly uint64_t loaded, limit

    cdef Leaf _leaf(self, uint64_t number, bint make)
    cdef entry_t *find(self, uint64_t grain) except? NULL
    cdef entry_t *change(self, uint64_t grain) except NULL
