"""The forwarding plane of one switch: port and VLAN tables, forward(), captures, counters.

Knows: what happens to one frame that came in at one port (IEEE 802.1Q-2018 clause 8.6): ingress rules, learning, lookup,
egress rules, tags. Refuses to know: port names, sockets, clocks (nanoseconds come in), protocols.

A port mode is data here: `member` and `untagged` bitmaps by VID, the PVID, whether tagged frames are taken. The rules:
- VID of a frame: from its outermost 0x8100 tag; untagged and priority-tagged (VID 0) frames belong to the PVID.
- 802.1ad service tags (0x88a8) are payload: such a frame counts as untagged.
- A frame leaves a port only if the port is a member of its VLAN and forwarding, never the port it came from.
- PCP and DEI of a tag are kept; a frame that came untagged gets the port's default priority.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_IN, FRAME_OUT, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME,
                            SHORTEST_FRAME, VNET_BYTES, is_frames, load16, load16be, load32, load64, store16, store32,
                            store64)
from netvirt.dataplane.fdb cimport NOWHERE, MacTable, fdb_find, fdb_learn, fdb_t
from netvirt.dataplane.queue cimport Queue, queue_clear, queue_new, queue_room, queue_t

from netvirt.dataplane.drops import REASONS

# Belongs together with drops.REASONS.
cdef enum:
    MALFORMED, RUNT, OVERSIZE, BAD_SOURCE, BAD_VID, PORT_BLOCKED, PORT_DISABLED, TAGGED, UNTAGGED, NOT_ALLOWED
    RESERVED, NO_DESTINATION, OFFLOAD, LINK_DOWN, QUEUE_FULL, NO_SUCH_PORT, REASONS_END

assert REASONS_END == REASON_COUNT == len(REASONS)

cdef extern from *:
    """
    #define vf_ctz64(x) __builtin_ctzll(x)
    #define vf_prefetch(p) __builtin_prefetch(p)
    """
    int vf_ctz64(uint64_t x) nogil
    void vf_prefetch(const void *p) nogil

STATES = ("disabled", "blocked", "forwarding")
cdef enum:
    DISABLED = 0
    BLOCKED = 1
    FORWARDING = 2


cdef inline bint bit(const uint64_t *bitmap, uint32_t n) noexcept nogil:
    return (bitmap[n >> 6] >> (n & 63)) & 1


# What forward() knows of the frame in its hands.
cdef struct frame_t:
    const uint8_t *data
    uint32_t length
    uint32_t rest             # where the frame goes on behind its addresses and tag: 12 or 16
    uint16_t vid
    uint16_t tci              # PCP and DEI; the VID is put in where a tag is written
    bint tagged
    uint64_t time_ns, identity


cdef inline void _put(uint8_t *p, const frame_t *f, bint tag, uint16_t flags, uint16_t port) noexcept nogil:
    # Write frame header and frame; the caller made room for exactly this.
    cdef uint32_t length = f.length - f.rest + (16 if tag else 12)
    cdef uint16_t tci
    store32(p, length)
    store16(p + 4, flags)
    store16(p + 6, port)
    store64(p + 8, f.time_ns)
    store64(p + 16, f.identity)
    p += FRAME_HEADER_BYTES
    memcpy(p, f.data, 12)
    if tag:
        tci = f.tci | f.vid
        p[12] = 0x81
        p[13] = 0x00
        p[14] = <uint8_t>(tci >> 8)
        p[15] = <uint8_t>tci
        memcpy(p + 16, f.data + f.rest, f.length - f.rest)
    else:
        memcpy(p + 12, f.data + f.rest, f.length - f.rest)


cdef void _capture(plane_t *s, uint8_t sessions, const frame_t *f, bint tag, uint16_t flags, uint16_t port) noexcept nogil:
    cdef int i
    cdef uint8_t *p
    for i in range(SESSIONS):
        if sessions >> i & 1 and s.sessions[i] != NULL:
            p = queue_room(s.sessions[i], FRAME_HEADER_BYTES + f.length - f.rest + (16 if tag else 12))
            if p != NULL:
                _put(p, f, tag, flags, port)
                s.session_pending |= <uint8_t>(1 << i)


cdef void _capture_raw(plane_t *s, uint8_t sessions, const uint8_t *frame, uint32_t length, uint64_t time_ns,
                       uint64_t identity, uint16_t flags, uint16_t port) noexcept nogil:
    # As it came in, before any rule: so that a frame that is going to be dropped is seen too.
    cdef int i
    cdef uint8_t *p
    for i in range(SESSIONS):
        if sessions >> i & 1 and s.sessions[i] != NULL:
            p = queue_room(s.sessions[i], FRAME_HEADER_BYTES + length)
            if p != NULL:
                store32(p, length)
                store16(p + 4, flags)
                store16(p + 6, port)
                store64(p + 8, time_ns)
                store64(p + 16, identity)
                memcpy(p + FRAME_HEADER_BYTES, frame, length)
                s.session_pending |= <uint8_t>(1 << i)


cdef inline void _leave(plane_t *s, uint32_t number, const frame_t *f) noexcept nogil:
    cdef port_t *port = &s.ports[number]
    cdef bint tag = not bit(port.untagged, f.vid)
    cdef uint8_t *p
    if f.length - f.rest - 2 > port.mtu:
        port.drops[OVERSIZE] += 1
        return
    if not port.queue.open:
        port.drops[LINK_DOWN] += 1
        return
    p = queue_room(port.queue, FRAME_HEADER_BYTES + f.length - f.rest + (16 if tag else 12))
    if p == NULL:
        port.drops[QUEUE_FULL] += 1
        return
    _put(p, f, tag, 0, 0)
    if not port.pending:
        port.pending = True
        s.flush[s.flushes] = <uint16_t>number
        s.flushes += 1
    if port.captures:
        _capture(s, port.captures, f, tag, FRAME_OUT, <uint16_t>number)


cdef inline void _flood(plane_t *s, uint32_t origin, port_t *ingress, const frame_t *f) noexcept nogil:
    cdef const uint64_t *members = s.members + <size_t>f.vid * s.words
    cdef uint64_t word
    cdef uint32_t w, number
    cdef bint sent = False
    for w in range(s.words):
        word = members[w]
        while word:
            number = w << 6 | <uint32_t>vf_ctz64(word)
            word &= word - 1
            if number != origin:
                sent = True
                _leave(s, number, f)
    if not sent:
        ingress.drops[NO_DESTINATION] += 1


cdef inline int _classify(const port_t *port, frame_t *f) noexcept nogil:
    # The ingress rules (802.1Q-2018 clauses 6.9 and 8.6.2): fills in VID and TCI, or says why not.
    cdef uint16_t tci
    if f.data[12] == 0x81 and f.data[13] == 0x00:
        if f.length < 18:
            return RUNT
        tci = load16be(f.data + 14)
        f.tagged = True
        f.rest = 16
        f.tci = tci & 0xF000
        f.vid = tci & 0x0FFF
        if f.vid != 0:
            if f.vid == 4095:
                return BAD_VID
            if not port.takes_tagged:
                return TAGGED
            if not bit(port.member, f.vid):
                return NOT_ALLOWED
            return -1
    else:
        f.tagged = False
        f.rest = 12
        f.tci = <uint16_t>(port.priority << 13)
    if port.pvid == 0:
        return UNTAGGED
    f.vid = port.pvid
    return -1


cdef inline void _one(plane_t *s, fdb_t *macs, uint32_t number, port_t *port, frame_t *f, uint32_t now) noexcept nogil:
    cdef uint64_t low, key
    cdef uint16_t destination
    cdef int why
    cdef const uint8_t *d = f.data
    port.rx_frames += 1
    port.rx_bytes += f.length
    if port.captures:
        _capture_raw(s, port.captures, d, f.length, f.time_ns, f.identity, FRAME_IN, <uint16_t>number)
    if port.state != FORWARDING:
        port.drops[PORT_BLOCKED if port.state == BLOCKED else PORT_DISABLED] += 1
        return
    if d[6] & 1:
        port.drops[BAD_SOURCE] += 1
        return
    why = _classify(port, f)
    if why >= 0:
        port.drops[why] += 1
        return
    if f.length - f.rest - 2 > port.mtu:
        port.drops[OVERSIZE] += 1
        return
    key = <uint64_t>f.vid << 48
    low = (<uint64_t>load16be(d + 6) << 32) | (<uint64_t>load16be(d + 8) << 16) | load16be(d + 10)
    fdb_learn(macs, key | low, <uint16_t>number, now)
    low = (<uint64_t>load16be(d) << 32) | (<uint64_t>load16be(d + 2) << 16) | load16be(d + 4)
    if not d[0] & 1:
        destination = fdb_find(macs, key | low, now)
        if destination != NOWHERE:
            if destination == number or not bit(s.members + <size_t>f.vid * s.words, destination):
                port.drops[NO_DESTINATION] += 1
            else:
                _leave(s, destination, f)
            return
    elif low & ~<uint64_t>0xF == <uint64_t>0x0180C2000000:
        port.drops[RESERVED] += 1
        return
    _flood(s, number, port, f)


cdef Py_ssize_t forward(plane_t *s, fdb_t *macs, uint32_t number, const uint8_t *m, size_t size, uint32_t now,
                        uint64_t wall) noexcept nogil:
    # Every frame of one message. Lengths are checked as we go: the message may come from anybody.
    cdef port_t *port = &s.ports[number]
    cdef size_t at = HEADER_BYTES
    cdef uint32_t left, length
    cdef uint16_t flags
    cdef frame_t f
    cdef Py_ssize_t done = 0
    if not is_frames(m, size):
        port.drops[MALFORMED] += 1
        return 0
    left = load32(m + 4)
    while at < size:
        if left == 0 or size - at < FRAME_HEADER_BYTES:
            port.drops[MALFORMED] += 1
            return done
        left -= 1
        length = load32(m + at)
        flags = load16(m + at + 4)
        if length > LONGEST_FRAME or size - at < FRAME_HEADER_BYTES + length + (VNET_BYTES if flags & FRAME_VNET else 0):
            port.drops[MALFORMED] += 1
            return done
        f.time_ns = load64(m + at + 8)
        f.identity = load64(m + at + 16)
        at += FRAME_HEADER_BYTES
        if f.time_ns == 0:
            f.time_ns = wall
        if f.identity == 0:
            f.identity = s.next_identity
            s.next_identity += 1
        done += 1
        if flags & FRAME_VNET:
            port.drops[OFFLOAD] += 1
            at += VNET_BYTES + length
            continue
        f.data = m + at
        f.length = length
        at += length
        if length < SHORTEST_FRAME:
            port.drops[RUNT] += 1
            continue
        _one(s, macs, number, port, &f, now)
    if left:
        port.drops[MALFORMED] += 1
    return done


cdef class Plane:
    """The tables of one switch. Ports are small numbers; time is the caller's.

    mac_limit: stations known at the most; ageing: seconds; identity_base: the first frame identity given out here.
    """

    def __cinit__(self, uint32_t mac_limit=16384, uint32_t ageing=300, uint64_t identity_base=1):
        self.macs = MacTable(mac_limit, ageing)
        self._queues = []
        self._sessions = [None] * SESSIONS
        self.p.next_identity = identity_base

    def __dealloc__(self):
        free(self.p.ports)
        free(self.p.members)
        free(self.p.flush)

    cdef port_t *_port(self, int number) except NULL:
        if number < 0 or number >= <int>self.p.capacity or not self.p.ports[number].present:
            raise KeyError(f"no port {number}")
        return &self.p.ports[number]

    def add_port(self, uint64_t queue_bytes=2 << 20, uint64_t epoch=0):
        """A new port: disabled, no VLAN, nobody connected. Returns its number, the lowest that is free."""
        cdef int number = 0
        cdef port_t *port
        while number < <int>self.p.capacity and self.p.ports[number].present:
            number += 1
        if number == <int>self.p.capacity:
            self._enlarge()
        port = &self.p.ports[number]
        memset(port, 0, sizeof(port_t))
        queue = Queue(queue_bytes, epoch)
        queue.open = False
        port.queue = (<Queue>queue).q
        port.present = True
        port.mtu = 9216
        while len(self._queues) <= number:
            self._queues.append(None)
        self._queues[number] = queue
        return number

    def _enlarge(self):
        cdef uint32_t capacity = self.p.capacity + 64 if self.p.capacity < 512 else 2 * self.p.capacity
        cdef port_t *ports
        cdef uint64_t *members
        cdef uint16_t *flush
        if capacity > 4096:
            raise ValueError("a switch has at most 4096 ports")
        ports = <port_t *>calloc(capacity, sizeof(port_t))
        members = <uint64_t *>calloc(4096 * (capacity // 64), 8)
        flush = <uint16_t *>calloc(capacity, 2)
        if ports == NULL or members == NULL or flush == NULL:
            free(ports)
            free(members)
            free(flush)
            raise MemoryError()
        if self.p.capacity:
            memcpy(ports, self.p.ports, self.p.capacity * sizeof(port_t))
            memcpy(flush, self.p.flush, self.p.capacity * 2)
        free(self.p.ports)
        free(self.p.members)
        free(self.p.flush)
        self.p.ports = ports
        self.p.members = members
        self.p.flush = flush
        self.p.capacity = capacity
        self.p.words = capacity // 64
        self._recompute()

    def remove_port(self, int number):
        """Forget a port, its queue and its stations."""
        cdef port_t *port = self._port(number)
        cdef uint32_t i, kept = 0
        for i in range(self.p.flushes):
            if self.p.flush[i] != number:
                self.p.flush[kept] = self.p.flush[i]
                kept += 1
        self.p.flushes = kept
        port.present = False
        port.queue = NULL
        self._queues[number] = None
        self.macs.flush(port=number)
        self._recompute()

    def set_port(self, int number, *, str state, bint takes_tagged, uint16_t pvid, member, untagged, uint8_t priority=0,
                 uint32_t mtu=9216):
        """What the port does: `member` and `untagged` are iterables of VIDs, `pvid` 0 means none.

        When its VLANs, its PVID or its state change, the stations learned here are forgotten. ValueError changes nothing.
        """
        cdef port_t *port = self._port(number)
        cdef uint64_t members[64]
        cdef uint64_t bare[64]
        cdef uint32_t v
        memset(members, 0, sizeof(members))
        memset(bare, 0, sizeof(bare))
        for vid in member:
            _check_vid(vid)
            v = vid
            members[v >> 6] |= <uint64_t>1 << (v & 63)
        for vid in untagged:
            _check_vid(vid)
            v = vid
            bare[v >> 6] |= <uint64_t>1 << (v & 63)
        if pvid > 4094 or priority > 7:
            raise ValueError("a PVID is 0 to 4094, a priority 0 to 7")
        if mtu > LARGEST_MTU:      # with both tags it would be longer than a burst can say
            raise ValueError(f"an MTU is at most {LARGEST_MTU}, not {mtu}")
        if state not in STATES:
            raise ValueError(f"unknown port state {state!r}; there are {', '.join(STATES)}")
        if pvid and not bit(members, pvid):
            raise ValueError(f"the port's own VLAN {pvid} is not among its VLANs")
        changed = memcmp_bits(members, port.member) or port.state != STATES.index(state) or port.pvid != pvid
        port.state = STATES.index(state)
        port.takes_tagged = takes_tagged
        port.pvid = pvid
        port.priority = priority
        port.mtu = mtu
        memcpy(port.member, members, sizeof(members))
        memcpy(port.untagged, bare, sizeof(bare))
        if changed:
            self.macs.flush(port=number)
            self._recompute()

    cdef void _recompute(self) noexcept:
        # Which ports forward each VLAN. 4096 x words; only ports that forward count, so flooding need not ask again.
        cdef uint32_t number, w, v
        cdef uint64_t word
        cdef port_t *port
        memset(self.p.members, 0, <size_t>4096 * self.p.words * 8)
        for number in range(self.p.capacity):
            port = &self.p.ports[number]
            if not port.present or port.state != FORWARDING:
                continue
            for w in range(64):
                word = port.member[w]
                while word:
                    v = w << 6 | <uint32_t>vf_ctz64(word)
                    word &= word - 1
                    self.p.members[<size_t>v * self.p.words + (number >> 6)] |= <uint64_t>1 << (number & 63)

    def set_mac_limit(self, uint32_t limit):
        """Stations known at the most. Another limit means a new table: everybody is forgotten and learned again."""
        if limit != self.macs.t.limit:
            self.macs = MacTable(limit, self.macs.t.ageing)

    def queue(self, int number):
        """The port's egress queue."""
        self._port(number)
        return self._queues[number]

    def forward(self, int number, const uint8_t[::1] message not None, uint64_t now_ns, uint64_t wall_ns):
        """Every frame of one FRAMES message that came in at a port; returns how many there were.

        now_ns is the monotonic clock (ageing), wall_ns the time stamped on frames that have none. Whatever the message
        holds, nothing is raised for it: a malformed rest is dropped and counted.
        """
        cdef uint32_t now = <uint32_t>(now_ns // 1000000000)
        cdef size_t size = message.shape[0]
        cdef const uint8_t *m = &message[0] if size else NULL
        cdef Py_ssize_t done
        self._port(number)
        with nogil:
            done = forward(&self.p, &self.macs.t, <uint32_t>number, m, size, now, wall_ns)
        return done

    def pending(self):
        """Numbers of the ports whose queues got frames since the last call."""
        cdef uint32_t i
        cdef list out = []
        for i in range(self.p.flushes):
            self.p.ports[self.p.flush[i]].pending = False
            out.append(self.p.flush[i])
        self.p.flushes = 0
        return out

    def pending_captures(self):
        """Numbers of the capture sessions whose queues got frames since the last call."""
        cdef uint8_t bits = self.p.session_pending
        self.p.session_pending = 0
        return [i for i in range(SESSIONS) if bits >> i & 1] if bits else []

    def add_capture(self, numbers, uint64_t queue_bytes=8 << 20, uint64_t epoch=0):
        """Copy what enters and leaves these ports into a new session's queue; returns (session, queue), or None if all are taken."""
        cdef int session
        cdef Queue queue
        for session in range(SESSIONS):
            if self._sessions[session] is None:
                break
        else:
            return None
        ports = list(numbers)
        for number in ports:
            self._port(number)
        queue = Queue(queue_bytes, epoch)
        self._sessions[session] = queue
        self.p.sessions[session] = queue.q
        for number in ports:
            self._port(number).captures |= <uint8_t>(1 << session)
        return session, queue

    def remove_capture(self, int session):
        """End a session; what waits in its queue stays there for whoever holds it."""
        cdef uint32_t number
        if not 0 <= session < SESSIONS:
            raise KeyError(f"no capture session {session}")
        for number in range(self.p.capacity):
            self.p.ports[number].captures &= <uint8_t>~(1 << session)
        self.p.sessions[session] = NULL
        self._sessions[session] = None

    def statistics(self, int number):
        """Counters of a port: frames and bytes each way, and drops by reason."""
        cdef port_t *port = self._port(number)
        cdef int i
        sent = self._queues[number].statistics()
        drops = {REASONS[i]: port.drops[i] for i in range(REASON_COUNT) if port.drops[i]}
        for reason, count in sent["drops"].items():
            if reason != "queue-full":      # counted above already, by forward()
                drops[reason] = drops.get(reason, 0) + count
        return {"rx_frames": port.rx_frames, "rx_bytes": port.rx_bytes, "tx_frames": sent["tx_frames"],
                "tx_bytes": sent["tx_bytes"], "waiting_frames": sent["waiting_frames"],
                "waiting_bytes": sent["waiting_bytes"], "drops": drops}


cdef bint memcmp_bits(const uint64_t *a, const uint64_t *b) noexcept nogil:
    cdef int i
    for i in range(64):
        if a[i] != b[i]:
            return True
    return False


cdef int _check_vid(vid) except -1:
    if not 1 <= vid <= 4094:
        raise ValueError(f"VID {vid} is not 1 to 4094")
    return 0
