"""The server with real sockets: conversations in any pieces, many clients, and clients that behave badly."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from storvirt.nbd.execute import HUNGRY, LATER
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.server import Export, plain
from storvirt.nbd.session import Request, Session
from tests.support.links import open_files, run_until
from tests.support.memory_block import MemoryBlock
from tests.support.nbd_frames import HELLO, info, option, replies, request
from tests.support.nbd_rig import GONE, GREETING, SIZE, Peer, Rig

READ, WRITE, DISC, FLUSH = range(4)
BIG = 1 << 16


def test_a_whole_conversation(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        peer = rig.peer().go()
        assert peer.ask(request(WRITE, 4096, data=b"hello" * 1000)).error == 0
        assert peer.ask(request(READ, 4096, 5000), 5000).data == b"hello" * 1000
        assert peer.ask(request(READ, SIZE, 1), 1).error == 22
        peer.send(request(DISC))
        assert peer.rest() == b""
        rig.counted("ended-disc")
        found = rig.server.statistics()
        assert (found["read"], found["write"], found["errors"], found["clients"]) == (2, 1, 1, 0)
        assert (found["bytes_written"], found["connections"]) == (5000, 1)


@pytest.mark.parametrize("connect", [Rig.peer, Rig.tcp])
@pytest.mark.parametrize("chunk", [1, 13, 1 << 20])
def test_in_any_pieces_and_without_waiting(tmp_path: Path, connect: Callable[[Rig], Peer], chunk: int) -> None:
    """The client says everything before it hears anything: what comes behind GO belongs to the session."""
    with Rig(tmp_path) as rig:
        peer = connect(rig)
        said = (
            HELLO + option(7, info("v0")) + request(WRITE, 100, data=b"abcd" * 100) + request(READ, 99, 402, cookie=8)
        )
        for at in range(0, len(said), chunk):
            peer.send(said[at : at + chunk])
            rig.loop.run_once(0)
        peer.take(GREETING + GONE)
        written, read = replies(peer.take(16 + 16 + 402), {8: 402})
        assert (written.error, read.data) == (0, b"\0" + b"abcd" * 100 + b"\0")


def test_clients_of_one_export_see_each_other(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        first, second = rig.peer().go(), rig.peer().go()
        assert rig.server.clients() == {"v0": 2}
        first.ask(request(WRITE, 0, data=b"x" * 512))
        assert second.ask(request(READ, 0, 512), 512).data == b"x" * 512
        second.ask(request(FLUSH))  # MULTI_CONN: covers the first one's write
        assert [call[0] for call in rig.block.calls] == ["write", "read", "flush"]


def test_a_client_that_goes_in_the_middle_of_a_write_has_written_nothing(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        peer = rig.peer().go()
        done, half = request(WRITE, 0, data=b"x" * 512), request(WRITE, 0, data=b"y" * 100_000)[:-1]
        peer.send(done + half)
        assert peer.take(16)[4:8] == bytes(4)
        peer.close()
        rig.counted("ended-eof")
        assert rig.block.content == b"x" * 512 + bytes(SIZE - 512)


def test_a_connection_that_is_reset(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        peer = rig.tcp().go()
        peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        rig.counted("ended-reset")


def test_a_client_that_stops_reading_is_not_read_from_and_gets_everything_later(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        rig.block.log = False
        lazy, other = rig.peer().go(), rig.peer().go()
        one = request(READ, 0, BIG)
        sent = quiet = 0
        while quiet < 20:  # until the server has taken nothing for a while
            count = lazy.offer((one * 10_000)[sent % 28 :])
            sent += count
            quiet = 0 if count else quiet + 1
            rig.loop.run_once(0)
        (client,) = [each for each in rig.server._clients if each._writing]
        assert client._output.pending < (1 << 20) + BIG + 1000
        assert client.session is not None
        assert client.session.held <= 262144
        asked = -(-sent // 28)
        assert rig.server.statistics()["read"] < asked
        assert other.ask(request(READ, 0, 512), 512).error == 0
        for number in range(asked):
            if number == asked // 2:
                lazy.send(one[28 - -sent % 28 :])
            assert lazy.take(16 + BIG)[4:8] == bytes(4)
        assert rig.server.statistics()["read"] == asked + 1


def _room(rig: Rig) -> list[int]:
    """What the socket of each client holds, the oldest client first; the kernel says twice what was asked for."""
    return [client._stream.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) for client in rig.server._clients]


def test_who_reads_more_than_a_socket_holds_gets_a_larger_one_if_there_are_not_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storvirt.nbd.server.WIDE", 1)
    with Rig(tmp_path) as rig:
        large, small, late = rig.peer().go(), rig.peer().go(), rig.peer().go()
        usual = _room(rig)[0]
        small.ask(request(READ, 0, BIG), BIG)
        assert _room(rig) == [usual] * 3
        assert len(large.ask(request(READ, 0, SIZE), SIZE).data) == SIZE
        wide, *others = _room(rig)
        assert (wide > usual, others) == (True, [usual] * 2)
        late.ask(request(READ, 0, SIZE), SIZE)
        assert _room(rig) == [wide, usual, usual]
        large.close()
        rig.counted("ended-eof")
        rig.peer().go().ask(request(READ, 0, SIZE), SIZE)
        assert _room(rig) == [usual, usual, wide]


def test_who_stands_still_for_longest_goes_when_memory_is_short(tmp_path: Path) -> None:
    with Rig(tmp_path, memory=5 << 20) as rig:
        rig.block.log = False
        first, second = rig.peer().go(), rig.peer().go()
        for peer in (first, second):
            # A partial write of 3 MiB; it holds it until the rest comes.
            peer.send(struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 7, 0, 4 << 20) + bytes(3 << 20))
        rig.counted("ended-memory")
        first.rest()
        second.send(bytes(1 << 20))
        assert second.take(16)[4:8] == struct.pack(">I", 28)  # past the end of 1 MiB


def test_a_negotiation_has_an_end(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        settled, idle = rig.peer().go(), rig.peer()
        idle.send(HELLO)
        rig.counted("connections", 2)
        assert [clock.seconds for clock in rig.loop.clocks if clock.callback] == [30]
        rig.loop.time_is_up()
        assert len(idle.rest()) == GREETING
        rig.counted("ended-handshake-timeout")
        assert settled.ask(request(FLUSH)).error == 0


def test_who_does_not_take_his_last_replies_is_not_waited_for(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        peer = rig.peer().go()
        peer.send(request(READ, 0, SIZE - 512) + request(DISC))
        run_until(lambda: rig.loop.waiting() == 1, rig.loop, what="the client is given some time")
        rig.loop.time_is_up()
        rig.counted("ended-disc")
        assert len(peer.rest()) < SIZE


def test_idle_strangers_keep_nobody_out(tmp_path: Path) -> None:
    with Rig(tmp_path, most=4) as rig:
        strangers = [rig.peer() for _ in range(10)]
        inside = [rig.peer().go() for _ in range(4)]
        rig.counted("ended-crowded-out", 10)
        assert rig.peer().rest() == b""
        rig.counted("refused")
        assert [peer.ask(request(FLUSH)).error for peer in inside] == [0] * 4
        assert all(peer.rest()[:8] in (b"NBDMAGIC", b"") for peer in strangers)
        inside[0].close()
        rig.counted("ended-eof")
        rig.peer().go()


def test_a_thousand_connections_do_no_harm(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        with Rig(tmp_path) as rig:
            settled = rig.peer().go()
            before = open_files()
            strangers = [rig.peer() for _ in range(1000)]
            rig.counted("connections", 1001)
            assert rig.server.statistics()["clients"] <= 256
            assert open_files() <= before + 1000 + 256
            assert settled.ask(request(WRITE, 0, data=bytes(512))).error == 0
            assert rig.peer().go().ask(request(FLUSH)).error == 0
            for stranger in strangers:
                stranger.close()
            run_until(lambda: rig.server.statistics()["clients"] == 2, rig.loop)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_it_waits_and_goes_on(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Rig(tmp_path) as rig:
        settled, new = rig.peer().go(), rig.peer()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            rig.counted("accept-errors")
            rig.loop.time_is_up()
            rig.counted("accept-errors", 2)
            assert settled.ask(request(FLUSH)).error == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        rig.loop.time_is_up()
        assert new.go().ask(request(FLUSH)).error == 0


@pytest.mark.parametrize(
    ("junk", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", "magic"),
        (struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, 2**31), "oversize"),
    ],
)
def test_junk_is_counted_and_what_came_before_is_answered(tmp_path: Path, junk: bytes, reason: str) -> None:
    with Rig(tmp_path) as rig:
        other, peer = rig.peer().go(), rig.peer().go()
        peer.send(request(WRITE, 0, data=b"x" * 512) + junk + request(WRITE, 0, data=b"y" * 512))
        (reply,) = replies(peer.rest())
        assert reply.error == 0
        rig.counted(f"ended-{reason}")
        assert other.ask(request(READ, 0, 512), 512).data == b"x" * 512


@pytest.mark.parametrize(
    ("said", "reason"), [(b"GET / HTTP/1.1\r\n\r\n", "client-flags"), (HELLO + b"x" * 16, "magic"), (b"", "eof")]
)
def test_strangers_are_counted(tmp_path: Path, said: bytes, reason: str) -> None:
    with Rig(tmp_path) as rig:
        peer = rig.peer()
        peer.take(GREETING)
        peer.send(said)
        peer.stream.shutdown(socket.SHUT_WR)
        assert peer.rest() == b""
        rig.counted(f"ended-{reason}")


def test_exports_come_and_go(tmp_path: Path) -> None:
    with Rig(tmp_path, default="v1") as rig:
        keeps = rig.peer().go()
        rig.server.add(plain(ExportInfo("v1", 4096), MemoryBlock(4096)))
        loses = rig.peer().go("")
        assert loses.ask(request(READ, 4096, 1), 1).error == 22
        assert rig.server.clients() == {"v0": 1, "v1": 1}
        rig.server.remove("v1")
        assert loses.rest() == b""
        rig.counted("ended-removed")
        assert keeps.ask(request(FLUSH)).error == 0


def test_close_sends_what_was_answered_and_gives_everything_back(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        before = open_files()
        peers = [rig.peer().go(), rig.peer(), rig.tcp().go()]
        peers[0].send(request(WRITE, 0, data=bytes(512)))
        rig.counted("write")
        rig.server.close()
        assert len(peers[0].rest()) == 16
        assert peers[2].rest() == b""
        for peer in peers:
            peer.close()
        assert open_files() == before - 1  # the listener was there before
        assert rig.server.statistics()["clients"] == 0
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
            late.connect(rig.path)


def broken(session: Session, kick: Callable[[], None]) -> int:
    raise ZeroDivisionError


def test_our_own_mistake_costs_its_client_and_nobody_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Rig(tmp_path, Export(ExportInfo("bad", 4096), broken)) as rig:
        good, bad = rig.peer().go(), rig.peer().go("bad")
        bad.send(request(FLUSH))
        assert bad.rest() == b""
        rig.counted("ended-internal-error")
        assert good.ask(request(FLUSH)).error == 0
        rig.mistakes = 1
    assert "ZeroDivisionError" in capfd.readouterr().err


class Slow:
    """An engine that answers READs at once, all else later and in any order; it holds two at most."""

    def __init__(self) -> None:
        self.held: list[tuple[Session, Request, Callable[[], None]]] = []

    def execute(self, session: Session, kick: Callable[[], None]) -> int:
        while len(self.held) < 2:
            taken = session.take()
            if taken is None:
                return HUNGRY
            if taken.type == READ:
                session.output.data(taken.cookie, taken.offset, bytes(taken.length))
            else:
                self.held.append((session, taken, kick))
        return LATER

    def finish_newest(self) -> None:
        session, taken, kick = self.held.pop()
        session.output.done(taken.cookie)
        kick()


def test_an_engine_may_answer_later(tmp_path: Path) -> None:
    slow = Slow()
    with Rig(tmp_path, Export(ExportInfo("slow", SIZE), slow.execute)) as rig:
        peer = rig.peer().go("slow")
        peer.send(b"".join(request(kind, cookie=n) for n, kind in enumerate((FLUSH, READ, FLUSH, FLUSH, READ))))
        assert replies(peer.take(16))[0].cookie == 1
        run_until(lambda: len(slow.held) == 2, rig.loop)
        rounds = rig.loop.rounds
        rig.loop.run_once(0.01)
        assert rig.loop.rounds == rounds + 1  # nothing spins meanwhile
        slow.finish_newest()
        slow.finish_newest()
        slow.finish_newest()
        assert [reply.cookie for reply in replies(peer.take(64))] == [2, 3, 4, 0]
        peer.close()
        rig.counted("ended-eof")
