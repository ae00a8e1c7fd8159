# The rules for a frame that leaves: through one port, or through every port that it may be flooded to (802.1Q-2018 clauses
# 8.6.3 to 8.6.5 and 8.8.9).
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from netvirt.dataplane.copies cimport copy_leaving
from netvirt.dataplane.drops cimport LINK_DOWN, NO_DESTINATION, OVERSIZE, QUEUE_FULL
from netvirt.dataplane.ingress cimport serves
from netvirt.dataplane.offload cimport leaving_t, offload_leave
from netvirt.dataplane.queue cimport queue_t
from netvirt.dataplane.tables cimport PROTECTED, frame_t, plane_t, port_t, vf_ctz64, vf_unlikely
from netvirt.dataplane.tracing cimport NOTE_LEFT, drop, note
from netvirt.dataplane.writing cimport put, put_tag, room, tag_for, to_flush, vf_copy, written_size

# A flooded frame as it was last written, in its two usual forms: without a tag, and with one.
cdef struct form_t:
    const uint8_t *data       # NULL = not written yet
    uint32_t tag
cdef struct forms_t:
    form_t bare, tagged


cdef inline void left(plane_t *s, uint32_t number, port_t *port, frame_t *f, uint32_t tag) noexcept nogil:
    to_flush(s, number, port)
    note(s, NOTE_LEFT, number, tag)
    if vf_unlikely(port.watch_out):
        copy_leaving(s, number, f, tag)


cdef inline void leave_whole(plane_t *s, uint32_t number, port_t *port, frame_t *f, uint32_t tag) noexcept nogil:
    # An unsegmented frame, or one without its checksum: what the port can't take is done here.
    cdef leaving_t w
    cdef uint8_t written[4]
    put_tag(written, tag)
    w.rest, w.flags, w.port = f.rest, 0, 0
    w.tag = written if tag else NULL
    w.time_ns, w.identity = f.time_ns, f.identity
    if offload_leave(f.offload, &w, port.queue, port.offload, &port.count.drops[QUEUE_FULL]):
        left(s, number, port, f, tag)


cdef inline bint may_leave(plane_t *s, uint32_t number, const port_t *port, const frame_t *f) noexcept nogil:
    if f.payload > port.mtu:
        drop(s, number, OVERSIZE)
        return False
    if not port.queue.open:
        drop(s, number, LINK_DOWN)
        return False
    return True


cdef inline void leave(plane_t *s, uint32_t number, frame_t *f) noexcept nogil:
    cdef port_t *port = &s.ports[number]
    cdef uint32_t tag
    cdef uint8_t *p
    if not may_leave(s, number, port, f):
        return
    tag = tag_for(port, f)
    if vf_unlikely(f.offload != NULL):
        leave_whole(s, number, port, f, tag)
        return
    p = room(port.queue, written_size(f, tag))
    if p == NULL:
        drop(s, number, QUEUE_FULL)
        return
    put(p, f, tag, 0, 0)
    left(s, number, port, f, tag)


cdef inline void leave_as(plane_t *s, uint32_t number, frame_t *f, forms_t *forms) noexcept nogil:
    # leave() for the second and later ports of a flood: a form that was written before is copied whole.
    cdef port_t *port = &s.ports[number]
    cdef uint32_t tag, size
    cdef form_t *form
    cdef uint8_t *p
    if not may_leave(s, number, port, f):
        return
    tag = tag_for(port, f)
    if vf_unlikely(f.offload != NULL):
        leave_whole(s, number, port, f, tag)
        return
    size = written_size(f, tag)
    p = room(port.queue, size)
    if p == NULL:
        drop(s, number, QUEUE_FULL)
        return
    form = &forms.tagged if tag else &forms.bare
    if form.data != NULL and form.tag == tag:
        vf_copy(p, form.data, size)
    else:
        put(p, f, tag, 0, 0)
    form.data = p
    form.tag = tag
    left(s, number, port, f, tag)
    if vf_unlikely(port.mirrors_out):
        form.data = NULL           # a mirror's copy may have made that queue move


cdef inline void flood(plane_t *s, uint32_t origin, frame_t *f, uint32_t kind) noexcept nogil:
    cdef const uint64_t *members = s.members + <size_t>f.vid * s.words
    cdef const uint64_t *quiet = s.quiet + kind * s.words
    cdef const uint64_t *isolated = s.quiet + PROTECTED * s.words
    cdef uint64_t apart = ~<uint64_t>0 if s.ports[origin].protected_ else 0
    cdef uint64_t word
    cdef uint32_t w, number
    cdef forms_t forms
    cdef bint sent = False
    forms.bare.data = forms.tagged.data = NULL
    forms.bare.tag = forms.tagged.tag = 0
    for w in range(s.words):
        word = members[w] & ~quiet[w] & ~(isolated[w] & apart)
        while word:
            number = w << 6 | <uint32_t>vf_ctz64(word)
            word &= word - 1
            # An empty socket loses nothing: it is passed over, not counted (8.4: its MAC is not operational).
            if number != origin and s.ports[number].queue.open and serves(&s.ports[number], f):
                sent = True
                leave_as(s, number, f, &forms)
    if not sent:
        drop(s, origin, NO_DESTINATION)
