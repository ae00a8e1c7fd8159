"""FileMember on a real file system: creating, locking, what happens underneath, and no space."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storvirt.backing import locks
from storvirt.backing.errors import NO_SPACE, MemberError
from storvirt.backing.file import FileMember

MIB = 1 << 20


def test_create_is_private_sparse_and_never_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m"
    member = FileMember.create(path, 100 * MIB)
    status = path.stat()
    assert (status.st_mode & 0o777, status.st_size) == (0o600, 100 * MIB)
    assert status.st_blocks * 512 < MIB
    assert not os.get_inheritable(member.fileno())
    member.close()
    path.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for there in (path, tmp_path / "link"):
        with pytest.raises(MemberError) as caught:
            FileMember.create(there, 512)
        assert str(caught.value) == f"{there} exists already: a member is never made over a file"
    assert path.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("size", [2**64 - 1, 2**63, 2**63 - 1])
def test_a_size_that_no_file_can_have_leaves_nothing_behind(tmp_path: Path, size: int) -> None:
    with pytest.raises(MemberError) as caught:
        FileMember.create(tmp_path / "m", size)
    assert caught.value.errno in (errno.EFBIG, errno.EINVAL)
    assert not (tmp_path / "m").exists()


def test_open_finds_what_was_written_and_follows_links(tmp_path: Path) -> None:
    member = FileMember.create(tmp_path / "m", 1000)
    member.write(10, b"hello")
    member.close()
    (tmp_path / "by-id").symlink_to("m")
    again = FileMember.open(str(tmp_path / "by-id"))
    assert (again.size, again.read(10, 5), again.check()) == (1000, b"hello", None)
    again.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.mkdir(), "it is a folder"),
        (lambda p: os.mkfifo(p), "is neither a file nor a block device"),
        (lambda p: p.symlink_to(p.name), "its symbolic links lead in a circle"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_sentence(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / "m")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(MemberError) as caught:
        FileMember.open(tmp_path / "m")
    assert words in str(caught.value) and str(tmp_path / "m") in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == before


def test_odd_names_are_sentences_too(tmp_path: Path) -> None:
    for path in ("a\0b", str(tmp_path / "none" / "m"), ""):
        for call in (FileMember.open, lambda p: FileMember.create(p, 512)):
            with pytest.raises(MemberError):
                call(path)


def test_a_second_opener_hears_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "m"
    member = FileMember.create(path, 512)
    program = (
        "import sys\nfrom storvirt.backing.file import FileMember, MemberError\n"
        "try: FileMember.open(sys.argv[1])\nexcept MemberError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{path} is open in process {os.getpid()}\n"
    with pytest.raises(MemberError) as caught:
        FileMember.open(path, read_only=True)
    assert caught.value.errno == errno.EBUSY
    member.close()
    readers = [FileMember.open(path, read_only=True) for _ in range(2)]
    with pytest.raises(MemberError):
        FileMember.open(path)
    for reader in readers:
        reader.close()
    FileMember.open(path).close()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "m"
    program = (
        "import sys\nfrom storvirt.backing.file import FileMember\n"
        "m = FileMember.create(sys.argv[1], 512)\nprint(flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program, path], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        with pytest.raises(MemberError, match=f"is open in process {process.pid}$"):
            FileMember.open(path)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    FileMember.open(path).close()


LOCKS = """\
1: POSIX  ADVISORY  WRITE 10 fe:00:131 0 EOF
2: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF
2: -> FLOCK  ADVISORY  WRITE 99 fe:00:131 0 EOF
3: FLOCK  ADVISORY  WRITE -1 fe:00:132 0 EOF
4: FLOCK  ADVISORY  WRITE 12 00:2a:133 0 EOF
5: FLOCK  ADVISORY  WRITE 13 00:2a:134 0 EOF
6: FLOCK  ADVISORY  WRITE 14 00:2b:134 0 EOF
junk
"""


@pytest.mark.parametrize(
    ("device", "inode", "pid"),
    [
        ("fe:00", 131, 4711),
        ("fe:00", 132, None),  # its process is in another namespace
        ("00:33", 133, 12),  # btrfs: stat shows another device
        ("00:33", 134, None),  # two candidates: say nothing rather than something wrong
        ("00:2b", 134, 14),
        ("fe:00", 135, None),
    ],
)
def test_the_owner_of_a_lock(device: str, inode: int, pid: int | None) -> None:
    assert locks.find(LOCKS, device, inode) == pid


def removed(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replaced(path: Path) -> None:
    (path.parent / "new").write_bytes(bytes(MIB))
    (path.parent / "new").rename(path)


def truncated(path: Path) -> None:
    os.truncate(path, 5000)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (removed, "{} was removed"),
        (renamed, "{} was renamed or moved"),
        (replaced, "{} was replaced by another file"),
        (truncated, "{} was truncated to 5000 bytes, it had 1048576"),
    ],
)
def test_check_says_what_happened_underneath(tmp_path: Path, harm: Callable[[Path], None], sentence: str) -> None:
    path = tmp_path / "m"
    member = FileMember.create(path, MIB)
    assert member.check() is None
    harm(path)
    assert member.check() == sentence.format(path)
    member.close()


def test_reading_past_a_cut_is_an_io_error(tmp_path: Path) -> None:
    member = FileMember.create(tmp_path / "m", MIB)
    member.write(4000, b"x" * 1000)
    truncated(tmp_path / "m")
    assert member.read(4000, 1000) == b"x" * 1000
    for read in (member.read, member.try_read):
        with pytest.raises(MemberError) as caught:
            read(4000, 1001)
        assert caught.value.errno == errno.EIO


def test_space_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "m"
    member = FileMember.create(path, 8 * MIB)
    member.write(0, b"x" * (8 * MIB))
    member.sync()
    before = path.stat().st_blocks
    member.punch(MIB, 4 * MIB)
    member.sync()
    assert path.stat().st_blocks <= before - 4 * MIB // 512
    assert member.read(MIB, 4 * MIB) == bytes(4 * MIB)


def test_try_read_is_served_from_the_cache_and_says_when_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "m"
    member = FileMember.create(path, 4 * MIB)
    member.write(0, b"x" * (4 * MIB))
    cached = member.try_read(MIB, 4096)
    if cached is None:
        pytest.skip("the file system does not offer RWF_NOWAIT")
    assert cached == b"x" * 4096
    member.sync()
    os.posix_fadvise(member.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert member.try_read(2 * MIB, 4096) in (None, b"x" * 4096)  # None, but a file system may be all in memory
    assert member.read(2 * MIB, 4096) == b"x" * 4096
    assert member.try_read(2 * MIB, 4096) == b"x" * 4096


@pytest.fixture
def tiny_tmpfs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_file_system_is_said_and_ends_when_there_is_space(tiny_tmpfs: Path) -> None:
    member = FileMember.create(tiny_tmpfs / "m", 16 * MIB)
    (tiny_tmpfs / "ballast").write_bytes(bytes(MIB // 2))
    with pytest.raises(MemberError) as caught:
        member.write(0, b"x" * MIB)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value).endswith("its file system is full")
    assert caught.value.errno in NO_SPACE
    (tiny_tmpfs / "ballast").unlink()
    member.write(0, b"x" * (MIB // 2))
    assert member.ended == 0 and member.check() is None
    member.close()


def test_the_limit_on_file_sizes_is_a_sentence(tmp_path: Path) -> None:
    member = FileMember.create(tmp_path / "m", 2 * MIB)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        member.write(MIB - 1, b"x")
        with pytest.raises(MemberError) as caught:
            member.write(MIB - 5, b"0123456789")  # the kernel writes five bytes and refuses the rest
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.errno == errno.EFBIG
    assert member.read(MIB - 5, 5) == b"01234"
    member.close()


def test_signals_do_not_disturb(tmp_path: Path) -> None:
    """Reads and writes of many pages under a timer that fires all the time come out whole."""
    member = FileMember.create(tmp_path / "m", 4 * MIB)
    fired = []
    before = signal.signal(signal.SIGVTALRM, lambda *_: fired.append(1))
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)
    try:
        round_number = 0
        while len(fired) < 20:
            data = bytes([round_number & 255]) * (4 * MIB)
            member.write(0, data)
            assert member.read(0, 4 * MIB) == data
            round_number += 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    member.close()
