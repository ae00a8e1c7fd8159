"""From a host's configuration to what its namespace should have, in the order in which it is made; the difference.

Knows: what depends on what. Refuses to know: how each is done (netns_stack). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from daemons.netns_config import HostConfig, Network, RouteConfig, parse_address, parse_network
from netvirt.addr import mac_bytes


class Nic(NamedTuple):
    dev: str


class Vlan(NamedTuple):
    dev: str
    over: str
    vid: int
    pcp: int


class Mac(NamedTuple):
    dev: str
    mac: bytes


class Mtu(NamedTuple):
    dev: str
    mtu: int


class Sysctl(NamedTuple):
    key: str
    value: str


class Up(NamedTuple):
    """`state` keeps it apart from a Nic: tuples of different classes with equal values are equal."""

    dev: str
    state: str = "up"


class Address(NamedTuple):
    dev: str
    text: str
    packed: bytes
    prefix: int


class Route(NamedTuple):
    """dev: "" where the kernel finds it by `via`. metric 0: the kernel's own."""

    dev: str
    text: str
    to: bytes
    prefix: int
    via: bytes
    metric: int


Item = Nic | Vlan | Mac | Mtu | Sysctl | Up | Address | Route
_LINKS = (Nic, Vlan)
_IPV6_METRIC = 1024  # what the kernel takes for none (IP6_RT_PRIO_USER)


class Steps(NamedTuple):
    """What is taken away, then what is made."""

    gone: list[Item]
    new: list[Item]


def items(host: HostConfig) -> list[Item]:
    """Everything, in order: interfaces, sysctls (some are of interfaces), up, addresses, routes."""
    found: list[Item] = []
    for nic in host.nics:
        found += [Nic(nic.name), Mac(nic.name, mac_bytes(nic.mac))]
        found += [Mtu(nic.name, nic.mtu)] if nic.mtu else []
        for each in nic.interfaces:
            if each.vlan:
                found += [Vlan(each.name, nic.name, each.vlan, each.priority)]
                found += [Mtu(each.name, each.mtu)] if each.mtu else []
    found += [Sysctl(key, value) for key, value in host.sysctls]
    found += [Up(nic.name) for nic in host.nics]
    found += [Up(each.name) for each in host.interfaces() if each.vlan]
    for each in host.interfaces():
        found += [Address(each.name, text, *parse_network(text, host.name)) for text in each.addresses]
    return list(dict.fromkeys([*found, *_routes(host)]))


def _routes(host: HostConfig) -> list[Route]:
    """The gateways, of which the first is used as long as its interface is up; then what the file says itself."""
    found: list[Route] = []
    for each in host.interfaces():
        if each.gateway is not None:
            via = parse_address(each.gateway, host.name)
            earlier = sum(len(route.via) == len(via) for route in found)
            metric = earlier + (_IPV6_METRIC if earlier and len(via) == 16 else 0)
            found.append(Route(each.name, f"default via {each.gateway}", bytes(len(via)), 0, via, metric))
    return found + [_route(route, host.name) for route in host.routes]


def _route(route: RouteConfig, where: str) -> Route:
    via = parse_address(route.via, where) if route.via is not None else b""
    to = parse_network(route.to, where)
    if not to.packed:
        to = Network(bytes(len(via)), 0)
    text = " ".join([route.to, *(["via", route.via] if route.via else []), *(["dev", route.dev] if route.dev else [])])
    return Route(route.dev or "", text, *to, via, 0)


def difference(have: Sequence[Item], want: Sequence[Item]) -> Steps:
    """The steps from what is there to what should be. With an interface goes all that is on it, untold.

    After a new interface its sysctls are said again, and after any change all routes: the kernel takes away those that
    lose their way.
    """
    wanted = set(want)
    lost = {item.dev for item in have if isinstance(item, _LINKS) and item not in wanted}
    with_them = lost | {item.dev for item in have if isinstance(item, Vlan) and item.over in lost}
    unwanted = [item for item in reversed(have) if item not in wanted]
    gone = [item for item in unwanted if _dev(item) not in with_them]
    gone += [item for item in unwanted if isinstance(item, Nic) or (isinstance(item, Vlan) and item.over not in lost)]
    kept = {item for item in have if item in wanted and _dev(item) not in with_them}
    missing = [item for item in want if item not in kept]
    again: tuple[type, ...] = (Sysctl,) if any(isinstance(item, _LINKS) for item in missing) else ()
    again += (Route,) if any(not isinstance(item, Route) for item in (*gone, *missing)) else ()
    return Steps(
        sorted(gone, key=lambda item: not isinstance(item, Route)),
        [item for item in want if item not in kept or isinstance(item, again)],
    )


def _dev(item: Item) -> str:
    return "" if isinstance(item, Sysctl) else item.dev
