"""vmd's configuration: what is wrong is refused as a whole, in one sentence that says where."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.errors import UserError
from daemons.vm_config import parse_config
from tests.support.machines import machine, nic

RUN = Path("/run/lab")
DISK = {"lun": "lun0", "path": "/run/lab/p0-lun0.nbd", "tcp": None, "export": "lun0", "read_only": False}


def config() -> dict[str, Any]:
    cards = [nic(RUN, "vm1", "eth0", "02:00:00:00:00:01", qmp="/run/lab/vm1-eth0.qmp")]
    row = machine(RUN, "vm1", nics=cards, disks=[DISK], image="/data/a.qcow2", image_format="qcow2")
    return {"lab": "x", "epoch": 1, "machines": [row]}


def test_the_whole_value() -> None:
    found = parse_config(json.loads(json.dumps(config()))).machines["vm1"]
    assert (found.name, found.memory, found.accel, found.image) == ("vm1", 128 << 20, "tcg", "/data/a.qcow2")
    assert found.nics[0].qmp == "/run/lab/vm1-eth0.qmp" and found.disks[0].export == "lun0"
    assert found.raw == config()["machines"][0]


def test_the_guests_own_addresses_are_no_change_of_the_machine() -> None:
    told = config()
    told["machines"][0]["nics"][0]["interfaces"] = [{"name": "eth0", "addresses": ["10.0.0.1/24"]}]
    assert parse_config(told) == parse_config(config())


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("lab",), 7, "vmd's configuration needs a 'lab'"),
        (("epoch",), -1, "vmd's configuration needs a 'epoch'"),
        (("machines",), {}, "needs a list of 'machines'"),
        (("machines", 0), [], "a machine must be an object, not list"),
        (("machines", 0, "name"), "../vm1", "'../vm1' is no 'name'"),
        (("machines", 0, "name"), "", "needs a 'name'"),
        (("machines", 0, "memory"), 0, "machine vm1 needs a 'memory', which is a whole number from 1048576"),
        (("machines", 0, "cpus"), True, "machine vm1 needs a 'cpus'"),
        (("machines", 0, "accel"), "hax", "'accel' is one of auto, kvm, tcg"),
        (("machines", 0, "image"), "disk.qcow2", "'image' is an absolute path"),
        (("machines", 0, "image_format"), "vmdk", "'image_format' is one of qcow2, raw"),
        (("machines", 0, "writable"), "yes", "'writable' is true or false"),
        (("machines", 0, "append"), "a\nb", "needs a 'append'"),
        (("machines", 0, "args"), ["-S", 7], "'args' are words of text"),
        (("machines", 0, "machine"), "q35,accel=kvm", "is no 'machine'"),
        (("machines", 0, "console"), None, "needs a 'console', which is an absolute path"),
        (("machines", 0, "nics", 0, "name"), "eth0,server=off", "is no 'name'"),
        (("machines", 0, "nics", 0, "mac"), "02:00", "a card of machine vm1, eth0: "),
        (("machines", 0, "nics", 0, "model"), "e1000,addr=9", "is no 'model'"),
        (("machines", 0, "nics", 0, "mtu"), 10, "needs a 'mtu'"),
        (("machines", 0, "disks", 0, "path"), None, "needs one of 'path' and 'tcp'"),
        (("machines", 0, "disks", 0), {**DISK, "path": None, "tcp": "here"}, "'tcp' is host:port, not 'here'"),
        (("machines", 0, "disks", 0, "export"), "a\0b", "needs a 'export'"),
    ],
)
def test_what_is_wrong_is_said(place: tuple[str | int, ...], value: Any, sentence: str) -> None:
    wrong: Any = copy.deepcopy(config())
    table = wrong
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = value
    with pytest.raises(UserError) as caught:
        parse_config(wrong)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_is_there_once() -> None:
    twice = config()
    twice["machines"] *= 2
    with pytest.raises(UserError, match="the name vm1 is there twice"):
        parse_config(twice)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_junk_anywhere_is_a_user_error_or_a_configuration(data: st.DataObject) -> None:
    value: Any = copy.deepcopy(config())
    table: Any = value
    while True:
        key = data.draw(st.sampled_from(sorted(table) if isinstance(table, dict) else range(len(table))))
        if not isinstance(table[key], dict | list) or not table[key] or data.draw(st.booleans()):
            table[key] = data.draw(_JSON)
            break
        table = table[key]
    try:
        parse_config(value)
    except UserError as error:
        assert "\n" not in str(error)
