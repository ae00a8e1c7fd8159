# A slab as the engine sees it: where a slot's columns lie, which are there, which slots are free.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from storvirt.backing.member cimport Member
from storvirt.backing.together cimport together_job
from storvirt.raid.stripe cimport stripe_t

cdef enum:
    MOST_COLUMNS = 64
    NO_SLOT = 0xFFFFFFFF


cdef class Changes:
    cdef public bint any


cdef class Slab:
    cdef public Changes changes         # of all slabs that stand with this one
    cdef readonly uint32_t number, slots, used, grain, column
    cdef readonly int use, profile, data, width
    cdef readonly tuple places          # (member number, extent) by column
    cdef list _members                  # Member by column, None where it is out
    cdef uint64_t _offsets[MOST_COLUMNS]
    cdef readonly uint64_t missing      # bit per column that can't be read or written
    cdef stripe_t stripe                # how a grain lies on the columns
    cdef uint64_t *_bitmap
    cdef uint32_t _hint
    cdef Member _target                 # the new home of a column that is being rebuilt
    cdef uint64_t _target_offset
    cdef readonly int rebuilding        # its column, or -1
    cdef readonly int target_error      # errno of the new home: what is there is not whole
    cdef int error                      # errno of the last column that failed

    cdef uint32_t take(self) noexcept
    cdef void give(self, uint32_t slot) noexcept
    cdef bint mark(self, uint32_t slot) except -1
    cdef uint64_t write(self, uint32_t slot, const uint8_t *grain, uint8_t *scratch) noexcept
    cdef void write_targets(self, uint32_t slot, uint32_t count, const uint8_t *data) noexcept
    cdef int _write_column(self, uint32_t slot, int column, const uint8_t *data) noexcept
    cdef int _shape(self, profile) except -1
    cdef void _failed_with(self, int error) noexcept
    cdef int append(self, int copy, uint32_t at, const uint8_t *data, uint32_t length) noexcept
    # wait False: EAGAIN instead of waiting for a device.
    cdef int read(self, uint32_t slot, uint32_t offset, uint32_t length, uint8_t *to, bint wait) noexcept
    # job: count, to, sum, seeds and sums are filled in.
    cdef uint32_t read_slots(self, uint32_t slot, bint wait, together_job *job) noexcept
    cdef int read_column(self, uint32_t slot, int column, uint32_t offset, uint32_t length, uint8_t *to,
                         bint wait) noexcept
    cdef bint fetch(self, uint32_t slot, uint32_t offset, uint32_t length) noexcept
    cdef bint fetch_column(self, uint32_t slot, int column, uint32_t offset, uint32_t length) noexcept
    cdef int rebuild_column(self, uint32_t slot, int column, uint32_t offset, uint32_t length, uint8_t *to,
                            uint8_t *scratch, uint64_t without) noexcept
    cdef int read_without(self, uint32_t slot, uint32_t offset, uint32_t length, uint8_t *to, uint8_t *scratch,
                          uint64_t without) noexcept
