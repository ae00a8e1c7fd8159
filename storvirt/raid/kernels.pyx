"""CRC-32C and XOR parity: the two sums that the storage half computes over every byte that it moves.

Knows: bytes, and which of several ways to compute is the fastest on this processor (crc32c.h and xor.h have them).
Refuses to know: grains, columns' meaning, members.

The C functions of kernels.pxd need no GIL and check nothing; the Python functions of the same names work over buffers, and
can be told to take a certain path, so that tests hold all of them against each other.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer


cdef extern from "crc32c.h" nogil:
    ctypedef uint32_t (*crc_function)(uint32_t crc, const uint8_t *p, size_t n) noexcept nogil
    ctypedef struct crc_path_t "crc_path":
        const char *name
        crc_function run
    crc_path_t crc_paths[]
    int crc_path_count
    crc_function crc_best
    void crc_setup()


cdef extern from "xor.h" nogil:
    ctypedef void (*xor_function)(uint8_t *out, const uint8_t *const *columns, int count, size_t size) noexcept nogil
    ctypedef struct xor_path_t "xor_path":
        const char *name
        xor_function run
    xor_path_t xor_paths_ "xor_paths"[]
    int xor_path_count
    xor_function xor_best
    void xor_setup()


cdef enum:
    MOST_COLUMNS = 255     # more than any stripe has
    # Below this many bytes the GIL is kept: the sum takes some microseconds, and to get the GIL back from a busy thread
    # takes up to 5 ms (sys.getswitchinterval).
    KEEP_GIL = 256 << 10

crc_setup()
xor_setup()


cdef uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t size) noexcept nogil:
    return ~crc_best(~crc, data, size)


cdef void xor_into(uint8_t *dst, const uint8_t *src, size_t size) noexcept nogil:
    cdef const uint8_t *both[2]
    both[0], both[1] = dst, src
    xor_best(dst, both, 2, size)


cdef void xor_parity(const uint8_t *const *columns, int count, uint8_t *out, size_t size) noexcept nogil:
    xor_best(out, columns, count, size)


cdef int _number(str path, tuple paths) except -1:
    if path not in paths:
        raise ValueError(f"this processor has no path {path!r}; it has {', '.join(paths)}")
    return paths.index(path)


def _crc32c(uint32_t seed, data, str path=None):
    """CRC-32C (RFC 3720 appendix B.4) of `data`; seed: 0, or the CRC of the bytes before it, or any 32 bits of identity.

    path: one of crc32c_paths() instead of the fastest; ValueError if this processor has no such path.
    """
    cdef crc_function run = crc_best if path is None else crc_paths[_number(path, crc32c_paths())].run
    cdef Py_buffer view
    cdef uint32_t crc
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if view.len < KEEP_GIL:
        crc = run(~seed, <const uint8_t *>view.buf, view.len)
    else:
        with nogil:
            crc = run(~seed, <const uint8_t *>view.buf, view.len)
    PyBuffer_Release(&view)
    return <uint32_t>~crc


def crc32c_path():
    """The path that crc32c takes here: the last of crc32c_paths()."""
    return crc_paths[crc_path_count - 1].name.decode()


def crc32c_paths():
    """The paths that this processor can take, the fastest last: of generic, sse4.2, avx512, arm-crc."""
    return tuple([crc_paths[i].name.decode() for i in range(crc_path_count)])


def xor_path():
    """The path that XOR takes here: the last of xor_paths()."""
    return xor_paths_[xor_path_count - 1].name.decode()


def xor_paths():
    """The paths that this processor can take, the fastest last: of generic, avx2, avx512."""
    return tuple([xor_paths_[i].name.decode() for i in range(xor_path_count)])


def _xor_into(dst, src, str path=None):
    """dst ^= src, both of the same length, a multiple of 512 bytes (ValueError); they are one buffer or do not overlap."""
    _xor_parity((dst, src), dst, path)


def _xor_parity(columns, out, str path=None):
    """out = XOR of one or more columns (up to 255), all of out's length, a multiple of 512 bytes (ValueError).

    out may be one of the columns; otherwise nothing overlaps. path: as for crc32c, of xor_paths().
    """
    cdef xor_function run = xor_best if path is None else xor_paths_[_number(path, xor_paths())].run
    cdef Py_buffer views[MOST_COLUMNS + 1]
    cdef const uint8_t *starts[MOST_COLUMNS]
    cdef int held = 0, count = len(columns), i
    cdef size_t size
    if not 1 <= count <= MOST_COLUMNS:
        raise ValueError(f"the XOR of {count} columns was asked for: it takes 1 to {MOST_COLUMNS}")
    try:
        PyObject_GetBuffer(out, &views[0], PyBUF_SIMPLE | PyBUF_WRITABLE)
        held = 1
        size = views[0].len
        if size % UNIT_BYTES:
            raise ValueError(f"columns are whole units of {UNIT_BYTES} bytes, not {size} bytes")
        for i in range(count):
            PyObject_GetBuffer(columns[i], &views[held], PyBUF_SIMPLE)
            held += 1
            if <size_t>views[i + 1].len != size:
                raise ValueError(f"column {i} has {views[i + 1].len} bytes, and {size} are to be filled")
            starts[i] = <const uint8_t *>views[i + 1].buf
        if size * count < KEEP_GIL:
            run(<uint8_t *>views[0].buf, starts, count, size)
        else:
            with nogil:
                run(<uint8_t *>views[0].buf, starts, count, size)
    finally:
        for i in range(held):
            PyBuffer_Release(&views[i])


# Compiled and Python callers use the same names; Cython has one scope for both kinds of function.
for _name, _function in (("crc32c", _crc32c), ("xor_into", _xor_into), ("xor_parity", _xor_parity)):
    _function.__name__ = _function.__qualname__ = _name
    globals()[_name] = _function
