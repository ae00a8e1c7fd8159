# The egress queue as C: other compiled rooms append to it without the GIL.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    RING = 64                 # chunks in a queue at the most
    CHUNK_BYTES = 262144      # a chunk is sent as one message: full at this size ...
    CHUNK_FRAMES = 1024       # ... or at this many frames
    FIRST_BYTES = 4096
    SPARE = 2                 # buffers kept for the next chunk; the others go back at once

cdef struct chunk_t:
    uint8_t *data
    uint32_t used             # bytes, message header included
    uint32_t capacity
    uint32_t count            # frames

# What every frame touches stands first: a switch with many ports goes through many queues in one burst.
cdef struct queue_t:
    uint32_t first, length, spares
    bint open                 # closed = nobody there: refuse, the caller counts link-down
    uint64_t bytes, limit     # held now; the most that may be held
    uint64_t frames           # held now
    uint64_t *sent            # frames, bytes: counters_t.tx_frames of a port, or else `own`
    uint64_t epoch
    uint64_t full             # frames refused because the queue was full
    chunk_t ring[RING]
    chunk_t spare[SPARE]
    uint64_t own[2]

cdef queue_t *queue_new(uint64_t limit, uint64_t epoch) noexcept nogil
cdef void queue_free(queue_t *q) noexcept nogil
# Room for one frame of `need` bytes (frame header included) in the open chunk, or NULL and counted.
cdef uint8_t *queue_room(queue_t *q, uint32_t need) noexcept nogil
cdef uint64_t queue_clear(queue_t *q) noexcept nogil
# The first chunk has been sent: count it and forget it.
cdef void queue_pop(queue_t *q) noexcept nogil

cdef class Queue:
    cdef queue_t *q
    cdef dict _cleared
    cdef bint _borrowed
    @staticmethod
    cdef Queue wrap(queue_t *q)
