"""fabricd with real processes as children (doubles without a network): start, change, supervise, adopt, end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemons import fabricd, teardown
from daemons import process as processes
from daemons.client import Client, Refused, Unreachable
from daemons.control import encode
from daemons.errors import UserError
from daemons.locks import Lock
from daemons.loop import Loop
from daemons.paths import LabPaths, lab_id
from daemons.process import Process, alive, identify
from daemons.spawn import spawn
from daemons.state import SqliteStore
from daemons.teardown import end_lab, leave_nothing
from tests.support import double_fabricd
from tests.support.waiting import until

COMMAND = (sys.executable, "-P", double_fabricd.__file__)


def switch(**more: Any) -> dict[str, Any]:
    return {"ports": [], **more}


def joined(*nodes: str) -> dict[str, Any]:
    """Switches in a row: each dials the one before it."""
    configs = {}
    for index, node in enumerate(nodes):
        ports = [
            {"name": "up", "kind": "dial", "state": "forwarding", "endpoint": f"ipc:///R/{nodes[index - 1]}.zmq#down"}
        ]
        ports = ports if index else []
        ports.append({"name": "down", "kind": "listen", "state": "forwarding"})
        configs[node] = {"listen": [{"endpoint": f"ipc:///R/{node}.zmq"}], "ports": ports}
    return configs


def steps(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(action["kind"], action["node"]) for action in result["actions"]]


class Bench:
    """A lab file, its fabricd, and a line to it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.file = folder / f"{name}.json"
        self.paths = LabPaths(lab_id(name, self.file))

    def write(self, nodes: dict[str, Any]) -> None:
        self.file.write_text(json.dumps({"name": self.name, "nodes": nodes}))

    def begin(self) -> None:
        spawn(self.paths, (*COMMAND,))

    def call(self, op: str, **args: Any) -> Any:
        with Client(self.paths.control("fabricd"), timeout=40) as client:
            return client.call(op, events=None, **args)

    def up(self, nodes: dict[str, Any]) -> Any:
        self.write(nodes)
        return self.call("apply", file=str(self.file))

    def node(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = self.call("status")["nodes"][name]
        return row

    def process(self, name: str) -> Process:
        process = identify(self.node(name)["pid"])
        assert process is not None
        return process

    def pids(self) -> dict[str, int]:
        return {name: row["pid"] for name, row in self.call("ps")["nodes"].items()}

    def kill_fabricd(self, signum: int = signal.SIGKILL) -> None:
        pid = Lock(self.paths.lock("fabricd")).holder()
        process = identify(pid) if pid else None
        assert process is not None and processes.end(process, signum, 10)

    def gone(self) -> bool:
        return not os.path.exists(self.paths.run) and not os.path.exists(self.paths.state)


@pytest.fixture
def bench(home: Path) -> Iterator[Bench]:
    bench = Bench(home, "one")
    bench.begin()
    yield bench
    tidy(bench)


def tidy(bench: Bench) -> None:
    end_lab(bench.paths)


def test_up_starts_and_configures_everything(bench: Bench) -> None:
    result = bench.up({"s1": switch(text="hello"), "s2": switch()})
    assert [row["state"] for row in result["nodes"].values()] == ["up", "up"]
    assert steps(result) == [("start", "s1"), ("start", "s2")]
    assert result["nodes"]["s1"]["down"] == []
    assert result["name"] == "one" and result["file"] == str(bench.file)


def test_up_twice_does_nothing(bench: Bench) -> None:
    bench.up({"s1": switch()})
    before = bench.pids()
    assert bench.call("apply", file=str(bench.file))["actions"] == []
    assert bench.pids() == before


def test_up_with_a_changed_file_does_only_the_difference(bench: Bench) -> None:
    bench.up({"s1": switch(), "s2": switch(), "s3": switch()})
    before, third = bench.pids(), bench.process("s3")
    result = bench.up({"s1": switch(), "s2": switch(text="new"), "s4": switch()})
    assert steps(result) == [("stop", "s3"), ("start", "s4"), ("configure", "s2")]
    after = bench.pids()
    assert {name: after[name] for name in ("s1", "s2")} == {name: before[name] for name in ("s1", "s2")}
    assert not alive(third)
    assert sorted(os.listdir(bench.paths.run)) == sorted(
        [
            "fabricd.ctl",
            "fabricd.lock",
            "fabricd.tap",
            *(f"{node}.{end}" for node in ("s1", "s2", "s4") for end in ("ctl", "lock")),
        ]
    )
    with Client(bench.paths.control("s2")) as client:
        assert client.call("status")["text"] == "new"


def test_dry_run_changes_nothing(bench: Bench) -> None:
    bench.up({"s1": switch()})
    before = bench.pids()
    bench.write({"s2": switch()})
    result = bench.call("apply", file=str(bench.file), dry_run=True)
    assert steps(result) == [("stop", "s1"), ("start", "s2")]
    assert bench.pids() == before


def test_progress_is_told(bench: Bench) -> None:
    bench.write({"s1": switch(), "s2": switch()})
    told: list[Any] = []
    with Client(bench.paths.control("fabricd"), timeout=40) as client:
        client.call("apply", events=told.append, file=str(bench.file))
    assert {"step": "start", "node": "s1"} in told
    assert [event["ready"] for event in told if event["step"] == "ready"] == [1, 2]


def test_links_inside_the_lab_are_waited_for(bench: Bench) -> None:
    nodes = joined("s1", "s2")
    result = bench.up(nodes)
    assert result["nodes"]["s1"]["down"] == result["nodes"]["s2"]["down"] == []


def test_a_node_that_refuses_its_configuration_is_told_at_once(bench: Bench) -> None:
    result = bench.up({"s1": switch(refuse="VLAN 5000 is none"), "s2": switch()})
    assert result["nodes"]["s1"]["problem"] == "VLAN 5000 is none"
    assert result["nodes"]["s2"]["state"] == "up"
    result = bench.up({"s1": switch(), "s2": switch()})
    assert result["nodes"]["s1"]["state"] == "up" and result["nodes"]["s1"]["problem"] == ""


def test_killed_child_comes_back_with_a_higher_epoch_and_its_configuration(bench: Bench) -> None:
    bench.up({"s1": switch(text="mine")})
    before = bench.node("s1")
    os.kill(before["pid"], signal.SIGKILL)
    after = until(lambda: (row := bench.node("s1"))["restarts"] == 1 and row["state"] == "up" and row, what="restart")
    assert isinstance(after, dict)
    assert after["epoch"] > before["epoch"] and after["pid"] != before["pid"]
    with Client(bench.paths.control("s1")) as client:
        assert client.call("status")["text"] == "mine"


def test_a_child_that_dies_at_once_is_started_again_and_again_and_status_says_so(bench: Bench) -> None:
    bench.up({"s1": switch(), "s2": switch()})
    bench.write({"s1": switch(die=True), "s2": switch()})
    with pytest.raises(Unreachable), Client(bench.paths.control("fabricd"), timeout=0.2) as client:
        client.call("apply", file=str(bench.file))
    row = until(lambda: (row := bench.node("s1"))["restarts"] >= 4 and row, what="four restarts")
    assert isinstance(row, dict)
    assert "ended after" in row["problem"] and "dying as told" in row["problem"]
    assert bench.node("s2")["state"] == "up"
    with pytest.raises(Refused, match="under way"):  # it still waits for s1
        bench.call("apply", file=str(bench.file))
    assert end_lab(bench.paths) == ["s1", "s2"]
    assert bench.gone()


def test_restart_op(bench: Bench) -> None:
    bench.up({"s1": switch()})
    before = bench.node("s1")
    after = bench.call("restart", node="s1")["s1"]
    assert after["epoch"] > before["epoch"] and after["pid"] != before["pid"]
    with pytest.raises(Refused, match="no process 's9' here; there are: s1"):
        bench.call("restart", node="s9")


def test_a_stopped_node_does_not_block_status(bench: Bench) -> None:
    bench.up({"s1": switch(), "s2": switch()})
    os.kill(bench.pids()["s1"], signal.SIGSTOP)
    rows = bench.call("status")["nodes"]
    assert "no answer" in rows["s1"]["silent"] and "silent" not in rows["s2"]
    end_lab(bench.paths)  # SIGTERM does not reach a stopped process; SIGKILL does
    assert bench.gone()


def test_down_leaves_nothing(bench: Bench) -> None:
    bench.up({"s1": switch(), "s2": switch()})
    children = [bench.process(name) for name in ("s1", "s2")]
    assert end_lab(bench.paths) == ["s1", "s2"]
    assert bench.gone() and not any(map(alive, children))
    assert not os.path.exists(os.path.join(os.environ["XDG_STATE_HOME"], "virtfab"))
    assert os.listdir(os.environ["XDG_RUNTIME_DIR"]) == []


def test_down_keeps_the_keys(bench: Bench) -> None:
    bench.up({"s1": switch()})
    keys = Path(os.environ["XDG_STATE_HOME"], "virtfab", "keys")
    keys.mkdir()
    (keys / "one.json").write_text("{}")
    end_lab(bench.paths)
    assert bench.gone() and (keys / "one.json").exists()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_children_outlive_fabricd_and_are_adopted(bench: Bench, signum: int) -> None:
    bench.up({"s1": switch(), "s2": switch()})
    before = bench.call("ps")["nodes"]
    bench.kill_fabricd(signum)
    assert all(identify(row["pid"]) for row in before.values())
    bench.begin()
    result = bench.call("apply", file=str(bench.file))
    assert result["actions"] == []
    for name, row in result["nodes"].items():
        assert (row["pid"], row["epoch"], row["state"]) == (before[name]["pid"], before[name]["epoch"], "up")
    # An adopted child is no child of this fabricd, but is watched all the same.
    os.kill(before["s1"]["pid"], signal.SIGKILL)
    until(lambda: bench.node("s1")["restarts"] == 1 and bench.node("s1")["state"] == "up", what="restart")


def test_a_child_that_died_while_there_was_no_fabricd_is_started(bench: Bench) -> None:
    bench.up({"s1": switch(), "s2": switch()})
    before = bench.call("ps")["nodes"]
    bench.kill_fabricd()
    assert processes.end(bench_process(before, "s1"), signal.SIGKILL, 5)
    bench.begin()
    after = bench.call("apply", file=str(bench.file))["nodes"]
    assert after["s2"]["pid"] == before["s2"]["pid"]
    assert after["s1"]["pid"] != before["s1"]["pid"] and after["s1"]["epoch"] > before["s1"]["epoch"]


def bench_process(rows: dict[str, Any], name: str) -> Process:
    process = identify(rows[name]["pid"])
    assert process is not None
    return process


def test_down_without_fabricd_leaves_nothing(bench: Bench) -> None:
    bench.up({"s1": switch(), "s2": switch()})
    rows = bench.call("ps")["nodes"]
    children = [bench_process(rows, name) for name in rows]
    bench.kill_fabricd()
    os.kill(children[0].pid, signal.SIGSTOP)
    assert leave_nothing(bench.paths) == ["s1", "s2"]
    assert bench.gone() and not any(map(alive, children))


def test_damaged_state_file_is_set_aside_and_its_processes_are_ended(bench: Bench) -> None:
    bench.up({"s1": switch()})
    old = bench.process("s1")
    bench.kill_fabricd()
    Path(bench.paths.database).write_bytes(b"no database at all" * 500)
    bench.begin()
    result = bench.call("apply", file=str(bench.file))
    assert result["nodes"]["s1"]["state"] == "up"
    until(lambda: not alive(old), what="the end of the process that nobody remembers")
    assert "damaged" in Path(bench.paths.log("fabricd")).read_text()


def test_a_run_folder_that_was_cleared_away(bench: Bench) -> None:
    """Some systems empty it at logout: what lives can be neither asked nor told; `up` and `down` still work."""
    bench.up({"s1": switch()})
    old, own = bench.process("s1"), Lock(bench.paths.lock("fabricd")).holder()
    shutil.rmtree(bench.paths.run)
    bench.begin()
    assert bench.call("apply", file=str(bench.file))["nodes"]["s1"]["state"] == "up"
    assert own is not None
    until(lambda: not alive(old) and identify(own) is None, what="the end of the old processes")
    shutil.rmtree(bench.paths.run)
    assert end_lab(bench.paths) == ["s1"]
    assert bench.gone()


def test_a_controller_that_hangs_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "_SILENCE_SECONDS", 0.3)
    bench.up({"s1": switch()})
    pid = Lock(bench.paths.lock("fabricd")).holder()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert end_lab(bench.paths) == ["s1"]
    assert bench.gone()


