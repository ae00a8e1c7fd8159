# Frames with a virtio-net header leave: with it, with their checksum done, or cut up. See vnet.pxd for reading one.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.dataplane.queue cimport queue_t
from netvirt.dataplane.vnet cimport offload_t

# How it leaves.
cdef struct leaving_t:
    uint32_t rest             # where the frame goes on behind its addresses: 12, or 16 = without its outer tag
    const uint8_t *tag        # 4 bytes that are put behind the addresses; NULL = none
    uint64_t time_ns, identity
    uint16_t flags, port      # of the frame header (captures); FRAME_VNET is added where it is due

# The largest payload (tag at `rest` not counted) of any frame that it becomes: to be held against the MTU.
cdef uint32_t offload_size(const offload_t *o, uint32_t rest) noexcept nogil
# These return how many frames the queue took. What it did not take is counted in queue_t.full, a frame each.
# The caller has seen to it that no frame gets longer than LONGEST_FRAME by its tag: offload_leave() does so for the one that
# stays whole, the MTU (65,535 at the most, against offload_size()) for all others.
cdef uint32_t offload_pass(const offload_t *o, const leaving_t *w, queue_t *q) noexcept nogil      # with its header: 0 or 1
cdef uint32_t offload_finish(const offload_t *o, const leaving_t *w, queue_t *q) noexcept nogil    # checksum done: 0 or 1
cdef uint32_t offload_segment(const offload_t *o, const leaving_t *w, queue_t *q) noexcept nogil   # cut up: 0 to o.count
# Whichever of the three is right for a port that takes `takes`; the frames that were lost are added to *lost. For a capture:
# TAKES_ALL.
cdef uint32_t offload_leave(const offload_t *o, const leaving_t *w, queue_t *q, uint8_t takes,
                            uint64_t *lost) noexcept nogil
