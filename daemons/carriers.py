"""Which links a lab should have, from its nodes' configurations, and which of them are down, from their answers. Pure.

Knows: the two configuration values and the two `status` values of ARCHITECTURE.md. Refuses to know: how they travel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from daemons.state import Desired
from netvirt.ports.endpoint import parse_endpoint

Place = tuple[str, str]  # (node as people know it, port or NIC)


def expected(desired: Mapping[str, Desired]) -> dict[str, set[Place]]:
    """By process: the ports and NICs whose peer is in the same lab, so that their carrier must come up.

    Ports for guests (kind qemu), free ports and trunks to other labs wait for somebody whom we do not start.
    """
    listeners = _listeners(desired)
    places: dict[str, set[Place]] = {node: set() for node in desired}
    for process, near, endpoint in _dials(desired):
        parsed = parse_endpoint(endpoint)
        port, node = parsed.port, listeners.get(parsed.url)
        if node is not None:
            places[process].add(near)
            places[node].add((node, port))
    return places


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
