"""Frames between a connected datagram socket and bursts, many per system call, without the GIL: one datagram, one frame.

Knows: recvmmsg, sendmmsg and the burst format (netvirt/burst.pxd); which errors cost one frame and which end the peer.
Bounded both ways: the receiver takes at most SLOTS datagrams per call, the sender keeps nothing but a position.
Refuses to know: addresses (the socket is connected), who opens it and when, queues, switches.
"""

from libc.errno cimport (EAGAIN, ECONNREFUSED, EHOSTUNREACH, EINTR, EMSGSIZE, ENETDOWN, ENETUNREACH, ENOBUFS, ENOMEM,
                         errno)
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memmove, memset

import os

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES,
                            is_frames, load16, load32, store32, store_header)

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(const char *text, Py_ssize_t size)
    char *PyByteArray_AS_STRING(object array)

cdef enum:
    SLOTS = 64
    # A message header, a frame header and the longest frame are 65,597 bytes. An odd multiple of a cache line: with a
    # power of two the beginnings of all slots would share one set of the cache.
    SLOT = 65600
    FULL = 262144  # a message is handed over when it has grown so large, as a switch fills it
    BATCH = 128  # frames per sendmmsg: 10 KiB of stack


cdef class _Room:
    """Where datagrams arrive: one for all ports of a process, because a message is used up before the next is read."""

    cdef bytearray _store
    cdef object view, owner
    cdef bint busy

    cdef void take(self, object owner) except *:
        global _slots
        if self._store is None:
            # Not bytearray(n), which would write zeros: 4 MiB of addresses, and memory only where a frame has been.
            self._store = PyByteArray_FromStringAndSize(NULL, SLOTS * SLOT)
            _slots = <uint8_t *>PyByteArray_AS_STRING(self._store)
            # The view also pins the store: a bytearray with a view on it cannot be resized away under the pointer.
            self.view = memoryview(self._store).toreadonly()
        if self.busy:
            raise RuntimeError("a Receiver reads in another thread; they share one room")
        self.busy = True
        self.owner = owner


cdef uint8_t *_slots = NULL
cdef _Room _ROOM = _Room()


cdef class Receiver:
    """Datagrams -> FRAMES messages. What can't be a frame is left out and counted: `empty` (0 bytes), `runts` (under
    14), `oversize` (over 65,557, cut off by the kernel).
    """

    cdef unsigned int _sizes[SLOTS]
    cdef int _next, _got
    cdef uint32_t _count
    cdef readonly uint64_t frames, nbytes, empty, runts, oversize

    def read(self, int fd):
        """Reads once, without blocking; returns frames as one FRAMES message, or None. Then ask `rest()`.

        The message (a memoryview) is valid until a Receiver reads again, this one or another: they share their room.
        OSError: what the socket says of its peer.
        """
        cdef int got, code = 0
        _ROOM.take(self)
        try:
            with nogil:
                got = self._receive(fd)
                if got < 0:
                    code = errno
        finally:
            _ROOM.busy = False
        self._next = 0
        self._got = max(0, got)
        if got < 0 and code != EAGAIN and code != EINTR:
            raise OSError(code, os.strerror(code))
        return self.rest()

    def rest(self):
        """More of what read() took, as one more message, or None: frames of 64 KiB do not fit into one."""
        cdef size_t size, start
        if self._next == self._got:
            return None
        if _ROOM.owner is not self:
            raise RuntimeError("another Receiver has read before this one's frames were looked at")
        start = <size_t>self._next * SLOT
        size = self._pack(start)
        return _ROOM.view[start:start + size] if self._count else None

    cdef int _receive(self, int fd) noexcept nogil:
        """Each datagram goes where its frame would stand in a message of its own."""
        cdef mmsghdr messages[SLOTS]
        cdef iovec pieces[SLOTS]
        cdef int i, got
        memset(messages, 0, sizeof(messages))
        for i in range(SLOTS):
            pieces[i].iov_base = _slots + <size_t>i * SLOT + HEADER_BYTES + FRAME_HEADER_BYTES
            pieces[i].iov_len = LONGEST_FRAME
            messages[i].msg_hdr.msg_iov = &pieces[i]
            messages[i].msg_hdr.msg_iovlen = 1
        got = c_recvmmsg(fd, messages, SLOTS, MSG_DONTWAIT, NULL)
        for i in range(got):
            self._sizes[i] = messages[i].msg_len
            if messages[i].msg_hdr.msg_flags & MSG_TRUNC:
                self._sizes[i] = LONGEST_FRAME + 1
        return got

    cdef size_t _pack(self, size_t start) noexcept nogil:
        """Moves frames together at byte `start`, from slot _next on; returns the message's size, sets _count.

        A slot is longer than the longest frame with its header, so a frame never moves over one that waits.
        """
        cdef uint8_t *base = _slots + start
        cdef size_t out = HEADER_BYTES
        cdef uint32_t length
        self._count = 0
        while self._next < self._got:
            length = self._sizes[self._next]
            if length < SHORTEST_FRAME:
                if length:
                    self.runts += 1
                else:
                    self.empty += 1
            elif length > LONGEST_FRAME:
                self.oversize += 1
            elif self._count and out + FRAME_HEADER_BYTES + length > FULL:
                break
            else:
                store32(base + out, length)
                memset(base + out + 4, 0, FRAME_HEADER_BYTES - 4)
                memmove(base + out + FRAME_HEADER_BYTES,
                        _slots + <size_t>self._next * SLOT + HEADER_BYTES + FRAME_HEADER_BYTES, length)
                out += FRAME_HEADER_BYTES + length
                self._count += 1
                self.nbytes += length
            self._next += 1
        self.frames += self._count
        store_header(base, 0, self._count, 0)
        return out


