"""Ports whose frames are datagrams: UDP, QEMU's dgram over unix sockets, VDE. Their configuration, and their drivers.

Knows: which keys such a port has, and what can't be together. Refuses to know: what its driver does with them.

udp:   listen, connect: addresses in numbers, "127.0.0.1:5000"
dgram: path: our socket; peer_path: QEMU's
vde:   role: listen (we serve the folder) | plug (into the vde_switch that serves it); folder; number: the port's number
       in the folder; of a plug: the one to ask for, 0 = any

A driver is imported with the first port of its kind: a switch without such ports does not hold it in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from netvirt.dataplane.queue import Queue
from netvirt.ports import Port

if TYPE_CHECKING:
    from daemons.switch_ports import CarrierChanged, Receive, Wiring

# What such a port's driver is made of, beside `kind`, `path` and `role`.
KEYS = ("listen", "connect", "peer_path", "folder", "number")
KIND_KEYS = {"udp": ("listen", "connect"), "dgram": ("path", "peer_path"), "vde": ("role", "folder")}
VDE_ROLES = ("listen", "plug")


def udp(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    from netvirt.ports.udp import UdpPort

    return UdpPort(w.loop, port["listen"], port["connect"], queue, receive, changed)


def dgram(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    from netvirt.ports.dgram import DgramPort

    return DgramPort(w.loop, port["path"], port["peer_path"], queue, receive, changed)


def vde(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    if port["role"] == "listen":
        from netvirt.ports.vde import VdePort

        return VdePort(w.loop, port["folder"], port["number"], queue, receive, changed)
    from netvirt.ports.vde_plug import VdePlugPort

    name = f"{w.switch}:{port['name']}"
    return VdePlugPort(w.loop, port["folder"], port.get("number", 0), queue, receive, changed, name=name)


def check_udp(port: dict[str, Any]) -> None:
    """Raises PortError."""
    from netvirt.ports.udp import check_addresses

    check_addresses(port["listen"], port["connect"])


def check_dgram(port: dict[str, Any]) -> None:
    """Raises PortError or ValueError."""
    from netvirt.ports.unixpath import check_path

    check_path(port["path"])
    check_path(port["peer_path"])
    if port["path"] == port["peer_path"]:
        raise ValueError("its 'path' and its 'peer_path' are one file; each side needs a socket of its own")


def check_vde(port: dict[str, Any]) -> None:
    """Raises PortError or ValueError."""
    from netvirt.ports.unixpath import check_path
    from netvirt.ports.vde_folder import LONGEST_FOLDER
    from netvirt.ports.vde_wire import LARGEST_PORT

    if port["role"] not in VDE_ROLES:
        raise ValueError(f"its role {port['role']!r} is none of {', '.join(VDE_ROLES)}")
    check_path(port["folder"], LONGEST_FOLDER)
    low, number = (1, port["number"]) if port["role"] == "listen" else (0, port.get("number", 0))
    if type(number) is not int or not low <= number <= LARGEST_PORT:
        raise ValueError(f"its 'number' is a number from {low} to {LARGEST_PORT}, not {number!r}")


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {"udp": check_udp, "dgram": check_dgram, "vde": check_vde}
