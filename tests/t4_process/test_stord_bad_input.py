"""Around a real stord: members that are not what they were, clients that misbehave.

Each time one sentence or a counter, and the guest beside it has everything that it wrote.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons.client import Refused
from tests.support.nbd_frames import HELLO, info, option, request
from tests.support.nbd_guest import GO, WRITE, Guest
from tests.support.pools import MIB, Stord
from tests.support.waiting import until

OLD, NEW = b"one " * 1024, b"two " * 100_000
CONNECTIONS = 1000


# --- members


def cut_short(victim: Path, _other: Path, _old: Path) -> None:
    os.truncate(victim, 10 * MIB)


def emptied(victim: Path, _other: Path, _old: Path) -> None:
    os.truncate(victim, 0)


def a_letter(victim: Path, _other: Path, _old: Path) -> None:
    victim.write_text("Dear pool, " * 10_000)


def all_zeros(victim: Path, _other: Path, _old: Path) -> None:
    os.truncate(victim, 0)
    os.truncate(victim, 64 * MIB)


def half_written(victim: Path, _other: Path, _old: Path) -> None:
    """Its superblock is there, and the rest of its head never came."""
    with victim.open("r+b") as file:
        file.seek(64 << 10)
        file.write(bytes(7 * MIB))


def an_older_copy(victim: Path, _other: Path, old: Path) -> None:
    shutil.copy(old, victim)


def a_folder(victim: Path, _other: Path, _old: Path) -> None:
    victim.unlink()
    victim.mkdir()


def copied_twice(victim: Path, other: Path, _old: Path) -> None:
    shutil.copy(other, victim)


def foreign(victim: Path, _other: Path, _old: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="vf-") as name:
        stranger = Stord(Path(name)).up()
        stranger.stop()
        stranger.close()
        shutil.copy(stranger.members[1], victim)


Harm = Callable[[Path, Path, Path], None]
LEFT_OUT: dict[Harm, str] = {
    cut_short: "b.img is cut short: it has 10485760 bytes of 67108864",
    emptied: "b.img has 0 bytes: it is no member of a pool",
    a_letter: "b.img: it does not begin with a virtfab superblock; it is no member of a pool",
    all_zeros: "b.img: it does not begin with a virtfab superblock; it is no member of a pool",
    half_written: "b.img is an old copy, or lost writes",
    an_older_copy: "b.img is an old copy, or lost writes",
    a_folder: "b.img: it is a folder",
}
REFUSED: dict[Harm, tuple[str, ...]] = {
    copied_twice: ("b.img", "a.img", "are the same member twice; leave out the copy"),
    foreign: ("b.img", "a.img", "their identities differ"),
}


def harmed(stord: Stord, guest: Guest, harm: Harm) -> Path:
    """A pool with two times of life behind it, one of whose members is harmed while it is closed; a good copy of it."""
    stord.up()
    guest.write((MIB, OLD))
    stord.stop()
    victim, other = Path(stord.members[1]), Path(stord.members[0])
    aside = stord.folder / "aside"  # whole members that lie beside the others would be found and used
    aside.mkdir()
    old, good = aside / "old", aside / "good"
    shutil.copy(victim, old)
    stord.up()
    guest.write((2 * MIB, NEW))
    guest.flush()
    stord.stop()
    shutil.copy(victim, good)
    harm(victim, other, old)
    stord.start()
    return good


def content(guest: Guest) -> bool:
    return guest.read(MIB, len(OLD)) == OLD and guest.read(2 * MIB, len(NEW)) == NEW


@pytest.mark.parametrize("harm", LEFT_OUT, ids=lambda harm: harm.__name__)
def test_a_member_that_is_none_any_more_is_left_out_and_said(stord: Stord, guest: Guest, harm: Harm) -> None:
    harmed(stord, guest, harm)
    stord.configure()
    status = stord.status()
    assert [Path(row["path"]).name for row in status["pool"]["members"] if row["state"] == "out"] == ["b.img"]
    said = "\n".join(status["problems"])
    assert LEFT_OUT[harm] in said and "vfab pool replace p0" in said
    assert content(guest)
    guest.write((3 * MIB, OLD))
    stord.kill()
    stord.up()
    assert content(guest) and guest.read(3 * MIB, len(OLD)) == OLD


@pytest.mark.parametrize("harm", REFUSED, ids=lambda harm: harm.__name__)
def test_a_member_of_which_nobody_knows_who_it_is_opens_nothing(stord: Stord, guest: Guest, harm: Harm) -> None:
    """Nothing is written to any of the files; with the right one back in its place the pool is as it was."""
    good = harmed(stord, guest, harm)
    before = [Path(member).read_bytes() for member in stord.members]
    with pytest.raises(Refused) as refused:
        stord.configure()
    for words in REFUSED[harm]:
        assert words in str(refused.value)
    assert [Path(member).read_bytes() for member in stord.members] == before
    shutil.copy(good, stord.members[1])
    stord.configure()
    assert stord.status()["problems"] == [] and content(guest)


# --- clients


def test_a_client_that_vanishes_in_the_middle_of_a_write(stord: Stord, guest: Guest) -> None:
    """A request is done when all of it is here, or not at all; over blocks in the log, and over whole grains."""
    stord.up()
    guest.write((0, b"o" * 256 * 1024))
    for number in range(20):
        with contextlib.closing(joined(stord)) as stream:
            data = b"n" * 128 * 1024
            stream.sendall(request(WRITE, 4096, len(data), data=data)[: 28 + 6400 * number])
    until(lambda: stord.status()["luns"][0]["clients"] == 1, what="the others gone")
    assert guest.read(0, 256 * 1024) == b"o" * 256 * 1024 and guest.reconnects == 0
    assert stord.status()["mistakes"] == 0


def joined(stord: Stord) -> socket.socket:
    """A client that has agreed on everything."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(60)
    stream.connect(stord.socket)
    stream.sendall(HELLO + option(GO, info("lun0")))
    heard = b""
    while len(heard) < 18 + 20 + 12 + 20:
        heard += stream.recv(4096)
    return stream


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, CONNECTIONS + 500)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_a_thousand_connections_of_which_some_never_read(stord: Stord, guest: Guest) -> None:
    """Silent ones, half-spoken ones, and ones that ask for much and take nothing of it."""
    stord.up()
    guest.write((0, b"kept" * 65536))
    with contextlib.ExitStack() as stack:
        for number in range(CONNECTIONS):
            stream = stack.enter_context(contextlib.closing(joined(stord) if number % 50 == 0 else strange(stord)))
            if number % 50 == 0:
                stream.setblocking(False)
                stream.send(b"".join(request(0, 0, 256 * 1024, cookie=cookie) for cookie in range(64)))
            elif number % 2:
                stream.send(HELLO[:3])
        for number in range(20):
            guest.write((MIB + number * 4096, b"more" * 1024))
            assert guest.read(0, 256 * 1024) == b"kept" * 65536
        assert guest.reconnects == 0
    until(lambda: stord.status()["luns"][0]["clients"] == 1, what="the others gone")
    assert guest.read(MIB, 20 * 4096) == b"more" * 20 * 1024 and guest.reconnects == 0
    assert stord.status()["mistakes"] == 0


def strange(stord: Stord) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(60)
    stream.connect(stord.socket)
    return stream
