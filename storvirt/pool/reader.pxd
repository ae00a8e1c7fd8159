# The pool's tables and the reading half of its data path.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from storvirt.pool.logindex cimport LogIndex, logged_t
from storvirt.pool.slab cimport Changes, Slab
from storvirt.raid.kernels cimport crc32c
from storvirt.volume.map cimport VolumeMap

cdef enum:
    BLOCK_BYTES = 4096
    COLD = 1                 # of _read(): some of it is not in memory, and is not waited for


cdef inline uint32_t grain_seed(uint32_t volume, uint64_t grain, uint64_t birth) noexcept nogil:
    """What the CRC of a grain's blocks begins with: the same bytes elsewhere, or of another time, do not verify."""
    cdef uint64_t identity[3]
    identity[0], identity[1], identity[2] = volume, grain, birth
    return crc32c(0, <const uint8_t *>identity, 24)


cdef class Disk:
    cdef readonly uint32_t number, grain, blocks
    cdef readonly uint64_t size
    cdef readonly VolumeMap map
    cdef readonly object row
    cdef Slab slab                       # where new grains go now


cdef class Reader:
    cdef object host
    cdef readonly LogIndex index
    cdef readonly dict disks             # by number of the volume
    cdef list slabs                      # Slab by number, None where there is none
    cdef readonly Changes changes        # of all slabs
    cdef readonly set to_heal            # (volume, grain) found damaged and reconstructed
    cdef readonly dict counts
    cdef bytearray payload               # blocks of the record that is being made
    cdef uint8_t *grain_buffer           # one grain, zero-padded to whole columns
    cdef uint8_t *scratch                # columns
    cdef uint8_t *block_buffer
    cdef size_t buffer_size

    cdef int _buffers(self, Disk disk) except -1
    cdef int _read(self, Disk disk, uint64_t offset, uint64_t length, uint8_t *to, bint wait) except -1
    cdef int _read_blocks(self, Disk disk, uint64_t block, uint64_t count, uint8_t *to, bint wait) except -1
    cdef uint32_t _together(self, Disk disk, uint64_t grain, uint64_t most) except? 0
    cdef bint _outside_log(self, Disk disk, uint64_t grain) noexcept
    cdef uint32_t _read_grains(self, Disk disk, uint64_t grain, uint32_t count, uint8_t *to, bint wait) except? 0
    cdef int _read_logged(self, Disk disk, const logged_t *where, uint8_t *to, bint wait) except -1
    cdef int _read_grain(self, Disk disk, uint64_t grain, uint32_t first, uint32_t count, uint8_t *to,
                         bint wait) except -1
    cdef int _fetch(self, Disk disk, uint64_t offset, uint64_t length) except -1
    cdef void _fetch_logged(self, Slab segment, uint32_t place) noexcept
    cdef uint64_t _run(self, Disk disk, uint64_t block, uint64_t count) noexcept
    cdef bint _verifies(self, const uint8_t *data, uint32_t seed, const uint32_t *crcs, uint32_t count) noexcept
    cdef int _reconstruct(self, Disk disk, Slab slab, uint32_t slot, uint64_t grain, uint32_t first, uint32_t count,
                          uint32_t seed, const uint32_t *crcs, uint8_t *to) except -1
    cdef object _block(self, Slab slab, uint32_t slot, uint32_t offset, uint32_t seed, uint32_t crc, uint8_t *to)
    cdef bint _is_block(self, Slab slab, uint32_t slot, uint32_t offset, uint32_t seed, uint32_t crc, uint8_t *to,
                        uint64_t without) noexcept
