"""Frames between an AF_PACKET socket and bursts, without the GIL: recvmmsg() and sendmmsg() with PACKET_VNET_HDR.

Knows: packet(7): the virtio-net header of 10 bytes before each frame, the outer VLAN tag that the kernel takes out of it
and tells in PACKET_AUXDATA. Refuses to know: interfaces, carrier, queues, switches.

Frames joined by GRO, not yet cut by TSO or without their checksum come with a header that says so, and go into the burst
with it; other frames without it.
"""

from libc.errno cimport EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES,
                            load16, load32, store16, store32, store64, store_header)
from netvirt.dataplane.vnet cimport NEEDS_CSUM
from netvirt.ports.mmsg cimport MSG_DONTWAIT, MSG_TRUNC, c_recvmmsg, c_sendmmsg, iovec, mmsghdr, msghdr
from netvirt.ports.wire cimport Wire, wire_t

cdef extern from "<errno.h>" nogil:
    int EMSGSIZE, ENOBUFS, ENETDOWN

cdef extern from "<sys/socket.h>" nogil:
    struct cmsghdr:
        int cmsg_level
        int cmsg_type
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    void *CMSG_DATA(cmsghdr *control)
    int SOL_PACKET

cdef extern from "<linux/if_packet.h>" nogil:
    struct tpacket_auxdata:
        uint32_t tp_status
        uint16_t tp_vlan_tci
        uint16_t tp_vlan_tpid
    enum:
        PACKET_AUXDATA
        TP_STATUS_VLAN_VALID
        TP_STATUS_VLAN_TPID_VALID

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(const char *text, Py_ssize_t size)
    char *PyByteArray_AS_STRING(object array)

cdef enum:
    LEGACY = 10               # struct virtio_net_hdr, without num_buffers
    SLOTS = 12                # so many of the longest frames, and what a turn holds before them, are under 1 MiB
    SLOT = 65664              # LONGEST_FRAME and one byte more that tells of one too long
    CONTROL = 64
    TURN_FRAMES = 256
    TURN_BYTES = 131072
    OUTPUT = HEADER_BYTES + TURN_BYTES + SLOTS * (FRAME_HEADER_BYTES + VNET_BYTES + 4 + LONGEST_FRAME)
    BATCH = 64

cdef struct slot_t:
    uint8_t vnet[12]
    uint8_t control[CONTROL]

cdef struct packet_t:
    wire_t wire               # first: the shortcut knows nothing else
    uint8_t *frames           # SLOTS times SLOT
    slot_t slots[SLOTS]
    uint64_t rx_frames, rx_bytes, rx_bursts, tx_frames, tx_bytes
    uint64_t runt, oversize, cut, refused, too_long, no_buffers, interface_down


cdef class PacketIo(Wire):
    """One packet socket's frames, both ways."""

    cdef bytearray _frames
    cdef packet_t t

    def __cinit__(self):
        self.hold(&self.t.wire, OUTPUT, _pull, _push)
        # Not bytearray(n), which would write zeros: an idle port must not own touched pages.
        self._frames = PyByteArray_FromStringAndSize(NULL, SLOTS * SLOT)
        self.t.frames = <uint8_t *>PyByteArray_AS_STRING(self._frames)
        self.reset(-1)

    def reset(self, int fd):
        """Another socket, or the queue was emptied: forget where we were, and that it ended. Counters stay."""
        self.begin(fd)

    def statistics(self):
        """Frames and bytes both ways, and what was cut off or lost, by reason."""
        return {
            "rx_frames": self.t.rx_frames, "rx_bytes": self.t.rx_bytes, "rx_bursts": self.t.rx_bursts,
            "tx_frames": self.t.tx_frames, "tx_bytes": self.t.tx_bytes,
            "runt": self.t.runt, "oversize": self.t.oversize, "cut": self.t.cut, "refused": self.t.refused,
            "too-long": self.t.too_long, "no-buffers": self.t.no_buffers, "interface-down": self.t.interface_down,
        }


# In

