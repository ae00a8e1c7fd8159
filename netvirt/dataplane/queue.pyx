"""The bounded queue of frames that leave through one port.

Knows: frames in bursts, in order, and how much may wait. Refuses to know: why a frame is here, who sends it on.

A queue is a ring of chunks; a chunk is a FRAMES message that is complete but for its header. So the frames of many small
bursts leave as one large one when the receiver is slower than the sender, and a single frame leaves at once when it is not.
"""

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES,
                            is_frames, load16, load32, store16, store32, store64, store_header)


cdef queue_t *queue_new(uint64_t limit, uint64_t epoch) noexcept nogil:
    cdef queue_t *q = <queue_t *>calloc(1, sizeof(queue_t))
    if q != NULL:
        q.limit = limit
        q.epoch = epoch
        q.open = True
        q.sent = q.own
    return q


cdef void queue_free(queue_t *q) noexcept nogil:
    cdef uint32_t i
    if q == NULL:
        return
    for i in range(q.length):
        free(q.ring[(q.first + i) % RING].data)
    for i in range(q.spares):
        free(q.spare[i].data)
    free(q)


cdef bint _grow(chunk_t *chunk, uint32_t want) noexcept nogil:
    cdef uint32_t capacity = max(want, 2 * chunk.capacity)
    cdef uint8_t *data = <uint8_t *>realloc(chunk.data, capacity)
    if data == NULL:
        return False
    chunk.data = data
    chunk.capacity = capacity
    return True


cdef chunk_t *_new_chunk(queue_t *q) noexcept nogil:
    cdef chunk_t *chunk
    if q.length == RING:
        return NULL
    chunk = &q.ring[(q.first + q.length) % RING]
    if q.spares:
        q.spares -= 1
        chunk[0] = q.spare[q.spares]
    else:
        chunk.data = <uint8_t *>malloc(FIRST_BYTES)
        chunk.capacity = FIRST_BYTES
        if chunk.data == NULL:
            return NULL
    chunk.used = HEADER_BYTES
    chunk.count = 0
    q.length += 1
    return chunk


cdef uint8_t *queue_room(queue_t *q, uint32_t need) noexcept nogil:
    cdef chunk_t *chunk = NULL
    cdef uint8_t *p
    if q.bytes + need > q.limit:
        q.full += 1
        return NULL
    if q.length:
        chunk = &q.ring[(q.first + q.length - 1) % RING]
        if chunk.count >= CHUNK_FRAMES or chunk.used + need > CHUNK_BYTES:
            chunk = NULL
    if chunk == NULL:
        chunk = _new_chunk(q)
    if chunk == NULL or (chunk.used + need > chunk.capacity and not _grow(chunk, chunk.used + need)):
        q.full += 1
        return NULL
    p = chunk.data + chunk.used
    chunk.used += need
    chunk.count += 1
    q.bytes += need
    q.frames += 1
    return p


cdef void _drop_first(queue_t *q) noexcept nogil:
    cdef chunk_t *chunk = &q.ring[q.first]
    q.bytes -= chunk.used - HEADER_BYTES
    q.frames -= chunk.count
    if q.spares < SPARE:
        q.spare[q.spares] = chunk[0]
        q.spares += 1
    else:
        free(chunk.data)
    chunk.data = NULL
    q.length -= 1
    # An empty queue begins anew, so that one that never fills stays in the same two cache lines.
    q.first = (q.first + 1) % RING if q.length else 0


cdef void queue_pop(queue_t *q) noexcept nogil:
    cdef chunk_t *chunk = &q.ring[q.first]
    q.sent[0] += chunk.count
    q.sent[1] += chunk.used - HEADER_BYTES - <uint64_t>FRAME_HEADER_BYTES * chunk.count
    _drop_first(q)


cdef uint64_t queue_clear(queue_t *q) noexcept nogil:
    cdef uint64_t dropped = q.frames
    while q.length:
        _drop_first(q)
    while q.spares:
        q.spares -= 1
        free(q.spare[q.spares].data)
    return dropped


