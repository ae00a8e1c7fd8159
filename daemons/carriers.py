"""Which links a lab should have, from its nodes' configurations, and which of them are down, from their answers. Pure.

Knows: the configuration values and the `status` values of ARCHITECTURE.md. Refuses to know: how they travel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from daemons.state import Desired
from netvirt.ports.endpoint import parse_endpoint

Place = tuple[str, str]  # (node as people know it, port or NIC)


def expected(desired: Mapping[str, Desired], off: frozenset[str] = frozenset()) -> dict[str, set[Place]]:
    """By process: the ports and NICs whose peer is in the same lab, so that their carrier must come up.

    Ports for other guests, free ports and trunks to other labs wait for somebody whom we do not start.
    off: virtual machines that were turned off.
    """
    listeners = _listeners(desired)
    places: dict[str, set[Place]] = {node: set() for node in desired}
    for process, near, endpoint in _dials(desired):
        parsed = parse_endpoint(endpoint)
        port, node = parsed.port, listeners.get(parsed.url)
        if node is not None:
            places[process].add(near)
            places[node].add((node, port))
    sockets = _sockets(desired)
    for process, meeting, path in _meetings(desired, off):
        if path in sockets:
            places[process] |= meeting
            places[sockets[path][0]].add(sockets[path])
    return places


def off(statuses: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The virtual machines that are off and have no problem: somebody, or the guest itself, turned them off."""
    machines = [machine for status in statuses for machine in status.get("machines", ())]
    return frozenset(each["name"] for each in machines if each["state"] == "stopped" and not each.get("problem"))


def _sockets(desired: Mapping[str, Desired]) -> dict[str, Place]:
    """The unix socket where a machine's NIC and a port meet -> the port."""
    return {
        port["path"]: (node, port["name"])
        for node, want in desired.items()
        for port in want.config.get("ports", ())
        if port.get("path") and port["kind"] in ("tap", "qemu") and port["state"] != "disabled"
    }


def _meetings(desired: Mapping[str, Desired], off: frozenset[str]) -> Iterator[tuple[str, set[Place], str]]:
    """(process, what it says a carrier of, the socket); of a virtual machine only its port says something."""
    for process, want in desired.items():
        for host in (*want.config.get("hosts", ()), *want.config.get("uplinks", ())):
            for nic in host["nics"]:
                if "path" in nic:
                    yield process, {(host["name"], nic["name"])}, nic["path"]
        for machine in want.config.get("machines", ()):
            for nic in machine["nics"] if machine["name"] not in off else ():
                yield process, set(), nic["path"]


def _listeners(desired: Mapping[str, Desired]) -> dict[str, str]:
    """Endpoint without key and port -> the switch that listens there."""
    return {
        listen["endpoint"].partition("?")[0]: node
        for node, want in desired.items()
        for listen in want.config.get("listen", ())
    }


def _dials(desired: Mapping[str, Desired]) -> Iterator[tuple[str, Place, str]]:
    """(process, its end, the endpoint that it dials)."""
    for process, want in desired.items():
        for port in want.config.get("ports", ()):
            if port["kind"] == "dial" and port["state"] != "disabled":
                yield process, (process, port["name"]), port["endpoint"]
        for host in want.config.get("hosts", ()):
            for nic in host["nics"]:
                if "endpoint" in nic:
                    yield process, (host["name"], nic["name"]), nic["endpoint"]


def carriers(node: str, status: Mapping[str, Any]) -> dict[Place, bool]:
    """What a node's `status` says of its ports or NICs; what it does not say is missing here."""
    found = {(node, port["name"]): bool(port["carrier"]) for port in status.get("ports", ())}
    for host in status.get("hosts", ()):
        found.update({(host["name"], nic["name"]): bool(nic["carrier"]) for nic in host["nics"]})
    return found


def down(node: str, wanted: set[Place], status: Mapping[str, Any]) -> list[str]:
    """Those of `wanted` without carrier, as `s1:eth1`, in order."""
    found = carriers(node, status)
    return sorted(":".join(place) for place in wanted if not found.get(place, False))
