# The tables of a switch as C: what plane.pyx fills in and the pipeline (forward.pyx) reads. The rules that they stand for are
# in modes.py; who changes what is said at each field.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.dataplane.counters cimport counters_t
from netvirt.dataplane.queue cimport queue_t
from netvirt.dataplane.vnet cimport offload_t

cdef enum:
    SESSIONS = 8              # captures at the same time
    MIRRORS = 8
    VIDS = 4096
    VID_WORDS = 64            # of a bitmap by VID
    LARGEST_MTU = 65535       # the largest IP packet
    NO_TAG = 0x10000          # port_t.takes of a port to which nothing is a tag
    NOTES = 65536             # of a trace: a flood makes one for each port, and so may each mirror's copies (RSPAN)

# Port states, in the order of plane.STATES.
cdef enum:
    DISABLED = 0
    BLOCKED = 1
    FORWARDING = 2

# How a frame without known destination is called, in the order of settings.KINDS.
cdef enum:
    UNICAST = 0
    MULTICAST = 1
    BROADCAST = 2
    KINDS = 3
    PROTECTED = 3             # the row behind them in plane_t.quiet

# port_t.priority_tags, in the order of plane.PRIORITY_TAGS; port_t.on_limit, of plane.ON_LIMIT.
cdef enum:
    NEVER = 0
    IF_NONZERO = 1
    ALWAYS = 2
cdef enum:
    ON_LIMIT_FLOOD = 0
    ON_LIMIT_DROP = 1
    ON_LIMIT_SHUTDOWN = 2

# port_t.watch: why a frame that comes in has to stop and be looked at; port_t.watch_out: one that leaves.
cdef enum:
    STOPPED = 1               # not forwarding, or the destination of a mirror
    CAPTURED = 2
    MIRRORED = 4

# A token bucket; its arithmetic is exact, so any two implementations agree. Credit: nanoseconds x rate.
cdef struct bucket_t:
    uint64_t rate             # frames or bits a second, 0 = no limit
    uint64_t credit, most
    uint64_t at               # when the credit was brought up to date, ns
    bint bits

# Reserved addresses 01-80-C2-00-00-xx as bits: 00 to 0F, then 21 as bit 16.
cdef enum:
    MVRP_BIT = 16

cdef struct port_t:
    # first cache line: every frame that comes or goes
    queue_t *queue
    counters_t *count
    uint16_t *inside          # [4096] VID on the wire -> VID inside, 0 = not allowed; NULL = as it is
    uint16_t *wire            # [4096] VID inside -> VID on the wire; NULL = as it is
    bucket_t *storm           # [KINDS]; NULL = none
    uint32_t mtu
    uint32_t takes            # the type that is a tag here, or NO_TAG
    uint16_t tpid             # the type of tags that leave here
    uint16_t pvid             # VLAN of frames that come untagged, 0 = none
    uint16_t tci              # PCP of frames that come untagged
    uint8_t watch
    uint8_t watch_out
    uint8_t takes_tagged
    uint8_t takes_untagged
    uint8_t priority_tags
    uint8_t pending           # stands in the plane's list of ports to flush
    # second: rarer things
    uint64_t *customer        # bitmap of customer VIDs that may enter a dot1q-tunnel port; NULL = all
    uint32_t peer, tunnel     # bits of reserved addresses
    uint8_t present
    uint8_t state             # as configured
    uint8_t shut              # by on_limit, until Plane.recover()
    uint8_t protected_
    uint8_t flood             # bit per kind that may be flooded out here
    uint8_t on_limit
    uint8_t captures          # bit per capture session that looks at this port
    uint8_t mirrors_in, mirrors_out     # bit per mirror
    uint8_t destination       # of a mirror
    uint8_t offload           # what virtio-net headers it takes: TAKES_ bits of vnet.pxd
    uint8_t spare[37]
    uint64_t admit[VID_WORDS]      # may enter here
    uint64_t untagged[VID_WORDS]   # leaves without a tag
    uint64_t member[VID_WORDS]     # may leave here; the pipeline reads plane_t.members instead

cdef struct mirror_t:
    int32_t to_port           # -1 = none
    uint16_t to_vlan

cdef struct note_t:
    uint32_t rule             # tracing.pxd
    uint32_t port, value

cdef struct trace_t:
    uint32_t count
    note_t notes[NOTES]

cdef struct plane_t:
    void *memory              # of the ports
    port_t *ports
    uint64_t *members         # [4096][words]: ports that forward a VLAN
    uint64_t *quiet           # [KINDS + 1][words]: ports to which a kind is not flooded; protected ports
    uint64_t *special         # bitmap of VLANs that are mirrored or carry mirrored frames; NULL = none
    uint64_t *remote          # bitmap of the latter; NULL = none
    uint8_t *vlan_mirrors     # [4096] bit per mirror; NULL = none
    uint16_t *fids            # [4096]; NULL: the FID is the VID
    uint16_t *flush           # ports whose queues got frames
    trace_t *trace            # NULL but while one frame is being traced
    uint32_t capacity         # ports there is room for
    uint32_t words            # of a bitmap by port
    uint32_t flushes
    uint8_t session_pending   # bit per session whose queue got frames
    uint8_t violated          # a port was shut since the plane looked
    uint64_t next_identity
    queue_t *sessions[SESSIONS]
    mirror_t mirrors[MIRRORS]
    uint8_t *scratch          # room for one frame with two tags; NULL while there are no mirrors

# One frame on its way through the rules.
cdef struct frame_t:
    const uint8_t *data
    const offload_t *offload  # NULL: an ordinary frame
    const uint8_t *vnet       # its virtio-net header, where `offload` is not NULL
    uint32_t length
    uint32_t rest             # where the frame goes on behind its addresses and the tag that was taken: 12 or 16
    uint32_t payload          # what is held against an MTU
    uint16_t vid
    uint16_t tci              # PCP and DEI; the VID is put in where a tag is written
    uint16_t taken            # the tag that it came with, 0 = none
    uint8_t copied            # mirrors that have their copy
    uint64_t target           # destination, as a number
    uint64_t key              # FID << 48, to which an address is added
    uint64_t time_ns, identity


cdef extern from *:
    """
    #define vf_ctz64(x) __builtin_ctzll(x)
    #define vf_bswap64(x) __builtin_bswap64(x)
    #define vf_likely(x) __builtin_expect(!!(x), 1)
    #define vf_unlikely(x) __builtin_expect(!!(x), 0)
    """
    int vf_ctz64(uint64_t x) nogil
    uint64_t vf_bswap64(uint64_t x) nogil
    bint vf_likely(bint x) nogil
    bint vf_unlikely(bint x) nogil


cdef inline bint bit(const uint64_t *bitmap, uint32_t n) noexcept nogil:
    return (bitmap[n >> 6] >> (n & 63)) & 1


cdef inline void set_bit(uint64_t *bitmap, uint32_t n, bint on) noexcept nogil:
    if on:
        bitmap[n >> 6] |= <uint64_t>1 << (n & 63)
    else:
        bitmap[n >> 6] &= ~(<uint64_t>1 << (n & 63))


# What changes the tables; in tables.pyx. The first returns False when there is no memory, and has changed nothing.
cdef bint tables_enlarge(plane_t *s) noexcept nogil
cdef void tables_free(plane_t *s) noexcept nogil
cdef void tables_free_port(port_t *port) noexcept nogil
cdef void tables_forget(plane_t *s, uint32_t number) noexcept nogil
cdef void tables_refresh(plane_t *s, uint32_t number) noexcept nogil
cdef void tables_shut(plane_t *s, uint32_t number) noexcept nogil
