"""From a port's configuration to its driver.

Knows: which driver serves which kind of port, and what makes a new one necessary.
Refuses to know: VLANs (netvirt.switch), the order in which things change (daemons.switchd).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from daemons import datagram_ports, guest_ports, linux_ports, network_ports
from netvirt.dataplane.queue import Queue
from netvirt.ports import Loop, Port
from netvirt.ports.errors import PortError
from netvirt.ports.qemu import QemuPort
from netvirt.ports.zmq import ZmqDialer
from netvirt.ports.zmq_listener import ListenPort, ZmqListener

# What a driver is made of: if any of these changes, the port gets a new one; all else changes under a running driver.
DRIVER_KEYS = (
    "kind", "endpoint", "key_file", "role", "path", "allow", "peer",
    *linux_ports.KEYS, *datagram_ports.KEYS, *network_ports.KEYS, *guest_ports.KEYS,
)  # fmt: skip


class Wiring(NamedTuple):
    """What every driver is given."""

    loop: Loop
    switch: str
    epoch: int
    listeners: list[ZmqListener]


Receive = Callable[[memoryview], Any]
CarrierChanged = Callable[[bool], Any]


def _listen(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    allow = frozenset(port.get("allow", ()))
    # A port with an allow-list waits for its peer over TCP only: the run folder's mode is no answer to "which key?".
    wanted = "tcp" if allow else "ipc"
    listeners = [listener for listener in w.listeners if listener.endpoint.transport == wanted]
    if not listeners:
        raise PortError(f"it waits for a {wanted} peer, but the switch does not listen so")
    return ListenPort(listeners, port["name"], queue, receive, changed, allow)


def _dial(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    name = f"{w.switch}:{port['name']}"
    return ZmqDialer(
        w.loop, port["endpoint"], queue, receive, changed, name=name, epoch=w.epoch, role="trunk",
        key_file=port.get("key_file"),
    )  # fmt: skip


def _qemu(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    return QemuPort(w.loop, port["path"], port["role"], queue, receive, changed)


def _nothing_more() -> None:
    """Said already."""


class CapturePort(ListenPort):
    """A capture's link: it is given copies of frames and may send none. `ended` is called when its caller is gone."""

    ended: Callable[[], None]

    def __init__(self, listeners: list[ZmqListener], name: str, queue: Queue, info: dict[str, Any]) -> None:
        super().__init__(listeners, name, queue, self._nothing, lambda up: None, info=info)
        self._copies = queue

    def _nothing(self, message: memoryview) -> None:
        self.count("frames-from-capture")

    def lost(self) -> None:
        super().lost()
        # Once only: its session may be another capture's by the time that the last timer comes.
        ended, self.ended = self.ended, _nothing_more
        ended()

    def status(self) -> dict[str, Any]:
        """Who looks, at which ports, and what did not fit through."""
        ports = list((self.info or {}).get("ports", {}).values())
        return {"name": self.link.peer, "ports": ports, **self._copies.statistics()}


KINDS: dict[str, Callable[[Wiring, dict[str, Any], Queue, Receive, CarrierChanged], Port]] = {
    "listen": _listen,
    "dial": _dial,
    "qemu": _qemu,
    "tap": linux_ports.tap,
    "packet": linux_ports.packet,
    "udp": datagram_ports.udp,
    "dgram": datagram_ports.dgram,
    "vde": datagram_ports.vde,
    "websocket": network_ports.websocket,
    "vxlan": network_ports.vxlan,
}


def make_driver(w: Wiring, port: dict[str, Any], queue: Queue, receive: Receive, changed: CarrierChanged) -> Port:
    """The driver for a port's configuration, not yet open. Raises PortError."""
    driver = KINDS[port["kind"]](w, port, queue, receive, changed)
    return guest_ports.cabled(w, port, driver) if "qmp" in port else driver


def driver_values(port: dict[str, Any]) -> tuple[Any, ...]:
    """What the port's driver depends on, to compare."""
    return tuple(repr(port.get(key)) for key in (*DRIVER_KEYS, *network_ports.KEYS_OF.get(port["kind"], ())))
