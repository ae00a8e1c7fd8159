# A port's counters as C: one slot of the shared memory that counters.py lays out. Change both together.
from libc.stdint cimport uint64_t

cdef enum:
    HEADER = 64               # bytes before the first slot
    SLOT = 640
    NAME = 128                # bytes of a slot before its counters

cdef struct counters_t:
    uint64_t rx_frames, rx_bytes
    uint64_t tx_frames, tx_bytes      # in this order: queue_t.sent points here
    uint64_t rx_multicast, rx_broadcast
    uint64_t waiting          # frames in the port's queue, when it was last looked at
    uint64_t carrier          # 1 = somebody is connected
    uint64_t drops[56]        # by drops.REASONS
