# Where stations lie, as C: lookups are inline, what changes the table is in fdb_store.pyx (which says how it is built).
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SLOTS = 256               # of a segment: 64 buckets of 4
    NONE = 0xFFFFFFFF

# entry_t.what: VID in the low 12 bits, kind, and whether the station was seen again after it was learned.
cdef enum:
    DYNAMIC = 0
    STICKY = 0x1000
    STATIC = 0x2000
    KIND = 0x3000
    AGAIN = 0x8000
    VID = 0x0FFF

# 16 bytes: a bucket of four is one cache line.
cdef struct entry_t:
    uint64_t key              # FID << 48 | MAC; 0 = empty (a FID is never 0)
    uint32_t seen             # seconds of the plane's clock
    uint16_t port
    uint16_t what

# The stations of a port are two lists (dynamic; sticky and static), newest first. A station's number, as in these links,
# is its segment's number * SLOTS + its slot. They lie beside the entries: lookups and refreshes never touch them.
cdef struct link_t:
    uint32_t newer, older

cdef struct segment_t:
    entry_t slots[SLOTS]
    link_t links[SLOTS]
    uint32_t number
    uint32_t used
    uint32_t depth            # bits of the hash that all its stations have in common, ...
    uint32_t prefix           # ... and what these bits are

cdef struct list_t:
    uint32_t newest, oldest, count

cdef struct station_port_t:
    list_t lists[2]           # dynamic; sticky and static
    uint32_t limit            # stations at the most, 0 = no limit
    uint32_t sticky

cdef struct vlans_t:
    uint32_t limit[4096]      # 0 = no limit
    uint32_t count[4096]

cdef struct fdb_t:
    segment_t **directory     # by `mask` bits of the hash
    uint64_t mask
    uint64_t seed, factor     # of the hash
    segment_t **segments      # by number
    uint32_t segment_count, segment_room
    uint32_t depth, depth_limit     # log2 of the directory's length
    station_port_t *ports
    uint16_t *most            # winner tree over the ports: most[1] has the most dynamic stations
    uint32_t port_room        # a power of two
    vlans_t *vlans            # NULL while no VLAN has a limit
    uint32_t count, limit, ageing
    uint32_t oldest           # no dynamic station was last seen before this second
    uint64_t learned, moved, aged, refused, limited, evicted


cdef extern from *:
    """
    #include <stdint.h>
    /* A whole 128-bit product, folded: every bit of the key reaches every bit that is used. One instruction's work. */
    static inline uint64_t vf_mac_hash(uint64_t key, uint64_t seed, uint64_t factor) {
        unsigned __int128 wide = (unsigned __int128)(key ^ seed) * factor;
        return (uint64_t)wide ^ (uint64_t)(wide >> 64);
    }
    #define vf_first_bit(x) __builtin_ctz(x)
    #define vf_fetch(p) __builtin_prefetch(p)
    """
    int vf_first_bit(uint32_t x) nogil
    void vf_fetch(const void *p) nogil
    uint64_t vf_mac_hash(uint64_t key, uint64_t seed, uint64_t factor) nogil


cdef inline uint64_t fdb_hash(const fdb_t *t, uint64_t key) noexcept nogil:
    return vf_mac_hash(key, t.seed, t.factor)


cdef inline segment_t *fdb_segment(const fdb_t *t, uint64_t hash) noexcept nogil:
    return t.directory[hash >> 24 & t.mask]


# A station stands in one of two buckets of its segment; their numbers differ by fdb_other(), so each leads to the other.
# In the first it takes the slot fdb_slot() if that is free: then a lookup is right at once.
cdef inline uint32_t fdb_slot(uint64_t hash) noexcept nogil:
    return <uint32_t>(hash >> 56)


cdef inline uint32_t fdb_other(uint64_t hash) noexcept nogil:
    return <uint32_t>(hash >> 48) & 31 | 32


# Without branches: which of the four it is cannot be foreseen, and a wrong guess costs more than looking at all of them.
cdef inline entry_t *fdb_in_bucket(segment_t *s, uint32_t bucket, uint64_t key) noexcept nogil:
    cdef entry_t *e = &s.slots[4 * bucket]
    cdef uint32_t found = (<uint32_t>(e[0].key == key) | <uint32_t>(e[1].key == key) << 1
                           | <uint32_t>(e[2].key == key) << 2 | <uint32_t>(e[3].key == key) << 3)
    return e + vf_first_bit(found) if found else NULL


# Eight slots in two cache lines at the most, whatever the keys are.
cdef inline entry_t *fdb_entry(const fdb_t *t, uint64_t key) noexcept nogil:
    cdef uint64_t hash = fdb_hash(t, key)
    cdef segment_t *s = fdb_segment(t, hash)
    cdef entry_t *e = &s.slots[fdb_slot(hash)]
    if e.key == key:
        return e
    e = fdb_in_bucket(s, fdb_slot(hash) >> 2, key)
    if e == NULL:
        e = fdb_in_bucket(s, fdb_slot(hash) >> 2 ^ fdb_other(hash), key)
    return e


# Have the first place of a key in the cache by the time that it is looked up.
cdef inline void fdb_fetch(const fdb_t *t, uint64_t key) noexcept nogil:
    cdef uint64_t hash = fdb_hash(t, key)
    vf_fetch(&fdb_segment(t, hash).slots[fdb_slot(hash)])


# What changes the table; the contracts are in fdb_store.pyx.
cdef bint store_open(fdb_t *t, uint32_t limit) noexcept nogil
cdef void store_close(fdb_t *t) noexcept nogil
cdef uint32_t store_depth(uint32_t limit) noexcept nogil
cdef bint store_port(fdb_t *t, uint32_t port) noexcept nogil
cdef entry_t *store_put(fdb_t *t, uint64_t key) noexcept nogil
cdef void store_enlist(fdb_t *t, entry_t *e) noexcept nogil
cdef void store_unlist(fdb_t *t, entry_t *e) noexcept nogil
cdef void store_drop(fdb_t *t, entry_t *e) noexcept nogil
cdef void store_shrink(fdb_t *t) noexcept nogil
cdef entry_t *store_oldest(fdb_t *t, uint32_t port, uint32_t which) noexcept nogil
cdef entry_t *store_newer(fdb_t *t, const entry_t *e) noexcept nogil
