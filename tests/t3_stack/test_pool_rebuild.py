"""A column is rebuilt many slots at a time: every level, whoever is out or lies meanwhile, slots here and there; and
what is moved out of the log asks its disks for everything at once."""

from __future__ import annotations

import random
from functools import partial

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from storvirt.pool import room
from storvirt.pool.assemble import format_pool
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Replace
from storvirt.pool.slab import Slab
from storvirt.raid.layout import PROFILES
from tests.support.coldmember import ColdFile
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, audit, formatted, reopen, volume
from tests.support.simfile import SimFile

OLD = 1
PIECE = 4096


class Rig:
    """A volume of which grains were written, written again and trimmed, so that slots in use lie here and there."""

    def __init__(self, raid: str, grain: int = 32768) -> None:
        self.kind = Kind(raid, 2 * MIB, grain)
        self.profile = PROFILES[raid]
        self.disk = CrashDisk(formatted(self.profile.members + 1, (self.kind,)))
        self.pool = reopen(self.disk.members)
        self.dice = random.Random(raid)
        self.volume = volume(self.pool, f"{raid}-0")
        self.data = bytearray(self.kind.size)
        grains = range(self.kind.size // grain)
        for number in (*self.dice.sample(grains, len(grains) * 2 // 3), *self.dice.sample(grains, len(grains) // 3)):
            self.write(number * grain, self.dice.randbytes(grain))
        for number in self.dice.sample(grains, len(grains) // 4):
            self.volume.zero(number * grain, grain)
            self.data[number * grain : (number + 1) * grain] = bytes(grain)
        self.pool.checkpoint()
        for number in self.dice.sample(grains, len(grains) // 4):
            self.write(number * grain + grain - PIECE, self.dice.randbytes(PIECE))

    def write(self, at: int, data: bytes) -> None:
        self.volume.write(at, data)
        self.data[at : at + len(data)] = data

    def used(self) -> list[Slab]:
        return [slab for slab in self.pool.engine.all_slabs() if slab.use == f.DATA and slab.used]

    def spoil(self, member: int, offset: int = 0) -> None:
        """What the slots in use have on a member, from a byte of each column on, is something else."""
        for slab in self.used():
            for number, place in enumerate(slab.places):
                if place.member == member and not slab.missing >> number & 1:
                    for slot in slab.in_use():
                        at = f.EXTENTS_AT + place.extent * EXTENT + slot * slab.column
                        self.disk.members[f"m{member}"].write(at + offset, self.dice.randbytes(slab.column - offset))

    def replace(self, between: bool = True) -> int:
        """The number of the new member. between: the volume is written to meanwhile."""
        job = Replace(self.pool, OLD, PythonMember(SimFile(MEMBER), "new"), b"n" * 16)
        while job.step():
            if between:
                at = self.dice.randrange(self.kind.size // PIECE) * PIECE
                self.write(
                    at, self.dice.randbytes(min(self.dice.choice((PIECE, 2 * self.kind.grain)), self.kind.size - at))
                )
        return job.new

    def wrong_on(self, member: int) -> list[tuple[int, int]]:
        """(slab, slot) whose column on this member is not what it should be."""
        wrong, engine = [], self.pool.engine
        for disk in engine.disks.values():
            for grain, number, slot in disk.map.allocated():
                found = engine.slot_content(disk, grain)
                assert found is not None
                column = next((i for i, place in enumerate(found[0].places) if place[0] == member), None)
                if column is not None and found[0].differing(slot, found[2]) >> column & 1:
                    wrong.append((number, slot))
        return wrong

    def whole(self) -> bool:
        return self.volume.read(0, self.kind.size) == bytes(self.data)


@pytest.mark.parametrize("grain", [4096, 32768, 262144])
@pytest.mark.parametrize("raid", PROFILES)
def test_the_old_one_is_read(raid: str, grain: int) -> None:
    rig = Rig(raid, grain)
    new = rig.replace()
    assert rig.whole() and not rig.wrong_on(new)
    audit(rig.pool)


REDUNDANT = [raid for raid, profile in PROFILES.items() if profile.parity]


@pytest.mark.parametrize("raid", REDUNDANT)
def test_the_old_one_is_gone(raid: str) -> None:
    rig = Rig(raid)
    rig.pool.lose(OLD, "pulled out")
    new = rig.replace()
    assert rig.whole() and not rig.wrong_on(new)
    audit(rig.pool)


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("raid", REDUNDANT)
def test_others_lie_or_are_out_meanwhile(raid: str, gone: bool) -> None:
    """As many as may: what does not verify is made from what does."""
    rig = Rig(raid)
    if gone:
        rig.pool.lose(OLD, "pulled out")
    others = [number for number in range(rig.profile.members) if number != OLD]
    liars = rig.dice.sample(others, rig.profile.parity - gone)
    out = liars.pop() if len(liars) > 1 else None
    for member in liars:
        rig.spoil(member)
    if out is not None:
        rig.pool.lose(out, "pulled out, too")
    new = rig.replace(between=False)
    assert rig.whole() and not rig.wrong_on(new)
    assert not any("not rebuilt" in event for event in rig.pool.events)


@pytest.mark.parametrize("raid", ["raid5", "raid6"])
def test_padding_has_no_checksum_and_is_not_believed(raid: str) -> None:
    """What pads the last data column is in the parity, and who lies there alone is not found by a checksum."""
    rig = Rig(raid)
    slab = rig.used()[0]
    used = slab.grain - (slab.data - 1) * slab.column
    assert used < slab.column, "this layout pads nothing"
    for member in {slab.places[slab.data - 1].member for slab in rig.used()} - {OLD}:
        at = {slab.number: slab.places[slab.data - 1].member for slab in rig.used()}
        if all(owner == member for owner in at.values()):
            rig.spoil(member, used)
    new = rig.replace(between=False)
    assert rig.whole() and not rig.wrong_on(new)


def test_what_is_moved_out_of_the_log_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [ColdFile(MEMBER) for _ in range(4)]
    members = [PythonMember(file, f"m{number}") for number, file in enumerate(files)]
    pool = format_pool(
        members, name="cold", pool_id=b"p" * 16, member_ids=[bytes([n]) * 16 for n in range(4)], extent=EXTENT
    )
    pool.create_volume("v", MIB, "raid5")
    disk, dice = pool.disk("v"), random.Random(7)
    data = bytearray(dice.randbytes(MIB))
    pool.engine.write(disk, 0, data)
    pool.checkpoint()
    for at in range(0, MIB, disk.grain):
        data[at : at + PIECE] = dice.randbytes(PIECE)
        pool.engine.write(disk, at, data[at : at + PIECE])
    pool.engine.commit()
    for file in files:
        file.cool()
    first_write: list[int] = []

    def write(file: ColdFile, offset: int, content: bytes) -> None:
        first_write.append(sum(len(one.asked) for one in files))
        ColdFile.write(file, offset, content)

    for file in files:
        monkeypatch.setattr(file, "write", partial(write, file))
    pool.engine.destage_all([(disk.number, grain) for grain in range(MIB // disk.grain)])
    pool.engine.commit()
    assert first_write[0] >= MIB // PIECE - MIB // disk.grain, (
        "before the first grain is written all of them were asked for"
    )
    assert pool.engine.read(disk, 0, MIB) == bytes(data)
    assert len(pool.engine.index) == 0


def test_a_pool_lends_its_log_the_room_that_it_has() -> None:
    """And takes it back as data needs it, down to what the log always has."""
    size = f.EXTENTS_AT + 80 * EXTENT
    members = [PythonMember(SimFile(size), f"m{number}") for number in range(4)]
    pool = format_pool(
        members, name="lends", pool_id=b"p" * 16, member_ids=[bytes([n]) * 16 for n in range(4)], extent=EXTENT
    )
    pool.create_volume("v", 256 * MIB, "raid5")
    most, limits = room.log_limit(pool), [room.log_limit(pool)]
    assert most > room.FEW_SEGMENTS
    disk, dice = pool.disk("v"), random.Random(8)
    filled = 0
    while limits[-1] > room.FEW_SEGMENTS:
        pool.make_room()
        pool.engine.write(disk, filled, dice.randbytes(MIB))
        filled += MIB
        for _ in range(64):
            pool.engine.write(disk, dice.randrange(filled // PIECE) * PIECE, dice.randbytes(PIECE))
        pool.engine.commit()
        pool.work()
        limits.append(room.log_limit(pool))
        assert len(pool.segments) <= room.most_segments(pool) + 2
    assert limits == sorted(limits, reverse=True) or max(limits) <= most
    audit_limits(pool)


def audit_limits(pool: Pool) -> None:
    """What is in the log fits into what it has in the end."""
    while pool.work():
        pass
    assert len(pool.segments) - pool.mover.emptied <= room.log_limit(pool)
    audit(pool)
