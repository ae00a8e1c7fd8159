"""A lost column of a slab, many slots at a time: what is read of each column, and what is written, is one piece.

Knows: which grain lies in which slot, checksums, what a missing column is computed from. Refuses to know: what is done with
a slot that does not verify, where the column goes to (slab.pyx), when a slab is done (repair.py).

A slot is rebuilt only if its grain is still there when its turn comes: what is written meanwhile goes to the new column, too.
So nothing may be under way any more when others have their turn: settle() comes before.

A piece is written by another thread while the next one is read and verified here: each is about half of the work.
"""

from libc.errno cimport EAGAIN
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from storvirt.backing.member cimport Member
from storvirt.pool.reader cimport BLOCK_BYTES, Disk, Reader, grain_seed
from storvirt.pool.slab cimport Slab
from storvirt.raid.field cimport gf_sum
from storvirt.raid.kernels cimport crc32c, xor_parity
from storvirt.raid.stripe cimport STRIPE_MOST, stripe_group, stripe_sources, stripe_t
from storvirt.volume.map cimport entry_crcs, entry_t

from array import array

cdef enum:
    TOGETHER = 1048576           # bytes of grains; more is not quicker, and clients wait for it
    AHEAD = 4                    # times that are asked for at once where a disk has to be waited for
    LEAVES = 32                  # of the map that are looked at in one go


