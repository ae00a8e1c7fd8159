"""Walking over a segment of the log at opening: whole records that follow each other, a MiB at a time.

Knows: what a whole record is, byte by byte as record.py says it; reading ahead. Refuses to know: where the log ends, what
an entry does. What it is not sure of it leaves to record.py, a record at a time (replay.py): what can't be read at once,
a record longer than a MiB, one that is whole on no copy.
"""

from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from storvirt.pool.slab cimport Slab
from storvirt.raid.kernels cimport crc32c

from storvirt.pool.record import ALIGN, BLOCK, BLOCKS, ENTRY, FLUSHED, HEAD, KINDS, MAGIC

cdef enum:
    PIECE = 1 << 20              # what is read at once, and how long a run is at most
    FIRST_PIECE = 1 << 16        # most logs are short, and a member may be far away
    CRC_AT = 20
    # What _look() says
    UNSURE = -1
    ANOTHER = 0
    WHOLE = 1

cdef uint32_t _ALIGN = ALIGN, _BLOCK = BLOCK
cdef int _BLOCKS = BLOCKS, _FLUSHED = FLUSHED, _KINDS = max(KINDS)
cdef bytes _MAGIC = MAGIC
cdef const uint8_t *_magic = _MAGIC

assert HEAD.size == sizeof(head_t) and ENTRY.size == sizeof(item_t) and KINDS == tuple(range(1, _KINDS + 1))


cdef class LogWalk:
    """pool: its id; end: of what counts in the segment, bytes."""

    def __cinit__(self, Slab segment not None, bytes pool not None, uint32_t end):
        if len(pool) != 16:
            raise ValueError(f"a pool's id has 16 bytes, not {len(pool)}")
        self.segment, self.pool, self.end = segment, pool, end
        self.parts = <uint8_t *>malloc(PIECE)
        if self.parts == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef int copy
        free(self.parts)
        for copy in range(MOST_COLUMNS):
            free(self.windows[copy].data)

    def run(self, uint64_t at, expected):
        """Whole records from byte `at` on, each on the first copy that has it, and the same one for all of them:
        (number of the first entry, number behind the last, copy, start, end, the largest number of a FLUSHED or 0, heads
        and entries of all of them). At most a MiB. None where the first one is not plainly there.

        expected: number of the first entry.
        """
        cdef found_t found
        cdef const head_t *head
        cdef uint64_t first, number, durable = 0
        cdef uint32_t start, here
        cdef size_t filled = 0
        cdef int copy, wanted = -1
        if at >= self.end or expected > UINT64_MAX:
            return None
        first = number = expected
        start = here = <uint32_t>at
        while True:
            copy = self._first(here, number, &found)
            if copy < 0 or wanted not in (-1, copy) or here + found.length - start > PIECE:
                break
            head = <const head_t *>found.data
            if number > UINT64_MAX - head.entries:
                break
            wanted = copy
            memcpy(self.parts + filled, found.data, found.part)
            filled += found.part
            number += head.entries
            durable = max(durable, found.durable)
            here += found.length
        return None if wanted < 0 else (first, number, wanted, start, here, durable, (<char *>self.parts)[:filled])

    cdef int _first(self, uint32_t at, uint64_t expected, found_t *found) noexcept:
        """The first copy that has a whole record here, or -1: none, or it is not sure which."""
        cdef int copy, said
        for copy in range(self.segment.width):
            said = self._look(copy, at, expected, found)
            if said != ANOTHER:
                return copy if said == WHOLE else -1
        return -1

    cdef int _look(self, int copy, uint32_t at, uint64_t expected, found_t *found) noexcept:
        """What claimed_length() and parse() of record.py say."""
        cdef const uint8_t *data
        cdef const head_t *head
        if self.segment.missing >> copy & 1:
            return ANOTHER
        if self.end - at < sizeof(head_t):
            return UNSURE
        data = self._bytes(copy, at, sizeof(head_t))
        if data == NULL:
            return UNSURE
        head = <const head_t *>data
        if (memcmp(head.magic, _magic, 4) or head.segment != self.segment.number or head.first != expected
                or memcmp(head.pool, <const char *>self.pool, 16)
                or head.length % _ALIGN or head.length <= sizeof(head_t)):
            return ANOTHER
        if head.length > self.end - at or head.length > PIECE:
            return UNSURE
        found.length = head.length
        found.data = self._bytes(copy, at, found.length)
        return UNSURE if found.data == NULL else _whole(found)

    cdef const uint8_t *_bytes(self, int copy, uint32_t at, uint32_t length) noexcept:
        """These bytes of a copy, at most a MiB; NULL if they can't be had so. Valid until the next call."""
        cdef window_t *window = &self.windows[copy]
        cdef uint32_t size = PIECE if at else FIRST_PIECE
        if at >= window.at and at - window.at + length <= window.size:
            return window.data + (at - window.at)
        if at < window.refused:
            return NULL
        size = min(max(length, size), self.end - at)
        window.at, window.size = at, 0
        if window.data == NULL:
            window.data = <uint8_t *>malloc(PIECE)
        if window.data == NULL or self.segment.read_column(0, copy, at, size, window.data, True):
            window.refused = at + size
            return NULL
        window.size = size
        return window.data


cdef int _whole(found_t *found) noexcept nogil:
    """Whether its crc fits and its entries are as they must be. Fills in what is known of it then."""
    cdef const head_t *head = <const head_t *>found.data
    cdef const item_t *item
    cdef uint32_t nothing = 0, crc = crc32c(0, found.data, CRC_AT), i
    cdef size_t at = sizeof(head_t)
    crc = crc32c(crc, <const uint8_t *>&nothing, 4)
    crc = crc32c(crc, found.data + CRC_AT + 4, found.length - CRC_AT - 4)
    if crc != head.crc or head.length != found.length:
        return ANOTHER
    found.durable = 0
    for i in range(head.entries):
        item = next_item(found.data, found.length, &at)
        if item == NULL or not 1 <= item.kind <= _KINDS or (item.kind == _BLOCKS and item.arg >= head.payload):
            return ANOTHER
        if item.kind == _FLUSHED:
            found.durable = max(found.durable, item.where)
    found.part = <uint32_t>at
    return WHOLE if at + <uint64_t>head.payload * _BLOCK <= found.length else ANOTHER


def from_number(const uint8_t[::1] parts not None, uint64_t start, uint64_t number):
    """Where the first record begins that has an entry from this number on, or where all of them end. parts: heads and
    entries of records that follow each other (LogWalk.run()), the first one at byte `start`. ValueError: they are not."""
    cdef size_t at = 0, size = parts.shape[0], part
    cdef const head_t *head
    while at < size:
        head = <const head_t *>&parts[at]
        part = part_of(&parts[at], size - at)
        if part == 0:
            raise ValueError("these are not heads and entries of records")
        if head.first > number or number - head.first < head.entries:
            break
        start += head.length
        at += part
    return start
