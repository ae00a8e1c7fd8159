"""Small pools for tests, and what a volume may hold after a crash.

Knows: pools of 1 MiB extents on CrashDisk files, the promises of a volume sector by sector (Story).
Refuses to know: how the pool keeps them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from storvirt.backing.member import Member, PythonMember
from storvirt.pool import format as f
from storvirt.pool.assemble import format_pool, open_pool
from storvirt.pool.pool import Pool
from storvirt.volume.volume import Volume
from tests.support.crashdisk import Crash, CrashDisk
from tests.support.simfile import SimFile

MIB = 1 << 20
S = 512
EXTENT = MIB
MEMBER = 24 * MIB  # 8 MiB of head, 16 extents
POOL_ID = b"crash test pool!"


class Kind(NamedTuple):
    """A volume of the rig. size, grain: bytes."""

    raid: str
    size: int = 2 * MIB
    grain: int = 32768


def volumes_of(kinds: Iterable[Kind]) -> dict[str, Kind]:
    return {f"{kind.raid}-{number}": kind for number, kind in enumerate(kinds)}


def make(members: Sequence[Member], kinds: Iterable[Kind]) -> Pool:
    """A new pool with these volumes."""
    ids = [bytes([number]) * 16 for number in range(len(members))]
    pool = format_pool(members, name="rig", pool_id=POOL_ID, member_ids=ids, extent=EXTENT)
    for name, kind in volumes_of(kinds).items():
        pool.create_volume(name, kind.size, kind.raid, kind.grain)
    return pool


def formatted(count: int, kinds: Iterable[Kind], size: int = MEMBER) -> dict[str, SimFile]:
    """The files of a new pool that was closed."""
    disk = CrashDisk({f"m{number}": size for number in range(count)})
    make(list(disk.members.values()), kinds).close()
    return {name: settled(file) for name, file in disk.files.items()}


def settled(file: SimFile) -> SimFile:
    """Everything in it is durable: as a machine is found after `sync` and a reboot."""
    return SimFile(file.size, dict(file.pages))


def reopen(members: Mapping[str, Member], **options: Any) -> Pool:
    return open_pool(list(members.values()), **options)


def volume(pool: Pool, name: str) -> Volume:
    return Volume(pool, pool.disk(name))


def contents(pool: Pool) -> dict[str, bytes]:
    """All bytes of all volumes."""
    return {row.name: volume(pool, row.name).read(0, row.size) for row in pool.volume_rows.values()}


# --- what may be there -----------------------------------------------------------------------------------------------


class Begun(NamedTuple):
    volume: str
    offset: int
    data: bytes


class Allowed:
    """For each sector that was written: every content that it may have. What was never written is zeros."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._sizes = {name: kind.size for name, kind in kinds.items()}
        self.sectors: dict[tuple[str, int], set[bytes]] = {}

    def differences(self, found: Mapping[str, bytes]) -> list[str]:
        """One line for each sector that holds what it may not."""
        wrong = []
        for name, size in self._sizes.items():
            data = found[name]
            assert len(data) == size
            for sector in range(size // S):
                content = data[sector * S : sector * S + S]
                allowed = self.sectors.get((name, sector), _ZERO)
                if content not in allowed:
                    wrong.append(f"{name}: sector {sector} holds {content[:8].hex()}, allowed: {_short(allowed)}")
        return wrong


_ZERO = {bytes(S)}


def _short(contents: Iterable[bytes]) -> list[str]:
    return [content[:8].hex() for content in contents]


class Story:
    """What a workload asked for, in order, told with marks on the CrashDisk: begun, acknowledged, flushed."""

    def __init__(self, disk: CrashDisk, kinds: Iterable[Kind]) -> None:
        self.disk, self.kinds = disk, volumes_of(kinds)
        self.begun: list[Begun] = []

    def write(self, volume: Volume, name: str, offset: int, data: bytes, fua: bool = False) -> None:
        number = self._begin(name, offset, data)
        volume.write(offset, data, fua)
        self._ended(number, fua)

    def zero(self, volume: Volume, name: str, offset: int, length: int, fua: bool = False) -> None:
        number = self._begin(name, offset, bytes(length))
        volume.zero(offset, length, fua=fua)
        self._ended(number, fua)

    def flush(self, pool: Pool) -> None:
        pool.flush()
        self.disk.mark(("flushed", len(self.begun)))

    def round(self) -> None:
        """Fsyncs are about to be made, and requests come meanwhile; synced() says that all of them were."""
        self.disk.mark(("round", len(self.begun)))

    def synced(self) -> None:
        self.disk.mark(("synced", len(self.begun)))

    def _begin(self, name: str, offset: int, data: bytes) -> int:
        self.begun.append(Begun(name, offset, data))
        self.disk.mark(("begun", len(self.begun) - 1))
        return len(self.begun) - 1

    def _ended(self, number: int, flushed: bool) -> None:
        self.disk.mark(("acknowledged", number))
        if flushed:
            self.disk.mark(("flushed", number + 1))

    def allowed(self, kind: str, marks: Sequence[tuple[str, int]]) -> Allowed:
        """What there may be after a crash of this kind (power, kill), when these marks had been made."""
        acknowledged = {number for what, number in marks if what == "acknowledged"}
        allowed = Allowed(self.kinds)
        current: dict[tuple[str, int], set[bytes]] = {}
        durable: dict[tuple[str, int], set[bytes]] = {}
        round_began, before = 0, dict[tuple[str, int], set[bytes]]()
        for what, number in marks:
            if what == "begun":
                self._apply(self.begun[number], number in acknowledged, current, durable)
            elif what == "round":
                round_began, before = number, {key: set(contents) for key, contents in current.items()}
            elif what == "synced":  # what came while the fsyncs were made may be there or not
                durable.update(before)
                for begun in self.begun[round_began:number]:
                    self._apply(begun, False, {}, durable)
            elif what == "flushed":
                durable.update({key: set(contents) for key, contents in current.items()})
        allowed.sectors = current if kind == "kill" else durable
        return allowed

    @staticmethod
    def _apply(
        begun: Begun,
        acknowledged: bool,
        current: dict[tuple[str, int], set[bytes]],
        durable: dict[tuple[str, int], set[bytes]],
    ) -> None:
        """`current`: if the process is killed; `durable`: if the power fails."""
        for at in range(0, len(begun.data), S):
            key = begun.volume, (begun.offset + at) // S
            content = begun.data[at : at + S]
            before = current.setdefault(key, set(_ZERO))
            durable.setdefault(key, set(before)).add(content)
            current[key] = {content} if acknowledged else before | {content}


def pattern(dice: random.Random, length: int) -> bytes:
    """Every sector different from every other one ever made."""
    return dice.randbytes(length)


# --- a crash, and everything that must hold after it -----------------------------------------------------------------


def checked(members: Mapping[str, Member], allowed: Allowed, **options: Any) -> tuple[Pool, dict[str, bytes]]:
    """The pool opened again, and its content, which is allowed and the same when it is read twice."""
    pool = reopen(members, **options)
    found = contents(pool)
    wrong = allowed.differences(found)
    assert not wrong, wrong[:5]
    assert contents(pool) == found, "the second reading differs from the first"
    audit(pool)
    return pool, found


def after_crash(crash: Crash, story: Story, tolerated: int, dice: random.Random) -> None:
    """Opened; then each tolerated loss on top, and the power fails, and opened again: the same bytes. And a member that
    is lost with the crash itself, and a crash while it is opened: still nothing but what is allowed."""
    disk = crash.disk()
    allowed = story.allowed(crash.kind, crash.marks)
    pool, found = checked(disk.members, allowed)
    tolerated -= len(pool.rows) - len(pool.present())  # one that is out is a loss
    for lost in crash.losses(max(0, tolerated)):
        pool = reopen(_copies(disk.files, lost), degraded=bool(lost))
        assert contents(pool) == found, f"without {lost} there are other bytes than before"
    for again in disk.crashes(kinds=("power",), samples=1, exhaustive_below=1, at={disk.boundaries - 1}):
        assert contents(reopen(again.members())) == found, f"what was read is gone after {again.story}"
    if tolerated > 0:
        lost = tuple(dice.sample(list(crash.files), dice.randint(1, tolerated)))
        checked(crash.members(without=lost), allowed, degraded=True)
    # A crash at any moment of the opening that was seen above. What a killed process left may still lose its power.
    kind = dice.choice(("power", "kill"))
    if kind == "power":
        allowed = story.allowed(kind, crash.marks)
    for again in disk.crashes((kind,), samples=1, exhaustive_below=1, at={dice.randrange(disk.boundaries)}):
        with again:
            checked(again.members(), allowed)


def _copies(files: Mapping[str, SimFile], without: Sequence[str]) -> dict[str, PythonMember]:
    return {name: PythonMember(file.copy(), name) for name, file in files.items() if name not in without}


# --- what no step may break ------------------------------------------------------------------------------------------


def audit(pool: Pool) -> None:
    """Every slot in use belongs to exactly one grain, page or pending release; every extent to one slab or nobody."""
    used = [(slab.number, slot) for slab in pool.engine.all_slabs() if slab.use != f.LOG for slot in slab.in_use()]
    unused, dead = pool.checkpoints.awaiting()
    owned = list(pool.engine.freed) + [(page.slab, page.slot) for page in unused]
    for disk in pool.engine.disks.values():
        owned += [(slab, slot) for _, slab, slot in disk.map.allocated()]
        owned += [(page.slab, page.slot) for page in disk.map.pages()]
    assert sorted(owned) == sorted(used)
    claimed = [place for slab in pool.engine.all_slabs() for place in slab.places]
    assert len(set(claimed)) == len(claimed)
    for number, row in enumerate(pool.rows):
        if row.state != f.REMOVED:
            extents = (row.size - f.EXTENTS_AT) // pool.extent
            assert pool.space.free(number) + sum(place.member == number for place in claimed) == extents
    listed = {slab.number for slab in pool.engine.all_slabs()}
    assert {row.slab for row in pool.segments} <= listed
    assert pool._slab_rows.keys() | set(dead) == listed
