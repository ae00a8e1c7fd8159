"""Counters in shared memory: written by one process, looked at by another; files that are none; growth; the end."""

from __future__ import annotations

import os
import resource
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemons import counter_file
from daemons.counter_file import CounterFile
from daemons.errors import UserError
from netvirt.dataplane import counters
from netvirt.dataplane.drops import REASONS

WORDS = struct.Struct("=64Q")


def put(memory: counters.Memory, number: int, name: str, *values: int) -> None:
    """As the plane does it: 64-bit stores into the port's slot."""
    WORDS.pack_into(memory, 64 + number * 640 + 128, *values, *[0] * (64 - len(values)))
    counters.put_name(memory, number, name)


def test_what_is_written_is_read() -> None:
    memory = counters.private()(3)
    drops = [0] * len(REASONS)
    drops[REASONS.index("runt")], drops[REASONS.index("queue-full")] = 5, 1 << 63
    put(memory, 2, "eth1", 1, 2, 3, 4, 5, 6, 7, 1, *drops)
    counters.put_header(memory, 3, pid=77, epoch=1 << 40)
    assert counters.read(bytes(memory)) == counters.SwitchCounters(
        77, 1 << 40,
        (counters.PortCounters(2, "eth1", 1, 2, 3, 4, 5, 6, 7, True, {"runt": 5, "queue-full": 1 << 63}),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a", "a"),
        ("x" * 128, "x" * 128),
        ("x" * 200, "x" * 128),
        ("ä" * 80, "ä" * 64),
        ("x" + "ä" * 80, "x" + "ä" * 63),
    ],
)
def test_names(name: str, read: str) -> None:
    memory = counters.private()(1)
    counters.put_name(memory, 0, name)
    assert [port.name for port in counters.read(bytes(memory)).ports] == [read]
    counters.put_name(memory, 0, "b")
    assert [port.name for port in counters.read(bytes(memory)).ports] == ["b"]


def test_a_cleared_slot_is_no_port_and_counts_nothing() -> None:
    memory = counters.private()(2)
    put(memory, 0, "one", *range(64))
    put(memory, 1, "two", 8)
    counters.clear(memory, 0)
    assert [(port.number, port.rx_frames) for port in counters.read(bytes(memory)).ports] == [(1, 8)]
    counters.put_name(memory, 0, "again")
    assert counters.read(bytes(memory)).ports[0][2:] == (0,) * 7 + (False, {})


def test_private_memory_keeps_what_was_counted_when_it_grows() -> None:
    room = counters.private()
    put(room(1), 0, "eth1", 9)
    grown = room(64)
    assert len(grown) == counters.size(64) and counters.read(bytes(grown)).ports[0].rx_frames == 9


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "no file of counters"),
    "a header cut short": (lambda data: data[:63], "no file of counters"),
    "foreign": (lambda data: b"\x7fELF" + data[4:], "no file of counters"),
    "another version": (lambda data: data[:7] + b"2" + data[8:], "no file of counters"),
    "other slots": (lambda data: data[:8] + struct.pack("=I", 641) + data[12:], "another version of virtfab"),
    "other reasons": (lambda data: data[:16] + struct.pack("=I", 1) + data[20:], "another version of virtfab"),
    "a slot cut short": (
        lambda data: data[:-1],
        f"cut short: {counters.size(2) - 1} bytes, not the {counters.size(2)}",
    ),
    "absurd": (lambda data: data[:12] + b"\xff" * 4 + data[16:], "cut short"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_is_none_is_one_sentence(tmp_path: Path, how: str) -> None:
    change, sentence = BROKEN[how]
    (tmp_path / "s1.counters").write_bytes(change(bytes(counters.private()(2))))
    with pytest.raises(UserError, match=sentence) as told:
        counter_file.look(str(tmp_path), "s1")
    assert "\n" not in str(told.value) and str(tmp_path) in str(told.value)


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="switch s1 has no counters"):
        counter_file.look(str(tmp_path), "s1")
    (tmp_path / "s2.counters").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*s2\.counters: Is a directory"):
        counter_file.look(str(tmp_path), "s2")
    assert counter_file.switches(str(tmp_path / "none")) == []


WRITER = """
import struct, sys
from daemons.counter_file import CounterFile
from netvirt.dataplane import counters

file = CounterFile(sys.argv[1], epoch=7)
memory = file.room(64)
for line in sys.stdin:
    number, name, frames = line.split()
    if int(number) >= 64:
        memory = file.room(128)
    struct.pack_into("=Q", memory, 64 + int(number) * 640 + 128, int(frames))
    counters.put_name(memory, int(number), name)
    print("ok", flush=True)
file.close()
print("closed", flush=True)
"""


def test_two_processes(tmp_path: Path) -> None:
    """Also while the file grows, and once the writer has ended."""
    path = tmp_path / "s1.counters"
    writer = subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert writer.stdin is not None and writer.stdout is not None

    def count(line: str) -> counters.SwitchCounters:
        assert writer.stdin is not None and writer.stdout is not None
        writer.stdin.write(line + "\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "ok\n"
        return counter_file.look(str(tmp_path), "s1")

    try:
        first = count("0 eth0 5")
        assert (first.pid, first.epoch) == (writer.pid, 7)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [(port.name, port.rx_frames) for port in count("0 eth0 6").ports] == [("eth0", 6)]
        grown = count("100 eth100 1")
        assert [(port.number, port.name, port.rx_frames) for port in grown.ports] == [
            (0, "eth0", 6),
            (100, "eth100", 1),
        ]
        assert counter_file.switches(str(tmp_path)) == ["s1"]
        writer.stdin.close()
        assert writer.stdout.readline() == "closed\n"
        assert list(tmp_path.iterdir()) == []
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_a_new_writer_takes_the_place_of_a_dead_one_and_keeps_its_own_file(tmp_path: Path) -> None:
    path = str(tmp_path / "s1.counters")
    dead = CounterFile(path, 1)
    put(dead.room(64), 0, "old", 5)
    (tmp_path / "s1.counters.new").write_bytes(b"half a header")
    alive = CounterFile(path, 2)
    put(alive.room(64), 0, "new", 1)
    dead.close()
    found = counter_file.look(str(tmp_path), "s1")
    assert (found.epoch, [port.name for port in found.ports]) == (2, ["new"])
    alive.close()
    alive.close()
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_the_switch_counts_for_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = CounterFile(str(tmp_path / "none" / "s1.counters"), 1)
    put(file.room(1), 0, "eth1", 3)
    assert counters.read(bytes(file.room(64))).ports[0].rx_frames == 3
    file.close()
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and "No such file or directory" in told and "nobody can watch them" in told


def test_a_file_that_cannot_grow_loses_nothing_that_was_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = CounterFile(str(tmp_path / "s1.counters"), 1)
    put(file.room(64), 0, "eth1", 3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (counters.size(64), before[1]))
    try:
        grown = file.room(128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert counters.read(bytes(grown)).ports[0].rx_frames == 3
    assert "File too large" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
