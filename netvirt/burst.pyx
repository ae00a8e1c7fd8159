"""The burst format: many frames in one contiguous message. ARCHITECTURE.md has the tables.

Knows: how a message is laid out, how to build one, and how to read one from a stranger without overrunning it.
Refuses to know: what is in a frame, where a burst came from, where it goes.

All integers are little-endian; sizes are bytes. One error, BurstError, for anything that is no burst.
"""

from collections import namedtuple

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc, realloc

HEADER_SIZE = HEADER_BYTES
FRAME_HEADER_SIZE = FRAME_HEADER_BYTES
VNET_SIZE = VNET_BYTES
MIN_FRAME = SHORTEST_FRAME
MAX_FRAME = LONGEST_FRAME
MAX_MESSAGE = LONGEST_MESSAGE

KIND_FRAMES = 0
KIND_HELLO = 1
KIND_WELCOME = 2
KIND_REFUSED = 3
KIND_CREDIT = 4
KIND_BYE = 5
KIND_GONE = 6
KIND_PACKED = 7
cdef enum:
    LAST_KIND = 7

FLAG_VNET = FRAME_VNET
FLAG_IN = FRAME_IN
FLAG_OUT = FRAME_OUT


class BurstError(ValueError):
    """A message that is no burst: the sentence says what is wrong and at which byte."""


Header = namedtuple("Header", "kind frames epoch")
Frame = namedtuple("Frame", "data time_ns identity flags port vnet")


def pack_header(uint8_t kind, uint32_t count, uint64_t epoch):
    """The 16 bytes that every message on a link begins with."""
    cdef uint8_t header[HEADER_BYTES]
    store_header(header, kind, count, epoch)
    return PyBytes_FromStringAndSize(<char *>header, HEADER_BYTES)


cdef int _check_header(const uint8_t *p, size_t size) except -1:
    if size < HEADER_BYTES:
        raise BurstError(f"a message of {size} bytes is shorter than its header of {HEADER_BYTES}")
    if size > LONGEST_MESSAGE:
        raise BurstError(f"a message of {size} bytes is longer than {LONGEST_MESSAGE}")
    if p[0] != 0x56 or p[1] != 0x42:
        raise BurstError("the message does not begin with 'VB': it is no virtfab burst")
    if p[2] != FORMAT_VERSION:
        raise BurstError(f"burst format version {p[2]} is not spoken here, only version {FORMAT_VERSION}")
    if p[3] > LAST_KIND:
        raise BurstError(f"unknown message kind {p[3]}")
    return 0


def unpack_header(const uint8_t[::1] message):
    """The header of any message on a link as (kind, frames, epoch). Raises BurstError."""
    cdef const uint8_t *p = &message[0] if message.shape[0] else NULL
    _check_header(p, message.shape[0])
    return Header(p[3], load32(p + 4), load64(p + 8))


