"""Where the stations of a MAC table lie: found in two cache lines at the most, whatever their addresses are.

Knows: slots, segments, and which stations each port has. Refuses to know: who may be learned, who ages, who has to go
(fdb.pyx).

Extendible hashing (Fagin and others, 1979): a directory of segments, indexed by bits of a keyed hash. A segment has 64
buckets of four slots, a bucket is one cache line, and each station stands in one of two buckets (cuckoo hashing in
buckets, with at most one station moved to make room). A segment that has no room is split in two: that is all that
growing costs at one moment, and a table that knows few stations is one segment. So there are no probe chains; an attacker
who could guess the hash would make segments split, and `depth_limit` ends that: then his station is refused.

The stations of a port are linked, so that flushing a port and finding its oldest station take no scan.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)

cdef enum:
    CACHE_LINE = 64
    FIRST_PORTS = 16
    CROWDED = 176     # stations of a segment that is split while there is room in it still: two of three slots
    SPARSE = 32       # stations per segment when the directory has its full length: 1/8, so only bad luck ends there


cdef bint store_open(fdb_t *t, uint32_t limit) noexcept nogil:
    # An empty table: one segment, 16 ports. False without memory.
    t.depth_limit = store_depth(limit)
    t.directory = <segment_t **>realloc(NULL, sizeof(segment_t *))
    if t.directory == NULL or not store_port(t, FIRST_PORTS - 1):
        return False
    t.directory[0] = _new_segment(t)
    return t.directory[0] != NULL


cdef void store_close(fdb_t *t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.segment_count):
        free(t.segments[i])
    free(t.segments)
    free(t.directory)
    free(t.ports)
    free(t.most)
    free(t.vlans)


cdef uint32_t store_depth(uint32_t limit) noexcept nogil:
    # The longest directory (log2) for a table of `limit` stations.
    cdef uint32_t depth = 0
    while (<uint64_t>SPARSE << depth) < limit:
        depth += 1
    return depth


# --- segments

cdef segment_t *_new_segment(fdb_t *t) noexcept nogil:
    cdef void *memory = NULL
    cdef segment_t *s
    cdef uint32_t room = 2 * t.segment_room if t.segment_room else 4
    cdef segment_t **grown
    if t.segment_count == t.segment_room:
        grown = <segment_t **>realloc(t.segments, room * sizeof(segment_t *))
        if grown == NULL:
            return NULL
        t.segments = grown
        t.segment_room = room
    if posix_memalign(&memory, CACHE_LINE, sizeof(segment_t)) != 0:
        return NULL
    s = <segment_t *>memory
    memset(s, 0, sizeof(segment_t))
    s.number = t.segment_count
    t.segments[t.segment_count] = s
    t.segment_count += 1
    return s


cdef bint _double(fdb_t *t) noexcept nogil:
    cdef uint64_t length = t.mask + 1
    cdef segment_t **longer
    if t.depth == t.depth_limit:
        return False
    longer = <segment_t **>realloc(t.directory, 2 * length * sizeof(segment_t *))
    if longer == NULL:
        return False
    memcpy(longer + length, longer, length * sizeof(segment_t *))
    t.directory = longer
    t.mask = 2 * length - 1
    t.depth += 1
    return True


cdef bint _split(fdb_t *t, segment_t *s) noexcept nogil:
    # Half of the stations go to a new segment, each into the same slot: that depends on other bits of the hash.
    cdef segment_t *new
    cdef uint64_t i
    cdef uint32_t bit = s.depth
    if s.depth == t.depth and not _double(t):
        return False
    new = _new_segment(t)
    if new == NULL:
        return False
    s.depth += 1
    new.depth = s.depth
    new.prefix = s.prefix | <uint32_t>1 << bit
    i = new.prefix
    while i <= t.mask:
        t.directory[i] = new
        i += <uint64_t>1 << new.depth
    for i in range(<uint32_t>SLOTS):
        if s.slots[i].key != 0 and fdb_hash(t, s.slots[i].key) >> 24 >> bit & 1:
            _move(t, s, <uint32_t>i, new, <uint32_t>i)
            s.used -= 1
            new.used += 1
    _settle(t, s)
    _settle(t, new)
    return True


cdef void _settle(fdb_t *t, segment_t *s) noexcept nogil:
    # There is room now: to their first slot with as many as possible, and out of their second bucket.
    cdef uint32_t i, first
    cdef int better
    for i in range(<uint32_t>SLOTS):
        if s.slots[i].key == 0:
            continue
        first = fdb_slot(fdb_hash(t, s.slots[i].key))
        better = <int>first if s.slots[first].key == 0 else -1
        if better < 0 and i >> 2 != first >> 2:
            better = _free_slot(s, first >> 2)
        if better >= 0:
            _move(t, s, i, s, <uint32_t>better)


cdef void _move(fdb_t *t, segment_t *s, uint32_t i, segment_t *to, uint32_t j) noexcept nogil:
    cdef entry_t *e = &s.slots[i]
    cdef link_t link = s.links[i]
    cdef list_t *stations = _list(t, e)
    cdef uint32_t number = to.number * SLOTS + j
    to.slots[j] = e[0]
    to.links[j] = link
    e.key = 0
    if link.newer == NONE:
        stations.newest = number
    else:
        _link(t, link.newer).older = number
    if link.older == NONE:
        stations.oldest = number
    else:
        _link(t, link.older).newer = number


cdef inline int _free_slot(const segment_t *s, uint32_t bucket) noexcept nogil:
    cdef int i
    for i in range(4):
        if s.slots[4 * bucket + i].key == 0:
            return 4 * bucket + i
    return -1


cdef int _room(fdb_t *t, segment_t *s, uint64_t hash) noexcept nogil:
    # A free slot for a station with this hash, if need be by moving one other to its other bucket; -1 = none.
    cdef uint32_t bucket = fdb_slot(hash) >> 2, other = bucket ^ fdb_other(hash), alternative
    cdef int slot = <int>fdb_slot(hash), i, free_one
    if s.slots[slot].key != 0:
        slot = _free_slot(s, bucket)
    if slot < 0:
        slot = _free_slot(s, other)
    if slot >= 0:
        return slot
    for i in range(8):
        slot = <int>(4 * bucket + i if i < 4 else 4 * other + i - 4)
        alternative = <uint32_t>slot >> 2 ^ fdb_other(fdb_hash(t, s.slots[slot].key))
        free_one = _free_slot(s, alternative)
        if free_one >= 0:
            _move(t, s, <uint32_t>slot, s, <uint32_t>free_one)
            return slot
    return -1


cdef entry_t *store_put(fdb_t *t, uint64_t key) noexcept nogil:
    # A slot for a key that is not there, counted; the caller fills in the rest and enlists it. NULL: no room.
    cdef uint64_t hash = fdb_hash(t, key)
    cdef segment_t *s = fdb_segment(t, hash)
    cdef int slot
    while s.used >= CROWDED and _split(t, s):
        s = fdb_segment(t, hash)
    slot = _room(t, s, hash)
    while slot < 0 and _split(t, s):
        s = fdb_segment(t, hash)
        slot = _room(t, s, hash)
    if slot < 0:
        return NULL
    s.slots[slot].key = key
    s.used += 1
    t.count += 1
    return &s.slots[slot]


cdef void store_drop(fdb_t *t, entry_t *e) noexcept nogil:
    # Forget a station.
    store_unlist(t, e)
    fdb_segment(t, fdb_hash(t, e.key)).used -= 1
    e.key = 0
    t.count -= 1


cdef void store_shrink(fdb_t *t) noexcept nogil:
    # An empty table gives its memory back.
    if t.count or t.segment_count == 1:
        return
    while t.segment_count > 1:
        t.segment_count -= 1
        free(t.segments[t.segment_count])
    t.segments[0].depth = t.segments[0].prefix = 0
    t.directory[0] = t.segments[0]
    t.mask = t.depth = 0


# --- the stations of a port

cdef inline link_t *_link(fdb_t *t, uint32_t number) noexcept nogil:
    return &t.segments[number // SLOTS].links[number % SLOTS]


cdef inline list_t *_list(fdb_t *t, const entry_t *e) noexcept nogil:
    return &t.ports[e.port].lists[0 if e.what & KIND == DYNAMIC else 1]


cdef inline uint32_t _number(fdb_t *t, const entry_t *e) noexcept nogil:
    cdef segment_t *s = fdb_segment(t, fdb_hash(t, e.key))
    return s.number * SLOTS + <uint32_t>(e - s.slots)


cdef void store_enlist(fdb_t *t, entry_t *e) noexcept nogil:
    # The newest station of its port; port and kind are filled in.
    cdef list_t *stations = _list(t, e)
    cdef uint32_t number = _number(t, e)
    cdef link_t *link = _link(t, number)
    link.newer = NONE
    link.older = stations.newest
    if stations.newest == NONE:
        stations.oldest = number
    else:
        _link(t, stations.newest).newer = number
    stations.newest = number
    stations.count += 1
    if t.vlans != NULL:
        t.vlans.count[e.what & VID] += 1
    if e.what & KIND == DYNAMIC:
        _recount(t, e.port)


cdef void store_unlist(fdb_t *t, entry_t *e) noexcept nogil:
    # Before its port, VLAN or kind changes, or it goes.
    cdef list_t *stations = _list(t, e)
    cdef link_t link = _link(t, _number(t, e))[0]
    if link.newer == NONE:
        stations.newest = link.older
    else:
        _link(t, link.newer).older = link.older
    if link.older == NONE:
        stations.oldest = link.newer
    else:
        _link(t, link.older).newer = link.newer
    stations.count -= 1
    if t.vlans != NULL:
        t.vlans.count[e.what & VID] -= 1
    if e.what & KIND == DYNAMIC:
        _recount(t, e.port)


cdef entry_t *store_oldest(fdb_t *t, uint32_t port, uint32_t which) noexcept nogil:
    # The station of a port that was learned first (which: 0 dynamic, 1 sticky and static), or NULL.
    cdef uint32_t number = t.ports[port].lists[which].oldest
    return NULL if number == NONE else &t.segments[number // SLOTS].slots[number % SLOTS]


cdef entry_t *store_newer(fdb_t *t, const entry_t *e) noexcept nogil:
    # Who was learned next at the same port, or NULL.
    cdef uint32_t number = _link(t, _number(t, e)).newer
    return NULL if number == NONE else &t.segments[number // SLOTS].slots[number % SLOTS]


cdef bint store_port(fdb_t *t, uint32_t port) noexcept nogil:
    # Room for the lists of this port. False without memory.
    cdef uint32_t room = t.port_room if t.port_room else FIRST_PORTS, i
    cdef station_port_t *ports
    cdef uint16_t *most
    if port < t.port_room:
        return True
    while room <= port:
        room *= 2
    ports = <station_port_t *>realloc(t.ports, room * sizeof(station_port_t))
    if ports == NULL:
        return False
    t.ports = ports
    most = <uint16_t *>realloc(t.most, room * sizeof(uint16_t))
    if most == NULL:
        return False
    t.most = most
    for i in range(t.port_room, room):
        memset(&ports[i], 0, sizeof(station_port_t))
        ports[i].lists[0].newest = ports[i].lists[0].oldest = NONE
        ports[i].lists[1].newest = ports[i].lists[1].oldest = NONE
    t.port_room = room
    for i in range(room - 1, 0, -1):
        most[i] = _winner(t, i)
    return True


cdef inline uint16_t _winner(const fdb_t *t, uint32_t node) noexcept nogil:
    cdef uint32_t a = 2 * node, b = 2 * node + 1
    if a >= t.port_room:
        a, b = a - t.port_room, b - t.port_room
    else:
        a, b = t.most[a], t.most[b]
    return <uint16_t>(a if t.ports[a].lists[0].count >= t.ports[b].lists[0].count else b)


cdef void _recount(fdb_t *t, uint16_t port) noexcept nogil:
    # The count of a port's dynamic stations has changed: play its matches again, as far up as it matters.
    cdef uint32_t node = (t.port_room + port) >> 1
    cdef uint16_t winner
    while node:
        winner = _winner(t, node)
        if t.most[node] == winner != port:
            return
        t.most[node] = winner
        node >>= 1
