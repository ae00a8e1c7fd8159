"""What waits to be sent to one client: simple and structured replies, built in place at the end of one growing buffer.

Knows: how a reply is laid out (NBD proto.md). Refuses to know: requests, blocks, sockets, how much is too much:
whoever executes requests looks at `pending` and stops in time.

An empty output owns no memory to speak of: a buffer goes back to a small common store when all of it was sent.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

cdef extern from "<arpa/inet.h>" nogil:
    uint32_t htonl(uint32_t value)
    uint16_t htons(uint16_t value)

cdef enum:
    USUAL = 262144  # holds the answers to 63 reads of 4 KiB; bigger buffers are not kept
    SPARES = 8

cdef uint8_t *_spare[SPARES]
cdef int _spares = 0


cdef inline void put16(uint8_t *p, uint16_t value) noexcept nogil:
    value = htons(value)
    memcpy(p, &value, 2)


cdef inline void put32(uint8_t *p, uint32_t value) noexcept nogil:
    value = htonl(value)
    memcpy(p, &value, 4)


cdef inline void put64(uint8_t *p, uint64_t value) noexcept nogil:
    put32(p, <uint32_t>(value >> 32))
    put32(p + 4, <uint32_t>value)


cdef class Output:
    """Replies in the order in which they were put. `memoryview(output)` shows what is to be sent; while such a view
    lives nothing can be put. `structured`: READ is answered in chunks, and errors carry a sentence.
    """

    def __cinit__(self, bint structured=False):
        self.structured = structured

    def __dealloc__(self):
        free(self._data)

    # --- for compiled callers; no Python object is touched

    cdef uint8_t *room(self, size_t size) noexcept nogil:
        """Room for `size` more bytes, counted as filled; NULL without memory, or while views live."""
        cdef uint8_t *place
        if self._capacity - self._end < size and self._grow(size) < 0:
            return NULL
        if self._views:
            return NULL
        place = self._data + self._end
        self._end += size
        return place

    cdef int _grow(self, size_t size) noexcept nogil:
        cdef size_t used = self._end - self._start, want
        cdef uint8_t *data
        if self._views:
            return -1
        if self._start:
            memmove(self._data, self._data + self._start, used)
            self._start = 0
            self._end = used
        if self._capacity - used >= size:
            return 0
        want = max(used + size, 2 * self._capacity)
        if want <= USUAL:
            want = USUAL
            if self._data == NULL:
                self._data = _take_spare()
                if self._data != NULL:
                    self._capacity = USUAL
                    return 0
        data = <uint8_t *>realloc(self._data, want)
        if data == NULL:
            return -1
        self._data = data
        self._capacity = want
        return 0

    cdef size_t waiting(self) noexcept nogil:
        return self._end - self._start

    cdef void give_back(self, size_t mark) noexcept nogil:
        """Forget what was put since waiting() was `mark`."""
        self._end = self._start + mark

    cdef int put_done(self, uint64_t cookie) noexcept nogil:
        """Success, without data."""
        return self._simple(cookie, 0)

    cdef int _simple(self, uint64_t cookie, uint32_t error) noexcept nogil:
        cdef uint8_t *p = self.room(SIMPLE_BYTES)
        if p == NULL:
            return -1
        put32(p, <uint32_t>REPLY_SIMPLE)
        put32(p + 4, error)
        put64(p + 8, cookie)
        return 0

    cdef uint8_t *_chunk(self, uint64_t cookie, uint16_t kind, bint last, uint32_t length, size_t body) noexcept nogil:
        """A chunk's header; `length` bytes are announced, `body` bytes of them are the place that is returned."""
        cdef uint8_t *p = self.room(CHUNK_BYTES + body)
        if p == NULL:
            return NULL
        put32(p, <uint32_t>REPLY_STRUCTURED)
        put16(p + 4, CHUNK_LAST if last else 0)
        put16(p + 6, kind)
        put64(p + 8, cookie)
        put32(p + 16, length)
        return p + CHUNK_BYTES

    cdef uint8_t *put_read(self, uint64_t cookie, uint64_t offset, uint32_t length) noexcept nogil:
        """The whole answer to a READ, but for the data."""
        cdef uint8_t *p
        if self.structured:
            if length == 0:  # a data chunk has one byte at least
                return NULL if self.put_none(cookie) < 0 else self._data + self._end
            return self.put_data_chunk(cookie, offset, length, True)
        if self.room(<size_t>SIMPLE_BYTES + length) == NULL:
            return NULL
        self._end -= <size_t>SIMPLE_BYTES + length
        self._simple(cookie, 0)
        return self.room(length)

    cdef uint8_t *put_data_chunk(self, uint64_t cookie, uint64_t offset, uint32_t length, bint last) noexcept nogil:
        cdef uint8_t *p = self._chunk(cookie, CHUNK_OFFSET_DATA, last, 8 + length, <size_t>8 + length)
        if p == NULL:
            return NULL
        put64(p, offset)
        return p + 8

    cdef int put_hole_chunk(self, uint64_t cookie, uint64_t offset, uint32_t length, bint last) noexcept nogil:
        cdef uint8_t *p = self._chunk(cookie, CHUNK_OFFSET_HOLE, last, 12, 12)
        if p == NULL:
            return -1
        put64(p, offset)
        put32(p + 8, length)
        return 0

    cdef int put_none(self, uint64_t cookie) noexcept nogil:
        return -1 if self._chunk(cookie, CHUNK_NONE, True, 0, 0) == NULL else 0

    cdef int put_error(self, uint64_t cookie, uint32_t error, const uint8_t *text, size_t size) noexcept nogil:
        """text: UTF-8, of which LONGEST_MESSAGE bytes at most are sent; only structured replies can carry it."""
        cdef uint8_t *p
        self.errors += 1
        if not self.structured:
            return self._simple(cookie, error)
        if size > LONGEST_MESSAGE:
            size = LONGEST_MESSAGE
            while size and (text[size] & 0xC0) == 0x80:  # not in the middle of a character
                size -= 1
        p = self._chunk(cookie, CHUNK_ERROR, True, <uint32_t>(6 + size), 6 + size)
        if p == NULL:
            return -1
        put32(p, error)
        put16(p + 4, <uint16_t>size)
        if size:
            memcpy(p + 6, text, size)
        return 0

    # --- the same for Python

    @property
    def pending(self):
        """Bytes that wait to be sent."""
        return self._end - self._start

    def done(self, uint64_t cookie):
        """Success, without data."""
        _check(self.put_done(cookie))

    def data(self, uint64_t cookie, uint64_t offset, const uint8_t[::1] data not None):
        """The whole answer to a READ."""
        _fill(self.put_read(cookie, offset, <uint32_t>data.shape[0]), data)

    def chunk(self, uint64_t cookie, uint64_t offset, const uint8_t[::1] data not None, bint last):
        """A piece of the answer to a READ (structured replies)."""
        _fill(self.put_data_chunk(cookie, offset, <uint32_t>data.shape[0], last), data)

    def hole(self, uint64_t cookie, uint64_t offset, uint32_t length, bint last):
        """A piece of the answer to a READ that is zeros (structured replies)."""
        _check(self.put_hole_chunk(cookie, offset, length, last))

    def error(self, uint64_t cookie, uint32_t error, str text=""):
        """Failure, with a number of `wire.Error`."""
        cdef bytes message = text.encode("utf-8", "replace")
        _check(self.put_error(cookie, error, <const uint8_t *>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message)))

    def status(self, uint64_t cookie, uint32_t context, list extents not None):
        """The answer to a BLOCK_STATUS: pairs of length and state bits."""
        cdef size_t size = 4 + 8 * <size_t>len(extents)
        cdef uint8_t *p = self._chunk(cookie, CHUNK_BLOCK_STATUS, True, <uint32_t>size, size)
        if p == NULL:
            _check(-1)
        put32(p, context)
        for length, state in extents:
            p += 8
            put32(p - 4, length)
            put32(p, state)

    def append(self, const uint8_t[::1] data not None):
        """Bytes as they are: what the negotiation says."""
        if data.shape[0]:
            _fill(self.room(data.shape[0]), data)

    def rewind(self, size_t pending):
        """Forget what was put since `pending` was this."""
        if pending > self._end - self._start:
            raise ValueError("an output cannot be rewound to more than it has")
        _check(-1 if self._views else 0)
        self.give_back(pending)

    def sent(self, size_t count):
        """The first `count` bytes are on their way: forget them."""
        if count > self._end - self._start:
            raise ValueError("more was sent than there was")
        self._start += count
        if self._start == self._end:
            self._start = self._end = 0
            if not self._views:
                self._release()

    cdef void _release(self) noexcept nogil:
        if self._data != NULL and not (self._capacity == USUAL and _keep_spare(self._data)):
            free(self._data)
        self._data = NULL
        self._capacity = 0

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self._data + self._start, <Py_ssize_t>(self._end - self._start), 1, flags)
        self._views += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self._views -= 1


# Taken and kept by one thread at a time: whoever calls holds the GIL, or is the loop's thread.
cdef uint8_t *_take_spare() noexcept nogil:
    global _spares
    if _spares == 0:
        return NULL
    _spares -= 1
    return _spare[_spares]


cdef bint _keep_spare(uint8_t *data) noexcept nogil:
    global _spares
    if _spares == SPARES:
        return False
    _spare[_spares] = data
    _spares += 1
    return True


cdef int _check(int code) except -1:
    if code < 0:
        raise MemoryError("no memory for a reply, or the replies are just being looked at")
    return 0


cdef int _fill(uint8_t *place, const uint8_t[::1] data) except -1:
    if place == NULL:
        _check(-1)
    if data.shape[0]:
        memcpy(place, &data[0], data.shape[0])
    return 0
