"""import, fsck and inspect of pools whose members are NBD exports and block devices; nothing is written to any of them
but by --repair."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storvirt import Pool
from tests.support.nbd_servers import Server, nbdkit
from tests.support.peers import missing, need
from tests.support.user import vfab

MIB = 1 << 20
SIZE = 96 * MIB


class Exports:
    """Files behind nbdkit, which writes down what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.images = folder / "images"  # a member's file beside other members would be found, and taken for it
        self.images.mkdir()
        self.servers: list[Server] = []
        for name in "ab":
            (self.images / name).touch()
            os.truncate(self.images / name, SIZE)
            self.servers.append(self.serve(name))

    def serve(self, name: str, *words: str) -> Server:
        log = self._folder / f"{name}.requests"
        return nbdkit(self._folder, name, *words, "--filter=log", "file", str(self.images / name), f"logfile={log}")

    @property
    def uris(self) -> list[str]:
        return [server.uri for server in self.servers]

    def asked(self) -> set[str]:
        """The kinds of requests since the last call."""
        found: set[str] = set()
        for name in "ab":
            log = self._folder / f"{name}.requests"
            found |= set(re.findall(r" (Read|Write|Flush|Trim|Zero|Cache) id=", log.read_text()))
            os.truncate(log, 0)
        return found

    def close(self) -> None:
        for server in self.servers:
            server.close()


@pytest.fixture
def exports(work: Path) -> Iterator[Exports]:
    made = Exports(work)
    yield made
    made.close()


