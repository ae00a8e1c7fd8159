"""A real stord: guests that notice nothing while it is killed and members are pulled out; what it refuses to open."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from daemons.client import Refused
from tests.support.nbd_guest import Guest, Load, Running
from tests.support.pools import MIB, Stord, members
from tests.support.waiting import until

SIZE = 24 * MIB  # of the part that loads write to


# --- a life


def test_first_the_members_are_made_then_they_are_opened(stord: Stord, guest: Guest) -> None:
    stord.up()
    for member in stord.members:
        status = os.stat(member)
        assert status.st_mode & 0o777 == 0o600 and status.st_size == 64 * MIB
        assert status.st_blocks * 512 < 16 * MIB, "members are sparse"
    guest.write((5 * MIB, b"kept" * 1024))
    assert guest.size == 100 * MIB
    stord.stop()
    assert not os.path.exists(stord.socket)
    stord.up()
    assert guest.read(5 * MIB, 4096) == b"kept" * 1024
    assert stord.status()["problems"] == [] and guest.reconnects == 1


def test_configure_again_changes_what_differs_and_nothing_else(stord: Stord, guest: Guest) -> None:
    stord.up()
    guest.write((0, b"a" * 512))
    more = {"name": "v1", "size": 10 * MIB, "raid": "linear", "grain": 4096}
    lun1 = {"name": "lun1", "volume": "v1", "path": f"{stord.folder}/second.nbd", "read_only": True}
    stord.configure(volumes=[*stord.config["volumes"], more], luns=[*stord.config["luns"], lun1])
    assert guest.read(0, 512) == b"a" * 512 and guest.reconnects == 0
    assert {lun["name"]: lun["clients"] for lun in stord.status()["luns"]} == {"lun0": 1, "lun1": 0}
    stord.configure(luns=stord.config["luns"][:1], volumes=stord.config["volumes"][:1])
    assert not os.path.exists(f"{stord.folder}/second.nbd")
    rows = {row["name"]: row["listed"] for row in stord.status()["volumes"]}
    assert rows == {"v0": True, "v1": False}, "a volume that is not listed any more stays"
    assert guest.read(0, 512) == b"a" * 512 and guest.reconnects == 0


def test_a_volume_grows_while_it_is_used_and_never_shrinks(stord: Stord, guest: Guest) -> None:
    stord.up()
    guest.write((99 * MIB, b"old" * 512))
    (volume,) = stord.config["volumes"]
    stord.configure(volumes=[{**volume, "size": 40 << 30}])
    assert guest.read(99 * MIB, 1536) == b"old" * 512 and guest.reconnects == 0
    second = Guest(stord.socket, "lun0")
    second.write((39 << 30, b"new" * 512))
    assert second.size == 40 << 30
    second.close()
    stord.configure(volumes=[volume])
    (problem,) = stord.status()["problems"]
    assert "can't shrink" in problem and "it stays as it is" in problem
    stord.kill()
    stord.up()
    assert guest.read(39 << 30, 1536) == b"new" * 512 and guest.read(99 * MIB, 1536) == b"old" * 512


def test_one_of_the_operations_is_a_flush(stord: Stord, guest: Guest) -> None:
    stord.up()
    guest.write((0, b"x" * 4096))
    stord.call("flush")
    guest.flush()
    stord.call("checkpoint")
    assert stord.status()["mistakes"] == 0


# --- death and return


def test_killed_again_and_again_under_load(stord: Stord, guest: Guest) -> None:
    """The guest never flushes; whatever was answered is there."""
    stord.up()
    running = Running(Load(guest, 1, SIZE))
    for _ in range(5):
        running.more(60)
        stord.kill()
        stord.up()
    running.more(60)
    running.stop()
    running.load.verify()
    assert guest.reconnects == 5
    stord.call("scrub")
    until(lambda: stord.status()["task"]["state"] == "done", what="the scrub's end")
    assert stord.status()["task"]["lost"] == 0


def test_a_member_is_removed_under_load(stord: Stord, guest: Guest) -> None:
    stord.up()
    running = Running(Load(guest, 2, SIZE))
    running.more(60)
    os.unlink(stord.members[1])
    until(lambda: members(stord)["b.img"] == "out", 2.0, "the removed member out")
    running.more(60)
    problem = stord.status()["problems"][0]
    assert "b.img of pool p0 is out" in problem and "vfab pool replace p0" in problem
    stord.call("replace", member="b.img", path=f"{stord.folder}/n.img")
    until(lambda: stord.status()["task"]["state"] == "done", what="the rebuild's end")
    running.more(30)
    running.stop()
    running.load.verify()
    assert members(stord) == {"a.img": "in", "b.img": "removed", "c.img": "in", "n.img": "in"}
    stord.call("scrub")
    until(lambda: stord.status()["task"]["state"] == "done", what="the scrub's end")
    task = stord.status()["task"]
    assert (task["healed"], task["lost"]) == (0, 0)
    assert guest.reconnects == 0 and "b.img was removed" in stord.log.read_text()


def test_a_member_is_cut_short_under_load_and_stord_killed_behind_it(stord: Stord, guest: Guest) -> None:
    stord.up()
    running = Running(Load(guest, 3, SIZE))
    running.more(60)
    os.truncate(stord.members[2], 20 * MIB)
    until(lambda: members(stord)["c.img"] == "out", 2.0, "the short member out")
    stord.kill()
    stord.up()
    running.more(60)
    running.stop()
    running.load.verify()


def test_a_replaced_member_is_found_after_a_kill_though_nobody_lists_it(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = Load(guest, 4, SIZE)
    load.step()
    stord.call("replace", member="0", path=f"{stord.folder}/n.img")
    until(lambda: stord.status()["task"]["state"] == "done", what="the rebuild's end")
    load.step()
    stord.kill()
    stord.up()
    (problem,) = stord.status()["problems"]
    assert problem == (
        f"in the lab file write {stord.folder}/n.img in the place of {stord.members[0]}, which it replaced in pool p0"
    )
    assert set(members(stord).values()) == {"in", "removed"}
    load.verify()


# --- what is there at the beginning


def test_a_missing_member_is_said_and_nothing_is_made_in_its_place(stord: Stord, guest: Guest) -> None:
    stord.up()
    guest.write((0, b"x" * 4096))
    stord.stop()
    os.unlink(stord.members[0])
    stord.up()
    assert not os.path.exists(stord.members[0])
    assert f"member {stord.members[0]} is not there" in stord.status()["problems"]
    assert guest.read(0, 4096) == b"x" * 4096


def test_two_missing_members_are_too_many_and_nothing_changes(stord: Stord, guest: Guest) -> None:
    stord.up()
    guest.write((0, b"x" * 4096))
    stord.stop()
    # In another folder: beside the others they would be found.
    os.mkdir(f"{stord.folder}/elsewhere")
    aside = [f"{stord.folder}/elsewhere/{Path(member).name}" for member in stord.members[:2]]
    for member, other in zip(stord.members, aside, strict=False):
        os.rename(member, other)
    before = Path(stord.members[2]).read_bytes()
    stord.start()
    with pytest.raises(Refused, match=r"a\.img is not there; .*b\.img is not there; .* bring them back"):
        stord.configure()
    (problem,) = stord.status()["problems"]
    assert "can do without one member: bring them back" in problem
    assert Path(stord.members[2]).read_bytes() == before
    for member, other in zip(stord.members, aside, strict=False):
        os.rename(other, member)
    stord.configure()
    assert guest.read(0, 4096) == b"x" * 4096 and stord.status()["problems"] == []


@pytest.mark.parametrize("content", [b"", b"a letter to my aunt", bytes(64 * MIB)], ids=["empty", "text", "zeros"])
def test_a_strangers_file_is_never_formatted_over(stord: Stord, content: bytes) -> None:
    for member in stord.members[:2]:
        Path(member).write_bytes(content)
    stord.start()
    with pytest.raises(Refused, match="nothing was changed: move these files away"):
        stord.configure()
    assert Path(stord.members[0]).read_bytes() == content and not os.path.exists(stord.members[2])


def test_a_pool_that_is_open_elsewhere_is_not_opened(stord: Stord, folder: Path) -> None:
    stord.up()
    (folder / "other").mkdir()
    other = Stord(folder / "other", where=folder)
    try:
        other.start()
        with pytest.raises(Refused, match=rf"a\.img is open in process {stord.process.pid}, and a .* one opener"):
            other.configure()
    finally:
        other.close()


def test_no_folder_for_the_members(stord: Stord) -> None:
    stord.start()
    pool = {**stord.config["pool"], "members": [f"{stord.folder}/none/a.img"]}
    with pytest.raises(Refused, match="none of its members is not there; make it, or change members:"):
        stord.configure(pool=pool)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pool": None}, "needs a 'config' with a 'pool'"),
        ({"pool": {"name": "p0", "members": ["a.img"], "size": 1 << 26}}, "a list of absolute paths"),
        ({"volumes": [{"name": "v0", "size": "5", "raid": "raid5", "grain": 4096}]}, "needs a number 'size'"),
        ({"luns": [{"name": "l", "volume": "v9", "path": "/x"}]}, "LUN l is of volume 'v9'"),
        ({"luns": [{"name": "l", "volume": "v0"}]}, "needs one of 'path' and 'tcp'"),
        ({"epoch": -1}, "needs a number 'epoch' from 0 on"),
    ],
)
def test_a_configuration_that_is_none(stord: Stord, change: dict[str, object], sentence: str) -> None:
    stord.start()
    with pytest.raises(Refused, match=sentence):
        stord.call("configure", config={**stord.config, **change})
    assert not any(os.path.exists(member) for member in stord.members)


# --- sockets


def test_an_address_that_is_taken_is_said_and_used_when_it_is_free(stord: Stord, guest: Guest) -> None:
    Path(stord.socket).write_text("not a socket")
    stord.up()
    assert "there is another file of that name" in stord.status()["problems"][0]
    assert Path(stord.socket).read_text() == "not a socket"
    os.unlink(stord.socket)
    guest.write((0, b"x" * 512))
    assert stord.status()["problems"] == []


def test_a_stopped_client_and_junk_hold_nobody_up(stord: Stord, guest: Guest) -> None:
    stord.up()
    others = [Guest(stord.socket, "lun0") for _ in range(20)]
    for other in others:
        other.write((0, b"y" * 512))
    for other in others[:10]:
        assert other._socket is not None
        other._socket.sendall(b"\xff" * 1000)
    guest.write((0, b"x" * 512))
    assert guest.read(0, 512) == b"x" * 512
    for other in others:
        other.close()
    until(lambda: stord.status()["luns"][0]["clients"] == 1, what="the others gone")
    assert stord.status()["nbd"]["ended-magic"] == 10 and stord.status()["mistakes"] == 0


def test_a_flush_and_a_signal_at_once(stord: Stord, guest: Guest) -> None:
    """The goodbye waits for the fsyncs that are under way."""
    stord.up()
    running = Running(Load(guest, 5, SIZE))
    running.more(20)
    flusher = Guest(stord.socket, "lun0")
    flushes = threading.Thread(target=lambda: [flusher.flush() for _ in range(20)])
    flushes.start()
    stord.signal(signal.SIGTERM)
    stord.client.close()
    stord.wait_for_end()
    stord.up()
    flushes.join(60)
    running.stop()
    running.load.verify()
    flusher.close()
    assert not flushes.is_alive()
