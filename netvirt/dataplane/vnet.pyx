"""Reads a frame's virtio-net header (virtio 1.2 clause 5.1.6) and holds it against the frame, without the GIL.

Knows: IPv4, IPv6, TCP and UDP headers as far as it takes to find where a checksum and a segment's data belong.
Refuses to know: how segments are made (offload.pyx), who takes them.

Every field is hostile. Offsets are found in the frame itself; a header that disagrees is refused, and so is segmenting
without NEEDS_CSUM (the driver must set it: 5.1.6.2.1), UFO, a fragment, and SYN or RST in more than one segment. What the
frame holds is its own length, as for a NIC: IP's length fields are not looked at, they are written new. A frame whose data
fits in one segment is one that only needs its checksum.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.burst cimport load16, load16be
from netvirt.dataplane.checksum cimport add, swap16

cdef enum:
    GSO_TCPV4 = 1
    GSO_TCPV6 = 4
    IP_TCP = 6
    IP_UDP = 17
    TCP_SYN = 0x02
    TCP_RST = 0x04
    MOST_SEGMENTS = 1024      # a full frame at the smallest MSS that Linux takes (88 bytes) makes 745
    LARGEST_PACKET = 65535


cdef inline uint32_t _ethernet(const uint8_t *data, uint32_t length) noexcept nogil:
    # Where the network header begins: behind its tags.
    cdef uint32_t at = 12
    cdef uint16_t kind = load16be(data + at)
    while (kind == 0x8100 or kind == 0x88A8) and at < 12 + 4 * MOST_TAGS and length >= at + 6:
        at += 4
        kind = load16be(data + at)
    return at + 2


cdef inline int _ipv4(offload_t *o, uint8_t protocol) noexcept nogil:
    cdef const uint8_t *p = o.data + o.l3
    cdef uint32_t size
    if o.length - o.l3 < 20 or p[0] >> 4 != 4:
        return BAD_PACKET
    size = (p[0] & 15) << 2
    if size < 20 or o.length - o.l3 < size or p[9] != protocol or load16be(p + 6) & 0x3FFF:
        return BAD_PACKET
    o.l4 = o.l3 + size
    o.pseudo = add(<uint64_t>protocol << 8, p + 12, 8)
    return 1 if size > 20 else 0


cdef inline int _ipv6(offload_t *o, uint8_t protocol) noexcept nogil:
    cdef const uint8_t *p = o.data + o.l3
    cdef uint32_t at = o.l3 + 40, size
    cdef uint8_t following
    if o.length < at or p[0] >> 4 != 6:
        return BAD_PACKET
    following = p[6]
    while following == 0 or following == 43 or following == 60:      # hop-by-hop, routing, destination
        if o.length - at < 8:
            return BAD_PACKET
        size = (o.data[at + 1] + 1) << 3
        if o.length - at < size:
            return BAD_PACKET
        following = o.data[at]
        at += size
    if following != protocol:                                        # a fragment header, too
        return BAD_PACKET
    o.l4 = at
    o.ipv6 = True
    o.pseudo = add(<uint64_t>protocol << 8, p + 8, 32)
    return 1 if at > o.l3 + 40 else 0


cdef inline int _network(offload_t *o, uint8_t gso) noexcept nogil:
    # Finds the transport header. 1: options may stand for another address than IP's (a source route, a home address).
    cdef uint16_t kind = load16be(o.data + o.l3 - 2)
    if kind == 0x0800 and gso != GSO_TCPV6:
        return _ipv4(o, IP_UDP if gso == GSO_UDP_L4 else IP_TCP)
    if kind == 0x86DD and gso != GSO_TCPV4:
        return _ipv6(o, IP_UDP if gso == GSO_UDP_L4 else IP_TCP)
    return BAD_PACKET


cdef inline int _transport(offload_t *o, uint8_t gso) noexcept nogil:
    cdef uint32_t header = 8
    if gso != GSO_UDP_L4:
        if o.length - o.l4 < 20:
            return BAD_PACKET
        header = (o.data[o.l4 + 12] >> 4) << 2
        if header < 20:
            return BAD_PACKET
    if o.length - o.l4 < header:
        return BAD_PACKET
    o.payload = o.l4 + header
    if o.start != o.l4 or o.field != o.l4 + (6 if gso == GSO_UDP_L4 else 16):
        return BAD_CHECKSUM_PLACE
    return 0


cdef int _read_segments(offload_t *o, uint8_t type_, uint32_t size) noexcept nogil:
    # The half of offload_read() for frames that are to be cut up; the checksum's place has been read already.
    cdef uint8_t gso = type_ & ~GSO_ECN
    cdef uint32_t data
    cdef int why, odd
    if gso != GSO_TCPV4 and gso != GSO_TCPV6 and gso != GSO_UDP_L4 or not o.field or gso == GSO_UDP_L4 and type_ & GSO_ECN:
        return BAD_TYPE
    odd = _network(o, gso)
    why = odd if odd < 0 else _transport(o, gso)
    if why < 0:
        return why
    if size == 0:
        return BAD_SIZE
    data = o.length - o.payload
    if data <= size:
        return 0
    o.count = (data + size - 1) // size
    o.size = size
    o.gso = type_
    if o.count > MOST_SEGMENTS or o.payload - o.l3 > MOST_HEADERS:
        return BAD_SIZE
    if o.payload + size - o.l3 - (IP_LENGTH_FROM if o.ipv6 else 0) > LARGEST_PACKET:
        return BAD_SIZE
    if gso != GSO_UDP_L4 and o.data[o.l4 + 13] & (TCP_SYN | TCP_RST):
        return BAD_PACKET
    if odd:
        # Only the sender knows the addresses of the pseudo header: it is in the field (5.1.6.2), with its length.
        o.pseudo = <uint64_t>load16(o.data + o.field) + <uint16_t>~swap16(<uint16_t>(o.length - o.l4))
    o.need |= (TAKES_USO6 if o.ipv6 else TAKES_USO4) if gso == GSO_UDP_L4 else TAKES_TSO6 if o.ipv6 else TAKES_TSO4
    if type_ & GSO_ECN:
        o.need |= TAKES_ECN
    return 0


cdef int offload_read(offload_t *o, const uint8_t *data, uint32_t length, const uint8_t *vnet) noexcept nogil:
    o.data = data
    o.length = length
    o.count = 1
    o.l3 = _ethernet(data, length)
    o.l4 = o.payload = o.start = o.field = o.size = 0
    o.need = o.gso = 0
    o.ipv6 = False
    o.pseudo = 0
    if vnet[0] & NEEDS_CSUM:
        o.start = load16(vnet + 6)
        o.field = o.start + load16(vnet + 8)
        o.need = TAKES_CSUM
        if o.start < o.l3 or o.field + 2 > length:
            return BAD_CHECKSUM_PLACE
    return _read_segments(o, vnet[1], load16(vnet + 4)) if vnet[1] else 0
