"""Pings of which nobody can say whether they are answered: where machines route, or have a stack that is not ours.

Knows: that virtual machines and external nodes do what they like; that a packet may take a gateway or a route; that
Linux answers for each of its addresses on each of its interfaces. Refuses to know: VLANs (`domains`), what is sure.

Ours are the hosts in our own process (kind host): they forward nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from .domains import broadcast_domains
from .lab import Host, Lab
from .machines import Netns

Reach = dict[tuple[str, str], tuple[str, ...]]  # (from, to) -> addresses of `to`
Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
STRANGERS = ("vm", "external")
_LINUX = ("netns", "uplink")
_EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Stack(NamedTuple):
    """What a machine has and where it may send the rest. ways: (network, router); None: out of the lab."""

    name: str
    kind: str
    own: tuple[Ip, ...]
    networks: tuple[Network, ...]
    twice: tuple[Network, ...]  # networks that it has two interfaces in: which one it uses is its own matter
    ways: tuple[tuple[Network, Ip | None], ...]
    forwards: bool
    asks: bool  # a namespace without an address: a DHCP client may run there


def unsure(lab: Lab, reach: Reach) -> Reach:
    """What may or may not be answered. reach: who hears whom in his own network."""
    if all(host.kind == "host" for host in lab.hosts.values()):
        return {}
    stacks = [_stack(host) for host in lab.hosts.values()]
    owners = {address: stack for stack in stacks for address in stack.own}
    near = _near(lab)
    made = {}
    for source in stacks:
        servers = [stack for stack in stacks if stack.name in near[source.name] and stack is not source]
        for target in stacks:
            heard = reach.get((source.name, target.name), ())
            close = target.name in near[source.name]
            if source is target:
                continue
            if source.asks and _leased(servers, close):
                made[source.name, target.name] = tuple(map(str, target.own))
            elif close or source.ways or source.kind in STRANGERS:
                found = (ip for ip in target.own if _doubtful(source, target, ip, str(ip) in heard, close, owners))
                made[source.name, target.name] = tuple(map(str, found))
    return {pair: addresses for pair, addresses in made.items() if addresses}


def _leased(servers: list[Stack], close: bool) -> bool:
    """Whether an address from one of those in its VLAN may get a namespace to a target. close: it is in that VLAN."""
    return any(server.kind != "host" and (close or server.forwards) for server in servers)


def _doubtful(source: Stack, target: Stack, ip: Ip, heard: bool, close: bool, owners: dict[Ip, Stack]) -> bool:
    """heard: it is in the source's own network and VLAN. close: the two share a VLAN."""
    kinds = {source.kind, target.kind}
    if source.kind in STRANGERS or (heard and target.kind in STRANGERS):
        return True
    if any(ip in network for stack in (source, target) for network in stack.twice):
        return True
    if heard:
        return False
    connected = any(ip in network for network in source.networks)
    if connected and close and kinds & {*_LINUX, *STRANGERS}:
        return True  # it asks for the address there, and Linux answers on whichever interface it is asked
    # A route is used where it is narrower than the interface's network; a gateway only for what is elsewhere.
    ways = (router for network, router in source.ways if ip in network and (network.prefixlen or not connected))
    return any(_passes(router, owners, target) for router in ways)


def _passes(router: Ip | None, owners: dict[Ip, Stack], target: Stack) -> bool:
    """Whether what is sent to a router may get to the target."""
    if router is None:
        return True
    owner = owners.get(router)
    if owner is None:  # nobody's address as far as the file tells; strangers have others, too
        return router.is_link_local or any(stack.kind in STRANGERS for stack in owners.values())
    return owner.kind != "host" if owner is target else owner.forwards


def _stack(host: Host) -> Stack:
    every = [(each, address) for nic in host.nics.values() for each in nic.interfaces for address in each.addresses]
    networks = [address.network for _, address in every]
    twice = {
        network for i, network in enumerate(networks) for each, address in every[:i]
        if each is not every[i][0] and network.overlaps(address.network)
    }  # fmt: skip
    linux = host.kind in _LINUX
    forwards = host.kind in (*STRANGERS, "uplink") or (isinstance(host.machine, Netns) and host.machine.forwards)
    own = tuple(dict.fromkeys(address.ip for _, address in every))
    asks = host.kind == "netns" and not own
    return Stack(
        host.name, host.kind, own, tuple(networks), tuple(twice if linux else ()), tuple(_ways(host)), forwards, asks
    )


def _ways(host: Host) -> Iterator[tuple[Network, Ip | None]]:
    if host.kind == "uplink":
        yield from ((network, None) for network in _EVERYTHING)
    for route in host.machine.routes if isinstance(host.machine, Netns) else ():
        yield ip_network(route.to), ip_address(route.via) if route.via is not None else None
    for nic in host.nics.values():
        for each in nic.interfaces:
            if each.gateway is not None:
                gateway = ip_address(each.gateway)
                yield _EVERYTHING[gateway.version == 6], gateway


def _near(lab: Lab) -> dict[str, frozenset[str]]:
    """Who shares a VLAN with whom, whatever their addresses are."""
    near: dict[str, frozenset[str]] = defaultdict(frozenset)
    for domain in broadcast_domains(lab):
        names = frozenset(member.host for member in domain.members)
        for name in names:
            near[name] |= names
    return near
