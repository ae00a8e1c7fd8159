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


cdef inline bint finish(uint8_t *rest, uint32_t length) noexcept nogil:
    """Puts in a TCP or UDP checksum that Linux left to a network card which there was not. True if it did.

    Between two namespaces (veth) a packet inside VXLAN may come with the sum of its pseudo-header only, as for a card,
    and over UDP nobody says so. A sum that is right stays; one that is neither is corrupt, and stays, too.
    """
    cdef uint32_t size, start, at
    cdef uint8_t protocol
    cdef uint64_t pseudo
    cdef uint16_t value
    if length >= 22 and load16be(rest) == 0x0800:
        start = 2 + 4 * (rest[2] & 15)
        size = load16be(rest + 4)
        protocol = rest[11]
        if start < 22 or load16be(rest + 8) & 0x3FFF or size + 2 > length or size + 2 < start:
            return False
        size -= start - 2
        pseudo = add(0, rest + 14, 8)
    elif length >= 42 and load16be(rest) == 0x86DD:
        start = 42
        size = load16be(rest + 6)
        protocol = rest[8]
        if size + start > length:
            return False
        pseudo = add(0, rest + 10, 32)
    else:
        return False
    at = 16 if protocol == 6 else 6
    if (protocol != 6 and protocol != 17) or size < at + 2:
        return False
    pseudo += (<uint32_t>protocol << 8) + ((size & 0xFF) << 8 | size >> 8)
    value = load16(rest + start + at)
    if value != fold(pseudo) or fold(add(pseudo, rest + start, size)) == 0xFFFF:
        return False
    # The sum over it all, with the pseudo-header's own in the field, is the one that is wanted.
    value = <uint16_t>~fold(add(0, rest + start, size))
    if value == 0 and protocol == 17:
        value = 0xFFFF
    memcpy(rest + start + at, &value, 2)
    return True
