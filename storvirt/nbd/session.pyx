"""The transmission phase of one client, sans-io, in bursts: all that a socket had to give is parsed where it lies.

Knows: how a request is laid out, how much of a partial one is kept, which requests must be refused and with what error
(the one validation of the NBD side). Refuses to know: sockets, blocks, what a request does.

Bytes are read straight into space(): a payload is never copied, but for the part of a large one that came with its
header. At most one partial request (28 bytes and a payload of 32 MiB) and one read of the socket are kept; an idle
session keeps nothing. Junk ends the session with NbdError; there is no way back into step.

Compiled engines cimport next_request(), refusal() and the put_*() of `output`; take() and check() are the same for Python.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.string cimport memcpy, memmove, memset

from storvirt.nbd.wire import Command, Error, ExportFlag, NbdError

cdef extern from "<arpa/inet.h>" nogil:
    uint32_t ntohl(uint32_t value)
    uint16_t ntohs(uint16_t value)

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(const char *text, Py_ssize_t size)

cdef enum:
    USUAL = 262144  # more than a unix socket holds by default (212,992), so one read takes all there is
    SPARES = 8
    KNOWN = 0x80000000

    JUNK_MAGIC = 1
    JUNK_OVERSIZE = 2

    ERROR_EPERM = 1
    ERROR_EINVAL = 22
    ERROR_ENOSPC = 28
    ERROR_ENOTSUP = 95

cdef list _spare = []  # (bytearray, view, read-only view) of USUAL bytes each; under the GIL


cdef inline uint16_t get16(const uint8_t *p) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, p, 2)
    return ntohs(value)


cdef inline uint32_t get32(const uint8_t *p) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, p, 4)
    return ntohl(value)


cdef inline uint64_t get64(const uint8_t *p) noexcept nogil:
    return (<uint64_t>get32(p) << 32) | get32(p + 4)


cdef inline bint parse(const uint8_t *p, request_t *request) noexcept nogil:
    """The head of a request, 28 bytes; False if it is none."""
    if get32(p) != MAGIC_REQUEST:
        return False
    request.flags = get16(p + 4)
    request.type = get16(p + 6)
    request.cookie = get64(p + 8)
    request.offset = get64(p + 16)
    request.length = get32(p + 24)
    request.payload = p + REQUEST_BYTES if request.type == CMD_WRITE else NULL
    return True


cdef inline size_t size_of(const request_t *request) noexcept nogil:
    return REQUEST_BYTES + (<size_t>request.length if request.type == CMD_WRITE else 0)


cdef class Request:
    """One request as Python sees it. payload: of a WRITE, valid until the next space(), receive() or release()."""

    cdef readonly int type, flags
    cdef readonly uint64_t cookie, offset
    cdef readonly uint32_t length
    cdef readonly object payload

    def __repr__(self):
        name = Command(self.type).name if self.type < COMMANDS else f"type {self.type}"
        return f"<{name} offset={self.offset} length={self.length} flags={self.flags} cookie={self.cookie:#x}>"


cdef class Session:
    """What one client may ask of `export` (anything with size, read_only and flags(structured), as ExportInfo).

    `meta`: base:allocation was agreed on. Replies go into `output` (made here if none is given).
    """

    def __cinit__(self, export, bint structured=False, bint meta=False, Output output=None):
        if output is None:
            output = Output()
        output.structured = structured
        self.output = output
        self.export = export
        self.structured = structured
        self.meta = meta
        self.size = export.size
        self._read_only = export.read_only
        self._need = REQUEST_BYTES
        self._allow(int(export.flags(structured)))

    def _allow(self, int flags):
        """Fills the table of commands and their flags from the transmission flags that the client was told."""
        cdef uint32_t fua = FLAG_FUA if flags & ExportFlag.SEND_FUA else 0
        cdef uint32_t fast = FLAG_FAST_ZERO if flags & ExportFlag.SEND_FAST_ZERO else 0
        memset(self._allowed, 0, sizeof(self._allowed))
        self._allowed[CMD_READ] = KNOWN | fua | (FLAG_DF if self.structured else 0)
        # Changes of a read-only export are known, so that they are refused with EPERM rather than EINVAL.
        self._allowed[CMD_WRITE] = KNOWN | fua
        if flags & ExportFlag.SEND_FLUSH:
            self._allowed[CMD_FLUSH] = KNOWN | fua
        if flags & ExportFlag.SEND_TRIM or self._read_only:
            self._allowed[CMD_TRIM] = KNOWN | fua
        if flags & ExportFlag.SEND_WRITE_ZEROES or self._read_only:
            self._allowed[CMD_WRITE_ZEROES] = KNOWN | fua | FLAG_NO_HOLE | fast
        if self.meta:
            self._allowed[CMD_BLOCK_STATUS] = KNOWN | fua | FLAG_REQ_ONE

    # --- for compiled callers

    cdef int next_request(self, request_t *request) noexcept nogil:
        """WHOLE: the next request is in `request`. NEED_MORE: read more into space(). HOSTILE: see raise_hostile().

        Behind a DISC nothing is read any more: NEED_MORE, and `ended` is true.
        """
        cdef size_t held = self._end - self._start
        if self._junk:
            return HOSTILE
        if self.ended or held < REQUEST_BYTES:
            self._need = REQUEST_BYTES
            return NEED_MORE
        if not parse(self._data + self._start, request):
            self._junk = JUNK_MAGIC
            return HOSTILE
        if request.type == CMD_WRITE and request.length > LONGEST_PAYLOAD:
            self._junk = JUNK_OVERSIZE
            return HOSTILE
        self._need = size_of(request)
        if held < self._need:
            return NEED_MORE
        self._start += self._need
        self._count(request)
        return WHOLE

    cdef size_t look(self, size_t at, request_t *request) noexcept nogil:
        cdef size_t held = self._end - self._start
        if held < at + REQUEST_BYTES or not parse(self._data + self._start + at, request):
            return 0
        return size_of(request) if size_of(request) <= held - at else 0

    cdef void put_back(self, const request_t *request) noexcept nogil:
        self._start -= size_of(request)
        self._counts[request.type] -= 1
        if request.type == CMD_READ:
            self.bytes_read -= request.length
        elif request.type == CMD_WRITE:
            self.bytes_written -= request.length

    cdef void _count(self, const request_t *request) noexcept nogil:
        self._counts[request.type if request.type < COMMANDS else COMMANDS] += 1
        if request.type == CMD_DISC:
            self.ended = True
        elif request.type == CMD_READ:
            self.bytes_read += request.length
        elif request.type == CMD_WRITE:
            self.bytes_written += request.length

    cdef uint32_t refusal(self, const request_t *request) noexcept nogil:
        """The error with which a request must be refused, or 0. Afterwards offset and length lie inside the export."""
        cdef uint32_t allowed = self._allowed[request.type] if request.type < COMMANDS else 0
        if not allowed & KNOWN or request.flags & ~allowed:
            return ERROR_EINVAL
        if request.type == CMD_FLUSH:
            return ERROR_EINVAL if request.offset or request.length else 0
        if self._read_only and request.type not in (CMD_READ, CMD_BLOCK_STATUS):
            return ERROR_EPERM
        if request.offset > self.size or request.length > self.size - request.offset:
            return ERROR_ENOSPC if request.type in (CMD_WRITE, CMD_WRITE_ZEROES) else ERROR_EINVAL
        if request.type == CMD_READ and request.length > LONGEST_PAYLOAD:
            return ERROR_EINVAL
        if request.type == CMD_BLOCK_STATUS and request.length == 0:
            return ERROR_EINVAL  # the answer would have to have one extent at least
        if request.flags & FLAG_FAST_ZERO and request.flags & FLAG_NO_HOLE:
            return ERROR_ENOTSUP  # zeros that keep their space have to be written: no quicker than a write
        return 0

    # --- for Python

    def space(self):
        """Where the next bytes from the client belong: read into it, then say filled(). Never empty.

        Call it only when take() had nothing more to give. Earlier payloads are not valid any more.
        """
        self._make_room(self._need)
        return self._view[self._end:] if self._end else self._view

    def filled(self, size_t count):
        """The first `count` bytes of space() are from the client."""
        if count > self._capacity - self._end:
            raise ValueError("more bytes than there was space for")
        self._end += count

    cdef int _make_room(self, size_t need) except -1:
        """The partial request comes to the front, with room for `need` bytes in all, and for one more at least."""
        cdef size_t held = self._end - self._start
        cdef bytearray store
        if need <= held:
            need = held + REQUEST_BYTES
        if self._store is None and need <= USUAL:
            store, self._view, self._readonly = _spare.pop() if _spare else _new_store(USUAL)
            self._adopt(store, USUAL)
        elif self._capacity < need:
            need = max(need, <size_t>USUAL)
            store, view, readonly = _new_store(need)
            if held:
                memcpy(<uint8_t *>PyByteArray_AS_STRING(store), self._data + self._start, held)
            self._view = view
            self._readonly = readonly
            self._adopt(store, need)
        elif self._start:
            memmove(self._data, self._data + self._start, held)
        self._start = 0
        self._end = held
        return 0

    cdef void _adopt(self, bytearray store, size_t capacity):
        self._store = store
        self._data = <uint8_t *>PyByteArray_AS_STRING(store)
        self._capacity = capacity

    def release(self):
        """Gives the buffer back if nothing is held. Payloads are not valid any more."""
        if self._store is not None and self._start == self._end:
            if self._capacity == USUAL and len(_spare) < SPARES:
                _spare.append((self._store, self._view, self._readonly))
            self._store = self._view = self._readonly = None
            self._data = NULL
            self._capacity = self._start = self._end = 0

    @property
    def held(self):
        """Bytes of input that are kept."""
        return self._end - self._start

    def receive(self, const uint8_t[::1] data not None):
        """A copy of `data` is parsed; all whole requests that there are now, as a list. Raises NbdError."""
        cdef size_t size = data.shape[0]
        cdef list requests = []
        if size:
            self._make_room((self._end - self._start) + size)
            memcpy(self._data + self._end, &data[0], size)
            self._end += size
        while (request := self.take()) is not None:
            requests.append(request)
        return requests

    def take(self):
        """The next whole request, or None: read more, or (`ended`) no more. Raises NbdError."""
        cdef request_t r
        cdef Request request
        cdef int found = self.next_request(&r)
        cdef size_t place
        if found == NEED_MORE:
            return None
        if found == HOSTILE:
            self.raise_hostile()
        request = Request.__new__(Request)
        request.type = r.type
        request.flags = r.flags
        request.cookie = r.cookie
        request.offset = r.offset
        request.length = r.length
        if r.payload != NULL:
            place = <size_t>(r.payload - self._data)
            request.payload = self._readonly[place:place + r.length]
        return request

    def raise_hostile(self):
        """NbdError for what next_request() called HOSTILE."""
        if self._junk == JUNK_MAGIC:
            raise NbdError("magic", "a request does not begin with NBD's magic number: the client is out of step")
        raise NbdError("oversize", f"a write of more than {LONGEST_PAYLOAD} bytes")

    def check(self, Request request not None):
        """The wire's error with which a request must be refused, or 0."""
        cdef request_t r
        r.type = <uint16_t>request.type
        r.flags = <uint16_t>request.flags
        r.offset = request.offset
        r.length = request.length
        return self.refusal(&r)

    def statistics(self):
        """Requests by name, bytes read and written (asked for), error replies."""
        counts = {command.name.lower(): self._counts[command.value] for command in Command}
        return {**counts, "unknown": self._counts[COMMANDS], "bytes_read": self.bytes_read,
                "bytes_written": self.bytes_written, "errors": self.output.errors}


cdef tuple _new_store(size_t size):
    # Not bytearray(n), which would write zeros over memory that may never be used.
    cdef bytearray store = PyByteArray_FromStringAndSize(NULL, <Py_ssize_t>size)
    view = memoryview(store)
    return store, view, view.toreadonly()


assert (Error.EPERM, Error.EINVAL, Error.ENOSPC, Error.ENOTSUP) == (ERROR_EPERM, ERROR_EINVAL, ERROR_ENOSPC, ERROR_ENOTSUP)
