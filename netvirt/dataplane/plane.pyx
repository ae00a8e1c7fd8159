"""The forwarding plane of one switch: its port and VLAN tables as Python objects see them, captures, counters.

Knows: what a port does, which ports forward a VLAN, who listens in. Refuses to know: port names, sockets, clocks
(nanoseconds come in), protocols; and what happens to a frame is forward.pyx's.

A port mode is data here: `member` and `untagged` bitmaps by VID, the PVID, whether tagged frames are taken.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from netvirt.dataplane.fdb cimport MacTable
from netvirt.dataplane.forward cimport (FORWARDING, LARGEST_MTU, REASON_COUNT, SESSIONS, bit, forward, plane_t, port_t,
                                        vf_ctz64)
from netvirt.dataplane.queue cimport Queue

from netvirt.dataplane.drops import REASONS

STATES = ("disabled", "blocked", "forwarding")


cdef class Plane:
    """The tables of one switch. Ports are small numbers; time is the caller's.

    mac_limit: stations known at the most; ageing: seconds; identity_base: the first frame identity given out here.
    """

    def __cinit__(self, uint32_t mac_limit=16384, uint32_t ageing=300, uint64_t identity_base=1):
        self.macs = MacTable(mac_limit, ageing)
        self._queues = []
        self._sessions = [None] * SESSIONS
        self.p.next_identity = identity_base

    def __dealloc__(self):
        free(self.p.ports)
        free(self.p.members)
        free(self.p.flush)

    cdef port_t *_port(self, int number) except NULL:
        if number < 0 or number >= <int>self.p.capacity or not self.p.ports[number].present:
            raise KeyError(f"no port {number}")
        return &self.p.ports[number]

    def add_port(self, uint64_t queue_bytes=2 << 20, uint64_t epoch=0):
        """A new port: disabled, no VLAN, nobody connected. Returns its number, the lowest that is free."""
        cdef int number = 0
        cdef port_t *port
        while number < <int>self.p.capacity and self.p.ports[number].present:
            number += 1
        if number == <int>self.p.capacity:
            self._enlarge()
        port = &self.p.ports[number]
        memset(port, 0, sizeof(port_t))
        queue = Queue(queue_bytes, epoch)
        queue.open = False
        port.queue = (<Queue>queue).q
        port.present = True
        port.mtu = 9216
        while len(self._queues) <= number:
            self._queues.append(None)
        self._queues[number] = queue
        return number

    def _enlarge(self):
        cdef uint32_t capacity = self.p.capacity + 64 if self.p.capacity < 512 else 2 * self.p.capacity
        cdef port_t *ports
        cdef uint64_t *members
        cdef uint16_t *flush
        if capacity > 4096:
            raise ValueError("a switch has at most 4096 ports")
        ports = <port_t *>calloc(capacity, sizeof(port_t))
        members = <uint64_t *>calloc(4096 * (capacity // 64), 8)
        flush = <uint16_t *>calloc(capacity, 2)
        if ports == NULL or members == NULL or flush == NULL:
            free(ports)
            free(members)
            free(flush)
            raise MemoryError()
        if self.p.capacity:
            memcpy(ports, self.p.ports, self.p.capacity * sizeof(port_t))
            memcpy(flush, self.p.flush, self.p.capacity * 2)
        free(self.p.ports)
        free(self.p.members)
        free(self.p.flush)
        self.p.ports = ports
        self.p.members = members
        self.p.flush = flush
        self.p.capacity = capacity
        self.p.words = capacity // 64
        self._recompute()

    def remove_port(self, int number):
        """Forget a port, its queue and its stations."""
        cdef port_t *port = self._port(number)
        cdef uint32_t i, kept = 0
        for i in range(self.p.flushes):
            if self.p.flush[i] != number:
                self.p.flush[kept] = self.p.flush[i]
                kept += 1
        self.p.flushes = kept
        port.present = False
        port.queue = NULL
        self._queues[number] = None
        self.macs.flush(port=number)
        self._recompute()

    def set_port(self, int number, *, str state, bint takes_tagged, uint16_t pvid, member, untagged, uint8_t priority=0,
                 uint32_t mtu=9216):
        """What the port does: `member` and `untagged` are iterables of VIDs, `pvid` 0 means none.

        When its VLANs, its PVID or its state change, the stations learned here are forgotten. ValueError changes nothing.
        """
        cdef port_t *port = self._port(number)
        cdef uint64_t members[64]
        cdef uint64_t bare[64]
        cdef uint32_t v
        memset(members, 0, sizeof(members))
        memset(bare, 0, sizeof(bare))
        for vid in member:
            _check_vid(vid)
            v = vid
            members[v >> 6] |= <uint64_t>1 << (v & 63)
        for vid in untagged:
            _check_vid(vid)
            v = vid
            bare[v >> 6] |= <uint64_t>1 << (v & 63)
        if pvid > 4094 or priority > 7:
            raise ValueError("a PVID is 0 to 4094, a priority 0 to 7")
        if mtu > LARGEST_MTU:      # with both tags it would be longer than a burst can say
            raise ValueError(f"an MTU is at most {LARGEST_MTU}, not {mtu}")
        if state not in STATES:
            raise ValueError(f"unknown port state {state!r}; there are {', '.join(STATES)}")
        if pvid and not bit(members, pvid):
            raise ValueError(f"the port's own VLAN {pvid} is not among its VLANs")
        changed = memcmp(members, port.member, sizeof(members)) != 0 or port.state != STATES.index(state) or port.pvid != pvid
        port.state = STATES.index(state)
        port.takes_tagged = takes_tagged
        port.pvid = pvid
        port.priority = priority
        port.mtu = mtu
        memcpy(port.member, members, sizeof(members))
        memcpy(port.untagged, bare, sizeof(bare))
        if changed:
            self.macs.flush(port=number)
            self._recompute()

    cdef void _recompute(self) noexcept:
        # Which ports forward each VLAN. 4096 x words; only ports that forward count, so flooding need not ask again.
        cdef uint32_t number, w, v
        cdef uint64_t word
        cdef port_t *port
        memset(self.p.members, 0, <size_t>4096 * self.p.words * 8)
        for number in range(self.p.capacity):
            port = &self.p.ports[number]
            if not port.present or port.state != FORWARDING:
                continue
            for w in range(64):
                word = port.member[w]
                while word:
                    v = w << 6 | <uint32_t>vf_ctz64(word)
                    word &= word - 1
                    self.p.members[<size_t>v * self.p.words + (number >> 6)] |= <uint64_t>1 << (number & 63)

    def set_mac_limit(self, uint32_t limit):
        """Stations known at the most. Another limit means a new table: everybody is forgotten and learned again."""
        if limit != self.macs.t.limit:
            self.macs = MacTable(limit, self.macs.t.ageing)

    def queue(self, int number):
        """The port's egress queue."""
        self._port(number)
        return self._queues[number]

    def forward(self, int number, const uint8_t[::1] message not None, uint64_t now_ns, uint64_t wall_ns):
        """Every frame of one FRAMES message that came in at a port; returns how many there were.

        now_ns is the monotonic clock (ageing), wall_ns the time stamped on frames that have none. Whatever the message
        holds, nothing is raised for it: a malformed rest is dropped and counted.
        """
        cdef uint32_t now = <uint32_t>(now_ns // 1000000000)
        cdef size_t size = message.shape[0]
        cdef const uint8_t *m = &message[0] if size else NULL
        cdef Py_ssize_t done
        self._port(number)
        with nogil:
            done = forward(&self.p, &self.macs.t, <uint32_t>number, m, size, now, wall_ns)
        return done

    def pending(self):
        """Numbers of the ports whose queues got frames since the last call."""
        cdef uint32_t i
        cdef list out = []
        for i in range(self.p.flushes):
            self.p.ports[self.p.flush[i]].pending = False
            out.append(self.p.flush[i])
        self.p.flushes = 0
        return out

    def pending_captures(self):
        """Numbers of the capture sessions whose queues got frames since the last call."""
        cdef uint8_t bits = self.p.session_pending
        self.p.session_pending = 0
        return [i for i in range(SESSIONS) if bits >> i & 1] if bits else []

    def add_capture(self, numbers, uint64_t queue_bytes=8 << 20, uint64_t epoch=0):
        """Copy what enters and leaves these ports into a new session's queue; returns (session, queue), or None if all are taken."""
        cdef int session
        cdef Queue queue
        for session in range(SESSIONS):
            if self._sessions[session] is None:
                break
        else:
            return None
        ports = list(numbers)
        for number in ports:
            self._port(number)
        queue = Queue(queue_bytes, epoch)
        self._sessions[session] = queue
        self.p.sessions[session] = queue.q
        for number in ports:
            self._port(number).captures |= <uint8_t>(1 << session)
        return session, queue

    def remove_capture(self, int session):
        """End a session; what waits in its queue stays there for whoever holds it."""
        cdef uint32_t number
        if not 0 <= session < SESSIONS:
            raise KeyError(f"no capture session {session}")
        for number in range(self.p.capacity):
            self.p.ports[number].captures &= <uint8_t>~(1 << session)
        self.p.sessions[session] = NULL
        self._sessions[session] = None

    def statistics(self, int number):
        """Counters of a port: frames and bytes each way, and drops by reason."""
        cdef port_t *port = self._port(number)
        cdef int i
        sent = self._queues[number].statistics()
        drops = {REASONS[i]: port.drops[i] for i in range(REASON_COUNT) if port.drops[i]}
        for reason, count in sent["drops"].items():
            if reason != "queue-full":      # counted above already, by forward()
                drops[reason] = drops.get(reason, 0) + count
        return {"rx_frames": port.rx_frames, "rx_bytes": port.rx_bytes, "tx_frames": sent["tx_frames"],
                "tx_bytes": sent["tx_bytes"], "waiting_frames": sent["waiting_frames"],
                "waiting_bytes": sent["waiting_bytes"], "drops": drops}


cdef int _check_vid(vid) except -1:
    if not 1 <= vid <= 4094:
        raise ValueError(f"VID {vid} is not 1 to 4094")
    return 0
