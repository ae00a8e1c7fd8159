"""Ports whose peers come over the network: WebSocket, VXLAN. Their configuration, and their drivers.

Knows: which keys such a port has, and what can't be together. Refuses to know: what its driver does with them.

websocket: at: address in numbers, "127.0.0.1:8080"; ports of a switch may share it; origins: list of pages' origins;
           public: `at` is reached from other machines
vxlan:     local, remotes: addresses; vnis: [[VID, VNI], ...]; station_age: seconds;
           inner_tags: frames may have tags inside

Drivers are imported where they are needed: most switches have no such port, and need none of their memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from netvirt.dataplane.queue import Queue
from netvirt.ports import Port

if TYPE_CHECKING:
    from daemons.switch_ports import CarrierChanged, Receive, Wiring

# What such a port's driver is made of, beside `kind`.
KEYS = ("at", "origins", "public", "local", "remotes", "vnis", "station_age", "inner_tags")
# And of one kind, what other drivers are not made of: how its VLANs look on the wire.
KEYS_OF = {"vxlan": ("mode", "pvid", "tpid")}
KIND_KEYS = {"websocket": ("at",), "vxlan": ("local",)}
_STATION_AGE = 300
_LONGEST_AGE = 1_000_000  # seconds, as switch_config has it


def websocket(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    from netvirt.ports.websocket import WebSocketPort

    return WebSocketPort(
        w.loop, port["at"], port["name"], queue, receive, changed,
        origins=port.get("origins", ()), public=port.get("public", False),
    )  # fmt: skip


def vxlan(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    from netvirt.ports.vxlan import VxlanPort

    return VxlanPort(
        w.loop, port["local"], port["remotes"], _on_the_wire(port), queue, receive, changed,
        ageing=port.get("station_age", _STATION_AGE), inner_tags=port.get("inner_tags", False),
        tpid=port.get("tpid", 0x8100),
    )  # fmt: skip


def _on_the_wire(port: dict[str, Any]) -> dict[int, int]:
    """VID -> VNI as the driver sees frames: those of a VLAN that leaves without tags are VID 0."""
    untagged = port["pvid"] if port["mode"] != "native-tagged" else 0
    return {0 if vid == untagged else vid: vni for vid, vni in port["vnis"]}


def check_websocket(port: dict[str, Any]) -> None:
    """Raises PortError or ValueError."""
    from netvirt.ports.websocket_rules import check_origins, parse_listen

    _switch(port, "public")
    parse_listen(port["at"], port.get("public", False))
    check_origins(_texts(port.get("origins", []), "origins"))


def check_vxlan(port: dict[str, Any]) -> None:
    """Raises PortError or ValueError."""
    from netvirt.ports.vxlan_rules import check_tunnel

    pairs = port["vnis"]
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(type(value) is int for value in pair)
        for pair in pairs
    ):
        raise ValueError(f"its 'vnis' is a list of [VID, VNI], not {pairs!r}")
    if len({vid for vid, _ in pairs}) != len(pairs):
        raise ValueError("one of its VLANs has two VNIs")
    check_tunnel(port["local"], _texts(port["remotes"], "remotes"), dict(pairs))
    _switch(port, "inner_tags")
    age = port.get("station_age", _STATION_AGE)
    if type(age) is not int or not 1 <= age <= _LONGEST_AGE:
        raise ValueError(f"its 'station_age' is a number from 1 to {_LONGEST_AGE}, not {age!r}")


def _texts(value: Any, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"its {key!r} is a list of texts, not {value!r}")
    return value


def _switch(port: dict[str, Any], key: str) -> None:
    if not isinstance(port.get(key, False), bool):
        raise ValueError(f"its {key!r} is true or false, not {port[key]!r}")


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {"websocket": check_websocket, "vxlan": check_vxlan}
