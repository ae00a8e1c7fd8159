# Copies of frames, as C: for captures (as a port sees them, into a session's queue) and for mirrors (SPAN, RSPAN).
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from netvirt.dataplane.tables cimport frame_t, plane_t, port_t

# The frame as it came in: to captures, and to mirrors of the port if `mirror`.
cdef void copy_coming(plane_t *s, uint32_t number, frame_t *f, bint mirror) noexcept nogil
# The frame as it leaves with `tag` (see writing.pxd), after it has left.
cdef void copy_leaving(plane_t *s, uint32_t number, frame_t *f, uint32_t tag) noexcept nogil
# The frame as it came in, to the mirrors of its VLAN.
cdef void copy_vlan(plane_t *s, frame_t *f) noexcept nogil
