"""The compiled switch against the slow one (tests/support/reference_switch.py): generated ports, VLANs, mirrors,
frames, changes and time.

What must be identical: the bytes that leave each port, in order; the MAC tables; the drops by port and reason; which
ports are disabled. Where the standard leaves a choice (who leaves a full MAC table), the choice must keep the rule.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from netvirt.settings import PortSettings, VlanSettings
from netvirt.switch import SECOND
from tests.support.switch_pair import Pair
from tests.support.switch_traffic import NAMES, frame, mirrors, ports, vlans

LONG = bool(os.environ.get("VFAB_LONG"))


class Both(RuleBasedStateMachine):
    """One switch twice."""

    @initialize(data=st.data(), ageing=st.sampled_from([5, 300]), capacity=st.sampled_from([2, 4, 1000, 1000]))
    def begin(self, data: st.DataObject, ageing: int, capacity: int) -> None:
        self.pair = Pair(ageing_s=ageing, capacity=capacity)
        self.vlans = VlanSettings()
        self.everything(data)

    @rule(data=st.data())
    def everything(self, data: st.DataObject) -> None:
        """Another configuration altogether, in one change: ports new, gone and changed, VLANs, mirrors."""
        self.vlans = data.draw(vlans())
        names = data.draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=6, unique=True))
        new: dict[str, PortSettings | None] = {name: data.draw(ports(self.vlans)) for name in names}
        gone = {name: None for name in self.pair.names if name not in new}
        self.pair.change({**new, **gone}, self.vlans, data.draw(mirrors(names, self.vlans)))
        for name in names:
            self.pair.set_carrier(name, True)

    @rule(seed=st.integers(0, 1 << 32), bursts=st.integers(1, 12), most=st.integers(1, 8))
    def traffic(self, seed: int, bursts: int, most: int) -> None:
        dice = random.Random(seed)
        for _ in range(bursts):
            name = dice.choice(self.pair.names)
            self.pair.send(name, [frame(dice, self.pair.fast.ports[name]) for _ in range(dice.randint(1, most))])

    @rule(seed=st.integers(0, 1 << 32))
    def one_frame(self, seed: int) -> None:
        dice = random.Random(seed)
        name = dice.choice(self.pair.names)
        self.pair.send(name, [frame(dice, self.pair.fast.ports[name])])

    @rule(pick=st.integers(0, 5), data=st.data())
    def one_port(self, pick: int, data: st.DataObject) -> None:
        self.pair.change({self._one(pick): data.draw(ports(self.vlans))})

    @rule(data=st.data())
    def only_mirrors(self, data: st.DataObject) -> None:
        self.pair.change({}, mirrors=data.draw(mirrors(self.pair.names, self.vlans)))

    @precondition(lambda self: len(self.pair.names) > 2)
    @rule(pick=st.integers(0, 5))
    def remove(self, pick: int) -> None:
        self.pair.change({self._one(pick): None}, mirrors=())

    @rule(pick=st.integers(0, 5), up=st.booleans())
    def carrier(self, pick: int, up: bool) -> None:
        self.pair.set_carrier(self._one(pick), up)

    @precondition(lambda self: self.pair.slow.table.capacity > 10)
    @rule(pick=st.integers(0, 5), vid=st.sampled_from([1, 1, 2, 5]))
    def static(self, pick: int, vid: int) -> None:
        """An address of its own in each VLAN: two of one address would meet when learning becomes shared."""
        self.pair.add_station(vid, bytes([2, 0, 0, 0, 0, vid]), self._one(pick))

    @rule(pick=st.integers(0, 5))
    def recover(self, pick: int) -> None:
        self.pair.recover(self._one(pick))

    @rule(step=st.sampled_from([SECOND // 20, SECOND // 10, SECOND, 4 * SECOND, 5 * SECOND, 300 * SECOND]))
    def wait(self, step: int) -> None:
        self.pair.now += step
        self.pair.compare()

    @rule()
    def tick(self) -> None:
        self.pair.fast.tick(self.pair.now)
        self.pair.compare()

    def _one(self, pick: int) -> str:
        return self.pair.names[pick % len(self.pair.names)]


TestAgainstTheReference = Both.TestCase
TestAgainstTheReference.settings = settings(
    max_examples=3000 if LONG else 80,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
