"""A pool against arrays of bytes: volumes of all levels, and everything that may happen to them but the loss of power.

One member at a time is the victim: it fails, is lost, or lies. Redundant volumes must not notice; what others read is
right or an error, never wrong. (test_pool_crash.py has the loss of power.)
"""

from __future__ import annotations

import errno
import mmap
import os
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Replace, Scrub
from storvirt.raid.layout import PROFILES
from tests.support.poolrig import EXTENT, MIB, Kind, S, audit, make, reopen, volume, volumes_of

LONG = bool(os.environ.get("VFAB_LONG"))
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
COUNT, SIZE = 4, 36 * MIB
KINDS = (
    Kind("linear", 1_536 * 1024, 4096),
    Kind("raid0", 1_536 * 1024, 32768),
    Kind("raid1", 1_536 * 1024, 65536),
    Kind("raid5", 1_536 * 1024, 32768),
    Kind("raid5", 1_536 * 1024, 4096),
    Kind("raid6", 1_536 * 1024, 32768),
    Kind("raid10", 1_536 * 1024, 4096),
)
NAMES = tuple(volumes_of(KINDS))


class Plain:
    """Bytes that fail when they are told to."""

    def __init__(self, size: int) -> None:
        self.data = mmap.mmap(-1, size) if size else bytearray()  # pages that are not touched cost nothing
        self.broken = False

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        if self.broken:
            raise OSError(errno.EIO, "told to fail")
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        if self.broken:
            raise OSError(errno.EIO, "told to fail")
        self.data[offset : offset + len(data)] = data

    def sync(self) -> None:
        if self.broken:
            raise OSError(errno.EIO, "told to fail")