cdef class Grains:
    """Of some slabs for data: which grain lies in which slot. beside: the thread that writes (storvirt.backing.beside)."""

    cdef Reader engine
    cdef dict keys               # slab number -> array of (volume << 44 | grain) + 1 by slot, 0 = none
    cdef object beside
    cdef uint8_t *buffers[2]     # one is filled while the other one is written
    cdef size_t sizes[2]
    cdef int turn

    def __cinit__(self, Reader engine, slabs, beside):
        self.engine, self.beside = engine, beside
        self.keys = {slab.number: array("Q", bytes(8 * slab.slots)) for slab in slabs}

    def __dealloc__(self):
        free(self.buffers[0])
        free(self.buffers[1])

    def settle(self):
        """Nothing is being written any more; see `target_error` of the slab."""
        self.beside.wait()

    def look(self, Disk disk):
        """Walk over a volume's map. A generator: other work may be done at each yield."""
        cdef uint64_t leaf, grain, last, leaves = len(disk.map._leaves)
        cdef entry_t *entry
        cdef uint64_t[::1] slots
        for leaf in range(leaves):
            if leaf % LEAVES == LEAVES - 1:
                yield
            if disk.map._leaves[leaf] is None and disk.map._pointers[0][leaf].slab == 0:
                continue
            last = min((leaf + 1) * disk.map.per_leaf, disk.map.grains)
            for grain in range(leaf * disk.map.per_leaf, last):
                entry = disk.map.find(grain)
                if entry != NULL and entry.slab != 0:
                    found = self.keys.get(entry.slab)
                    if found is not None:
                        slots = found
                        slots[entry.slot] = (<uint64_t>disk.number << 44 | grain) + 1

    def rebuild(self, Slab slab, uint32_t slot):
        """Slots of a slab that is being rebuilt, from this one on: (the next one to begin with, how many were written,
        the (volume, grain) pairs that did not verify and are to be done otherwise)."""
        cdef uint64_t[::1] keys = self.keys[slab.number]
        cdef uint32_t most = max(<uint32_t>1, <uint32_t>TOGETHER // slab.grain), count = 0, first, i
        cdef uint8_t *columns[STRIPE_MOST]
        cdef bint whole
        while slot < slab.slots and not self._is_there(slab, slot, keys[slot]):
            slot += 1
        while count < most and slot + count < slab.slots and self._is_there(slab, slot + count, keys[slot + count]):
            count += 1
        if not count:
            return slab.slots, 0, []
        self._buffers(slab, count, columns)
        whole, odd, first = self._gather(slab, slot, count, columns), [], 0
        for i in range(count):
            if not whole or not self._verifies(slab, slot + i, keys[slot + i] - 1, i, columns):
                odd.append(((keys[slot + i] - 1) >> 44, (keys[slot + i] - 1) & 0xFFFFFFFFFFF))
                self._put(slab, slot, first, i, columns)
                first = i + 1
        self._put(slab, slot, first, count, columns)
        if odd:
            self.settle()        # somebody else writes them
        return slot + count, count - len(odd), odd

    cdef bint _is_there(self, Slab slab, uint32_t slot, uint64_t key) except? True:
        cdef entry_t *entry
        cdef Disk disk
        if key == 0:
            return False
        disk = self.engine.disks.get((key - 1) >> 44)
        if disk is None:
            return False
        entry = disk.map.find((key - 1) & 0xFFFFFFFFFFF)
        return entry != NULL and entry.slab == slab.number and entry.slot == slot

    cdef int _buffers(self, Slab slab, uint32_t count, uint8_t **columns) except -1:
        cdef size_t size = <size_t>count * slab.column
        cdef int i
        self.turn ^= 1           # the other one is being written, this one not any more: there is one write at a time
        if slab.width * size > self.sizes[self.turn]:
            self.settle()
            free(self.buffers[self.turn])
            self.sizes[self.turn] = 0
            self.buffers[self.turn] = <uint8_t *>malloc(slab.width * size)
            if self.buffers[self.turn] == NULL:
                raise MemoryError()
            self.sizes[self.turn] = slab.width * size
        for i in range(slab.width):
            columns[i] = self.buffers[self.turn] + i * size
        return 0

    cdef bint _gather(self, Slab slab, uint32_t slot, uint32_t count, uint8_t *const *columns) noexcept:
        """All data columns and the one that is rebuilt, as they are or computed; False if they can't be had."""
        cdef stripe_t *s = &slab.stripe
        cdef uint64_t read = 0, absent
        cdef uint32_t size = count * slab.column
        cdef int i, spare
        for i in range(s.k):
            if not slab.missing >> i & 1:
                read |= <uint64_t>1 << i
                continue
            spare = _spare(s, i, slab.missing | read)
            if spare < 0:
                return False
            read |= <uint64_t>1 << spare
        for i in range(slab.width):
            if read >> i & 1 and not self._read(slab, slot, size, i, read, columns[i]):
                return False
        absent = ~read
        for i in range(s.k):
            if not read >> i & 1 and not _compute(s, i, absent, columns, size):
                return False
        i = slab.rebuilding
        # Of its data, whatever was read: that is what has checksums.
        return i < s.k or _compute(s, i, ~((<uint64_t>1 << s.k) - 1), columns, size)

    cdef bint _read(self, Slab slab, uint32_t slot, uint32_t size, int column, uint64_t others, uint8_t *to) noexcept:
        cdef uint32_t ahead = min(AHEAD * size, (slab.slots - slot) * slab.column)
        cdef Member member = <Member>slab._members[column]
        cdef uint64_t at = slab._offsets[column] + <uint64_t>slot * slab.column
        cdef int error = EAGAIN, i
        if member.fetches:
            with nogil:
                error = member.try_read_at(to, size, at)
            if error == EAGAIN:
                for i in range(column, slab.width):
                    if others >> i & 1:
                        slab.fetch_column(slot, i, 0, ahead)
        if error == EAGAIN:
            with nogil:
                error = member.read_at(to, size, at)
        if column == slab.stripe.k - 1:
            _pad(&slab.stripe, size, to)
        return error == 0

    cdef bint _verifies(self, Slab slab, uint32_t slot, uint64_t key, uint32_t place, uint8_t *const *columns) except? True:
        """Whether the grain at this place of the buffers is what the map says."""
        cdef Disk disk = self.engine.disks[key >> 44]
        cdef uint64_t grain = key & 0xFFFFFFFFFFF
        cdef entry_t *entry = disk.map.find(grain)
        cdef uint32_t seed, crc, block, at, end, piece
        cdef uint32_t column = slab.column
        if entry == NULL or entry.slab != slab.number or entry.slot != slot:
            return False
        seed = grain_seed(disk.number, grain, entry.birth)
        for block in range(disk.blocks):
            crc, at, end = seed, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES
            while at < end:
                piece = min(end - at, column - at % column)
                crc = crc32c(crc, columns[at // column] + <size_t>place * column + at % column, piece)
                at += piece
            if crc != entry_crcs(entry)[block]:
                return False
        return True

    cdef int _put(self, Slab slab, uint32_t slot, uint32_t first, uint32_t end, uint8_t *const *columns) except -1:
        """The rebuilt column of these places goes to its new home; see `target_error`."""
        cdef _Piece piece
        if first < end:
            self.settle()
            piece = _Piece()
            piece.slab, piece.slot, piece.count = slab, slot + first, end - first
            piece.data = columns[slab.rebuilding] + <size_t>first * slab.column
            self.beside.begin(piece.write)
        return 0


cdef class _Piece:
    """What the other thread writes. Its memory stays as it is until that has ended."""

    cdef Slab slab
    cdef uint32_t slot, count
    cdef const uint8_t *data

    def write(self):
        self.slab.write_targets(self.slot, self.count, self.data)


cdef void _pad(const stripe_t *s, uint32_t size, uint8_t *last) noexcept nogil:
    """What pads the last data column is zeros, whatever a member says: no checksum is over it, and parity is."""
    cdef uint32_t used = s.grain - (s.k - 1) * s.column, at = used
    while used < s.column and at < size:
        memset(last + at, 0, s.column - used)
        at += s.column


cdef int _spare(const stripe_t *s, int column, uint64_t taken) noexcept nogil:
    """A redundant column of the same group that is not taken; -1 if there is none."""
    cdef int first = s.k + stripe_group(s, column) * s.p, i
    for i in range(first, first + s.p):
        if not taken >> i & 1:
            return i
    return -1


cdef bint _compute(const stripe_t *s, int column, uint64_t absent, uint8_t *const *columns, size_t size) noexcept nogil:
    cdef const uint8_t *others[STRIPE_MOST]
    cdef uint8_t sources[STRIPE_MOST]
    cdef uint8_t constants[STRIPE_MOST]
    cdef int count = stripe_sources(s, column, absent, sources, constants), i
    cdef bint plain = True
    for i in range(count):
        others[i] = columns[sources[i]]
        plain = plain and constants[i] == 1
    if count and plain:
        xor_parity(others, count, columns[column], size)
    elif count:
        gf_sum(others, constants, count, columns[column], size)
    return count > 0
