# The MAC table as C: forward() looks up and learns without the GIL.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.dataplane.fdb_store cimport DYNAMIC, KIND, VID, AGAIN, entry_t, fdb_entry, fdb_fetch, fdb_t

cdef enum:
    NOWHERE = 0xFFFF

# What fdb_learn() answers.
cdef enum:
    LEARNED = 0
    FULL = 1                  # no room, and nobody that may be evicted
    LIMITED = 2               # the port, or the VLAN, has as many as it may have
    FIXED = 3                 # static at another port
    STUCK = 4                 # sticky at another port


cdef inline bint fdb_alive(const fdb_t *t, const entry_t *e, uint32_t now) noexcept nogil:
    return now - e.seen < t.ageing or e.what & KIND != DYNAMIC


cdef inline uint16_t fdb_find(const fdb_t *t, uint64_t key, uint32_t now) noexcept nogil:
    cdef entry_t *e = fdb_entry(t, key)
    return e.port if e != NULL and fdb_alive(t, e, now) else <uint16_t>NOWHERE


cdef int fdb_insert(fdb_t *t, uint64_t key, uint16_t vid, uint16_t port, uint32_t now) noexcept nogil
cdef int fdb_again(fdb_t *t, entry_t *e, uint16_t vid, uint16_t port, uint32_t now) noexcept nogil


# Station `key` was seen on `port` in VLAN `vid` (which counts for limits, and is shown).
cdef inline int fdb_learn(fdb_t *t, uint64_t key, uint16_t vid, uint16_t port, uint32_t now) noexcept nogil:
    cdef entry_t *e = fdb_entry(t, key)
    if e == NULL:
        return fdb_insert(t, key, vid, port, now)
    # Dynamic, the same port, the same VLAN: what nearly every frame is.
    if e.port == port and (e.what & (KIND | VID)) == vid and not t.ports[port].sticky and now - e.seen < t.ageing:
        e.seen = now
        e.what = vid | AGAIN
        return LEARNED
    return fdb_again(t, e, vid, port, now)


cdef uint32_t fdb_sweep(fdb_t *t, uint32_t now) noexcept nogil
cdef uint32_t fdb_flush_outside(fdb_t *t, uint16_t port, const uint64_t *vids) noexcept nogil


cdef class MacTable:
    cdef fdb_t t
