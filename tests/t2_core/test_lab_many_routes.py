"""Thousands of addresses and routes of one namespace: each route costs the same, however many there are.

Work is counted in function calls, C and Python, so that nothing depends on the machine.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_interface

import pytest

from daemons.lab.domains import Domain, Member, duplicates
from daemons.lab.lab import End, Interface, Nic
from daemons.lab.machine_model import Route
from daemons.lab.mistake import Finding
from daemons.lab.route_rules import Networks, Routes

FEW, MANY = 250, 1000
AT = ("topology", "nodes", "r")


def calls(work: Callable[[], object]) -> int:
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def interface(name: str, *addresses: str) -> Interface:
    return Interface(name, 0, 0, tuple(ip_interface(each) for each in addresses), None)


def wide(many: int) -> Interface:
    return interface("eth0", *(f"10.{n >> 8}.{n & 255}.1/24" for n in range(many)))


def checked(many: int, via: str) -> list[Finding]:
    found: list[Finding] = []
    last = f"10.{many - 1 >> 8}.{many - 1 & 255}.2"
    routes = [Route(to=f"172.16.{n >> 8}.{n & 255}/32", via=via or last, dev=None) for n in range(many)]
    assert len(Routes([wide(many)], AT, found).resolve(routes)) == many
    return found


@pytest.mark.parametrize(("via", "wrong"), [("", False), ("192.0.2.1", True)])
def test_four_times_as_many_routes_and_addresses_are_four_times_the_work(via: str, wrong: bool) -> None:
    assert [len(checked(many, via)) for many in (FEW, MANY)] == ([FEW, MANY] if wrong else [0, 0])
    few, many = (calls(partial(checked, many, via)) for many in (FEW, MANY))
    assert few < many < 5 * few


def test_four_times_as_many_addresses_are_four_times_the_work() -> None:
    def alone(many: int) -> list[Domain]:
        wired = wide(many)
        member = Member("r", Nic("eth0", "02:00:00:00:00:01", (wired,)), wired, End("s", "eth1"), 1)
        return [Domain((member,))]

    few, many = (calls(partial(duplicates, alone(many))) for many in (FEW, MANY))
    assert few < many < 5 * few


def test_networks_say_what_each_address_by_itself_would() -> None:
    dice = random.Random(3)
    for _ in range(200):
        words = [f"10.0.{dice.randrange(4)}.{dice.randrange(256)}/{dice.randrange(20, 33)}" for _ in range(4)]
        words += [f"fd00::{dice.randrange(9):x}:{dice.randrange(99):x}/{dice.randrange(108, 129)}" for _ in range(3)]
        every = [ip_interface(word) for word in dice.sample(words, dice.randrange(7))]
        networks = Networks([interface("eth0", *map(str, every[:2])), interface("eth1", *map(str, every[2:]))])
        asked = [f"10.0.{dice.randrange(5)}.{dice.randrange(256)}", f"fd00::{dice.randrange(9):x}:5", *words]
        for ip in (ip_address(word.partition("/")[0]) for word in asked):
            assert networks.own(ip) == any(ip == each.ip for each in every)
            assert networks.near(ip) == any(ip in each.network for each in every)
        assert len(networks) == len(every)
