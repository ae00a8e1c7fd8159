"""Ports whose guest is told of its cable over QMP: the lab file, what switchd takes, what `vfab attach` prints."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from daemons.errors import UserError
from daemons.lab.mistake import LabError
from daemons.switch_config import check
from daemons.switch_ports import DRIVER_KEYS
from tests.support.switches import port
from tests.t2_core.test_lab_plugs import load, made
from tools.verbs import attach

HEAD = {"listen": [{"endpoint": "ipc:///run/s1.zmq"}]}
MAC = "02:11:22:33:44:55"
QEMU = {"kind": "qemu", "role": "dial", "path": "/q", "qmp": "/m", "netdev": "net0"}
DGRAM = {"kind": "dgram", "path": "/a", "peer_path": "/b", "qmp": "/m", "netdev": "net0"}


@pytest.mark.parametrize("role", ["dial", "listen", "dgram"])
def test_from_the_file_to_the_row(role: str) -> None:
    row = made(f"{{access: 10, qemu: {{role: {role}, qmp: auto}}}}")["eth1"]
    assert (row["qmp"], row["netdev"]) == ("/run/s1-eth1.qmp", "s1-eth1")
    row = made(f"{{access: 10, qemu: {{role: {role}, qmp: /my/q.sock, netdev: virtio-net-pci.0}}}}")["eth1"]
    assert (row["qmp"], row["netdev"]) == ("/my/q.sock", "virtio-net-pci.0")
    assert not {"qmp", "netdev"} & made(f"{{access: 10, qemu: {{role: {role}}}}}")["eth1"].keys()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{qemu: {netdev: net0}}", "netdev: belongs to qmp:"),
        ("{qemu: {qmp: here}}", "absolute path"),
        ("{qemu: {qmp: auto, netdev: 7}}", "must be text"),
        ("{qemu: {qmp: auto, netdev: 7up}}", "begin with a letter"),
    ],
)
def test_what_can_not_be_in_the_file(given: str, words: str) -> None:
    with pytest.raises(LabError, match=words):
        load(given)


def test_two_ports_can_not_share_a_monitor() -> None:
    given = "{access: 1, qemu: {qmp: /my/q.sock}}"
    with pytest.raises(LabError, match="is the monitor of port s1:eth1 already"):
        load(given, given)
    with pytest.raises(LabError, match="is the monitor of port s1:eth1 already"):
        load(given, "{access: 1}", given)


@pytest.mark.parametrize("row", [QEMU, DGRAM])
def test_what_switchd_takes(row: dict[str, Any]) -> None:
    check({"ports": [port("eth1", **row)]})
    assert set(row) <= set(DRIVER_KEYS)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**QEMU, "qmp": 7}, "'qmp' is text"),
        ({**QEMU, "qmp": "/" + "m" * 107}, "107"),
        ({**DGRAM, "netdev": "a b"}, "no id of QEMU's"),
        ({key: value for key, value in QEMU.items() if key != "netdev"}, "has no 'netdev'"),
        ({key: value for key, value in DGRAM.items() if key != "qmp"}, "has no 'qmp'"),
        ({"qmp": "/m", "netdev": "net0"}, "has no guest"),
    ],
)
def test_what_switchd_does_not_take(row: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check({"ports": [port("eth1", **row)], **HEAD})


@pytest.mark.parametrize("row", [QEMU, DGRAM])
def test_attach_prints_the_monitor_and_the_same_id(row: dict[str, Any]) -> None:
    row = {**row, "qmp": "/run/a,b c/s1-eth5.qmp", "netdev": "mine", "peer": ""}
    found = attach.ways("s1:eth5", HEAD, {"name": "eth5", **row}, MAC)
    words = shlex.split(found["qemu"], comments=True)
    assert words[words.index("-qmp") + 1] == "unix:/run/a,,b c/s1-eth5.qmp,server=on,wait=off"
    assert ",id=mine," in words[words.index("-netdev") + 1] and ",netdev=mine," in words[words.index("-device") + 1]
    assert "value='-qmp'" in found["libvirt"].replace('"', "'")
    del row["qmp"], row["netdev"]
    found = attach.ways("s1:eth5", HEAD, {"name": "eth5", **row}, MAC)
    assert "-qmp" not in found["qemu"] + found["libvirt"] and ",id=s1-eth5," in found["qemu"]
