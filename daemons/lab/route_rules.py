"""The routes of a namespace, held against its interfaces: what can't be, with the place in the file.

Knows: default routes and gateways, routers that nobody is near. Refuses to know: other machines, whether a router is
there at all. A namespace may have thousands of addresses and of routes: no route looks at each address.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from .lab import Interface, IpInterface
from .machine_model import Route as FileRoute
from .machines import Route
from .mistake import At, Finding, did_you_mean, listed, quoted


class Networks:
    """Where some interfaces are at home: asked by address, answered without looking at all of theirs."""

    def __init__(self, interfaces: Iterable[Interface]) -> None:
        self._addresses: list[IpInterface] = [address for each in interfaces for address in each.addresses]
        self._own = {address.ip for address in self._addresses}
        # (IP version, bits behind the prefix) -> the prefixes: at most 162 of these.
        self._prefixes: dict[tuple[int, int], set[int]] = defaultdict(set)
        for address in self._addresses:
            behind = address.max_prefixlen - address.network.prefixlen
            self._prefixes[address.version, behind].add(int(address.ip) >> behind)

    def __len__(self) -> int:
        return len(self._addresses)

    def own(self, ip: IPv4Address | IPv6Address) -> bool:
        """Whether it is one of their addresses."""
        return ip in self._own

    def near(self, ip: IPv4Address | IPv6Address) -> bool:
        """Whether it is in one of their networks."""
        number = int(ip)
        return any(
            version == ip.version and number >> behind in prefixes
            for (version, behind), prefixes in self._prefixes.items()
        )

    @cached_property
    def listed(self) -> str:
        """The networks as words, for any number of mistakes."""
        return listed(str(address.network) for address in self._addresses)


class Routes:
    """Checks the routes of one namespace, each in its turn."""

    def __init__(self, interfaces: Iterable[Interface], at: At, found: list[Finding]) -> None:
        self._interfaces: Mapping[str, Interface] = {each.name: each for each in interfaces}
        self._at = at
        self._found = found
        self._taken: set[str] = set()
        self._networks: dict[str | None, Networks] = {}  # by interface; None: all of them
        gateways = [each.gateway for each in self._interfaces.values() if each.gateway is not None]
        self._gateways = {ip_address(gateway).version for gateway in gateways}

    def resolve(self, given: Iterable[FileRoute]) -> tuple[Route, ...]:
        """All of them, with what is wrong in `found`."""
        return tuple(self._resolve(index, each) for index, each in enumerate(given))

    def _resolve(self, index: int, given: FileRoute) -> Route:
        route, here = _route(given), (*self._at, "routes", index)
        network = ip_network(route.to)
        if route.to in self._taken:
            self._found.append(Finding((*here, "to"), f"there are two routes to {route.to}", "keep one of them"))
        elif network.prefixlen == 0 and network.version in self._gateways:
            what = "this default route and gateway: are two ways to everywhere else"
            self._found.append(Finding(here, what, "keep one of the two"))
        else:
            self._found.extend(self._findings(route, here))
        self._taken.add(route.to)
        return route

    def _findings(self, route: Route, at: At) -> Iterator[Finding]:
        if route.dev is not None and route.dev not in self._interfaces:
            fix = did_you_mean(route.dev, self._interfaces, f"use one of {listed(self._interfaces)}")
            yield Finding((*at, "dev"), f"this namespace has no interface {quoted(route.dev)}", fix)
            return
        if route.via is None:
            return
        via = ip_address(route.via)
        if via.version != ip_network(route.to).version:
            what = f"the network {route.to} and the router {route.via} are IPv4 and IPv6"
            yield Finding((*at, "via"), what, "use two of one kind")
            return
        if via.is_link_local:
            if route.dev is None:
                what = f"{route.via} is a link-local address, which every interface has a network for"
                yield Finding((*at, "via"), what, "add dev: with the interface")
            return
        networks = self._networks_of(route.dev)
        if networks.own(via):
            yield Finding((*at, "via"), f"{route.via} is this namespace's own address", "write the router's")
        elif len(networks) and not networks.near(via):
            what = f"the router {route.via} is in none of its networks"
            yield Finding((*at, "via"), what, f"use an address in {networks.listed}")

    def _networks_of(self, dev: str | None) -> Networks:
        if dev not in self._networks:
            self._networks[dev] = Networks(self._interfaces.values() if dev is None else [self._interfaces[dev]])
        return self._networks[dev]


def _route(given: FileRoute) -> Route:
    to = given.to
    if to == "default":
        to = "::/0" if given.via is not None and ":" in given.via else "0.0.0.0/0"
    return Route(to, given.via, given.dev)
