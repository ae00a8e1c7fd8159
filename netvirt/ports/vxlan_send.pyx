"""Bursts -> VXLAN datagrams to one remote or to all of them, many per system call, without the GIL.

Keeps one batch on its way: what a full socket did not take goes first when it is asked again.
Refuses to know: who opens the sockets, clocks, queues, switches.

The socket is chosen by a hash of the inner flow: so the source port spreads flows over paths and processors (RFC 7348
clause 4.1), while the frames of one flow stay in order.
"""

from libc.errno cimport EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES,
                            is_frames, load16, load16be, load32)
from netvirt.ports.mmsg cimport MSG_DONTWAIT, MSG_NOSIGNAL, c_sendmmsg, iovec, mmsghdr
from netvirt.ports.vxlan_inner cimport flow_hash, is_tag
from netvirt.ports.vxlan_table cimport Table, mac_key

cdef enum:
    VXLAN_BYTES = 8
    VALID_VNI = 0x08  # the I flag
    MACS = 12
    TAG = 4
    BATCH = 128
    MOST_SOCKETS = 16
    PIECES = 3

cdef struct datagram_t:
    uint32_t place  # of the frame in the message
    uint32_t length
    uint16_t skip  # bytes between the addresses and the rest that stay behind: the tag
    uint16_t remote
    uint8_t through  # which socket
    bint done


