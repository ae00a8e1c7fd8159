"""Junk into a switch: arbitrary bytes as messages and as frames, into arbitrary ports.

What must hold: nothing is raised; a frame that comes in leads to at least one that leaves (or is dropped where it would
have left), or to exactly one drop with a reason where it came in; queues and MAC table keep their limits.
Run with AddressSanitizer and UndefinedBehaviorSanitizer, too (`make sanitize`).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netvirt.burst import MAX_FRAME, VNET_SIZE, Burst
from netvirt.dataplane.drops import REASONS
from netvirt.settings import Mirror, PortSettings, VlanSettings
from netvirt.switch import SECOND, Switch
from tests.support.switch_traffic import NAMES, frame, message, mirrors, ports, vlans

LONG = bool(os.environ.get("VFAB_LONG"))
EXAMPLES = settings(max_examples=1000 if LONG else 40, deadline=None, suppress_health_check=list(HealthCheck))
CAPACITY = 16
SIZES = [0, 1, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 60, 64, 100, 1514, 9230, 9231, 65_535, MAX_FRAME]
OFFLOADS = [0, 1, 2, 4, 8, 6, 14, 0xFF]  # bits of TUNSETOFFLOAD


@st.composite
def switches(draw: st.DrawFn, *, mirrored: bool) -> Switch:
    switch = Switch("s1", mac_limit=CAPACITY)
    around = draw(vlans())
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    new: dict[str, PortSettings | None] = {name: draw(ports(around)) for name in names}
    sessions: tuple[Mirror, ...] = draw(mirrors(names, around)) if mirrored else ()
    switch.change(new, around if mirrored else VlanSettings(private=around.private), sessions)
    for name in names:
        switch.set_carrier(name, draw(st.integers(0, 5)) > 0)
        switch.plane.set_offload(switch.number(name), draw(st.sampled_from(OFFLOADS)))
    return switch


def junk_frame(dice: random.Random) -> bytes:
    """Random bytes, mostly with the beginning of a frame that some port might take."""
    size = dice.choice(SIZES)
    head = dice.choice([b"", b"\xff" * 6, b"\x02\0\0\0\0\1", b"\x01\x80\xc2\0\0" + dice.randbytes(1)])
    head += dice.choice(
        [b"", b"\x02\0\0\0\0\2" + dice.choice([b"\x81\0", b"\x88\xa8", b"\x08\0\x45", b"\x86\xdd\x60"])]
    )
    return (head + dice.randbytes(64) + bytes(size))[:size]


def vnet_header(dice: random.Random) -> bytes:
    """Random, or nearly right: flags, type, hdr_len, gso_size, csum_start, csum_offset, buffers."""
    if dice.random() < 0.3:
        return dice.randbytes(VNET_SIZE)
    fields = [dice.choice([0, 14, 34, 54, 1000, 65_535]), dice.choice([0, 1, 500, 1448]), dice.choice([0, 14, 34, 38]),
              dice.choice([0, 6, 16, 65_535]), 0]  # fmt: skip
    return bytes([dice.choice([0, 1, 2]), dice.choice([0, 1, 3, 4, 5, 0x81])]) + b"".join(
        field.to_bytes(2, "little") for field in fields
    )


def with_vnet(frame: bytes, vnet: bytes) -> bytes:
    return b"VB\x01\x00\x01\0\0\0" + bytes(8) + len(frame).to_bytes(4, "little") + b"\1\0" + bytes(18) + vnet + frame


def broken(dice: random.Random, whole: bytes) -> bytes:
    """A message with a few bytes changed, cut short, or with something behind it."""
    data = bytearray(whole)
    for _ in range(dice.randrange(4)):
        data[dice.randrange(len(data))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
    if dice.random() < 0.5:
        del data[dice.randrange(len(data)) :]
    return bytes(data) + dice.randbytes(dice.choice([0, 0, 0, 1, 24, 40]))


def waiting(switch: Switch) -> Iterator[str]:
    """Takes out what leaves: the name of its port for each frame. Every message must be one."""
    for number in switch.plane.pending():
        name = switch.port_name(number)
        queue = switch.queue(name)
        assert queue.nbytes <= queue.limit
        while (head := queue.head()) is not None:
            yield from [name] * len(Burst.parse(head))
            queue.pop()


def drops(switch: Switch) -> dict[str, Counter[str]]:
    found = {name: Counter(switch.plane.statistics(switch.number(name))["drops"]) for name in switch.ports}
    assert all(reason in REASONS for each in found.values() for reason in each)
    return found


@EXAMPLES
@given(switch=switches(mirrored=True), seed=st.integers(0, 1 << 32))
def test_junk_messages_are_counted(switch: Switch, seed: int) -> None:
    dice = random.Random(seed)
    whole = message([frame(dice) for _ in range(dice.randint(1, 9))])
    for now in range(200):
        name = dice.choice(list(switch.ports))
        data = dice.randbytes(dice.randrange(80)) if dice.random() < 0.1 else broken(dice, whole)
        before = drops(switch)[name]["malformed"]
        done = switch.process(switch.number(name), data, now * SECOND, 1)
        assert 0 <= done <= len(data) // 24
        assert drops(switch)[name]["malformed"] - before in (0, 1)
        list(waiting(switch))
        assert len(switch.plane.macs) <= CAPACITY


@EXAMPLES
@given(switch=switches(mirrored=False), seed=st.integers(0, 1 << 32))
def test_every_frame_is_accounted_for(switch: Switch, seed: int) -> None:
    dice = random.Random(seed)
    for now in range(200):
        name = dice.choice(list(switch.ports))
        junk = junk_frame(dice)
        data = message([junk]) if dice.random() < 0.6 else with_vnet(junk, vnet_header(dice))
        before = drops(switch)
        assert switch.process(switch.number(name), data, now * SECOND // 50, 1) == 1
        after = drops(switch)
        here = (after.pop(name) - before.pop(name)).total()
        there = len(list(waiting(switch))) + sum((after[other] - before[other]).total() for other in after)
        assert (here, there > 0) in {(1, False), (0, True)}, (here, there, junk[:40].hex(), len(junk))
        assert len(switch.plane.macs) <= CAPACITY


@EXAMPLES
@given(switch=switches(mirrored=True), seed=st.integers(0, 1 << 32))
def test_frames_with_junk_in_front_and_mirrors(switch: Switch, seed: int) -> None:
    dice = random.Random(seed)
    for now in range(100):
        name = dice.choice(list(switch.ports))
        before = drops(switch)
        switch.process(switch.number(name), with_vnet(junk_frame(dice), vnet_header(dice)), now * SECOND, 1)
        after = drops(switch)
        dropped = sum((after[port] - before[port]).total() for port in after)
        assert len(list(waiting(switch))) + dropped >= 1


def test_a_queue_that_nobody_empties_stays_bounded() -> None:
    switch = Switch("s1")
    for name in ("a", "b"):
        switch.set_port(name, PortSettings())
        switch.set_carrier(name, True)
    whole = message([b"\xff" * 6 + b"\x02" + bytes(5) + bytes(1500)] * 64)
    for _ in range(200):
        switch.process(switch.number("a"), whole, SECOND, 1)
    queue = switch.queue("b")
    assert queue.nbytes <= queue.limit
    dropped = switch.plane.statistics(switch.number("b"))["drops"]
    assert dropped == {"queue-full": 200 * 64 - len(queue)}
