"""What the levels promise beyond one loss: liars named and mended, several members lost and replaced, and log and map
as redundant as the volumes."""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Container, Mapping, Sequence

import pytest

from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.assemble import format_pool
from storvirt.pool.mirrors import is_thin
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.repair import Replace, Scrub
from storvirt.raid.layout import BY_NUMBER, PROFILES, choose
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, Story, audit, contents, formatted, reopen, volume
from tests.support.simfile import SimFile

LONG = bool(os.environ.get("VFAB_LONG"))
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
REDUNDANT = [name for name, profile in PROFILES.items() if profile.parity]
GRAINS = 12


class Rig:
    """A pool of one volume whose first grains are written, in slots and in the map."""

    def __init__(self, raid: str, members: int | None = None, size: int = MEMBER) -> None:
        self.kind = Kind(raid, MIB)
        self.profile = PROFILES[raid]
        self.count = members or self.profile.members
        self.disk = CrashDisk(formatted(self.count, (self.kind,), size))
        self.pool = reopen(self.disk.members)
        self.dice = random.Random(raid)
        self.data = self.dice.randbytes(GRAINS * self.kind.grain)
        self.volume = volume(self.pool, f"{raid}-0")
        self.volume.write(0, self.data)
        self.pool.checkpoint()

    def spoil(self, member: int) -> None:
        """Every column of data and parity that a member holds is something else."""
        for slab in self.pool.engine.all_slabs():
            for place in slab.places if slab.use == f.DATA else ():
                if place.member == member:
                    at = f.EXTENTS_AT + place.extent * EXTENT
                    for slot in slab.in_use():
                        for sector in range(0, slab.column, 512):
                            self.disk.members[f"m{member}"].write(
                                at + slot * slab.column + sector, self.dice.randbytes(512)
                            )

    def read(self) -> bytes:
        return self.volume.read(0, len(self.data))

    def healed(self) -> set[int]:
        """The members that were named."""
        return {member for (member, what), count in self.pool.member_counts.items() if what == "healed" and count}


def losses(rig: Rig) -> list[tuple[int, ...]]:
    every = list(itertools.combinations(range(rig.count), rig.profile.parity))
    return every if LONG else rig.dice.sample(every, min(3, len(every)))


@pytest.mark.parametrize("raid", REDUNDANT)
def test_as_many_liars_as_may_be_lost_are_named_and_mended(raid: str) -> None:
    """Block CRCs say which way of computing a block is right, and so who lied: with raid6 and above also two and three
    at the same time."""
    rig = Rig(raid)
    for lost in losses(rig):
        for member in lost:
            rig.spoil(member)
        rig.pool.member_counts.clear()
        assert rig.read() == rig.data, lost
        assert rig.healed() <= set(lost), "nobody else is blamed"
        scrub = Scrub(rig.pool)
        while scrub.step():
            pass
        assert scrub.healed and not scrub.lost
        assert all(f"m{member}" in " ".join(scrub.found) for member in lost)
        assert rig.pool.engine.counts["unhealed"] == 0
        again = Scrub(rig.pool)
        while again.step():
            pass
        assert not again.found
    audit(rig.pool)


@pytest.mark.parametrize("raid", [raid for raid in REDUNDANT if PROFILES[raid].parity > 1])
def test_one_is_out_and_the_others_that_are_left_lie(raid: str) -> None:
    rig = Rig(raid)
    for out, *liars in losses(rig):
        rig = Rig(raid)
        rig.pool.lose(out, "pulled out")
        for member in liars:
            rig.spoil(member)
        assert rig.read() == rig.data
        assert rig.healed() <= set(liars)


@pytest.mark.parametrize("raid", REDUNDANT)
def test_one_liar_too_many_is_an_error_and_no_wrong_byte(raid: str) -> None:
    rig = Rig(raid)
    slab = next(slab for slab in rig.pool.engine.all_slabs() if slab.use == f.DATA and slab.used)
    group = [place.member for i, place in enumerate(slab.places) if slab.group(0) >> i & 1]
    for member in group[: rig.profile.parity + 1]:
        rig.spoil(member)
    wrong = 0
    for at in range(0, len(rig.data), 4096):
        try:
            assert rig.volume.read(at, 4096) == rig.data[at : at + 4096]
        except BlockError as error:
            assert error.errno == errno.EIO
            wrong += 1
    assert wrong
    rig.volume.write(0, rig.data)
    assert rig.read() == rig.data, "what is written anew is whole"


