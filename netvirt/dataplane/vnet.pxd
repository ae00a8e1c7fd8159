# A frame with a virtio-net header as C: read once, when it comes in; offload.pxd lets it leave through any number of ports.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    NEEDS_CSUM = 1            # virtio-net header: flags ...
    GSO_UDP_L4 = 5            # ... and gso_type
    GSO_ECN = 0x80
    MOST_HEADERS = 512        # of IP and transport; IPv6 extension headers in practice: under 200 bytes
    MOST_TAGS = 4             # two of a customer's, a tunnel's, a remote mirror's
    IP_LENGTH_FROM = 40       # IPv6's payload length does not count the fixed header

# What a port takes (Plane.set_offload): the numbers of TUNSETOFFLOAD.
cdef enum:
    TAKES_CSUM = 0x01
    TAKES_TSO4 = 0x02
    TAKES_TSO6 = 0x04
    TAKES_ECN = 0x08
    TAKES_USO4 = 0x20
    TAKES_USO6 = 0x40
    TAKES_ALL = 0x6F

# Why offload_read() refuses a frame: its drop is offload-unsupported in any case; the numbers are for people and tests.
cdef enum:
    BAD_CHECKSUM_PLACE = -1   # csum_start or csum_offset points outside of the frame's payload
    BAD_TYPE = -2             # a gso_type that is unknown, UFO, without NEEDS_CSUM, or ECN without TCP
    BAD_PACKET = -3           # the packet is not what gso_type says, is cut short or is a fragment
    BAD_SIZE = -4             # gso_size 0, too many segments, or a segment larger than an IP packet can be

# A frame and what its virtio-net header asks for, checked: everything below offload_read() relies on it.
cdef struct offload_t:
    const uint8_t *data       # as it came in, and all offsets count from here
    uint32_t length
    uint32_t count            # frames that it becomes
    uint32_t l3, l4, payload  # where IP, TCP or UDP, and the data begin; l3 is set for every frame, the others if count > 1
    uint32_t start, field     # the bytes from `start` on are summed into `field`; field = 0: nothing to be done
    uint32_t size             # data bytes of each segment but the last
    uint8_t need              # TAKES_ bits: a port that takes them all gets it unchanged; 0 = an ordinary frame
    uint8_t gso               # gso_type as it came, ECN bit included; 0 where one frame remains one
    bint ipv6
    uint64_t pseudo           # sum of the pseudo header without its length (count > 1)

# Reads and checks the 12 bytes at `vnet` against the frame (14 to LONGEST_FRAME bytes). 0, or one of the reasons above.
cdef int offload_read(offload_t *o, const uint8_t *data, uint32_t length, const uint8_t *vnet) noexcept nogil
