"""`vfab attach`: each program at each kind of port gets something to paste or one sentence; what is pasted parses."""

from __future__ import annotations

import argparse
import json
import re
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from daemons.errors import UserError
from daemons.known import KnownLab
from daemons.paths import LabPaths
from daemons.state import Desired
from tests.t2_core.test_lab_plugs import made
from tools import homeways
from tools.verbs import attach

MAC = re.compile(r"02(:?[0-9a-f]{2}){5}")
HEAD = {"listen": [{"endpoint": "ipc:///run/s1.zmq"}]}
# kind -> (what the lab file's words become, what every snippet must name)
PORTS: dict[str, tuple[dict[str, Any], str]] = {
    "free": ({"kind": "listen", "peer": ""}, "ipc:///run/s1.zmq#free"),
    "dial": ({"kind": "dial", "peer": "s2:eth9"}, ""),
    "stream": ({"kind": "qemu", "role": "dial", "path": "/run/s1-e.qemu", "peer": ""}, "/run/s1-e.qemu"),
    "server": ({"kind": "qemu", "role": "listen", "path": "/run/s1-e.qemu", "peer": ""}, "/run/s1-e.qemu"),
    "dgram": ({"kind": "dgram", "path": "/run/ours", "peer_path": "/run/theirs", "peer": ""}, "/run/theirs"),
    "udp": ({"kind": "udp", "listen": "127.0.0.1:5000", "connect": "127.0.0.2:5001", "peer": ""}, "5001"),
    "vde": ({"kind": "vde", "role": "listen", "folder": "/run/s1.vde", "number": 4, "peer": ""}, "/run/s1.vde"),
    "plug": ({"kind": "vde", "role": "plug", "folder": "/run/vde", "number": 0, "peer": ""}, "/run/vde"),
    "handed": ({"kind": "tap", "path": "/run/s1-e.tap", "peer": ""}, "s1:handed"),
    "tap": ({"kind": "tap", "device": "t1", "peer": ""}, "t1"),
    "packet": ({"kind": "packet", "device": "e--1", "peer": ""}, "e--1"),
    "vmnet": ({"kind": "packet", "device": "vmnet2", "peer": ""}, "vmnet2"),
    "websocket": ({"kind": "websocket", "at": "127.0.0.1:8080", "peer": ""}, "ws://127.0.0.1:8080/websocket"),
    "vxlan": (
        {"kind": "vxlan", "local": "10.0.0.1", "remotes": ["10.0.0.2"], "vnis": [[10, 1010]], "peer": ""},
        "1010",
    ),
}
ASKED = (
    "qemu", "libvirt", "virtualbox", "vmware", "hyperv", "xen", "firecracker", "cloud-hypervisor", "bochs", "hercules",
    "gns3", "lxc", "v86", "python",
)  # fmt: skip


def ways(kind: str) -> dict[str, str]:
    row, _ = PORTS[kind]
    return attach.ways(f"s1:{kind}", HEAD, {"name": kind, **row}, "02:11:22:33:44:55")


def xml(text: str) -> ElementTree.Element:
    """As in a domain that has QEMU's namespace."""
    return ElementTree.fromstring(f"<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>{text}</domain>")


