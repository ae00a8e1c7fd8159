"""ext4 and SQLite on a LUN of a real stord that is killed: what they made durable is there, and fsck finds nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounted import Disk
from tests.support.peers import need
from tests.support.pools import MIB, Stord
from tests.support.waiting import until

KILLS = 4
SECONDS = 60.0


@pytest.fixture
def stord(folder: Path) -> Iterator[Stord]:
    made = Stord(folder, volume=64 * MIB)
    yield made
    made.close()


def synced(path: Path) -> None:
    """fsync of a file, or of a folder: what is made and removed in it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Files:
    """Files of many sizes that are made and removed, each durable before the next one; and what there must be then."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.digests: dict[str, bytes] = {}
        self._doubtful = ""  # made or removed, nobody knows: it was not answered
        self.steps = 0

    def step(self, root: Path) -> None:
        """Raises OSError when the disk is gone."""
        old = self._dice.choice(sorted(self.digests)) if len(self.digests) > 24 else ""
        self._doubtful = old or f"file{self.steps}"
        path = root / self._doubtful
        if old:
            path.unlink()
            del self.digests[old]
        else:
            data = self._dice.randbytes(self._dice.choice([10, 4096, 50_001, 400_000]))
            path.write_bytes(data)
            synced(path)
        synced(root)
        if not old:
            self.digests[self._doubtful] = hashlib.sha256(data).digest()
        self._doubtful = ""
        self.steps += 1

    def verify(self, root: Path) -> None:
        found = {path.name: path for path in root.glob("file*")}
        for name, digest in self.digests.items():
            assert hashlib.sha256(found[name].read_bytes()).digest() == digest, f"{name} is not what was made durable"
        assert found.keys() - self.digests.keys() <= {self._doubtful}, "a file that was removed is back"
        with contextlib.suppress(FileNotFoundError):  # so that nothing is in doubt from here on
            if self._doubtful:
                (root / self._doubtful).unlink()


class Ledger:
    """A SQLite database, one row a transaction."""

    def __init__(self) -> None:
        self.committed = 0

    def step(self, root: Path) -> None:
        with contextlib.closing(sqlite3.connect(root / "ledger.db")) as database, database:
            database.execute("PRAGMA synchronous = EXTRA")  # FULL may lose the removal of its journal
            database.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, text)")
            database.execute("INSERT INTO rows (text) VALUES (?)", ("x" * (self.committed % 5000),))
        self.committed += 1

    def verify(self, root: Path) -> None:
        with contextlib.closing(sqlite3.connect(root / "ledger.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            (count,) = database.execute("SELECT count(*) FROM rows").fetchone()
            assert count in (self.committed, self.committed + 1), "a row that was committed is gone"
            self.committed = count


class Writer:
    """In a thread, until it is told to stop or the disk is gone."""

    def __init__(self, root: Path, *works: Files | Ledger) -> None:
        self._root, self._works = root, works
        self.rounds = 0
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for work in self._works:
                    work.step(self._root)
                self.rounds += 1
        except (OSError, sqlite3.Error) as error:
            self.error = error

    def more(self, rounds: int) -> None:
        goal = self.rounds + rounds
        until(lambda: self.rounds >= goal or self.error, SECONDS, "the writer's progress")
        assert self.error is None, self.error

    def stop(self) -> Exception | None:
        self._stop.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return self.error


@pytest.mark.peer("nbdfuse")
def test_what_was_fsynced_is_there_after_each_kill(stord: Stord, folder: Path) -> None:
    """The disk goes away in the middle, as a machine does that loses its power, and is mounted again."""
    files, ledger = Files(1), Ledger()
    stord.up()
    with Disk(folder, stord.uri()) as disk:
        disk.make()
    for number in range(KILLS):
        with Disk(folder, stord.uri()) as disk:
            disk.mount()
            writer = Writer(disk.root, files, ledger)
            writer.more(12 + number)
            stord.kill()
            assert writer.stop() is not None, "nbdfuse has found the way back, and this tests nothing"
        stord.up()
        with Disk(folder, stord.uri()) as disk:
            disk.mount()  # replays the journal
            files.verify(disk.root)
            ledger.verify(disk.root)
            disk.unmount()
            disk.check()
    assert files.steps >= KILLS * 12
    assert stord.status()["problems"] == []


@contextlib.contextmanager
def patient(folder: Path, uri: str) -> Iterator[str]:
    """The URI of an nbdkit that asks again when its server has gone, as a guest with reconnect-delay does."""
    path = folder / "patient"
    arguments = [
        "-f",
        "-U",
        str(path),
        "--filter=retry",
        "nbd",
        uri,
        "retry-delay=1",
        "retry-exponential=no",
        "retries=30",
    ]
    process = subprocess.Popen([need("nbdkit"), *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(path.exists, what="nbdkit's socket")
        yield f"nbd+unix:///?socket={path}"
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.mark.peer("nbdfuse")
def test_a_mounted_file_system_notices_nothing(stord: Stord, folder: Path) -> None:
    """A kill, and a kill with a member pulled out: whoever asks again gets everything, and sees no error."""
    files, ledger = Files(2), Ledger()
    stord.up()
    with patient(folder, stord.uri()) as uri:
        with Disk(folder, uri) as disk:
            disk.make()
            disk.mount()
            writer = Writer(disk.root, files, ledger)
            for victim in ("", stord.members[1]):
                writer.more(15)
                stord.kill()
                if victim:
                    os.unlink(victim)
                stord.up()
            writer.more(15)
            assert writer.stop() is None
            disk.unmount()
            disk.check()
        with Disk(folder, uri) as disk:
            disk.mount()
            files.verify(disk.root)
            ledger.verify(disk.root)
    states = {Path(row["path"]).name: row["state"] for row in stord.status()["pool"]["members"]}
    assert states["b.img"] != "in" and states["a.img"] == states["c.img"] == "in"