cdef class Burst:
    """A FRAMES message being built or read. Iterating gives Frame values.

    `memoryview(burst)` and `message()` show the bytes without copying; while such a view lives, the burst can't change.
    """

    def __cinit__(self, uint64_t epoch=0, size_t capacity=4096):
        self.epoch = epoch
        self._capacity = max(capacity, <size_t>(HEADER_BYTES + FRAME_HEADER_BYTES + 64))
        self._data = <uint8_t *>malloc(self._capacity)
        if self._data == NULL:
            raise MemoryError()
        self._used = HEADER_BYTES
        self._count = 0

    def __dealloc__(self):
        free(self._data)

    cdef int _room(self, size_t need) except -1:
        cdef size_t want = self._used + need
        cdef uint8_t *data
        if self._exports:
            raise BufferError("the burst is being looked at: release its views before changing it")
        if want > LONGEST_MESSAGE:
            raise BurstError(f"a burst of {want} bytes is longer than {LONGEST_MESSAGE}")
        if want > self._capacity:
            want = max(want, 2 * self._capacity)
            data = <uint8_t *>realloc(self._data, want)
            if data == NULL:
                raise MemoryError()
            self._data = data
            self._capacity = want
        return 0

    def append(self, const uint8_t[::1] data not None, uint64_t time_ns=0, uint64_t identity=0, uint16_t flags=0,
               uint16_t port=0, const uint8_t[::1] vnet=None):
        """Add one frame: `data` from the destination address on, without FCS. Raises BurstError if it can't be one."""
        cdef size_t size = data.shape[0], offset = 0
        cdef uint8_t *p
        if size < SHORTEST_FRAME or size > LONGEST_FRAME:
            raise BurstError(f"a frame of {size} bytes; Ethernet frames have {SHORTEST_FRAME} to {LONGEST_FRAME}")
        flags &= <uint16_t>~FRAME_VNET
        if vnet is not None and vnet.shape[0]:
            if vnet.shape[0] != VNET_BYTES:
                raise BurstError(f"a virtio-net header of {vnet.shape[0]} bytes; it has {VNET_BYTES}")
            offset = VNET_BYTES
            flags |= FRAME_VNET
        self._room(FRAME_HEADER_BYTES + offset + size)
        p = self._data + self._used
        store32(p, <uint32_t>size)
        store16(p + 4, flags)
        store16(p + 6, port)
        store64(p + 8, time_ns)
        store64(p + 16, identity)
        p += FRAME_HEADER_BYTES
        if offset:
            memcpy(p, &vnet[0], VNET_BYTES)
        memcpy(p + offset, &data[0], size)
        self._used += FRAME_HEADER_BYTES + offset + size
        self._count += 1

    def clear(self):
        """Forget all frames, keep the memory."""
        self._room(0)
        self._used = HEADER_BYTES
        self._count = 0

    def __len__(self):
        return self._count

    @property
    def nbytes(self):
        """Size of the whole message in bytes, header included."""
        return self._used

    def __getbuffer__(self, Py_buffer *view, int flags):
        store_header(self._data, 0, self._count, self.epoch)
        PyBuffer_FillInfo(view, self, self._data, self._used, 1, flags)
        self._exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self._exports -= 1

    def message(self):
        """The whole message as a read-only memoryview, nothing copied."""
        return memoryview(self)

    def __iter__(self):
        cdef size_t at = HEADER_BYTES, size, head
        cdef uint16_t flags
        cdef uint8_t *p
        while at < self._used:
            p = self._data + at
            size = load32(p)
            flags = load16(p + 4)
            head = FRAME_HEADER_BYTES + (VNET_BYTES if flags & FRAME_VNET else 0)
            yield Frame(
                PyBytes_FromStringAndSize(<char *>(p + head), size), load64(p + 8), load64(p + 16), flags, load16(p + 6),
                PyBytes_FromStringAndSize(<char *>(p + FRAME_HEADER_BYTES), head - FRAME_HEADER_BYTES),
            )
            at += head + size

    def frames(self):
        """All frames as a list of bytes."""
        cdef size_t at = HEADER_BYTES, size, head
        cdef list out = []
        cdef uint8_t *p
        while at < self._used:
            p = self._data + at
            size = load32(p)
            head = FRAME_HEADER_BYTES + (VNET_BYTES if load16(p + 4) & FRAME_VNET else 0)
            out.append(PyBytes_FromStringAndSize(<char *>(p + head), size))
            at += head + size
        return out

    @staticmethod
    def parse(const uint8_t[::1] message not None):
        """Read a FRAMES message from outside; every length is checked. Raises BurstError, and then nothing of it is used."""
        cdef size_t size = message.shape[0], at = HEADER_BYTES, length, head
        cdef const uint8_t *p = &message[0] if size else NULL
        cdef uint32_t seen = 0
        cdef Burst burst
        _check_header(p, size)
        if p[3] != 0:
            raise BurstError(f"a message of kind {p[3]} carries no frames")
        while at < size:
            if size - at < FRAME_HEADER_BYTES:
                raise BurstError(f"a frame header is cut short at byte {at}")
            length = load32(p + at)
            head = FRAME_HEADER_BYTES + (VNET_BYTES if load16(p + at + 4) & FRAME_VNET else 0)
            if length < SHORTEST_FRAME or length > LONGEST_FRAME:
                raise BurstError(f"a frame of {length} bytes at byte {at}; frames have {SHORTEST_FRAME} to {LONGEST_FRAME}")
            if size - at < head + length:
                raise BurstError(f"the frame at byte {at} is cut short")
            at += head + length
            seen += 1
        if seen != load32(p + 4):
            raise BurstError(f"the message announces {load32(p + 4)} frames and has {seen}")
        burst = Burst(load64(p + 8), size)
        memcpy(burst._data, p, size)
        burst._used = size
        burst._count = seen
        return burst
