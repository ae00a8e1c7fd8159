"""Frames between a TAP's descriptor and bursts, without the GIL: one read() or write() per frame, as the kernel wants it.

Knows: what a read and a write of a TAP look like (if_tun.h), with a virtio-net header of 12 bytes or none, and the burst
format (netvirt/burst.pxd). Bounded memory: one burst in, and a position in a burst out.
Refuses to know: how the TAP was made, carrier, queues, switches.

A header that asks for nothing is left out of the burst: an ordinary frame is cheaper for everybody behind this.
"""

from libc.errno cimport EAGAIN, EFAULT, EINTR, EINVAL, EIO, ENOMEM, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove, memset, strncpy

import os

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES,
                            load16, load32, store32, store64, store_header)
from netvirt.dataplane.vnet cimport NEEDS_CSUM
from netvirt.ports.wire cimport Wire, wire_t

cdef extern from "<errno.h>" nogil:
    int EMSGSIZE, ENOBUFS

cdef extern from "<unistd.h>" nogil:
    ssize_t c_read "read"(int fd, void *buffer, size_t size)
    ssize_t c_write "write"(int fd, const void *buffer, size_t size)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t c_writev "writev"(int fd, const iovec *pieces, int count)

cdef extern from "<sys/ioctl.h>" nogil:
    int c_ioctl "ioctl"(int fd, unsigned long request, void *value)

cdef extern from "<net/if.h>" nogil:
    enum:
        IFNAMSIZ
    struct ifreq:
        char ifr_name[16]
        char *ifr_data

cdef extern from "<linux/sockios.h>":
    enum:
        SIOCETHTOOL

cdef extern from "<linux/ethtool.h>" nogil:
    enum:
        ETHTOOL_GSET
        ETHTOOL_SSET
        DUPLEX_FULL
    struct ethtool_cmd:
        uint32_t cmd
        uint8_t duplex
    void ethtool_cmd_speed_set(ethtool_cmd *command, uint32_t speed)
    uint32_t ethtool_cmd_speed(const ethtool_cmd *command)

cdef enum:
    TURN_FRAMES = 256      # then others have their turn
    TURN_BYTES = 131072    # or after two or three of the largest frames
    # The last frame of a turn may be as long as a frame can be, and one byte more tells that it was too long.
    LONGEST_READ = VNET_BYTES + LONGEST_FRAME + 1
    OUTPUT = HEADER_BYTES + TURN_BYTES + FRAME_HEADER_BYTES + VNET_BYTES + LONGEST_READ


cdef struct tap_t:
    wire_t wire                # first: the shortcut knows nothing else
    bint vnet, large
    uint64_t rx_frames, rx_bytes, rx_bursts, tx_frames, tx_bytes
    uint64_t runt, oversize, cut, refused, interface_down, offload_unsupported


cdef class TapIo(Wire):
    """One descriptor's frames, both ways. vnet: every read and write carries a virtio-net header of 12 bytes."""

    cdef tap_t t

    def __cinit__(self):
        self.hold(&self.t.wire, OUTPUT, _pull, _push)
        self.reset(-1, False)

    def reset(self, int fd, bint vnet):
        """Another descriptor, or the queue was emptied: forget where we were, and that it ended. Counters stay."""
        self.begin(fd)
        self.t.vnet = vnet
        self.t.large = False

    def statistics(self):
        """Frames and bytes both ways, and what was cut off or lost, by reason."""
        return {
            "rx_frames": self.t.rx_frames, "rx_bytes": self.t.rx_bytes, "rx_bursts": self.t.rx_bursts,
            "tx_frames": self.t.tx_frames, "tx_bytes": self.t.tx_bytes,
            "runt": self.t.runt, "oversize": self.t.oversize, "cut": self.t.cut, "refused": self.t.refused,
            "interface-down": self.t.interface_down, "offload-unsupported": self.t.offload_unsupported,
        }


# In

cdef int _pull(wire_t *w) noexcept nogil:
    cdef tap_t *t = <tap_t *>w
    cdef int turns = TURN_FRAMES, code = 0
    cdef uint8_t *at
    cdef ssize_t got
    w.used = HEADER_BYTES
    w.count = 0
    while turns and w.used < HEADER_BYTES + TURN_BYTES:
        turns -= 1
        # Where this frame should lie if it is as the one before it: so nearly none is moved.
        at = w.message + w.used + FRAME_HEADER_BYTES
        if t.vnet and not t.large:
            at -= VNET_BYTES
        got = c_read(w.fd, at, LONGEST_READ)
        if got > 0:
            _take(t, at, <size_t>got)
        elif got == 0:
            code = -1
            break
        elif errno == EAGAIN:
            break
        elif errno == EFAULT or errno == EINVAL or errno == EMSGSIZE:    # a frame that does not fit is gone
            t.cut += 1
        elif errno != EINTR:
            code = errno
            break
    store_header(w.message, 0, w.count, 0)
    if w.count:
        t.rx_bursts += 1
    return code


