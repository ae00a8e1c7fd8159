"""From two looks at counters to rates per second, sorted and in words."""

from __future__ import annotations

from typing import Any

import pytest

from netvirt.dataplane.counters import PortCounters, SwitchCounters
from tools.rates import HEADER, rates, short, shown

NOTHING = PortCounters(0, "eth1", 0, 0, 0, 0, 0, 0, 0, True, {})


def switch(*ports: PortCounters, pid: int = 1, epoch: int = 1) -> SwitchCounters:
    return SwitchCounters(pid, epoch, ports)


def port(number: int, **counts: Any) -> PortCounters:
    return NOTHING._replace(number=number, name=f"eth{number}", **counts)


def test_rates_are_differences_per_second_with_the_biggest_reason() -> None:
    before = {"s1": switch(port(1, rx_frames=10, rx_bytes=100, drops={"runt": 5, "storm": 100}))}
    after = {
        "s1": switch(
            port(1, rx_frames=30, rx_bytes=1100, tx_frames=4, tx_bytes=8, waiting=3, drops={"runt": 25, "storm": 104})
        )
    }
    (rate,) = rates(before, after, 2.0)
    assert rate == ("s1", "eth1", True, 10.0, 4000.0, 2.0, 32.0, 12.0, "runt", 3)


def test_the_busiest_come_first_then_those_that_drop_then_by_name() -> None:
    after = {
        "s2": switch(port(1), port(2, tx_frames=9)),
        "s1": switch(port(1), port(2, rx_frames=5, tx_frames=5), port(3, drops={"runt": 1})),
    }
    assert [f"{rate.switch}:{rate.port}" for rate in rates({}, after, 1.0)] == [
        "s1:eth2", "s2:eth2", "s1:eth3", "s1:eth1", "s2:eth1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "earlier",
    [
        {},
        {"s1": switch(port(1, rx_frames=100), pid=2)},
        {"s1": switch(port(1, rx_frames=100), epoch=2)},
        {"s1": switch(port(1, rx_frames=100)._replace(name="other"))},
        {"s1": switch(port(2, rx_frames=100)._replace(name="eth1"))},
    ],
)
def test_a_new_switch_or_port_has_counted_from_nothing(earlier: dict[str, SwitchCounters]) -> None:
    (rate,) = rates(earlier, {"s1": switch(port(1, rx_frames=7))}, 1.0)
    assert rate.rx_frames == 7


def test_a_port_made_again_under_its_name_is_never_below_zero() -> None:
    before = {"s1": switch(port(1, rx_frames=100, drops={"runt": 4}))}
    (rate,) = rates(before, {"s1": switch(port(1, rx_frames=7, drops={"runt": 1}))}, 1.0)
    assert (rate.rx_frames, rate.drops, rate.reason) == (0, 0, "")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.4, "0.4"), (3, "3"), (12.4, "12"), (999, "999"), (999.6, "1.00k"), (1234, "1.23k"), (9996, "10.0k"),
     (99_960, "100k"), (999_600, "1.00M"), (45_600_000, "45.6M"), (2.5e9, "2.50G"), (4e12, "4000G")],
)  # fmt: skip
def test_numbers_are_short(number: float, text: str) -> None:
    assert short(number) == text


def test_the_table() -> None:
    text = shown(rates({}, {"s1": switch(port(1, rx_frames=1500, drops={"storm": 2}))}, 1.0))
    header, row = text.split("\n")
    assert "  ".join(header.split()) == "  ".join(" ".join(HEADER).split())
    assert row.split() == ["s1:eth1", "up", "1.50k", "0", "0", "0", "2", "storm", "-"]
