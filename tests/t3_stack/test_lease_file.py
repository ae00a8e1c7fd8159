"""The file of an uplink's leases: what is in it is what the server knew, wherever its writer was stopped."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from daemons import lease_file
from daemons.lease_file import LeaseFile
from netvirt.hosting import dhcp_wire as wire
from netvirt.hosting.dhcp import Server, Service
from tests.t2_core.test_dhcp import NOW, OWN, ask, bind, ip

MANY = 10_000
SERVICE = Service(OWN, 16, bytes((10, 0, 3, 0)), bytes((10, 0, 60, 255)), 3600)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "u.leases"


def by_address(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: int(row["address"]))


def again(path: Path) -> list[dict[str, Any]]:
    """What a successor knows."""
    return Server(SERVICE, LeaseFile(str(path)).kept(), NOW).dump()


def filled(path: Path, clients: int) -> tuple[Server, LeaseFile]:
    first = int.from_bytes(SERVICE.first, "big")
    rows = [
        {"client": f"{number:06x}", "mac": "02:00:00:00:00:01", "address": first + number, "expires": NOW, "name": ""}
        for number in range(clients)
    ]
    server, file = Server(SERVICE, rows, NOW), LeaseFile(str(path))
    file.save(server)
    assert len(server.dump()) == clients
    return server, file


def test_one_more_lease_costs_its_own_line_however_many_there_are(path: Path) -> None:
    server, file = filled(path, MANY)
    before, inode = path.stat().st_size, path.stat().st_ino
    bind(server, MANY + 1)
    assert len(server.changed()) == 1
    file.save(server)
    assert server.changed() == []
    assert before < path.stat().st_size < before + 200 and path.stat().st_ino == inode
    assert again(path) == server.dump()


def test_everything_that_happens_to_leases_is_in_the_file(path: Path) -> None:
    """Bound, renewed, released, declined, taken by another client; after each step a successor knows all of it."""
    dice = random.Random(5)
    narrow = SERVICE._replace(last=bytes((10, 0, 3, 7)))
    server, file, now, held = Server(narrow), LeaseFile(str(path)), NOW, dict[int, bytes]()
    for _ in range(600):
        now += dice.choice((0, 0, 5, 400, 4000))
        number = dice.randrange(12)
        what = dice.choice((wire.DISCOVER, wire.REQUEST, wire.REQUEST, wire.RELEASE, wire.DECLINE))
        address = held.get(number, ip(0))
        fields: dict[str, Any] = {"ciaddr": address} if what == wire.RELEASE else {"requested": address}
        answer = server.receive(ask(what, number, **fields), now)
        if answer is not None and what == wire.DISCOVER:
            held[number] = answer.data[16:20]
        file.save(server)
        known = Server(narrow, LeaseFile(str(path)).kept(), now)
        assert known.dump() == server.dump() and known.statistics() == {}
    assert server.statistics()["decline"] and server.statistics()["release"]


def test_the_file_does_not_grow_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_file, "_APPENDED", 1000)
    server, file = filled(path, 20)
    for number in range(20):
        bind(server, number)
    whole, inodes = len(json.dumps(server.dump())), set[int]()
    for turn in range(300):
        bind(server, turn % 20, now=NOW + turn)
        file.save(server)
        assert path.stat().st_size <= 2 * max(whole, 1000) + 400
        inodes.add(path.stat().st_ino)
    assert len(inodes) > 1 and again(path) == server.dump()


def test_a_last_line_that_was_cut_short_costs_itself_only(path: Path) -> None:
    server, file = filled(path, 3)
    before, whole = server.dump(), path.stat().st_size
    bind(server, 4)
    file.save(server)
    data = path.read_bytes()
    for end in range(whole, len(data)):
        path.write_bytes(data[:end])
        assert again(path) == (before if end < len(data) - 1 else server.dump()), end


@pytest.mark.parametrize("harm", ["removed", "a line cut short", "no room"])
def test_after_trouble_the_file_is_written_anew(path: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server, file = filled(path, 3)
    bind(server, 4)
    if harm == "removed":
        path.unlink()
    else:
        write = os.write
        short = (lambda fd, data: write(fd, data[:7])) if harm != "no room" else _no_room
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", short)
            with pytest.raises(OSError, match="No space left"):
                file.save(server)
    assert len(server.changed()) == 1, "what is not kept is not forgotten"
    file.save(server)
    assert again(path) == server.dump() and len(path.read_text().splitlines()) == 1


def _no_room(fd: int, data: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_another_range_begins_with_a_file_of_its_own(path: Path) -> None:
    server, file = filled(path, 300)
    narrow = SERVICE._replace(last=bytes((10, 0, 3, 9)))
    server = Server(narrow, server.dump(), NOW)
    file.rewrite()
    bind(server, 3, now=NOW + 1)
    file.save(server)
    assert by_address(LeaseFile(str(path)).kept()) == server.dump()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", []), ("{", []), ("[[[[", []), ('{"address": 1}', []), ("\xff\xfe", []), ("[" * 100_000, []),
        ('[{"address": 5, "client": "00"}]\n[{"address": 5}]', []),
        ('[{"address": 5, "client": "00"}]\nnonsense\n[{"address": 6, "client": "01"}]',
         [{"address": 5, "client": "00"}, {"address": 6, "client": "01"}]),
        ('[7, {"address": [1]}]', [7, {"address": [1]}]),  # left to the server, which counts them
    ],
)  # fmt: skip
def test_what_can_be_read_of_a_damaged_file(path: Path, text: str, rows: list[Any]) -> None:
    path.write_bytes(text.encode("latin-1"))
    assert LeaseFile(str(path)).kept() == rows


def test_a_file_of_one_list_is_read(path: Path) -> None:
    server, _ = filled(path, 3)
    path.write_text(json.dumps(server.dump()))
    assert again(path) == server.dump()
