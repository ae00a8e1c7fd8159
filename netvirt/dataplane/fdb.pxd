# The MAC table as C: forward() looks up and learns without the GIL.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct entry_t:
    uint64_t key              # VID << 48 | MAC; 0 = empty (no station has VID 0 and MAC 0: VIDs here are 1 to 4094)
    uint32_t seen             # seconds of the plane's clock
    uint16_t port
    uint16_t flags

cdef struct fdb_t:
    entry_t *slots
    uint64_t mask             # number of slots - 1
    uint32_t shift            # 64 - log2(number of slots)
    uint32_t count, limit, ageing
    uint32_t swept            # when a full table was last swept, seconds
    uint64_t learned, moved, aged, refused

cdef enum:
    NOWHERE = 0xFFFF


cdef inline uint64_t fdb_home(const fdb_t *t, uint64_t key) noexcept nogil:
    # Fibonacci hashing: neighbours in the last octets of a MAC land far apart.
    return (key * <uint64_t>0x9E3779B97F4A7C15) >> t.shift


cdef inline uint16_t fdb_find(const fdb_t *t, uint64_t key, uint32_t now) noexcept nogil:
    cdef uint64_t i = fdb_home(t, key)
    while t.slots[i].key != 0:
        if t.slots[i].key == key:
            return t.slots[i].port if now - t.slots[i].seen < t.ageing else <uint16_t>NOWHERE
        i = (i + 1) & t.mask
    return NOWHERE


cdef void fdb_insert(fdb_t *t, uint64_t key, uint16_t port, uint32_t now) noexcept nogil
cdef uint32_t fdb_sweep(fdb_t *t, uint32_t now) noexcept nogil


cdef inline void fdb_learn(fdb_t *t, uint64_t key, uint16_t port, uint32_t now) noexcept nogil:
    cdef uint64_t i = fdb_home(t, key)
    while t.slots[i].key != 0:
        if t.slots[i].key == key:
            if t.slots[i].port != port:
                t.slots[i].port = port
                t.moved += 1
            t.slots[i].seen = now
            return
        i = (i + 1) & t.mask
    fdb_insert(t, key, port, now)


cdef class MacTable:
    cdef fdb_t t
