"""What a command beside a lab is told of a port: where a program can plug in, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tools.outlets import _place, distinct

CONFIG = {"listen": [{"endpoint": "ipc:///r/s1.zmq", "key_file": None}, {"endpoint": "tcp://127.0.0.1:7001"}]}


@pytest.mark.parametrize(
    ("port", "place"),
    [
        ({"kind": "listen"}, "ipc:///r/s1.zmq#up"),
        ({"kind": "listen", "allow": ["a key"]}, None),  # it is at the TCP endpoint only, for another lab
        ({"kind": "dial", "endpoint": "tcp://127.0.0.1:7002?key=k#down"}, None),
        ({"kind": "qemu", "role": "listen", "path": "/r/s1-up.qemu"}, "/r/s1-up.qemu"),
        ({"kind": "udp", "listen": "127.0.0.1:7003", "connect": "127.0.0.1:7004"}, "127.0.0.1:7003"),
        ({"kind": "tap", "device": "tap0"}, None),
    ],
)
def test_where_a_program_can_plug_in(port: dict[str, Any], place: str | None) -> None:
    assert _place(CONFIG, {"name": "up", **port}) == place


@pytest.mark.parametrize(
    ("names", "variables"),
    [
        ("A B", "A B"),
        ("A A", "A A_2"),
        ("A A A B", "A A_2 A_3 B"),
        ("A A A_2", "A A_3 A_2"),  # the third one has A_2 by itself
        ("A_2 A A A_2", "A_2 A A_3 A_2_2"),
        ("", ""),
    ],
)
def test_names_that_become_the_same_word_stay_apart(names: str, variables: str) -> None:
    rows = [(name, str(place)) for place, name in enumerate(names.split())]
    assert distinct(rows) == {name: str(place) for place, name in enumerate(variables.split())}
