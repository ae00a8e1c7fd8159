"""A volume over NBD in bursts: reads that are not in memory, requests that the pool can't take now, clients that go."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.nbd.client import Export
from storvirt.nbd.execute import AGAIN, HUNGRY, LATER
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.session import Session
from storvirt.nbd.wire import NbdError
from storvirt.pool.errors import Suspended
from storvirt.pool.serve import Served
from tests.support.coldmember import ColdFile
from tests.support.links import run_until
from tests.support.nbd_frames import Reply, replies, request
from tests.support.nbd_rig import Rig
from tests.support.poolrig import MEMBER, MIB, Kind, make, volume

READ, WRITE, FLUSH, TRIM = 0, 1, 3, 4
FUA = 1
GRAIN, BLOCK = 32768, 4096
SIZE = 2 * MIB
Done = Callable[[BlockError | None], None]


class Host:
    """A pool on cold files, one volume of it served; flushes are done when a test says so."""

    def __init__(self, raid: str, count: int) -> None:
        self.files = [ColdFile(MEMBER) for _ in range(count)]
        members = [PythonMember(file, f"m{number}") for number, file in enumerate(self.files)]
        self.pool = make(members, [Kind(raid, SIZE, GRAIN)])
        self.volume = volume(self.pool, f"{raid}-0")
        self.flushes: list[Done] = []
        self.served = Served(self.pool, self.pool.disk(f"{raid}-0"), self.flushes.append)
        self.info = ExportInfo("v", SIZE)

    def client(self) -> Client:
        return Client(self.served, Session(self.info), [])

    def full(self, full: bool) -> None:
        for file in self.files:
            file.full = full

    def cool(self) -> None:
        for file in self.files:
            file.cool()

    def arrive(self) -> None:
        for file in self.files:
            file.arrive()

    @property
    def asked(self) -> list[int]:
        return [page for file in self.files for page in file.asked]

    @property
    def waited(self) -> list[int]:
        return [page for file in self.files for page in file.waited]


class Client(NamedTuple):
    served: Served
    session: Session
    kicked: list[None]

    def kick(self) -> None:
        self.kicked.append(None)

    def send(self, *requests: bytes) -> int:
        data = b"".join(requests)
        self.session.space()[: len(data)] = data
        self.session.filled(len(data))
        return self.turn()

    def turn(self) -> int:
        return self.served(self.session, self.kick)

    def take(self, reads: dict[int, int] | None = None) -> list[Reply]:
        with memoryview(self.session.output) as view:
            data = bytes(view)
        self.session.output.sent(len(data))
        return replies(data, reads)


LAYOUTS = [("linear", 1, ()), ("raid1", 2, ()), ("raid1", 2, (0,)), ("raid5", 4, ()), ("raid5", 4, (1,)),
           ("raid6", 5, (0, 2)), ("raid10", 4, (1,))]  # fmt: skip


def written(raid: str, count: int, lost: tuple[int, ...]) -> tuple[Host, bytes]:
    """A volume whose first half lies in grains and whose second half in the log, members lost, nothing in memory."""
    host, content = Host(raid, count), random.Random(count).randbytes(SIZE // 4)
    host.volume.write(0, content[: SIZE // 8])
    for at in range(SIZE // 8, SIZE // 4, BLOCK):
        host.volume.write(at, content[at : at + BLOCK])
    for number in lost:
        host.pool.lose(number, "test")
    host.cool()
    return host, content


PLACES = [n * 7 * BLOCK for n in range(16)]


def reads() -> list[bytes]:
    return [request(READ, at, BLOCK, cookie=n) for n, at in enumerate(PLACES)]


def right(found: list[Reply], content: bytes) -> bool:
    return [(one.cookie, one.data) for one in found] == [(n, content[at : at + BLOCK]) for n, at in enumerate(PLACES)]


@pytest.mark.parametrize(("raid", "count", "lost"), LAYOUTS)
def test_all_cold_reads_of_a_burst_are_fetched_before_one_is_waited_for(
    raid: str, count: int, lost: tuple[int, ...]
) -> None:
    host, content = written(raid, count, lost)
    client = host.client()
    assert client.send(*reads()) == AGAIN
    assert len(host.asked) >= len(PLACES)
    assert not host.waited and not client.take()
    assert client.session.statistics()["read"] == client.session.statistics()["bytes_read"] == 0
    host.arrive()
    asked = host.asked
    assert client.turn() == HUNGRY
    assert right(client.take(dict.fromkeys(range(16), BLOCK)), content)
    assert not host.waited and host.asked == asked
    assert client.session.statistics()["read"] == len(PLACES)


@pytest.mark.parametrize(("raid", "count", "lost"), LAYOUTS)
def test_what_does_not_come_is_waited_for_once_in_a_turn(raid: str, count: int, lost: tuple[int, ...]) -> None:
    host, content = written(raid, count, lost)
    client = host.client()
    found, turns, before = [], 1, 0
    answer = client.send(*reads())
    while answer == AGAIN:
        found += client.take(dict.fromkeys(range(16), BLOCK))
        assert len(host.waited) - before <= 2 * count  # the columns of one block; in the log it lies on two pages
        before = len(host.waited)
        answer = client.turn()
        turns += 1
        assert turns < 100
    found += client.take(dict.fromkeys(range(16), BLOCK))
    assert answer == HUNGRY and right(found, content)
    assert turns >= len(PLACES) and host.waited


def test_reads_from_memory_ask_for_nothing_and_others_wait_behind_a_cold_one() -> None:
    host, content = written("linear", 1, ())
    for file in host.files:
        file.cold.clear()
    client = host.client()
    assert client.send(*reads()) == HUNGRY
    assert right(client.take(dict.fromkeys(range(16), BLOCK)), content)
    assert not host.asked and not host.waited
    host.cool()
    assert client.send(request(READ, 0, GRAIN, cookie=1), request(WRITE, 0, data=b"n" * BLOCK, cookie=2)) == AGAIN
    assert not client.take()
    assert client.turn() == HUNGRY
    assert [(one.cookie, one.data) for one in client.take({1: GRAIN})] == [(1, content[:GRAIN]), (2, b"")]
    assert host.volume.read(0, BLOCK) == b"n" * BLOCK


def test_reads_ahead_that_are_junk_or_damaged_are_told_in_their_turn() -> None:
    host, _ = written("linear", 1, ())
    host.files[0].bytes[:] = bytes(MEMBER)
    client = host.client()
    outside = request(READ, SIZE, BLOCK, cookie=1)
    assert client.send(request(READ, 0, BLOCK, cookie=0), outside, request(READ, BLOCK, BLOCK, cookie=2)) == AGAIN
    host.arrive()
    while client.turn() != HUNGRY:
        pass
    assert [(one.cookie, one.error) for one in client.take()] == [(0, 5), (1, 22), (2, 5)]


# --- a pool that can't go on


def test_a_client_that_goes_leaves_nothing_behind_in_a_suspended_pool() -> None:
    host = Host("raid1", 2)
    client, other = host.client(), host.client()
    host.pool.checkpoint()
    host.full(True)
    references = sys.getrefcount(client.session), sys.getrefcount(client.session.output)
    assert client.send(request(WRITE, 0, data=b"g" * GRAIN, cookie=1)) == LATER
    assert other.send(request(WRITE, GRAIN, data=b"o" * GRAIN, cookie=2)) == LATER
    assert "full" in host.served.stalled and host.served.stalled.endswith("make room and it goes on")
    host.served.forget(client.session)
    assert (sys.getrefcount(client.session), sys.getrefcount(client.session.output)) == references
    assert not host.served.resume() and host.served.stalled
    host.full(False)
    assert host.served.resume() and not host.served.stalled
    assert not client.kicked and not client.take()
    assert len(other.kicked) == 1 and [one.cookie for one in other.take()] == [2]
    assert host.volume.read(0, 2 * GRAIN) == bytes(GRAIN) + b"o" * GRAIN


def test_forgetting_the_last_one_who_waits_ends_the_waiting() -> None:
    host = Host("linear", 1)
    client = host.client()
    host.full(True)
    assert client.send(request(WRITE, 0, data=b"x" * BLOCK, flags=FUA), request(FLUSH)) == LATER
    assert host.served.stalled
    host.served.forget(client.session)
    assert host.served.stalled == ""
    host.full(False)
    assert host.served.resume() and not host.flushes and not client.kicked


def test_only_changes_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host("linear", 1)
    client = host.client()

    def no_room() -> None:
        raise Suspended("no room")

    with monkeypatch.context() as patch:
        patch.setattr(host.pool, "make_room", no_room)
        write = request(WRITE, 0, data=b"x" * BLOCK, cookie=2)
        assert client.send(request(READ, 0, BLOCK, cookie=1), write, request(READ, 0, BLOCK, cookie=3)) == LATER
        assert [one.cookie for one in client.take({1: BLOCK})] == [1]
        assert host.served.stalled == "no room" and client.session.statistics()["bytes_written"] == 0
        assert host.served.resume() and len(client.kicked) == 1
        assert client.turn() == LATER
    assert client.turn() == HUNGRY
    # The write is answered when its record is appended, at the burst's end.
    assert [(one.cookie, one.data) for one in client.take({3: BLOCK})] == [(3, b"x" * BLOCK), (2, b"")]
    assert client.session.statistics()["write"] == 1


def test_a_flush_that_is_done_after_a_suspension_reaches_its_client() -> None:
    host = Host("linear", 1)
    client = host.client()
    host.full(True)
    assert client.send(request(WRITE, 0, data=b"x" * GRAIN, flags=FUA, cookie=1)) == LATER
    host.full(False)
    assert host.served.resume()
    assert len(client.kicked) == 1 and len(host.flushes) == 1 and not client.take()
    host.flushes.pop()(None)
    assert len(client.kicked) == 2
    assert [(one.cookie, one.error) for one in client.take()] == [(1, 0)]


def test_what_came_before_junk_is_done_and_answered() -> None:
    host = Host("linear", 1)
    client = host.client()
    with pytest.raises(NbdError):
        client.send(request(WRITE, 0, data=b"x" * BLOCK, cookie=1), request(FLUSH, cookie=2), bytes(28))
    assert [one.cookie for one in client.take()] == [1]
    host.flushes.pop()(None)
    assert [one.cookie for one in client.take()] == [2] and len(client.kicked) == 1


def test_a_connection_that_breaks_while_the_pool_is_suspended_is_forgotten(tmp_path: Path) -> None:
    host = Host("linear", 1)
    host.full(True)
    with Rig(tmp_path, Export(host.info, host.served, host.served.forget)) as rig:
        gone, half = rig.peer().go("v"), rig.peer().go("v")
        gone.send(request(WRITE, 0, data=b"g" * GRAIN))
        half.send(request(WRITE, GRAIN, data=b"h" * GRAIN))
        run_until(lambda: rig.server.statistics().get("write", 0) == 2, rig.loop, what="both writes")
        gone.close()
        rig.counted("ended-reset")
        half.stream.shutdown(1)  # it says no more, and listens
        rig.loop.run_once(0.01)
        rounds = rig.loop.rounds
        rig.loop.run_once(0.01)
        assert rig.loop.rounds == rounds + 1 and rig.server.clients()["v"] == 1
        host.full(False)
        assert host.served.resume()
        assert not replies(half.rest())[0].error
        assert host.volume.read(0, 2 * GRAIN) == bytes(GRAIN) + b"h" * GRAIN
