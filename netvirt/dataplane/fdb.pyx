"""The filtering database (MAC table) of one switch: IEEE 802.1Q-2018 clauses 8.7 (learning) and 8.8 (filtering database).

Knows: which port a station (VID, MAC) was last seen on, when, and how many may be known.
Refuses to know: ports' modes, frames, clocks (seconds come in as arguments).

Independent learning per VLAN. Open addressing with linear probing at no more than half load; deletion shifts back, so there
are no tombstones and a lookup ends at the first empty slot. The table is bounded: when it is full a new station is not
learned (its frames are flooded) and that is counted.
"""

from libc.stdlib cimport calloc, free


cdef void fdb_insert(fdb_t *t, uint64_t key, uint16_t port, uint32_t now) noexcept nogil:
    cdef uint64_t i
    if t.count >= t.limit:
        # Make room from stations that have aged out, at most once a second: a flood of new addresses may not cost more.
        if t.swept != now:
            t.swept = now
            fdb_sweep(t, now)
        if t.count >= t.limit:
            t.refused += 1
            return
    i = fdb_home(t, key)
    while t.slots[i].key != 0:
        i = (i + 1) & t.mask
    t.slots[i].key = key
    t.slots[i].port = port
    t.slots[i].seen = now
    t.slots[i].flags = 0
    t.count += 1
    t.learned += 1


cdef void _remove(fdb_t *t, uint64_t i) noexcept nogil:
    cdef uint64_t j = i, home
    while True:
        j = (j + 1) & t.mask
        if t.slots[j].key == 0:
            break
        home = fdb_home(t, t.slots[j].key)
        # Move j into the hole unless its home lies cyclically in (i, j].
        if ((j - home) & t.mask) >= ((j - i) & t.mask):
            t.slots[i] = t.slots[j]
            i = j
    t.slots[i].key = 0
    t.count -= 1


cdef uint32_t fdb_sweep(fdb_t *t, uint32_t now) noexcept nogil:
    cdef uint64_t i = 0
    cdef uint32_t before = t.count
    while i <= t.mask and t.count:
        if t.slots[i].key != 0 and now - t.slots[i].seen >= t.ageing:
            _remove(t, i)        # another entry may have moved here: look again
        else:
            i += 1
    t.aged += before - t.count
    return before - t.count


cdef class MacTable:
    """limit: stations known at the most; ageing: seconds after which an unseen station is forgotten."""

    def __cinit__(self, uint32_t limit=16384, uint32_t ageing=300):
        cdef uint32_t bits = 4
        while (<uint64_t>1 << bits) < 2 * <uint64_t>limit:
            bits += 1
        self.t.slots = <entry_t *>calloc(<size_t>1 << bits, sizeof(entry_t))
        if self.t.slots == NULL:
            raise MemoryError()
        self.t.mask = (<uint64_t>1 << bits) - 1
        self.t.shift = 64 - bits
        self.t.limit = limit
        self.t.ageing = ageing

    def __dealloc__(self):
        free(self.t.slots)

    def __len__(self):
        return self.t.count

    @property
    def limit(self):
        return self.t.limit

    @property
    def ageing(self):
        return self.t.ageing

    @ageing.setter
    def ageing(self, uint32_t seconds):
        self.t.ageing = seconds

    def learn(self, uint16_t vid, const uint8_t[::1] mac not None, uint16_t port, uint32_t now):
        """Station (vid, mac) was seen on port at `now` seconds."""
        fdb_learn(&self.t, _key(vid, mac), port, now)

    def find(self, uint16_t vid, const uint8_t[::1] mac not None, uint32_t now):
        """The port of station (vid, mac), or None."""
        cdef uint16_t port = fdb_find(&self.t, _key(vid, mac), now)
        return None if port == NOWHERE else port

    def sweep(self, uint32_t now):
        """Forget stations not seen for `ageing` seconds; returns how many."""
        return fdb_sweep(&self.t, now)

    def flush(self, int port=-1, int vid=-1):
        """Forget the stations of a port, of a VLAN, of both together, or all; returns how many."""
        cdef uint64_t i = 0
        cdef uint32_t before = self.t.count
        while i <= self.t.mask and self.t.count:
            if (self.t.slots[i].key != 0 and (port < 0 or self.t.slots[i].port == port)
                    and (vid < 0 or self.t.slots[i].key >> 48 == <uint64_t>vid)):
                _remove(&self.t, i)
            else:
                i += 1
        return before - self.t.count

    def entries(self, uint32_t now):
        """All stations as (vid, mac bytes, port, age in seconds), without order."""
        cdef uint64_t i
        cdef entry_t e
        cdef list out = []
        for i in range(self.t.mask + 1):
            e = self.t.slots[i]
            if e.key != 0 and now - e.seen < self.t.ageing:
                out.append((e.key >> 48, (e.key & 0xFFFFFFFFFFFF).to_bytes(6, "big"), e.port, now - e.seen))
        return out

    def statistics(self):
        return {"stations": self.t.count, "limit": self.t.limit, "learned": self.t.learned, "moved": self.t.moved,
                "aged": self.t.aged, "refused": self.t.refused}


cdef uint64_t _key(uint16_t vid, const uint8_t[::1] mac) except 0:
    cdef uint64_t key = vid
    cdef int i
    if mac.shape[0] != 6:
        raise ValueError("a MAC address has 6 bytes")
    if vid < 1 or vid > 4094:
        raise ValueError("a VID is 1 to 4094")
    for i in range(6):
        key = key << 8 | mac[i]
    return key