class Model:
    """What a volume must hold; `unsure`: the other content of sectors whose last write failed."""

    def __init__(self, kind: Kind) -> None:
        self.redundant = PROFILES[kind.raid].parity > 0
        self.bytes = bytearray(kind.size)
        self.unsure: dict[int, set[bytes]] = {}

    def put(self, offset: int, data: bytes) -> None:
        self.bytes[offset : offset + len(data)] = data
        for sector in range(offset // S, (offset + len(data)) // S):
            self.unsure.pop(sector, None)

    def maybe(self, offset: int, data: bytes) -> None:
        for at in range(0, len(data), S):
            self.unsure.setdefault((offset + at) // S, set()).add(data[at : at + S])

    def agrees(self, offset: int, found: bytes) -> bool:
        if found == self.bytes[offset : offset + len(found)]:
            return True
        for at in range(0, len(found), S):
            content, place = found[at : at + S], offset + at
            if content != self.bytes[place : place + S] and content not in self.unsure.get(place // S, ()):
                return False
        return True


SECTORS = st.integers(0, KINDS[0].size // S - 1)
LENGTHS = st.sampled_from([1, 2, 7, 8, 9, 16, 64, 65, 128, 200, 640])  # sectors


class PoolMachine(RuleBasedStateMachine):
    pool: Pool
    files: dict[int, Plain]
    victim: int | None

    @initialize()
    def begin(self) -> None:
        self.files = {number: Plain(SIZE) for number in range(COUNT)}
        self.pool = make(self._members(), KINDS)
        self.models = {name: Model(kind) for name, kind in volumes_of(KINDS).items()}
        self.victim = None
        self.hurt = False

    def _members(self) -> list[PythonMember]:
        """Those that can be read. One that is lost is empty."""
        readable = {number: file for number, file in self.files.items() if file.size and not file.broken}
        return [PythonMember(file, f"m{number}") for number, file in readable.items()]

    def _open(self) -> None:
        members = {member.name: member for member in self._members()}
        self.pool = reopen(members, degraded=len(members) < len(self.files))

    # --- requests

    @rule(
        name=st.sampled_from(NAMES), at=SECTORS, length=LENGTHS, seed=st.integers(0, 1 << 30), how=st.integers(0, 9),
        aligned=st.booleans(),
    )  # fmt: skip
    def write(self, name: str, at: int, length: int, seed: int, how: int, aligned: bool) -> None:
        model = self.models[name]
        offset = at * S // (32768 if aligned else 1) * (32768 if aligned else 1)
        length = min(length * S, len(model.bytes) - offset)
        zeros = how in (0, 1, 2)
        data = bytes(length) if zeros else random.Random(seed).randbytes(length)
        disk = volume(self.pool, name)
        try:
            if how == 0:
                disk.trim(offset, length)
            elif zeros:
                disk.zero(offset, length, fua=how == 1)
            else:
                disk.write(offset, data, fua=how == 3)
        except BlockError as error:
            assert error.errno == errno.EIO and self.hurt and not model.redundant
            model.maybe(offset, data)
        else:
            model.put(offset, data)

    @rule(name=st.sampled_from(NAMES), at=SECTORS, length=LENGTHS)
    def read(self, name: str, at: int, length: int) -> None:
        self._check(name, at * S, min(length * S, len(self.models[name].bytes) - at * S))

    def _check(self, name: str, offset: int, length: int) -> None:
        model = self.models[name]
        try:
            found = volume(self.pool, name).read(offset, length)
        except BlockError as error:
            assert error.errno == errno.EIO and self.hurt and not model.redundant
            return
        assert model.agrees(offset, found)

    @rule(name=st.sampled_from(NAMES), at=SECTORS, length=LENGTHS)
    def extents(self, name: str, at: int, length: int) -> None:
        offset = at * S
        end = min(offset + length * S, len(self.models[name].bytes))
        place, before = offset, None
        for extent in volume(self.pool, name).extents(offset, end - offset):
            assert extent.offset == place and extent.length > 0 and extent.data != before
            if not extent.data:
                assert self.models[name].agrees(place, bytes(extent.length))
            place, before = place + extent.length, extent.data
        assert place == end

    # --- what the pool does by itself

    @rule()
    def flush(self) -> None:
        self.pool.flush()

    @rule()
    def checkpoint(self) -> None:
        self.pool.checkpoint()
        audit(self.pool)

    @rule(times=st.integers(1, 4))
    def work(self, times: int) -> None:
        for _ in range(times):
            self.pool.work()

    @rule()
    def segment_ends(self) -> None:
        self.pool.new_segment()

    @rule(name=st.sampled_from(NAMES), grain=st.integers(0, 400))
    def destage(self, name: str, grain: int) -> None:
        self.pool.engine.destage(self.pool.disk(name), grain)

    # --- what happens to it

    @rule()
    def killed(self) -> None:
        self.pool.engine.commit()
        self._open()

    @rule()
    def closed(self) -> None:
        self.pool.close()
        self._open()
        audit(self.pool)

    def _choose(self, choice: int) -> int:
        if self.victim is None:
            present = sorted(self.pool.present())
            self.victim = present[choice % len(present)]
        self.hurt = True
        return self.victim

    def _out(self) -> bool:
        return self.victim is not None and self.pool.rows[self.victim].state == f.OUT

    @precondition(lambda self: not self._out())
    @rule(choice=st.integers(0, 9))
    def member_fails(self, choice: int) -> None:
        self.files[self._choose(choice)].broken = True

    @precondition(lambda self: not self._out())
    @rule(choice=st.integers(0, 9))
    def member_is_lost(self, choice: int) -> None:
        self.pool.engine.commit()
        self.files[self._choose(choice)] = Plain(0)
        self._open()
        assert self._out()

    @precondition(lambda self: not self._out())
    @rule(choice=st.integers(0, 9), seed=st.integers(0, 1 << 30))
    def member_lies(self, choice: int, seed: int) -> None:
        """Some bytes of some slabs are others than were written."""
        victim, dice = self._choose(choice), random.Random(seed)
        columns = [place for slab in self.pool.engine.all_slabs() for place in slab.places if place.member == victim]
        for place in columns:
            start = f.EXTENTS_AT + place.extent * EXTENT
            for _ in range(dice.randrange(60)):
                at = start + int(dice.random() ** 3 * (EXTENT - 600))
                self.files[victim].data[at : at + 512] = dice.randbytes(512)

    @precondition(lambda self: self._out())
    @rule(scrub=st.booleans())
    def member_is_replaced(self, scrub: bool) -> None:
        assert self.victim is not None
        new = Plain(SIZE)
        ident = random.Random(len(self.pool.events) + self.pool.number).randbytes(16)
        job = Replace(self.pool, self.victim, PythonMember(new, "new"), ident)
        while job.step():
            pass
        del self.files[self.victim]
        self.files[job.new] = new
        self.victim = None
        audit(self.pool)
        if scrub:
            self.scrubbed()

    @precondition(lambda self: self.victim is None)
    @rule()
    def scrubbed(self) -> None:
        scrub = Scrub(self.pool)
        while scrub.step():
            pass
        assert self.hurt or not scrub.found
        audit(self.pool)

    def teardown(self) -> None:
        for name in NAMES if hasattr(self, "pool") else ():
            for offset in range(0, len(self.models[name].bytes), 8 * 4096):
                self._check(name, offset, 8 * 4096)


def test_a_pool_is_arrays_of_bytes() -> None:
    examples, steps = (300, 60) if LONG else (25, 30)
    run_state_machine_as_test(
        PoolMachine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )
