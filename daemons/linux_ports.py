"""Ports that are the Linux kernel's own: TAPs and interfaces by name. Their configuration, and their drivers.

Knows: which keys such a port has, and what can't be together. Refuses to know: what its driver does with them.

tap:    device (a name) or path (a unix socket where a TAP is handed over); create, persistent, offload: true | false;
        device_mtu: bytes, 0 = as it is; speed: Mbit/s
packet: device

A driver is imported with the first port of its kind: a switch without such ports does not hold it in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from netvirt.dataplane.queue import Queue
from netvirt.ports import Port

if TYPE_CHECKING:
    from daemons.switch_ports import CarrierChanged, Receive, Wiring

# What such a port's driver is made of, beside `kind` and `path`.
KEYS = ("device", "create", "persistent", "offload", "device_mtu", "speed")
_SWITCHES = ("create", "persistent", "offload")
_NUMBERS = {"device_mtu": (0, 65521), "speed": (0, 4_000_000)}  # a TAP's largest MTU is 65,535 - 14


def tap(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    from netvirt.ports.tap import SPEED_MBIT, TapPort

    return TapPort(
        w.loop, queue, receive, changed,
        name=port.get("device", ""), path=port.get("path", ""), create=port.get("create", False),
        persistent=port.get("persistent", False), offload=port.get("offload", True),
        mtu=port.get("device_mtu", 0), speed_mbit=port.get("speed", SPEED_MBIT),
    )  # fmt: skip


def packet(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    from netvirt.ports.packet import PacketPort

    return PacketPort(w.loop, queue, receive, changed, name=port["device"])


def check_packet(port: dict[str, Any]) -> None:
    """Raises ValueError or PortError; KeyError where there is no device."""
    from netvirt.ports.tuntap import check_name

    check_name(_text(port, "device"))


def check_tap(port: dict[str, Any]) -> None:
    """Raises ValueError, TypeError or PortError."""
    from netvirt.ports.tuntap import check_name
    from netvirt.ports.unixpath import check_path

    if ("device" in port) == ("path" in port):
        raise ValueError("a TAP has either a 'device', its name, or a 'path' where it is handed over")
    if "device" in port:
        check_name(_text(port, "device"))
    else:
        check_path(_text(port, "path"))
    for key in _SWITCHES:
        if not isinstance(port.get(key, False), bool):
            raise ValueError(f"its {key!r} is true or false, not {port[key]!r}")
    for key, (low, high) in _NUMBERS.items():
        value = port.get(key, low)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"its {key!r} is a number from {low} to {high}, not {value!r}")


def _text(port: dict[str, Any], key: str) -> str:
    if not isinstance(port[key], str):
        raise ValueError(f"its {key!r} is text, not {port[key]!r}")
    return str(port[key])


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {"tap": check_tap, "packet": check_packet}
