from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.dataplane.fdb cimport MacTable
from netvirt.dataplane.forward cimport plane_t, port_t

cdef class Plane:
    cdef plane_t p
    cdef readonly MacTable macs
    cdef list _queues
    cdef list _sessions
    cdef port_t *_port(self, int number) except NULL
    cdef void _recompute(self) noexcept