cdef class Queue:
    """A bounded queue of frames, see netvirt.ports.Queue for what a driver does with it.

    limit_bytes bounds what waits here, frame headers (24 bytes each) included; epoch goes into every message's header.
    """

    def __cinit__(self, uint64_t limit_bytes=2 << 20, uint64_t epoch=0, bint _wrap=False):
        self._cleared = {}
        self._borrowed = _wrap
        if not _wrap:
            self.q = queue_new(limit_bytes, epoch)
            if self.q == NULL:
                raise MemoryError()

    def __dealloc__(self):
        if not self._borrowed:
            queue_free(self.q)

    @staticmethod
    cdef Queue wrap(queue_t *q):
        # Takes the queue over: it lives as long as this object.
        cdef Queue self = Queue(_wrap=True)
        self.q = q
        self._borrowed = False
        return self

    def __len__(self):
        return self.q.frames

    @property
    def nbytes(self):
        """Bytes that wait, frame headers included, message headers not."""
        return self.q.bytes

    @property
    def limit(self):
        return self.q.limit

    @property
    def epoch(self):
        return self.q.epoch

    @epoch.setter
    def epoch(self, uint64_t epoch):
        self.q.epoch = epoch

    @property
    def open(self):
        """False while nobody is there to send to: the switch then drops frames for this port as link-down."""
        return self.q.open

    @open.setter
    def open(self, bint value):
        self.q.open = value

    def append(self, const uint8_t[::1] frame not None, uint64_t time_ns=0, uint64_t identity=0):
        """Add one frame; False when it does not fit (counted as queue-full) or can't be a frame (ValueError)."""
        cdef size_t size = frame.shape[0]
        cdef uint8_t *p
        if size < SHORTEST_FRAME or size > LONGEST_FRAME:
            raise ValueError(f"a frame of {size} bytes; Ethernet frames have {SHORTEST_FRAME} to {LONGEST_FRAME}")
        p = queue_room(self.q, <uint32_t>(FRAME_HEADER_BYTES + size))
        if p == NULL:
            return False
        store32(p, <uint32_t>size)
        store32(p + 4, 0)
        store64(p + 8, time_ns)
        store64(p + 16, identity)
        memcpy(p + FRAME_HEADER_BYTES, &frame[0], size)
        return True

    def append_burst(self, const uint8_t[::1] message not None):
        """Add the frames of one FRAMES message in order; returns how many fitted. Raises ValueError for a malformed one."""
        cdef size_t size = message.shape[0], at = HEADER_BYTES, need
        cdef const uint8_t *m = &message[0] if size else NULL
        cdef uint8_t *p
        cdef Py_ssize_t taken = 0
        if m == NULL or not is_frames(m, size):
            raise ValueError("the message is no FRAMES message")
        while at < size:
            if size - at < FRAME_HEADER_BYTES:
                raise ValueError(f"a frame header is cut short at byte {at}")
            need = load32(m + at)
            if need < SHORTEST_FRAME or need > LONGEST_FRAME:
                raise ValueError(f"a frame of {need} bytes at byte {at}")
            need += FRAME_HEADER_BYTES + (VNET_BYTES if load16(m + at + 4) & FRAME_VNET else 0)
            if size - at < need:
                raise ValueError(f"the frame at byte {at} is cut short")
            p = queue_room(self.q, <uint32_t>need)
            if p != NULL:
                memcpy(p, m + at, need)
                taken += 1
            at += need
        return taken

    def head(self):
        """The oldest frames as one whole FRAMES message, or None. The view is valid until the queue changes."""
        cdef chunk_t *chunk
        if self.q.length == 0:
            return None
        chunk = &self.q.ring[self.q.first]
        store_header(chunk.data, 0, chunk.count, self.q.epoch)
        return PyMemoryView_FromMemory(<char *>chunk.data, chunk.used, PyBUF_READ)

    def pop(self):
        """The message that head() gave has been sent: count it and forget it."""
        if self.q.length:
            queue_pop(self.q)

    def clear(self, str reason):
        """Drop everything, counted under `reason`; returns how many frames that was. Gives memory back."""
        cdef uint64_t dropped = queue_clear(self.q)
        if dropped:
            self._cleared[reason] = self._cleared.get(reason, 0) + dropped
        return dropped

    def statistics(self):
        """Frames and bytes sent and waiting, and drops by reason."""
        return {
            "tx_frames": self.q.sent[0],
            "tx_bytes": self.q.sent[1],
            "waiting_frames": self.q.frames,
            "waiting_bytes": self.q.bytes,
            "drops": {**self._cleared, **({"queue-full": self.q.full} if self.q.full else {})},
        }