def code(text: str) -> str:
    """Without the lines that are for people."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """A running lab with a port of each kind, as far as `attach` looks at one."""
    known = KnownLab("lab-1", "lab", "lab.fab.yml", LabPaths("lab-1"))
    config = {**HEAD, "ports": [{"name": name, **row} for name, (row, _) in PORTS.items()]}
    monkeypatch.setattr(attach, "choose", lambda name: known)
    monkeypatch.setattr(attach, "desired", lambda found: {"s1": Desired("switchd", config)})


def test_every_word_that_was_asked_for_is_one_and_has_a_port() -> None:
    assert set(ASKED) <= set(attach.PROGRAMS) == set(homeways.HOMES)
    given = {program for kind in PORTS if kind != "dial" for program in ways(kind)}
    assert given == set(attach.PROGRAMS) - {"nbd"}, "what can be pasted can be asked for, and nothing else"


@pytest.mark.parametrize("kind", PORTS)
@pytest.mark.parametrize("program", homeways.HOMES)
def test_something_to_paste_or_one_sentence(
    lab: None, kind: str, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = argparse.Namespace(lab=None, port=f"s1:{kind}", program=program, json=False)
    if kind != "dial" and program in ways(kind):
        assert attach.run(options) == 0
        assert PORTS[kind][1] in capsys.readouterr().out
        return
    with pytest.raises(UserError) as raised:
        attach.run(options)
    said = str(raised.value)
    assert said.startswith(f"s1:{kind} ") and "\n" not in said and not said.endswith(".")
    if kind != "dial" and program != "nbd":
        assert f"cannot be used from {program}, which " in said and said.endswith(f" at s1:{kind} in the lab file")


@pytest.mark.parametrize("program", homeways.HOMES)
def test_the_words_for_the_lab_file_make_a_port_that_the_program_has_a_use_for(program: str) -> None:
    key = homeways.HOMES[program].key
    if program in ("nbd", "python"):
        assert key == "" or "{access: 10}" in key
        return
    mode = "trunk: all" if key.startswith("vxlan") else "access: 10"
    row = made(f"{{{mode}, {key}}}")["eth1"]
    assert program in attach.ways("s1:eth1", HEAD, row, "02:11:22:33:44:55")


@pytest.mark.parametrize("kind", [kind for kind in PORTS if kind != "dial"])
def test_what_is_pasted_parses(kind: str) -> None:
    found = ways(kind)
    if "libvirt" in found:
        domain = xml(found["libvirt"])
        (only,) = domain
        assert only.tag in ("interface", "{http://libvirt.org/schemas/domain/qemu/1.0}commandline")
    if "python" in found:
        compile(found["python"], kind, "exec")
    if "firecracker" in found:
        body = json.loads(code(found["firecracker"]))
        assert body == {"iface_id": "eth0", "guest_mac": "02:11:22:33:44:55", "host_dev_name": PORTS[kind][1]}
    cards = set(found) & {"qemu", "virtualbox", "xen", "cloud-hypervisor", "bochs", "libvirt"}
    assert all(MAC.search(found[program]) for program in cards), "a guest's card has an address of its own"


def test_libvirt_gives_qemu_the_words_that_qemu_is_given() -> None:
    for kind in ("stream", "server", "dgram", "vde"):
        values = [argument.attrib["value"] for argument in xml(ways(kind)["libvirt"])[0]]
        assert values[0::2] == ["-netdev", "-device"]
        assert ways(kind)["qemu"].startswith(f'-netdev "{values[1]}" -device {values[3]}')


def test_libvirt_opens_the_tap_of_a_packet_port() -> None:
    interface = xml(ways("packet")["libvirt"])[0]
    target = interface.find("target")
    assert interface.attrib == {"type": "ethernet"}
    assert target is not None and target.attrib == {"dev": "e--1", "managed": "no"}


def test_only_vmware_has_a_use_for_its_adapters() -> None:
    assert ways("vmnet").keys() == {"vmware"} and 'ethernet0.vnet = "/dev/vmnet2"' in ways("vmnet")["vmware"]
    assert "vmware" not in ways("packet")


def test_the_lines_of_programs_that_open_an_interface() -> None:
    found = ways("packet")
    assert "vif = ['mac=02:11:22:33:44:55,vifname=e--1,script=vif-virtfab']" in found["xen"]
    assert code(found["cloud-hypervisor"]) == "--net tap=e--1,mac=02:11:22:33:44:55"
    assert code(found["bochs"]).endswith("ethmod=tuntap, ethdev=/dev/net/tun:e--1")
    assert code(found["hercules"]) == "0E20.2 LCS -n /dev/net/tun 10.0.0.5"
    assert "-MacAddressSpoofing On" in found["hyperv"] and "-StaticMacAddress 021122334455" in found["hyperv"]
    assert "type vxlan id 1010" in ways("vxlan")["hyperv"]


def test_the_python_lines_of_a_dgram_port_send(tmp_path: Path) -> None:
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    text = attach.ways("s1:e", HEAD, {"kind": "dgram", "path": ours, "peer_path": theirs}, "")["python"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as switch:
        switch.bind(ours)
        _sends(text, switch, theirs)


def test_the_python_lines_of_a_udp_port_send() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as switch, socket.socket(type=socket.SOCK_DGRAM) as probe:
        switch.bind(("127.0.0.1", 0))
        probe.bind(("127.0.0.2", 0))
        here, there = (f"{host}:{port}" for host, port in (switch.getsockname(), probe.getsockname()))
        probe.close()
        text = attach.ways("s1:e", HEAD, {"kind": "udp", "listen": here, "connect": there}, "")["python"]
        _sends(text, switch, ("127.0.0.2", int(there.rpartition(":")[2])))


def _sends(text: str, switch: socket.socket, sender: Any) -> None:
    names: dict[str, Any] = {"frame": bytes(range(60))}
    switch.settimeout(20)
    exec(text, names)  # as a reader pastes it
    try:
        assert switch.recvfrom(2000) == (bytes(range(60)), sender)
    finally:
        names["frames"].close()


def test_the_readme_says_of_each_program_whether_it_was_tried() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    section = text.partition("| `--for` | port | |\n|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
    assert {mark for *_, mark in rows} == {"*tried by a test here*", "*documented, not tried*"}
    named = {program for words, *_ in rows for program in re.findall(r"`([\w-]+)`", words)}
    assert set(ASKED) <= named <= set(attach.PROGRAMS)
    kinds = {"qemu": {"qemu", "dgram"}, "a free port": {"listen"}}
    for words, ports, _ in rows:
        if words == "`libvirt`":
            continue
        told = set(re.findall(r"`(\w+)", ports))
        meant = set().union(*(kinds.get(word, {word}) for word in told))
        for program in re.findall(r"`([\w-]+)`", words):
            there = {PORTS[kind][0]["kind"] for kind in PORTS if kind != "dial" and program in ways(kind)}
            assert there & meant, (program, told)