def test_damaged_state_file_and_no_fabricd(bench: Bench) -> None:
    bench.up({"s1": switch()})
    old = bench.process("s1")
    bench.kill_fabricd()
    Path(bench.paths.database).write_bytes(b"no database at all" * 500)
    assert leave_nothing(bench.paths) == ["s1"]
    assert bench.gone() and not alive(old)


def test_two_labs_side_by_side(bench: Bench, home: Path) -> None:
    other = Bench(home, "two")
    other.begin()
    bench.up({"s1": switch(text="one")})
    other.up({"s1": switch(text="two")})
    assert bench.pids()["s1"] != other.pids()["s1"]
    end_lab(bench.paths)
    assert bench.gone()
    with Client(other.paths.control("s1")) as client:
        assert client.call("status")["text"] == "two"
    end_lab(other.paths)
    assert other.gone()


def test_a_second_fabricd_gives_way(bench: Bench) -> None:
    with pytest.raises(UserError, match=r"has a controller already \(process [0-9]+\)"):
        bench.begin()
    bench.up({"s1": switch()})


def test_a_first_lab_file_that_is_no_good_leaves_nothing(bench: Bench) -> None:
    bench.file.write_text("{")
    with pytest.raises(Refused, match=r"one\.json"):
        bench.call("apply", file=str(bench.file))
    until(bench.gone, what="the end of a controller without a lab")


