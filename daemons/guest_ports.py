"""Ports whose QEMU guest is told over QMP whether its cable is in: their configuration, what is put around a driver.

Knows: the two keys of such a port. Refuses to know: which driver moves its frames.

qmp:    the unix socket of a monitor that is the switch's own
netdev: the id of the guest's netdev, or of its card
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netvirt.ports import Port

if TYPE_CHECKING:
    from daemons.switch_ports import Wiring

# What such a port's driver is made of, beside its kind's own.
KEYS = ("qmp", "netdev")
KINDS = ("qemu", "dgram")  # the peer of the others may be no QEMU


def cabled(w: Wiring, port: dict[str, Any], driver: Port) -> Port:
    """The same driver, with the cable."""
    from netvirt.ports.qmp import CabledPort, Qmp

    return CabledPort(driver, Qmp(w.loop, port["qmp"], port["netdev"]))


def check_guest(port: dict[str, Any]) -> None:
    """Raises PortError or ValueError; KeyError where one of the two is missing."""
    from netvirt.ports.qmp import check_card
    from netvirt.ports.unixpath import check_path

    if not any(key in port for key in KEYS):
        return
    if port["kind"] not in KINDS:
        raise ValueError(f"a port of kind {port['kind']!r} has no guest that could be asked over 'qmp'")
    for key in KEYS:
        if not isinstance(port[key], str):
            raise ValueError(f"its {key!r} is text, not {port[key]!r}")
    check_path(port["qmp"])
    check_card(port["netdev"])
