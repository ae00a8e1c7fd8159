"""The map of one volume: for each grain its slab, slot, birth and the CRC32C of its blocks, in a tree of pages.

Knows: entries, leaves, the pages above them, which are dirty. Refuses to know: how pages get to members and back (a
function is given), what a slot holds.

A page has 16 KiB: a head of 64 bytes (magic `VFPG`, u32 volume, u32 level, u32 0, u64 page number) and entries: of grains in
a leaf (level 0), of pages above (24 bytes: u32 slab, u32 slot, u32 crc, u32 0, u64 birth). All page pointers are in memory
(24 bytes for 10 MiB of data), leaves come and go: the clean ones that were not used for longest make room.
"""

import struct

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from storvirt.pool.format import NO_PAGE, FormatError, PagePointer

PAGE = PAGE_BYTES
BLOCK = 4096
_HEAD = struct.Struct("<4sIIIQ")
_POINTER = struct.Struct("<IIIIQ")
PER_PAGE = (PAGE_BYTES - PAGE_HEAD) // _POINTER.size
DEFAULT_LIMIT = 2048     # leaves, 32 MiB: with them stord stays under 60 MiB, whatever the size of a volume


cdef class Leaf:
    def __cinit__(self):
        self.data = <uint8_t *>calloc(1, PAGE_BYTES)
        if self.data == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.data)


