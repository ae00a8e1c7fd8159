"""The forwarding plane of one switch: its port and VLAN tables as Python objects see them, captures, mirrors, counters.

Knows: which ports there are, what is to be forgotten when a table changes. Refuses to know: port names, modes, sockets,
clocks (nanoseconds come in), protocols; and what happens to a frame is forward.pyx's.

A port mode is data here: bitmaps by VID, the PVID, what is a tag, what is taken (see netvirt/modes.py).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from netvirt.burst cimport LONGEST_FRAME
from netvirt.dataplane.counters cimport HEADER, NAME, SLOT, counters_t
from netvirt.dataplane.drops cimport LINK_DOWN, REASONS_END
from netvirt.dataplane.fdb cimport NOWHERE, MacTable, fdb_flush_outside
from netvirt.dataplane.forward cimport forward
from netvirt.dataplane.portvalues cimport fill_port, fill_vids, set_storm_levels, storm_levels
from netvirt.dataplane.queue cimport Queue, queue_clear, queue_t
from netvirt.dataplane.tables cimport (FORWARDING, MIRRORS, SESSIONS, VID_WORDS, VIDS, bit, plane_t, port_t, set_bit,
                                       tables_enlarge, tables_forget, tables_free, tables_free_port, tables_refresh,
                                       tables_shut, trace_t)

from netvirt.burst import Burst
from netvirt.dataplane.drops import REASONS
from netvirt.dataplane.portvalues import FLOODED, ON_LIMIT, PRIORITY_TAGS, STATES


@cython.no_gc_clear       # __dealloc__ needs the queues
cdef class Plane:
    """The tables of one switch. Ports are small numbers; time is the caller's.

    mac_limit: stations known at the most; ageing: seconds; identity_base: the first frame identity given out here;
    counters: called with a number of ports, it gives a writable buffer of counters.size() bytes that holds what was counted
    before, and is called again when there are more; None: memory of the plane's own. seed: see MacTable.
    """

    def __cinit__(self, uint32_t mac_limit=16384, uint32_t ageing=300, uint64_t identity_base=1, counters=None, seed=0):
        self.macs = MacTable(mac_limit, ageing, seed)
        self._queues = []
        self._sessions = [None] * SESSIONS
        self._counters = counters
        self.p.next_identity = identity_base

    def __dealloc__(self):
        for queue in self._queues:         # somebody may hold them still
            if queue is not None:
                _count_alone((<Queue>queue).q)
        tables_free(&self.p)
        free(self._private)

    cdef port_t *_port(self, int number) except NULL:
        if number < 0 or number >= <int>self.p.capacity or not self.p.ports[number].present:
            raise KeyError(f"no port {number}")
        return &self.p.ports[number]

    # --- ports

    def add_port(self, uint64_t queue_bytes=2 << 20, uint64_t epoch=0):
        """A new port: disabled, no VLAN, nobody connected. Returns its number, the lowest that is free."""
        cdef int number = 0
        cdef port_t *port
        while number < <int>self.p.capacity and self.p.ports[number].present:
            number += 1
        if number == <int>self.p.capacity:
            self._enlarge()
        port = &self.p.ports[number]
        queue = Queue(queue_bytes, epoch)
        queue.open = False
        port.queue = (<Queue>queue).q
        port.count = self._slot(number)
        memset(port.count, 0, sizeof(counters_t))
        port.queue.sent = &port.count.tx_frames
        port.present = True
        port.mtu = 9216
        tables_refresh(&self.p, number)
        while len(self._queues) <= number:
            self._queues.append(None)
        self._queues[number] = queue
        return number

    def _enlarge(self):
        cdef uint32_t number, before = self.p.capacity
        if before >= 4096:
            raise ValueError("a switch has at most 4096 ports")
        if not tables_enlarge(&self.p):
            raise MemoryError()
        self._count_elsewhere(before)
        for number in range(before):
            if self.p.ports[number].present:
                self.p.ports[number].count = self._slot(number)
                self.p.ports[number].queue.sent = &self.p.ports[number].count.tx_frames

    def _count_elsewhere(self, uint32_t before):
        cdef uint8_t[::1] shared
        cdef void *memory
        if self._counters is not None:
            shared = self._counters(self.p.capacity)
            if shared.shape[0] < HEADER + <Py_ssize_t>self.p.capacity * SLOT:
                raise ValueError(f"the counters' memory is too small for {self.p.capacity} ports")
            self._shared = shared
            return
        memory = calloc(self.p.capacity, sizeof(counters_t))
        if memory == NULL:
            raise MemoryError()
        if before:
            memcpy(memory, self._private, before * sizeof(counters_t))
        free(self._private)
        self._private = memory

    cdef counters_t *_slot(self, uint32_t number) noexcept:
        if self._counters is None:
            return <counters_t *>self._private + number
        return <counters_t *>(&self._shared[0] + HEADER + <size_t>number * SLOT + NAME)

    def remove_port(self, int number):
        """Forget a port, its queue and its stations, static ones too. Mirrors that name it lose it."""
        _count_alone(self._port(number).queue)
        tables_forget(&self.p, number)
        self._queues[number] = None
        self.macs.flush(port=number, static=True)
        self.macs.set_port_limit(number)

    def set_port(self, int number, *, str state, pvid, member, untagged, takes_tagged, takes_untagged=True, admit=None,
                 priority=0, mtu=9216, tpid=0x8100, dot1q_tunnel=False, customer=(), priority_tags="never", translate=(),
                 flood=FLOODED, storm=(), protected=False, mac_limit=0, on_limit="flood", sticky=False, peer=(),
                 tunnel=(0x21,)):
        """What the port does. ValueError changes nothing.

        member, untagged, admit: VIDs that may leave here, that leave without a tag, that may enter (None = members); pvid:
        0 = none; customer: VIDs, 0 = untagged, empty = all; translate: (wire, inside); storm: (kind, rate, "fps" | "bps");
        peer, tunnel: last octets of reserved addresses; the words are those of netvirt.settings.

        Forgotten are the stations learned here in VLANs that the port neither admits nor lets out any more, and all when
        it stops forwarding; static ones stay.
        """
        cdef port_t *port = self._port(number)
        cdef port_t new
        fill_port(&new, port, {
            "state": state, "pvid": pvid, "member": member, "untagged": untagged, "takes_tagged": takes_tagged,
            "takes_untagged": takes_untagged, "admit": admit, "priority": priority, "mtu": mtu, "tpid": tpid,
            "dot1q_tunnel": dot1q_tunnel, "customer": customer, "priority_tags": priority_tags, "translate": translate,
            "flood": flood, "storm": storm, "protected": protected, "on_limit": on_limit, "peer": peer, "tunnel": tunnel})
        tables_free_port(port)
        port[0] = new
        self.macs.set_port_limit(number, mac_limit, sticky)
        tables_refresh(&self.p, number)
        self._forget_wrong(number)

    def _forget_wrong(self, uint32_t number):
        cdef port_t *port = &self.p.ports[number]
        cdef uint64_t here[VID_WORDS]
        cdef int w
        if port.state != FORWARDING or port.shut or port.destination:
            self.macs.flush(port=number)      # sticky stations wait for their port, but only in its VLANs
        for w in range(VID_WORDS):
            here[w] = port.admit[w] | port.member[w]
        fdb_flush_outside(&self.macs.t, <uint16_t>number, here)

    def set_offload(self, int number, uint8_t takes):
        """Which frames with a virtio-net header the port takes as they are: bits as of TUNSETOFFLOAD; 0 = none."""
        self._port(number).offload = takes

    def violations(self):
        """Numbers of the ports that were shut by `on_limit`; they stay so until recover()."""
        return [number for number in range(self.p.capacity) if self.p.ports[number].present and self.p.ports[number].shut]

    def shut(self, int number):
        """What on_limit = shutdown does."""
        self._port(number)
        tables_shut(&self.p, number)
        self.p.violated = False
        self.macs.flush(port=number)

    def recover(self, int number):
        """Let a port that was shut work again as it is configured."""
        self._port(number).shut = False
        tables_refresh(&self.p, number)

    def storm_levels(self, int number):
        """What is in the buckets of storm control: [(credit in ns x rate, ns)] by kind, [] without."""
        return storm_levels(self._port(number))

    def set_storm_levels(self, int number, levels):
        """ValueError: there are no such buckets."""
        set_storm_levels(self._port(number), levels)

    def queue(self, int number):
        """The port's egress queue."""
        self._port(number)
        return self._queues[number]

    def set_carrier(self, int number, bint up):
        """Somebody is connected, or not any more: then what waits is lost (link-down). Returns how many frames that was."""
        cdef port_t *port = self._port(number)
        cdef uint64_t lost = 0 if up else queue_clear(port.queue)
        port.queue.open = up
        port.count.carrier = up
        port.count.drops[LINK_DOWN] += lost
        return lost

    def count_waiting(self):
        """Write into the counters how many frames wait in each queue: nobody does while they come and go."""
        cdef uint32_t number
        for number in range(self.p.capacity):
            if self.p.ports[number].present:
                self.p.ports[number].count.waiting = self.p.ports[number].queue.frames

    # --- VLANs

    def set_vlans(self, fids, remote=(), limits=()):
        """fids: VID -> FID where it is not the VID itself; remote: RSPAN VLANs; limits: (VID, stations at the most).

        Stations of VLANs whose FID changes are forgotten, static ones go with their VLAN.
        """
        cdef uint16_t *table = NULL
        cdef uint64_t *carrying = NULL
        cdef uint64_t same[VID_WORDS]
        cdef uint32_t v
        old = [self._fid(v) for v in range(<uint32_t>VIDS)]
        if fids:
            table = <uint16_t *>_allocated(VIDS * 2)
            for v in range(<uint32_t>VIDS):
                table[v] = fids.get(v, v)
        if remote:
            carrying = <uint64_t *>_allocated(VID_WORDS * 8)
            fill_vids(carrying, remote)
        free(self.p.fids)
        free(self.p.remote)
        self.p.fids = table
        self.p.remote = carrying
        self._set_special()
        memset(same, 0, sizeof(same))
        for v in range(<uint32_t>VIDS):
            set_bit(same, v, self._fid(v) == old[v])
        wandering = [(vid, mac, port) for vid, mac, port, _, kind in self.macs.entries(0)
                     if kind == "static" and old[vid] != self._fid(vid)]
        fdb_flush_outside(&self.macs.t, NOWHERE, same)
        for vid, mac, _ in wandering:
            self.macs.remove(old[vid], mac)
        for vid, mac, port in wandering:
            self.macs.add_static(self._fid(vid), mac, port, vid)
        wanted = dict(limits)
        for v in range(1, 4095):
            self.macs.set_vlan_limit(v, wanted.get(v, 0))

    def _fid(self, uint16_t vid):
        return vid if self.p.fids == NULL else self.p.fids[vid]

    def fid(self, int vid):
        """Under which number the MAC table knows a VLAN's stations."""
        if not 1 <= vid <= 4094:
            raise ValueError(f"VID {vid} is not 1 to 4094")
        return self._fid(vid)

    def _set_special(self):
        # VLANs for which a frame has to stop: those that carry mirrored frames, and those that are mirrored.
        cdef uint32_t v
        free(self.p.special)
        self.p.special = NULL
        if self.p.remote == NULL and self.p.vlan_mirrors == NULL:
            return
        self.p.special = <uint64_t *>_allocated(VID_WORDS * 8)
        for v in range(<uint32_t>VIDS):
            set_bit(self.p.special, v, (self.p.remote != NULL and bit(self.p.remote, v))
                    or (self.p.vlan_mirrors != NULL and self.p.vlan_mirrors[v] != 0))

    def set_mac_limit(self, uint32_t limit):
        """Stations known at the most; a lower limit evicts those that are too many."""
        self.macs.limit = limit

    # --- frames

    def forward(self, int number, message, uint64_t now_ns, uint64_t wall_ns):
        """Every frame of one FRAMES message that came in at a port; returns how many there were.

        now_ns is the monotonic clock (ageing, storm control), wall_ns the time stamped on frames that have none. Whatever
        the message holds, nothing is raised for it: a malformed rest is dropped and counted.
        """
        cdef Py_buffer view                # a typed memoryview takes as long as three frames
        cdef Py_ssize_t done
        self._port(number)
        PyObject_GetBuffer(message, &view, PyBUF_SIMPLE)
        with nogil:
            done = forward(&self.p, &self.macs.t, <uint32_t>number, <const uint8_t *>view.buf, view.len, now_ns, wall_ns)
        PyBuffer_Release(&view)
        if self.p.violated:
            self.p.violated = False
            self.macs.flush(port=number)
        return done

    def trace(self, int number, const uint8_t[::1] frame not None, uint64_t now_ns, uint64_t wall_ns):
        """One frame through the same rules, on these very tables: notes of (rule, port, value), see tracing.py.

        It is learned, counted and queued like any other; who only wants to know asks a copy (Switch.snapshot, restore).
        """
        cdef trace_t *trace
        cdef uint32_t i
        self._port(number)
        burst = Burst()
        burst.append(frame)
        trace = <trace_t *>_allocated(sizeof(trace_t))
        self.p.trace = trace
        try:
            self.forward(number, burst.message(), now_ns, wall_ns)
            return [(trace.notes[i].rule, trace.notes[i].port, trace.notes[i].value) for i in range(trace.count)]
        finally:
            self.p.trace = NULL
            free(trace)

    def pending(self):
        """Numbers of the ports whose queues got frames since the last call."""
        cdef uint32_t i
        cdef list out = []
        for i in range(self.p.flushes):
            self.p.ports[self.p.flush[i]].pending = False
            out.append(self.p.flush[i])
        self.p.flushes = 0
        return out

    def statistics(self, int number):
        """Counters of a port: frames and bytes each way, and drops by reason."""
        cdef port_t *port = self._port(number)
        cdef counters_t *count = port.count
        cdef int i
        sent = self._queues[number].statistics()
        drops = {REASONS[i]: count.drops[i] for i in range(REASONS_END) if count.drops[i]}
        for reason, lost in sent["drops"].items():
            if reason != "queue-full":      # counted above already, by forward()
                drops[reason] = drops.get(reason, 0) + lost
        return {"rx_frames": count.rx_frames, "rx_bytes": count.rx_bytes, "rx_multicast": count.rx_multicast,
                "rx_broadcast": count.rx_broadcast, "tx_frames": sent["tx_frames"], "tx_bytes": sent["tx_bytes"],
                "waiting_frames": sent["waiting_frames"], "waiting_bytes": sent["waiting_bytes"], "drops": drops}

    # --- mirrors

    def set_mirrors(self, mirrors):
        """All mirrors at once: (numbers of ports in, of ports out, VIDs, destination's number or -1, RSPAN VID or 0)."""
        cdef uint32_t number
        cdef int i
        mirrors = list(mirrors)
        if len(mirrors) > MIRRORS:
            raise ValueError(f"a switch has at most {MIRRORS} mirrors")
        for coming, leaving, _, target, _ in mirrors:
            for number in (*coming, *leaving, *((target,) if target >= 0 else ())):
                self._port(number)
        if mirrors and self.p.scratch == NULL:
            self.p.scratch = <uint8_t *>_allocated(LONGEST_FRAME + 8)
        for number in range(self.p.capacity):
            self.p.ports[number].mirrors_in = self.p.ports[number].mirrors_out = self.p.ports[number].destination = 0
        for i, (coming, leaving, _, target, vlan) in enumerate(mirrors):
            self.p.mirrors[i].to_port = target
            self.p.mirrors[i].to_vlan = vlan
            for number in coming:
                self.p.ports[number].mirrors_in |= <uint8_t>(1 << i)
            for number in leaving:
                self.p.ports[number].mirrors_out |= <uint8_t>(1 << i)
            if target >= 0:
                self.p.ports[<uint32_t>target].destination = True
        self._mirror_vlans([vids for _, _, vids, _, _ in mirrors])
        for number in range(self.p.capacity):
            if self.p.ports[number].present:
                tables_refresh(&self.p, number)
                if self.p.ports[number].destination:
                    self._forget_wrong(number)

    def _mirror_vlans(self, sets):
        cdef int i
        free(self.p.vlan_mirrors)
        self.p.vlan_mirrors = NULL
        if any(sets):
            self.p.vlan_mirrors = <uint8_t *>_allocated(VIDS)
            for i, vids in enumerate(sets):
                for vid in vids:
                    self.p.vlan_mirrors[<uint16_t>vid] |= <uint8_t>(1 << i)
        self._set_special()

    # --- captures

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
            tables_refresh(&self.p, number)
        return session, queue

    def remove_capture(self, int session):
        """End a session; what waits in its queue stays there for whoever holds it."""
        cdef uint32_t number
        if not 0 <= session < SESSIONS:
            raise KeyError(f"no capture session {session}")
        for number in range(self.p.capacity):
            if self.p.ports[number].captures >> session & 1:
                self.p.ports[number].captures &= <uint8_t>~(1 << session)
                tables_refresh(&self.p, number)
        self.p.sessions[session] = NULL
        self._sessions[session] = None


cdef void _count_alone(queue_t *queue) noexcept nogil:
    # A queue without a port counts by itself what is sent.
    queue.own[0] = queue.sent[0]
    queue.own[1] = queue.sent[1]
    queue.sent = queue.own


cdef void *_allocated(size_t size) except NULL:
    cdef void *p = calloc(1, size)
    if p == NULL:
        raise MemoryError()
    return p
