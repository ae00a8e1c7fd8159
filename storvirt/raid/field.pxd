# GF(2^8) for compiled rooms, without the GIL (see storvirt/raid/field.pyx, gf.h, gf_solve.h).
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    MOST_PARITY = 3                # rows P, Q, R

# Rows P, Q, R (m of them, 1 to 3) of k columns; size: a multiple of 512; nothing overlaps.
cdef void gf_parity(const uint8_t *const *columns, int k, uint8_t *const *out, int m, size_t size) noexcept nogil
# out = sum of constants[i] * columns[i]; out may be one of the columns.
cdef void gf_sum(const uint8_t *const *columns, const uint8_t *constants, int count, uint8_t *out, size_t size) noexcept nogil
# dst ^= constant * src; one place or no overlap.
cdef void gf_add(uint8_t *dst, const uint8_t *src, uint8_t constant, size_t size) noexcept nogil
# Column `wanted` of a group of d data and p redundant columns as a sum of others that are not in `lost`: at most d sources
# and their constants. Returns how many; 0 where too much is lost.
cdef int gf_sources(int d, int p, int wanted, uint64_t lost, uint8_t *sources, uint8_t *constants) noexcept nogil
