# Which VLAN is which VNI, who the remotes are, and behind which of them a station is; netvirt/ports/vxlan_table.pyx.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from netvirt.burst cimport load16be

cdef enum:
    MOST_REMOTES = 256
    NAME_BYTES = 28  # struct sockaddr_in6
    VIDS = 4096

cdef struct station_t:
    uint64_t key
    uint32_t seen  # seconds
    uint32_t remote


cdef inline uint64_t mac_key(const uint8_t *mac, uint32_t vid) noexcept nogil:
    """Never 0, which is a free place."""
    return (<uint64_t>(vid + 1) << 48 | <uint64_t>load16be(mac) << 32 | <uint64_t>load16be(mac + 2) << 16
            | load16be(mac + 4))


cdef class Table:
    cdef station_t *_stations
    cdef uint64_t _seed
    cdef uint32_t _ageing
    cdef int _host_at, _host_bytes
    cdef uint32_t _sorted[VIDS]
    cdef uint16_t _vid[VIDS]
    cdef int _vni_count
    cdef uint8_t names[MOST_REMOTES][NAME_BYTES]
    cdef int count, name_bytes
    cdef int32_t vni[VIDS]
    cdef bint inner_tags
    cdef uint16_t tpid
    cdef readonly uint64_t table_full, moves
    cdef station_t *_set(self, uint64_t key) noexcept nogil
    cdef void learn(self, uint64_t key, uint32_t remote, uint32_t now) noexcept nogil
    cdef int find(self, uint64_t key, uint32_t now) noexcept nogil
    cdef int remote(self, const uint8_t *name) noexcept nogil
    cdef int vlan(self, uint32_t vni) noexcept nogil
