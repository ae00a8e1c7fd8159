"""QEMU's stream framing between a socket and bursts, without the GIL: u32 big-endian length, then the frame.

Knows: that framing (QEMU net/net.c, net_fill_rstate) and the burst format (netvirt/burst.pxd). Bounded memory both
ways: the decoder keeps at most one partial frame, the encoder nothing but a position.
Refuses to know: who opens the socket, when it is dialled again, queues, switches.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

import errno as errno_names
import os

from netvirt.burst cimport (FRAME_HEADER_BYTES, FRAME_VNET, HEADER_BYTES, LONGEST_FRAME, SHORTEST_FRAME, VNET_BYTES,
                            is_frames, load16, load32, store32, store_header)
from netvirt.ports.mmsg cimport MSG_DONTWAIT, MSG_NOSIGNAL, iovec, msghdr

cdef extern from "<arpa/inet.h>" nogil:
    uint32_t htonl(uint32_t value)
    uint32_t ntohl(uint32_t value)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    ssize_t c_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(const char *text, Py_ssize_t size)
    char *PyByteArray_AS_STRING(object array)

cdef enum:
    LENGTH = 4  # QEMU's prefix
    MAX_LENGTH = 69632  # QEMU ends a connection over NET_BUFSIZE = 4096 + 65536; so do we
    READ = 262144  # more than a unix socket holds by default (212,992), so one call takes all there is
    # A frame on the wire is at least 4 + 14 bytes and grows to 24 + 14 in a message: under 1 MiB at the worst.
    INPUT = READ + LENGTH + MAX_LENGTH
    OUTPUT = HEADER_BYTES + (INPUT // (LENGTH + SHORTEST_FRAME) + 1) * (FRAME_HEADER_BYTES + SHORTEST_FRAME)
    BATCH = 256  # frames per sendmsg: two pieces each, and the kernel takes 1024 (UIO_MAXIOV)


cdef class Decoder:
    """Socket bytes -> FRAMES messages. `ended` is empty until the stream is over, then one word that says why."""

    cdef bytearray _input_store, _output_store
    cdef uint8_t *_input
    cdef uint8_t *_output
    cdef object _view
    cdef size_t _start, _end
    cdef uint32_t _count
    cdef readonly str ended
    cdef readonly uint64_t frames, nbytes, too_short, too_long

    def __cinit__(self):
        # Not bytearray(n), which would write zeros: an idle port must not own a megabyte of touched pages.
        self._input_store = PyByteArray_FromStringAndSize(NULL, INPUT)
        self._output_store = PyByteArray_FromStringAndSize(NULL, OUTPUT)
        self._input = <uint8_t *>PyByteArray_AS_STRING(self._input_store)
        self._output = <uint8_t *>PyByteArray_AS_STRING(self._output_store)
        # The view also pins the store: a bytearray with a view on it cannot be resized away under the pointer.
        self._view = memoryview(self._output_store).toreadonly()
        self.reset()

    def reset(self):
        """A new connection: forget the partial frame and the end. Counters stay."""
        self._start = self._end = 0
        self.ended = ""

    def read(self, int fd):
        """Reads once, without blocking; returns the whole frames as one FRAMES message, or None.

        The message (a memoryview) is valid until the next read. Frames that came before the end are still returned:
        look at `ended` after every call.
        """
        cdef ssize_t got
        cdef size_t size = 0
        cdef int code = 0
        cdef bint hostile = False
        if self.ended:
            return None
        with nogil:
            self._compact()
            got = c_recv(fd, self._input + self._end, INPUT - self._end, MSG_DONTWAIT)
            if got < 0:
                code = errno
            elif got > 0:
                self._end += <size_t>got
                size = self._decode(&hostile)
        if got < 0:
            if code != EAGAIN and code != EINTR:
                self.ended = errno_names.errorcode.get(code, "error").lower()
            return None
        if got == 0:
            self.ended = "eof"
            return None
        if hostile:
            self.ended = "oversize"
        return self._view[:size] if self._count else None

    cdef void _compact(self) noexcept nogil:
        """Moves the partial frame to the front: it is under 4 + MAX_LENGTH bytes, so READ bytes of room remain."""
        if self._start:
            memmove(self._input, self._input + self._start, self._end - self._start)
            self._end -= self._start
            self._start = 0

    cdef size_t _decode(self, bint *hostile) noexcept nogil:
        """Copies whole frames to the output; returns the message's size, sets _count."""
        cdef size_t out = HEADER_BYTES
        cdef uint32_t length
        self._count = 0
        while self._end - self._start >= LENGTH:
            length = ntohl(load32(self._input + self._start))
            if length > MAX_LENGTH:
                hostile[0] = True
                break
            if self._end - self._start - LENGTH < length:
                break
            if length < SHORTEST_FRAME:
                self.too_short += 1
            elif length > LONGEST_FRAME:
                self.too_long += 1
            else:
                store32(self._output + out, length)
                memset(self._output + out + 4, 0, FRAME_HEADER_BYTES - 4)
                memcpy(self._output + out + FRAME_HEADER_BYTES, self._input + self._start + LENGTH, length)
                out += FRAME_HEADER_BYTES + length
                self._count += 1
                self.nbytes += length
            self._start += LENGTH + length
        self.frames += self._count
        store_header(self._output, 0, self._count, 0)
        return out


