from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.dataplane.counters cimport counters_t
from netvirt.dataplane.fdb cimport MacTable
from netvirt.dataplane.tables cimport plane_t, port_t

cdef class Plane:
    cdef plane_t p
    cdef readonly MacTable macs
    cdef list _queues
    cdef list _sessions
    cdef object _counters     # callable, or None
    cdef uint8_t[::1] _shared # what it gave, while the ports count there
    cdef void *_private       # counters without it
    cdef port_t *_port(self, int number) except NULL
    cdef counters_t *_slot(self, uint32_t number) noexcept
