"""Which links a lab waits for, from the configurations alone."""

from __future__ import annotations

from typing import Any

from daemons import carriers
from daemons.state import Desired

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H#]yf7"[:40]  # one with "#" in it


def port(name: str, kind: str = "listen", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "state": "forwarding", **more}


LAB = {
    "s1": Desired(
        "switchd",
        {
            "listen": [{"endpoint": "ipc:///R/s1.zmq"}, {"endpoint": "tcp://127.0.0.1:7001"}],
            "ports": [port("eth1"), port("eth2"), port("eth5", "qemu"), port("eth9"), port("tcp1")],
        },
    ),
    "s2": Desired(
        "switchd",
        {
            "listen": [{"endpoint": "ipc:///R/s2.zmq"}],
            "ports": [
                port("eth9", "dial", endpoint="ipc:///R/s1.zmq#eth9"),
                port("tcp1", "dial", endpoint=f"tcp://127.0.0.1:7001?key={KEY}#tcp1"),
                port("far", "dial", endpoint=f"tcp://192.0.2.1:7001?key={KEY}#eth1"),
            ],
        },
    ),
    "hostd": Desired(
        "hostd", {"hosts": [{"name": "h1", "nics": [{"name": "eth0", "endpoint": "ipc:///R/s1.zmq#eth1"}]}]}
    ),
}


def test_only_links_with_both_ends_in_the_lab_are_waited_for() -> None:
    assert carriers.expected(LAB) == {
        "s1": {("s1", "eth1"), ("s1", "eth9"), ("s1", "tcp1")},
        "s2": {("s2", "eth9"), ("s2", "tcp1")},
        "hostd": {("h1", "eth0")},
    }


def test_down_says_which() -> None:
    wanted = carriers.expected(LAB)
    status = {"ports": [{"name": "eth1", "carrier": True}, {"name": "eth9", "carrier": False}]}
    assert carriers.down("s1", wanted["s1"], status) == ["s1:eth9", "s1:tcp1"]
    hosts = {"hosts": [{"name": "h1", "nics": [{"name": "eth0", "carrier": True}]}]}
    assert carriers.down("hostd", wanted["hostd"], hosts) == []
    assert carriers.down("hostd", wanted["hostd"], {}) == ["h1:eth0"]


def tapped(name: str, nic: str, path: str) -> dict[str, Any]:
    return {"name": name, "nics": [{"name": nic, "path": path}]}


MACHINES = {
    "s1": Desired(
        "switchd",
        {
            "listen": [{"endpoint": "ipc:///R/s1.zmq"}],
            "ports": [
                port("eth1", "tap", path="/R/s1-eth1.tap"),
                port("eth2", "tap", path="/R/s1-eth2.tap"),
                port("eth3", "qemu", role="dial", path="/R/vm1-eth0.qemu"),
                port("eth4", "qemu", role="dial", path="/R/s1-eth4.qemu"),  # an external one
                port("eth5", "tap", path="/R/s1-eth5.tap") | {"state": "disabled"},
            ],
        },
    ),
    "netnsd": Desired(
        "netnsd",
        {
            "hosts": [tapped("h1", "eth0", "/R/s1-eth1.tap"), tapped("h2", "eth0", "/R/s1-eth5.tap")],
            "uplinks": [tapped("out", "eth0", "/R/s1-eth2.tap")],
        },
    ),
    "vmd": Desired("vmd", {"machines": [tapped("vm1", "eth0", "/R/vm1-eth0.qemu")]}),
}


def test_machines_of_ours_are_waited_for() -> None:
    assert carriers.expected(MACHINES) == {
        "s1": {("s1", "eth1"), ("s1", "eth2"), ("s1", "eth3")},
        "netnsd": {("h1", "eth0"), ("out", "eth0")},
        "vmd": set(),
    }
    alone = {"netnsd": MACHINES["netnsd"], "vmd": MACHINES["vmd"]}
    assert carriers.expected(alone) == {"netnsd": set(), "vmd": set()}


def test_a_machine_that_was_turned_off_is_not_missed() -> None:
    def row(state: str, problem: str = "") -> dict[str, Any]:
        return {"machines": [{"name": "vm1", "state": state, "problem": problem}]}

    assert carriers.off([{"ports": []}, row("stopped")]) == {"vm1"}
    assert carriers.off([row("running")]) == carriers.off([row("stopped", "QEMU ended")]) == carriers.off([]) == set()
    assert carriers.expected(MACHINES, frozenset({"vm1"}))["s1"] == {("s1", "eth1"), ("s1", "eth2")}