cdef class Sender:
    """`frames`, of which `floods` went to all remotes: `datagrams` in all. Left out and counted: `unmapped` (a VLAN
    without VNI), `inner_tag`, `too_long` (more than the way carries; `longest` inner frame that was), `no_buffers`,
    `unreachable`, `offload_unsupported` (a frame with a virtio-net header).
    """

    cdef Table _table
    cdef uint32_t _now, _index
    cdef datagram_t _batch[BATCH]
    cdef uint8_t _headers[BATCH][VXLAN_BYTES]
    cdef int _waiting, _flooded
    cdef size_t _next
    cdef readonly int blocked
    cdef readonly uint64_t frames, nbytes, datagrams, floods, unmapped, inner_tag, too_long, no_buffers, unreachable
    cdef readonly uint64_t offload_unsupported
    cdef readonly uint32_t longest

    def __cinit__(self, Table table not None):
        self._table = table
        self.reset()

    def reset(self):
        """Other sockets, or another message: begin at its first frame. Counters stay."""
        self._next = 0
        self._index = 0
        self._waiting = 0
        self._flooded = -1
        self.blocked = 0

    def write(self, list fds not None, const uint8_t[::1] message not None, uint32_t now):
        """Sends what the kernel takes now; True when the whole message is sent.

        After False call again with the same message (its end may have grown) when fds[blocked] can be written. now:
        seconds. ValueError: no FRAMES message.
        """
        cdef size_t size = <size_t>message.shape[0]
        cdef const uint8_t *data = &message[0] if size else NULL
        cdef int handles[MOST_SOCKETS]
        cdef int i, done, count = len(fds)
        if not 0 < count <= MOST_SOCKETS:
            raise ValueError(f"1 to {MOST_SOCKETS} sockets")
        for i in range(count):
            handles[i] = fds[i]
        self._now = now
        with nogil:
            done = self._write(handles, count, data, size)
        if done < 0:
            raise ValueError(f"no FRAMES message: wrong at byte {self._next}")
        if done:
            self.reset()
        return bool(done)

    cdef int _write(self, const int *fds, int count, const uint8_t *data, size_t size) noexcept nogil:
        """1: all sent; 0: a socket is full; -1: no FRAMES message."""
        if not is_frames(data, size):
            return -1
        if self._next == 0:
            self._next = HEADER_BYTES
        while True:
            if not self._waiting and not self._gather(data, size, count):
                return -1
            if not self._waiting:
                return 1
            if not self._send(fds, count, data):
                return 0

    cdef bint _gather(self, const uint8_t *data, size_t size, int sockets) noexcept nogil:
        """Fills the batch from the position on, and moves it; False where the message is wrong."""
        cdef size_t body
        cdef uint32_t length
        while self._waiting < BATCH and self._index < load32(data + 4):
            body = self._next + FRAME_HEADER_BYTES
            if body > size:
                return False
            length = load32(data + self._next)
            if load16(data + self._next + 4) & FRAME_VNET:
                body += VNET_BYTES
            if length < SHORTEST_FRAME or length > LONGEST_FRAME or body > size or size - body < length:
                return False
            if body != self._next + FRAME_HEADER_BYTES:
                self.offload_unsupported += 1
            elif not self._wrap(data + body, <uint32_t>body, length, sockets):
                return True  # a flood that goes on in the next batch
            self._next = body + length
            self._index += 1
        return True

    cdef bint _wrap(self, const uint8_t *frame, uint32_t place, uint32_t length, int sockets) noexcept nogil:
        """Adds one frame's datagrams to the batch; False if there was no room for all of them."""
        cdef uint32_t vid = 0, skip = 0
        cdef int remote, last
        cdef uint8_t through
        if is_tag(frame + MACS) and length >= SHORTEST_FRAME + TAG:
            vid, skip = load16be(frame + MACS + 2) & 0xFFF, TAG
        if self._table.vni[vid] < 0:
            self.unmapped += 1
            return True
        if is_tag(frame + MACS + skip) and not self._table.inner_tags:
            self.inner_tag += 1
            return True
        through = <uint8_t>(flow_hash(frame, frame + MACS + skip, length - MACS - skip) % <uint32_t>sockets)
        remote = -1
        if self._flooded < 0:
            self.frames += 1
            self.nbytes += length
            remote = -1 if frame[0] & 1 else self._table.find(mac_key(frame, vid), self._now)
            self.floods += remote < 0
        last = remote
        if remote < 0:
            remote, last = max(0, self._flooded), self._table.count - 1
        while remote <= last:
            if self._waiting == BATCH:
                self._flooded = remote
                return False
            self._add(place, length, skip, remote, through, <uint32_t>self._table.vni[vid])
            remote += 1
        self._flooded = -1
        return True

    cdef void _add(self, uint32_t place, uint32_t length, uint32_t skip, int remote, uint8_t through,
                   uint32_t vni) noexcept nogil:
        cdef uint8_t *header = self._headers[self._waiting]
        cdef datagram_t *one = self._batch + self._waiting
        one.place, one.length, one.skip, one.remote = place, length, <uint16_t>skip, <uint16_t>remote
        one.through, one.done = through, False
        memset(header, 0, VXLAN_BYTES)
        header[0] = VALID_VNI
        header[4], header[5], header[6] = <uint8_t>(vni >> 16), <uint8_t>(vni >> 8), <uint8_t>vni
        self._waiting += 1

    cdef bint _send(self, const int *fds, int count, const uint8_t *data) noexcept nogil:
        """Sends the batch, one socket after the other; False if one is full: the rest of the batch stays."""
        cdef mmsghdr messages[BATCH]
        cdef iovec pieces[BATCH * PIECES]
        cdef int which[BATCH]
        cdef int through, put, sent, i
        for through in range(count):
            while True:
                put = self._fill(<uint8_t>through, data, messages, pieces, which)
                if not put:
                    break
                sent = c_sendmmsg(fds[through], messages, <unsigned int>put, MSG_DONTWAIT | MSG_NOSIGNAL)
                if sent < 0 and errno == EINTR:
                    continue
                if sent < 0 and errno == EAGAIN:
                    self.blocked = through
                    return False
                if sent < 0:
                    self._lost(errno, which[0])
                    sent = 1
                else:
                    self.datagrams += sent
                for i in range(sent):
                    self._batch[which[i]].done = True
        self._waiting = 0
        return True

    cdef int _fill(self, uint8_t through, const uint8_t *data, mmsghdr *messages, iovec *pieces,
                   int *which) noexcept nogil:
        """What is still to go through one socket; returns how many datagrams."""
        cdef datagram_t *one
        cdef iovec *piece
        cdef int i, put = 0
        cdef uint32_t behind
        for i in range(self._waiting):
            one = self._batch + i
            if one.through != through or one.done:
                continue
            behind = MACS + one.skip
            piece = pieces + put * PIECES
            piece[0].iov_base, piece[0].iov_len = self._headers[i], VXLAN_BYTES
            piece[1].iov_base, piece[1].iov_len = <void *>(data + one.place), MACS
            piece[2].iov_base, piece[2].iov_len = <void *>(data + one.place + behind), one.length - behind
            memset(messages + put, 0, sizeof(mmsghdr))
            messages[put].msg_hdr.msg_iov, messages[put].msg_hdr.msg_iovlen = piece, PIECES
            messages[put].msg_hdr.msg_name = self._table.names[one.remote]
            messages[put].msg_hdr.msg_namelen = <unsigned int>self._table.name_bytes
            which[put] = i
            put += 1
        return put

    cdef void _lost(self, int code, int which) noexcept nogil:
        """One datagram that the kernel would not take."""
        cdef datagram_t *one = self._batch + which
        if code == EMSGSIZE:
            self.too_long += 1
            self.longest = max(self.longest, one.length - one.skip)
        elif code == ENOBUFS or code == ENOMEM:
            self.no_buffers += 1
        else:
            self.unreachable += 1