cdef int _pull(wire_t *w) noexcept nogil:
    cdef packet_t *t = <packet_t *>w
    cdef mmsghdr messages[SLOTS]
    cdef iovec pieces[2 * SLOTS]
    cdef int i, got, code = 0, turns = TURN_FRAMES // SLOTS
    w.used = HEADER_BYTES
    w.count = 0
    while turns and w.used < HEADER_BYTES + TURN_BYTES:
        turns -= 1
        _prepare(t, messages, pieces)
        got = c_recvmmsg(w.fd, messages, SLOTS, MSG_DONTWAIT, NULL)
        for i in range(got):
            _take(t, i, &messages[i])
        if got == SLOTS or got < 0 and errno == EINTR:
            continue
        if got < 0 and (errno == EINVAL or errno == EFAULT or errno == EMSGSIZE):
            t.cut += 1         # a kind of large frame that a virtio-net header has no word for: the kernel drops it
            continue
        if got < 0 and errno == ENETDOWN:
            w.down = True      # said once; the socket goes on when the interface comes up again
        elif got < 0 and errno != EAGAIN:
            code = errno
        break
    store_header(w.message, 0, w.count, 0)
    if w.count:
        t.rx_bursts += 1
    return code


cdef inline void _prepare(packet_t *t, mmsghdr *messages, iovec *pieces) noexcept nogil:
    cdef int i
    memset(messages, 0, SLOTS * sizeof(mmsghdr))
    for i in range(SLOTS):
        pieces[2 * i].iov_base, pieces[2 * i].iov_len = t.slots[i].vnet, LEGACY
        pieces[2 * i + 1].iov_base, pieces[2 * i + 1].iov_len = t.frames + <size_t>i * SLOT, LONGEST_FRAME + 1
        messages[i].msg_hdr.msg_iov = &pieces[2 * i]
        messages[i].msg_hdr.msg_iovlen = 2
        messages[i].msg_hdr.msg_control = t.slots[i].control
        messages[i].msg_hdr.msg_controllen = CONTROL


cdef inline uint32_t _tag(msghdr *message) noexcept nogil:
    # The outer tag that the kernel took out, TPID << 16 | TCI; 0: there was none.
    cdef cmsghdr *control = CMSG_FIRSTHDR(message)
    cdef tpacket_auxdata aux
    cdef uint32_t tpid = 0x8100
    if control == NULL or control.cmsg_level != SOL_PACKET or control.cmsg_type != PACKET_AUXDATA:
        return 0
    memcpy(&aux, CMSG_DATA(control), sizeof(aux))
    if not aux.tp_status & TP_STATUS_VLAN_VALID:
        return 0
    if aux.tp_status & TP_STATUS_VLAN_TPID_VALID:
        tpid = aux.tp_vlan_tpid
    return tpid << 16 | aux.tp_vlan_tci


cdef inline void _take(packet_t *t, int slot, mmsghdr *message) noexcept nogil:
    cdef wire_t *w = &t.wire
    cdef uint8_t *p = w.message + w.used
    cdef uint8_t *vnet = t.slots[slot].vnet
    cdef const uint8_t *data = t.frames + <size_t>slot * SLOT
    cdef uint32_t length = message.msg_len, tag, more
    if message.msg_hdr.msg_flags & MSG_TRUNC or length > LEGACY + LONGEST_FRAME:
        t.oversize += 1
        return
    if length < LEGACY + SHORTEST_FRAME:
        t.runt += 1
        return
    length -= LEGACY
    tag = _tag(&message.msg_hdr)
    more = 4 if tag else 0
    if length + more > LONGEST_FRAME:
        t.oversize += 1
        return
    store32(p, length + more)
    store64(p + 8, 0)
    store64(p + 16, 0)
    if vnet[0] & NEEDS_CSUM or vnet[1]:
        store32(p + 4, FRAME_VNET)
        memcpy(p + FRAME_HEADER_BYTES, vnet, LEGACY)
        _shift(p + FRAME_HEADER_BYTES, more)
        p += VNET_BYTES
        w.used += VNET_BYTES
    else:
        store32(p + 4, 0)
    p += FRAME_HEADER_BYTES
    memcpy(p, data, 12)
    if tag:
        p[12], p[13], p[14], p[15] = <uint8_t>(tag >> 24), <uint8_t>(tag >> 16), <uint8_t>(tag >> 8), <uint8_t>tag
    memcpy(p + 12 + more, data + 12, length - 12)
    w.used += FRAME_HEADER_BYTES + length + more
    w.count += 1
    t.rx_frames += 1
    t.rx_bytes += length + more


