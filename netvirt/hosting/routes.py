"""Where a packet goes: the interface, the source address, the next hop; and the way out for ICMP and UDP.

Knows: stations and their subnets. Refuses to know: what the packets carry.
"""

from __future__ import annotations

from collections import Counter, deque
from operator import attrgetter
from typing import Final, NamedTuple

from netvirt.hosting import ip
from netvirt.hosting.interface import HostError, ip_text, parse_ip
from netvirt.hosting.neighbours import Failed
from netvirt.hosting.station import Station

_LINK_LOCAL: Final = b"\xfe\x80"


class Route(NamedTuple):
    """`prefix` tells how good a route is: the on-link prefix length, 0 by gateway, 255 to ourselves."""

    station: Station
    source: bytes
    next_hop: bytes
    prefix: int


class Network:
    """The IP layer below ICMP and UDP. Packets to ourselves wait in `local` for the host to take them back in."""

    def __init__(self, stations: list[Station], drops: Counter[str]) -> None:
        self._stations = stations
        self._drops = drops
        self.local: deque[tuple[Station, bytes]] = deque()
        self.emitted: list[bytes] = []

    def emit(self, frame: bytes) -> None:
        self.emitted.append(frame)

    def find(self, dst: str) -> tuple[str, Route | None]:
        """The address in its usual spelling, and the route to it. Raises HostError.

        A link-local address exists once per interface: with several of them it needs `%name` behind it (RFC 4007).
        """
        text, percent, zone = dst.partition("%")
        address = parse_ip(text)
        stations = [station for station in self._stations if not percent or station.name == zone]
        if not stations:
            raise HostError(f"there is no interface {zone!r:.40} to reach {text} by")
        if address[:2] == _LINK_LOCAL and len(address) == 16 and len(stations) > 1:
            own = [station for station in stations if address in station.own]
            if not own:
                raise HostError(f"{text} could be on any interface; write {text}%{stations[0].name}")
            stations = own
        return ip_text(address), best_route(stations, address)

    def reply(self, station: Station, src: bytes, dst: bytes, protocol: int, payload: bytes, now: int) -> None:
        """Answer through the interface that was asked, from the address that was asked."""
        if dst in station.own:
            next_hop: bytes | None = dst
        else:
            next_hop = station.next_hop(dst)
        if next_hop is None:
            self._drops["no-route"] += 1
            return
        self.send(Route(station, src, next_hop, 0), dst, protocol, payload, now)

    def send(
        self, route: Route, dst: bytes, protocol: int, payload: bytes, now: int, failed: Failed | None = None
    ) -> None:
        """`failed()` is called when the next hop does not answer, maybe seconds later."""
        packet = ip.build(route.source, dst, protocol, payload)
        if dst in route.station.own:
            self.local.append((route.station, packet))
        else:
            route.station.neighbours.send(route.next_hop, packet, now, failed)


def best_route(stations: list[Station], dst: bytes) -> Route | None:
    """The most specific subnet wins; then the first gateway of the same kind."""
    routes = [route for station in stations if (route := _route(station, dst)) is not None]
    return max(routes, key=attrgetter("prefix"), default=None)


def _route(station: Station, dst: bytes) -> Route | None:
    if dst in station.own:
        return Route(station, dst, dst, 255)
    next_hop = station.next_hop(dst)
    source = station.source(dst if next_hop is None else next_hop) if next_hop == dst else _far_source(station, dst)
    if next_hop is None or source is None:
        return None
    return Route(station, source, next_hop, station.on_link(dst))


def _far_source(station: Station, dst: bytes) -> bytes | None:
    """Through a gateway: never from a link-local address, whose answers no router would bring back."""
    source = station.source(dst)
    return None if source is not None and source[:2] == _LINK_LOCAL and len(source) == 16 else source
