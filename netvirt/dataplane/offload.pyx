"""What a NIC does for its host: cuts large TCP and UDP frames up (TSO, USO) and completes checksums, without the GIL.

Knows: frames that vnet.pyx has read and checked, and what differs between the segments of one.
Refuses to know: which port takes what and why, VLANs; which tag to put or take is an argument.

The rules:
- IPv4 identification counts up by one a segment; FIN and PSH are on the last one only, CWR on the first (RFC 3168 clause
  6.1.2); an urgent pointer goes on meaning the same byte.
- When a queue has no room for all segments the first ones go and the rest is lost, as on a real NIC.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES, Burst, load16be,
                            store16, store32, store64)
from netvirt.dataplane.checksum cimport add, fold, swap16
from netvirt.dataplane.queue cimport Queue, queue_room, queue_t
from netvirt.dataplane.vnet cimport (BAD_CHECKSUM_PLACE, BAD_PACKET, BAD_SIZE, BAD_TYPE, GSO_UDP_L4, IP_LENGTH_FROM,
                                     MOST_HEADERS, MOST_TAGS, NEEDS_CSUM, TAKES_CSUM, TAKES_ECN, TAKES_TSO4, TAKES_TSO6,
                                     TAKES_USO4, TAKES_USO6, offload_read, offload_t)

cdef enum:
    TCP_FIN = 0x01
    TCP_PSH = 0x08
    TCP_URG = 0x20
    TCP_CWR = 0x80
    LARGEST_OUTPUT = 1 << 20  # more than any one frame becomes


cdef uint32_t offload_size(const offload_t *o, uint32_t rest) noexcept nogil:
    return (o.length if o.count == 1 else o.payload + o.size) - rest - 2


# Leaving

cdef inline int _shift(const leaving_t *w) noexcept nogil:
    # By how much everything behind the addresses moves.
    return (16 if w.tag != NULL else 12) - <int>w.rest


cdef inline void _frame_header(uint8_t *p, const leaving_t *w, uint32_t length, uint16_t flags) noexcept nogil:
    store32(p, length)
    store16(p + 4, w.flags | flags)
    store16(p + 6, w.port)
    store64(p + 8, w.time_ns)
    store64(p + 16, w.identity)


cdef inline void _copy(uint8_t *p, const offload_t *o, const leaving_t *w, uint32_t end) noexcept nogil:
    # The frame's bytes up to `end`, with the tag that it leaves with.
    memcpy(p, o.data, 12)
    p += 12
    if w.tag != NULL:
        memcpy(p, w.tag, 4)
        p += 4
    memcpy(p, o.data + w.rest, end - w.rest)


cdef inline void _store_sum(uint8_t *p, uint64_t sum, bint never_zero) noexcept nogil:
    # For UDP 0 means "no checksum"; 0xFFFF is the same number and means what it says (RFC 768).
    cdef uint16_t checksum = <uint16_t>~fold(sum)
    store16(p, 0xFFFF if never_zero and not checksum else checksum)


cdef uint32_t offload_pass(const offload_t *o, const leaving_t *w, queue_t *q) noexcept nogil:
    cdef int shift = _shift(w)
    cdef uint8_t *p = queue_room(q, FRAME_HEADER_BYTES + VNET_BYTES + o.length + shift)
    if p == NULL:
        return 0
    _frame_header(p, w, o.length + shift, FRAME_VNET)
    p += FRAME_HEADER_BYTES
    # Written new: what came in may have said more than was looked at.
    p[0] = NEEDS_CSUM if o.field else 0
    p[1] = o.gso
    store16(p + 2, <uint16_t>(o.payload + shift) if o.gso else 0)
    store16(p + 4, <uint16_t>o.size)
    store16(p + 6, <uint16_t>(o.start + shift) if o.field else 0)
    store16(p + 8, <uint16_t>(o.field - o.start))
    store16(p + 10, 0)
    _copy(p + VNET_BYTES, o, w, o.length)
    return 1


cdef uint32_t offload_finish(const offload_t *o, const leaving_t *w, queue_t *q) noexcept nogil:
    cdef int shift = _shift(w)
    cdef uint8_t *p = queue_room(q, FRAME_HEADER_BYTES + o.length + shift)
    if p == NULL:
        return 0
    _frame_header(p, w, o.length + shift, 0)
    p += FRAME_HEADER_BYTES
    _copy(p, o, w, o.length)
    if o.field:
        # The field has the sum of the pseudo header already. Never 0, whatever the protocol: as skb_checksum_help().
        _store_sum(p + o.field + shift, add(0, p + o.start + shift, o.length - o.start), True)
    return 1


cdef inline void _number_ip(uint8_t *ip, const offload_t *o, uint32_t index, uint32_t length) noexcept nogil:
    # `length`: of the packet. The header is a copy of the frame's.
    if o.ipv6:
        store16(ip + 4, swap16(<uint16_t>(length - IP_LENGTH_FROM)))
        return
    store16(ip + 2, swap16(<uint16_t>length))
    store16(ip + 4, swap16(<uint16_t>(load16be(ip + 4) + index)))
    store16(ip + 10, 0)
    _store_sum(ip + 10, add(0, ip, o.l4 - o.l3), False)


cdef inline void _number_tcp(uint8_t *tcp, const offload_t *o, uint32_t index) noexcept nogil:
    cdef uint32_t offset = index * o.size, urgent
    cdef uint32_t sequence = (<uint32_t>load16be(tcp + 4) << 16 | load16be(tcp + 6)) + offset
    store16(tcp + 4, swap16(<uint16_t>(sequence >> 16)))
    store16(tcp + 6, swap16(<uint16_t>sequence))
    if index:
        tcp[13] &= ~TCP_CWR
    if index < o.count - 1:
        tcp[13] &= ~(TCP_FIN | TCP_PSH)
    if tcp[13] & TCP_URG:
        urgent = load16be(tcp + 18)
        if urgent < offset:
            tcp[13] &= ~TCP_URG
        store16(tcp + 18, swap16(<uint16_t>(urgent - offset)) if urgent >= offset else 0)


cdef inline void _one(uint8_t *p, const offload_t *o, uint32_t index, int shift, uint32_t size) noexcept nogil:
    # Headers and data lie at p already; the headers are the whole frame's. `size`: data bytes.
    cdef uint8_t *transport = p + o.l4 + shift
    cdef uint32_t length = o.payload - o.l4 + size
    _number_ip(p + o.l3 + shift, o, index, o.payload - o.l3 + size)
    if o.gso == GSO_UDP_L4:
        store16(transport + 4, swap16(<uint16_t>length))
    else:
        _number_tcp(transport, o, index)
    store16(p + o.field + shift, 0)
    _store_sum(p + o.field + shift, add(o.pseudo + swap16(<uint16_t>length), transport, length), o.gso == GSO_UDP_L4)


cdef uint32_t offload_segment(const offload_t *o, const leaving_t *w, queue_t *q) noexcept nogil:
    cdef uint8_t headers[MOST_HEADERS + 14 + 4 * MOST_TAGS + 4]
    cdef int shift = _shift(w)
    cdef uint32_t index, size = o.size, lead = o.payload + shift
    cdef const uint8_t *data = o.data + o.payload
    cdef uint8_t *p
    _copy(headers, o, w, o.payload)
    for index in range(o.count):
        if index == o.count - 1:
            size = o.length - o.payload - index * o.size
        p = queue_room(q, FRAME_HEADER_BYTES + lead + size)
        if p == NULL:
            q.full += o.count - index - 1        # queue_room() has counted this one
            return index
        _frame_header(p, w, lead + size, 0)
        p += FRAME_HEADER_BYTES
        memcpy(p, headers, lead)
        memcpy(p + lead, data, size)
        _one(p, o, index, shift, size)
        data += size
    return o.count


cdef uint32_t offload_leave(const offload_t *o, const leaving_t *w, queue_t *q, uint8_t takes,
                            uint64_t *lost) noexcept nogil:
    cdef uint32_t put, count = 1
    # A tag may make the largest frame too long for a burst, where its segments are not (those the MTU has bounded).
    if o.need and not o.need & ~takes and o.length + _shift(w) <= LONGEST_FRAME:
        put = offload_pass(o, w, q)
    elif o.count == 1:
        put = offload_finish(o, w, q)
    else:
        count = o.count
        put = offload_segment(o, w, q)
    lost[0] += count - put
    return put


# For NICs, ports and tests

CSUM, TSO4, TSO6, ECN, USO4, USO6 = TAKES_CSUM, TAKES_TSO4, TAKES_TSO6, TAKES_ECN, TAKES_USO4, TAKES_USO6

_REFUSED = {
    BAD_CHECKSUM_PLACE: "csum_start or csum_offset is not where the packet has its checksum",
    BAD_TYPE: "gso_type is unknown here, or goes without NEEDS_CSUM",
    BAD_PACKET: "the packet is not what gso_type says",
    BAD_SIZE: "gso_size makes no segments that could be sent",
}


class OffloadError(ValueError):
    """A virtio-net header that does not fit its frame, or asks for what nobody here does."""


cdef int _checked(offload_t *o, leaving_t *w, const uint8_t[::1] frame, const uint8_t[::1] vnet,
                  const uint8_t[::1] tag, bint strip) except -1:
    cdef int why
    if frame.shape[0] < SHORTEST_FRAME or frame.shape[0] > LONGEST_FRAME:
        raise OffloadError(f"a frame of {frame.shape[0]} bytes; Ethernet frames have {SHORTEST_FRAME} to {LONGEST_FRAME}")
    if vnet.shape[0] != VNET_BYTES:
        raise OffloadError(f"a virtio-net header of {vnet.shape[0]} bytes; it has {VNET_BYTES}")
    why = offload_read(o, &frame[0], <uint32_t>frame.shape[0], &vnet[0])
    if why:
        raise OffloadError(_REFUSED[why])
    if tag.shape[0] != 0 and tag.shape[0] != 4:
        raise OffloadError(f"a tag of {tag.shape[0]} bytes; it has 4")
    if strip and o.l3 == 14:
        raise OffloadError("the frame has no tag that could be taken away")
    w.rest = 16 if strip else 12
    w.tag = &tag[0] if tag.shape[0] else NULL
    if offload_size(o, w.rest) + w.rest + 2 + _shift(w) > LONGEST_FRAME:
        raise OffloadError(f"with its tag the frame has more than {LONGEST_FRAME} bytes")
    w.flags = w.port = 0
    return 0


def put(Queue queue not None, const uint8_t[::1] frame not None, const uint8_t[::1] vnet not None, uint8_t takes=0,
        const uint8_t[::1] tag not None=b"", bint strip=False, uint64_t time_ns=0, uint64_t identity=0):
    """Append to `queue` what a port that takes `takes` (CSUM | TSO4 | ...) is given of a frame; returns how many frames.

    vnet: the 12 bytes of its header. tag: 4 bytes that are put behind the addresses. strip: its outermost tag is taken away
    before. Frames that the queue has no room for are counted there. Raises OffloadError for a header that does not fit.
    """
    cdef offload_t o
    cdef leaving_t w
    cdef uint64_t lost = 0
    _checked(&o, &w, frame, vnet, tag, strip)
    w.time_ns, w.identity = time_ns, identity
    return offload_leave(&o, &w, queue.q, takes, &lost)


def leave(frame, vnet, takes=0, tag=b"", strip=False):
    """The same as a list of (virtio-net header or b"", frame)."""
    queue = Queue(LARGEST_OUTPUT)
    put(queue, frame, vnet, takes, tag, strip)
    out = []
    while (head := queue.head()) is not None:
        out += [(each.vnet, each.data) for each in Burst.parse(head)]
        queue.pop()
    return out


def segment(frame, vnet, tag=b"", strip=False):
    """The ordinary frames that an unsegmented one stands for, checksums done. Arguments and errors as for put()."""
    return [data for _, data in leave(frame, vnet, 0, tag, strip)]


def finish(frame, vnet):
    """The frame with its checksum done. Raises OffloadError, also for a frame that is to be cut up."""
    frames = segment(frame, vnet)
    if len(frames) != 1:
        raise OffloadError(f"the frame is to be cut up, into {len(frames)} segments")
    return frames[0]


def needs(const uint8_t[::1] frame not None, const uint8_t[::1] vnet not None):
    """(the bits that a port must take to get the frame as it is, the largest payload of its segments in bytes)."""
    cdef offload_t o
    cdef leaving_t w
    _checked(&o, &w, frame, vnet, b"", False)
    return o.need, offload_size(&o, 12)
