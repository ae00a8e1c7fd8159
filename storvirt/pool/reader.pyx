"""The reading half of the pool's data path: where the newest content of a block is, and what to do if it is damaged.

Knows: the tables (volumes, slabs, the log's index), checksums, reconstruction.
Refuses to know: writing (engine.pyx), where slabs come from (pool.py), request rules (lun.py).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EIO
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from storvirt.backing.together cimport TOGETHER_BYTES, TOGETHER_SLOTS, together_job
from storvirt.pool.logindex cimport IN_SEGMENT, PENDING, ZEROED, LogIndex, block_key, logged_t
from storvirt.pool.slab cimport Changes, Slab
from storvirt.raid.kernels cimport crc32c
from storvirt.volume.map cimport VolumeMap, entry_crcs, entry_t

from storvirt.block import BlockError, Extent
from storvirt.pool.healing import suspects


cdef class Disk:
    """A volume as the engine sees it."""

    def __cinit__(self, row, VolumeMap map):
        self.row, self.map = row, map
        self.number, self.grain, self.size = row.volume, row.grain, row.size
        self.blocks = self.grain // BLOCK_BYTES

    def change(self, row):
        """Another row: a new size, a new root."""
        self.row, self.size = row, row.size


cdef class Reader:
    """host: counted(what, slab, column, slot) hears of damage that was found."""

    def __cinit__(self, host, *args):
        self.host = host
        self.index, self.changes = LogIndex(), Changes()
        self.disks, self.slabs, self.to_heal = {}, [None], set()
        self.counts = {"healed": 0, "unhealed": 0, "degraded-reads": 0, "records": 0, "log-bytes": 0,
                       "destaged": 0}
        self.payload = bytearray()
        self.block_buffer = <uint8_t *>calloc(1, BLOCK_BYTES)
        if self.block_buffer == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.grain_buffer)
        free(self.scratch)
        free(self.block_buffer)

    # --- tables

    def add_disk(self, Disk disk):
        self.disks[disk.number] = disk

    def remove_disk(self, uint32_t number):
        del self.disks[number]

    def add_slab(self, Slab slab):
        while len(self.slabs) <= slab.number:
            self.slabs.append(None)
        self.slabs[slab.number] = slab
        slab.changes = self.changes
        self.changes.any = True

    def free_number(self):
        """For a new slab. A number may have been another slab's: what was written there does not verify here."""
        for number in range(1, len(self.slabs)):
            if self.slabs[number] is None:
                return number
        return len(self.slabs)

    def remove_slab(self, uint32_t number):
        self.slabs[number] = None
        self.changes.any = True
        for disk in self.disks.values():
            if (<Disk>disk).slab is not None and (<Disk>disk).slab.number == number:
                (<Disk>disk).slab = None

    def slab(self, uint32_t number):
        return self.slabs[number] if number < len(self.slabs) else None

    def all_slabs(self):
        return [slab for slab in self.slabs if slab is not None]

    def current_slabs(self):
        """Those that grains are written to now."""
        return [(<Disk>disk).slab for disk in self.disks.values() if (<Disk>disk).slab is not None]

    def forget_current_slabs(self):
        """New grains go to slabs chosen anew: some member came or went."""
        for disk in self.disks.values():
            (<Disk>disk).slab = None

    cdef int _buffers(self, Disk disk) except -1:
        # A grain dealt over k columns needs up to k * 511 bytes of padding; a slab has at most 64.
        cdef size_t need = <size_t>disk.grain + 64 * 512
        if need > self.buffer_size:
            free(self.grain_buffer)
            free(self.scratch)
            self.grain_buffer = <uint8_t *>calloc(1, need)
            self.scratch = <uint8_t *>calloc(3, need)
            if self.grain_buffer == NULL or self.scratch == NULL:
                raise MemoryError()
            self.buffer_size = need
        return 0

    # --- reading

    def read(self, Disk disk, uint64_t offset, uint64_t length):
        """Bytes of a volume. Raises BlockError."""
        cdef bytes out = PyBytes_FromStringAndSize(NULL, length)
        if length:
            self._read(disk, offset, length, <uint8_t *>PyBytes_AS_STRING(out), True)
        return out

    def slot_content(self, Disk disk, uint64_t grain):
        """(slab, slot, bytes) of a grain as it lies in its slot, verified, without the log; None for a hole.

        What had to be reconstructed is noted in `to_heal`. Raises BlockError.
        """
        cdef entry_t *entry = disk.map.find(grain)
        cdef bytearray content
        if entry == NULL or entry.slab == 0:
            return None
        place = entry.slab, entry.slot
        content = bytearray(disk.grain)
        self._read_grain(disk, grain, 0, disk.blocks, content, True)
        return self.slab(place[0]), place[1], content

    cdef int _read(self, Disk disk, uint64_t offset, uint64_t length, uint8_t *to, bint wait) except -1:
        """0; or COLD, only if `wait` is false, and then `to` may be half filled."""
        cdef uint64_t inside = offset % BLOCK_BYTES, piece, whole
        if inside or length < BLOCK_BYTES:
            piece = min(length, BLOCK_BYTES - inside)
            if self._read_blocks(disk, offset // BLOCK_BYTES, 1, self.block_buffer, wait):
                return COLD
            memcpy(to, self.block_buffer + inside, piece)
            offset += piece
            length -= piece
            to += piece
        whole = length // BLOCK_BYTES
        if whole:
            if self._read_blocks(disk, offset // BLOCK_BYTES, whole, to, wait):
                return COLD
            offset += whole * BLOCK_BYTES
            to += whole * BLOCK_BYTES
            length -= whole * BLOCK_BYTES
        if length:
            if self._read_blocks(disk, offset // BLOCK_BYTES, 1, self.block_buffer, wait):
                return COLD
            memcpy(to, self.block_buffer, length)
        return 0

    cdef int _read_blocks(self, Disk disk, uint64_t block, uint64_t count, uint8_t *to, bint wait) except -1:
        cdef uint64_t run, grains, alone = 0
        cdef logged_t *where
        cdef int cold
        while count:
            if block >= alone and block % disk.blocks == 0 and count >= 2 * disk.blocks:
                grains = self._together(disk, block // disk.blocks, count // disk.blocks)
                alone = block + grains * disk.blocks
                if grains > 1:
                    run = self._read_grains(disk, block // disk.blocks, <uint32_t>grains, to, wait) * disk.blocks
                    block += run
                    count -= run
                    to += run * BLOCK_BYTES
                    continue
            where = self.index.find(block_key(disk.number, block)) if self.index.count else NULL
            if where != NULL:
                run = 1
                cold = self._read_logged(disk, where, to, wait)
            else:
                run = self._run(disk, block, count)
                cold = self._read_grain(disk, block // disk.blocks, <uint32_t>(block % disk.blocks), <uint32_t>run, to, wait)
            if cold:
                return COLD
            block += run
            count -= run
            to += run * BLOCK_BYTES
        return 0

    cdef uint32_t _together(self, Disk disk, uint64_t grain, uint64_t most) except? 0:
        """How many grains from here lie in slots that follow each other, none of their blocks in the log."""
        cdef entry_t *entry
        cdef uint32_t slab = 0, slot = 0, count = 0
        most = min(most, min(<uint64_t>TOGETHER_SLOTS, <uint64_t>TOGETHER_BYTES // disk.grain))
        while count < most:
            entry = disk.map.find(grain + count)
            if entry == NULL or entry.slab == 0:
                break
            if count == 0:
                slab, slot = entry.slab, entry.slot
            elif entry.slab != slab or entry.slot != slot + count:
                break
            if self.index.count and not self._outside_log(disk, grain + count):
                break
            count += 1
        return count

    cdef bint _outside_log(self, Disk disk, uint64_t grain) noexcept:
        cdef uint64_t block = grain * disk.blocks
        return (self.index.find(block_key(disk.number, block)) == NULL
                and self._run(disk, block, disk.blocks) == disk.blocks)

    cdef uint32_t _read_grains(self, Disk disk, uint64_t grain, uint32_t count, uint8_t *to, bint wait) except? 0:
        """Reads what _together() found; how many grains, from the first, are as they should be."""
        cdef together_job job
        cdef entry_t *entry
        cdef uint32_t i, slot = 0
        cdef Slab slab
        job.count, job.to, job.sum = count, to, crc32c
        for i in range(count):
            entry = disk.map.find(grain + i)
            if i == 0:
                slab, slot = <Slab>self.slabs[entry.slab], entry.slot
            job.seeds[i] = grain_seed(disk.number, grain + i, entry.birth)
            memcpy(job.sums + i * disk.blocks, entry_crcs(entry), 4 * disk.blocks)
        return slab.read_slots(slot, wait, &job)

    cdef int _read_logged(self, Disk disk, const logged_t *where, uint8_t *to, bint wait) except -1:
        cdef Slab segment
        cdef uint8_t *payload
        cdef int copy, error
        if where.kind == ZEROED:
            memset(to, 0, BLOCK_BYTES)
            return 0
        if where.kind == PENDING:
            payload = self.payload
            memcpy(to, payload + <size_t>where.place * BLOCK_BYTES, BLOCK_BYTES)
            return 0
        segment = <Slab>self.slabs[where.segment]
        for copy in range(segment.width):
            error = segment.read_column(0, copy, where.place, BLOCK_BYTES, to, wait)
            if error == EAGAIN and not wait:
                return COLD
            if error == 0 and crc32c(0, to, BLOCK_BYTES) == where.crc:
                if copy:
                    self.counts["degraded-reads"] += 1
                return 0
        self.host.cannot_read(segment)
        self.counts["unhealed"] += 1
        raise BlockError(EIO, f"a block in the log of volume {disk.row.name} is damaged on all its copies")

    cdef int _read_grain(self, Disk disk, uint64_t grain, uint32_t first, uint32_t count, uint8_t *to,
                         bint wait) except -1:
        cdef entry_t *entry = disk.map.find(grain)
        cdef uint32_t seed
        cdef int error
        cdef Slab slab
        if entry == NULL or entry.slab == 0:
            memset(to, 0, <size_t>count * BLOCK_BYTES)
            return 0
        slab = <Slab>self.slabs[entry.slab]
        seed = grain_seed(disk.number, grain, entry.birth)
        error = slab.read(entry.slot, first * BLOCK_BYTES, count * BLOCK_BYTES, to, wait)
        if error == 0 and self._verifies(to, seed, entry_crcs(entry) + first, count):
            return 0
        if not wait and (error == EAGAIN or slab.fetch(entry.slot, first * BLOCK_BYTES, count * BLOCK_BYTES)):
            return COLD
        return self._reconstruct(disk, slab, entry.slot, grain, first, count, seed, entry_crcs(entry) + first, to)

    cdef int _fetch(self, Disk disk, uint64_t offset, uint64_t length) except -1:
        """Have fetched what a read needs and is not in memory. Raises BlockError as the read will."""
        cdef uint64_t block = offset // BLOCK_BYTES, end = (offset + length + BLOCK_BYTES - 1) // BLOCK_BYTES, run
        cdef logged_t *where
        cdef entry_t *entry
        while block < end:
            where = self.index.find(block_key(disk.number, block)) if self.index.count else NULL
            if where != NULL:
                run = 1
                if where.kind == IN_SEGMENT:
                    self._fetch_logged(<Slab>self.slabs[where.segment], where.place)
            else:
                run = self._run(disk, block, end - block)
                entry = disk.map.find(block // disk.blocks)
                if entry != NULL and entry.slab != 0:
                    (<Slab>self.slabs[entry.slab]).fetch(
                        entry.slot, <uint32_t>(block % disk.blocks) * BLOCK_BYTES, <uint32_t>run * BLOCK_BYTES)
            block += run
        return 0

    cdef void _fetch_logged(self, Slab segment, uint32_t place) noexcept:
        cdef int copy
        for copy in range(segment.width):
            if not segment.missing >> copy & 1:
                segment.fetch_column(0, copy, place, BLOCK_BYTES)
                return

    cdef uint64_t _run(self, Disk disk, uint64_t block, uint64_t count) noexcept:
        """How many blocks from here, at most `count`, lie in one grain and not in the log. The first one does."""
        cdef uint64_t run = 1, limit = min(count, disk.blocks - block % disk.blocks)
        if self.index.count == 0:
            return limit
        while run < limit and self.index.find(block_key(disk.number, block + run)) == NULL:
            run += 1
        return run

    cdef bint _verifies(self, const uint8_t *data, uint32_t seed, const uint32_t *crcs, uint32_t count) noexcept:
        cdef uint32_t i
        for i in range(count):
            if crc32c(seed, data + <size_t>i * BLOCK_BYTES, BLOCK_BYTES) != crcs[i]:
                return False
        return True

    cdef int _reconstruct(self, Disk disk, Slab slab, uint32_t slot, uint64_t grain, uint32_t first, uint32_t count,
                          uint32_t seed, const uint32_t *crcs, uint8_t *to) except -1:
        cdef uint32_t i, offset
        self._buffers(disk)
        for i in range(count):
            offset = (first + i) * BLOCK_BYTES
            wrong = self._block(slab, slot, offset, seed, crcs[i], to)
            if wrong is None:
                self.host.cannot_read(slab)
                self.counts["unhealed"] += 1
                self.host.counted("unhealed", slab, -1, slot)
                raise BlockError(EIO, f"block {grain * disk.blocks + first + i} of volume {disk.row.name} is damaged and "
                                 f"can't be reconstructed (slab {slab.number}, slot {slot})")
            if wrong:
                self.counts["healed"] += 1
                self.to_heal.add((disk.number, grain))
                for column in range(slab.width):
                    if wrong >> column & 1:
                        self.host.counted("healed", slab, column, slot)
            elif slab.missing:
                self.counts["degraded-reads"] += 1
            to += BLOCK_BYTES
        return 0

    cdef object _block(self, Slab slab, uint32_t slot, uint32_t offset, uint32_t seed, uint32_t crc, uint8_t *to):
        """One block with the missing columns reconstructed, then without those that may be wrong.

        Returns a bit for each column that was wrong, 0 if none was, None if no way leads to the block.
        """
        if self._is_block(slab, slot, offset, seed, crc, to, 0):
            return 0
        for wrong in suspects(slab, offset, BLOCK_BYTES):
            if self._is_block(slab, slot, offset, seed, crc, to, wrong):
                return wrong
        return None

    cdef bint _is_block(self, Slab slab, uint32_t slot, uint32_t offset, uint32_t seed, uint32_t crc, uint8_t *to,
                        uint64_t without) noexcept:
        return (slab.read_without(slot, offset, BLOCK_BYTES, to, self.scratch, without) == 0
                and crc32c(seed, to, BLOCK_BYTES) == crc)

    def extents(self, Disk disk, uint64_t offset, uint64_t length):
        """block.Extent runs of a range, in blocks: what was written is data, what was not, or was trimmed, is a hole."""
        cdef uint64_t block = offset // BLOCK_BYTES, end = (offset + length + BLOCK_BYTES - 1) // BLOCK_BYTES
        cdef uint64_t start = offset, at
        cdef logged_t *where
        cdef entry_t *entry = NULL
        cdef bint data, before = False, begun = False
        while block < end:
            where = self.index.find(block_key(disk.number, block)) if self.index.count else NULL
            if where != NULL:
                data = where.kind != ZEROED
            else:
                entry = disk.map.find(block // disk.blocks)
                data = entry != NULL and entry.slab != 0
            at = max(offset, block * BLOCK_BYTES)
            if begun and data != before:
                yield Extent(start, at - start, before)
                start = at
            before, begun = data, True
            block += 1
        if begun:
            yield Extent(start, offset + length - start, before)
