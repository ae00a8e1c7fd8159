"""A lab that is changed while it runs: nothing of other VLANs is lost, no frame sees half a change, and all is kept."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemons.lab_client import Lab, UserError
from daemons.locks import Lock
from daemons.spawn import spawn
from netvirt.nic import Nic
from tests.support.links import frame, numbers
from tests.support.user import vfab
from tests.support.waiting import until

LAB = """name: live
vlans: {one: 10, two: 20, three: 30}
topology:
  nodes:
    s1:
      kind: switch
      ports:
        {a: {access: one}, p: {access: one}, q: {access: two}, x: {trunk: [one, two], native: one}, t: {trunk: [one]}}
    s2: {kind: switch, ports: {a: {access: one}, q: {access: two}, t: {trunk: [one]}}}
  links:
    - endpoints: ["s1:t", "s2:t"]
"""
CHANGES = 100
MOST_AHEAD = 512  # frames that are sent and not yet seen: far less than any queue on the way holds
Attach = Callable[[str], Nic]


@pytest.fixture
def lab(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    folder = home / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "live.fab.yml").write_text(LAB)
    vfab("up", "live.fab.yml")
    with Lab("live") as made:
        yield made
    vfab("down", "--all")


@pytest.fixture
def attach(lab: Lab) -> Iterator[Attach]:
    nics: list[Nic] = []

    def one(where: str) -> Nic:
        switch, _, port = where.partition(":")
        nics.append(Nic.connect(f"ipc://{lab.known.paths.zmq(switch)}#{port}", name=f"nic-{port}"))
        return nics[-1]

    yield one
    for nic in nics:
        nic.close()


def broadcast(number: int) -> bytes:
    return b"\xff" * 6 + b"\x02\0\0\0\0\x07" + frame(number, 60)[12:]


def unaffected(lab: Lab) -> list[Callable[[], Any]]:
    """Changes that do nothing to VLAN 10, though some are made to the ports that carry it."""
    return [
        lambda: lab.port("s1:t").set(allowed="+three"),
        lambda: lab.port("s1:q").set(access="three"),
        lambda: lab.port("s2:t").set(allowed="+30", priority=5),
        lambda: lab.vlan_add(40, "four", tagged=["s1:x", "s2:t"], untagged=["s2:q"]),
        lambda: lab.station_add("s1", "02:00:00:00:00:99", 20, "x"),
        lambda: lab.port("s1:a").set(mac_limit=50, storm={"unicast": "1 Mfps"}, mtu=9000),
        lambda: lab.change({"s1": {"mirrors": [{"name": "m", "vlans": "30", "to_port": "q"}]}}),
        lambda: lab.change({"s1": {"mirrors": []}, "s2": {"vlans_settings": {"limits": [[20, 5]]}}}),
        lambda: lab.station_remove("s1", "02:00:00:00:00:99", 20),
        lambda: lab.port("s1:q").set(mode="trunk", allowed={20, 30}, native=2),
        lambda: lab.port("s1:q").set(access="two"),
        lambda: lab.port("s2:q").set(access="two"),
        lambda: lab.vlan_remove(40),
        lambda: lab.port("s1:t").set(allowed="-three"),
        lambda: lab.flush("s1", vid=20),
    ]


class Changer(threading.Thread):
    """Makes changes in a row beside the test's own thread."""

    def __init__(self, steps: list[Callable[[], Any]]) -> None:
        super().__init__()
        self._steps = steps
        self.made = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while self.made < CHANGES:
                self._steps[self.made % len(self._steps)]()
                self.made += 1
        except Exception as error:
            self.error = error


