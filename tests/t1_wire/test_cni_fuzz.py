"""Whatever a runtime or an IPAM plugin says: a value, or the one error with a code and one sentence."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tools.cni_config import NEEDS, attachment_of, command_of, decoded, folders_of, network_of, valid_attachments
from tools.cni_errors import CniError
from tools.cni_result import gateway_for, is_result, network_text, own_part, read, result

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
SAID = st.sampled_from(["10.0.0.1/24", "fd00::1/64", "10.0.0.1", "0.0.0.0/0", "02:00:00:00:00:01", "1.1.0", "x", ""])
WORDS = st.sampled_from(
    ["type", "cni", "mac", "ips", "address", "gateway", "dst", "gw", "name", "sandbox", "routes", "interfaces", "dns",
     "interface", "containerID", "ifname", "HOME"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS | SAID,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
KEYS = ("cniVersion", "name", "lab", "switch", "vlan", "trunk", "native", "mtu", "mac", "ipam", "ipMasq", "dns", "args",
        "runtimeConfig", "prevResult", "environment", "cni.dev/valid-attachments")  # fmt: skip
GOOD = {"cniVersion": "1.1.0", "name": "n", "switch": "s1"}


def held(error: CniError) -> None:
    answer = error.to_json("1.1.0")
    assert json.loads(json.dumps(answer)) == answer and answer["msg"] and type(answer["code"]) is int
    assert "\n" not in answer["msg"]


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4), st.sampled_from(list(NEEDS)), st.text(max_size=20))
def test_a_configuration(more: dict[str, Any], command: str, arguments: str) -> None:
    for raw in (GOOD | more, more):
        for ask in (
            partial(network_of, raw, command, arguments),
            partial(valid_attachments, raw),
            partial(folders_of, raw),
        ):
            try:
                ask()
            except CniError as error:
                held(error)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_text(text: bytes) -> None:
    try:
        assert isinstance(decoded(text), dict)
    except CniError as error:
        held(error)


@given(
    st.dictionaries(
        st.sampled_from(["CNI_COMMAND", *NEEDS["ADD"]]), st.text(max_size=20) | st.sampled_from(list(NEEDS))
    )
)
def test_an_environment(environment: dict[str, str]) -> None:
    try:
        attachment_of(environment, command_of(environment))
    except CniError as error:
        held(error)


@given(st.dictionaries(st.sampled_from(["ips", "routes", "dns", "interfaces"]), VALUES), VALUES, SAID)
def test_a_result(value: dict[str, Any], previous: Any, version: str) -> None:
    try:
        addressing = read(value)
        for route in addressing.routes:
            gateway_for(route, addressing)
        interface = {"name": "eth0", "mac": "", "mtu": 0, "sandbox": "/x"}
        before = previous if isinstance(previous, dict) and is_result(previous) else None
        made = result(version, interface, addressing, before)
        assert is_result(made) and own_part(made, "eth0", "/x")[0] is not None
        assert all(network_text(route["dst"]) for route in made["routes"])
    except CniError as error:
        held(error)
