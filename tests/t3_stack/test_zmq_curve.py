"""TCP with CURVE: who has the right key gets in, nobody else does, and without keys there is no TCP at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from netvirt.ports.curve import Gatekeeper, ensure_key, is_key, public_key, read_key
from netvirt.ports.errors import PortError
from netvirt.ports.sockets import context
from tests.support.links import End, dialer, frame, hello_message, listener, stranger
from tests.support.world import World


class Keys:
    """A CURVE server on loopback with one port; the listener's address is chosen by the kernel beforehand."""

    def __init__(self, world: World) -> None:
        self.world = world
        folder = world.folder / "keys"
        self.server, self.friend, self.other, self.nobody = (
            ensure_key(folder, name) for name in ("server", "friend", "other", "nobody")
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        allowed = {public_key(self.friend), public_key(self.other)}
        self.gatekeeper = Gatekeeper(world.loop, context(), lambda: allowed)
        self.at = world.listener(url=self.url, key_file=self.server)
        self.port = world.port(self.at, allow=frozenset({public_key(self.friend)}))
        self.endpoint = f"{self.url}?key={public_key(self.server)}#eth1"

    def dial(self, key_file: str, endpoint: str = "") -> End:
        end = dialer(self.world.loop, endpoint or self.endpoint, key_file=key_file)
        self.world.ends.append(end)
        end.driver.open()
        return end


@pytest.fixture
def keys(world: World) -> Iterator[Keys]:
    made = Keys(world)
    yield made
    made.gatekeeper.close()


def test_the_right_key_goes_in(world: World, keys: Keys) -> None:
    end = keys.dial(keys.friend)
    world.up(end, keys.port)
    end.send(frame(1))
    keys.port.send(frame(2))
    world.until(lambda: end.frames and keys.port.frames)


def test_an_unknown_key_does_not_even_connect(world: World, keys: Keys) -> None:
    end = keys.dial(keys.nobody)
    world.until(lambda: keys.gatekeeper.refused and end.driver.refusal)
    assert not end.driver.carrier
    assert "key" in end.driver.refusal
    world.up(keys.dial(keys.friend), keys.port)


def test_a_key_that_may_use_another_port_may_not_use_this_one(world: World, keys: Keys) -> None:
    end = keys.dial(keys.other)
    world.until(lambda: end.driver.refusal)
    assert end.driver.refusal == f"the key {public_key(keys.other)} may not use port eth1 of s1"
    assert not end.driver.carrier and not keys.port.driver.carrier
    world.up(keys.dial(keys.friend), keys.port)


def test_somebody_elses_server_is_not_believed(world: World, keys: Keys) -> None:
    """Whoever answers there has not the key that the endpoint names: nothing is said to him."""
    end = keys.dial(keys.friend, f"{keys.url}?key={public_key(keys.nobody)}#eth1")
    for _ in range(20):
        world.loop.run_once(0.02)
    assert not end.driver.carrier and not keys.port.driver.carrier


def test_a_socket_without_curve_gets_nowhere(world: World, keys: Keys) -> None:
    plain = stranger(keys.url)
    world.sockets.append(plain)
    plain.send(hello_message(), zmq.NOBLOCK)
    end = keys.dial(keys.friend)
    world.up(end, keys.port)
    assert keys.port.driver.peer == "h1"
    assert not plain.poll(100)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1#eth1", "tcp://127.0.0.1:1?key=" + "a" * 40 + "#eth1"])
def test_tcp_without_keys_is_one_sentence(world: World, endpoint: str) -> None:
    end = dialer(world.loop, endpoint)
    with pytest.raises(PortError, match="CURVE"):
        end.driver.open()
    end.driver.close()
    assert end.driver.closed


def test_a_listener_needs_a_key_over_tcp_and_a_free_address(world: World, keys: Keys) -> None:
    with pytest.raises(PortError, match="CURVE"):
        listener(world.loop, "tcp://127.0.0.1:0")
    with pytest.raises(PortError, match=r"can't listen on tcp://.*in use"):
        listener(world.loop, keys.url, key_file=keys.server)
    with pytest.raises(PortError, match="can't listen"):
        listener(world.loop, "ipc:///nowhere/at/all/s.zmq")


def test_key_files(folder: Path) -> None:
    path = ensure_key(folder / "keys", "lab")
    assert (os.stat(path).st_mode & 0o777, os.stat(folder / "keys").st_mode & 0o777) == (0o600, 0o700)
    public, secret = read_key(path)
    assert secret is not None and is_key(public) and is_key(secret) and public != secret
    assert ensure_key(folder / "keys", "lab") == path and read_key(path) == (public, secret)
    assert os.listdir(folder / "keys") == ["lab.json"]
    bad = folder / "bad.json"
    for text in (
        "",
        "{",
        "[]",
        '"x"',
        "{}",
        '{"public": 1}',
        '{"public": "short", "secret": null}',
        '{"public": null}',
    ):
        bad.write_text(text)
        with pytest.raises(PortError) as caught:
            read_key(str(bad))
        assert str(bad) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(PortError):
        read_key(str(folder / "none.json"))
