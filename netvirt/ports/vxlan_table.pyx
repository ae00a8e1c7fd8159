"""What a VXLAN tunnel end point (RFC 7348) knows: VLAN <-> VNI, its remotes, and behind which a station was seen.

Bounded: SETS * WAYS stations, which age by the `now` that they are asked with; there is no timer, and nothing to sweep.
Refuses to know: datagrams (vxlan_receive.pyx, vxlan_send.pyx), clocks, sockets.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

import os

from netvirt.ports.vxlan_inner cimport mix

cdef enum:
    WAYS = 8
    SETS = 2048


cdef class Table:
    """remotes: sockaddr_in or sockaddr_in6 as bytes, all of one kind; vnis: VID (0: without a tag) -> VNI, one to one.

    inner_tags: frames with a tag of their own inside may pass (clause 6.1: else discarded). ageing: seconds. tpid: of
    tags put on. `table_full`: stations without room, whose frames go to all; `moves`: from one remote to another.
    """

    def __cinit__(self, list remotes not None, dict vnis not None, *, bint inner_tags=False, uint32_t ageing=300,
                  uint16_t tpid=0x8100):
        cdef bytes name
        cdef int i
        if not 0 < len(remotes) <= MOST_REMOTES or len({len(name) for name in remotes}) != 1:
            raise ValueError(f"1 to {MOST_REMOTES} remotes, all IPv4 or all IPv6")
        if len(set(vnis.values())) != len(vnis):
            raise ValueError("each VLAN has a VNI of its own")
        self._stations = <station_t *>calloc(SETS * WAYS, sizeof(station_t))
        if self._stations == NULL:
            raise MemoryError
        self._seed = int.from_bytes(os.urandom(8), "little")
        self._ageing = ageing
        self.inner_tags = inner_tags
        self.tpid = tpid
        self.name_bytes = len(remotes[0])
        if self.name_bytes not in (16, 28):
            raise ValueError("a remote is a sockaddr_in or a sockaddr_in6")
        self._host_at, self._host_bytes = (4, 4) if self.name_bytes == 16 else (8, 16)
        for i, name in enumerate(remotes):
            memcpy(self.names[i], <const char *>name, self.name_bytes)
        self.count = len(remotes)
        for i in range(VIDS):
            self.vni[i] = -1
        for i, (vni, vid) in enumerate(sorted((vni, vid) for vid, vni in vnis.items())):
            if not 0 <= vid < VIDS or not 0 <= vni < 1 << 24:
                raise ValueError(f"VLAN {vid} with VNI {vni}: out of range")
            self.vni[<int>vid] = vni
            self._sorted[i] = vni
            self._vid[i] = vid
        self._vni_count = len(vnis)

    def __dealloc__(self):
        free(self._stations)

    def stations(self, uint32_t now):
        """How many are known at `now` (seconds)."""
        cdef int i
        cdef int count = 0
        for i in range(SETS * WAYS):
            count += self._stations[i].key != 0 and now - self._stations[i].seen < self._ageing
        return count

    cdef station_t *_set(self, uint64_t key) noexcept nogil:
        return self._stations + (mix(key ^ self._seed) & (SETS - 1)) * WAYS

    cdef void learn(self, uint64_t key, uint32_t remote, uint32_t now) noexcept nogil:
        cdef station_t *place = self._set(key)
        cdef station_t *room = NULL
        cdef int i
        for i in range(WAYS):
            if place[i].key == key:
                self.moves += place[i].remote != remote and now - place[i].seen < self._ageing
                room = place + i
                break
            if room == NULL and (place[i].key == 0 or now - place[i].seen >= self._ageing):
                room = place + i
        if room == NULL:
            self.table_full += 1
            return
        room.key, room.seen, room.remote = key, now, remote

    cdef int find(self, uint64_t key, uint32_t now) noexcept nogil:
        cdef station_t *place = self._set(key)
        cdef int i
        for i in range(WAYS):
            if place[i].key == key:
                return <int>place[i].remote if now - place[i].seen < self._ageing else -1
        return -1

    cdef int remote(self, const uint8_t *name) noexcept nogil:
        """Which one a sockaddr is: by address, the port is entropy. -1: none."""
        cdef int i
        for i in range(self.count):
            if memcmp(name + self._host_at, self.names[i] + self._host_at, self._host_bytes) == 0:
                return i
        return -1

    cdef int vlan(self, uint32_t vni) noexcept nogil:
        """The VID, or -1."""
        cdef int low = 0, high = self._vni_count, middle
        while low < high:
            middle = (low + high) // 2
            if self._sorted[middle] < vni:
                low = middle + 1
            else:
                high = middle
        return self._vid[low] if low < self._vni_count and self._sorted[low] == vni else -1