def test_a_later_lab_file_that_is_no_good_changes_nothing(bench: Bench) -> None:
    bench.up({"s1": switch()})
    before = bench.pids()
    bench.file.write_text("{")
    with pytest.raises(Refused, match=r"one\.json"):
        bench.call("apply", file=str(bench.file))
    assert bench.pids() == before


def test_thirty_two_children_start_together(bench: Bench) -> None:
    result = bench.up({f"s{i}": switch() for i in range(32)})
    assert {row["state"] for row in result["nodes"].values()} == {"up"}
    assert len({row["pid"] for row in result["nodes"].values()}) == 32


def test_fabricd_without_a_lab_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "daemons.fabricd"], capture_output=True, text=True)
    assert done.returncode == 2 and "--lab" in done.stderr


def test_down_waits_for_what_an_up_was_still_stopping(bench: Bench) -> None:
    bench.up({"s1": switch(), "s2": switch()})
    second = bench.process("s2")
    os.kill(second.pid, signal.SIGSTOP)  # it hears no SIGTERM, so it is killed after the grace
    bench.write({"s1": switch()})
    with Client(bench.paths.control("fabricd"), timeout=40) as client:
        client._socket.sendall(encode({"id": 1, "op": "apply", "args": {"file": str(bench.file)}}))
        until(lambda: "s2" not in bench.pids())
        end_lab(bench.paths)
    assert not alive(second)
    assert bench.gone()


