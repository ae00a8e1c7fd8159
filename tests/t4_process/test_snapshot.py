"""`snapshot` of a real switchd: a copy does with a frame what the process does, and asking changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netvirt.switch import Switch as Plain
from tests.support.switches import Switch, port
from tests.support.waiting import until
from tools.journey import Copy, Hop, pass_through
from tools.wiring import Wiring

A, B = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2))
ALL = b"\xff" * 6
TRUNK = {"mode": "trunk", "pvid": 0, "allowed": "10,20"}


@pytest.fixture
def switch(home: Path) -> Iterator[Switch]:
    made = Switch(home / "run", "s1", [port("a"), port("t", **TRUNK), port("x", pvid=20)])
    yield made
    made.close()
    assert "internal error" not in made.log.read_text()


def told(switch: Switch, where: str, frame: bytes) -> Hop:
    """What a fresh copy does with it."""
    value = switch.client.call("snapshot")
    assert value["next"] is None
    hop = Hop("s1", where, frame)
    pass_through(hop, Copy(Plain.restore(value), value["now"]), Wiring({}, []))
    return hop


def state(switch: Switch) -> tuple[Any, Any]:
    stations = [{**row, "age_s": 0} for row in switch.client.call("fdb")["stations"]]
    return switch.client.call("statistics")["ports"], stations


def test_a_copy_does_what_the_process_does(switch: Switch) -> None:
    with switch.nic("a") as a, switch.nic("t") as t, switch.nic("x") as x:
        switch.up("a", "t", "x")
        assert t.send(ALL + B + b"\x81\x00\x00\x0a\x88\xb5" + bytes(46))
        assert a.receive(timeout=20) is not None
        until(lambda: [row["mac"] for row in state(switch)[1]] == [B.hex(":")], what="B is known")
        frame = B + A + b"\x88\xb5" + bytes(50)
        before = state(switch)
        hop = told(switch, "a", frame)
        assert [line.rule for line in hop.lines] == ["untagged", "vlan", "learn", "found"]
        assert state(switch) == before, "nothing was counted, nothing was learned"
        assert a.send(frame)
        tagged = frame[:12] + b"\x81\x00\x00\x0a" + frame[12:]
        assert [t.receive(timeout=20)] == [way.frame for way in hop.ways] == [tagged]
        assert x.receive(timeout=0) is None
        x.close()
        until(lambda: not switch.port("x")["carrier"], what="x is gone")
        gone = told(switch, "t", ALL + B + b"\x81\x00\x00\x14\x88\xb5" + bytes(46))
        assert [line.reason for line in gone.lines if line.rule == "drop"] == ["no-destination"]
