"""What switchd takes for ports of kind udp, dgram and vde, and the one sentence for what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from daemons.errors import UserError
from daemons.switch_config import check
from daemons.switch_ports import DRIVER_KEYS, KINDS
from tests.support.switches import port

UDP = {"kind": "udp", "listen": "127.0.0.1:5000", "connect": "127.0.0.1:5001"}
DGRAM = {"kind": "dgram", "path": "/a", "peer_path": "/b"}
VDE = {"kind": "vde", "role": "listen", "folder": "/v", "number": 1}
PLUG = {"kind": "vde", "role": "plug", "folder": "/v"}


def checked(row: dict[str, Any]) -> None:
    check({"ports": [port("eth1", **row)]})


@pytest.mark.parametrize("row", [UDP, DGRAM, VDE, PLUG])
def test_a_port_of_each_kind(row: dict[str, Any]) -> None:
    checked(row)
    assert row["kind"] in KINDS and set(row) <= set(DRIVER_KEYS)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**UDP, "listen": "here"}, "in numbers"),
        ({**UDP, "connect": 5}, "is text"),
        ({**UDP, "connect": UDP["listen"]}, "itself"),
        ({**DGRAM, "peer_path": "/a"}, "one file"),
        ({**DGRAM, "path": "/" + "a" * 107}, "107"),
        ({**VDE, "role": "serve"}, "listen, plug"),
        ({**VDE, "number": 0}, "1 to 65535"),
        ({**VDE, "number": True}, "1 to 65535"),
        ({**PLUG, "number": 70_000}, "0 to 65535"),
        ({**PLUG, "folder": "/" + "v" * 100}, "91"),
        ({key: value for key, value in UDP.items() if key != "connect"}, "has no 'connect'"),
        ({key: value for key, value in VDE.items() if key != "number"}, "has no 'number'"),
    ],
)
def test_what_is_wrong_with_it(row: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        checked(row)