def levels_for(uint64_t size, uint32_t grain):
    """How many levels stand above the leaves of a volume of `size` bytes."""
    pages, levels = _leaf_count(size, grain), 0
    while pages > 1:
        pages = -(-pages // PER_PAGE)
        levels += 1
    return levels


def _leaf_count(size, grain):
    grains = -(-size // grain)
    return max(1, -(-grains // ((PAGE_BYTES - PAGE_HEAD) // (16 + 4 * (grain // BLOCK)))))


cdef class VolumeMap:
    """volume: its number; size, grain: bytes; load(pointer) gives the bytes of a page or raises; limit: leaves in memory."""

    def __cinit__(self, uint32_t volume, uint64_t size, uint32_t grain, load, uint64_t limit=DEFAULT_LIMIT):
        self.volume, self.grain, self.limit = volume, grain, limit
        self.blocks = grain // BLOCK
        self.entry_size = 16 + 4 * self.blocks
        self.per_leaf = (PAGE_BYTES - PAGE_HEAD) // self.entry_size
        self._load = load
        self._leaves, self._pointers, self._dirty = [], [[]], [set()]
        self._resize(size)

    def _resize(self, uint64_t size):
        self.grains = (size + self.grain - 1) // self.grain
        count = _leaf_count(size, self.grain)
        self._leaves.extend([None] * (count - len(self._leaves)))
        level = 0
        while True:
            if level == len(self._pointers):
                self._pointers.append([])
                self._dirty.append(set())
            old = len(self._pointers[level])
            self._pointers[level].extend([NO_PAGE] * (count - old))
            if count == 1:
                break
            # A page that now stands under another one, or beside new ones, must be written again as a parent.
            level += 1
            count = -(-count // PER_PAGE)

    @property
    def levels(self):
        return len(self._pointers) - 1

    def grow(self, uint64_t size):
        """Make room for a larger volume; the pages above are written anew with the next checkpoint."""
        before = self.levels
        self._resize(size)
        for level in range(before + 1, len(self._pointers)):
            self._dirty[level].add(0)

    # --- entries

    cdef Leaf _leaf(self, uint64_t number, bint make):
        cdef Leaf leaf = <Leaf>self._leaves[number] if self._leaves[number] is not None else None
        cdef bytes data
        if leaf is not None:
            leaf.used = True
            return leaf
        pointer = self._pointers[0][number]
        if pointer.slab == 0 and not make:
            return None
        leaf = Leaf()
        if pointer.slab != 0:
            data = self._load(pointer)
            _check_head(data, self.volume, 0, number)
            memcpy(leaf.data, <const uint8_t *>data, PAGE_BYTES)
        if self.loaded >= self.limit:
            self._evict()
        leaf.used = True
        self._leaves[number] = leaf
        self.loaded += 1
        return leaf

    def _evict(self):
        cdef uint64_t i, count = len(self._leaves)
        cdef Leaf leaf
        for i in range(2 * count):
            self._hand = (self._hand + 1) % count
            if self._leaves[self._hand] is None:
                continue
            leaf = <Leaf>self._leaves[self._hand]
            if leaf.used:
                leaf.used = False
            elif not leaf.dirty:
                self._leaves[self._hand] = None
                self.loaded -= 1
                return

    cdef entry_t *find(self, uint64_t grain) except? NULL:
        """The grain's entry, or NULL where there never was one. Valid until the next call."""
        cdef Leaf leaf = self._leaf(grain // self.per_leaf, False)
        if leaf is None:
            return NULL
        return <entry_t *>(leaf.data + PAGE_HEAD + (grain % self.per_leaf) * self.entry_size)

    cdef entry_t *change(self, uint64_t grain) except NULL:
        """The grain's entry, to be changed. Valid until the next call."""
        cdef uint64_t number = grain // self.per_leaf
        cdef Leaf leaf = self._leaf(number, True)
        if not leaf.dirty:
            leaf.dirty = True
            (<set>self._dirty[0]).add(number)
        return <entry_t *>(leaf.data + PAGE_HEAD + (grain % self.per_leaf) * self.entry_size)

    def entry(self, uint64_t grain):
        """(slab, slot, birth, CRCs) of a grain, or None: for looking, not for speed."""
        cdef entry_t *found = self.find(grain)
        if found == NULL:
            return None
        return found.slab, found.slot, found.birth, [entry_crcs(found)[i] for i in range(self.blocks)]

    def set_entry(self, uint64_t grain, uint32_t slab, uint32_t slot, uint64_t birth, crcs):
        """Change a grain's entry: for looking, not for speed."""
        cdef entry_t *found = self.change(grain)
        cdef uint32_t i
        found.slab, found.slot, found.birth = slab, slot, birth
        for i in range(self.blocks):
            entry_crcs(found)[i] = crcs[i]

    @property
    def dirty_leaves(self):
        return len(self._dirty[0])

    def allocated(self):
        """(grain, slab, slot) of every grain that has a slot, in order. Loads leaves one after the other."""
        cdef uint64_t number, i, first
        cdef entry_t *found
        cdef Leaf leaf
        for number in range(len(self._leaves)):
            if self._leaves[number] is None and self._pointers[0][number].slab == 0:
                continue
            first = number * self.per_leaf
            rows = []
            leaf = self._leaf(number, False)
            for i in range(self.per_leaf):
                found = <entry_t *>(leaf.data + PAGE_HEAD + i * self.entry_size)
                if found.slab != 0:
                    rows.append((first + i, found.slab, found.slot))
            yield from rows

    # --- pages

    def pages(self):
        """Every page pointer that is in use."""
        for level in self._pointers:
            for pointer in level:
                if pointer.slab:
                    yield pointer

    def numbered_pages(self):
        """(level, number, pointer) of every page."""
        for level, pointers in enumerate(self._pointers):
            for number, pointer in enumerate(pointers):
                if pointer.slab:
                    yield level, number, pointer

    def touch(self, level, number):
        """Write this page to new space with the next checkpoint."""
        cdef Leaf leaf
        if level == 0:
            leaf = self._leaf(number, True)
            leaf.dirty = True
        (<set>self._dirty[level]).add(number)

    def read_tree(self, root, int levels):
        """Fill in all page pointers from the root down. Raises what `load` raises, and FormatError.

        levels: of the tree that is there; if the volume has grown since, the pages above are written with the next one.
        """
        if levels > self.levels:
            raise FormatError(f"the map of volume {self.volume} has {levels} levels where {self.levels} are possible")
        self._pointers[levels][0] = root
        for level in range(levels + 1, self.levels + 1):
            self._dirty[level].add(0)
        for level in range(levels, 0, -1):
            for number, pointer in enumerate(self._pointers[level]):
                if pointer.slab == 0:
                    continue
                data = self._load(pointer)
                _check_head(data, self.volume, level, number)
                below = self._pointers[level - 1]
                for i in range(min(PER_PAGE, len(below) - number * PER_PAGE)):
                    slab, slot, crc, _, birth = _POINTER.unpack_from(data, PAGE_HEAD + i * _POINTER.size)
                    below[number * PER_PAGE + i] = PagePointer(slab, slot, crc, birth)

    def write_tree(self, store):
        """Write every dirty page to new space, leaves first; returns the root pointer and the pointers now unused.

        store(bytes) -> PagePointer. If it raises, nothing here has changed.
        """
        staged = [{} for _ in self._pointers]
        above = set()
        for level in range(len(self._pointers)):
            todo = self._dirty[level] | above
            above = set()
            for number in sorted(todo):
                staged[level][number] = store(self._page(level, number, staged))
                above.add(number // PER_PAGE)
        unused = []
        for level, pages in enumerate(staged):
            for number, pointer in pages.items():
                old = self._pointers[level][number]
                if old.slab:
                    unused.append(old)
                self._pointers[level][number] = pointer
                if level == 0:
                    (<Leaf>self._leaves[number]).dirty = False
            (<set>self._dirty[level]).clear()
        return self._pointers[self.levels][0], unused

    def _page(self, level, number, staged):
        cdef Leaf leaf
        head = _HEAD.pack(b"VFPG", self.volume, level, 0, number).ljust(PAGE_HEAD, b"\0")
        if level == 0:
            leaf = self._leaf(number, True)
            return head + (<char *>leaf.data)[PAGE_HEAD:PAGE_BYTES]
        first = number * PER_PAGE
        below = self._pointers[level - 1][first : first + PER_PAGE]
        fresh = staged[level - 1]
        rows = [fresh.get(first + i, pointer) for i, pointer in enumerate(below)]
        body = b"".join([_POINTER.pack(p.slab, p.slot, p.crc, 0, p.birth) for p in rows])
        return (head + body).ljust(PAGE_BYTES, b"\0")


def _check_head(data, volume, level, number):
    if len(data) != PAGE_BYTES or _HEAD.unpack_from(data) != (b"VFPG", volume, level, 0, number):
        raise FormatError(f"a page of volume {volume} (level {level}, number {number}) holds something else")
