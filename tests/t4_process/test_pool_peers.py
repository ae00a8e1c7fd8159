"""Real NBD clients on a volume of a real stord (test_nbd_peers has them on memory): raid5, also with a member gone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounted import done
from tests.support.pools import MIB, Stord
from tests.support.waiting import until

SIZE = 64 * MIB


@pytest.fixture
def stord(folder: Path) -> Iterator[Stord]:
    made = Stord(folder, volume=SIZE).up()
    yield made
    made.close()


def sample(folder: Path) -> Path:
    """The volume's size, with data, zeros and holes at odd places."""
    path = folder / "sample"
    with path.open("wb") as file:
        file.truncate(SIZE)
        for number, offset in enumerate((0, 4095, MIB, 5 * MIB + 17, 40 * MIB, SIZE - 1000)):
            file.seek(offset)
            file.write(hashlib.sha256(b"%d" % number).digest() * (31 if number == 5 else 9000))
    return path


def pulled(stord: Stord) -> None:
    os.unlink(stord.members[0])
    until(lambda: stord.status()["pool"]["members"][0]["state"] == "out", what="the removed member out")


@pytest.mark.peer("qemu-img")
def test_qemu_img_converts_compares_and_maps(stord: Stord, folder: Path) -> None:
    path, back = sample(folder), folder / "back"
    done("qemu-img", "convert", "-n", "-W", "-f", "raw", "-O", "raw", path, stord.uri())
    mapped = json.loads(done("qemu-img", "map", "-f", "raw", "--output=json", stord.uri()))
    assert sum(each["length"] for each in mapped) == SIZE
    assert 0 < sum(each["length"] for each in mapped if each["data"]) < 8 * MIB, "holes stay holes"
    pulled(stord)
    done("qemu-img", "compare", "-f", "raw", "-F", "raw", path, stord.uri())
    stord.kill()
    stord.up()
    done("qemu-img", "convert", "-f", "raw", "-O", "qcow2", stord.uri(), back)
    done("qemu-img", "compare", "-f", "raw", "-F", "qcow2", path, back)


@pytest.mark.peer("nbdcopy")
def test_nbdcopy_and_nbdinfo(stord: Stord, folder: Path) -> None:
    path, back = sample(folder), folder / "back"
    done("nbdcopy", "--flush", "--connections=4", "--requests=16", path, stord.uri())
    stord.kill()
    stord.up()
    (export,) = json.loads(done("nbdinfo", "--json", stord.uri()))["exports"]
    assert export["export-size"] == SIZE and export["can_multi_conn"] and export["block_size_preferred"] == 4096
    pulled(stord)
    done("nbdcopy", "--connections=4", stord.uri(), back)
    assert back.read_bytes() == path.read_bytes()
    mapped = json.loads(done("nbdinfo", "--json", "--map", stord.uri()))
    assert sum(each["length"] for each in mapped if each["description"] == "data") < 8 * MIB


@pytest.mark.peer("fio")
@pytest.mark.parametrize("sizes", ["--bs=4k", "--bsrange=512-128k"])
def test_fio_verifies_what_it_wrote(stord: Stord, folder: Path, sizes: str) -> None:
    """Written healthy, read without a member."""
    words = [
        "--name=verify", "--ioengine=nbd", f"--uri={stord.uri()}", "--rw=randwrite", sizes, "--size=24m",
        "--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--fsync=64",
        "--verify_state_save=0", "--randseed=4", f"--output={folder}/out",
    ]  # fmt: skip
    done("fio", *words, "--do_verify=1")
    pulled(stord)
    stord.kill()
    stord.up()
    done("fio", *words, "--verify_only")
    assert stord.status()["nbd"]["errors"] == 0
