"""forward(): every frame of one burst through the tables of a switch (IEEE 802.1Q-2018 clause 8.6), without the GIL.

Knows: the order of the rules. Refuses to know: Python objects, how the tables came about (plane.pyx, modes.py), clocks.

The order: counted and captured; port state; source address; reserved addresses that the switch keeps; tag, acceptable
frames, VLAN translation, ingress filter (ingress.pxd); size; learning; reserved addresses that nobody keeps; look-up or
flood; and at each port where it leaves: size, link, room, tag (egress.pxd, writing.pxd), copies (copies.pyx).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES,
                            is_frames, load16, load16be, load32, load64)
from netvirt.dataplane.copies cimport copy_coming, copy_vlan
from netvirt.dataplane.drops cimport (BAD_SOURCE, FOR_SWITCH, ISOLATED, MALFORMED, MIRROR_PORT, NO_DESTINATION, OFFLOAD,
                                      OVERSIZE, PORT_BLOCKED, PORT_DISABLED, REASONS_END, RESERVED, RUNT, SECURITY, STORM)
from netvirt.dataplane.egress cimport flood, leave
from netvirt.dataplane.fdb cimport FIXED, FULL, LEARNED, LIMITED, NOWHERE, STUCK, fdb_fetch, fdb_find, fdb_learn, fdb_t
from netvirt.dataplane.ingress cimport classify, reserved_bit, serves, storm_passes
from netvirt.dataplane.offload cimport offload_size
from netvirt.dataplane.tables cimport (BLOCKED, BROADCAST, CAPTURED, FORWARDING, MIRRORED, MULTICAST, ON_LIMIT_FLOOD,
                                       ON_LIMIT_SHUTDOWN, STOPPED, UNICAST, bit, frame_t, plane_t, port_t, tables_shut,
                                       vf_bswap64, vf_unlikely)
from netvirt.dataplane.tracing cimport (NOTE_FLOOD, NOTE_FOUND, NOTE_LEARNED, NOTE_TAG, NOTE_UNTAGGED, NOTE_VLAN, drop,
                                        note)
from netvirt.dataplane.vnet cimport offload_read, offload_t

from netvirt.dataplane.drops import REASONS

assert REASONS_END == len(REASONS)

cdef enum:
    ALL_ONES = 0xFFFFFFFFFFFF
    SECOND = 1000000000
    NEAR = 63                 # a MAC table of that many segments is in a cache anyway
    AHEAD = 8                 # frames whose stations are being fetched while one is forwarded

cdef struct when_t:
    uint64_t now              # monotonic, ns
    uint32_t seconds

# How far a message has been read.
cdef struct reader_t:
    const uint8_t *m
    size_t size, at
    uint32_t left             # frames that are still to come
    uint64_t frames, bytes    # seen so far


cdef inline uint64_t _destination(const uint8_t *d) noexcept nogil:
    return vf_bswap64(load64(d)) >> 16


cdef inline uint64_t _source(const uint8_t *d) noexcept nogil:
    return vf_bswap64(load64(d + 4)) & ALL_ONES


cdef bint _stopped(plane_t *s, uint32_t number, port_t *port, frame_t *f) noexcept nogil:
    # The port's own reasons; the rare ones behind port_t.watch.
    if port.watch & CAPTURED:
        copy_coming(s, number, f, False)
    if port.watch & STOPPED:
        if port.state == FORWARDING and not port.shut:
            drop(s, number, MIRROR_PORT)
        else:
            drop(s, number, PORT_BLOCKED if port.state == BLOCKED and not port.shut else PORT_DISABLED)
        return True
    if port.watch & MIRRORED:
        copy_coming(s, number, f, True)
    return False


cdef bint _secured(plane_t *s, uint32_t number, port_t *port, int verdict) noexcept nogil:
    # A station that may not be here. The limit of a port or VLAN is a rule where its port says so, else only of the table.
    if verdict != STUCK and (verdict != LIMITED or port.on_limit == ON_LIMIT_FLOOD):
        return False
    drop(s, number, SECURITY)
    if port.on_limit == ON_LIMIT_SHUTDOWN:
        tables_shut(s, number)
    return True


cdef inline void _relay(plane_t *s, fdb_t *macs, uint32_t number, port_t *port, frame_t *f, const when_t *w) noexcept nogil:
    # The destination: known, or looked for everywhere.
    cdef uint16_t found = NOWHERE
    cdef uint32_t kind
    if not f.data[0] & 1:
        kind = UNICAST
        if f.key:
            found = fdb_find(macs, f.key | f.target, w.seconds)
        if found != NOWHERE:
            note(s, NOTE_FOUND, found, 0)
            if (found == number or not bit(s.members + <size_t>f.vid * s.words, found)
                    or not serves(&s.ports[found], f)):
                drop(s, number, NO_DESTINATION)
            elif port.protected_ and s.ports[found].protected_:
                drop(s, number, ISOLATED)
            else:
                leave(s, found, f)
            return
    else:
        kind = BROADCAST if f.target == ALL_ONES else MULTICAST
    note(s, NOTE_FLOOD, number, kind)
    if port.storm != NULL and not storm_passes(&port.storm[kind], f.length, w.now):
        drop(s, number, STORM)
        return
    flood(s, number, f, kind)


cdef inline void _one(plane_t *s, fdb_t *macs, uint32_t number, port_t *port, frame_t *f, const when_t *w) noexcept nogil:
    cdef const uint8_t *d = f.data
    cdef int why, reserved = -1, verdict
    if vf_unlikely(port.watch) and _stopped(s, number, port, f):
        return
    if d[6] & 1:
        drop(s, number, BAD_SOURCE)
        return
    if d[0] & 1:
        reserved = reserved_bit(f.target)
        if reserved >= 0 and port.peer >> reserved & 1:
            drop(s, number, FOR_SWITCH)
            return
    why = classify(port, f)
    if why >= 0:
        drop(s, number, why)
        return
    f.key = <uint64_t>(f.vid if s.fids == NULL else s.fids[f.vid]) << 48
    note(s, NOTE_TAG if f.rest == 16 else NOTE_UNTAGGED, number, f.taken)
    note(s, NOTE_VLAN, number, f.vid)
    if vf_unlikely(s.special != NULL) and bit(s.special, f.vid):
        if s.remote != NULL and bit(s.remote, f.vid):
            f.key = 0                      # nothing is learned or looked up there
        elif s.vlan_mirrors != NULL:
            copy_vlan(s, f)
    f.payload = f.length - f.rest - 2 if f.offload == NULL else offload_size(f.offload, f.rest)
    if f.payload > port.mtu:
        drop(s, number, OVERSIZE)
        return
    if f.key:
        verdict = fdb_learn(macs, f.key | _source(d), f.vid, <uint16_t>number, w.seconds)
        note(s, NOTE_LEARNED, number, <uint32_t>verdict)
        if vf_unlikely(verdict >= LIMITED) and _secured(s, number, port, verdict):
            return
    if vf_unlikely(reserved >= 0) and not port.tunnel >> reserved & 1:
        drop(s, number, RESERVED)
        return
    _relay(s, macs, number, port, f, w)


cdef inline bint _unsegmented(frame_t *f, offload_t *o) noexcept nogil:
    # A frame with a virtio-net header; False if it is none that anybody could cut or finish.
    if offload_read(o, f.data, f.length, f.vnet) != 0:
        return False
    if o.need:
        f.offload = o
    return True


cdef inline bint _next(plane_t *s, reader_t *r, frame_t *f, uint64_t wall) noexcept nogil:
    # The next frame of the message, not looked into; False at its end, and where it is malformed. Lengths are checked as we
    # go: the message may come from anybody.
    cdef const uint8_t *h = r.m + r.at
    cdef size_t head = FRAME_HEADER_BYTES
    cdef uint16_t flags
    if r.left == 0 or r.size - r.at < head:
        return False
    f.length = load32(h)
    flags = load16(h + 4)
    if flags & FRAME_VNET:
        head += VNET_BYTES
    if f.length > LONGEST_FRAME or r.size - r.at < head + f.length:
        return False
    f.time_ns = load64(h + 8)
    f.identity = load64(h + 16)
    if f.time_ns == 0:
        f.time_ns = wall
    if f.identity == 0:
        f.identity = s.next_identity
        s.next_identity += 1
    f.data = h + head
    f.vnet = h + FRAME_HEADER_BYTES if flags & FRAME_VNET else NULL
    f.offload = NULL
    f.copied = 0
    r.left -= 1
    r.at += head + f.length
    return True


cdef inline void _fetch(plane_t *s, fdb_t *macs, const port_t *port, reader_t *ahead) noexcept nogil:
    # Have the next frame's stations in the cache by the time that they are looked up. Its VLAN is guessed, its rules are not
    # looked at: nothing comes of a wrong guess.
    cdef const uint8_t *h = ahead.m + ahead.at
    cdef const uint8_t *d
    cdef size_t head = FRAME_HEADER_BYTES
    cdef uint32_t length
    cdef uint64_t key
    cdef uint16_t vid = port.pvid
    if ahead.size - ahead.at < FRAME_HEADER_BYTES + VNET_BYTES + 18:
        return
    length = load32(h)
    if load16(h + 4) & FRAME_VNET:
        head += VNET_BYTES
    if ahead.size - ahead.at - head < length:
        return
    d = h + head
    ahead.at += head + length
    if load16be(d + 12) == port.takes:
        vid = load16be(d + 14) & 0xFFF
    key = <uint64_t>(vid if s.fids == NULL else s.fids[vid]) << 48
    fdb_fetch(macs, key | _source(d))
    if not d[0] & 1:
        fdb_fetch(macs, key | _destination(d))


cdef inline void _counted(port_t *port, reader_t *r, frame_t *f) noexcept nogil:
    r.frames += 1
    r.bytes += f.length
    f.target = _destination(f.data)
    if f.data[0] & 1:
        if f.target == ALL_ONES:
            port.count.rx_broadcast += 1
        else:
            port.count.rx_multicast += 1


cdef Py_ssize_t forward(plane_t *s, fdb_t *macs, uint32_t number, const uint8_t *m, size_t size, uint64_t now,
                        uint64_t wall) noexcept nogil:
    cdef port_t *port = &s.ports[number]
    cdef bint far = macs.mask > NEAR
    cdef reader_t r, ahead
    cdef when_t w
    cdef frame_t f
    cdef offload_t o
    cdef Py_ssize_t done = 0
    if not is_frames(m, size):
        drop(s, number, MALFORMED)
        return 0
    r.m, r.size, r.at, r.left, r.frames, r.bytes = m, size, HEADER_BYTES, load32(m + 4), 0, 0
    w.now, w.seconds = now, <uint32_t>(now // SECOND)
    ahead = r
    if far:
        for _ in range(AHEAD):
            _fetch(s, macs, port, &ahead)
    while _next(s, &r, &f, wall):
        done += 1
        if far:
            _fetch(s, macs, port, &ahead)
        if f.length < SHORTEST_FRAME:
            drop(s, number, RUNT)
            continue
        _counted(port, &r, &f)
        if vf_unlikely(f.vnet != NULL) and not _unsegmented(&f, &o):
            if port.captures:
                copy_coming(s, number, &f, False)
            drop(s, number, OFFLOAD)
            continue
        _one(s, macs, number, port, &f, &w)
    port.count.rx_frames += r.frames
    port.count.rx_bytes += r.bytes
    if r.left or r.at != size:
        drop(s, number, MALFORMED)
    return done
