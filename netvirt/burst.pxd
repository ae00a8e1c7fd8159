# The burst format's numbers and the byte order in one place, for every compiled room (see netvirt/burst.pyx).
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    HEADER_BYTES = 16
    FRAME_HEADER_BYTES = 24
    VNET_BYTES = 12
    SHORTEST_FRAME = 14
    LONGEST_FRAME = 65557          # 65,535 bytes of IP, 14 of Ethernet, two tags
    LONGEST_MESSAGE = 1 << 20
    FORMAT_VERSION = 1
    FRAME_VNET = 1
    FRAME_IN = 2
    FRAME_OUT = 4


cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "virtfab's burst format is read in place: it needs a little-endian machine (x86-64, aarch64)"
    #endif
    """


cdef inline uint16_t load16(const uint8_t *p) noexcept nogil:
    cdef uint16_t v
    memcpy(&v, p, 2)
    return v


cdef inline uint32_t load32(const uint8_t *p) noexcept nogil:
    cdef uint32_t v
    memcpy(&v, p, 4)
    return v


cdef inline uint64_t load64(const uint8_t *p) noexcept nogil:
    cdef uint64_t v
    memcpy(&v, p, 8)
    return v


cdef inline void store16(uint8_t *p, uint16_t v) noexcept nogil:
    memcpy(p, &v, 2)


cdef inline void store32(uint8_t *p, uint32_t v) noexcept nogil:
    memcpy(p, &v, 4)


cdef inline void store64(uint8_t *p, uint64_t v) noexcept nogil:
    memcpy(p, &v, 8)


cdef inline uint16_t load16be(const uint8_t *p) noexcept nogil:
    return <uint16_t>((p[0] << 8) | p[1])


cdef inline void store_header(uint8_t *p, uint8_t kind, uint32_t count, uint64_t epoch) noexcept nogil:
    p[0] = 0x56
    p[1] = 0x42
    p[2] = FORMAT_VERSION
    p[3] = kind
    store32(p + 4, count)
    store64(p + 8, epoch)


cdef inline bint is_frames(const uint8_t *p, size_t size) noexcept nogil:
    return size >= HEADER_BYTES and size <= LONGEST_MESSAGE and load32(p) == 0x00014256


cdef class Burst:
    cdef public uint64_t epoch
    cdef uint8_t *_data
    cdef size_t _used, _capacity
    cdef uint32_t _count
    cdef int _exports
    cdef int _room(self, size_t need) except -1
