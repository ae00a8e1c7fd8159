"""What a namespace should have, in which order it is made, and what a change takes away and makes."""

from __future__ import annotations

from typing import Any

import pytest

from daemons.netns_config import parse_config
from daemons.netns_items import Address, Item, Mac, Mtu, Nic, Route, Sysctl, Up, Vlan, difference, items


def build(*interfaces: dict[str, Any], **more: Any) -> list[Item]:
    nic = {"name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1500, "path": "/run/s1-eth1.tap"}
    host = {"name": "h1", "nics": [{**nic, "interfaces": list(interfaces)}], **more}
    return items(parse_config({"lab": "x", "epoch": 1, "hosts": [host]}).hosts["h1"])


def interface(name: str, *addresses: str, vlan: int = 0, gateway: str | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "vlan": vlan, "priority": 0, "addresses": list(addresses),
            "gateway": gateway, **more}  # fmt: skip


ONE = Address("eth0", "10.0.0.1/24", bytes([10, 0, 0, 1]), 24)
SEVEN = Address("eth0.7", "10.7.0.1/24", bytes([10, 7, 0, 1]), 24)
MAC = Mac("eth0", bytes([2, 0, 0, 0, 0, 1]))
FORWARD = Sysctl("net.ipv4.ip_forward", "1")


def test_the_order_in_which_a_host_is_made() -> None:
    found = build(
        interface("eth0", "10.0.0.1/24", gateway="10.0.0.254"),
        interface("eth0.7", "10.7.0.1/24", vlan=7, priority=3, mtu=1400),
        sysctls={"net.ipv4.ip_forward": 1},
        routes=[{"to": "fd07::/64", "via": "fd00::1", "dev": "eth0"}],
    )
    assert found[:-2] == [
        Nic("eth0"), MAC, Mtu("eth0", 1500), Vlan("eth0.7", "eth0", 7, 3), Mtu("eth0.7", 1400), FORWARD,
        Up("eth0"), Up("eth0.7"), ONE, SEVEN,
    ]  # fmt: skip
    default, other = found[-2:]
    assert default == Route("eth0", "default via 10.0.0.254", bytes(4), 0, bytes([10, 0, 0, 254]), 0)
    assert isinstance(other, Route) and (other.prefix, len(other.to), other.dev) == (64, 16, "eth0")


def test_several_gateways_have_an_order() -> None:
    found = build(
        interface("eth0", gateway="10.0.0.254"),
        interface("eth0.7", vlan=7, gateway="fd00::1"),
        interface("eth0.8", vlan=8, gateway="10.8.0.1"),
        interface("eth0.9", vlan=9, gateway="fd09::1"),
    )
    metrics = {item.dev: item.metric for item in found if isinstance(item, Route)}
    assert metrics == {"eth0": 0, "eth0.7": 0, "eth0.8": 1, "eth0.9": 1025}  # 1024 is the kernel's own for IPv6


def test_nothing_is_done_twice_and_nothing_without_need() -> None:
    found = build(interface("eth0", "10.0.0.1/24", "10.0.0.1/24"))
    assert found.count(ONE) == 1
    assert difference(found, found) == ([], [])
    assert difference([], found) == ([], found)


def test_a_new_address_leaves_the_rest_alone() -> None:
    before = build(interface("eth0", "10.0.0.1/24", gateway="10.0.0.254"))
    after = build(interface("eth0", "10.0.0.2/24", gateway="10.0.0.254"))
    gone, new = difference(before, after)
    assert gone == [ONE]
    assert [type(item) for item in new] == [Address, Route]  # the kernel may have taken the route with the address


def test_what_lies_on_an_interface_goes_with_it_and_is_made_again() -> None:
    before = build(
        interface("eth0", "10.0.0.1/24"), interface("eth0.7", "10.7.0.1/24", vlan=7), sysctls={FORWARD.key: 1}
    )
    after = build(
        interface("eth0", "10.0.0.1/24"), interface("eth0.7", "10.7.0.1/24", vlan=8), sysctls={FORWARD.key: 1}
    )
    gone, new = difference(before, after)
    assert gone == [Vlan("eth0.7", "eth0", 7, 0)]
    assert new == [Vlan("eth0.7", "eth0", 8, 0), FORWARD, Up("eth0.7"), SEVEN]


def test_a_nic_takes_its_vlans_with_it() -> None:
    before = build(interface("eth0", "10.0.0.1/24"), interface("eth0.7", "10.7.0.1/24", vlan=7))
    assert difference(before, []).gone == [Nic("eth0")]


@pytest.mark.parametrize("what", ["sysctls", "routes"])
def test_routes_go_before_what_they_lead_over(what: str) -> None:
    route = {"to": "10.1.0.0/16", "via": "10.0.0.254", "dev": None}
    value: Any = [route] if what == "routes" else {FORWARD.key: "1"}
    before = build(interface("eth0", "10.0.0.1/24"), **{what: value})
    gone, new = difference(before, build(interface("eth0")))
    expected = [Route, Address] if what == "routes" else [Address, Sysctl]
    assert [type(item) for item in gone] == expected and new == []
