"""Copies of frames for captures and mirrors.

Knows: who is to get a copy, in which form, once per mirror. Refuses to know: whether the frame itself is dropped or forwarded.

A capture session is given frames as its ports see them, in and out. A mirror copies a frame once: as it came in (a port's
`in`, a VLAN), or as it left (a port's `out`); to a port as it is, or into an RSPAN VLAN with one more tag. Copies are never
mirrored again, nor is what comes in an RSPAN VLAN: two switches that mirror the trunk between them would feed each other.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from netvirt.burst cimport FRAME_IN, FRAME_OUT, LONGEST_FRAME, VNET_BYTES, load16, load16be, store16
from netvirt.dataplane.drops cimport LINK_DOWN, OVERSIZE, QUEUE_FULL
from netvirt.dataplane.ingress cimport serves
from netvirt.dataplane.offload cimport leaving_t, offload_leave, offload_size
from netvirt.dataplane.tables cimport (FORWARDING, MIRRORS, SESSIONS, bit, frame_t, mirror_t, plane_t, port_t,
                                       vf_ctz64)
from netvirt.dataplane.tracing cimport NOTE_COPY, lose, note
from netvirt.dataplane.vnet cimport TAKES_ALL, offload_read, offload_t
from netvirt.dataplane.writing cimport put, put_tag, room, tag_for, to_flush, written_size


cdef void _capture(plane_t *s, uint32_t number, const frame_t *f, uint32_t tag, uint16_t flags) noexcept nogil:
    cdef uint8_t sessions = s.ports[number].captures
    cdef leaving_t w
    cdef uint8_t written[4]
    cdef uint64_t lost = 0             # the session's queue counts them, too
    cdef uint8_t *p
    cdef int i
    for i in range(SESSIONS):
        if not sessions >> i & 1 or s.sessions[i] == NULL:
            continue
        if f.offload != NULL:          # whole, with its virtio-net header: as the port sees it
            put_tag(written, tag)
            w.rest, w.tag, w.flags, w.port = f.rest, written if tag else NULL, flags, <uint16_t>number
            w.time_ns, w.identity = f.time_ns, f.identity
            if offload_leave(f.offload, &w, s.sessions[i], TAKES_ALL, &lost) == 0:
                continue
        else:
            p = room(s.sessions[i], written_size(f, tag))
            if p == NULL:
                continue
            put(p, f, tag, flags, <uint16_t>number)
        s.session_pending |= <uint8_t>(1 << i)


# The outer tag of a frame that has not been classified: its TCI, or the port's priority and PVID.
cdef uint16_t _peek(const port_t *port, const frame_t *f) noexcept nogil:
    cdef uint16_t tci = 0
    if f.length >= 18 and load16be(f.data + 12) == port.takes:
        tci = load16be(f.data + 14)
        return tci if tci & 0xFFF else tci | port.pvid
    return port.tci | port.pvid


cdef uint32_t _size(const frame_t *f) noexcept nogil:
    # A copy's payload: one tag of either kind is not counted, as it is not in the frame itself.
    cdef uint16_t kind = load16be(f.data + 12)
    cdef uint32_t rest = 16 if f.length >= 18 and (kind == 0x8100 or kind == 0x88A8) else 12
    return offload_size(f.offload, rest) if f.offload != NULL else f.length - rest - 2


cdef void _give(plane_t *s, uint32_t number, const frame_t *f, uint32_t tag, int mirror) noexcept nogil:
    # One copy out of one port; `f` is the frame as it is to be seen, `tag` what is put in front of it.
    cdef port_t *port = &s.ports[number]
    cdef leaving_t w
    cdef uint8_t written[4]
    cdef uint8_t *p
    if _size(f) > port.mtu or f.length + (4 if tag else 0) > LONGEST_FRAME:
        lose(s, number, OVERSIZE, mirror)
        return
    if not port.queue.open:
        lose(s, number, LINK_DOWN, mirror)
        return
    if f.offload != NULL:
        put_tag(written, tag)
        w.rest, w.tag, w.flags, w.port = f.rest, written if tag else NULL, 0, 0
        w.time_ns, w.identity = f.time_ns, f.identity
        if offload_leave(f.offload, &w, port.queue, port.offload, &port.count.drops[QUEUE_FULL]) == 0:
            return
    else:
        p = room(port.queue, written_size(f, tag))
        if p == NULL:
            lose(s, number, QUEUE_FULL, mirror)
            return
        put(p, f, tag, 0, 0)
    to_flush(s, number, port)
    note(s, NOTE_COPY, number, <uint32_t>mirror)
    if port.captures:
        _capture(s, number, f, tag, FRAME_OUT)


cdef void _mirror(plane_t *s, int i, frame_t *f) noexcept nogil:
    cdef mirror_t *mirror = &s.mirrors[i]
    cdef uint64_t *members
    cdef uint64_t word
    cdef uint32_t w, number
    if f.copied >> i & 1:
        return
    f.copied |= <uint8_t>(1 << i)
    if mirror.to_port >= 0:
        number = <uint32_t>mirror.to_port
        if s.ports[number].state == FORWARDING and not s.ports[number].shut:
            _give(s, number, f, 0, i)
        return
    f.vid = mirror.to_vlan
    members = s.members + <size_t>f.vid * s.words
    for w in range(s.words):
        word = members[w]
        while word:
            number = w << 6 | <uint32_t>vf_ctz64(word)
            word &= word - 1
            if serves(&s.ports[number], f):
                _give(s, number, f, tag_for(&s.ports[number], f), i)


cdef void _mirrors(plane_t *s, uint8_t which, frame_t *f, frame_t *seen) noexcept nogil:
    # `seen` is the frame as its copies show it: whole, as if it had no tag of ours.
    cdef int i
    seen.copied = f.copied
    for i in range(MIRRORS):
        if which >> i & 1:
            _mirror(s, i, seen)
    f.copied = seen.copied


cdef void copy_coming(plane_t *s, uint32_t number, frame_t *f, bint mirror) noexcept nogil:
    cdef port_t *port = &s.ports[number]
    cdef frame_t seen = f[0]
    cdef uint16_t tci
    seen.rest = 12
    if not mirror:
        _capture(s, number, &seen, 0, FRAME_IN)
        return
    tci = _peek(port, f)
    if s.remote != NULL and bit(s.remote, tci & 0xFFF):
        return
    seen.tci = tci & 0xE000
    _mirrors(s, port.mirrors_in, f, &seen)


cdef void copy_vlan(plane_t *s, frame_t *f) noexcept nogil:
    cdef frame_t seen = f[0]
    seen.rest = 12
    seen.tci &= 0xE000
    _mirrors(s, s.vlan_mirrors[f.vid], f, &seen)


cdef bint _composed(plane_t *s, const frame_t *f, uint32_t tag, frame_t *seen, offload_t *o) noexcept nogil:
    # The frame as it left, in one piece: in the plane's scratch, because a copy may make any queue move.
    cdef uint32_t moved = 16 if tag else 12
    cdef uint8_t vnet[VNET_BYTES]
    seen[0] = f[0]
    memcpy(s.scratch, f.data, 12)
    if tag:
        put_tag(s.scratch + 12, tag)
    memcpy(s.scratch + moved, f.data + f.rest, f.length - f.rest)
    seen.data = s.scratch
    seen.length = f.length - f.rest + moved
    seen.rest = 12
    seen.tci = f.tci & 0xE000
    if f.offload == NULL:
        return True
    memcpy(vnet, f.vnet, VNET_BYTES)
    _move(vnet + 2, moved - f.rest)
    _move(vnet + 6, moved - f.rest)
    seen.offload = o
    return offload_read(o, seen.data, seen.length, vnet) == 0


cdef inline void _move(uint8_t *field, uint32_t by) noexcept nogil:
    # hdr_len and csum_start of a virtio-net header count from the frame's beginning; 0 = not given.
    if load16(field):
        store16(field, <uint16_t>(load16(field) + by))


cdef void copy_leaving(plane_t *s, uint32_t number, frame_t *f, uint32_t tag) noexcept nogil:
    cdef port_t *port = &s.ports[number]
    cdef uint8_t mirrors = port.mirrors_out & ~f.copied
    cdef frame_t seen
    cdef offload_t o
    if port.captures:
        _capture(s, number, f, tag, FRAME_OUT)
    if mirrors and not (s.remote != NULL and bit(s.remote, f.vid)) and _composed(s, f, tag, &seen, &o):
        _mirrors(s, mirrors, f, &seen)
