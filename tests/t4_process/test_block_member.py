"""Members that are block devices, on loop devices: their size, who may have them, nothing is cut or made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons.client import Refused
from storvirt import Pool
from storvirt.backing import places
from storvirt.backing.errors import MemberError
from storvirt.backing.file import FileMember
from storvirt.pool import format
from tests.support import contracts_member as contract
from tests.support.nbd_guest import Guest
from tests.support.peers import missing, need
from tests.support.pools import MIB, Stord, ended, members, scrubbed
from tests.support.waiting import until

CHECKS = [check for check in contract.CHECKS if check is not contract.grows_with_zeros_and_shrinks]


class Loops:
    """Loop devices on sparse files; taken down at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[str] = []

    def make(self, name: str, size: int) -> str:
        image = self._folder / f"{name}.raw"
        image.touch()
        os.truncate(image, size)
        argv = [need("losetup"), "--find", "--show", str(image)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
        if done.returncode:
            missing("the right to make a loop device")
        self._made.append(done.stdout.strip())
        return self._made[-1]

    def close(self) -> None:
        for device in self._made:
            subprocess.run([need("losetup"), "--detach", device], check=True, timeout=20)


@pytest.fixture
def loops(folder: Path) -> Iterator[Loops]:
    made = Loops(folder)
    yield made
    made.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.peer("losetup")
def test_it_owes_what_every_member_does(loops: Loops, check: Callable[..., None]) -> None:
    member = FileMember.open(loops.make("a", contract.SIZE))
    check(member)
    member.close()


@pytest.mark.peer("losetup")
def test_one_opener_and_nobody_who_has_it_mounted(folder: Path, loops: Loops) -> None:
    device = loops.make("a", 4 * MIB)
    with_it = FileMember.open(device)
    with pytest.raises(MemberError, match=r"in use|is open in process"):
        FileMember.open(device)
    with_it.close()
    subprocess.run([need("mkfs.ext4"), "-q", device], check=True, timeout=60)
    where = folder / "mounted"
    where.mkdir()
    if subprocess.run(["mount", device, where], capture_output=True, check=False, timeout=20).returncode:
        missing("the right to mount a file system")
    try:
        with pytest.raises(MemberError, match="it is in use: mounted"):
            FileMember.open(device)
    finally:
        subprocess.run(["umount", where], check=True, timeout=20)
    with pytest.raises(MemberError, match="holds something, and a member is never made over that"):
        Pool.create([device], size=MIB)


def test_what_must_be_blank_is_what_a_pool_writes_first() -> None:
    assert places.HEAD_BYTES == format.EXTENTS_AT


@pytest.mark.peer("losetup")
def test_a_pool_on_devices_and_a_file(folder: Path, loops: Loops) -> None:
    stord = Stord(folder, volume=64 * MIB)
    devices = [loops.make("a", 96 * MIB), loops.make("b", 80 * MIB)]
    os.symlink(devices[1], folder / "by-id")
    stord.members[:2] = [devices[0], str(folder / "by-id")]
    try:
        stord.up()
        assert [row["size"] for row in stord.status()["pool"]["members"]] == [96 * MIB, 80 * MIB, 64 * MIB]
        guest = Guest(stord.socket, "lun0")
        data = os.urandom(4 * MIB)
        guest.write((MIB, data))
        guest.flush()
        guest.close()
        stord.kill()
        stord.up()
        guest = Guest(stord.socket, "lun0")
        assert guest.read(MIB, 4 * MIB) == data
        os.unlink(folder / "by-id")
        until(lambda: sorted(members(stord).values()) == ["in", "in", "out"], what="the member that was taken away")
        new = loops.make("c", 80 * MIB)
        with pytest.raises(Refused, match=r"in use|is open in"):
            stord.call("replace", member="1", path=devices[0])
        stord.call("replace", member="1", path=new)
        assert ended(stord)["state"] == "done" and scrubbed(stord) == (0, 0)
        assert guest.read(MIB, 4 * MIB) == data
        guest.close()
    finally:
        stord.close()
    assert os.path.getsize(folder / "a.raw") == 96 * MIB, "a device keeps its size"
