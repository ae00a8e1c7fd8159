"""Ports that come and go while a lab runs: they work, are remembered, are told by status, and up takes them back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons.lab_client import Lab, UserError
from netvirt.nic import Nic
from tests.support.links import frame
from tests.support.user import vfab
from tests.support.waiting import until

LAB = """name: coming
vlans: {one: 10, two: 20}
topology:
  nodes:
    s1: {kind: switch, ports: {a: {access: one}, b: {access: one}, c: {access: one, tap: listen}}}
    s2: {kind: switch, ports: {a: {access: one}}}
    h1: {kind: host, addresses: [10.0.0.1/24]}
    h2: {kind: host, addresses: [10.0.0.2/24]}
  links:
    - endpoints: ["s1:t", "s2:t"]
    - endpoints: ["s1:u", "s2:u"]
    - endpoints: ["s1:a", "h1:eth0"]
    - endpoints: ["s2:a", "h2:eth0"]
loops: block
"""


@pytest.fixture
def lab(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    folder = home / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "coming.fab.yml").write_text(LAB)
    vfab("up", "coming.fab.yml")
    with Lab("coming") as made:
        yield made
    vfab("down", "--all")


def ports(lab: Lab, switch: str = "s1") -> set[str]:
    return {row["name"] for row in lab.status()["nodes"][switch]["ports"]}


def told(lab: Lab) -> list[str]:
    return [row["text"] for row in lab.status()["changed"]]


def nic(lab: Lab, port: str) -> Nic:
    return Nic.connect(f"ipc://{lab.known.paths.zmq('s1')}#{port}", name=f"nic-{port}")


def test_a_new_port_carries_frames_and_survives_its_switch(lab: Lab) -> None:
    answer = lab.port_add("s1:pod1", access="one")
    assert [row["text"] for row in answer["changes"]] == ["s1:pod1 port: none -> listen, access 10"]
    vfab("restart", "s1")
    vfab("port", "add", "s1:pod2", "access=one", "mtu=1500")
    with nic(lab, "pod1") as one, nic(lab, "pod2") as other:
        until(lambda: one.carrier and other.carrier)
        one.send(frame(1))
        assert other.receive(10.0) == frame(1)
    assert told(lab) == ["s1:pod1 port: none -> listen, access 10", "s1:pod2 port: none -> listen, access 10"]
    assert "s1:pod1 port: none -> listen, access 10" in vfab("status").out


def test_up_takes_them_back_and_those_that_went_come_again(lab: Lab) -> None:
    vfab("port", "add", "s1:pod1", "access=20", "tap=listen")
    vfab("port", "remove", "s1:c")
    assert "pod1" in ports(lab) and "c" not in ports(lab)
    socket = Path(lab.known.paths.socket("s1-pod1.tap"))
    assert socket.is_socket()
    assert vfab("pingall").code == 0  # the lab file's links are known all the same
    back = vfab("up", "coming.fab.yml").out
    assert "s1:pod1 port: tap, access 20 -> none" in back and "s1:c port: none -> tap, access 10" in back
    assert "c" in ports(lab) and "pod1" not in ports(lab) and told(lab) == []
    assert not socket.exists()


def test_a_loop_is_still_seen_where_ports_came(lab: Lab) -> None:
    lab.port_add("s1:pod1", access=10)
    lab.port("s1:pod1").set(access=20)
    blocked = [f"{switch}:{row['name']}" for switch, config in lab.configs().items() for row in config["ports"]
               if row["state"] == "blocked"]  # fmt: skip
    with pytest.raises(UserError, match="a loop"):
        for port in blocked:
            lab.port(port).set(state="forwarding")
    lab.port_remove("s1:pod1")
    assert not any("pod1" in text for text in told(lab))


def test_what_cannot_be_is_a_sentence_and_changes_nothing(lab: Lab) -> None:
    before = ports(lab)
    assert "lab file's link to h1:eth0" in vfab("port", "remove", "s1:a", code=1).sentence
    assert "has a port b already" in vfab("port", "add", "s1:b", code=1).sentence
    assert "no port 'x'" in vfab("port", "remove", "s1:x", code=1).sentence
    assert "there is no switch 's9'" in vfab("port", "add", "s9:x", code=1).sentence
    assert "write SWITCH:PORT" in vfab("port", "add", "s1", code=1).sentence
    assert "is no port name" in vfab("port", "add", "s1:-x", code=1).sentence
    assert "is no KEY=VALUE" in vfab("port", "add", "s1:x", "tap", code=2).sentence
    assert "no value of a lab file" in vfab("port", "add", "s1:x", "udp={", code=2).sentence
    assert "do not go together" in vfab("port", "add", "s1:x", "udp=1", "udp.listen=2", code=2).sentence
    assert "Nothing was changed" in vfab("port", "add", "s1:x", "--dry-run").out
    wish = {"s1": {"ports_added": {"x": {"pvid": 10}}}, "s2": {"ports_removed": ["t"]}}
    with pytest.raises(UserError, match="link to s1:t"):
        lab.change(wish)
    assert ports(lab) == before and told(lab) == []


def test_keys_with_a_dot_and_a_port_that_cannot_be_opened_yet(lab: Lab) -> None:
    vfab("port", "add", "s1:u1", "udp.listen=127.0.0.1:0", "udp.connect=127.0.0.1:9", code=None)
    answer = vfab("port", "add", "s1:w1", "packet=vf-not-there", "trunk=10,20", "native=1")
    assert "packet, trunk 1,10,20" in answer.out
    row = next(row for row in vfab("port", "show", "s1", "--json").json if row["name"] == "w1")
    assert row["kind"] == "packet" and row["settings"]["pvid"] == 1 and not row["carrier"]
