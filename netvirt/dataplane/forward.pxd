# The plane's tables as C, and the one function that runs over them.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.dataplane.fdb cimport fdb_t
from netvirt.dataplane.queue cimport queue_t

cdef enum:
    REASON_COUNT = 15
    SESSIONS = 8              # captures at the same time
    LARGEST_MTU = 65535       # the largest IP packet

cdef struct port_t:
    bint present
    uint8_t state             # 0 disabled, 1 blocked, 2 forwarding
    uint8_t takes_tagged
    uint8_t priority          # PCP for frames that come untagged
    uint16_t pvid             # VLAN of frames that come untagged, 0 = none
    uint8_t captures          # bit per capture session that looks at this port
    bint pending              # stands in the plane's list of ports to flush
    uint32_t mtu
    queue_t *queue
    uint64_t member[64]       # bitmap by VID: may enter and leave here
    uint64_t untagged[64]     # bitmap by VID: leaves without a tag
    uint64_t rx_frames, rx_bytes
    uint64_t drops[REASON_COUNT]

cdef struct plane_t:
    port_t *ports
    uint32_t capacity         # ports there is room for, a multiple of 64
    uint32_t words            # capacity / 64
    uint64_t *members         # [4096][words]: ports that forward a VLAN
    uint16_t *flush           # ports whose queues got frames
    uint32_t flushes
    queue_t *sessions[SESSIONS]
    uint8_t session_pending   # bit per session whose queue got frames
    uint64_t next_identity

# Port states, in the order of plane.STATES.
cdef enum:
    DISABLED = 0
    BLOCKED = 1
    FORWARDING = 2


cdef extern from *:
    """
    #define vf_ctz64(x) __builtin_ctzll(x)
    """
    int vf_ctz64(uint64_t x) nogil


cdef inline bint bit(const uint64_t *bitmap, uint32_t n) noexcept nogil:
    return (bitmap[n >> 6] >> (n & 63)) & 1


cdef Py_ssize_t forward(plane_t *s, fdb_t *macs, uint32_t number, const uint8_t *m, size_t size, uint32_t now,
                        uint64_t wall) noexcept nogil
