# Whole grains that lie side by side on files, read and verified by two threads. together.h explains.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from storvirt.backing.member cimport iovec

cdef extern from "../backing/together.h" nogil:    # it is included from other rooms' modules, too
    enum:
        TOGETHER_SLOTS
        TOGETHER_BYTES
        RWF_NOWAIT
    ctypedef uint32_t (*together_sum)(uint32_t seed, const uint8_t *data, size_t size) noexcept nogil
    ctypedef struct together_column:
        int file
        int flags
        uint64_t at
    ctypedef struct together_job:
        together_column *columns
        uint32_t grain, column, count
        uint8_t *to
        together_sum sum
        uint32_t *seeds
        uint32_t *sums
    int together_pieces(iovec *pieces, uint8_t *to, uint32_t count, uint32_t grain, uint32_t used, uint32_t column)
    uint32_t together_verified(const together_job *job, uint32_t first, uint32_t count)

# Does the job; how many grains, from the first, are in place and verified.
cdef uint32_t read_together(together_job *job) noexcept nogil
