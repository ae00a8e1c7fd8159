# One slot's columns for compiled rooms, without the GIL (see storvirt/raid/stripe.pyx).
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    STRIPE_MOST = 64               # columns of a stripe

cdef struct stripe_t:
    int k, m                       # data columns, redundant columns
    uint32_t grain, column         # bytes
    bint copies                    # the redundant columns are copies of the data, not parity

# Points columns[0 .. k + m) at the columns of `grain`: into the grain itself where that is possible, the padded last column
# and the parity into scratch (2 * column bytes).
cdef void stripe_split(const stripe_t *s, const uint8_t *grain, uint8_t *scratch, const uint8_t **columns) noexcept nogil
# The grain from its data columns (redundant ones are not looked at).
cdef void stripe_assemble(const stripe_t *s, const uint8_t *const *columns, uint8_t *grain) noexcept nogil
# Fills the columns whose bits stand in `missing` from the others, over `size` bytes (a multiple of 512: whole columns, or
# the same piece of each). Returns -1, and has changed nothing, if more than m are missing.
cdef int stripe_reconstruct(const stripe_t *s, uint8_t *const *columns, uint64_t missing, size_t size) noexcept nogil
# Whether copies and parity agree with the data over `size` bytes; scratch: `size` bytes.
cdef bint stripe_agrees(const stripe_t *s, const uint8_t *const *columns, size_t size, uint8_t *scratch) noexcept nogil