cdef class Encoder:
    """FRAMES messages -> socket bytes. Keeps the position inside a message that the peer took only in part."""

    cdef size_t _next  # offset of the next frame header in the message; 0 = at its beginning
    cdef uint32_t _index  # how many frames of the message are done
    cdef uint32_t _checked  # frames before this one lie inside the message
    cdef size_t _sent  # bytes of frame _index, prefix included, that the peer has
    cdef iovec _pieces[2 * BATCH]
    cdef uint32_t _lengths[BATCH]
    cdef readonly uint64_t frames, nbytes, offload_unsupported

    def __cinit__(self):
        self.reset()

    def reset(self):
        """A new connection, or another message: begin at its first frame. Counters stay."""
        self._next = self._sent = 0
        self._index = self._checked = 0

    def write(self, int fd, const uint8_t[::1] message not None):
        """Writes what the peer takes now; True when the whole message is written.

        After False call again with the same message (its end may have grown). Frames with a virtio-net header are left
        out and counted: this framing cannot carry one. OSError: the peer is gone. ValueError: no FRAMES message.
        """
        cdef size_t size = <size_t>message.shape[0]
        cdef const uint8_t *data
        cdef int code
        data = &message[0] if size else NULL
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
        """0: all written; -1: no FRAMES message; else errno."""
        cdef uint32_t count
        cdef msghdr message
        cdef ssize_t sent
        cdef int pieces
        if not is_frames(data, size):
            return -1
        count = load32(data + 4)
        if self._next == 0:
            self._next = HEADER_BYTES
        while self._index < count:
            pieces = self._gather(data, size, count)
            if pieces < 0:
                return -1
            if pieces == 0:  # only frames that cannot be sent: step over them
                self._advance(data, 0)
                continue
            memset(&message, 0, sizeof(message))
            message.msg_iov = self._pieces
            message.msg_iovlen = <size_t>pieces
            sent = c_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0 and errno == EINTR:
                continue
            if sent < 0:
                return errno
            self._advance(data, <size_t>sent)
        return 0

    cdef int _gather(self, const uint8_t *data, size_t size, uint32_t count) noexcept nogil:
        """Fills _pieces from the position on; returns how many, or -1 where the message is wrong."""
        cdef size_t place = self._next, skip = self._sent, body
        cdef uint32_t index = self._index, length
        cdef int batch = 0, pieces = 0
        while index < count and batch < BATCH:
            if place > size or size - place < FRAME_HEADER_BYTES:
                return -1
            length = load32(data + place)
            body = place + FRAME_HEADER_BYTES
            if load16(data + place + 4) & FRAME_VNET:
                body += VNET_BYTES
            if length > LONGEST_FRAME or body > size or size - body < length:
                return -1
            if body == place + FRAME_HEADER_BYTES:
                self._lengths[batch] = htonl(length)
                if skip < LENGTH:
                    self._pieces[pieces].iov_base = <uint8_t *>&self._lengths[batch] + skip
                    self._pieces[pieces].iov_len = LENGTH - skip
                    pieces += 1
                    skip = LENGTH
                self._pieces[pieces].iov_base = <void *>(data + body + (skip - LENGTH))
                self._pieces[pieces].iov_len = length - (skip - LENGTH)
                pieces += 1
                skip = 0
                batch += 1
            place = body + length
            index += 1
        self._checked = index
        return pieces

    cdef void _advance(self, const uint8_t *data, size_t sent) noexcept nogil:
        """Moves over `sent` bytes, and over frames that cannot be sent, among the frames that _gather checked."""
        cdef uint32_t length
        sent += self._sent
        self._sent = 0
        while self._index < self._checked:
            length = load32(data + self._next)
            if load16(data + self._next + 4) & FRAME_VNET:
                self.offload_unsupported += 1
                self._next += VNET_BYTES
            elif sent >= LENGTH + length:
                sent -= LENGTH + length
                self.frames += 1
                self.nbytes += length
            else:
                self._sent = sent
                return
            self._next += FRAME_HEADER_BYTES + length
            self._index += 1