def pour(sender: Nic, receivers: list[Nic], changer: Changer) -> tuple[int, list[list[int]]]:
    """Frames from the sender as long as changes are made: (how many, what each receiver got)."""
    sent, got = 0, [[] for _ in receivers]  # type: tuple[int, list[list[int]]]

    def arrived(least: int) -> bool:
        for nic, mine in zip(receivers, got, strict=True):
            while (data := nic.receive(timeout=0.0005)) is not None:
                mine += numbers([data])
        return sum(map(len, got)) >= least

    changer.start()
    while changer.is_alive():
        assert sender.send_burst([broadcast(number) for number in range(sent, sent + 32)])
        sent += 32
        until(partial(arrived, sent - MOST_AHEAD), what="frames")
    changer.join()
    assert changer.error is None and changer.made == CHANGES, changer.error
    until(lambda: arrived(sent), what=f"all {sent} frames; {list(map(len, got))} came")
    return sent, got


def test_no_frame_of_another_vlan_is_lost(lab: Lab, attach: Attach) -> None:
    sender, receiver = attach("s1:a"), attach("s2:a")
    sent, (got,) = pour(sender, [receiver], Changer(unaffected(lab)))
    assert got == list(range(sent)), "every frame, once, in its order"
    assert receiver.receive(timeout=0.05) is None


def test_no_frame_sees_half_a_change(lab: Lab, attach: Attach) -> None:
    """p and q change places between the VLANs: every frame has exactly one of them in its VLAN."""
    sender, p, q = attach("s1:x"), attach("s1:p"), attach("s1:q")

    def swap(vid: int) -> Callable[[], Any]:
        ports = {"p": {"pvid": vid}, "q": {"pvid": 30 - vid}}
        return lambda: lab.change({"s1": {"ports": ports}})

    sent, (at_p, at_q) = pour(sender, [p, q], Changer([swap(20), swap(10)]))
    assert sorted(at_p + at_q) == list(range(sent)), "none twice, none lost"
    assert at_p and at_q


def test_all_or_nothing(lab: Lab) -> None:
    before = lab.configs()
    good = {"ports": {"a": {"pvid": 20}}}
    for wrong in ({"s2": {"ports": {"a": {"pvid": 4095}}}}, {"s2": {"ports": {"no": {}}}}, {"s9": good}):
        with pytest.raises(UserError):
            lab.change({"s1": good, **wrong})
    assert lab.configs() == before and lab.status()["changed"] == []
    assert lab.change({"s1": good}, dry_run=True)["changes"] and lab.configs() == before


def fabricd_pid(lab: Lab) -> int:
    pid = Lock(lab.known.paths.lock("fabricd")).holder()
    assert pid is not None
    return pid


def test_changes_outlive_fabricd_and_switches(lab: Lab, attach: Attach) -> None:
    lab.port("s1:q").set(access="one")
    lab.station_add("s1", "02:00:00:00:00:99", 10, "a")
    os.kill(fabricd_pid(lab), signal.SIGKILL)
    os.kill(vfab("ps", "--json", code=None).json["nodes"]["s1"]["pid"], signal.SIGKILL)
    until(lambda: spawned(lambda: spawn(lab.known.paths)), what="a new fabricd")
    with Lab("live") as again:
        until(lambda: again.status()["nodes"]["s1"]["state"] == "up", what="s1")
        assert [change["text"] for change in again.status()["changed"]] == [
            "s1:q pvid: 20 -> 10", "s1 static 02:00:00:00:00:99 in VLAN 10: none -> a"
        ]  # fmt: skip
        (station,) = again.stations("s1", mac="02:00:00:00:00:99")
        assert (station["kind"], station["port"]) == ("static", "a")
        assert again.port("s1:q").settings["pvid"] == 10
        sender, receiver = attach("s1:p"), attach("s1:q")
        sender.send(broadcast(7))
        assert numbers([receiver.receive(timeout=20) or b""]) == [7]


def spawned(start: Callable[[], Any]) -> bool:
    try:
        start()
    except UserError:  # the old one's lock is not free yet
        return False
    return True