@pytest.mark.parametrize("raid", REDUNDANT)
def test_members_that_give_errors_are_read_around(raid: str) -> None:
    rig = Rig(raid)
    for lost in losses(rig):
        faults = [rig.disk.fail(errno.EIO, f"m{member}", "read") for member in lost]
        assert rig.read() == rig.data
        for fault in faults:
            fault.times = 0


@pytest.mark.parametrize("raid", REDUNDANT)
def test_all_that_may_be_lost_is_lost_and_replaced(raid: str) -> None:
    """Written to meanwhile; then as many others may be lost, at once and in the next opening."""
    rig = Rig(raid)
    gone = losses(rig)[0]
    for member in gone:
        rig.pool.lose(member, "pulled out")
    half = 5 * rig.kind.grain
    rig.data = rig.dice.randbytes(half) + rig.data[half:]
    rig.volume.write(0, rig.data[:half])
    rig.volume.write(half - 512, rig.data[half - 512 : half + 8192])
    rig.pool.checkpoint()
    rig.volume.write(4096, rig.data[4096:8192])
    assert rig.read() == rig.data
    files = {name: file for name, file in rig.disk.files.items() if int(name[1:]) not in gone}
    for number, member in enumerate(gone):
        files[f"n{number}"] = SimFile(MEMBER)
        new = PythonMember(files[f"n{number}"], f"n{number}")
        job = Replace(rig.pool, member, new, bytes([0xE0 + number]) * 16)
        while job.step():
            pass
    assert rig.read() == rig.data and not any(is_thin(rig.pool, slab) for slab in rig.pool.engine.all_slabs())
    assert all(not slab.missing for slab in rig.pool.engine.all_slabs())
    audit(rig.pool)
    for lost in itertools.islice(itertools.combinations(sorted(files), rig.profile.parity), 6):
        found = contents(reopen(copied(files, lost), degraded=True))
        assert found[f"{raid}-0"][: len(rig.data)] == rig.data


def copied(files: Mapping[str, SimFile], without: Container[str]) -> dict[str, PythonMember]:
    return {name: PythonMember(file.copy(), name) for name, file in files.items() if name not in without}


# --- log and map -----------------------------------------------------------------------------------------------------


def few(pool: Pool) -> list[tuple[int, int]]:
    """(use, width) of mirrors with fewer copies than the pool's volumes need."""
    most = 1 + max(BY_NUMBER[row.profile].parity for row in pool.volume_rows.values())
    return [(slab.use, slab.width) for slab in pool.engine.all_slabs() if slab.use != f.DATA and slab.width < most]


