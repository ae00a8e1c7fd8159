"""Columns of slabs that move from one member to others, while all that is in the slabs is read and written.

Knows: the order of copying, checkpoint, record. Refuses to know: why they move and to whom (repair.py, evacuate.py).

storvirt/pool/__init__ calls it rebuilding; whether the old column can be read makes no difference.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterable, Sequence

from storvirt.backing.beside import Beside
from storvirt.backing.errors import reason
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.contents import contents
from storvirt.pool.job import Job, Steps
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.rebuild import Grains
from storvirt.pool.slab import Slab
from storvirt.pool.space import NoSpace

# Of what is rebuilt many slots at a time: about a millisecond, for which clients wait.
BYTES_A_STEP = 4 << 20


class Moving(Job):
    """A job that takes columns off member `old`."""

    def __init__(self, pool: Pool, number: int) -> None:
        super().__init__(pool)
        self.old = number
        self._homes: dict[Slab, f.Column] = {}  # where a slab's column is being rebuilt

    @abstractmethod
    def _homes_for(self, slab: Slab) -> Iterable[int]:
        """Members that may take the column of a slab, the best one first; those that are full are passed over."""

    def _move(self, slabs: Iterable[Slab]) -> Generator[None, None, bool]:
        """Those of them for which somebody has room, all at once; what is not finished stays where it is. False: there
        was none."""
        self.pool.make_sure()  # homes that a record was to name may be taken again
        group: list[Slab] = []
        try:
            group += filter(self._begin, slabs)
            yield from self._fill(group)
            self._finish(group)
        finally:
            self._give_up(group)
        return bool(group)

    def _begin(self, slab: Slab) -> bool:
        """False where nobody has room for it."""
        column = next(i for i, place in enumerate(slab.places) if place[0] == self.old)
        for number in self._homes_for(slab):
            member = self.pool.members[number]
            if member is None:
                continue
            try:
                extent = self.pool.space.take(number)
            except NoSpace:
                continue
            slab.begin_rebuild(column, member, extent, self.pool.extent)
            self._homes[slab] = f.Column(number, extent)
            return True
        return False

    def _fill(self, group: Sequence[Slab]) -> Steps:
        pages = {slab.number: slab for slab in group if slab.use == f.META}
        for slab, slot, content in contents(self.pool, pages):
            slab.write_target(slot, content)
            self._check_target(slab)
            if self._dealt(len(content)):
                yield
        with Beside() as beside:
            grains = Grains(self.pool.engine, [slab for slab in group if slab.use == f.DATA], beside)
            for disk in list(self.pool.engine.disks.values()):
                yield from grains.look(disk)
            for slab in group:
                if slab.use == f.DATA:
                    yield from self._fill_data(grains, slab)

    def _fill_data(self, grains: Grains, slab: Slab) -> Steps:
        engine, slot, begun = self.pool.engine, 0, self.moved
        while slot < slab.slots and engine.slab(slab.number) is slab:
            slot, done, odd = grains.rebuild(slab, slot)
            for number, grain in odd:
                self._alone(slab, number, grain)
            self._dealt((done + len(odd)) * slab.grain, done + len(odd))
            if self.moved - begun >= BYTES_A_STEP or slot >= slab.slots:
                grains.settle()
                self._check_target(slab)
                begun = self.moved
                yield

    def _alone(self, slab: Slab, number: int, grain: int) -> None:
        """A grain that is not as it should be everywhere: from whatever redundancy there is."""
        try:
            found = self.pool.engine.slot_content(self.pool.engine.disks[number], grain)
        except BlockError as error:
            self.pool.events.append(f"not rebuilt: {error}")
            return
        if found is not None and found[0] is slab:
            slab.write_target(found[1], found[2])

    def _check_target(self, slab: Slab) -> None:
        if slab.target_error:
            self.pool.write_failed(slab, 0, slab.target_error)
            name = self.pool.member_name(self._homes[slab].member)
            raise PoolError(f"{name} can't be written ({reason(slab.target_error)}); put another one in its place")

    def _finish(self, group: Sequence[Slab]) -> None:
        """From the moment that a record may say where the columns are now, both places have all that is needed: the map
        that is durable leads to no slot that was freed, and so not copied, meanwhile."""
        pool = self.pool
        pool.checkpoint()
        done = [slab for slab in group if pool.engine.slab(slab.number) is slab]  # the others became empty, and went
        for slab in done:
            self._check_target(slab)
        columns = {slab: slab.rebuilding for slab in done}
        for slab in done:
            pool.move_column(slab, columns[slab], self._homes[slab])
        try:
            pool.write_commit()
            if any(pool.members[self._homes[slab].member] is None for slab in done):
                raise PoolError("a member that takes columns has failed; put another one in its place")
        except BaseException:
            for slab in done:
                pool.move_column(slab, columns[slab], slab.places[columns[slab]])
            raise
        for slab in done:
            home, before = self._homes.pop(slab), slab.places[columns[slab]]
            slab.end_rebuild(home.member, home.extent)
            pool.space.release([before])  # nobody takes it as long as the old member is leaving
        pool.sync_members()

    def _give_up(self, group: Sequence[Slab]) -> None:
        for slab in group:
            slab.abandon_rebuild()
            if home := self._homes.pop(slab, None):
                self.pool.space.release([home])