def test_up_makes_it_as_the_file_says_again(lab: Lab) -> None:
    told = vfab("port", "set", "s1:p", "s1:q", "access=three").out
    assert told.splitlines() == ["s1:p pvid: 10 -> 30", "s1:q pvid: 20 -> 30"]
    assert "Changed since the file" in (status := vfab("status").out) and "s1:q pvid: 20 -> 30" in status
    assert "would take back s1:p pvid: 30 -> 10" in vfab("up", "live.fab.yml", "--dry-run").out
    back = vfab("up", "live.fab.yml").out
    assert re.findall("^took back (.*)", back, re.MULTILINE) == ["s1:p pvid: 30 -> 10", "s1:q pvid: 30 -> 20"]
    assert "Changed" not in vfab("status").out and lab.status()["changed"] == []
    assert "took back" not in vfab("up", "live.fab.yml").out


def test_the_verbs(lab: Lab) -> None:
    assert "Nothing was changed" in vfab("port", "set", "s1:a", "mtu=1500", "--dry-run").out
    assert lab.port("s1:a").settings["mtu"] == 9216
    assert "Nothing to change" in vfab("port", "set", "s1:a", "access=one").out
    vfab("vlan", "add", "40", "--name", "four", "s1:t", "s2:t", "s1:q:untagged")
    assert lab.vlans["four"] == 40 and lab.port("s1:q").settings["pvid"] == 40
    rows = {row["vids"]: row for row in vfab("vlan", "show", "s1", "--json").json}
    assert (rows["40"]["untagged"], rows["40"]["tagged"], rows["40"]["name"]) == (["q"], ["t"], "four")
    assert "s1:q is in VLAN 40; move it first" in vfab("vlan", "remove", "four", code=1).sentence
    vfab("port", "set", "s1:q", "access=two")
    vfab("vlan", "remove", "four", "s2:t")
    assert lab.port("s2:t").settings["allowed"] == "10" and lab.port("s1:t").settings["allowed"] == "10,40"
    vfab("vlan", "remove", "four")
    assert "four" not in lab.vlans and lab.port("s1:t").settings["allowed"] == "10"
    vfab("fdb", "add", "s1", "02-00-00-00-00-05", "vlan=two", "port=x")
    assert vfab("fdb", "show", "s1", "--json").json[0]["kind"] == "static"
    assert [len(vfab("fdb", "show", word, "--json").json) for word in ("vlan=two", "vid=20", "vlan=one")] == [1, 1, 0]
    assert vfab("fdb", "flush", "s1", "vlan=two", "--json").json == {"s1": 0}
    assert len(lab.stations("s1")) == 1, "what was given is not learned"
    vfab("fdb", "remove", "s1", "02:00:00:00:00:05", "vlan=20")
    assert lab.stations("s1") == []
    with pytest.raises(UserError, match="stations have no 'vlan'; there are vid, port, mac"):
        lab.stations("s1", vlan=10)


def test_a_port_that_was_shut_is_brought_back(lab: Lab, attach: Attach) -> None:
    def shut() -> bool:
        return bool(vfab("port", "show", "s1:a", "--json").json[0]["shut"])

    lab.port("s1:a").set(mac_limit=1, on_limit="shutdown")
    nic = attach("s1:a")
    assert "Nothing to change" in vfab("port", "set", "s1:a", "state=forwarding").out
    for last in (b"\x07", b"\x08"):
        nic.send(b"\xff" * 6 + b"\x02\0\0\0\0" + last + frame(1, 60)[12:])
    until(shut)
    assert re.search(r"^s1:a +up +shut ", vfab("status", "--ports").out, re.MULTILINE)
    assert "s1:a state: shut -> forwarding" in vfab("port", "set", "s1:a", "state=forwarding", "--dry-run").out
    assert shut()
    assert vfab("port", "set", "s1:a", "s1:p", "state=forwarding").out == "s1:a state: shut -> forwarding\n"
    assert not shut()


def test_the_destination_of_a_mirror_is_in_no_vlan(lab: Lab) -> None:
    lab.change({"s1": {"mirrors": [{"name": "m", "vlans": "30", "to_port": "p"}]}})
    rows = {row["vids"]: row for row in vfab("vlan", "show", "s1", "--json").json}
    assert rows["10"]["untagged"] == ["a", "x"]


