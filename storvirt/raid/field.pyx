"""GF(2^8): parities P, Q and R, and any column as a sum of others.

Knows: bytes, constants, and which of several ways to compute is the fastest on this processor (gf.h has them; gf_solve.h
knows which sum a lost column is).
Refuses to know: grains, slots, members.

The C functions of field.pxd check nothing; the Python functions of the same names work over buffers, and can be told to
take a certain path, so that tests hold all of them against each other and against another library.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

from storvirt.raid.kernels cimport UNIT_BYTES, xor_into, xor_parity


cdef extern from "gf_solve.h" nogil:
    ctypedef void (*parity_function "gf_parity_function")(const uint8_t *const *columns, int k, uint8_t *const *out, int m,
                                                          size_t size) noexcept nogil
    ctypedef void (*sum_function "gf_sum_function")(const uint8_t *const *columns, const uint8_t *constants, int count,
                                                    uint8_t *out, size_t size) noexcept nogil
    ctypedef struct gf_path_t "gf_path":
        const char *name
        parity_function parity
        sum_function sum
    gf_path_t gf_paths_ "gf_paths"[]
    int gf_path_count
    gf_path_t gf_best
    void gf_setup()
    int gf_solve(int d, int p, int wanted, uint64_t lost, uint8_t *sources, uint8_t *constants)


cdef enum:
    MOST_COLUMNS = 255

gf_setup()


cdef void gf_parity(const uint8_t *const *columns, int k, uint8_t *const *out, int m, size_t size) noexcept nogil:
    if m == 1:
        xor_parity(columns, k, out[0], size)
    else:
        gf_best.parity(columns, k, out, m, size)


cdef void gf_sum(const uint8_t *const *columns, const uint8_t *constants, int count, uint8_t *out, size_t size) noexcept nogil:
    gf_best.sum(columns, constants, count, out, size)


cdef void gf_add(uint8_t *dst, const uint8_t *src, uint8_t constant, size_t size) noexcept nogil:
    cdef const uint8_t *both[2]
    cdef uint8_t constants[2]
    if constant == 1:
        xor_into(dst, src, size)
        return
    both[0], both[1] = dst, src
    constants[0], constants[1] = 1, constant
    gf_best.sum(both, constants, 2, dst, size)


cdef int gf_sources(int d, int p, int wanted, uint64_t lost, uint8_t *sources, uint8_t *constants) noexcept nogil:
    return gf_solve(d, p, wanted, lost, sources, constants)


def gf_path():
    """The path that is taken here: the last of gf_paths()."""
    return gf_paths_[gf_path_count - 1].name.decode()


def gf_paths():
    """The paths that this processor can take, the fastest last: of generic, ssse3, avx2, gfni, gfni-avx512, neon."""
    return tuple([gf_paths_[i].name.decode() for i in range(gf_path_count)])


cdef gf_path_t _path(str path) except *:
    paths = gf_paths()
    if path is not None and path not in paths:
        raise ValueError(f"this processor has no path {path!r}; it has {', '.join(paths)}")
    return gf_best if path is None else gf_paths_[paths.index(path)]


cdef class _Buffers:
    """Columns and results, all of one length, held until this goes."""

    cdef Py_buffer views[MOST_COLUMNS + MOST_PARITY]
    cdef uint8_t *starts[MOST_COLUMNS + MOST_PARITY]
    cdef int held
    cdef Py_ssize_t size

    cdef int take(self, buffer, int flags) except -1:
        PyObject_GetBuffer(buffer, &self.views[self.held], flags)
        self.held += 1
        cdef Py_ssize_t size = self.views[self.held - 1].len
        self.starts[self.held - 1] = <uint8_t *>self.views[self.held - 1].buf
        if self.held == 1:
            self.size = size
        if size != self.size or size % UNIT_BYTES:
            raise ValueError(f"columns are equally long and a multiple of {UNIT_BYTES} bytes, not {size} bytes")
        return 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.held):
            PyBuffer_Release(&self.views[i])


cdef _Buffers _taken(columns, outs):
    cdef _Buffers buffers = _Buffers()
    if not 1 <= len(columns) <= MOST_COLUMNS or not 1 <= len(outs) <= MOST_PARITY:
        raise ValueError(f"{len(outs)} parities of {len(columns)} columns: there are 1 to {MOST_PARITY} of 1 to {MOST_COLUMNS}")
    for column in columns:
        buffers.take(column, PyBUF_SIMPLE)
    for out in outs:
        buffers.take(out, PyBUF_SIMPLE | PyBUF_WRITABLE)
    return buffers


def _gf_parity(columns, outs, str path=None):
    """Parities P, Q, R (as many as there are `outs`, 1 to 3) of columns of equal length, a multiple of 512 bytes.

    Nothing overlaps. Raises ValueError. path: one of gf_paths() instead of the fastest.
    """
    cdef _Buffers buffers = _taken(columns, outs)
    cdef gf_path_t way = _path(path)
    cdef int k = len(columns), m = len(outs)
    if path is None:
        gf_parity(<const uint8_t *const *>buffers.starts, k, &buffers.starts[k], m, buffers.size)
    else:
        way.parity(<const uint8_t *const *>buffers.starts, k, &buffers.starts[k], m, buffers.size)


def _gf_sum(columns, constants, out, str path=None):
    """out = sum of constants[i] * columns[i] (1 to 255 of them, lengths as above); out may be one of the columns."""
    cdef _Buffers buffers = _taken(columns, (out,))
    cdef gf_path_t way = _path(path)
    cdef int k = len(columns)
    cdef bytes factors = bytes(constants)
    if len(factors) != k:
        raise ValueError(f"{k} columns and {len(factors)} constants")
    way.sum(<const uint8_t *const *>buffers.starts, factors, k, buffers.starts[k], buffers.size)


def _gf_sources(int d, int p, int wanted, uint64_t lost):
    """{column: constant} of columns that are not in `lost` (a bit each), whose sum is `wanted`; None if too much is lost.

    A group has d data columns (0 to d - 1), then p redundant ones: P, Q and R; copies where d is 1.
    """
    cdef uint8_t sources[64]
    cdef uint8_t constants[64]
    if d < 1 or p < 0 or d + p > 64 or (d > 1 and p > MOST_PARITY) or not 0 <= wanted < d + p:
        raise ValueError(f"there is no column {wanted} in a group of {d} and {p}")
    cdef int count = gf_solve(d, p, wanted, lost, sources, constants)
    return {sources[i]: constants[i] for i in range(count)} or None


# Compiled and Python callers use the same names; Cython has one scope for both kinds of function.
for _name, _function in (("gf_parity", _gf_parity), ("gf_sum", _gf_sum), ("gf_sources", _gf_sources)):
    _function.__name__ = _function.__qualname__ = _name
    globals()[_name] = _function
