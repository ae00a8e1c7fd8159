"""VXLAN datagrams of a UDP socket -> bursts, many per system call, without the GIL; stations are learned on the way.

Bounded: at most SLOTS datagrams per read. Refuses to know: who opens the socket, clocks, switches.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

import os

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES,
                            load16be, store16, store32, store_header)
from netvirt.ports.mmsg cimport MSG_DONTWAIT, MSG_TRUNC, c_recvmmsg, iovec, mmsghdr
from netvirt.ports.vxlan_inner cimport finish, is_tag, left_t, left_to_card
from netvirt.ports.vxlan_table cimport NAME_BYTES, Table, mac_key

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(const char *text, Py_ssize_t size)
    char *PyByteArray_AS_STRING(object array)

cdef enum:
    VXLAN_BYTES = 8
    VALID_VNI = 0x08  # the I flag
    MACS = 12
    TAG = 4
    SLOTS = 64
    # A message header, a frame header, a virtio-net header, the longest frame; an odd number of cache lines (mmsg.pyx).
    SLOT = 65728
    FRAME = HEADER_BYTES + FRAME_HEADER_BYTES + VNET_BYTES  # where it stands in a slot
    FULL = 262144


cdef class Receiver:
    """What is not a frame of a remote in one of the VNIs is left out and counted: `unknown_remote`, `bad_flags`,
    `unknown_vni`, `runts`, `oversize`, `inner_tag` (a tag inside, where none may be). `finished`: checksums put in;
    `large`: TCP packets that Linux left to a card to cut up: handed on with a virtio-net header that says so, for
    segments that fit into `mtu` bytes (0: unknown, nothing is).
    """

    cdef Table _table
    cdef bytearray _store
    cdef uint8_t *_slots
    cdef object _view
    cdef uint32_t _now
    cdef uint8_t _headers[SLOTS][VXLAN_BYTES]
    cdef uint8_t _names[SLOTS][NAME_BYTES]
    cdef unsigned int _sizes[SLOTS]
    cdef int _slot, _got
    cdef uint32_t _count
    cdef bint _is_large
    cdef left_t _left
    cdef public uint32_t mtu
    cdef readonly uint64_t frames, nbytes, unknown_remote, bad_flags, unknown_vni, runts, oversize, inner_tag, finished
    cdef readonly uint64_t large

    def __cinit__(self, Table table not None):
        self._table = table

    def read(self, int fd, uint32_t now):
        """Reads once, without blocking; returns frames as one FRAMES message, or None. Then ask `rest()`.

        now: seconds. The message (a memoryview) is valid until the next read. OSError: what the socket says.
        """
        cdef int got, code = 0
        if self._slots == NULL:
            # Not bytearray(n), which would write zeros: memory only where a frame has been.
            self._store = PyByteArray_FromStringAndSize(NULL, SLOTS * SLOT)
            self._slots = <uint8_t *>PyByteArray_AS_STRING(self._store)
            self._view = memoryview(self._store).toreadonly()
        self._now = now
        with nogil:
            got = self._receive(fd)
            if got < 0:
                code = errno
        self._slot = 0
        self._got = max(0, got)
        if got < 0 and code != EAGAIN and code != EINTR:
            raise OSError(code, os.strerror(code))
        return self.rest()

    def rest(self):
        """More of what read() took, as one more message, or None."""
        cdef size_t size, start
        while self._slot < self._got:
            start = <size_t>self._slot * SLOT
            with nogil:
                size = self._pack(self._slots + start)
            if self._count:
                return self._view[start:start + size]
        return None

    cdef int _receive(self, int fd) noexcept nogil:
        """The VXLAN header aside; the frame where it would stand in a message of its own, with room for a tag."""
        cdef mmsghdr messages[SLOTS]
        cdef iovec pieces[SLOTS][3]
        cdef uint8_t *frame
        cdef int i, got
        memset(messages, 0, sizeof(messages))
        for i in range(SLOTS):
            frame = self._slots + <size_t>i * SLOT + FRAME
            pieces[i][0].iov_base, pieces[i][0].iov_len = self._headers[i], VXLAN_BYTES
            pieces[i][1].iov_base, pieces[i][1].iov_len = frame, MACS
            pieces[i][2].iov_base, pieces[i][2].iov_len = frame + MACS + TAG, LONGEST_FRAME - MACS - TAG
            messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen = pieces[i], 3
            messages[i].msg_hdr.msg_name, messages[i].msg_hdr.msg_namelen = self._names[i], NAME_BYTES
        got = c_recvmmsg(fd, messages, SLOTS, MSG_DONTWAIT, NULL)
        for i in range(got):
            self._sizes[i] = messages[i].msg_len
            if messages[i].msg_hdr.msg_flags & MSG_TRUNC:
                self._sizes[i] = LONGEST_FRAME + VXLAN_BYTES + 1
        return got

    cdef size_t _pack(self, uint8_t *base) noexcept nogil:
        """Moves frames together at `base`, from slot _slot on; returns the message's size, sets _count."""
        cdef size_t out = HEADER_BYTES
        cdef uint32_t length
        cdef int vid
        cdef uint8_t *frame
        cdef uint8_t *rest
        self._count = 0
        while self._slot < self._got:
            vid = self._accept(self._slot)
            if vid < 0:
                self._slot += 1
                continue
            length = self._sizes[self._slot] - VXLAN_BYTES + (TAG if vid else 0)
            if self._count and out + FRAME_HEADER_BYTES + VNET_BYTES + length > FULL:
                break
            frame = self._slots + <size_t>self._slot * SLOT + FRAME
            rest = frame + MACS + TAG
            if vid:
                frame[MACS], frame[MACS + 1] = <uint8_t>(self._table.tpid >> 8), <uint8_t>self._table.tpid
                frame[MACS + 2], frame[MACS + 3] = <uint8_t>(vid >> 8), <uint8_t>vid
            else:
                memmove(frame + TAG, frame, MACS)
                frame += TAG
            out += self._put(base + out, frame, rest, length)
            self._slot += 1
        self.frames += self._count
        store_header(base, 0, self._count, 0)
        return out

    cdef size_t _put(self, uint8_t *to, uint8_t *frame, const uint8_t *rest, uint32_t length) noexcept nogil:
        """One frame with its header; returns the size of both. It lies at `to`, or behind."""
        cdef uint8_t vnet[VNET_BYTES]
        cdef size_t head = FRAME_HEADER_BYTES
        if self._is_large:
            self._describe(vnet, rest, <uint32_t>(rest - frame))
            head += VNET_BYTES
        store32(to, length)
        memset(to + 4, 0, FRAME_HEADER_BYTES - 4)
        memmove(to + head, frame, length)
        if self._is_large:
            store16(to + 4, FRAME_VNET)
            memcpy(to + FRAME_HEADER_BYTES, vnet, VNET_BYTES)
            self.large += 1
        self._count += 1
        self.nbytes += length
        return head + length

    cdef int _accept(self, int slot) noexcept nogil:
        """The VID of what is in a slot, whose station it learns; -1: it is none of ours, and counted."""
        cdef uint32_t length = self._sizes[slot]
        cdef uint8_t *header = self._headers[slot]
        cdef uint8_t *frame = self._slots + <size_t>slot * SLOT + FRAME
        cdef int remote = self._table.remote(self._names[slot]), vid
        if remote < 0:
            self.unknown_remote += 1
        elif length > LONGEST_FRAME - TAG + VXLAN_BYTES:
            self.oversize += 1
        elif length < VXLAN_BYTES + SHORTEST_FRAME:
            self.runts += 1
        elif not header[0] & VALID_VNI:
            self.bad_flags += 1
        else:
            vid = self._table.vlan(<uint32_t>header[4] << 16 | load16be(header + 5))
            if vid < 0:
                self.unknown_vni += 1
            elif is_tag(frame + MACS + TAG) and not self._table.inner_tags:
                self.inner_tag += 1
            else:
                if not frame[6] & 1:  # no station has a group address
                    self._table.learn(mac_key(frame + 6, vid), remote, self._now)
                self._complete(frame + MACS + TAG, length - VXLAN_BYTES - MACS)
                return vid
        return -1

    cdef void _complete(self, uint8_t *rest, uint32_t length) noexcept nogil:
        """rest: from the EtherType on. What a card would have done, or (_is_large) is asked to do further on."""
        self._is_large = False
        if not left_to_card(rest, length, &self._left):
            return
        if self._left.protocol == 6 and self.mtu and length - 2 > self.mtu:
            self._is_large = self._segment(rest) > 0
        if not self._is_large:
            finish(rest, &self._left)
            self.finished += 1

    cdef int _segment(self, const uint8_t *rest) noexcept nogil:
        """How many bytes of data a segment may have; not more than 0: none would fit."""
        return <int>self.mtu - <int>(self._left.start - 2) - ((rest[<size_t>self._left.start + 12] >> 4) << 2)

    cdef void _describe(self, uint8_t *vnet, const uint8_t *rest, uint32_t before) noexcept nogil:
        """The virtio-net header (virtio 1.2 clause 5.1.6). before: bytes of the frame in front of the EtherType."""
        cdef uint32_t start = before + self._left.start
        memset(vnet, 0, VNET_BYTES)
        vnet[0] = 1  # NEEDS_CSUM
        vnet[1] = 1 if load16be(rest) == 0x0800 else 4  # TCPV4, TCPV6
        if rest[self._left.start + 13] & 0x80:  # CWR is for the first segment only
            vnet[1] |= 0x80
        store16(vnet + 2, <uint16_t>(start + ((rest[<size_t>self._left.start + 12] >> 4) << 2)))
        store16(vnet + 4, <uint16_t>self._segment(rest))
        store16(vnet + 6, <uint16_t>start)
        store16(vnet + 8, <uint16_t>self._left.field)
