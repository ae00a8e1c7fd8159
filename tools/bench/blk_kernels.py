"""CRC-32C and XOR parity alone, in the cache, beside ISA-L's. Rows blk/memory/crc32c/* and blk/memory/xor-parity/*.

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

from storvirt.raid import kernels
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


def _ours(name: str) -> int:
    """The address of a C function of kernels.pxd: Cython leaves it in a capsule named after its signature."""
    api, capsule = ctypes.pythonapi, vars(kernels)["__pyx_capi__"][name]
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(library[name], ctypes.c_void_p).value or 0


class Columns:
    """COLUMNS and one for the result, each at a multiple of 64, as ISA-L's xor_gen wants."""

    def __init__(self, size: int) -> None:
        self.size = size
        step = size + 64
        self._room = ctypes.create_string_buffer(bytes(range(251)) * ((COLUMNS + 2) * step // 251 + 1))
        start = -(-ctypes.addressof(self._room) // 64) * 64
        self.pointers = (ctypes.c_void_p * (COLUMNS + 1))(*(start + number * step for number in range(COLUMNS + 1)))


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
