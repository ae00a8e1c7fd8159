"""CRC-32C, XOR, P+Q and three parities, and the recovery of lost columns, alone, in the cache, beside ISA-L's. Rows
blk/memory/crc32c/*, xor-parity/*, pq-parity/*, pqr-parity/* and recover/*.

Both sides are C functions and are called from the same loop in C, on the same bytes: a call from
Python would cost more than 4 KiB of either.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from storvirt.raid import field, kernels
from tools.bench.rig import Folder
from tools.bench.rows import Row, make_row

PEER = "ISA-L"
PEER_MISSING = "ISA-L (missing: package libisal2)"
SIZES = {"4k": 4096, "64k": 65536}
COLUMNS = 4
BYTES = 1 << 30  # that a run takes in
RUNS = 7

LOOPS = r"""
#include <stddef.h>
#include <stdint.h>
typedef uint32_t (*crc_ours)(uint32_t, const uint8_t *, size_t);
typedef uint32_t (*crc_isal)(const uint8_t *, int, uint32_t);
typedef void (*xor_ours)(const uint8_t *const *, int, uint8_t *, size_t);
typedef int (*xor_isal)(int, int, void **);
uint32_t loop_crc_ours(void *f, uint8_t **p, int k, size_t n, size_t count) {
    uint32_t crc = 0;
    while (count--) crc += ((crc_ours)f)(0, p[0], n);
    return crc;
}
uint32_t loop_crc_isal(void *f, uint8_t **p, int k, size_t n, size_t count) {
    uint32_t crc = 0;
    while (count--) crc += ~((crc_isal)f)(p[0], (int)n, ~0u);
    return crc;
}
uint32_t loop_xor_ours(void *f, uint8_t **p, int k, size_t n, size_t count) {
    while (count--) ((xor_ours)f)((const uint8_t *const *)p, k, p[k], n);
    return p[k][n - 1];
}
uint32_t loop_xor_isal(void *f, uint8_t **p, int k, size_t n, size_t count) {
    while (count--) ((xor_isal)f)(k + 1, (int)n, (void **)p);
    return p[k][n - 1];
}
typedef void (*parity_ours)(const uint8_t *const *, int, uint8_t *const *, int, size_t);
typedef int (*pq_isal)(int, int, void **);
typedef void (*encode_isal)(int, int, int, uint8_t *, uint8_t **, uint8_t **);
typedef void (*sum_ours)(const uint8_t *const *, const uint8_t *, int, uint8_t *, size_t);
static uint8_t tables[32 * 3 * 16], constants[3 * 16];
static void powers(int k, int rows, void (*init)(int, int, uint8_t *, uint8_t *)) {
    for (int row = 0, step = 1; row < rows; row++, step = step << 1)
        for (int i = 0, v = 1; i < k; i++) {
            constants[row * k + i] = (uint8_t)v;
            for (int times = 0; times < row; times++) v = v << 1 ^ (v & 128 ? 0x11d : 0);
        }
    if (init) init(k, rows, constants, tables);
}
void prepare(void *init, int k, int rows) { powers(k, rows, (void (*)(int, int, uint8_t *, uint8_t *))init); }
uint32_t loop_pq_ours(void *f, uint8_t **p, int k, size_t n, size_t count) {
    while (count--) ((parity_ours)f)((const uint8_t *const *)p, k, p + k, 2, n);
    return p[k][n - 1] << 8 | p[k + 1][n - 2];
}
uint32_t loop_pq_isal(void *f, uint8_t **p, int k, size_t n, size_t count) {
    while (count--) ((pq_isal)f)(k + 2, (int)n, (void **)p);
    return p[k][n - 1] << 8 | p[k + 1][n - 2];
}
uint32_t loop_pqr_ours(void *f, uint8_t **p, int k, size_t n, size_t count) {
    while (count--) ((parity_ours)f)((const uint8_t *const *)p, k, p + k, 3, n);
    return p[k][n - 1] << 16 | p[k + 1][n - 2] << 8 | p[k + 2][n - 3];
}
uint32_t loop_pqr_isal(void *f, uint8_t **p, int k, size_t n, size_t count) {
    while (count--) ((encode_isal)f)((int)n, k, 3, tables, p, p + k);
    return p[k][n - 1] << 16 | p[k + 1][n - 2] << 8 | p[k + 2][n - 3];
}
uint32_t loop_sum_ours(void *f, uint8_t **p, int k, size_t n, size_t count) {
    while (count--) ((sum_ours)f)((const uint8_t *const *)p, constants + 2 * k, k, p[k], n);
    return p[k][n - 1];
}
uint32_t loop_sum_isal(void *f, uint8_t **p, int k, size_t n, size_t count) {
    while (count--) ((encode_isal)f)((int)n, k, 1, tables + 32 * 2 * k, p, p + k);
    return p[k][n - 1];
}
"""

Loop = Callable[[int], int]  # so many calls; returns a sum that both sides must agree on


def _compiled(folder: str) -> ctypes.CDLL:
    source, library = Path(folder, "loops.c"), Path(folder, "loops.so")
    source.write_text(LOOPS)
    argv = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=60, check=True)
    return ctypes.CDLL(str(library))


def _isal() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("isal")
    return ctypes.CDLL(name) if name else None


def _ours(name: str, module: ModuleType = kernels) -> int:
    """The address of a C function of kernels.pxd or field.pxd: Cython leaves it in a capsule with its signature."""
    api, capsule = ctypes.pythonapi, vars(module)["__pyx_capi__"][name]
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(library[name], ctypes.c_void_p).value or 0


class Columns:
    """COLUMNS and three for results, each at a multiple of 64, as ISA-L's xor_gen wants."""

    def __init__(self, size: int) -> None:
        self.size = size
        step = size + 64
        self._room = ctypes.create_string_buffer(bytes(range(251)) * ((COLUMNS + 4) * step // 251 + 1))
        start = -(-ctypes.addressof(self._room) // 64) * 64
        self.pointers = (ctypes.c_void_p * (COLUMNS + 3))(*(start + number * step for number in range(COLUMNS + 3)))


def _loop(loops: ctypes.CDLL, name: str, function: int, columns: Columns) -> Loop:
    call = loops[name]
    call.restype = ctypes.c_uint32
    call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t]
    return lambda count: int(call(function, columns.pointers, COLUMNS, columns.size, count))


def _speed(loop: Loop, taken: int) -> float:
    """GB/s of input; taken: bytes of a call."""
    begin = time.perf_counter()
    loop(BYTES // taken)
    return BYTES / (time.perf_counter() - begin) / 1e9


def _row(name: str, settings: str, taken: int, ours: Loop, peer: Loop | None) -> Row:
    if peer is not None and ours(1) != peer(1):
        raise RuntimeError(f"{name}: {PEER} computes something else")
    mine, theirs = [], []
    for _ in range(RUNS):
        mine.append(_speed(ours, taken))
        if peer is not None:
            theirs.append(_speed(peer, taken))
    return make_row(name, "GB/s", mine, theirs or None, PEER if peer else PEER_MISSING, settings)


def rows() -> Iterator[Row]:
    isal = _isal()
    crc = f"one buffer in the cache, one core, path {kernels.crc32c_path()}"
    xor = f"bytes read; {COLUMNS} columns in the cache, one core, path {kernels.xor_path()}"
    with Folder() as folder:
        loops = _compiled(folder.path)
        for word, size in SIZES.items():
            columns = Columns(size)
            ours = _loop(loops, "loop_crc_ours", _ours("crc32c"), columns)
            peer = _loop(loops, "loop_crc_isal", _address(isal, "crc32_iscsi"), columns) if isal else None
            yield _row(f"blk/memory/crc32c/{word}/vs-isal", crc, size, ours, peer)
        for word, size in SIZES.items():
            columns = Columns(size)
            ours = _loop(loops, "loop_xor_ours", _ours("xor_parity"), columns)
            peer = _loop(loops, "loop_xor_isal", _address(isal, "xor_gen"), columns) if isal else None
            yield _row(f"blk/memory/xor-parity/{word}/k{COLUMNS}/vs-isal", xor, size * COLUMNS, ours, peer)
        yield from _parities(loops, isal)


# Word of the row, our function and loop, ISA-L's.
_FIELD = (
    ("pq-parity", "gf_parity", "pq", "pq_gen"),
    ("pqr-parity", "gf_parity", "pqr", "ec_encode_data"),
    ("recover", "gf_sum", "sum", "ec_encode_data"),
)


def _parities(loops: ctypes.CDLL, isal: ctypes.CDLL | None) -> Iterator[Row]:
    settings = f"bytes read; {COLUMNS} columns in the cache, one core, path {field.gf_path()}"
    loops.prepare(ctypes.c_void_p(_address(isal, "ec_init_tables") if isal else None), COLUMNS, 3)
    for word, mine, loop, theirs in _FIELD:
        for name, size in SIZES.items():
            columns = Columns(size)
            ours = _loop(loops, f"loop_{loop}_ours", _ours(mine, field), columns)
            peer = _loop(loops, f"loop_{loop}_isal", _address(isal, theirs), columns) if isal else None
            yield _row(f"blk/memory/{word}/{name}/k{COLUMNS}/vs-isal", settings, size * COLUMNS, ours, peer)
