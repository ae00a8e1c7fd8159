# What VXLAN has to see of the frame inside: its tag, its flow, and a checksum that was left to a network card.
# rest: from the EtherType behind the addresses (and a tag that is taken off) on.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from netvirt.burst cimport load16, load16be, load32
from netvirt.dataplane.checksum cimport add, fold


cdef inline bint is_tag(const uint8_t *type) noexcept nogil:
    return load16be(type) == 0x8100 or load16be(type) == 0x88A8


cdef inline uint64_t mix(uint64_t value) noexcept nogil:
    value = (value ^ value >> 32) * <uint64_t>0x9E3779B97F4A7C15
    return value ^ value >> 29


cdef inline uint64_t flow_hash(const uint8_t *macs, const uint8_t *rest, uint32_t length) noexcept nogil:
    """rest: from the EtherType on. Addresses and ports of IP; else, and for fragments without ports, what there is."""
    cdef inline uint64_t sum = 0
    cdef uint32_t ports = 0, i
    cdef uint8_t protocol = 0
    if length >= 22 and load16be(rest) == 0x0800:
        sum = mix(<uint64_t>load32(rest + 14) << 32 | load32(rest + 18))
        if load16be(rest + 8) & 0x3FFF == 0:  # neither offset nor more fragments
            protocol, ports = rest[11], 2 + 4 * (rest[2] & 15)
    elif length >= 42 and load16be(rest) == 0x86DD:
        for i in range(10, 42, 8):
            sum = mix(sum ^ (<uint64_t>load32(rest + i) << 32 | load32(rest + i + 4)))
        protocol, ports = rest[8], 42
    else:
        return mix(mix(<uint64_t>load32(macs) << 32 | load32(macs + 4)) ^ load32(macs + 8))
    if (protocol == 6 or protocol == 17 or protocol == 132) and ports + 4 <= length:
        sum ^= load32(rest + ports)
    return mix(sum ^ <uint64_t>protocol << 40)


# A TCP or UDP packet whose checksum field holds the sum of the pseudo-header only.
cdef struct left_t:
    uint32_t start       # of the TCP or UDP header, from `rest` on
    uint32_t size        # from there to the end of the packet
    uint32_t field       # of the checksum, from `start` on
    uint8_t protocol


cdef inline bint left_to_card(const uint8_t *rest, uint32_t length, left_t *left) noexcept nogil:
    """Did Linux leave the checksum to a network card which there was not? Then `left` says where it belongs.

    Between two namespaces (veth) a packet inside VXLAN comes so, as for a card, and over UDP nobody tells us. A sum that
    is right is not touched; one that is neither is corrupt, and is left so.
    """
    cdef uint64_t pseudo
    if length >= 22 and load16be(rest) == 0x0800:
        left.start = 2 + 4 * (rest[2] & 15)
        left.size = load16be(rest + 4)
        left.protocol = rest[11]
        if left.start < 22 or load16be(rest + 8) & 0x3FFF or left.size + 2 > length or left.size + 2 < left.start:
            return False
        left.size -= left.start - 2
        pseudo = add(0, rest + 14, 8)
    elif length >= 42 and load16be(rest) == 0x86DD:
        left.start = 42
        left.size = load16be(rest + 6)
        left.protocol = rest[8]
        if left.size + left.start > length:
            return False
        pseudo = add(0, rest + 10, 32)
    else:
        return False
    left.field = 16 if left.protocol == 6 else 6
    if (left.protocol != 6 and left.protocol != 17) or left.size < (20 if left.protocol == 6 else 8):
        return False
    pseudo += (<uint32_t>left.protocol << 8) + ((left.size & 0xFF) << 8 | left.size >> 8)
    if load16(rest + left.start + left.field) != fold(pseudo):
        return False
    return fold(add(pseudo, rest + left.start, left.size)) != 0xFFFF


cdef inline void finish(uint8_t *rest, const left_t *left) noexcept nogil:
    """The sum over it all, with the pseudo-header's own in the field, is the one that is wanted."""
    cdef uint16_t value = <uint16_t>~fold(add(0, rest + left.start, left.size))
    if value == 0 and left.protocol == 17:
        value = 0xFFFF
    memcpy(rest + left.start + left.field, &value, 2)