def test_only_a_lab_of_nobody_can_be_held(bench: Bench) -> None:
    with Client(bench.paths.control("fabricd")) as first, Client(bench.paths.control("fabricd")) as second:
        first.begin("hold")
        with pytest.raises(Refused, match="is up already"):
            second.begin("hold")
    until(bench.gone)
    bench.begin()
    bench.up({"s1": switch()})
    with Client(bench.paths.control("fabricd")) as third, pytest.raises(Refused, match="is up already"):
        third.begin("hold")
    assert bench.node("s1")["state"] == "up"


def test_a_machine_that_leaves_with_its_daemon_leaves_nothing(bench: Bench) -> None:
    run, state = Path(bench.paths.run), Path(bench.paths.state)
    names = {"console": f"{run}/g1.console", "qmp": f"{run}/g1.qmp", "log": str(state / "logs" / "g1.console.log")}
    bench.up({"s1": switch(), "vmd": {"machines": [{"name": "g1", "nics": [], **names}]}})
    (state / "overlays").mkdir()
    left = [run / "g1.vm.json", run / "g1.pid", run / "g1.mon", state / "overlays" / "g1.qcow2"]
    for path in left:
        path.touch()
    bench.up({"s1": switch()})
    assert [path for path in left if path.exists()] == []


def test_a_controller_that_nobody_tells_anything_does_not_stay(home: Path) -> None:
    paths = LabPaths(lab_id("one", home / "x"))
    script = f"from daemons import fabricd; fabricd._UNUSED_SECONDS = 0.05; fabricd.main(['--lab', {paths.id!r}])"
    subprocess.run([sys.executable, "-P", "-c", script], timeout=60, check=True)
    assert not os.path.exists(paths.run) and not os.path.exists(paths.state)


def test_what_cannot_be_removed_is_told_and_keeps_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(paths: LabPaths) -> None:
        raise UserError("cannot remove it")

    monkeypatch.setattr(fabricd, "remove_folders", refuse)
    paths = LabPaths(lab_id("one", home / "x"))
    paths.create()
    loop = Loop()
    made = fabricd.Fabricd(loop, paths, SqliteStore(paths.database), {})
    told: list[str] = []
    reply = cast(Any, SimpleNamespace(event=told.append, fail=told.append, done=told.append))
    loop.call_later(0, lambda: made.down({}, reply))
    loop.call_later(30, loop.stop)
    loop.call_later(29, lambda: told.append("it stays"))
    loop.run()
    assert told == ["cannot remove it"]
    loop.close()
