# How a record of the log lies in memory (record.py has the words), and walking over its entries, without the GIL.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from storvirt.pool.slab cimport MOST_COLUMNS, Slab

cdef enum:
    MOST_CRCS = 256               # of one entry

cdef packed struct head_t:
    uint8_t magic[4]
    uint32_t length
    uint64_t first
    uint32_t entries
    uint32_t crc
    uint8_t pool[16]
    uint32_t segment
    uint32_t payload              # blocks
    uint8_t zeros[16]

cdef packed struct item_t:
    uint8_t kind
    uint8_t zeros[3]
    uint32_t volume
    uint64_t where
    uint64_t arg
    uint32_t crc
    uint32_t crcs                 # so many follow, padded to 8 bytes
    uint64_t more_zeros


cdef inline const item_t *next_item(const uint8_t *data, size_t size, size_t *at) noexcept nogil:
    """The entry at `at`, which moves behind it and its CRCs; NULL where it is not all there. data: of a whole record, or
    its head and entries; `at` may end up behind it, by the padding."""
    cdef const item_t *item = <const item_t *>(data + at[0])
    if at[0] + sizeof(item_t) > size or item.crcs > MOST_CRCS:
        return NULL
    if at[0] + sizeof(item_t) + 4 * item.crcs > size:
        return NULL
    at[0] += sizeof(item_t) + (4 * item.crcs + 7 & ~<size_t>7)
    return item


cdef inline size_t part_of(const uint8_t *data, size_t size) noexcept nogil:
    """Bytes of the head and the entries that begin here; 0 where they are not all there."""
    cdef const head_t *head = <const head_t *>data
    cdef size_t at = sizeof(head_t)
    cdef uint32_t i
    if size < at:
        return 0
    for i in range(head.entries):
        if next_item(data, size, &at) == NULL:
            return 0
    return at if at <= size else 0


cdef struct window_t:
    uint8_t *data
    uint32_t at, size             # which bytes of the segment these are
    uint32_t refused              # below this place it can't be read at once


cdef struct found_t:
    const uint8_t *data           # valid until the next record is looked for
    uint32_t length, part         # of the record; of its head and entries
    uint64_t durable              # the largest number that a FLUSHED of it has, or 0


cdef class LogWalk:
    cdef readonly Slab segment
    cdef readonly uint32_t end
    cdef bytes pool
    cdef uint8_t *parts
    cdef window_t windows[MOST_COLUMNS]

    cdef const uint8_t *_bytes(self, int copy, uint32_t at, uint32_t length) noexcept
    cdef int _look(self, int copy, uint32_t at, uint64_t expected, found_t *found) noexcept
    cdef int _first(self, uint32_t at, uint64_t expected, found_t *found) noexcept
