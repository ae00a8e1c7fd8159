# One slot's columns for compiled rooms, without the GIL (see storvirt/raid/stripe.pyx).
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    STRIPE_MOST = 64               # columns of a stripe

cdef struct stripe_t:
    int k, m                       # data columns, redundant columns
    int d, p                       # the same of one group (storvirt/raid/layout.py)
    uint32_t grain, column         # bytes

cdef inline int stripe_group(const stripe_t *s, int column) noexcept nogil:
    return column // s.d if column < s.k else (column - s.k) // s.p

cdef inline uint64_t stripe_of_group(const stripe_t *s, int group, uint64_t columns) noexcept nogil:
    """Those of a group, its data first."""
    cdef uint64_t data = columns >> group * s.d & (<uint64_t>1 << s.d) - 1
    return data if s.p == 0 else data | (columns >> (s.k + group * s.p) & (<uint64_t>1 << s.p) - 1) << s.d

cdef inline int stripe_count(uint64_t columns) noexcept nogil:
    cdef int count = 0
    while columns:
        columns &= columns - 1
        count += 1
    return count

# How many more columns may be lost, whichever they are, when these are; negative where a grain can't be had any more.
cdef int stripe_spare(const stripe_t *s, uint64_t lost) noexcept nogil
# Points columns[0 .. k + m) at the columns of `grain`: into the grain itself where that is possible, the padded last column
# and the parities into scratch ((1 + m) * column bytes).
cdef void stripe_split(const stripe_t *s, const uint8_t *grain, uint8_t *scratch, const uint8_t **columns) noexcept nogil
# The grain from its data columns (redundant ones are not looked at).
cdef void stripe_assemble(const stripe_t *s, const uint8_t *const *columns, uint8_t *grain) noexcept nogil
# The columns, none of them in `lost`, whose sum times constants is `column` (which counts as lost); returns how many, at
# most d; 0 where too many are lost. sources, constants: STRIPE_MOST each.
cdef int stripe_sources(const stripe_t *s, int column, uint64_t lost, uint8_t *sources, uint8_t *constants) noexcept nogil
# Fills the columns whose bits stand in `missing` from the others, over `size` bytes (a multiple of 512: whole columns, or
# the same piece of each). Returns -1, and has changed nothing, if more than p of a group are missing.
cdef int stripe_reconstruct(const stripe_t *s, uint8_t *const *columns, uint64_t missing, size_t size) noexcept nogil
# Whether copies and parity agree with the data over `size` bytes; scratch: 3 * size bytes.
cdef bint stripe_agrees(const stripe_t *s, const uint8_t *const *columns, size_t size, uint8_t *scratch) noexcept nogil
