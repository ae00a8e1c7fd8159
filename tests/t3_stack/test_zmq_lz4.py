"""Compressed bursts between two real ends over TCP with CURVE; never over ipc, which does not even load lz4."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from netvirt.burst import KIND_PACKED, pack_header
from netvirt.link import WINDOW
from netvirt.packing import Packer
from netvirt.ports.curve import Gatekeeper, ensure_key, public_key, secret_key
from netvirt.ports.sockets import context
from tests.support.links import End, dialer, frames_message, hello_message
from tests.support.user import free_port
from tests.support.world import World

DICE = random.Random(7)
HEAD = bytes.fromhex("020000000001 020000000002 88b5")


def words() -> bytes:
    return HEAD + (b"%06d bottles of beer on the wall, " % DICE.randrange(10**6) * 50)[: DICE.randrange(46, 1500)]


def noise() -> bytes:
    return HEAD + DICE.randbytes(DICE.randrange(1000, 1500))


class Trunk:
    """Both ends of a link over TCP on loopback, up."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.server, self.friend = (ensure_key(world.folder / "keys", name) for name in ("server", "friend"))
        key = public_key(self.friend)
        self.gatekeeper = Gatekeeper(world.loop, context(), lambda: {key})
        self.url = f"tcp://127.0.0.1:{free_port()}"
        self.here = world.port(world.listener(url=self.url, key_file=self.server), allow=frozenset({key}))

    def dial(self) -> End:
        there = dialer(self.world.loop, f"{self.url}?key={public_key(self.server)}#eth1", key_file=self.friend)
        self.world.ends.append(there)
        there.driver.open()
        self.world.up(there, self.here)
        return there

    def until_all(self, sent: list[bytes]) -> None:
        self.world.until(lambda: len(self.here.frames) == len(sent))

    def raw(self) -> zmq.Socket[bytes]:
        """Somebody with the right key whose messages we write ourselves; he has said HELLO."""
        public, secret = secret_key(self.friend)
        socket: zmq.Socket[bytes] = context().socket(zmq.DEALER)
        self.world.sockets.append(socket)
        socket.linger = 0
        socket.curve_serverkey = public_key(self.server).encode()
        socket.curve_publickey, socket.curve_secretkey = public.encode(), secret.encode()
        socket.connect(self.url)
        socket.send(hello_message(lz4=True))
        self.world.up(self.here)
        return socket


@pytest.fixture
def trunk(world: World) -> Iterator[Trunk]:
    made = Trunk(world)
    yield made
    made.gatekeeper.close()


def pour(world: World, sender: End, receiver: End, make: Callable[[], bytes], total: int) -> list[bytes]:
    """Send that many bytes of frames as fast as they go; returns them."""
    sent: list[bytes] = []
    left = total
    while left > 0:
        made = make()
        while sender.queue.append(made):
            sent.append(made)
            left -= len(made)
            made = make()
        sender.driver.flush()
        world.loop.run_once(0.01)
    world.until(lambda: len(receiver.frames) >= len(sent))
    return sent


def test_text_arrives_byte_for_byte_in_fewer_bytes_both_ways(world: World, trunk: Trunk) -> None:
    there = trunk.dial()
    for sender, receiver in ((there, trunk.here), (trunk.here, there)):
        sent = pour(world, sender, receiver, words, 6 * WINDOW)
        assert receiver.frames == sent
        said, heard = sender.driver.statistics(), receiver.driver.statistics()
        assert said["lz4"] == "on" and said["lz4-bursts"] > 0
        assert said["lz4-raw-bytes"] > 3 * said["lz4-sent-bytes"] > 0
        assert said["lz4-raw-bytes"] > sum(map(len, sent)), "bursts were large enough, so each was compressed"
        assert (heard["lz4-unpacked-bytes"], heard["lz4-received-bytes"]) == (
            said["lz4-raw-bytes"], said["lz4-sent-bytes"],
        )  # fmt: skip
        assert not {"compression", "over-credit", "junk", "unexpected"} & {*said, *heard}


def test_random_bytes_go_as_they_are(world: World, trunk: Trunk) -> None:
    there = trunk.dial()
    sent = pour(world, there, trunk.here, noise, 6 * WINDOW)
    assert trunk.here.frames == sent
    said = there.driver.statistics()
    assert (said["lz4"], said["lz4-bursts"], said["lz4-sent-bytes"]) == ("off", 0, 0)


def test_a_link_changes_its_mind_with_what_passes(world: World, trunk: Trunk) -> None:
    there = trunk.dial()
    sent: list[bytes] = []
    for make, state in ((words, "on"), (noise, "off"), (words, "on"), (noise, "off")):
        while there.driver.statistics()["lz4"] != state:
            assert len(sent) < 1_000_000
            sent += [make() for _ in range(100)]
            there.send(*sent[-100:])
            trunk.until_all(sent)
    assert trunk.here.frames == sent


def test_a_small_burst_is_left_alone(world: World, trunk: Trunk) -> None:
    there = trunk.dial()
    for _ in range(20):
        there.send(HEAD + bytes(46))
    world.until(lambda: len(trunk.here.frames) == 20)
    assert there.driver.statistics()["lz4"] == "untried"


def test_a_receiver_that_gives_no_credit_gets_one_window_of_what_the_bursts_hold(world: World, trunk: Trunk) -> None:
    trunk.raw()
    here = trunk.here
    appended = 0
    for _ in range(200):
        while here.queue.append(HEAD + bytes(1400)):
            appended += 1
        here.driver.flush()
        world.loop.run_once(0)
    assert here.driver.statistics()["lz4"] == "on"
    statistics = here.queue.statistics()
    assert 0 < statistics["tx_bytes"] <= here.driver.statistics()["lz4-raw-bytes"] <= WINDOW
    assert statistics["tx_frames"] + statistics["waiting_frames"] == appended


def test_junk_from_a_peer_that_agreed_is_counted_and_the_link_lives(world: World, trunk: Trunk) -> None:
    caller, here = trunk.raw(), trunk.here
    good = frames_message(*(HEAD + bytes(1000) for _ in range(10)))
    packed = bytes(Packer().pack(good))
    for message in (packed[:-1], packed[:18], pack_header(KIND_PACKED, 1, 0) + b"\xff" * 100, packed):
        caller.send(message)
    world.until(lambda: here.frames)
    assert here.frames == [HEAD + bytes(1000)] * 10
    assert here.count("compression") == 3 and here.driver.carrier


def test_over_ipc_nobody_agrees_whoever_asks(world: World) -> None:
    here = world.port(world.listener())
    caller = world.stranger()
    caller.send(hello_message(lz4=True))
    world.up(here)
    world.until(lambda: caller.poll(0))
    assert b"lz4" not in caller.recv()
    caller.send(Packer().pack(frames_message(HEAD + bytes(1000))))
    world.until(lambda: here.count("unexpected"))
    assert here.frames == [] and "lz4" not in here.driver.statistics()


PROGRAM = """
import sys
from pathlib import Path
import daemons.switchd, daemons.hostd
from netvirt.ports.loop import Loop
from tests.support.links import frame
from tests.support.world import World

world = World(Path(sys.argv[1]))
there, here = world.pair()
there.send(*(frame(n, 1514) for n in range(1000)))
world.until(lambda: len(here.frames) == 1000)
world.close()
assert not [name for name in sys.modules if name.startswith("lz4")]
"""


def test_a_process_without_tcp_does_not_load_lz4(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
