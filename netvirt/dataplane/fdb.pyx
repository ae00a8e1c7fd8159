"""The filtering database (MAC table) of one switch: IEEE 802.1Q-2018 clauses 8.7 (learning) and 8.8 (filtering database).

Knows: who may be learned, who stays, who is forgotten, who has to go when the table is full.
Refuses to know: where stations lie (fdb_store.pyx), ports' modes, frames, clocks (seconds come in as arguments).

A station is (FID, MAC); the VLAN in which it was seen last counts for that VLAN's limit and is shown. Kinds: *dynamic* ages;
*sticky* (learned on a sticky port) neither ages nor moves; *static* is what somebody said.

When the table is full, the port with the most dynamic stations gives one up: its first learned, but one that was seen
again since is spared for a while (second chance, as in page replacement). So a flood of new addresses on one port turns over that port's
own one-time stations, at a cost that depends neither on the table's size nor on the ports.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from netvirt.dataplane.fdb_store cimport (AGAIN, DYNAMIC, KIND, SLOTS, STATIC, STICKY, VID, entry_t, fdb_entry, fdb_t,
                                          segment_t, store_close, store_depth, store_drop, store_enlist, store_newer,
                                          store_oldest, store_open, store_port, store_put, store_shrink, store_unlist,
                                          vlans_t)

cdef enum:
    CHANCES = 8       # stations seen again that an eviction passes over; then it takes what it finds

VERDICTS = ("learned", "full", "limited", "fixed", "stuck")      # by the numbers in fdb.pxd
KINDS = ("dynamic", "sticky", "static")


# --- learning

cdef int fdb_insert(fdb_t *t, uint64_t key, uint16_t vid, uint16_t port, uint32_t now) noexcept nogil:
    # A station that is not there.
    cdef entry_t *e
    cdef bint first = t.count == 0
    if port == NOWHERE or not store_port(t, port):
        t.refused += 1
        return FULL
    if _port_full(t, port, now) or _vlan_full(t, vid, now):
        t.limited += 1
        return LIMITED
    e = _put(t, key, port, now)
    if e == NULL:
        t.refused += 1
        return FULL
    e.seen = now
    e.port = port
    e.what = vid | <uint16_t>(STICKY if t.ports[port].sticky else DYNAMIC)
    if first:
        t.oldest = now
    store_enlist(t, e)
    t.learned += 1
    return LEARNED


cdef int fdb_again(fdb_t *t, entry_t *e, uint16_t vid, uint16_t port, uint32_t now) noexcept nogil:
    # A known station, but something is special: its kind, its port, its VLAN.
    cdef uint16_t kind = e.what & KIND
    cdef uint64_t key = e.key
    if kind == STATIC:
        return LEARNED if e.port == port else FIXED
    if kind == STICKY and e.port != port:
        return STUCK
    if not fdb_alive(t, e, now):
        store_drop(t, e)
        t.aged += 1
        return fdb_insert(t, key, vid, port, now)
    if port == NOWHERE or not store_port(t, port):
        return FULL
    if (e.port != port and _port_full(t, port, now)) or (e.what & VID != vid and _vlan_full(t, vid, now)):
        t.limited += 1
        return LIMITED
    if e.port != port:
        t.moved += 1
    store_unlist(t, e)
    e.seen = now
    e.port = port
    e.what = vid | AGAIN | <uint16_t>(STICKY if t.ports[port].sticky else DYNAMIC)
    store_enlist(t, e)
    return LEARNED


cdef bint _port_full(fdb_t *t, uint16_t port, uint32_t now) noexcept nogil:
    cdef uint32_t limit = t.ports[port].limit
    if limit == 0 or _known_at(t, port) < limit:
        return False
    return not _expire(t, now) or _known_at(t, port) >= limit


cdef inline uint32_t _known_at(const fdb_t *t, uint16_t port) noexcept nogil:
    return t.ports[port].lists[0].count + t.ports[port].lists[1].count


cdef bint _vlan_full(fdb_t *t, uint16_t vid, uint32_t now) noexcept nogil:
    if t.vlans == NULL or t.vlans.limit[vid] == 0 or t.vlans.count[vid] < t.vlans.limit[vid]:
        return False
    return not _expire(t, now) or t.vlans.count[vid] >= t.vlans.limit[vid]


cdef entry_t *_put(fdb_t *t, uint64_t key, uint16_t port, uint32_t now) noexcept nogil:
    if t.count >= t.limit and not _expire(t, now) and not _evict(t, port):
        return NULL
    return store_put(t, key)


# --- forgetting

cdef bint _evict(fdb_t *t, uint16_t port) noexcept nogil:
    # The port with the most dynamic stations gives up one; `port`, which wants room, if it has as many.
    cdef uint16_t loser = t.most[1]
    cdef entry_t *e
    cdef int i
    if t.ports[port].lists[0].count == t.ports[loser].lists[0].count:
        loser = port
    e = store_oldest(t, loser, 0)
    if e == NULL:
        return False
    for i in range(CHANCES):
        if not e.what & AGAIN:
            break
        e.what &= <uint16_t>~AGAIN
        store_unlist(t, e)
        store_enlist(t, e)
        e = store_oldest(t, loser, 0)
    store_drop(t, e)
    t.evicted += 1
    return True


cdef uint32_t _expire(fdb_t *t, uint32_t now) noexcept nogil:
    # Make room from stations that have aged out; looks only when there can be one, so at most once a second.
    return 0 if now - t.oldest < t.ageing else fdb_sweep(t, now)


cdef uint32_t fdb_sweep(fdb_t *t, uint32_t now) noexcept nogil:
    cdef uint32_t i, j, age, highest = 0, before = t.count
    cdef segment_t *s
    cdef entry_t *e
    for i in range(t.segment_count):
        s = t.segments[i]
        if s.used == 0:
            continue
        for j in range(<uint32_t>SLOTS):
            e = &s.slots[j]
            if e.key == 0 or e.what & KIND != DYNAMIC:
                continue
            age = now - e.seen
            if age >= t.ageing:
                store_drop(t, e)
            elif age > highest:
                highest = age
    t.oldest = now - highest
    t.aged += before - t.count
    store_shrink(t)
    return before - t.count


cdef inline void _flush_one(fdb_t *t, entry_t *e, int64_t fid, int64_t vid, bint fixed) noexcept nogil:
    if ((fid < 0 or e.key >> 48 == <uint64_t>fid) and (vid < 0 or e.what & VID == vid)
            and (fixed or e.what & KIND == DYNAMIC)):
        store_drop(t, e)


cdef uint32_t _flush(fdb_t *t, int64_t port, int64_t fid, int64_t vid, bint fixed) noexcept nogil:
    cdef uint32_t i, j, before = t.count
    cdef entry_t *e
    cdef entry_t *newer
    if port >= t.port_room:
        return 0
    if port >= 0:
        for i in range(2):
            e = store_oldest(t, <uint32_t>port, i)
            while e != NULL:
                newer = store_newer(t, e)
                _flush_one(t, e, fid, vid, fixed)
                e = newer
    else:
        for i in range(t.segment_count):
            for j in range(<uint32_t>SLOTS):
                e = &t.segments[i].slots[j]
                if e.key != 0:
                    _flush_one(t, e, fid, vid, fixed)
    store_shrink(t)
    return before - t.count


cdef uint32_t fdb_flush_outside(fdb_t *t, uint16_t port, const uint64_t *vids) noexcept nogil:
    # Forget the dynamic and sticky stations of a port (NOWHERE: of all) in VLANs whose bit is not set.
    cdef uint32_t i, j, before = t.count
    cdef entry_t *e
    for i in range(t.segment_count):
        for j in range(<uint32_t>SLOTS):
            e = &t.segments[i].slots[j]
            if (e.key != 0 and (port == NOWHERE or e.port == port) and e.what & KIND != STATIC
                    and not vids[(e.what & VID) >> 6] >> (e.what & 63) & 1):
                store_drop(t, e)
    store_shrink(t)
    return before - t.count


cdef class MacTable:
    """limit: stations known at the most; ageing: seconds after which an unseen dynamic station is forgotten.

    seed: 128 random bits, so that nobody outside can know where a station lies. A MAC address is 6 bytes, a FID 1 to
    4095, a VID 1 to 4094 (by itself the FID), a port 0 to 65534; ValueError for anything else.
    """

    def __cinit__(self, uint32_t limit=16384, uint32_t ageing=300, seed=0):
        # Odd and dense, so that no seed switches the hash off: digits of pi and of e.
        self.t.seed = <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF) ^ <uint64_t>0x243F6A8885A308D3
        self.t.factor = (<uint64_t>(seed >> 64 & 0xFFFFFFFFFFFFFFFF) ^ <uint64_t>0xB7E151628AED2A6B) | 1
        self.t.limit = limit
        self.t.ageing = ageing
        if not store_open(&self.t, limit):
            raise MemoryError()

    def __dealloc__(self):
        store_close(&self.t)

    def __len__(self):
        return self.t.count

    @property
    def limit(self):
        """Stations known at the most. A lower limit evicts those that are too many, sticky and static ones excepted."""
        return self.t.limit

    @limit.setter
    def limit(self, uint32_t limit):
        self.t.limit = limit
        self.t.depth_limit = max(store_depth(limit), self.t.depth)
        while self.t.count > limit and _evict(&self.t, self.t.most[1]):
            pass

    @property
    def ageing(self):
        return self.t.ageing

    @ageing.setter
    def ageing(self, uint32_t seconds):
        self.t.ageing = seconds

    @property
    def nbytes(self):
        """Bytes of memory that the table takes now."""
        return (self.t.segment_count * sizeof(segment_t) + (self.t.mask + 1 + self.t.segment_room) * sizeof(void *)
                + self.t.port_room * (sizeof(self.t.ports[0]) + 2) + (sizeof(vlans_t) if self.t.vlans != NULL else 0))

    def learn(self, uint16_t fid, const uint8_t[::1] mac not None, uint16_t port, uint32_t now, vid=None):
        """Station (fid, mac) was seen on port at `now` seconds; one of VERDICTS."""
        return VERDICTS[fdb_learn(&self.t, _key(fid, mac), _vid(fid if vid is None else vid), _port(port), now)]

    def find(self, uint16_t fid, const uint8_t[::1] mac not None, uint32_t now):
        """The port of station (fid, mac), or None."""
        cdef uint16_t port = fdb_find(&self.t, _key(fid, mac), now)
        return None if port == NOWHERE else port

    def add_static(self, uint16_t fid, const uint8_t[::1] mac not None, uint16_t port, vid=None):
        """This station is at this port, whatever is seen. A full table evicts for it; ValueError when it can't."""
        cdef uint64_t key = _key(fid, mac)
        cdef uint16_t vlan = _vid(fid if vid is None else vid)
        cdef entry_t *e = fdb_entry(&self.t, key)
        if not store_port(&self.t, _port(port)):
            raise MemoryError()
        if e != NULL:
            store_unlist(&self.t, e)
        else:
            if self.t.count < self.t.limit or _evict(&self.t, port):
                e = store_put(&self.t, key)
            if e == NULL:
                raise ValueError(f"the MAC table has no room for another static station; its limit is {self.t.limit}")
        e.seen = self.t.oldest
        e.port = port
        e.what = vlan | STATIC
        store_enlist(&self.t, e)

    def remove(self, uint16_t fid, const uint8_t[::1] mac not None):
        """Forget one station, whatever its kind; False when it is not known."""
        cdef entry_t *e = fdb_entry(&self.t, _key(fid, mac))
        if e == NULL:
            return False
        store_drop(&self.t, e)
        store_shrink(&self.t)
        return True

    def set_port_limit(self, uint16_t port, uint32_t limit=0, bint sticky=False):
        """`limit` stations at the most are known at this port (0 = no limit of its own); more are not learned.

        A station seen at a sticky port from now on is sticky; one seen at a port that is not, dynamic.
        """
        if not store_port(&self.t, _port(port)):
            raise MemoryError()
        self.t.ports[port].limit = limit
        self.t.ports[port].sticky = sticky

    def set_vlan_limit(self, uint16_t vid, uint32_t limit=0):
        """`limit` stations at the most are known in this VLAN, 0 = no limit of its own."""
        cdef uint32_t i, j
        cdef entry_t *e
        _vid(vid)
        if self.t.vlans == NULL:
            if limit == 0:
                return
            self.t.vlans = <vlans_t *>calloc(1, sizeof(vlans_t))
            if self.t.vlans == NULL:
                raise MemoryError()
            for i in range(self.t.segment_count):
                for j in range(<uint32_t>SLOTS):
                    e = &self.t.segments[i].slots[j]
                    if e.key != 0:
                        self.t.vlans.count[e.what & VID] += 1
        self.t.vlans.limit[vid] = limit
        if not any(self.t.vlans.limit[i] for i in range(4096)):
            free(self.t.vlans)
            self.t.vlans = NULL

    def sweep(self, uint32_t now):
        """Forget stations not seen for `ageing` seconds; returns how many."""
        return fdb_sweep(&self.t, now)

    def flush(self, int port=-1, int fid=-1, int vid=-1, bint static=False):
        """Forget the dynamic stations of a port, an FID, a VLAN, of all that is said together, or all; returns how many.

        static: sticky and static ones, too.
        """
        return _flush(&self.t, port, fid, vid, static)

    def entries(self, uint32_t now):
        """All stations as (VID, MAC, port, age in seconds, kind), without order; a static one has no age: 0."""
        return self.page(now, 0, self.t.count)[0]

    def page(self, uint32_t now, uint32_t place=0, Py_ssize_t most=1000, int port=-1, int vid=-1, mac=None):
        """Stations as in entries(), of a port, a VLAN, an address or all, from a place on: (rows, the next place or None).

        There may be up to 255 more than `most`. A station that is learned or moves between two pages may be in both.
        """
        cdef uint32_t i = place, j
        cdef uint64_t wanted = 0 if mac is None else _key(1, mac) & 0xFFFFFFFFFFFF
        cdef entry_t *e
        cdef list out = []
        while i < self.t.segment_count and (len(out) < most or i == place):
            for j in range(<uint32_t>SLOTS):
                e = &self.t.segments[i].slots[j]
                if (e.key == 0 or not fdb_alive(&self.t, e, now) or (port >= 0 and e.port != port)
                        or (vid >= 0 and e.what & VID != vid) or (mac is not None and e.key << 16 != wanted << 16)):
                    continue
                out.append((e.what & VID, (e.key & 0xFFFFFFFFFFFF).to_bytes(6, "big"), e.port,
                            0 if e.what & KIND == STATIC else now - e.seen, KINDS[(e.what & KIND) >> 12]))
            i += 1
        return out, i if i < self.t.segment_count else None

    def by_vlan(self, uint32_t now):
        """How many stations are known in each VLAN that has some."""
        cdef uint32_t count[4096]
        cdef uint32_t i, j
        cdef entry_t *e
        memset(count, 0, sizeof(count))
        for i in range(self.t.segment_count):
            for j in range(<uint32_t>SLOTS):
                e = &self.t.segments[i].slots[j]
                if e.key != 0 and fdb_alive(&self.t, e, now):
                    count[e.what & VID] += 1
        return {i: count[i] for i in range(4096) if count[i]}

    def statistics(self, bint by_port=False):
        """Counters; `by_port`: also the stations known now at each port that has some."""
        cdef uint32_t i
        counts = {"stations": self.t.count, "limit": self.t.limit, "learned": self.t.learned, "moved": self.t.moved,
                  "aged": self.t.aged, "refused": self.t.refused, "limited": self.t.limited, "evicted": self.t.evicted}
        if by_port:
            counts["ports"] = {i: count for i in range(self.t.port_room) if (count := _known_at(&self.t, <uint16_t>i))}
        return counts


cdef uint64_t _key(uint16_t fid, const uint8_t[::1] mac) except 0:
    cdef uint64_t key = fid
    cdef int i
    if mac.shape[0] != 6:
        raise ValueError("a MAC address has 6 bytes")
    if fid < 1 or fid > 4095:
        raise ValueError("an FID is 1 to 4095")
    for i in range(6):
        key = key << 8 | mac[i]
    return key


cdef uint16_t _vid(vid) except 0:
    if not 1 <= vid <= 4094:
        raise ValueError(f"VID {vid} is not 1 to 4094")
    return vid


cdef uint16_t _port(uint16_t port) except? 0:
    if port == NOWHERE:
        raise ValueError(f"a port is 0 to {NOWHERE - 1}")
    return port
