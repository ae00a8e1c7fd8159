# The Internet checksum (RFC 1071) over bytes in memory, in the machine's own (little-endian) order: a sum of words read that
# way, folded and stored that way, is the sum in network order (RFC 1071 clause 2 B).
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.burst cimport load16, load32, load64


# Adds `size` bytes to a sum that fold() makes 16 bits of. Good for 2 GiB: each half of a word has 32 bits of room above it.
cdef inline uint64_t add(uint64_t sum, const uint8_t *p, size_t size) noexcept nogil:
    cdef uint64_t low = 0, high = 0, word
    cdef size_t i, words = size >> 3
    for i in range(words):         # two independent sums without carries, which a compiler turns into vector code
        word = load64(p + (i << 3))
        low += <uint32_t>word
        high += word >> 32
    p += words << 3
    if size & 4:
        low += load32(p)
        p += 4
    if size & 2:
        high += load16(p)
        p += 2
    if size & 1:
        high += p[0]
    return sum + low + high


cdef inline uint16_t fold(uint64_t sum) noexcept nogil:
    sum = <uint32_t>sum + (sum >> 32)
    sum = (sum & 0xFFFF) + (sum >> 16)
    sum = (sum & 0xFFFF) + (sum >> 16)
    return <uint16_t>((sum & 0xFFFF) + (sum >> 16))


cdef inline uint16_t swap16(uint16_t v) noexcept nogil:
    return <uint16_t>(v << 8 | v >> 8)
