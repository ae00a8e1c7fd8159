"""What is done with the log besides adding to it: its content is moved to grains, and single entries of it are replayed.
`storvirt/pool/__init__` says why.

Knows: the newest content of a grain, what an entry does to the map and to the log's index. Refuses to know: which grain is
moved when (mover.py), how records are found (replay.py), how a grain is written (writer.pyx).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from storvirt.pool.logindex cimport IN_SEGMENT, ZEROED, block_key, logged_t
from storvirt.pool.logwalk cimport head_t, item_t, next_item, part_of
from storvirt.pool.reader cimport BLOCK_BYTES, Disk, grain_seed
from storvirt.pool.slab cimport Slab
from storvirt.pool.writer cimport Writer
from storvirt.raid.kernels cimport crc32c
from storvirt.volume.map cimport entry_crcs, entry_t

from array import array

from storvirt.block import BlockError
from storvirt.pool.format import DATA
from storvirt.pool.record import BLOCKS, FLUSHED

cdef enum:
    FILE_PAGE = 4096             # of a page cache

cdef int _BLOCKS = BLOCKS, _FLUSHED = FLUSHED


cdef class Engine(Writer):
    """The whole data path; host: as the Writer's."""

    # --- moving content from the log to grains

    def destage(self, Disk disk, uint64_t grain):
        """Write the newest content of a grain to a new slot (or leave a hole, if it is all zeros by request)."""
        if grain < disk.map.grains:
            self._move(disk, grain, None)

    def destage_all(self, grains):
        """The same for (volume, grain) pairs. What a disk has to be asked for is asked for at once, before the first of
        them is written: they are different grains, so writing one leaves the content of the others as it is."""
        cdef list found = []
        cdef Disk disk
        for number, grain in grains:
            disk = self.disks[number]
            if grain < disk.map.grains:
                found.append((disk, grain, self._gathered(disk, grain)))
        self.batch = len(found)
        try:
            for disk, grain, content in found:
                if disk.slab is not self.prepared:
                    self._prepare(disk)
                self._move(disk, grain, content)
                self.batch -= 1
        finally:
            self.batch, self.prepared = 0, None

    cdef int _prepare(self, Disk disk) except -1:
        """Slots that are taken next: a column that begins or ends within a page needs what else is in it, and all these
        pages are asked for at once."""
        cdef Slab slab = disk.slab
        cdef uint32_t slot, left = self.batch
        cdef int column
        self.prepared = slab
        if slab is None or slab.column % FILE_PAGE == 0:
            return 0
        for slot in range(slab._hint * 64, slab.slots):
            if left and not slab._bitmap[slot >> 6] >> (slot & 63) & 1:
                left -= 1
                for column in range(slab.width):
                    slab.fetch_column(slot, column, 0, 1)
                    slab.fetch_column(slot, column, slab.column - 1, 1)
        return 0

    cdef object _gathered(self, Disk disk, uint64_t grain):
        """The newest content of a grain; None if it has to come from a disk, which is asked for it, or is damaged."""
        cdef bytearray content = bytearray(disk.grain)
        try:
            if self._read_blocks(disk, grain * disk.blocks, disk.blocks, content, False) == 0:
                return content
            self._fetch(disk, grain * disk.grain, disk.grain)
        except BlockError:
            pass                 # _gather() says which blocks
        return None

    cdef int _move(self, Disk disk, uint64_t grain, bytearray content) except -1:
        """content: the newest one, or None."""
        cdef bytearray bad
        self._buffers(disk)
        if self._all_zero(disk, grain):
            self.zero(disk, grain * disk.grain, disk.grain)
            return 0
        bad = bytearray(disk.blocks)
        if content is None:
            content = bytearray(disk.grain)
            self._gather(disk, grain, content, bad)
        self._write_grain(disk, grain, content, bad)
        self.counts["destaged"] += 1
        return 0

    cdef int _gather(self, Disk disk, uint64_t grain, uint8_t *content, uint8_t *bad) except -1:
        """The newest content of a grain. A block that can't be read is marked in `bad`: it alone is an error later."""
        cdef uint32_t i
        try:
            return self._read_blocks(disk, grain * disk.blocks, disk.blocks, content, True)
        except BlockError:
            for i in range(disk.blocks):
                try:
                    self._read_blocks(disk, grain * disk.blocks + i, 1, content + <size_t>i * BLOCK_BYTES, True)
                except BlockError:
                    memset(content + <size_t>i * BLOCK_BYTES, 0, BLOCK_BYTES)
                    bad[i] = 1
        return 0

    cdef bint _all_zero(self, Disk disk, uint64_t grain) except? True:
        cdef logged_t *where
        cdef entry_t *entry = disk.map.find(grain)
        cdef bint hole = entry == NULL or entry.slab == 0
        cdef uint64_t i
        for i in range(disk.blocks):
            where = self.index.find(block_key(disk.number, grain * disk.blocks + i))
            if where == NULL:
                if not hole:
                    return False
            elif where.kind != ZEROED:
                return False
        return True

    def logged_in(self, uint32_t segment):
        """How many blocks were logged in a segment."""
        return len(self.segment_keys.get(segment, ()))

    def is_live(self, uint32_t segment):
        """Whether a segment has content that is in no slot yet."""
        cdef uint64_t key
        cdef logged_t *where
        for key in self.segment_keys.get(segment, ()):
            where = self.index.find(key)
            if where != NULL and where.segment == segment and (key >> 44) in self.disks:
                return True
        return False

    def live_in(self, uint32_t segment, first=0, last=None):
        """The (volume, grain) pairs with content in a segment that is in no slot yet; of these of its logged blocks."""
        cdef uint64_t key
        cdef logged_t *where
        found = {}
        for key in self.segment_keys.get(segment, ())[first:last]:
            where = self.index.find(key)
            if where != NULL and where.segment == segment:
                disk = self.disks.get(key >> 44)
                if disk is not None:
                    found[key >> 44, (key & 0xFFFFFFFFFFF) // disk.blocks] = None
        return list(found)

    # --- replay

    def replay_entries(self, const uint8_t[::1] parts not None, uint32_t start, uint32_t segment, other):
        """The entries of records that follow each other in the log, the first one at byte `start` of its segment; parts:
        their heads and entries (LogWalk.run()). BLOCKS are applied here, FLUSHED are nothing to the map; for all else
        other(sequence, kind, volume, where, arg, crcs) is called. ValueError: these are no such parts."""
        cdef size_t at = 0, size = parts.shape[0], part
        while at < size:
            part = part_of(&parts[at], size - at)
            if part == 0:
                raise ValueError("these are not heads and entries of records")
            self._replay_record(&parts[at], part, start, segment, other)
            start += (<const head_t *>&parts[at]).length
            at += part

    cdef int _replay_record(self, const uint8_t *data, size_t part, uint32_t start, uint32_t segment, other) except -1:
        """start: its place in the segment, where its payload follows on its `part` bytes of head and entries."""
        cdef const head_t *head = <const head_t *>data
        cdef const item_t *item
        cdef const uint32_t *crcs
        cdef Disk disk = None
        cdef size_t at = sizeof(head_t)
        cdef uint32_t i, place
        for i in range(head.entries):
            item = next_item(data, part, &at)
            if item.kind == _BLOCKS:
                if disk is None or disk.number != item.volume:
                    disk = self.disks.get(item.volume)
                if disk is not None and item.where < disk.map.grains * disk.blocks:
                    place = start + <uint32_t>part + <uint32_t>item.arg * BLOCK_BYTES
                    self._replay_block(disk, item.where, head.first + i, segment, place, item.crc)
            elif item.kind != _FLUSHED:
                crcs = <const uint32_t *>(item + 1)
                other(head.first + i, item.kind, item.volume, item.where, item.arg, [crcs[n] for n in range(item.crcs)])
        return 0

    cdef int _replay_block(self, Disk disk, uint64_t block, uint64_t sequence, uint32_t segment, uint32_t place,
                           uint32_t crc) except -1:
        cdef entry_t *entry = disk.map.find(block // disk.blocks)
        cdef logged_t *where
        cdef uint64_t key = block_key(disk.number, block)
        if entry != NULL and entry.birth >= sequence:
            return 0
        where = self.index.put(key)
        where.kind, where.segment, where.place, where.crc, where.sequence = IN_SEGMENT, segment, place, crc, sequence
        keys = self.segment_keys.get(segment)
        if keys is None:
            keys = self.segment_keys[segment] = array("Q")
        keys.append(key)
        return 0

    def replay_switch(self, Disk disk, uint64_t grain, uint64_t sequence, uint32_t slab_number, uint32_t slot, crcs,
                      bint durable):
        """A SWITCH entry found in the log. False: its grain is not there, so it never happened.

        durable: it was flushed, so what does not verify is damage, and found when it is read.
        """
        cdef entry_t *entry = disk.map.find(grain)
        cdef Slab slab = self.slab(slab_number)
        cdef bytearray content
        cdef uint32_t values[256]
        cdef uint32_t i
        cdef uint64_t failed
        if entry != NULL and entry.birth >= sequence:
            return True
        if (slab is None or slab.use != DATA or slot >= slab.slots or slab.grain != disk.grain
                or len(crcs) != disk.blocks):
            return False
        for i in range(disk.blocks):
            values[i] = crcs[i]
        if not durable:
            content = bytearray(disk.grain)
            self._buffers(disk)
            if self._readable(disk, slab, slot, grain, grain_seed(disk.number, grain, sequence), values, content):
                # Columns may have been lost that the others make up for. From now on any may be lost again.
                failed = slab.rewrite(slot, content)
                if failed:
                    self.host.write_failed(slab, failed, slab.error)
            elif slab.survives(slab.unreadable(slot)):
                return False
        if not slab.mark(slot):
            return False
        self._forget_logged(disk, grain)
        entry = disk.map.change(grain)
        if entry.slab != 0:
            self.freed.append((entry.slab, entry.slot))
        entry.slab, entry.slot, entry.birth = slab_number, slot, sequence
        memcpy(entry_crcs(entry), values, 4 * disk.blocks)
        return True

    cdef bint _readable(self, Disk disk, Slab slab, uint32_t slot, uint64_t grain, uint32_t seed, const uint32_t *crcs,
                        uint8_t *content) except? True:
        """The grain as it was written, from what redundancy there is."""
        cdef uint32_t i, offset
        if slab.read(slot, 0, disk.grain, content, True) == 0 and self._verifies(content, seed, crcs, disk.blocks):
            return True
        for i in range(disk.blocks):
            offset = i * BLOCK_BYTES
            if self._block(slab, slot, offset, seed, crcs[i], content + offset) is None:
                # A block that is to read as an error has the complement of its CRC (_write_grain).
                if slab.read_without(slot, offset, BLOCK_BYTES, content + offset, self.scratch, 0) != 0:
                    return False
                if crc32c(seed, content + offset, BLOCK_BYTES) != <uint32_t>~crcs[i]:
                    return False
        return True