cdef inline void _take(tap_t *t, uint8_t *at, size_t got) noexcept nogil:
    cdef wire_t *w = &t.wire
    cdef uint8_t *p = w.message + w.used
    cdef uint8_t *data = p + FRAME_HEADER_BYTES
    cdef size_t head = VNET_BYTES if t.vnet else 0
    if got < head + SHORTEST_FRAME:
        t.runt += 1
        return
    if got > head + LONGEST_FRAME:
        t.oversize += 1
        return
    t.large = head and (at[0] & NEEDS_CSUM or at[1])
    if t.large:
        if at != data:
            memmove(data, at, got)
    elif at + head != data:
        memmove(data, at + head, got - head)
    store32(p, <uint32_t>(got - head))
    store32(p + 4, FRAME_VNET if t.large else 0)
    store64(p + 8, 0)
    store64(p + 16, 0)
    w.used += FRAME_HEADER_BYTES + (got if t.large else got - head)
    w.count += 1
    t.rx_frames += 1
    t.rx_bytes += got - head


# Out

cdef int _push(wire_t *w, const uint8_t *m, size_t size) noexcept nogil:
    cdef tap_t *t = <tap_t *>w
    cdef uint32_t count = load32(m + 4), length
    cdef size_t body
    cdef uint16_t flags
    cdef int code
    if w.index == 0:
        w.next = HEADER_BYTES
    while w.index < count and size - w.next >= FRAME_HEADER_BYTES:
        length = load32(m + w.next)
        flags = load16(m + w.next + 4)
        body = w.next + FRAME_HEADER_BYTES + (VNET_BYTES if flags & FRAME_VNET else 0)
        if length > LONGEST_FRAME or body > size or size - body < length:
            break
        if flags & FRAME_VNET and not t.vnet:
            t.offload_unsupported += 1
        else:
            code = _put(t, m + body, length, flags & FRAME_VNET)
            if code:
                return code
        w.next = body + length
        w.index += 1
    w.index = 0
    return 0


cdef inline int _put(tap_t *t, const uint8_t *data, uint32_t length, bint headed) noexcept nogil:
    # 0: written, or lost and counted; else why no more can be written.
    cdef uint8_t none[VNET_BYTES]
    cdef iovec pieces[2]
    cdef ssize_t done
    while True:
        if headed:
            done = c_write(t.wire.fd, data - VNET_BYTES, length + VNET_BYTES)
        elif t.vnet:
            memset(none, 0, VNET_BYTES)
            pieces[0].iov_base, pieces[0].iov_len = none, VNET_BYTES
            pieces[1].iov_base, pieces[1].iov_len = <void *>data, length
            done = c_writev(t.wire.fd, pieces, 2)
        else:
            done = c_write(t.wire.fd, data, length)
        if done >= 0:
            t.wire.down = False
            t.tx_frames += 1
            t.tx_bytes += length
            return 0
        if errno == EIO:
            t.wire.down = True
            t.interface_down += 1
            return 0
        if errno == EINVAL or errno == EMSGSIZE or errno == ENOBUFS or errno == ENOMEM or errno == EFAULT:
            t.refused += 1
            return 0
        if errno != EINTR:
            return errno


def set_speed(int sock, str name, uint32_t mbit):
    """Sets the speed that an interface tells of itself, in Mbit/s, full duplex. Raises OSError.

    Everybody who reckons with it (routing costs, spanning tree, bonding) takes a TAP for 10 Mbit/s otherwise.
    """
    cdef ethtool_cmd command
    _ethtool(sock, name, &command, ETHTOOL_GSET)
    ethtool_cmd_speed_set(&command, mbit)
    command.duplex = DUPLEX_FULL
    _ethtool(sock, name, &command, ETHTOOL_SSET)


def get_speed(int sock, str name):
    """The speed that an interface tells of itself in Mbit/s, 0 where it knows none. Raises OSError."""
    cdef ethtool_cmd command
    cdef uint32_t speed
    _ethtool(sock, name, &command, ETHTOOL_GSET)
    speed = ethtool_cmd_speed(&command)
    return 0 if speed == <uint32_t>0xFFFFFFFF else speed


cdef int _ethtool(int sock, str name, ethtool_cmd *command, uint32_t what) except -1:
    cdef ifreq request
    cdef bytes text = name.encode()
    if what == ETHTOOL_GSET:
        memset(command, 0, sizeof(ethtool_cmd))
    memset(&request, 0, sizeof(ifreq))
    strncpy(request.ifr_name, text, IFNAMSIZ - 1)
    request.ifr_data = <char *>command
    command.cmd = what
    if c_ioctl(sock, SIOCETHTOOL, &request) < 0:
        raise OSError(errno, os.strerror(errno), name)
    return 0
