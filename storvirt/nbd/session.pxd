# One client's transmission phase: requests are found in place, without the GIL. session.pyx explains.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from storvirt.nbd.output cimport Output

cdef enum:
    # proto.md; wire.py has the same numbers by name, and a test compares them.
    MAGIC_REQUEST = 0x25609513
    REQUEST_BYTES = 28
    LONGEST_PAYLOAD = 33554432

    CMD_READ = 0
    CMD_WRITE = 1
    CMD_DISC = 2
    CMD_FLUSH = 3
    CMD_TRIM = 4
    CMD_CACHE = 5
    CMD_WRITE_ZEROES = 6
    CMD_BLOCK_STATUS = 7
    COMMANDS = 8

    FLAG_FUA = 1
    FLAG_NO_HOLE = 2
    FLAG_DF = 4
    FLAG_REQ_ONE = 8
    FLAG_FAST_ZERO = 16

    # What next_request() answers.
    HOSTILE = -1
    NEED_MORE = 0
    WHOLE = 1


cdef struct request_t:
    uint16_t flags
    uint16_t type
    uint32_t length
    uint64_t cookie
    uint64_t offset
    const uint8_t *payload  # of a WRITE: `length` bytes, valid until space(), receive() or release(); else NULL


cdef class Session:
    cdef readonly Output output
    cdef readonly object export
    cdef readonly bint structured, meta
    cdef readonly bint ended  # the client said DISC
    cdef readonly uint64_t size
    cdef readonly uint64_t bytes_read, bytes_written
    cdef uint64_t _counts[COMMANDS + 1]
    cdef uint32_t _allowed[COMMANDS]  # command flags that may be set; the highest bit: the command is known here
    cdef bint _read_only
    cdef object _store, _view, _readonly
    cdef uint8_t *_data
    cdef size_t _start, _end, _capacity, _need
    cdef int _junk  # what ended the session: 0 = nothing

    cdef int next_request(self, request_t *request) noexcept nogil
    # Puts the request in `request` that lies `at` bytes behind the next one; the bytes it has there, 0 if it is not whole.
    cdef size_t look(self, size_t at, request_t *request) noexcept nogil
    # What next_request() gave last is the next one again. Only for what refusal() has nothing against.
    cdef void put_back(self, const request_t *request) noexcept nogil
    cdef uint32_t refusal(self, const request_t *request) noexcept nogil
    cdef void _count(self, const request_t *request) noexcept nogil
    cdef int _make_room(self, size_t need) except -1
    cdef void _adopt(self, bytearray store, size_t capacity)
