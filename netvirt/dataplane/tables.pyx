"""The tables' memory, and what follows from a port's settings in the tables that all ports share.

Knows: which ports forward a VLAN and to which a kind is not flooded, why frames have to stop at a port. Refuses to know:
Python objects, what people call these things (plane.pyx), what happens to a frame (forward.pyx).

All functions are called between bursts, but tables_shut(), which the pipeline calls itself.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef enum:
    LINE = 64                 # bytes of a cache line: port_t's first fields stand in one


cdef uint32_t _more(uint32_t capacity) noexcept nogil:
    # Small switches are many, and pages of zeroes that calloc() has to write are not free.
    if capacity < 8:
        return 8
    return capacity + 64 if 64 <= capacity < 512 else 2 * capacity


cdef bint tables_enlarge(plane_t *s) noexcept nogil:
    cdef uint32_t capacity = _more(s.capacity)
    cdef uint32_t words = (capacity + 63) // 64
    cdef uint32_t number
    # calloc, not aligned_alloc and memset: pages of ports that are never added are never touched.
    cdef void *memory = calloc(1, capacity * sizeof(port_t) + LINE)
    cdef port_t *ports = <port_t *>((<size_t>memory + LINE - 1) & ~<size_t>(LINE - 1))
    cdef uint64_t *members = <uint64_t *>calloc(VIDS * words, 8)
    cdef uint64_t *quiet = <uint64_t *>calloc((KINDS + 1) * words, 8)
    cdef uint16_t *flush = <uint16_t *>calloc(capacity, 2)
    if memory == NULL or members == NULL or quiet == NULL or flush == NULL:
        free(memory)
        free(members)
        free(quiet)
        free(flush)
        return False
    if s.capacity:
        memcpy(ports, s.ports, s.capacity * sizeof(port_t))
        memcpy(flush, s.flush, s.capacity * 2)
    free(s.memory)
    free(s.members)
    free(s.quiet)
    free(s.flush)
    s.memory = memory
    s.ports = ports
    s.members = members
    s.quiet = quiet
    s.flush = flush
    s.capacity = capacity
    s.words = words
    for number in range(capacity):
        if ports[number].present:
            tables_refresh(s, number)
    return True


cdef void tables_free_port(port_t *port) noexcept nogil:
    free(port.inside)
    free(port.wire)
    free(port.storm)
    free(port.customer)


cdef void tables_free(plane_t *s) noexcept nogil:
    cdef uint32_t number
    for number in range(s.capacity):
        tables_free_port(&s.ports[number])
    free(s.memory)
    free(s.members)
    free(s.quiet)
    free(s.flush)
    free(s.special)
    free(s.remote)
    free(s.vlan_mirrors)
    free(s.fids)
    free(s.trace)
    free(s.scratch)


cdef void tables_forget(plane_t *s, uint32_t number) noexcept nogil:
    # The port is gone: from the list of ports to flush, too.
    cdef port_t *port = &s.ports[number]
    cdef uint32_t i, kept = 0
    for i in range(s.flushes):
        if s.flush[i] != number:
            s.flush[kept] = s.flush[i]
            kept += 1
    s.flushes = kept
    port.state = DISABLED
    tables_refresh(s, number)
    tables_free_port(port)
    memset(port, 0, sizeof(port_t))


cdef void tables_refresh(plane_t *s, uint32_t number) noexcept nogil:
    # What follows from the port's own fields.
    cdef port_t *port = &s.ports[number]
    cdef bint forwards = port.state == FORWARDING and not port.shut and not port.destination
    cdef uint64_t mask = <uint64_t>1 << (number & 63)
    cdef uint64_t *column = s.members + (number >> 6)
    cdef uint32_t v, kind
    port.watch = ((0 if forwards else STOPPED) | (CAPTURED if port.captures else 0)
                  | (MIRRORED if port.mirrors_in else 0))
    port.watch_out = (CAPTURED if port.captures else 0) | (MIRRORED if port.mirrors_out else 0)
    for v in range(<uint32_t>VIDS):
        if (column[<size_t>v * s.words] & mask != 0) != (forwards and bit(port.member, v)):
            column[<size_t>v * s.words] ^= mask      # no other word is written: idle switches share their pages of zeroes
    for kind in range(<uint32_t>KINDS):
        set_bit(s.quiet + kind * s.words, number, not port.flood >> kind & 1)
    set_bit(s.quiet + PROTECTED * s.words, number, port.protected_)


cdef void tables_shut(plane_t *s, uint32_t number) noexcept nogil:
    # on_limit = shutdown: the port is disabled from the next frame on, until somebody looks into it.
    s.ports[number].shut = True
    s.violated = True
    tables_refresh(s, number)
