from libc.stdint cimport uint8_t, uint32_t, uint64_t

from netvirt.dataplane.fdb cimport fdb_t
from netvirt.dataplane.tables cimport plane_t

# Every frame of one message that came in at port `number`; returns how many there were. now: monotonic ns; wall: ns since 1970.
cdef Py_ssize_t forward(plane_t *s, fdb_t *macs, uint32_t number, const uint8_t *m, size_t size, uint64_t now,
                        uint64_t wall) noexcept nogil