def test_an_isolated_port_is_shown_in_its_vlan(lab: Lab) -> None:
    lab.change({"s1": {"vlans_settings": {"private": [[50, 51, []]]}, "ports": {"p": {"pvid": 50}, "q": {"pvid": 51}}}})
    rows = {row["vids"]: row for row in vfab("vlan", "show", "s1", "--json").json}
    assert rows["50-51"]["untagged"] == ["p", "q"]  # q gives out frames of 50 only


WRONG = [
    (("port", "set", "s1:a", "mtu=0"), "'0' is no MTU; give a number from 64", 1),
    (("port", "set", "s1:a", "mtu=none"), "'none' is no MTU", 1),
    (("port", "set", "s1:a", "access=10", "trunk=20"), "either access, trunk or tunnel", 1),
    (("port", "set", "s1:a"), "needs ports and settings", 2),
    (("port", "set", "access=10"), "needs ports and settings", 2),
    (("port", "set", "s1:a", "acess=10"), "did you mean 'access'", 1),
    (("port", "set", "s1:a", "access=tow"), "did you mean 'two'", 1),
    (("port", "set", "s3:a", "access=two"), "there is no switch 's3'", 1),
    (("port", "set", "s1:z", "access=two"), "s1 has no port 'z'", 1),
    (("port", "set", "s1", "access=two"), "is no port; write SWITCH:PORT", 1),
    (("port", "set", "s1:a", "mtu=1", "mtu=2"), "stands there twice", 2),
    (("vlan", "add", "40"), "needs a --name, or ports", 2),
    (("vlan", "add", "40", "s1:a"), "has one VLAN", 1),
    (("vlan", "add", "4095", "s1:t"), "out of range", 1),
    (("fdb", "add", "s1", "02:00:00:00:00:05", "vlan=10"), "needs SWITCH MAC vlan=... port=...", 2),
    (("fdb", "add", "s1", "nonsense", "vlan=10", "port=a"), "nonsense", 1),
    (("fdb", "add", "s1", "03:00:00:00:00:05", "vlan=10", "port=a"), "not the address of one station", 1),
    (("fdb", "remove", "s1", "02:00:00:00:00:05", "vlan=10"), "no static station", 1),
    (("fdb", "show", "s1", "vlan=tow"), "did you mean 'two'", 2),
    (("fdb", "show", "s1", "vlan=two", "vid=10"), "stands there twice", 2),
    (("fdb", "show", "s1", "age=3"), "is none of vlan=, port=, mac=", 2),
    (("fdb", "show", "s1", "a"), "is none of vlan=VLAN", 2),
    (("fdb", "flush", "s1", "port=z"), "no port z", 1),
    (("fdb", "flush", "port=a"), "one SWITCH", 2),
]


def test_what_cannot_be_is_one_sentence(lab: Lab) -> None:
    for words, said, code in WRONG:
        assert said in vfab(*words, code=code).sentence
    assert lab.status()["changed"] == []


RING = """name: ring
loops: block
topology:
  nodes:
    s1: {kind: switch, ports: {a: {access: 5}}}
    s2: {kind: switch}
  links:
    - endpoints: ["s1:t", "s2:t"]
    - endpoints: ["s1:u", "s2:u"]
"""


def test_a_change_that_would_make_a_loop_is_refused(home: Path) -> None:
    file = home / "ring.fab.yml"
    file.write_text(RING)
    vfab("up", str(file))
    refused = vfab("port", "set", "s1:u", "s2:u", "state=forwarding", code=1).sentence
    assert "this would make a loop in every VLAN: s1 - s2 - s1" in refused
    vfab("port", "set", "s1:u", "state=forwarding")
    vfab("port", "set", "s1:t", "allowed=-5")
    assert "a loop in " in vfab("port", "set", "s2:u", "state=forwarding", code=1).sentence
    vfab("port", "set", "s2:u", "trunk=5", "native=none", "state=forwarding")
    file.unlink()
    assert "make a circle" in vfab("port", "set", "s2:u", "trunk=5,6", code=1).sentence
    vfab("down", "--all")
