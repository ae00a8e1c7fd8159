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
