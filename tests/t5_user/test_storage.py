"""Storage as a user has it: pools, volumes, LUNs of a lab, a disk that is pulled out, the README's blocks, mistakes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons.paths import LabPaths, lab_id
from tests.support.nbd_guest import Guest
from tests.support.peers import need
from tests.support.user import free_port, inside, left_in, run, vfab
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LAB = """\
name: disks
storage:
  pools:
    p0: {members: [a.img, b.img, c.img], size: 64MiB}
    p1: {members: [d.img, e.img], size: 64MiB}
  volumes:
    v0: {pool: p0, raid: raid5, size: 100MiB}
    v1: {pool: p1, raid: raid1, size: 20MiB}
  luns:
    lun0: {volume: v0, nbd: true}
    lun1: {volume: v1, nbd: true, read-only: true}
"""


def readme(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found


@pytest.fixture
def folder(work: Path, activated: None) -> Path:
    (work / "disks.fab.yml").write_text(LAB)
    return work


def change(folder: Path, old: str, new: str) -> None:
    file = folder / "disks.fab.yml"
    text = file.read_text()
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new))


@pytest.fixture
def disk(folder: Path) -> Iterator[Guest]:
    """LUN lun0 of lab disks, once that is up."""
    made = Guest(LabPaths(lab_id("disks", folder / "disks.fab.yml")).nbd("p0", "lun0"), "lun0")
    yield made
    made.close()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.img"))


def test_a_life(folder: Path, home: Path, disk: Guest) -> None:
    assert vfab("up", "--dry-run", "disks").out.splitlines() == ["+ start p0: it is new", "+ start p1: it is new"]
    assert files(folder) == []
    first = vfab("up", "disks").out
    assert re.search(r"p0 +pool +up .* 3/3 members; LUNs lun0", first) and "Lab disks is up" in first
    assert f"pool p1 is new and empty; made: {folder}/d.img, {folder}/e.img" in first
    assert files(folder) == ["a.img", "b.img", "c.img", "d.img", "e.img"]
    assert "Nothing to do" in vfab("up", "disks").out
    disk.write((MIB := 1 << 20, b"kept" * 1024))
    vfab("down")
    assert left_in(home / "run") == [] and left_in(home / "state") == [] and len(files(folder)) == 5
    assert "is new and empty" not in vfab("up", "disks").out
    assert disk.read(MIB, 4096) == b"kept" * 1024


def test_what_is_listed(folder: Path) -> None:
    vfab("up", "disks")
    assert re.search(r"p1 +up +2/2 +128 MiB", vfab("pool").out)
    assert vfab("pool").out == vfab("pool", "list").out
    shown = vfab("pool", "show", "p0").out
    assert f"{folder}/c.img" in shown and "raid5" in shown and "lun0" in shown and "d.img" not in shown
    assert re.search(r"^v1 +p1 +raid1 +20 MiB +32 KiB +yes$", vfab("volume", "list").out, re.MULTILINE)
    assert "lun1" in vfab("volume", "show", "v1").out
    assert re.search(r"^lun1 +v1 +p1 +20 MiB +ro +0 ", vfab("lun").out, re.MULTILINE)
    assert set(vfab("pool", "list", "--json").json) == {"p0", "p1"}
    assert vfab("pool", "show", "p1", "--json").json["volumes"][0]["name"] == "v1"
    assert [row["name"] for row in vfab("volume", "list", "--json").json] == ["v0", "v1"]
    assert [row["listening"] for row in vfab("lun", "list", "--json").json] == [True, True]
    assert vfab("pool", "status", "--json").json["problems"] == []
    assert {"p0", "p1"} < {line.split()[0] for line in vfab("ps").out.splitlines()}
    assert vfab("status", "--json").json["nodes"]["p0"]["luns"][0]["name"] == "lun0"


def test_a_disk_is_pulled_out_and_another_put_in(folder: Path, disk: Guest) -> None:
    vfab("up", "disks")
    disk.write((0, b"precious" * 512))
    os.unlink(folder / "b.img")
    until(lambda: vfab("status", code=None).code == 1, what="the complaint")
    assert f"member {folder}/b.img of pool p0 is out" in vfab("status", code=1).err
    for words in (("volume", "status"), ("volume", "status", "v0"), ("lun", "status", "lun0")):
        assert f"member {folder}/b.img of pool p0 is out" in vfab(*words, code=1).err
    assert [vfab("volume", "status", "v1").code, vfab("lun", "status", "lun1").code] == [0, 0]
    assert re.search(r"p0 +degraded +2/3", vfab("pool", "status", "p0", code=1).out)
    assert disk.read(0, 4096) == b"precious" * 512
    done = vfab("pool", "replace", "p0", "b.img", "n.img").out
    assert "b.img by" in done and f"Now write {folder}/n.img into the lab file" in done
    assert vfab("pool", "scrub", "p0").out == "scrub pool p0: 0 mended, 0 lost\n"
    told = vfab("status", code=1)
    advice = f"in the lab file write {folder}/n.img in the place of {folder}/b.img, which it replaced in pool p0"
    assert advice in told.err
    assert advice in vfab("pool", "status", "p0", code=1).err
    change(folder, "b.img", "n.img")
    vfab("up", "disks")
    vfab("status")
    vfab("down")
    vfab("up", "disks")
    assert disk.read(0, 4096) == b"precious" * 512 and disk.reconnects == 1


def test_a_new_file_of_the_old_name_is_in_the_lab_file_already(folder: Path) -> None:
    vfab("up", "disks")
    os.unlink(folder / "b.img")
    until(lambda: vfab("status", code=None).code == 1, what="the complaint")
    assert "there is no folder" in vfab("pool", "replace", "p0", "b.img", "none/b.img", code=1).sentence
    told = vfab("pool", "replace", "p0", "b.img", "b.img").out
    assert "b.img: done" in told and "lab file" not in told
    assert "warning" not in vfab("status").err


def _states() -> dict[str, str]:
    rows = vfab("pool", "show", "p0", "--json").json["pool"]["members"]
    return {Path(row["path"]).name: row["state"] for row in rows}


def test_a_rebuild_that_down_interrupts_goes_on_after_up(folder: Path, disk: Guest) -> None:
    """Its new file lies in another folder, and the lab file says nothing of it."""
    vfab("up", "disks")
    for place in range(40):
        disk.write((place << 20, os.urandom(1 << 20)))
    kept = disk.read(7 << 20, 1 << 20)
    (folder / "new").mkdir()
    told = vfab("pool", "replace", "p0", "b.img", "new/n.img", "--no-wait").out
    assert told == "It has begun; vfab pool status p0 tells how far it is.\n"
    status = vfab("pool", "status", "p0", code=None)
    if "rebuilding" in status.out:  # as good as always
        assert re.search(rf"^{folder}/new/n.img is taking the place of {folder}/b.img: \d+ % of", status.out, re.M)
    vfab("down")
    vfab("up", "disks", code=None)
    until(lambda: _states() == {"a.img": "in", "b.img": "removed", "c.img": "in", "n.img": "in"}, 60)
    task = vfab("pool", "show", "p0", "--json").json["task"]
    assert task is None or (task["resumed"] and task["old"] == f"{folder}/b.img"), "None: it ended before down"
    assert f"in the lab file write {folder}/new/n.img in the place of {folder}/b.img" in vfab("status", code=1).err
    change(folder, "b.img", "new/n.img")
    vfab("up", "disks")
    vfab("status")
    assert disk.read(7 << 20, 1 << 20) == kept
    assert vfab("pool", "scrub", "p0").out == "scrub pool p0: 0 mended, 0 lost\n"


def test_a_killed_process_is_back_and_the_guest_goes_on(folder: Path, disk: Guest) -> None:
    vfab("up", "disks")
    for round in range(3):
        disk.write((round << 20, bytes([round]) * 4096))
        os.kill(vfab("ps", "--json").json["nodes"]["p0"]["pid"], signal.SIGKILL)
        assert disk.read(round << 20, 4096) == bytes([round]) * 4096
    until(lambda: vfab("status", code=None).code == 0, what="all up")
    assert disk.reconnects == 3


def test_the_file_changes_while_it_runs(folder: Path, disk: Guest) -> None:
    vfab("up", "disks")
    disk.write((0, b"x" * 512))
    change(folder, "size: 100MiB", "size: 1GiB")
    change(
        folder,
        "  luns:\n",
        "    v2: {pool: p0, raid: linear, size: 10MiB}\n  luns:\n    lun2: {volume: v2, nbd: true}\n",
    )
    assert (
        vfab("up", "--dry-run", "disks").out == "~ configure p0: volume v2 added; volume v0 changed; lun lun2 added\n"
    )
    told = vfab("up", "disks")
    assert told.err == "warning: " + told.err.partition("warning: ")[2] and "larger than its pool" in told.err
    assert {row["name"]: row["size"] >> 20 for row in vfab("lun", "list", "--json").json} == {
        "lun0": 1024, "lun1": 20, "lun2": 10,
    }  # fmt: skip
    assert disk.read(0, 512) == b"x" * 512 and disk.reconnects == 0
    change(folder, "size: 1GiB", "size: 100MiB")
    assert "can't shrink" in vfab("up", "disks", code=1).err
    change(folder, "size: 100MiB", "size: 1GiB")
    change(folder, "    v1: {pool: p1, raid: raid1, size: 20MiB}\n", "")
    change(folder, "    lun1: {volume: v1, nbd: true, read-only: true}\n", "")
    assert "volume v1 has left the lab file; it stays in pool p1, with its data" in vfab("up", "disks").err
    assert re.search(r"^v1 .* no$", vfab("volume").out, re.MULTILINE)
    change(folder, "    p1: {members: [d.img, e.img], size: 64MiB}\n", "")
    told = vfab("up", "disks")
    assert f"pool p1 has left the lab; its data stays in {folder}/d.img, {folder}/e.img" in told.err
    assert {"d.img", "e.img"} < set(files(folder)) and set(vfab("pool", "--json").json) == {"p0"}


def test_what_to_paste(folder: Path) -> None:
    vfab("up", "disks")
    path = vfab("lun", "show", "lun0", "--json").json["path"]
    ways = vfab("attach", "lun0", "--json").json["for"]
    assert ways["nbd"] == f"nbd+unix:///lun0?socket={path}"
    blockdev, device = shlex.split(ways["qemu"])[1::2]
    assert blockdev == (
        f"driver=nbd,server.type=unix,server.path={path},export=lun0,reconnect-delay=60,discard=unmap,node-name=lun0"
    ) and device == "virtio-blk-pci,drive=lun0"  # fmt: skip
    assert "cache='none' discard='unmap'/>" in ways["libvirt"]
    assert f'socket="{path}"' in ways["libvirt"] and "<reconnect delay='60'/>" in ways["libvirt"]
    assert f"-unix '{path}' -N lun0" in ways["kernel"]
    assert "<readonly/>" in vfab("attach", "lun1", "--for", "libvirt").out
    assert "read-only=on" in vfab("attach", "lun1", "--for", "qemu").out
    assert "has no LUN 'lun9'; its LUNs are: lun0, lun1" in vfab("attach", "lun9", code=1).sentence
    assert "cannot be used from socat" in vfab("attach", "lun0", "--for", "socat", code=1).sentence


def test_real_programs_take_what_is_pasted(folder: Path) -> None:
    vfab("up", "disks")
    ways = vfab("attach", "lun0", "--json").json["for"]
    told = json.loads(run(need("nbdinfo"), "--json", ways["nbd"]).out)["exports"][0]
    assert (told["export-name"], told["export-size"]) == ("lun0", 100 << 20)
    (folder / "image").write_bytes(os.urandom(1 << 20))
    run(need("nbdcopy"), "image", ways["nbd"])
    blockdev = dict(part.partition("=")[::2] for part in shlex.split(ways["qemu"])[1].split(","))
    opened = ",".join(f"{key}={value}" for key, value in blockdev.items() if key != "node-name")
    run(need("qemu-img"), "convert", "--image-opts", opened, "-O", "raw", "copy")
    assert (folder / "copy").read_bytes()[: 1 << 20] == (folder / "image").read_bytes()


def test_over_tcp_for_everybody_here(folder: Path) -> None:
    port = free_port()
    change(folder, "lun0: {volume: v0, nbd: true}", f'lun0: {{volume: v0, nbd: {{tcp: "127.0.0.1:{port}"}}}}')
    assert "open to every user of this machine" in vfab("up", "disks").err
    uri = vfab("attach", "lun0", "--for", "nbd").out.splitlines()[1]
    assert uri == f"nbd://127.0.0.1:{port}/lun0"
    assert "104857600" in run(need("nbdinfo"), "--size", uri).out


def test_an_address_that_somebody_else_has(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        change(folder, "lun0: {volume: v0, nbd: true}", f'lun0: {{volume: v0, nbd: {{tcp: "{where}"}}}}')
        complaint = f"LUN lun0 cannot listen at {where}: somebody else listens there"
        assert complaint in vfab("up", "disks", code=1).err
        told = vfab("lun", "status", code=1)
        assert f"tcp {where} (nobody listens yet)" in told.out and complaint in told.err
    until(lambda: vfab("lun", "status", code=None).code == 0, what="the address")
    assert "nobody listens" not in vfab("lun").out


# --- without a lab


def test_a_pool_without_a_lab(folder: Path) -> None:
    assert "Pool own is made on 2 files" in vfab("pool", "create", "own", "x.img", "y.img", "--size", "64MiB").out
    made = vfab("volume", "create", "v0", "x.img", "y.img", "--size", "10MiB", "--raid", "raid1", "--json").json
    assert made["volumes"] == [{"name": "v0", "size": 10 << 20, "grain": 32768, "raid": "raid1"}]
    for words, sentence in (
        (("pool", "create", "own", "x.img", "--size", "64MiB"), "x.img exists already: a member is never made over"),
        (("volume", "create", "v0", "x.img", "y.img", "--size", "4KiB", "--raid", "raid0"), "has a volume 'v0'"),
        (("volume", "create", "v1", "x.img", "--size", "4KiB", "--raid", "linear"), "lacks 1 of 2 members"),
        (("volume", "create", "v1", "none.img", "--size", "4KiB", "--raid", "linear"), "there is no such file"),
        (("lun", "create", "l", "v0"), "a LUN is made by the lab file: write l: {volume: v0, nbd: true}"),
    ):  # fmt: skip
        assert sentence in vfab(*words, code=1).sentence
    (folder / "own.fab.yml").write_text(
        "name: own\nstorage:\n  pools: {own: {members: [x.img, y.img], size: 64MiB}}\n"
        "  volumes: {v0: {pool: own, raid: raid1, size: 10MiB}}\n  luns: {lun0: {volume: v0, nbd: true}}\n"
    )
    vfab("up", "own")
    assert "2/2 members" in vfab("status").out, "a lab may list what was made before"
    busy = vfab("volume", "create", "v1", "x.img", "y.img", "--size", "4KiB", "--raid", "linear", code=1).sentence
    assert "x.img is open in process" in busy


# --- mistakes


def test_wrong_usage_is_one_sentence(folder: Path) -> None:
    vfab("up", "disks")
    for words, code in (
        (("pool", "frob"), 2), (("pool", "replace", "p0"), 2), (("pool", "create", "x", "f"), 2),
        (("pool", "create", "x", "f", "--size", "5"), 2), (("pool", "create", "x", "f", "--size", "big"), 2),
        (("pool", "create", "x" * 65, "f", "--size", "64MiB"), 2), (("volume", "show"), 2), (("lun", "show"), 2),
        (("volume", "create", "v", "f", "--size", "4KiB", "--raid", "raid9"), 2),
        (("pool", "show", "p9"), 1), (("pool", "status", "\x1b[2J"), 1), (("pool", "scrub", "p9"), 1),
        (("volume", "show", "\n"), 1), (("lun", "show", "\x00"), 1), (("pool", "replace", "p0", "z.img", "n"), 1),
        (("pool", "replace", "p0", "a.img", "c.img"), 1), (("pool", "replace", "p0", "a.img", "/none/n.img"), 1),
        (("pool", "replace", "p0", "a.img", ""), 1), (("pool", "replace", "p9", "a.img", "n.img"), 1),
    ):  # fmt: skip
        answer = inside(*words)
        assert answer.code == code and answer.out == "" and answer.sentence, answer.told
    assert sorted(files(folder)) == ["a.img", "b.img", "c.img", "d.img", "e.img"]
    vfab("status")


def test_a_wrong_file_is_said_with_its_place_and_starts_nothing(folder: Path) -> None:
    change(folder, "pool: p1", "pool: p7")
    for verb in ("up", "validate"):
        assert "disks.fab.yml:8:16: there is no pool 'p7'; " in vfab(verb, "disks", code=2).err
    assert files(folder) == []
    change(folder, "pool: p7", "pool: p1")
    assert "0 hosts, 0 links, 2 pools, 2 volumes, 2 LUNs: ok" in vfab("validate", "disks").out
    change(folder, "    p1: {", "    hostd: {")
    change(folder, "pool: p1", "pool: hostd")
    assert "a pool cannot be called hostd" in vfab("up", "disks", code=1).err


def test_no_pool_that_can_be_opened_is_a_sentence(folder: Path) -> None:
    (folder / "a.img").write_text("a letter")
    told = vfab("up", "disks", code=1)
    assert "a.img" in told.err and "nothing was changed" in told.err
    assert (folder / "a.img").read_text() == "a letter" and "b.img" not in files(folder)
    (folder / "a.img").unlink()
    until(lambda: vfab("status", code=None).code == 0, what="the pool, once nothing is in its way")
    assert "b.img" in files(folder)


# --- what is written about it


def test_the_readme_says_what_works(folder: Path) -> None:
    (folder / "disks.fab.yml").write_text(readme("yml"))
    lines = readme("bash").splitlines()
    assert lines[0].startswith("vfab up disks.fab.yml") and lines[-1].startswith("vfab down")
    for line in lines:
        if line.startswith("vfab pool status"):  # the last complaint is the one that the README announces
            assert "in the lab file write" in run("sh", "-c", line, code=1).err
        else:
            run("sh", "-c", line)
    assert files(folder) == ["a.img", "c.img", "d.img"], "the files stay"


def test_the_readme_in_python(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", readme("py")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("b'hello' [Extent(offset=4096, length=4096, data=True)]")
    assert len(readme("py").splitlines()) <= 10


def test_the_example(folder: Path, home: Path) -> None:
    """From anywhere; its members are user data, and not beside the program."""
    vfab("up", "storage")
    head = (ROOT / "topologies" / "storage.fab.yml").read_text().partition("\nname:")[0]
    told = [shlex.split(line[1:], comments=True) for line in head.splitlines() if line.startswith("#   vfab")]
    assert told[0] == ["vfab", "up", "storage"] and told[-1] == ["vfab", "down"]
    for words in told[1:-1]:
        vfab(*words[1:])
    where = home / "home/.local/share/virtfab/storage"
    assert files(where) == ["a.img", "b.img", "c.img", "d.img", "e.img", "left.img", "right.img"]
    assert files(folder) == [] and not list((ROOT / "topologies").glob("*.img"))
    vfab("down")
    said = vfab("up", "storage", code=1).err
    assert f"in the lab file write {where}/e.img in the place of {where}/b.img, which it replaced in pool array" in said