cdef inline void _shift(uint8_t *vnet, uint32_t more) noexcept nogil:
    # What the header says of places counts from the frame's begin, and a tag moves them.
    if vnet[1]:
        store16(vnet + 2, <uint16_t>(load16(vnet + 2) + more))
    if vnet[0] & NEEDS_CSUM:
        store16(vnet + 6, <uint16_t>(load16(vnet + 6) + more))
    store16(vnet + LEGACY, 0)


# Out

cdef int _push(wire_t *w, const uint8_t *m, size_t size) noexcept nogil:
    cdef packet_t *t = <packet_t *>w
    cdef mmsghdr messages[BATCH]
    cdef iovec pieces[2 * BATCH]
    cdef uint8_t none[LEGACY]
    cdef uint32_t count = load32(m + 4)
    cdef int ready, done, code
    memset(none, 0, LEGACY)
    if w.index == 0:
        w.next = HEADER_BYTES
    while w.index < count:
        ready = _gather(w, m, size, count, messages, pieces, none)
        if ready == 0:
            break
        done = c_sendmmsg(w.fd, messages, ready, MSG_DONTWAIT)
        if done < 0:
            code = _lost(t, errno)
            if code == EINTR:
                continue
            if code:
                return code
            _advance(t, m, 1, False)
        else:
            w.down = False
            _advance(t, m, done, True)
    w.index = 0
    return 0


cdef inline int _lost(packet_t *t, int code) noexcept nogil:
    # Why the next frame did not go: 0 where it is lost and counted, and the others can go on.
    if code == ENOBUFS or code == ENOMEM:
        t.no_buffers += 1
    elif code == EMSGSIZE:
        t.too_long += 1
    elif code == EINVAL or code == EFAULT:
        t.refused += 1
    elif code == ENETDOWN:
        t.interface_down += 1
        t.wire.down = True
    else:
        return code
    return 0


cdef inline int _gather(wire_t *w, const uint8_t *m, size_t size, uint32_t count, mmsghdr *messages, iovec *pieces,
                        uint8_t *none) noexcept nogil:
    # The frames from our position on, as far as one call takes them. 0: the message is cut short.
    cdef size_t at = w.next
    cdef uint32_t index = w.index, length
    cdef int ready = 0
    cdef bint headed
    memset(messages, 0, BATCH * sizeof(mmsghdr))
    while index < count and ready < BATCH and size - at >= FRAME_HEADER_BYTES:
        length = load32(m + at)
        headed = load16(m + at + 4) & FRAME_VNET
        at += FRAME_HEADER_BYTES + (VNET_BYTES if headed else 0)
        if length > LONGEST_FRAME or at > size or size - at < length:
            break
        pieces[2 * ready].iov_base = <void *>(m + at - VNET_BYTES) if headed else none
        pieces[2 * ready].iov_len = LEGACY
        pieces[2 * ready + 1].iov_base, pieces[2 * ready + 1].iov_len = <void *>(m + at), length
        messages[ready].msg_hdr.msg_iov = &pieces[2 * ready]
        messages[ready].msg_hdr.msg_iovlen = 2
        at += length
        ready += 1
        index += 1
    return ready


cdef inline void _advance(packet_t *t, const uint8_t *m, int frames, bint sent) noexcept nogil:
    cdef wire_t *w = &t.wire
    cdef uint32_t length
    while frames:
        length = load32(m + w.next)
        w.next += FRAME_HEADER_BYTES + length + (VNET_BYTES if load16(m + w.next + 4) & FRAME_VNET else 0)
        w.index += 1
        frames -= 1
        if sent:
            t.tx_frames += 1
            t.tx_bytes += length
