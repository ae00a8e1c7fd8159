"""The writing half of the pool's data path: what a write does to slabs, map and log. `storvirt/pool/__init__` says why.

Knows: blocks and grains, the record that is being made. Refuses to know: how content gets from the log to grains
(engine.pyx); where slabs come from, commit records, when to checkpoint (pool.py); request rules (lun.py).

A burst is: any number of write(), zero(), read(), then commit(), and only then the answers. One burst is one record of the
log (more if it is very large).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy

from storvirt.pool.logindex cimport IN_SEGMENT, PENDING, ZEROED, block_key, logged_t
from storvirt.pool.reader cimport BLOCK_BYTES, Disk, Reader, grain_seed
from storvirt.pool.slab cimport NO_SLOT, Slab
from storvirt.raid.kernels cimport crc32c
from storvirt.volume.map cimport entry_crcs, entry_t

from array import array

from storvirt.block import BlockError
from storvirt.pool.record import BLOCKS, ENTRY, FLUSHED, HEAD, SWITCH, ZERO, build, length_of

cdef enum:
    MOST_PAYLOAD = 256           # blocks in one record: 1 MiB
    MOST_ENTRIES = 4096
    ENTRY_BYTES = 40             # without CRCs

assert ENTRY.size == ENTRY_BYTES
cdef const uint8_t *_zeros = <const uint8_t *>calloc(1, BLOCK_BYTES)


cdef class Writer(Reader):
    """host: new_slab(disk) -> Slab, new_segment(), write_failed(slab, columns, errno) (raises if it is the host's own
    trouble), pool_id, extent, counted(what, slab, column, slot)."""

    def __cinit__(self, host):
        # A record lies in one segment; what it leaves free at the segment's end is lost.
        self.record_limit = host.extent // 4
        self.freed = []
        self.entries, self.payload, self.pending = bytearray(), bytearray(MOST_PAYLOAD * BLOCK_BYTES), []
        self.zeroed, self.segment_keys = [], {}

    # --- the log's open end

    def set_segment(self, Slab slab, uint32_t at, uint32_t size):
        """Records go here from now on, beginning at byte `at` of `size`."""
        self.segment, self.segment_at, self.segment_size = slab, at, size
        self.segment_keys.setdefault(slab.number, array("Q"))

    def close_segment(self):
        """Nothing is appended any more before set_segment(): the next record asks for a new segment."""
        self.segment = None

    @property
    def segment_end(self):
        return self.segment_at

    cdef uint64_t _now(self) noexcept:
        """The number of the entry that is added next: the birth of what it makes."""
        return self.sequence + self.entry_count

    # --- writing

    def write(self, Disk disk, uint64_t offset, const uint8_t[::1] data not None):
        """Put bytes into the record that is being made, or whole grains into new slots. Nothing is promised before commit()."""
        if data.shape[0]:
            self._write(disk, offset, data.shape[0], &data[0])

    cdef int _write(self, Disk disk, uint64_t offset, uint64_t length, const uint8_t *data) except -1:
        if self.refusal is not None:
            raise type(self.refusal)(*self.refusal.args)
        return self._put(disk, offset, length, data)

    cdef int _put(self, Disk disk, uint64_t offset, uint64_t length, const uint8_t *data) except -1:
        cdef uint64_t block, inside, piece
        while length:
            block, inside = offset // BLOCK_BYTES, offset % BLOCK_BYTES
            if inside or length < BLOCK_BYTES:
                piece = min(length, BLOCK_BYTES - inside)
                self._read_blocks(disk, block, 1, self.block_buffer, True)
                memcpy(self.block_buffer + inside, data, piece)
                self._log_block(disk, block, self.block_buffer)
            elif block % disk.blocks == 0 and length >= disk.grain:
                piece = disk.grain
                self._write_grain(disk, block // disk.blocks, data, NULL)
            else:
                piece = BLOCK_BYTES
                self._log_block(disk, block, data)
            offset += piece
            length -= piece
            data += piece
        return 0

    cdef int _room(self, uint32_t entry, uint32_t blocks) except -1:
        """The record that is being made takes this much more; else it is committed, and another one begins."""
        if (self.payload_blocks + blocks > MOST_PAYLOAD or self.entry_count == MOST_ENTRIES
                or len(self.entries) + entry + (self.payload_blocks + blocks) * BLOCK_BYTES > self.record_limit - 1024):
            self.commit()
        return 0

    cdef int _log_block(self, Disk disk, uint64_t block, const uint8_t *data) except -1:
        cdef uint8_t *payload
        cdef uint64_t key = block_key(disk.number, block)
        cdef logged_t *where
        cdef uint32_t crc
        self._room(ENTRY_BYTES, 1)
        payload = self.payload
        memcpy(payload + <size_t>self.payload_blocks * BLOCK_BYTES, data, BLOCK_BYTES)
        crc = crc32c(0, data, BLOCK_BYTES)
        where = self.index.put(key)
        where.kind, where.place, where.crc, where.sequence = PENDING, self.payload_blocks, crc, self._now()
        self._add_entry(BLOCKS, disk, block, self.payload_blocks, crc, NULL, 0)
        where.segment = 0
        self.pending.append(key)
        self.payload_blocks += 1
        return 0

    cdef int _write_grain(self, Disk disk, uint64_t grain, const uint8_t *data, const uint8_t *bad) except -1:
        """Write a grain to a new slot. bad: NULL, or a byte for each block, not 0 where it is to read as an error."""
        cdef Slab slab
        cdef uint32_t slot, seed, i
        cdef uint64_t birth
        cdef entry_t *entry
        cdef uint32_t crcs[256]
        self._room(ENTRY_BYTES + 4 * disk.blocks, 0)
        self._buffers(disk)
        entry = disk.map.find(grain)
        # Content of the log was accepted before, and what is overwritten gives a slot back.
        self.moving = bad != NULL or (entry != NULL and entry.slab != 0)
        slab, slot = self._new_slot(disk, data)
        try:
            entry = disk.map.change(grain)
        except BaseException:
            slab.give(slot)      # nothing refers to it: it may be used at once
            raise
        birth = self._now()
        seed = grain_seed(disk.number, grain, birth)
        for i in range(disk.blocks):
            crcs[i] = crc32c(seed, data + <size_t>i * BLOCK_BYTES, BLOCK_BYTES)
            if bad != NULL and bad[i]:
                crcs[i] = ~crcs[i]
        self._add_entry(SWITCH, disk, grain, <uint64_t>slab.number << 32 | slot, 0, crcs, disk.blocks)
        self._forget_logged(disk, grain)
        if entry.slab != 0:
            self.freed.append((entry.slab, entry.slot))
        entry.slab, entry.slot, entry.birth = slab.number, slot, birth
        memcpy(entry_crcs(entry), crcs, 4 * disk.blocks)
        return 0

    cdef tuple _new_slot(self, Disk disk, const uint8_t *data):
        """(slab, slot) that holds a grain now, as redundant as its slab is."""
        cdef Slab slab
        cdef uint32_t slot
        cdef uint64_t failed
        while True:
            slab = disk.slab if not self.tight else None
            if slab is None:
                slab = disk.slab = self.host.new_slab(disk)
            slot = slab.take()
            if slot == NO_SLOT:
                disk.slab = None
                continue
            failed = slab.write(slot, data, self.scratch)
            if failed:
                try:
                    self.host.write_failed(slab, failed, slab.error)
                except BaseException:
                    slab.give(slot)
                    raise
            if not slab.missing or slab.tolerance >= 0:
                return slab, slot    # what is left of the columns is enough, and the record of a loss is written
            slab.give(slot)
            disk.slab = None

    cdef int _forget_logged(self, Disk disk, uint64_t grain) except -1:
        """Forget what the log has of a grain; returns how many blocks that was."""
        cdef uint64_t block = grain * disk.blocks, i
        cdef int forgotten = 0
        if self.index.count:
            for i in range(disk.blocks):
                forgotten += self.index.drop(block_key(disk.number, block + i))
        return forgotten

    def zero(self, Disk disk, uint64_t offset, uint64_t length):
        """Make a range read as zeros; whole grains become holes."""
        cdef uint64_t head = min(length, -offset % BLOCK_BYTES), count, sequence
        if head:
            self._put(disk, offset, head, _zeros)
            offset += head
            length -= head
        count = length // BLOCK_BYTES
        if count:
            self._room(ENTRY_BYTES, 0)
            # The entry first: if a page of the map can't be read, what was zeroed up to there has a number of its own.
            sequence = self._now()
            self._add_entry(ZERO, disk, offset // BLOCK_BYTES, count, 0, NULL, 0)
            self.apply_zero(disk, offset // BLOCK_BYTES, count, sequence, 0)
            offset += count * BLOCK_BYTES
            length -= count * BLOCK_BYTES
        if length:
            self._put(disk, offset, length, _zeros)

    def apply_zero(self, Disk disk, uint64_t block, uint64_t count, uint64_t sequence, uint32_t segment):
        """What a ZERO entry means, when it is made (segment 0: not known yet) and when it is replayed."""
        cdef uint64_t end = block + count, grain, first, last, key
        cdef logged_t *where
        cdef entry_t *entry
        for grain in range(block // disk.blocks, (end + disk.blocks - 1) // disk.blocks):
            first, last = max(block, grain * disk.blocks), min(end, (grain + 1) * disk.blocks)
            entry = disk.map.find(grain)
            if entry != NULL and entry.birth >= sequence:
                continue
            if last - first == disk.blocks:
                # The birth of a hole counts, too: older records of this grain may outlive this one in the log.
                if self._forget_logged(disk, grain) or (entry != NULL and entry.slab != 0):
                    entry = disk.map.change(grain)
                    if entry.slab != 0:
                        self.freed.append((entry.slab, entry.slot))
                    entry.slab, entry.slot, entry.birth = 0, 0, sequence
                continue
            for first in range(first, last):
                key = block_key(disk.number, first)
                where = self.index.put(key)
                where.kind, where.sequence, where.segment, where.place = ZEROED, sequence, segment, 0
                if segment:
                    self.segment_keys.setdefault(segment, array("Q")).append(key)
                else:
                    self.zeroed.append(key)

    cdef int _add_entry(self, int kind, Disk disk, uint64_t where, uint64_t arg, uint32_t crc, const uint32_t *crcs,
                        uint32_t crc_count) except -1:
        self.entries += ENTRY.pack(kind, disk.number, where, arg, crc, crc_count)
        if crc_count:
            self.entries += (<const char *>crcs)[: 4 * crc_count]
            self.entries += bytes(4 * (crc_count & 1))   # to 8 bytes
        self.entry_count += 1
        return 0

    def flushed(self, uint64_t below):
        """Say with the next record that every entry below this number is durable."""
        self.durable_below = below

    def commit(self):
        """Append the record to the log, on all copies of the segment. Afterwards what it holds is acknowledged."""
        cdef uint32_t length, place, i
        cdef logged_t *where
        cdef uint64_t key
        cdef Slab segment
        if not self.entry_count:
            return
        if self.durable_below:
            self.entries += ENTRY.pack(FLUSHED, 0, self.durable_below, 0, 0, 0)
            self.entry_count += 1
            self.durable_below = 0
        length = length_of(len(self.entries), self.payload_blocks)
        while not self._append(length):
            self.host.new_segment()      # a whole set of copies again
        segment = self.segment
        place = self.segment_at + HEAD.size + len(self.entries)
        keys = self.segment_keys[segment.number]
        for i, key in enumerate(self.pending):
            where = self.index.find(key)
            if where != NULL and where.kind == PENDING and where.place == i:
                where.kind, where.segment, where.place = IN_SEGMENT, segment.number, place + i * BLOCK_BYTES
                keys.append(key)
        for key in self.zeroed:
            where = self.index.find(key)
            if where != NULL and where.kind == ZEROED and where.segment == 0:
                where.segment = segment.number
                keys.append(key)
        self.segment_at += length
        self.counts["records"] += 1
        self.counts["log-bytes"] += length
        self.sequence += self.entry_count
        self.entries.clear()
        self.pending.clear()
        self.zeroed.clear()
        self.entry_count = self.payload_blocks = 0

    cdef bint _append(self, uint32_t length) except? True:
        """The record stands on all copies of the open segment; False: another segment is needed."""
        cdef Slab segment = self.segment
        cdef bytearray record
        cdef const uint8_t *data
        cdef uint64_t failed = 0
        cdef int copy
        if segment is None or segment.missing or self.segment_at + length > self.segment_size:
            return False
        used = memoryview(self.payload)[: self.payload_blocks * BLOCK_BYTES]
        record = build(self.host.pool_id, segment.number, self.sequence, self.entry_count, self.entries, used)
        data = record
        segment.error = 0
        for copy in range(segment.width):
            if segment.append(copy, self.segment_at, data, length):
                failed |= <uint64_t>1 << copy
        if failed:
            self.host.write_failed(segment, failed, segment.error)
            return False
        return True