cdef class Sender:
    """FRAMES messages -> datagrams. Keeps the position inside a message that the kernel took only in part.

    Left out and counted: `too_long` (EMSGSIZE: more than this kind of datagram carries), `no_buffers` (ENOBUFS),
    `offload_unsupported` (a frame with a virtio-net header), and if `lossy` also `refused` (ECONNREFUSED, unreachable:
    over UDP that is news of an earlier frame, and the peer may be there for the next one).
    """

    cdef bint _lossy
    cdef size_t _next
    cdef uint32_t _index, _checked
    cdef readonly uint64_t frames, nbytes, too_long, no_buffers, refused, offload_unsupported

    def __cinit__(self, *, bint lossy=False):
        self._lossy = lossy
        self.reset()

    def reset(self):
        """A new peer, or another message: begin at its first frame. Counters stay."""
        self._next = 0
        self._index = self._checked = 0

    def write(self, int fd, const uint8_t[::1] message not None):
        """Sends what the peer takes now; True when the whole message is sent.

        After False call again with the same message (its end may have grown). OSError: the peer is gone; the position
        stays, so that the same message can go to it once it is back. ValueError: no FRAMES message.
        """
        cdef size_t size = <size_t>message.shape[0]
        cdef const uint8_t *data = &message[0] if size else NULL
        cdef int code
        with nogil:
            code = self._write(fd, data, size)
        if code == -1:
            raise ValueError(f"no FRAMES message: wrong at byte {self._next}")
        if code == EAGAIN:
            return False
        if code:
            raise OSError(code, os.strerror(code))
        self.reset()
        return True

    cdef int _write(self, int fd, const uint8_t *data, size_t size) noexcept nogil:
        """0: all sent; -1: no FRAMES message; else errno."""
        cdef mmsghdr messages[BATCH]
        cdef iovec pieces[BATCH]
        cdef uint32_t count
        cdef int batch, sent, code
        if not is_frames(data, size):
            return -1
        count = load32(data + 4)
        if self._next == 0:
            self._next = HEADER_BYTES
        memset(messages, 0, sizeof(messages))
        while self._index < count:
            batch = self._gather(data, size, count, messages, pieces)
            if batch < 0:
                return -1
            sent = c_sendmmsg(fd, messages, <unsigned int>batch, MSG_DONTWAIT | MSG_NOSIGNAL) if batch else 0
            if sent >= 0:
                self._advance(data, sent)
                continue
            code = errno
            if code == EINTR:
                continue
            if not self._lost(code):
                return code
            self._skip(data)
        return 0

    cdef bint _lost(self, int code) noexcept nogil:
        """Does this error cost the first frame only?"""
        if code == EMSGSIZE:
            self.too_long += 1
        elif code == ENOBUFS or code == ENOMEM:
            self.no_buffers += 1
        elif self._lossy and (code == ECONNREFUSED or code == EHOSTUNREACH or code == ENETUNREACH or code == ENETDOWN):
            self.refused += 1
        else:
            return False
        return True

    cdef int _gather(self, const uint8_t *data, size_t size, uint32_t count, mmsghdr *messages,
                     iovec *pieces) noexcept nogil:
        """Fills in datagrams from the position on; returns how many, or -1 where the message is wrong."""
        cdef size_t place = self._next, body
        cdef uint32_t index = self._index, length
        cdef int batch = 0
        while index < count and batch < BATCH:
            if place > size or size - place < FRAME_HEADER_BYTES:
                return -1
            length = load32(data + place)
            body = place + FRAME_HEADER_BYTES
            if load16(data + place + 4) & FRAME_VNET:
                body += VNET_BYTES
            # Never a datagram of 0 bytes: QEMU would stop reading for good (net/dgram.c).
            if length < SHORTEST_FRAME or length > LONGEST_FRAME or body > size or size - body < length:
                return -1
            if body == place + FRAME_HEADER_BYTES:
                pieces[batch].iov_base = <void *>(data + body)
                pieces[batch].iov_len = length
                messages[batch].msg_hdr.msg_iov = &pieces[batch]
                messages[batch].msg_hdr.msg_iovlen = 1
                batch += 1
            place = body + length
            index += 1
        self._checked = index
        return batch

    cdef void _advance(self, const uint8_t *data, int sent) noexcept nogil:
        """Moves over `sent` frames, and over frames that cannot be sent, among those that _gather checked."""
        cdef uint32_t length
        while self._index < self._checked:
            length = load32(data + self._next)
            if load16(data + self._next + 4) & FRAME_VNET:
                self.offload_unsupported += 1
                self._next += VNET_BYTES
            elif sent:
                sent -= 1
                self.frames += 1
                self.nbytes += length
            else:
                return
            self._next += FRAME_HEADER_BYTES + length
            self._index += 1

    cdef void _skip(self, const uint8_t *data) noexcept nogil:
        """Moves over the first frame that could have been sent, and what cannot be sent before it."""
        self._advance(data, 0)
        if self._index < self._checked:
            self._next += FRAME_HEADER_BYTES + load32(data + self._next)
            self._index += 1
