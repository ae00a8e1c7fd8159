"""Members that are gone when something is to be read: it is not called damage, nothing is given up, and who reads waits
where the pool can't do without them."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from storvirt.backing.member import PythonMember
from storvirt.nbd.execute import LATER
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.session import Session
from storvirt.pool.errors import Suspended
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Scrub
from storvirt.pool.serve import Served
from tests.support.nbd_frames import replies, request
from tests.support.poolrig import MEMBER, MIB, Kind, make, volume
from tests.support.simfile import SimFile

READ = 0
SIZE = 2 * MIB
HALF = SIZE // 4
GRAIN = 32768
# With how many members, of which so many are more than it can do without
LEVELS = [("linear", 1, 1), ("raid0", 2, 2), ("raid1", 2, 2), ("raid5", 4, 2), ("raid6", 5, 3)]


class Elsewhere(SimFile):
    """`gone`: nothing is heard of it."""

    gone = False

    def _must_be_there(self) -> None:
        if self.gone:
            raise OSError(errno.ENOTCONN, "its server hung up")

    def read(self, offset: int, length: int) -> bytes:
        self._must_be_there()
        return super().read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._must_be_there()
        super().write(offset, data)

    def sync(self) -> None:
        self._must_be_there()
        super().sync()

    def check(self) -> str | None:
        return "its server hung up" if self.gone else None


class Rig:
    """One volume, its first quarter in grains and its second one in the log."""

    def __init__(self, raid: str, count: int) -> None:
        self.files = [Elsewhere(MEMBER) for _ in range(count)]
        self.pool: Pool = make(
            [PythonMember(file, f"m{number}") for number, file in enumerate(self.files)], [Kind(raid, SIZE)]
        )
        self.volume = volume(self.pool, f"{raid}-0")
        self.content = random.Random(count).randbytes(2 * HALF)
        self.volume.write(0, self.content[:HALF])
        for at in range(HALF, 2 * HALF, 4096):
            self.volume.write(at, self.content[at : at + 4096])

    @contextmanager
    def without(self, count: int) -> Iterator[None]:
        for file in self.files[:count]:
            file.gone = True
        yield
        for file in self.files[:count]:
            file.gone = False


@pytest.mark.parametrize(("raid", "count", "many"), LEVELS)
def test_a_client_waits_and_has_its_answer_when_they_are_back(raid: str, count: int, many: int) -> None:
    rig = Rig(raid, count)
    served = Served(rig.pool, rig.pool.disk(f"{raid}-0"), lambda done: done(None))
    session, kicked, waited = Session(ExportInfo("v", SIZE)), list[int](), list[int]()

    def ask(number: int, at: int) -> None:
        frame = request(READ, at, GRAIN, cookie=number)
        session.space()[: len(frame)] = frame
        session.filled(len(frame))
        if served(session, lambda: kicked.append(1)) == LATER:
            waited.append(at)
            assert "can't do without" in served.stalled and not served.resume()
            with memoryview(session.output) as view:
                assert not bytes(view)

    # In grains, in the log (of which those that are left may have a copy), and in both.
    for number, at in enumerate((0, HALF, HALF - GRAIN // 2), 1):
        with rig.without(many):
            ask(number, at)
        assert served.resume() and len(kicked) == len(waited) and not served.stalled
        with memoryview(session.output) as view:
            data = bytes(view)
        session.output.sent(len(data))
        (answer,) = replies(data, {number: GRAIN})
        assert (answer.cookie, answer.error, answer.data) == (number, 0, rig.content[at : at + GRAIN])
    assert 0 in waited
    assert rig.pool.present().keys() == set(range(count)) and not rig.pool.engine.counts["unhealed"]


@pytest.mark.parametrize(("raid", "count", "many"), LEVELS)
def test_nothing_is_given_up(raid: str, count: int, many: int) -> None:
    """By a scrub, by a write of half a block, or by what is done meanwhile."""
    rig = Rig(raid, count)
    scrub = Scrub(rig.pool)
    with rig.without(many):
        with pytest.raises(Suspended, match="can't do without"):
            while scrub.step():
                pass
        with pytest.raises(Suspended, match="can't do without"):
            rig.volume.write(512, b"half a block")
        with pytest.raises(Suspended, match="can't do without"):
            rig.volume.read(0, SIZE)
    while scrub.step():
        pass
    assert scrub.lost == 0
    rig.volume.write(512, b"half a block")
    rig.pool.checkpoint()
    while rig.pool.work():
        pass
    expected = bytearray(rig.content)
    expected[512:524] = b"half a block"
    assert rig.volume.read(0, 2 * HALF) == expected


def test_as_many_as_may_be_lost_are_out_at_once() -> None:
    rig = Rig("raid6", 5)
    with rig.without(2):
        assert rig.volume.read(0, 2 * HALF) == rig.content
        rig.volume.write(0, b"x" * 8 * GRAIN)
        assert rig.pool.present().keys() == {2, 3, 4}
        assert rig.volume.read(0, 2 * HALF) == b"x" * 8 * GRAIN + rig.content[8 * GRAIN :]
