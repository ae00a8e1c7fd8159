"""The state store: what is written is there for others at once, epochs only rise, a damaged file is one sentence."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from daemons import state
from daemons.process import Process
from daemons.state import DamagedState, Desired, ProcessRow, SqliteStore, StateError, set_aside


@pytest.fixture
def path(home: Path) -> str:
    return str(home / "state.sqlite")


def row(node: str, pid: int = 1) -> ProcessRow:
    return ProcessRow(node, "switchd", Process(pid, 2), 3, f"/r/{node}.ctl")


def test_everything_comes_back_in_order(path: str) -> None:
    store = SqliteStore(path)
    nodes = {name: Desired("switchd", {"name": name, "ports": [{"name": "eth1"}]}) for name in ("s2", "s1", "s10")}
    store.set_lab({"name": "two", "file": "/f"})
    store.set_desired(nodes)
    store.put_process(row("s1"))
    store.put_process(row("s2"))
    store.put_process(row("s1", 7))
    store.drop_process("s2")
    store.set_tcp_ports({"a": 7001})
    reader = SqliteStore(path, create=False)  # while the writer has it open
    assert reader.lab() == {"name": "two", "file": "/f"}
    assert reader.desired() == nodes and list(reader.desired()) == list(nodes)
    assert reader.processes() == {"s1": row("s1", 7)}
    assert reader.tcp_ports() == {"a": 7001}
    assert reader.witness("p0") is None
    for value in ({"number": 7, "hash": "aa"}, {"number": 5, "hash": ""}):  # a lower one is a newer one, too
        store.set_witness("p0", value)
        assert reader.witness("p0") == value and reader.witness("p1") is None
    store.set_desired({})
    assert reader.desired() == {}
    store.close()
    reader.close()


def test_epochs_rise_for_ever(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state.time, "time", lambda: 1000.5)
    store = SqliteStore(path)
    assert [store.next_epoch("s1") for _ in range(3)] == [1000, 1001, 1002]
    assert store.next_epoch("s2") == 1000
    monkeypatch.setattr(state.time, "time", lambda: 10.0)  # the clock was set back
    store.close()
    store = SqliteStore(path)
    assert store.next_epoch("s1") == 1003
    store.close()
    os.unlink(path)  # down, and up again later
    monkeypatch.setattr(state.time, "time", lambda: 2000.0)
    store = SqliteStore(path)
    assert store.next_epoch("s1") == 2000
    store.close()


def test_processes_of_another_boot_are_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path)
    store.put_process(row("s1"))
    monkeypatch.setattr(state, "boot_id", lambda: "another")
    assert store.processes() == {}
    store.close()


@pytest.mark.parametrize("damage", ["text", "middle", "cut"])
def test_a_damaged_file_is_a_sentence_and_can_be_set_aside(path: str, damage: str) -> None:
    store = SqliteStore(path)
    store.set_desired({f"s{i}": Desired("switchd", {"x": "y" * 500}) for i in range(100)})
    store.close()
    data = bytearray(Path(path).read_bytes())
    if damage == "text":
        data[:] = b"this is no database " * 100
    elif damage == "middle":
        data[4096 : len(data) - 4096] = os.urandom(len(data) - 8192)
    else:
        del data[len(data) // 2 :]
    Path(path).write_bytes(data)
    with pytest.raises(DamagedState, match=r"the state file .* is damaged \(.*; vfab down ends the lab"):
        SqliteStore(path)
    aside = set_aside(path)
    assert Path(aside).read_bytes() == data
    fresh = SqliteStore(path)
    assert fresh.desired() == {}
    fresh.close()


def test_no_file_no_folder_wrong_version(path: str) -> None:
    with pytest.raises(StateError, match="cannot open the state file"):
        SqliteStore(path, create=False)
    with pytest.raises(StateError, match="cannot open the state file"):
        SqliteStore(path + "/no/folder")
    SqliteStore(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(StateError, match="has version 99 and this program knows version 2") as caught:
        SqliteStore(path)
    assert not isinstance(caught.value, DamagedState)


def test_a_path_with_characters_that_mean_something_in_a_uri(home: Path) -> None:
    odd = home / "50% ?x#y"
    odd.mkdir()
    SqliteStore(str(odd / "state.sqlite")).close()
    assert (odd / "state.sqlite").exists()
