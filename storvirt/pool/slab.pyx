"""A slab: extents of several members with one RAID profile, divided into slots of one grain each.

Knows: columns, groups, parity, copies, free slots. Refuses to know: what a grain belongs to, checksums, when to give up on
a member.

A slot's columns lie at the same place in each extent. Data columns come first, then copies or parity (raid/layout.py).
"""

from libc.errno cimport EDQUOT, EIO, ENOSPC
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from storvirt.backing.member cimport Member, iovec
from storvirt.backing.together cimport (
    RWF_NOWAIT, TOGETHER_SLOTS, read_together, together_job, together_pieces, together_verified,
)
from storvirt.raid.field cimport gf_add
from storvirt.raid.stripe cimport (
    STRIPE_MOST, stripe_group, stripe_sources, stripe_spare, stripe_split, stripe_t,
)

from storvirt.pool.format import EXTENTS_AT
from storvirt.raid.layout import BY_NUMBER

cdef uint64_t _EXTENTS_AT = EXTENTS_AT


cdef class Changes:
    """Whether slots of some slab were given back, or columns came or went, since somebody cleared it (shelf.py)."""


cdef class Slab:
    """row: format.SlabRow; extent: bytes; members: Member by member number, None where it is out."""

    def __cinit__(self, row, uint64_t extent, members):
        cdef int i
        if not 1 <= len(row.columns) <= MOST_COLUMNS or not 1 <= row.data <= len(row.columns):
            raise ValueError(f"slab {row.slab} has {len(row.columns)} columns, {row.data} of them data")
        self.number, self.use, self.profile = row.slab, row.use, row.profile
        self.data, self.width, self.grain = row.data, len(row.columns), row.grain
        self.column = (((row.grain + row.data - 1) // row.data) + 511) & ~<uint32_t>511
        self.slots = <uint32_t>(extent // self.column)
        self.places = row.columns
        self._members = [members[member] for member, _ in row.columns]
        self.missing = 0
        self._shape(BY_NUMBER[row.profile])
        self.rebuilding = -1
        self.changes = Changes()
        for i in range(self.width):
            self._offsets[i] = _EXTENTS_AT + <uint64_t>row.columns[i][1] * extent
            if self._members[i] is None:
                self.missing |= <uint64_t>1 << i
        self._bitmap = <uint64_t *>calloc((self.slots + 63) // 64, 8)
        if self._bitmap == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self._bitmap)

    cdef int _shape(self, profile) except -1:
        """Its stripe, of which the row names the width only; nothing but copies can stand in groups of one data column."""
        cdef int m = self.width - self.data, groups = max(m // profile.parity, 1) if profile.nested else 1
        self.stripe.k, self.stripe.m, self.stripe.grain, self.stripe.column = self.data, m, self.grain, self.column
        self.stripe.d, self.stripe.p = self.data // groups, m // groups
        if self.stripe.d * groups != self.data or self.stripe.p * groups != m or (self.stripe.d > 1 and self.stripe.p > 3):
            raise ValueError(f"slab {self.number} has {self.width} columns, {self.data} of them data")
        return 0

    @property
    def tolerance(self):
        """How many more columns may be lost, whichever they are; negative where too many are lost."""
        return stripe_spare(&self.stripe, self.missing)

    @property
    def copies(self):
        """Whether redundant columns are copies of data columns."""
        return self.stripe.d == 1

    @property
    def redundant(self):
        """How many columns may be lost, of all, whichever they are."""
        return self.stripe.p

    def survives(self, uint64_t lost):
        """Whether grains can be read without these columns (a bit each)."""
        return stripe_spare(&self.stripe, lost) >= 0

    def group(self, int column):
        """The columns that stand together with this one (a bit each): any `redundant` of them may be lost."""
        cdef int group = stripe_group(&self.stripe, column), i
        return sum([1 << i for i in range(self.width) if stripe_group(&self.stripe, i) == group])

    def touched(self, uint32_t offset, uint32_t length):
        """The data columns that hold these bytes of a grain (a bit each)."""
        return sum([1 << i for i in range(offset // self.column, (offset + length - 1) // self.column + 1)])

    @property
    def free_slots(self):
        return self.slots - self.used

    # --- slots

    cdef uint32_t take(self) noexcept:
        """A free slot, now in use; NO_SLOT when there is none."""
        cdef uint32_t i, word, words = (self.slots + 63) // 64
        cdef uint32_t slot
        cdef uint64_t bits
        if self.used == self.slots:
            return NO_SLOT
        for i in range(words):
            word = (self._hint + i) % words
            bits = ~self._bitmap[word]
            if bits:
                slot = word * 64 + _lowest(bits)
                if slot < self.slots:
                    self._bitmap[word] |= <uint64_t>1 << (slot & 63)
                    self.used += 1
                    self._hint = word
                    return slot
        return NO_SLOT

    cdef void give(self, uint32_t slot) noexcept:
        if slot < self.slots and self._bitmap[slot >> 6] >> (slot & 63) & 1:
            self._bitmap[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
            self.used -= 1
            self.changes.any = True

    cdef bint mark(self, uint32_t slot) except -1:
        """The slot is in use, says the map. False if it was already: two grains claim it."""
        if slot >= self.slots:
            raise ValueError(f"slab {self.number} has no slot {slot}")
        if self._bitmap[slot >> 6] >> (slot & 63) & 1:
            return False
        self._bitmap[slot >> 6] |= <uint64_t>1 << (slot & 63)
        self.used += 1
        return True

    def in_use(self):
        """The slots in use, in order."""
        return [slot for slot in range(self.slots) if self._bitmap[slot >> 6] >> (slot & 63) & 1]

    def take_slot(self):
        slot = self.take()
        return None if slot == NO_SLOT else slot

    def give_slot(self, uint32_t slot):
        self.give(slot)

    def mark_slot(self, uint32_t slot):
        return self.mark(slot)

    # --- pages (whole slots, for Python)

    def write_page(self, uint32_t slot, const uint8_t[::1] page not None):
        """Write a slot; returns a bit for each column that failed, and `last_error` is its errno."""
        if page.shape[0] != self.grain:
            raise ValueError(f"a slot of slab {self.number} has {self.grain} bytes, not {page.shape[0]}")
        return self.rewrite(slot, page)

    def column_bytes(self, uint32_t slot, int column):
        """What a column holds, or None if it can't be read."""
        cdef bytearray data = bytearray(self.column)
        return None if self.read_column(slot, column, 0, self.column, data, True) else bytes(data)

    def read_slot(self, uint32_t slot, uint32_t offset, uint32_t length, uint64_t without):
        """Bytes of a grain, columns in `without` and those that are out reconstructed; None if they can't be."""
        cdef bytearray data = bytearray(length), scratch = bytearray(self.column)
        return None if self.read_without(slot, offset, length, data, scratch, without) else bytes(data)

    def piece(self, int column, uint32_t at, uint32_t length):
        """Bytes of an extent (segments of the log), or None if they can't be read."""
        cdef bytearray data = bytearray(length)
        return None if self.read_column(0, column, at, length, data, True) else bytes(data)

    @property
    def last_error(self):
        return self.error

    # --- members

    def lose(self, int number):
        """Member `number` is out: its columns are neither read nor written any more."""
        cdef int i
        self.changes.any = True
        for i in range(self.width):
            if self.places[i][0] == number:
                self._members[i] = None
                self.missing |= <uint64_t>1 << i

    def exchange(self, Member old, Member new):
        """A member is reached through another object from now on."""
        cdef int i
        for i in range(self.width):
            if self._members[i] is old:
                self._members[i] = new
        if self._target is old:
            self._target = new

    def begin_rebuild(self, int column, Member member, uint32_t extent, uint64_t extent_size):
        """From now on what is written to `column` goes to its new home, too; reads do not use it yet."""
        self.rebuilding, self.target_error = column, 0
        self._target = member
        self._target_offset = _EXTENTS_AT + extent * extent_size

    def abandon_rebuild(self):
        self.rebuilding = -1
        self._target = None

    def end_rebuild(self, int member, uint32_t extent):
        """The column is whole in its new home."""
        cdef int column = self.rebuilding
        places = list(self.places)
        places[column] = type(places[column])(member, extent)
        self.places = tuple(places)
        self._members[column] = self._target
        self._offsets[column] = self._target_offset
        self.missing &= ~(<uint64_t>1 << column)
        self.changes.any = True
        self.abandon_rebuild()

    def write_target(self, uint32_t slot, const uint8_t[::1] content not None):
        """Write the column that is being rebuilt, of one slot whose whole content is given; see `target_error`."""
        cdef bytearray scratch = bytearray((1 + self.stripe.m) * self.column)
        cdef const uint8_t *columns[STRIPE_MOST]
        stripe_split(&self.stripe, &content[0], scratch, columns)
        self.write_targets(slot, 1, columns[self.rebuilding])

    cdef void write_targets(self, uint32_t slot, uint32_t count, const uint8_t *data) noexcept:
        """The same column of slots that follow each other, as it is to be; see `target_error`."""
        cdef Member target = self._target
        cdef uint64_t at = self._target_offset + <uint64_t>slot * self.column
        cdef int error
        with nogil:
            error = target.write_at(data, <size_t>count * self.column, at)
            if count > 1:
                target.start_at(<size_t>count * self.column, at)    # so that little is left to an fsync
        self.target_error = error or self.target_error

    def differing(self, uint32_t slot, const uint8_t[::1] content not None):
        """A bit for each column that is there and does not hold what it should, by the slot's whole content."""
        cdef bytearray scratch = bytearray((1 + self.stripe.m) * self.column), buffer = bytearray(self.column)
        cdef const uint8_t *columns[STRIPE_MOST]
        cdef uint8_t *found = buffer
        cdef uint64_t wrong = 0
        cdef int column
        stripe_split(&self.stripe, &content[0], scratch, columns)
        for column in range(self.width):
            if self.missing >> column & 1:
                continue
            if (self.read_column(slot, column, 0, self.column, found, True)
                    or memcmp(columns[column], found, self.column)):
                wrong |= <uint64_t>1 << column
        return wrong

    def rewrite(self, uint32_t slot, const uint8_t[::1] content not None):
        """Write a slot that was written before again; returns a bit for each column that failed."""
        cdef bytearray scratch = bytearray((1 + self.stripe.m) * self.column)
        return self.write(slot, &content[0], scratch)

    def unreadable(self, uint32_t slot):
        """A bit for each column of a slot that can't be read."""
        return sum([1 << column for column in range(self.width) if self.column_bytes(slot, column) is None])

    # --- columns

    cdef int _write_column(self, uint32_t slot, int column, const uint8_t *data) noexcept:
        cdef int error = 0
        cdef uint64_t shift = <uint64_t>slot * self.column
        if not self.missing >> column & 1:
            error = (<Member>self._members[column]).write_at(data, self.column, self._offsets[column] + shift)
        if self.rebuilding == column:
            # The column is as good as it was if this fails: it is the rebuilding that has come to nothing.
            self.target_error = (self._target.write_at(data, self.column, self._target_offset + shift)
                                 or self.target_error)
        if error:
            self._failed_with(error)
        return error

    cdef void _failed_with(self, int error) noexcept:
        """Of several errors the host's own counts: no member is to be blamed for a full file system."""
        if self.error != ENOSPC and self.error != EDQUOT:
            self.error = error

    cdef uint64_t write(self, uint32_t slot, const uint8_t *grain, uint8_t *scratch) noexcept:
        """Write a whole grain; returns a bit for each column that failed (`error` has the errno).

        scratch: (1 + redundant columns) * column bytes.
        """
        cdef const uint8_t *columns[STRIPE_MOST]
        cdef uint64_t failed = 0
        cdef int i
        self.error = 0
        stripe_split(&self.stripe, grain, scratch, columns)
        for i in range(self.width):
            if self._write_column(slot, i, columns[i]):
                failed |= <uint64_t>1 << i
        return failed

    cdef int append(self, int copy, uint32_t at, const uint8_t *data, uint32_t length) noexcept:
        """Write a record of the log into one copy of a segment, at byte `at` of it. A copy that is out takes nothing,
        and that is no error."""
        cdef int error = 0
        if not self.missing >> copy & 1:
            error = (<Member>self._members[copy]).write_at(data, length, self._offsets[copy] + at)
        if error:
            self._failed_with(error)
        return error

    def put_piece(self, int copy, uint32_t at, const uint8_t[::1] data not None):
        """append() for Python: errno, 0 = done."""
        self.error = 0
        return self.append(copy, at, &data[0], data.shape[0])

    cdef int read_column(self, uint32_t slot, int column, uint32_t offset, uint32_t length, uint8_t *to,
                         bint wait) noexcept:
        cdef Member member
        cdef uint64_t at = self._offsets[column] + <uint64_t>slot * self.column + offset
        if self.missing >> column & 1:
            return EIO
        member = <Member>self._members[column]
        return member.read_at(to, length, at) if wait or not member.fetches else member.try_read_at(to, length, at)

    cdef bint fetch_column(self, uint32_t slot, int column, uint32_t offset, uint32_t length) noexcept:
        if self.missing >> column & 1:
            return False
        return (<Member>self._members[column]).fetch_at(
            length, self._offsets[column] + <uint64_t>slot * self.column + offset)

    cdef bint fetch(self, uint32_t slot, uint32_t offset, uint32_t length) noexcept:
        """Have fetched what a read of these bytes needs and is not in memory; whether there is any."""
        cdef bint cold = False
        cdef uint32_t inside, piece
        cdef uint8_t sources[STRIPE_MOST]
        cdef uint8_t constants[STRIPE_MOST]
        cdef int column, i
        while length:
            column = offset // self.column
            inside = offset % self.column
            piece = min(length, self.column - inside)
            if not self.missing >> column & 1:
                cold |= self.fetch_column(slot, column, inside, piece)
            else:
                for i in range(stripe_sources(&self.stripe, column, self.missing, sources, constants)):
                    cold |= self.fetch_column(slot, sources[i], inside, piece)
            offset += piece
            length -= piece
        return cold

    cdef int rebuild_column(self, uint32_t slot, int column, uint32_t offset, uint32_t length, uint8_t *to,
                            uint8_t *scratch, uint64_t without) noexcept:
        """A piece of a column from the others, columns in `without` not used. scratch: length bytes."""
        cdef uint8_t sources[STRIPE_MOST]
        cdef uint8_t constants[STRIPE_MOST]
        cdef int count, i
        without |= self.missing
        while True:
            count = stripe_sources(&self.stripe, column, without, sources, constants)
            if count == 0:
                return EIO
            if count == 1 and constants[0] == 1:    # a copy
                if not self.read_column(slot, sources[0], offset, length, to, True):
                    return 0
                without |= <uint64_t>1 << sources[0]
                continue
            for i in range(count):
                if self.read_column(slot, sources[i], offset, length, scratch, True):
                    without |= <uint64_t>1 << sources[i]    # the others may do
                    break
                if i == 0:
                    memset(to, 0, length)
                gf_add(to, scratch, constants[i], length)
            else:
                return 0

    cdef int read(self, uint32_t slot, uint32_t offset, uint32_t length, uint8_t *to, bint wait) noexcept:
        """Bytes of a grain as they lie in the data columns; an errno when a column is missing or fails."""
        cdef int column, error
        cdef uint32_t inside, piece
        while length:
            column = offset // self.column
            inside = offset % self.column
            piece = min(length, self.column - inside)
            error = self.read_column(slot, column, inside, piece, to, wait)
            if error:
                self.error = error
                return error
            offset += piece
            length -= piece
            to += piece
        return 0

    cdef uint32_t read_slots(self, uint32_t slot, bint wait, together_job *job) noexcept:
        """Of job.count slots that follow each other (so their columns lie side by side): how many grains, from the first,
        are in place and as the job says."""
        cdef iovec pieces[2 * TOGETHER_SLOTS]
        cdef Member member
        cdef int i, n, columns = (self.grain + self.column - 1) // self.column
        cdef uint64_t at, size = <uint64_t>job.count * self.column
        cdef bint files = True
        job.grain, job.column = self.grain, self.column
        for i in range(columns):
            if self.missing >> i & 1:
                return 0
            member = <Member>self._members[i]
            at = self._offsets[i] + <uint64_t>slot * self.column
            job.columns[i].file, job.columns[i].at = member.descriptor(), at
            job.columns[i].flags = 0 if wait or not member.fetches else RWF_NOWAIT
            files &= job.columns[i].file >= 0 and not member.refuses(size, at, False)
        if files:
            return read_together(job)
        for i in range(columns):
            n = together_pieces(pieces, job.to + i * self.column, job.count, self.grain,
                                min(self.column, self.grain - i * self.column), self.column)
            if (<Member>self._members[i]).read_pieces_at(pieces, n, size, job.columns[i].at, wait):
                return 0
        return together_verified(job, 0, job.count)

    cdef int read_without(self, uint32_t slot, uint32_t offset, uint32_t length, uint8_t *to, uint8_t *scratch,
                          uint64_t without) noexcept:
        """The same with the columns in `without` reconstructed."""
        cdef int column, error
        cdef uint32_t inside, piece
        while length:
            column = offset // self.column
            inside = offset % self.column
            piece = min(length, self.column - inside)
            if (without | self.missing) >> column & 1:
                error = self.rebuild_column(slot, column, inside, piece, to, scratch, without)
            else:
                error = self.read_column(slot, column, inside, piece, to, True)
            if error:
                return error
            offset += piece
            length -= piece
            to += piece
        return 0


cdef extern from *:
    """
    #define vf_lowest(x) ((unsigned)__builtin_ctzll(x))
    """
    uint32_t vf_lowest(uint64_t x) nogil


cdef inline uint32_t _lowest(uint64_t bits) noexcept nogil:
    return vf_lowest(bits)
