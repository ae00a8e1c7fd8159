"""Two labs, one network: campus-east and campus-west over TCP with CURVE, up in any order, with nobody else let in."""

from __future__ import annotations

import fcntl
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import pcapng
from tests.support.user import Answer, free_port, left_in, vfab
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
SHIPPED_PORT = 7001
LOCK = "/tmp/virtfab-test-port-7001.lock"
EAST, WEST = "campus-east", "campus-west"
SIGNATURE = b"\xff" + bytes(8) + b"\x7f"  # ZMTP 3.1 (RFC 37): the greeting's first 10 bytes; the 8 are padding
GREETING = 64


@contextmanager
def shipped_port() -> Iterator[None]:
    """The examples' own TCP port is there once on a machine: tests that run side by side take turns."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        until(_shipped_port_is_free, 60, f"a free TCP port {SHIPPED_PORT}, which the examples use,")
        yield


def _shipped_port_is_free() -> bool:
    try:
        socket.create_server(("127.0.0.1", SHIPPED_PORT)).close()
    except OSError:
        return False
    return True


class Person:
    """Somebody with folders, keys and labs of his own."""

    def __init__(self, home: Path, name: str, port: int) -> None:
        self.folder = home / name[-4:]
        self.lab, self.port = name, port
        for each in ("r", "s"):
            (self.folder / each).mkdir(parents=True, mode=0o700)
        text = (ROOT / "topologies" / f"{name}.fab.yml").read_text()
        assert f"127.0.0.1:{SHIPPED_PORT}" in text
        self.file = self.folder / "campus.fab.yml"
        self.file.write_text(text.replace(f":{SHIPPED_PORT}", f":{port}"))

    def __call__(self, *arguments: str, code: int | None = 0) -> Answer:
        return vfab(
            *arguments, code=code, cwd=self.folder, XDG_RUNTIME_DIR=str(self.folder / "r"),
            XDG_STATE_HOME=str(self.folder / "s"),
        )  # fmt: skip

    def uplink(self) -> bool:
        nodes = self("status", "--json", code=None).json["nodes"]
        ports = (port for row in nodes.values() for port in row.get("ports", ()))
        return any(port["carrier"] for port in ports if port["name"] == "uplink")

    def key(self) -> str:
        return self("key", "show", self.lab).out.strip()

    def trust(self, name: str, key: str) -> None:
        (self.folder / "s/virtfab/keys" / f"{name}.json").unlink(missing_ok=True)
        self("key", "import", name, key)


@pytest.fixture
def two(home: Path) -> Iterator[tuple[Person, Person]]:
    port = free_port()
    people = (Person(home, EAST, port), Person(home, WEST, port))
    yield people
    for person in people:
        person("down", "--all", code=None)


def one_network(ask: dict[str, Person] | None = None) -> None:
    """Students reach students and staff reach staff in the other lab; students do not reach staff anywhere."""

    def ping(lab: str, *arguments: str, code: int | None = 0) -> Answer:
        run = ask[lab] if ask else vfab
        return run("ping", "-l", lab, *arguments, code=code)

    until(lambda: ping(EAST, "alice", "10.40.0.3", "-c", "1", "-W", "0.5", code=None).code == 0, what="the trunk")
    for lab, source, address in ((EAST, "bob", "10.40.0.4"), (WEST, "carol", "10.40.0.1"), (WEST, "dave", "10.40.0.2")):
        assert "2 sent, 2 received" in ping(lab, source, address, "-c", "2").out
    for lab, source, address in ((EAST, "alice", "10.40.0.4"), (WEST, "dave", "10.40.0.1"), (EAST, "alice", "bob")):
        assert "0 received" in ping(lab, source, address, "-c", "1", "-W", "0.4", code=1).out


@pytest.mark.parametrize("order", [(WEST, EAST), pytest.param((EAST, WEST), marks=pytest.mark.long)])
def test_the_shipped_files_in_any_order(order: tuple[str, str], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    with shipped_port():
        try:
            for name in order:
                assert f"Lab {name} is up" in vfab("up", name).out
            one_network()
            for name in order:
                assert "as the lab file says" in vfab("pingall", "-l", name, "-W", "0.5").out
        finally:
            vfab("down", "--all")
    assert left_in(home / "run") == []
    assert left_in(home / "state") == [f"virtfab/keys/{EAST}.json", f"virtfab/keys/{WEST}.json"]
    assert {(home / "state" / name).stat().st_mode & 0o777 for name in left_in(home / "state")} == {0o600}


def joined(two: tuple[Person, Person]) -> tuple[Person, Person]:
    """Both labs up, each trusting the other, and one network."""
    east, west = two
    east.trust(WEST, west.key())
    west.trust(EAST, east.key())
    east("up", str(east.file))
    west("up", str(west.file))
    one_network({EAST: east, WEST: west})
    return east, west


def test_the_trunk_carries_tags(two: tuple[Person, Person]) -> None:
    east, _ = joined(two)
    file = east.folder / "uplink.pcapng"
    with ThreadPoolExecutor(1) as pool:
        capture = pool.submit(east, "capture", "east:uplink", "-w", str(file), "-c", "4", "--seconds", "30")
        while not capture.done():  # pings until the capture has seen enough of them
            east("ping", "alice", "10.40.0.3", "-c", "2")
            east("ping", "bob", "10.40.0.4", "-c", "2")
        capture.result()
    seen = pcapng.read(file)
    assert seen.interfaces == ["east:uplink"]
    assert {tag.vid for tag in map(pcapng.tag, (packet.frame for packet in seen.packets)) if tag} <= {40, 50}
    assert all(pcapng.tag(packet.frame) for packet in seen.packets) and len(seen.packets) == 4


def test_port_show_says_what_compression_gained(two: tuple[Person, Person]) -> None:
    east, west = joined(two)
    east("ping", "alice", "10.40.0.3", "-c", "4", "-s", "1400")  # its payload repeats itself
    for person, port in ((east, "east:uplink"), (west, "west:uplink")):
        shown = person("port", "show", port).out
        assert re.search(r"^lz4 +\d+\.\dx \(\S+ \w+ sent as \S+ \w+\)$", shown, re.MULTILINE), shown
        assert re.search(r"^lz4 received +\d+\.\dx \(\S+ \w+ came as \S+ \w+\)$", shown, re.MULTILINE), shown
        (row,) = person("port", "show", port, "--json").json
        assert row["lz4"]["lz4-bursts"] >= 4 and row["lz4"]["lz4-raw-bytes"] > 2 * row["lz4"]["lz4-sent-bytes"]
    assert "lz4" not in east("port", "show", "east:eth1").out


def test_two_people_trust_each_other_and_nobody_else(two: tuple[Person, Person]) -> None:
    east, west = two
    west.trust(EAST, east.key())
    wrong = west("key", "show", "somebody-else").out.strip()
    east.trust(WEST, wrong)
    east("up", str(east.file))
    west("up", str(west.file))
    for _ in range(3):  # west dials again and again meanwhile
        assert "0 received" in west("ping", "carol", "10.40.0.1", "-c", "3", "-W", "0.5", code=1).out
    assert not east.uplink() and not west.uplink()
    assert "0 received" in east("ping", "alice", "10.40.0.3", "-c", "1", "-W", "0.3", code=1).out

    east.trust(WEST, west.key())
    changed = east("up", str(east.file)).out
    assert "Nothing to do" not in changed
    one_network({EAST: east, WEST: west})
    assert east.uplink() and west.uplink()

    east.trust(WEST, wrong)  # and trust can be taken back
    east("up", str(east.file))
    until(lambda: not east.uplink() and not west.uplink(), what="the end of the trunk")


def test_the_wrong_server_is_not_spoken_to(two: tuple[Person, Person]) -> None:
    """A stranger who listens at the right address does not have the right key."""
    east, west = two
    east.trust(WEST, west.key())
    west.trust(EAST, east("key", "show", "somebody-else").out.strip())
    east("up", str(east.file))
    west("up", str(west.file))
    assert "0 received" in west("ping", "carol", "10.40.0.1", "-c", "3", "-W", "0.5", code=1).out
    assert not east.uplink() and not west.uplink()


def test_it_speaks_curve_and_hangs_up_on_those_who_do_not(two: tuple[Person, Person]) -> None:
    east, _ = two
    east("up", str(east.file))
    said = said_to_stranger(east.port, b"CURVE", b"\x04\x06\x05HELLO")  # a HELLO command without its keys
    assert said[:1] + said[9:10] == b"\xff\x7f" and said[12:32].rstrip(b"\0") == b"CURVE"
    assert b"READY" not in said_to_stranger(east.port, b"NULL", b"\x04\x06\x05READY")
    assert not east.uplink() and "2/3" in east("status").out, "its own hosts are as they were"


def said_to_stranger(port: int, mechanism: bytes, command: bytes) -> bytes:
    """All that the listener says to somebody who wants another mechanism, or has no key, until it hangs up."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stranger:
        stranger.sendall(SIGNATURE + b"\x03\x01" + mechanism.ljust(20, b"\0") + bytes(32))
        try:
            while len(said) < GREETING and (piece := stranger.recv(GREETING)):
                said += piece
            stranger.sendall(command)
            while piece := stranger.recv(4096):
                said += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
    return said


def test_a_port_that_somebody_else_has_is_said(two: tuple[Person, Person]) -> None:
    east, _ = two
    with socket.create_server(("127.0.0.1", east.port)):
        answer = east("up", str(east.file), code=1)
        assert f":{east.port}: Address already in use" in answer.err


def test_any_key_can_be_imported(two: tuple[Person, Person]) -> None:
    """Z85 has characters that mean something to shells and to parsers of options."""
    east, _ = two
    keys = ("-" * 40, "--json".ljust(40, "x"), "-h".ljust(40, "$"), "=" * 40, "#" * 40, "@" * 40)
    for number, key in enumerate(keys):
        east("key", "import", f"k{number}", key)
        assert east("key", "show", f"k{number}").out == f"{key}\n"
    assert "must have 40 characters" in east("key", "import", "short", "-h", code=2).sentence
    assert "required: KEY" in east("key", "import", "k1", code=2).err
