from libc.stdint cimport uint64_t

from netvirt.dataplane.tables cimport port_t

# The settings' dictionary into `new`, whose tables of its own are allocated; on ValueError nothing is left of them.
cdef int fill_port(port_t *new, const port_t *old, dict settings) except -1
# How full the buckets of storm control are: [(credit, at)] by kind, [] without; and the same put back.
cdef list storm_levels(const port_t *port)
cdef int set_storm_levels(port_t *port, levels) except -1
cdef int fill_vids(uint64_t *bitmap, vids) except -1
