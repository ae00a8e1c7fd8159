"""A real stord whose quota is used up: it waits, as for a full disk, and says which of the two it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nbd_guest import Guest, Load, Running
from tests.support.peers import missing, need
from tests.support.pools import MIB, Stord, ended, members, scrubbed
from tests.support.waiting import until

# Whose write was the first to fail, a grain's or a record's, decides whether its member is named.
USED_UP = re.compile("pool p0 waits: .*the quota of its .*file system is used up; make room and it goes on")


class Limited:
    """A btrfs on a loop device, all of it under one quota group: that counts for root as well, other quotas do not."""

    def __init__(self, folder: Path) -> None:
        self.where = folder / "limited"
        self.where.mkdir()
        image = folder / "btrfs.raw"
        image.touch()
        os.truncate(image, 1024 * MIB)
        subprocess.run([need("mkfs.btrfs"), "-q", image], check=True, capture_output=True, timeout=60)
        words = ["mount", "-o", "loop", str(image), str(self.where)]
        if subprocess.run(words, capture_output=True, check=False, timeout=60).returncode:
            missing("the right to mount a btrfs")
        self._btrfs("quota", "enable", str(self.where))

    def _btrfs(self, *words: str) -> None:
        subprocess.run([need("btrfs"), *words], check=True, capture_output=True, timeout=60)

    def limit(self, size: int | None) -> None:
        """size: bytes that may be in use; None: any number."""
        self._btrfs("qgroup", "limit", "none" if size is None else str(size), str(self.where))

    def used(self) -> int:
        """Bytes."""
        argv = [need("btrfs"), "qgroup", "show", "--raw", "--sync", str(self.where)]
        told = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
        return int(next(line.split()[1] for line in told.splitlines() if line.startswith("0/5")))

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.where], check=True, timeout=60)


@pytest.fixture
def limited() -> Iterator[Limited]:
    folder = Path(tempfile.mkdtemp(prefix="vf-", dir="/var/tmp"))  # no tmpfs: loop devices want a real disk
    made = Limited(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.peer("btrfs")
def test_a_quota_that_is_used_up_is_waited_out(folder: Path, limited: Limited, killed: bool) -> None:
    limited.limit(64 * MIB)
    stord = Stord(folder, where=limited.where).up()
    guest, other = (Guest(stord.socket, "lun0") for _ in range(2))
    try:
        running = Running(Load(guest, 6, 50 * MIB))
        until(lambda: stord.status()["pool"]["suspended"], 60, "the quota that is used up")
        (problem,) = stord.status()["problems"]
        assert USED_UP.fullmatch(problem), problem
        assert len(other.read(0, 4096)) == 4096, "what is there can be read"
        if killed:
            stord.kill()
            stord.up()
            told = stord.status()
            assert "quota" in (told.get("waiting") or told["pool"]["suspended"]), told["problems"]
        limited.limit(None)
        running.more(50)
        running.stop()
        running.load.verify()
        until(lambda: stord.status()["problems"] == [], what="no problem any more")
        assert set(members(stord).values()) == {"in"}
        assert "pool p0 goes on" in stord.log.read_text() or killed
        assert scrubbed(stord) == (0, 0)
    finally:
        guest.close()
        other.close()
        stord.close()


@pytest.mark.peer("btrfs")
def test_a_rebuild_waits_for_the_quota_too(folder: Path, limited: Limited) -> None:
    stord = Stord(folder, where=limited.where).up()
    guest = Guest(stord.socket, "lun0")
    try:
        load = Load(guest, 7, 20 * MIB)
        for _ in range(60):
            load.step()
        guest.flush()
        limited.limit(limited.used() + 8 * MIB)  # 4 MiB of them for the ring of the new member
        stord.call("replace", member="a.img", path=f"{limited.where}/n.img")
        until(lambda: stord.status()["pool"]["suspended"], 60, "the quota that is used up")
        limited.limit(None)
        assert ended(stord)["state"] == "done"
        load.verify()
        assert members(stord) == {"a.img": "removed", "b.img": "in", "c.img": "in", "n.img": "in"}
    finally:
        guest.close()
        stord.close()
