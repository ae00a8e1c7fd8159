"""The index of the log: which blocks have content in the log that is newer than their grain's slot.

Knows: (volume, block) -> where. Refuses to know: what a record looks like, when an entry is obsolete (engine.pyx).
It grows as it must; what bounds it is the bound on the log.
"""

from libc.stdlib cimport calloc, free


cdef inline uint64_t _home(uint64_t key, uint32_t shift) noexcept nogil:
    return (key * <uint64_t>0x9E3779B97F4A7C15) >> shift


cdef class LogIndex:
    """Open addressing, at most three quarters full, deletion by shifting back: a lookup ends at the first empty slot."""

    def __cinit__(self):
        cdef uint32_t bits = 10
        self.slots = <logged_t *>calloc(<size_t>1 << bits, sizeof(logged_t))
        if self.slots == NULL:
            raise MemoryError()
        self.mask = (<uint64_t>1 << bits) - 1
        self.shift = 64 - bits

    def __dealloc__(self):
        free(self.slots)

    def __len__(self):
        return self.count

    # --- for looking, not for speed

    def entry(self, uint64_t key):
        """(sequence, segment, place, crc, kind), or None."""
        cdef logged_t *found = self.find(key)
        return None if found == NULL else (found.sequence, found.segment, found.place, found.crc, found.kind)

    def set_entry(self, uint64_t key, uint64_t sequence, uint32_t segment, uint32_t place, uint32_t crc, uint32_t kind):
        cdef logged_t *slot = self.put(key)
        slot.sequence, slot.segment, slot.place, slot.crc, slot.kind = sequence, segment, place, crc, kind

    def forget(self, uint64_t key):
        """False when it was not there."""
        return self.drop(key)

    # --- in C

    cdef logged_t *find(self, uint64_t key) noexcept nogil:
        cdef uint64_t i = _home(key, self.shift)
        while self.slots[i].key != 0:
            if self.slots[i].key == key:
                return &self.slots[i]
            i = (i + 1) & self.mask
        return NULL

    cdef logged_t *put(self, uint64_t key) except NULL:
        """The slot of `key`, a new one if need be. Valid until the next put() or drop()."""
        cdef uint64_t i
        if 4 * (self.count + 1) > 3 * self.mask:
            self._grow()
        i = _home(key, self.shift)
        while self.slots[i].key != 0:
            if self.slots[i].key == key:
                return &self.slots[i]
            i = (i + 1) & self.mask
        self.slots[i].key = key
        self.count += 1
        return &self.slots[i]

    cdef bint drop(self, uint64_t key) noexcept nogil:
        """Forget `key`; False when it was not there."""
        cdef uint64_t i = _home(key, self.shift), j, home
        while self.slots[i].key != key:
            if self.slots[i].key == 0:
                return False
            i = (i + 1) & self.mask
        j = i
        while True:
            j = (j + 1) & self.mask
            if self.slots[j].key == 0:
                break
            home = _home(self.slots[j].key, self.shift)
            if ((j - home) & self.mask) >= ((j - i) & self.mask):
                self.slots[i] = self.slots[j]
                i = j
        self.slots[i].key = 0
        self.count -= 1
        return True

    cdef int _grow(self) except -1:
        cdef logged_t *old = self.slots
        cdef uint64_t i, j, size = self.mask + 1
        cdef logged_t *fresh = <logged_t *>calloc(2 * size, sizeof(logged_t))
        if fresh == NULL:
            raise MemoryError()
        self.slots = fresh
        self.mask = 2 * size - 1
        self.shift -= 1
        for i in range(size):
            if old[i].key != 0:
                j = _home(old[i].key, self.shift)
                while self.slots[j].key != 0:
                    j = (j + 1) & self.mask
                self.slots[j] = old[i]
        free(old)
        return 0
