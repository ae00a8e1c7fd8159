# How a frame is written into a queue (802.1Q-2018 clause 8.6.5 behind the tag rules of 6.9): room for it, its tag, its bytes.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from netvirt.burst cimport FRAME_HEADER_BYTES, store16, store32, store64
from netvirt.dataplane.queue cimport CHUNK_BYTES, CHUNK_FRAMES, RING, chunk_t, queue_room, queue_t
from netvirt.dataplane.tables cimport IF_NONZERO, NEVER, bit, frame_t, plane_t, port_t


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* memcpy() for what most frames are, short: a few moves that overlap at the end, without the call and its choices. */
    static inline void vf_copy(uint8_t *to, const uint8_t *from, size_t n) {
        if (n < 32 || n > 128) {
            memcpy(to, from, n);
        } else if (n <= 64) {
            memcpy(to, from, 32);
            memcpy(to + n - 32, from + n - 32, 32);
        } else {
            memcpy(to, from, 64);
            memcpy(to + n - 64, from + n - 64, 64);
        }
    }
    """
    void vf_copy(uint8_t *to, const uint8_t *source, size_t n) nogil


cdef inline uint8_t *room(queue_t *q, uint32_t need) noexcept nogil:
    # queue_room() without the call, for the frame that fits where the one before it went.
    cdef chunk_t *chunk
    cdef uint8_t *p
    if q.length:
        chunk = &q.ring[(q.first + q.length - 1) & (RING - 1)]
        if (chunk.used + need <= chunk.capacity and chunk.used + need <= CHUNK_BYTES and chunk.count < CHUNK_FRAMES
                and q.bytes + need <= q.limit):
            p = chunk.data + chunk.used
            chunk.used += need
            chunk.count += 1
            q.bytes += need
            q.frames += 1
            return p
    return queue_room(q, need)


cdef inline uint32_t tag_for(const port_t *port, const frame_t *f) noexcept nogil:
    # The tag with which a frame leaves a port: TPID << 16 | TCI, or 0 for none.
    cdef uint32_t vid = f.vid
    if bit(port.untagged, vid):
        if port.priority_tags == NEVER or (port.priority_tags == IF_NONZERO and f.tci >> 13 == 0):
            return 0
        vid = 0
    elif port.wire != NULL:
        vid = port.wire[vid]
    return <uint32_t>port.tpid << 16 | f.tci | vid


cdef inline uint32_t written_size(const frame_t *f, uint32_t tag) noexcept nogil:
    return FRAME_HEADER_BYTES + f.length - f.rest + (16 if tag else 12)


cdef inline void put_tag(uint8_t *p, uint32_t tag) noexcept nogil:
    p[0] = <uint8_t>(tag >> 24)
    p[1] = <uint8_t>(tag >> 16)
    p[2] = <uint8_t>(tag >> 8)
    p[3] = <uint8_t>tag


cdef inline void put(uint8_t *p, const frame_t *f, uint32_t tag, uint16_t flags, uint16_t port) noexcept nogil:
    # Frame header and frame into exactly written_size() bytes.
    store32(p, written_size(f, tag) - FRAME_HEADER_BYTES)
    store16(p + 4, flags)
    store16(p + 6, port)
    store64(p + 8, f.time_ns)
    store64(p + 16, f.identity)
    p += FRAME_HEADER_BYTES
    if (tag != 0) == (f.rest == 16):       # as long as it came: one copy, and the tag over the old one
        vf_copy(p, f.data, f.length)
        if tag:
            put_tag(p + 12, tag)
        return
    memcpy(p, f.data, 12)
    if tag:
        put_tag(p + 12, tag)
        p += 4
    vf_copy(p + 12, f.data + f.rest, f.length - f.rest)


cdef inline void to_flush(plane_t *s, uint32_t number, port_t *port) noexcept nogil:
    if not port.pending:
        port.pending = True
        s.flush[s.flushes] = <uint16_t>number
        s.flushes += 1