@pytest.mark.parametrize(("raid", "members", "tolerated"), [("raid6", 4, 2), ("raid7", 5, 3), ("raid1c4", 5, 3)])
def test_a_volume_that_survives_more_is_made_in_a_pool_that_is_in_use(raid: str, members: int, tolerated: int) -> None:
    """The pages and the log of the volumes that there were get more copies, too: without them nothing can be opened. At
    each moment of it the machine may crash."""
    kinds = (Kind("raid1", MIB, 4096), Kind("raid5", MIB))
    disk, dice = CrashDisk(formatted(members, kinds)), random.Random(raid)
    story = Story(disk, kinds)
    pool = reopen(disk.members)
    for name in story.kinds:
        story.write(volume(pool, name), name, 0, dice.randbytes(200_704))
        story.write(volume(pool, name), name, 300_032, dice.randbytes(4096))
    story.flush(pool)
    before, begin = contents(pool), disk.boundaries
    pool.create_volume("more", MIB, raid)
    assert not few(pool)
    audit(pool)
    for boundary in range(begin, disk.boundaries, 1 if LONG else max(1, (disk.boundaries - begin) // 8)):
        for crash in disk.crashes(exhaustive_below=1, samples=1, at={boundary}):
            with crash:
                assert contents(reopen(crash.members())).items() >= before.items()
    data = dice.randbytes(100_000)
    volume(pool, "more").write(0, data)
    for lost in itertools.combinations(disk.files, tolerated):
        left = reopen(copied(disk.files, lost), degraded=True)
        assert volume(left, "more").read(0, len(data)) == data, lost


def test_a_mirror_of_two_is_whole_again_after_one_was_replaced() -> None:
    """What was logged, and the pages that were written, while there was one member only."""
    rig = Rig("raid1")
    rig.pool.lose(0, "pulled out")
    rig.volume.write(0, b"x" * 4096)
    rig.pool.checkpoint()
    rig.volume.write(8192, b"y" * 4096)
    rig.pool.engine.commit()
    assert few(rig.pool)
    job = Replace(rig.pool, 0, PythonMember(SimFile(MEMBER), "new"), b"the new one's id")
    while job.step():
        pass
    assert not few(rig.pool)
    expected = rig.read()
    rig.pool.lose(1, "pulled out, too")
    assert rig.read() == expected and expected[8192:8193] == b"y"


@pytest.mark.parametrize(("raid", "members"), [("raid10", 6), ("raid50", 6), ("raid60", 8)])
def test_copies_stand_together_in_one_group(raid: str, members: int) -> None:
    rig = Rig(raid, members)
    layout = choose(rig.profile, members, rig.kind.grain)
    size = layout.d + layout.p
    for _ in range(8):
        rig.volume.write(rig.dice.randrange(GRAINS * 8) * 4096, rig.dice.randbytes(4096))
        rig.pool.new_segment()
        rig.pool.checkpoint()
        for slab in rig.pool.engine.all_slabs():
            if slab.use != f.DATA:
                assert slab.width == rig.profile.parity + 1
                assert len({place.member // size for place in slab.places}) == 1


def test_more_is_gone_than_one_group_survives() -> None:
    """Such a loss is not called out: the pool waits."""
    rig = Rig("raid10")
    assert rig.pool.bearable({0, 2}) and rig.pool.bearable({1, 3}) and not rig.pool.bearable({0, 1})


# --- sizes, names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raid", "sizes"), [("raid5", (40, 24, 16)), ("raid6", (26, 26, 26, 17)), ("raid10", (40, 30, 20, 20))]
)
def test_members_of_different_sizes_hold_what_the_narrow_slabs_add(raid: str, sizes: Sequence[int]) -> None:
    """Filled to the end: every byte survives every loss that the level promises."""
    files = {f"m{number}": SimFile(size * MIB) for number, size in enumerate(sizes)}
    members = [PythonMember(file, name) for name, file in files.items()]
    ids = [bytes([number]) * 16 for number in range(len(members))]
    pool = format_pool(members, name="odd", pool_id=bytes(16), member_ids=ids, extent=EXTENT)
    pool.create_volume("v", 64 * MIB, raid)
    disk, data, at = volume(pool, "v"), random.Random(1).randbytes(MIB), 0
    with pytest.raises(BlockError, match="is full"):
        while True:
            disk.write(at, data)
            at += MIB
    widths = {slab.width for slab in pool.engine.all_slabs() if slab.use == f.DATA}
    assert len(widths) > 1, "slabs of several widths"
    pool.flush()
    for lost in itertools.combinations(files, PROFILES[raid].parity):
        left = reopen(copied(files, lost), degraded=True)
        again = volume(left, "v")
        assert all(again.read(offset, MIB) == data for offset in range(0, at, MIB)), lost


def test_a_level_that_there_is_not_and_too_few_members() -> None:
    rig = Rig("raid5")
    with pytest.raises(PoolError, match="there is no RAID level 'raid8'; there are: linear"):
        rig.pool.create_volume("w", MIB, "raid8")
    with pytest.raises(PoolError, match="raid6 needs at least 4 members, not 3"):
        rig.pool.create_volume("w", MIB, "raid6")
