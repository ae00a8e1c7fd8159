"""One slot: a grain to its columns and back, with zeros for padding, parities or copies, and what is lost computed again.

Knows: the bytes of one stripe (storvirt/raid/layout.py says how many lie where).
Refuses to know: members, slots, checksums, why a column is missing.

The C functions of stripe.pxd copy nothing that needs no copy: a column is a pointer into the grain. The class `Stripe` is
the same for Python, with bytes.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcmp, memcpy, memset

from storvirt.raid.field cimport MOST_PARITY, gf_parity, gf_sources, gf_sum
from storvirt.raid.kernels cimport UNIT_BYTES, xor_parity


cdef int stripe_spare(const stripe_t *s, uint64_t lost) noexcept nogil:
    cdef int group, least = s.p
    for group in range(s.k // s.d if lost else 0):
        least = min(least, s.p - stripe_count(stripe_of_group(s, group, lost)))
    return least


cdef void stripe_split(const stripe_t *s, const uint8_t *grain, uint8_t *scratch, const uint8_t **columns) noexcept nogil:
    cdef uint8_t *parity[MOST_PARITY]
    cdef int last = s.k - 1, i, row, group
    cdef size_t tail = s.grain - <size_t>last * s.column
    for i in range(s.k):
        columns[i] = grain + <size_t>i * s.column
    if tail < s.column:
        memcpy(scratch, columns[last], tail)
        memset(scratch + tail, 0, s.column - tail)
        columns[last] = scratch
    if s.d == 1:
        for i in range(s.m):
            columns[s.k + i] = columns[i // s.p]
        return
    for group in range(s.k // s.d if s.p else 0):
        for row in range(s.p):
            i = group * s.p + row
            columns[s.k + i] = parity[row] = scratch + <size_t>(1 + i) * s.column
        gf_parity(columns + group * s.d, s.d, parity, s.p, s.column)


cdef void stripe_assemble(const stripe_t *s, const uint8_t *const *columns, uint8_t *grain) noexcept nogil:
    cdef int last = s.k - 1, i
    for i in range(last):
        memcpy(grain + <size_t>i * s.column, columns[i], s.column)
    memcpy(grain + <size_t>last * s.column, columns[last], s.grain - <size_t>last * s.column)


cdef int stripe_sources(const stripe_t *s, int column, uint64_t lost, uint8_t *sources, uint8_t *constants) noexcept nogil:
    cdef int group = stripe_group(s, column), count, i
    cdef int wanted = column - group * s.d if column < s.k else s.d + column - s.k - group * s.p
    count = gf_sources(s.d, s.p, wanted, stripe_of_group(s, group, lost), sources, constants)
    for i in range(count):
        sources[i] += <uint8_t>(group * s.d if sources[i] < s.d else s.k + group * s.p - s.d)
    return count


cdef int stripe_reconstruct(const stripe_t *s, uint8_t *const *columns, uint64_t missing, size_t size) noexcept nogil:
    cdef const uint8_t *others[STRIPE_MOST]
    cdef uint8_t sources[STRIPE_MOST]
    cdef uint8_t constants[STRIPE_MOST]
    cdef bint plain
    cdef int count, i, column
    if stripe_spare(s, missing) < 0:
        return -1
    for column in range(s.k + s.m):
        if not missing >> column & 1:
            continue
        count, plain = stripe_sources(s, column, missing, sources, constants), True
        for i in range(count):
            others[i] = columns[sources[i]]
            plain = plain and constants[i] == 1
        if count == 1 and plain:
            memcpy(columns[column], others[0], size)
        elif plain:
            xor_parity(others, count, columns[column], size)
        else:
            gf_sum(others, constants, count, columns[column], size)
    return 0


cdef bint stripe_agrees(const stripe_t *s, const uint8_t *const *columns, size_t size, uint8_t *scratch) noexcept nogil:
    cdef uint8_t *parity[MOST_PARITY]
    cdef const uint8_t *expected
    cdef int i, row, group
    for row in range(MOST_PARITY):
        parity[row] = scratch + row * size
    for i in range(s.m):
        group, row = i // s.p, i % s.p
        if s.d == 1:
            expected = columns[group]
        else:
            if row == 0:
                gf_parity(columns + group * s.d, s.d, parity, s.p, size)
            expected = parity[row]
        if memcmp(expected, columns[s.k + i], size):
            return False
    return True


class StripeError(ValueError):
    """Columns from which no grain can be made: one sentence."""


cdef class _Held:
    """The buffers of the columns that are there, held until this goes; `missing` has a bit for each that is None."""

    cdef Py_buffer views[STRIPE_MOST]
    cdef const uint8_t *starts[STRIPE_MOST]
    cdef int count
    cdef uint64_t missing
    cdef Py_ssize_t size

    def __cinit__(self, columns, int width):
        cdef int i
        self.size = -1
        if len(columns) != width:
            raise StripeError(f"a stripe of {width} columns can't be made of {len(columns)}")
        for i in range(width):
            if columns[i] is None:
                self.missing |= <uint64_t>1 << i
                continue
            PyObject_GetBuffer(columns[i], &self.views[self.count], PyBUF_SIMPLE)
            self.count += 1
            self.starts[i] = <const uint8_t *>self.views[self.count - 1].buf
            self._same(i, self.views[self.count - 1].len)

    cdef int _same(self, int column, Py_ssize_t size) except -1:
        if self.size < 0 and size % UNIT_BYTES == 0:
            self.size = size
        if size != self.size:
            raise StripeError(f"column {column} has {size} bytes: all have the same whole number of sectors")
        return 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])


cdef class Stripe:
    """The stripes of one layout (storvirt.raid.layout.Layout). Junk raises StripeError."""

    cdef stripe_t s
    cdef str name

    def __cinit__(self, layout):
        self.name = layout.profile.name
        self.s.k, self.s.m = layout.k, layout.m
        self.s.d, self.s.p = layout.d, layout.p
        self.s.grain, self.s.column = layout.grain, layout.column
        if self.s.k < 1 or self.s.m < 0 or self.s.k + self.s.m > STRIPE_MOST:
            raise StripeError(f"a stripe has 1 to {STRIPE_MOST} columns")

    def split(self, grain):
        """The k + m columns of a grain, each of layout.column bytes."""
        if memoryview(grain).nbytes != self.s.grain:
            raise StripeError(f"a grain has {self.s.grain} bytes, not {memoryview(grain).nbytes}")
        cdef _Held held = _Held((grain,), 1)
        cdef const uint8_t *columns[STRIPE_MOST]
        cdef bytearray scratch = bytearray((1 + self.s.m) * self.s.column)
        cdef uint8_t *start = scratch
        stripe_split(&self.s, held.starts[0], start, columns)
        return [PyBytes_FromStringAndSize(<const char *>columns[i], self.s.column) for i in range(self.s.k + self.s.m)]

    def reconstruct(self, columns):
        """All columns, those that are None computed from the others: whole columns, or the same piece of each."""
        cdef _Held held = _Held(columns, self.s.k + self.s.m)
        cdef list whole = []
        self._complete(held, whole)
        return [bytes(columns[i]) if whole[i] is None else whole[i] for i in range(len(whole))]

    cdef int _complete(self, _Held held, list whole) except -1:
        """Gives `held` all columns; `whole` gets the new ones, None for those that were there."""
        cdef int width = self.s.k + self.s.m, i
        if stripe_spare(&self.s, held.missing) < 0:
            each = " in each group" if self.s.d < self.s.k else ""
            raise StripeError(
                f"{width - held.count} of {width} columns are missing, and {self.name} survives the loss of {self.s.p}{each}"
            )
        for i in range(width):
            column = PyBytes_FromStringAndSize(NULL, held.size) if held.missing >> i & 1 else None
            if column is not None:
                held.starts[i] = <const uint8_t *>PyBytes_AS_STRING(column)
            whole.append(column)
        # Written to are only the new bytes, which nobody else has seen.
        stripe_reconstruct(&self.s, <uint8_t *const *><void *>held.starts, held.missing, held.size)
        return 0

    def assemble(self, columns):
        """The grain of whole columns, those that are None reconstructed first."""
        cdef _Held held = _Held(columns, self.s.k + self.s.m)
        cdef list whole = []
        self._complete(held, whole)
        if held.size != self.s.column:
            raise StripeError(f"a column has {self.s.column} bytes, not {held.size}")
        grain = PyBytes_FromStringAndSize(NULL, self.s.grain)
        stripe_assemble(&self.s, held.starts, <uint8_t *>PyBytes_AS_STRING(grain))
        return grain

    def agrees(self, columns):
        """Whether parity or copies are what the data says; all columns are there, whole or the same piece of each."""
        cdef _Held held = _Held(columns, self.s.k + self.s.m)
        if held.missing:
            raise StripeError("a column is missing: nothing can be compared")
        cdef bytearray scratch = bytearray(MOST_PARITY * held.size)
        cdef uint8_t *start = scratch
        return stripe_agrees(&self.s, held.starts, held.size, start)
