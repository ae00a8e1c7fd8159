"""Real NBD clients on a server process with memory exports: libnbd's tools and shell, QEMU's tools, nbdkit, fio."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.peers import need
from tests.support.sources import ROOT

SECONDS = 60.0
MIB = 1 << 20


class Served:
    """The process, and how to run a client against it. `where`: a unix socket's path, or an address."""

    def __init__(self, where: str, *exports: str) -> None:
        self.folder = Path(where).parent if where.startswith("/") else Path(tempfile.gettempdir())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nbd_process", where, *exports],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        ready, self.place = self.process.stdout.readline().split()
        assert ready == "ready"
        self._where = where

    def uri(self, name: str = "v0") -> str:
        if self._where.startswith("/"):
            return f"nbd+unix:///{name}?socket={self._where}"
        return f"nbd://127.0.0.1:{self.place}/{name}"

    def run(self, program: str, *arguments: str, good: bool = True) -> str:
        # nbdsh runs the `python3` that it finds first, and libnbd's module belongs to the system's.
        environment = {**os.environ, "PATH": f"/usr/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [need(program), *arguments], env=environment, cwd=self.folder, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is good, f"{program}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if good else done.stderr

    def stop(self) -> dict[str, int]:
        """The statistics, after an orderly end without any mistake of our own."""
        self.process.send_signal(signal.SIGTERM)
        out, errors = self.process.communicate(timeout=SECONDS)
        assert errors == ""
        found: dict[str, int] = json.loads(out)
        assert found["mistakes"] == 0
        return found


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    made = Served(str(folder / "s"), "v0=64", "ro-v1=4", "v2=64")
    try:
        yield made
        if made.process.poll() is None:
            made.stop()
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.communicate()


def sample(folder: Path) -> Path:
    """64 MiB with data, zeros and holes, odd bytes at odd places."""
    path = folder / "sample"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
        for n, offset in enumerate((0, 4095, MIB, 5 * MIB + 17, 40 * MIB, 64 * MIB - 1000)):
            file.seek(offset)
            file.write(hashlib.sha256(b"%d" % n).digest() * (31 if n == 5 else 9000))
    return path


@pytest.mark.peer("nbdinfo")
def test_nbdinfo(served: Served) -> None:
    (export,) = json.loads(served.run("nbdinfo", "--json", served.uri()))["exports"]
    assert export["export-size"] == 64 * MIB
    assert export["contexts"] == ["base:allocation"]
    assert export["description"] == "64 MiB of memory"
    can = {name: value for name, value in export.items() if name.startswith(("can_", "is_", "block_"))}
    assert can == {
        "is_rotational": False, "is_read_only": False, "can_cache": False, "can_df": True, "can_fast_zero": True,
        "can_flush": True, "can_fua": True, "can_multi_conn": True, "can_trim": True, "can_zero": True,
        "block_size_minimum": 1, "block_size_preferred": 4096, "block_size_maximum": 32 * MIB,
    }  # fmt: skip
    listed = json.loads(served.run("nbdinfo", "--list", "--json", served.uri("")))["exports"]
    assert {each["export-name"]: each["is_read_only"] for each in listed} == {"v0": False, "ro-v1": True, "v2": False}
    assert "nobody" in served.run("nbdinfo", served.uri("nobody"), good=False)


@pytest.mark.peer("nbdcopy")
def test_nbdcopy_there_and_back(served: Served, folder: Path) -> None:
    path, back = sample(folder), folder / "back"
    served.run("nbdcopy", "--flush", "--connections=4", "--requests=16", str(path), served.uri())
    served.run("nbdcopy", "--connections=4", served.uri(), served.uri("v2"))
    served.run("nbdcopy", "--connections=1", served.uri("v2"), str(back))
    assert back.read_bytes() == path.read_bytes()
    mapped = json.loads(served.run("nbdinfo", "--json", "--map", served.uri("v2")))
    assert sum(each["length"] for each in mapped) == 64 * MIB
    assert {each["description"] for each in mapped} == {"data", "hole,zero"}
    assert sum(each["length"] for each in mapped if each["description"] == "data") < 8 * MIB
    assert served.stop()["flush"] >= 1


SHELL = """
import errno
def fails(number, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except nbd.Error as error:
        assert error.errnum == number, (error, number)
    else:
        raise AssertionError("it did not fail")

h.add_meta_context("base:allocation")
h.connect_uri(URI)
h.pwrite(b"x" * 1000, 12345, nbd.CMD_FLAG_FUA)
assert h.pread(1002, 12344) == b"\\0" + b"x" * 1000 + b"\\0"
h.zero(500, 12400)
assert h.pread(1000, 12345) == b"x" * 55 + bytes(500) + b"x" * 445
h.zero(8192, 12288, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
h.zero(8192, 65536, nbd.CMD_FLAG_FAST_ZERO)
fails(errno.ENOTSUP, h.zero, 8192, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
h.flush()
found = []
h.block_status(1 << 20, 0, lambda name, offset, entries, error: found.append((name, list(entries))))
assert found == [("base:allocation", [12288, 3, 8192, 0, (1 << 20) - 20480, 3])], found
found.clear()
h.block_status(1 << 20, 0, lambda name, offset, entries, error: found.append(list(entries)), nbd.CMD_FLAG_REQ_ONE)
assert found == [[12288, 3]], found
h.trim(8192, 12288, nbd.CMD_FLAG_FUA)
found.clear()
h.block_status(1 << 20, 0, lambda name, offset, entries, error: found.append(list(entries)))
assert found == [[1 << 20, 3]], found
kinds = []
h.pwrite(b"y" * 65536, 131072)
h.pread_structured(262144, 65536, lambda data, offset, kind, error: kinds.append((len(data), offset, kind)))
assert kinds == [(65536, 65536, nbd.READ_HOLE), (65536, 131072, nbd.READ_DATA), (131072, 196608, nbd.READ_HOLE)], kinds
kinds.clear()
h.pread_structured(
    262144, 65536, lambda data, offset, kind, error: kinds.append((len(data), offset, kind)), nbd.CMD_FLAG_DF
)
assert kinds == [(262144, 65536, nbd.READ_DATA)], kinds
cookies = [h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([n]) * 5000), n * 5000) for n in range(200)]
while h.aio_in_flight():
    h.poll(-1)
assert all(h.aio_command_completed(cookie) for cookie in cookies)
assert h.pread(1000000, 0) == b"".join(bytes([n]) * 5000 for n in range(200))

h.set_strict_mode(0)
size = h.get_size()
fails(errno.EINVAL, h.pread, 512, size)
fails(errno.ENOSPC, h.pwrite, bytes(512), size - 511)
fails(errno.ENOSPC, h.zero, 512, size)
fails(errno.EINVAL, h.trim, 512, size)
fails(errno.EINVAL, h.cache, 512, 0)
fails(errno.EINVAL, h.pwrite, bytes(512), 0, nbd.CMD_FLAG_DF)
fails(errno.EINVAL, h.block_status, 0, 0, lambda *args: 0)
assert h.pread(512, 0) == bytes(512)
h.pwrite(bytes(32 << 20), 0)
assert h.pread(32 << 20, 0) == bytes(32 << 20)
h.shutdown()
"""

OPTIONS = """
h.set_opt_mode(True)
h.connect_uri(URI)
names = []
h.opt_list(lambda name, text: names.append((name, text)))
assert names == [("v0", "64 MiB of memory"), ("ro-v1", "4 MiB of memory"), ("v2", "64 MiB of memory")], names
assert h.get_structured_replies_negotiated()
contexts = []
h.opt_list_meta_context(lambda name: contexts.append(name))
assert contexts == ["base:allocation"], contexts
h.set_export_name("nobody")
try:
    h.opt_info()
except nbd.Error:
    pass
else:
    raise AssertionError("an export that does not exist has an info")
h.set_export_name("")
h.set_full_info(True)
h.add_meta_context("base:allocation")
h.opt_go()
assert h.get_canonical_export_name() == "v0"
assert h.get_export_description() == "64 MiB of memory"
assert h.can_meta_context("base:allocation")
h.shutdown()

import errno
r = nbd.NBD()
r.set_export_name("ro-v1")
r.connect_uri(URI.replace("v0", "ro-v1"))
r.set_strict_mode(0)
assert r.is_read_only()
for change in (lambda: r.pwrite(bytes(512), 0), lambda: r.trim(512, 0), lambda: r.zero(512, 0)):
    try:
        change()
    except nbd.Error as error:
        assert error.errnum == errno.EPERM, error
    else:
        raise AssertionError("a read-only export was changed")
assert r.pread(512, 0) == bytes(512)
r.shutdown()

p = nbd.NBD()
p.set_request_structured_replies(False)
p.connect_uri(URI)
p.pwrite(b"plain", 3)
assert p.pread(7, 2) == b"\\0plain\\0"
assert not p.can_df()
p.shutdown()
"""


@pytest.mark.peer("nbdsh")
@pytest.mark.parametrize("script", [SHELL, OPTIONS], ids=["requests", "options"])
def test_nbdsh(served: Served, script: str) -> None:
    served.run("nbdsh", "-c", f"URI = {served.uri()!r}", "-c", script)
    found = served.stop()
    assert found["ended-disc"] >= 1
    assert found["clients"] == 0


@pytest.mark.peer("qemu-img")
def test_qemu_img(served: Served, folder: Path) -> None:
    path, back = sample(folder), folder / "back"
    shown: dict[str, Any] = json.loads(served.run("qemu-img", "info", "--output=json", served.uri()))
    assert (shown["virtual-size"], shown["format"]) == (64 * MIB, "raw")
    served.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-W", str(path), served.uri())
    served.run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(path), served.uri())
    served.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", served.uri(), str(back))
    served.run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(path), str(back))
    mapped = json.loads(served.run("qemu-img", "map", "-f", "raw", "--output=json", served.uri()))
    assert sum(each["length"] for each in mapped) == 64 * MIB
    assert {each["data"] for each in mapped} == {True, False}


