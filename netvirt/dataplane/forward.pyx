"""forward(): every frame of one burst through the tables of a switch (IEEE 802.1Q-2018 clause 8.6), without the GIL.

Knows: ingress rules, learning, lookup, egress rules, tags, copies for captures, counters.
Refuses to know: Python objects, how the tables came about (plane.pyx), clocks.

The rules:
- VID of a frame: from its outermost 0x8100 tag; untagged and priority-tagged (VID 0) frames belong to the PVID.
- 802.1ad service tags (0x88a8) are payload: such a frame counts as untagged.
- A frame leaves a port only if the port is a member of its VLAN and forwarding, never the port it came from.
- PCP and DEI of a tag are kept; a frame that came untagged gets the port's default priority.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_IN, FRAME_OUT, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME,
                            SHORTEST_FRAME, VNET_BYTES, is_frames, load16, load16be, load32, load64, store16, store32,
                            store64)
from netvirt.dataplane.fdb cimport NOWHERE, fdb_find, fdb_learn, fdb_t
from netvirt.dataplane.queue cimport queue_room

from netvirt.dataplane.drops import REASONS

# Belongs together with drops.REASONS.
cdef enum:
    MALFORMED, RUNT, OVERSIZE, BAD_SOURCE, BAD_VID, PORT_BLOCKED, PORT_DISABLED, TAGGED, UNTAGGED, NOT_ALLOWED
    RESERVED, NO_DESTINATION, OFFLOAD, LINK_DOWN, QUEUE_FULL, REASONS_END

assert REASONS_END == REASON_COUNT == len(REASONS)

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
