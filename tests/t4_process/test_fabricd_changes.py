"""fabricd's `change` with doubles as children: what one of them refuses, none of them keeps; one change at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from daemons.client import Refused
from tests.t4_process.test_fabricd import Bench, tidy


@pytest.fixture
def bench(home: Path) -> Iterator[Bench]:
    bench = Bench(home, "one")
    bench.begin()
    node = {"listen": [{"endpoint": "ipc:///R/s.zmq"}], "ports": [{"name": "e1", "kind": "listen", "pvid": 1}]}
    bench.up({"s1": node, "s2": node})
    yield bench
    tidy(bench)


def named(name: str) -> dict[str, Any]:
    return {"vlans": {"7": name}}


def changed(bench: Bench) -> list[str]:
    return [row["text"] for row in bench.call("status")["changed"]]


def test_a_change_is_told_kept_and_taken_back(bench: Bench) -> None:
    answer = bench.call("change", switches={"s1": named("office"), "s2": {"ports": {"e1": {"pvid": 5}}}})
    assert answer["waiting"] == {} and len(answer["changes"]) == 2
    assert changed(bench) == ["s1 VLAN 7: none -> office", "s2:e1 pvid: 1 -> 5"]
    back = bench.call("apply", file=str(bench.file))
    assert [row["text"] for row in back["taken_back"]] == ["s1 VLAN 7: office -> none", "s2:e1 pvid: 5 -> 1"]
    assert changed(bench) == [] and bench.call("apply", file=str(bench.file))["actions"] == []


def test_what_one_refuses_none_keeps(bench: Bench) -> None:
    with pytest.raises(Refused, match="s2: a VLAN of this name is refused; nothing was changed"):
        bench.call("change", switches={"s1": named("office"), "s2": named("refuse")})
    assert changed(bench) == []
    assert bench.call("change", switches={"s1": named("office"), "s2": named("lab")})["waiting"] == {}
    assert len(changed(bench)) == 2


def test_nothing_to_change(bench: Bench) -> None:
    assert bench.call("change", switches={"s1": {"ports": {"e1": {"pvid": 1}}}})["changes"] == []
    assert bench.call("change", switches={"s1": named("office")}, dry_run=True)["changes"] != []
    assert changed(bench) == []


@pytest.mark.parametrize("switches", [None, {}, [], {"s3": {}}, {"s1": 7}, {"s1": {"no": 1}}], ids=repr)
def test_junk_is_one_sentence(bench: Bench, switches: Any) -> None:
    with pytest.raises(Refused) as caught:
        bench.call("change", switches=switches)
    assert "\n" not in str(caught.value)


def test_many_at_once_are_made_one_after_the_other(bench: Bench) -> None:
    answers: list[Any] = []

    def one(vid: int) -> None:
        answers.append(bench.call("change", switches={"s1": {"vlans": {str(vid): f"v{vid}"}}}))

    threads = [Thread(target=one, args=(vid,)) for vid in range(10, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20 and all(len(answer["changes"]) == 1 for answer in answers)
    assert sorted(changed(bench)) == [f"s1 VLAN {vid}: none -> v{vid}" for vid in range(10, 30)]


def test_a_switch_that_is_away_will_be_so_when_it_is_back(bench: Bench) -> None:
    bench.call("change", switches={"s1": named("office")})
    bench.kill_fabricd()
    bench.begin()
    assert changed(bench) == ["s1 VLAN 7: none -> office"]