@pytest.mark.peer("qemu-io")
def test_qemu_io(served: Served) -> None:
    commands = (
        "write -P 0x5a 1000 5000", "read -P 0x5a 1000 5000", "read -P 0 0 1000", "write -f -P 0x77 1M 2M",
        "read -P 0x77 1M 2M", "write -z -u 1536k 64k", "read -P 0 1536k 64k", "read -P 0x77 1600k 64k",
        "write -z 2M 1k", "discard 0 4k", "flush", "aio_write -P 1 8M 1M", "aio_write -P 2 9M 1M", "aio_flush",
        "read -P 1 8M 1M", "read -P 2 9M 1M", "writev -P 3 20M 1k 3k 100", "readv -P 3 20M 4096 100",
    )  # fmt: skip
    arguments = [word for command in commands for word in ("-c", command)]
    out = served.run("qemu-io", "-f", "raw", *arguments, served.uri())
    assert "failed" not in out.lower()
    assert served.run("qemu-io", "-r", "-f", "raw", "-c", "read -P 0x77 1M 64k", served.uri()).startswith("read 65536")
    assert served.stop()["errors"] == 0


@pytest.mark.peer("nbdkit")
def test_nbdkit_in_between(served: Served, folder: Path) -> None:
    """nbdkit's nbd plugin passes every request on, and its blocksize filter cuts them in odd pieces."""
    path, back = sample(folder), folder / "back"
    run = f"nbdcopy {path} $uri && nbdcopy $uri {back}"
    served.run("nbdkit", "-U", "-", "--filter=blocksize", "nbd", served.uri(), "maxdata=9999", "--run", run)
    assert back.read_bytes() == path.read_bytes()


@pytest.mark.peer("fio")
@pytest.mark.parametrize("sizes", ["--bs=4k", "--bsrange=512-128k"])
def test_fio_verifies_what_it_wrote(served: Served, folder: Path, sizes: str) -> None:
    served.run(
        "fio", "--name=verify", "--ioengine=nbd", f"--uri={served.uri()}", "--rw=randwrite", sizes, "--size=32m",
        "--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--fsync=64",
        "--verify_state_save=0", "--randseed=4",
        f"--output={folder}/fio.out",
    )  # fmt: skip
    found = served.stop()
    assert found["errors"] == 0
    assert found["bytes_read"] >= found["bytes_written"] // 2 > 0
    assert found["flush"] > 0


@pytest.mark.peer("nbdcopy")
def test_over_tcp(folder: Path) -> None:
    path, back = sample(folder), folder / "back"
    served = Served("127.0.0.1:0", "v0=64")
    try:
        served.run("nbdcopy", str(path), served.uri())
        served.run("nbdcopy", served.uri(), str(back))
        assert back.read_bytes() == path.read_bytes()
        served.stop()
    finally:
        if served.process.poll() is None:
            served.process.kill()
            served.process.communicate()
