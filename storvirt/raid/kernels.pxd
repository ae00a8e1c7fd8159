# What the compiled rooms of the storage half cimport: CRC-32C and XOR without the GIL (see storvirt/raid/kernels.pyx).
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    UNIT_BYTES = 512               # lengths of columns are multiples of this

# crc: 0, or the CRC of what comes before (as zlib.crc32), or a seed.
cdef uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t size) noexcept nogil
# dst ^= src; size: a multiple of UNIT_BYTES; one place or no overlap.
cdef void xor_into(uint8_t *dst, const uint8_t *src, size_t size) noexcept nogil
# out = XOR of 1 or more columns; out may be one of them, otherwise nothing overlaps. Faster than xor_into for each.
cdef void xor_parity(const uint8_t *const *columns, int count, uint8_t *out, size_t size) noexcept nogil
