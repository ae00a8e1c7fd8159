# The rules for a frame that comes in: its tag and VLAN (802.1Q-2018 clauses 6.9 and 8.6.2), and storm control.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from netvirt.burst cimport load16be
from netvirt.dataplane.drops cimport BAD_VID, CUSTOMER, NOT_ALLOWED, RUNT, TAGGED, UNTAGGED
from netvirt.dataplane.tables cimport MVRP_BIT, NO_TAG, bit, bucket_t, frame_t, port_t, vf_likely


cdef inline int classify(const port_t *port, frame_t *f) noexcept nogil:
    # Fills in where the frame goes on, VID, PCP and DEI, and the tag as it was; or says why not: a reason, else -1.
    cdef uint32_t kind = load16be(f.data + 12)
    cdef uint16_t vid
    f.taken = 0
    if kind == port.takes:
        if f.length < 18:
            return RUNT
        f.taken = load16be(f.data + 14)
        vid = f.taken & 0x0FFF
        f.rest = 16
        f.tci = f.taken & 0xF000
        if vf_likely(vid != 0):
            if vid == 4095:
                return BAD_VID
            if not port.takes_tagged:
                return TAGGED
            if port.inside != NULL:
                vid = port.inside[vid]     # 0 is no VLAN, and so no port admits it
            f.vid = vid
            return -1 if bit(port.admit, vid) else NOT_ALLOWED
    else:
        f.rest = 12
        f.tci = port.tci
        if port.customer != NULL:
            vid = load16be(f.data + 14) & 0x0FFF if kind == 0x8100 and f.length >= 18 else 0
            if not bit(port.customer, vid):
                return CUSTOMER
    if not port.takes_untagged or port.pvid == 0:
        return UNTAGGED
    f.vid = port.pvid
    return -1


cdef inline bint serves(const port_t *port, const frame_t *f) noexcept nogil:
    # A dot1q-tunnel port with a list of customer VIDs has these only, out as well as in (802.1Q-2018 clauses 15.4, 8.6.4).
    cdef uint16_t vid = 0
    if vf_likely(port.customer == NULL):
        return True
    if f.length >= f.rest + 6 and load16be(f.data + f.rest) == 0x8100:
        vid = load16be(f.data + f.rest + 2) & 0x0FFF
    return bit(port.customer, vid)


cdef inline int reserved_bit(uint64_t destination) noexcept nogil:
    # Which of the reserved addresses (802.1Q-2018 tables 8-1, 10-1) it is, as a bit's number in port_t.peer; or -1.
    cdef uint32_t octet
    if destination >> 8 != <uint64_t>0x0180C20000:
        return -1
    octet = destination & 0xFF
    if octet < 16:
        return <int>octet
    return MVRP_BIT if octet == 0x21 else -1


cdef inline bint storm_passes(bucket_t *bucket, uint32_t length, uint64_t now) noexcept nogil:
    # Takes the frame's cost out of the bucket, or says that there is not enough in it.
    cdef uint64_t cost, gain, elapsed
    if bucket.rate == 0:
        return True
    elapsed = now - bucket.at if now > bucket.at else 0
    bucket.at = now
    gain = bucket.rate * elapsed if elapsed <= <uint64_t>0xFFFFFFFFFFFFFFFF // bucket.rate else bucket.most
    bucket.credit = bucket.most if gain >= bucket.most - bucket.credit else bucket.credit + gain
    cost = <uint64_t>8000000000 * length if bucket.bits else <uint64_t>1000000000
    if cost > bucket.most:
        cost = bucket.most
    if bucket.credit < cost:
        return False
    bucket.credit -= cost
    return True