def fill(members: list[str]) -> None:
    with Pool.create(members, SIZE, "p0") as made:
        disk = made.create_volume("v0", 20 * MIB, "raid5")
        disk.write(0, b"grain" * 20_000)
        disk.write(200_000 // 4096 * 4096, b"block" * 1000)
        disk.flush()


def flip(path: str | Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


@pytest.mark.peer("nbdkit")
def test_exports_and_a_file(exports: Exports, work: Path) -> None:
    members = [*exports.uris, f"{work}/c.img"]
    fill(members)
    assert "Write" in exports.asked()
    told = vfab("pool", "import", *reversed(members))
    assert "pool p0 can be opened." in told.out and told.err == ""
    line = ", ".join(f'"{uri}"' for uri in exports.uris)
    assert f"members: [{line}, {members[2]}]" in told.out.splitlines()
    assert re.search(r"all data read: clean\.$", vfab("pool", "fsck", *members, "--data").out)
    shown = vfab("pool", "inspect", "v0", *members, "--lba", "0", "--without", "1", "--json").json
    assert [row["name"] for row in shown["members"]] == members and shown["slot"]["without"]["verifies"]
    column = next(one for one in shown["slot"]["columns"] if one["name"] == members[1])
    assert exports.asked() == {"Read"}, "who only looks writes nothing, and makes nothing durable"
    flip(exports.images / "b", column["offset"] + 70)
    said = vfab("pool", "fsck", *members, "--data", code=1).out
    assert f"{members[1]}: {column['label']} of grain 0 of volume v0" in said and "1 finding." in said
    assert exports.asked() == {"Read"}
    assert "1 finding, 1 mended." in vfab("pool", "fsck", *members, "--data", "--repair", code=1).out
    assert {"Read", "Write"} <= exports.asked()
    assert re.search(r"clean\.$", vfab("pool", "fsck", *members, "--data").out)


@pytest.mark.peer("nbdkit")
def test_a_server_that_can_not_be_reached(exports: Exports, work: Path) -> None:
    members = [*exports.uris, f"{work}/c.img"]
    fill(members)
    (work / "far.fab.yml").write_text(
        "name: far\nstorage:\n  pools:\n    p0:\n      size: 96MiB\n      members:\n"
        "        - nbd+unix:///?socket=a.sock\n        - nbd+unix:///?socket=b.sock\n        - c.img\n"
    )
    assert "clean." in vfab("pool", "fsck", "p0").out
    exports.servers[1].close()
    told = vfab("pool", "import", *members)
    assert "opens degraded, with all its data" in told.out and "b.sock: its NBD server can't be reached" in told.err
    assert re.search(rf"^1 +missing .*\(last seen: {re.escape(members[1])}\)$", told.out, re.MULTILINE)
    assert "its NBD server can't be reached" in vfab("pool", "fsck", *members, code=1).sentence
    told = vfab("pool", "fsck", "p0", code=1)
    assert f"member number 1 of pool p0 is missing; it was last seen as {members[1]}" in told.out
    assert "b.sock: its NBD server can't be reached" in told.err
    assert "its NBD server can't be reached" in vfab("pool", "inspect", "v0", *members, "--lba", "0", code=1).sentence
    shown = vfab("pool", "inspect", "v0", members[0], members[2], "--lba", "0", "--json").json
    assert [row["there"] for row in shown["members"]] == [True, False, True]
    assert "is no address" in vfab("pool", "fsck", "nbd://:x/", code=1).sentence


@pytest.mark.peer("nbdkit")
def test_an_export_that_is_read_only(exports: Exports, work: Path) -> None:
    members = [*exports.uris, f"{work}/c.img"]
    fill(members)
    exports.servers[0].close()
    exports.servers[0] = exports.serve("a", "-r")
    assert "clean." in vfab("pool", "fsck", *members, "--data").out
    vfab("pool", "inspect", "v0", *members, "--lba", "0")
    assert "the export is read-only" in vfab("pool", "fsck", *members, "--repair", code=1).sentence


@pytest.mark.peer("nbdkit")
def test_exports_that_a_lab_has_in_use(exports: Exports, work: Path) -> None:
    members = [*exports.uris, f"{work}/c.img"]
    (work / "far.fab.yml").write_text(
        "name: far\nstorage:\n  pools:\n    p0:\n      size: 96MiB\n      members:\n"
        "        - nbd+unix:///?socket=a.sock&patience=9\n        - nbd+unix:///?socket=b.sock\n        - c.img\n"
        "  volumes:\n    v0: {pool: p0, raid: raid5, size: 20MiB}\n"
    )
    vfab("up", "far")
    for words in (["p0"], members, [members[0]], ["p0", "--repair"]):
        assert "is in use: pool p0 of lab far runs on it" in vfab("pool", "fsck", *words, code=1).sentence
    assert "pool p0 can be opened." in vfab("pool", "import", *members).out, "to look is allowed"
    vfab("down")
    assert "clean." in vfab("pool", "fsck", "p0").out


@pytest.mark.peer("losetup")
def test_block_devices(work: Path) -> None:
    devices: list[str] = []
    try:
        for name in "abc":
            (work / f"{name}.raw").touch()
            os.truncate(work / f"{name}.raw", SIZE)
            argv = [need("losetup"), "--find", "--show", f"{work}/{name}.raw"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
            if done.returncode:
                missing("the right to make a loop device")
            devices.append(done.stdout.strip())
        fill(devices)
        told = vfab("pool", "import", *reversed(devices))
        assert f"members: [{', '.join(devices)}]" in told.out.splitlines()
        shown = vfab("pool", "inspect", "v0", *devices, "--lba", "0", "--json").json
        column = shown["slot"]["columns"][0]
        assert re.search(r"clean\.$", vfab("pool", "fsck", *devices, "--data").out)
        flip(column["name"], column["offset"])
        said = vfab("pool", "fsck", *devices, "--data", code=1).out
        assert f"{column['name']}: {column['label']} of grain 0" in said
        assert "1 mended." in vfab("pool", "fsck", *devices, "--data", "--repair", code=1).out
        assert re.search(r"clean\.$", vfab("pool", "fsck", *devices, "--data").out)
        with Pool.open(devices) as pool:
            assert pool.volume("v0").read(0, 100_000) == b"grain" * 20_000
            for words in (devices, [*devices, "--repair"]):
                assert re.search("in use|is open in", vfab("pool", "fsck", *words, code=1).sentence)
    finally:
        for device in devices:
            subprocess.run([need("losetup"), "--detach", device], check=True, timeout=20)
