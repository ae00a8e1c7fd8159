"""Who must reach whom in a lab with namespaces, virtual machines, uplinks; and of whom nobody can say."""

from __future__ import annotations

import pytest

from daemons.lab import loader
from daemons.lab.reach import doubtful_reach, expected_reach
from daemons.lab.routed import Reach

NODES = {
    "a": "{kind: netns, addresses: [10.0.0.1/24], gateway: 10.0.0.254}",
    "b": "{kind: netns, addresses: [10.0.0.2/24]}",
    "c": "{kind: netns, addresses: [10.0.1.3/24], gateway: 10.0.1.254}",
    "h": "{addresses: [10.0.0.8/24], gateway: 10.0.0.254}",
}
ROUTER = "{kind: netns, %s interfaces: {eth0: {addresses: [10.0.0.254/24]}, eth1: {addresses: [10.0.1.254/24]}}}"
# port of the switch -> VLAN
PORTS = {"a": 10, "b": 10, "h": 10, "r0": 10, "c": 20, "r1": 20, "v": 10, "x": 20, "o": 10}


def reaches(**more: str) -> tuple[set[str], set[str]]:
    """(must, unsure) as "from to" or "from to address" where `to` has several."""
    nodes = {**NODES, **more}
    ends = [(f"{name}{n}", f"{name}:eth{n}") for name in nodes if name == "r" for n in (0, 1)]
    ends += [(name, f"{name}:eth0") for name in nodes if name != "r"]
    ports = ", ".join(f"{port}: {{access: {PORTS[port]}}}" for port, _ in ends)
    text = f"name: t\ntopology:\n  nodes:\n    s: {{kind: switch, ports: {{{ports}}}}}\n"
    text += "".join(f"    {name}: {said}\n" for name, said in nodes.items()) + "  links:\n"
    text += "".join(f'    - endpoints: ["s:{port}", "{end}"]\n' for port, end in ends)
    lab = loader.parse(text).lab
    sure, unsure = expected_reach(lab), doubtful_reach(lab)
    assert not {(*pair, ip) for pair in sure for ip in sure[pair]} & {(*p, ip) for p in unsure for ip in unsure[p]}
    return _said(sure), _said(unsure)


def _said(found: Reach) -> set[str]:
    return {f"{a} {b} {ip}" if b == "r" else f"{a} {b}" for (a, b), ips in found.items() for ip in ips}


NEAR = {f"{one} {other}" for one in "abh" for other in "abh" if one != other}


def test_namespaces_are_hosts() -> None:
    assert reaches() == (NEAR, set())


def test_a_router_that_does_not_forward_answers_for_itself_only() -> None:
    sure, unsure = reaches(r=ROUTER % "")
    assert sure == NEAR | {f"{name} r 10.0.0.254" for name in "abh"} | {f"r {name}" for name in "abch"} | {
        "c r 10.0.1.254"
    }
    assert unsure == {"a r 10.0.1.254", "h r 10.0.1.254", "c r 10.0.0.254"}


def test_a_router_that_forwards() -> None:
    sure, unsure = reaches(r=ROUTER % "sysctls: {net.ipv4.ip_forward: 1},")
    assert {"a c", "h c", "c a", "c b", "c h"} <= unsure  # nobody looks whether b, without a gateway, can answer
    assert not {"b c", "b r 10.0.1.254"} & (sure | unsure)  # it knows no way
    assert sure >= NEAR


@pytest.mark.parametrize("on", ["{net.ipv6.conf.all.forwarding: 1}", "{net.ipv4.conf.all.forwarding: 1}"])
def test_other_switches_that_forward(on: str) -> None:
    assert "a c" in reaches(r=ROUTER % f"sysctls: {on},")[1]


def test_a_route_in_place_of_a_gateway() -> None:
    way = "{kind: netns, addresses: [10.0.0.2/24], routes: [{to: %s, via: 10.0.0.254}]}"
    router = ROUTER % "sysctls: {net.ipv4.ip_forward: 1},"
    assert "b c" in reaches(r=router, b=way % "10.0.0.0/16")[1]
    assert "b c" not in reaches(r=router, b=way % "10.7.0.0/16")[1]


def test_strangers() -> None:
    sure, unsure = reaches(v="{kind: vm, kernel: k, addresses: [10.0.0.7/24]}", x="{kind: external}")
    assert sure == NEAR
    assert {"a v", "h v", "v a", "v c", "x a", "x v"} <= unsure
    assert not {"b c", "b x", "a x"} & unsure  # b knows no way; x has no address
    assert {"a c", "c b"} <= unsure  # their gateway may be one of them


def test_an_uplink() -> None:
    sure, unsure = reaches(o="{kind: uplink, addresses: [10.0.0.254/24]}")
    assert {"a o", "o a", "h o", "b o"} <= sure
    assert {"a c", "h c", "o c"} <= unsure
    assert not {"b c"} & (sure | unsure)


def test_a_namespace_without_an_address_may_be_given_one() -> None:
    sure, unsure = reaches(b="{kind: netns}", o="{kind: uplink, addresses: [10.0.0.254/24]}")
    assert {"b a", "b h", "b o"} <= unsure and not any(pair.startswith("b ") for pair in sure)
    assert "b c" in unsure, "the uplink leads everywhere"
    unsure = reaches(b="{kind: netns}")[1]
    assert {"b a", "b h"} <= unsure, "a DHCP server may run in a"
    assert "b c" not in unsure


def test_nobody_gives_addresses_to_those_at_userspace_hosts() -> None:
    text = "name: t\ntopology:\n  nodes: {s: {kind: switch}, a: {addresses: [10.0.0.1/24]}, b: {kind: netns}}\n"
    text += '  links: [{endpoints: ["s:a", "a:eth0"]}, {endpoints: ["s:b", "b:eth0"]}]\n'
    assert doubtful_reach(loader.parse(text).lab) == {}


def test_one_network_twice() -> None:
    twin = "{kind: netns, interfaces: {eth0: {addresses: [10.0.0.254/24]}, eth1: {addresses: [10.0.0.253/24]}}}"
    sure, unsure = reaches(r=twin)
    assert sure == NEAR
    assert {"a r 10.0.0.254", "a r 10.0.0.253", "r a"} <= unsure


def test_labs_of_our_own_hosts_are_sure() -> None:
    text = "name: t\ntopology:\n  nodes: {s: {kind: switch}, a: {addresses: [10.0.0.1/24], gateway: 10.0.0.2}}\n"
    text += '  links: [{endpoints: ["s:a", "a:eth0"]}]\n'
    assert doubtful_reach(loader.parse(text).lab) == {}
