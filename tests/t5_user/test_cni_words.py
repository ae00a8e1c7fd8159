"""What a runtime says to vfab-cni that cannot be: each has its code of the specification, and one sentence. No lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.cni import CniFailed, Runtime
from tests.support.user import BIN
from tests.t5_user.test_cni import network, static

ABOUT = {"CNI_CONTAINERID": "a1", "CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0"}
WRONG: dict[str, tuple[int, str | None, Any, dict[str, str | None], str]] = {
    "no command": (4, None, network(), ABOUT, "CNI_COMMAND is missing"),
    "command": (4, "PUT", network(), ABOUT, "CNI_COMMAND has the value 'PUT'"),
    "no container": (4, "ADD", network(), ABOUT | {"CNI_CONTAINERID": None}, "CNI_CONTAINERID must be set"),
    "nothing": (4, "CHECK", network(), {}, "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME must be set"),
    "container": (4, "DEL", network(), ABOUT | {"CNI_CONTAINERID": "../x"}, "CNI_CONTAINERID '../x'"),
    "interface": (4, "ADD", network(), ABOUT | {"CNI_IFNAME": "a/b"}, "CNI_IFNAME"),
    "arguments": (4, "ADD", network(), ABOUT | {"CNI_ARGS": "x"}, "CNI_ARGS 'x'"),
    "netns": (3, "ADD", network(), ABOUT | {"CNI_NETNS": "/no/such"}, "/no/such is not there"),
    "no netns": (4, "ADD", network(), ABOUT | {"CNI_NETNS": "/dev/null"}, "CNI_NETNS /dev/null cannot be entered"),
    "json": (6, "ADD", "{", ABOUT, "no JSON"),
    "list": (6, "ADD", "[]", ABOUT, "no JSON object"),
    "empty": (6, "ADD", "", ABOUT, "no JSON"),
    "deep": (6, "ADD", "[" * 100000, ABOUT, "no JSON"),
    "large": (6, "ADD", " " * ((1 << 20) + 1), ABOUT, "bytes"),
    "old": (1, "ADD", network("0.3.1"), ABOUT, "'0.3.1'"),
    "future": (1, "ADD", network("9.0.0"), ABOUT, "'9.0.0'"),
    "odd version": (1, "ADD", network() | {"cniVersion": 1}, ABOUT, "cniVersion 1"),
    "no version": (1, "ADD", {"name": "x"}, ABOUT, "'0.1.0'"),
    "no name": (7, "ADD", network(name=""), ABOUT, "has no name"),
    "no switch": (7, "ADD", network(switch=None), ABOUT, "which switch"),
    "lab": (7, "ADD", network(lab=7), ABOUT, "lab 7 is no text"),
    "both": (7, "ADD", network(trunk=[10]), ABOUT, "vlan or trunk"),
    "native": (7, "ADD", network(native=1), ABOUT, "native belongs to trunk"),
    "vlan": (7, "ADD", network(vlan=[1]), ABOUT, "is no VLAN"),
    "mtu": (7, "ADD", network(mtu="big"), ABOUT, "mtu 'big'"),
    "mac": (7, "ADD", network(mac="01:00:00:00:00:01"), ABOUT, "one interface"),
    "no mac": (7, "ADD", network(runtimeConfig={"mac": [1]}), ABOUT, "no MAC address"),
    "ips": (7, "ADD", static("10.0.0.1"), ABOUT, "prefix length"),
    "odd ips": (7, "ADD", network(runtimeConfig={"ips": {"a": 1}}), ABOUT, "no list"),
    "ipam": (7, "ADD", network(ipam={"type": "../x"}), ABOUT, "ipam is an object"),
    "masq": (2, "ADD", network(ipMasq=True), ABOUT, "ipMasq true"),
    "runtime": (7, "ADD", network(runtimeConfig=[1]), ABOUT, "runtimeConfig is no object"),
    "folders": (7, "ADD", network(environment={"PATH": "/x"}), ABOUT, "environment has folders for"),
    "previous": (7, "ADD", network(prevResult=[1]), ABOUT, "prevResult"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_has_its_code_and_one_sentence(home: Path, case: str) -> None:
    code, command, config, environment, said = WRONG[case]
    with pytest.raises(CniFailed) as caught:
        Runtime(BIN / "vfab-cni", rootless=False).execute(command, config, **environment)
    assert caught.value.code == code and said in caught.value.msg, caught.value
