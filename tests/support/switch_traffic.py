"""Hypothesis strategies: interesting frames, ports, VLANs and mirrors for a switch of a few ports.

Knows: where switches are wrong: few stations and VLANs so that frames meet, tags of every kind and number, VID 0 and
4095, sizes around the MTU, reserved addresses, frames cut short; and which configurations are possible together.
Refuses to know: what a switch does with them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from netvirt.settings import Mirror, PortSettings, VlanSettings

NAMES = ("p0", "p1", "p2", "p3", "p4", "p5")
PRIMARY, ISOLATED, COMMUNITIES, REMOTE = 2, 63, (64, 65), 70
SECONDARIES = (ISOLATED, *COMMUNITIES)
SMALL_MTU = 100
TRUNKS = ("trunk", "native-untagged", "native-tagged")

# Mostly the same VLAN, so that ports have somebody to talk to. 63 and 64: the seam of two words of a bitmap.
PLAIN_VIDS = [1] * 6 + [2, 2, 63, 64, 4094]
PRIVATE_VIDS = [1, 1, PRIMARY, PRIMARY, PRIMARY, *SECONDARIES, *SECONDARIES]
WIRE_VIDS = [*PLAIN_VIDS, *PRIVATE_VIDS, 0, 0, 0, 5, REMOTE, 100, 101, 4095]
plain_vids = st.sampled_from(PLAIN_VIDS)
private_vids = st.sampled_from(PRIVATE_VIDS)

STATIONS = [bytes([2, 0, 0, 0, 0, n]) for n in range(1, 6)]
RESERVED = [bytes.fromhex("0180c20000") + bytes([last]) for last in (0x00, 0x01, 0x03, 0x0E, 0x0F, 0x10, 0x20, 0x21)]
DESTINATIONS = [
    *STATIONS * 5,
    *[b"\xff" * 6] * 6,
    bytes.fromhex("01005e000001"),
    bytes.fromhex("0180c2000100"),
    *RESERVED,
]
SOURCES = [*STATIONS * 6, b"\xff" * 6, b"\x03" + bytes(5), bytes(6)]
SIZES = [2, 3, *range(SMALL_MTU - 6, SMALL_MTU + 10), *range(9216 - 3, 9216 + 6)]  # of the payload
C_TAG, S_TAG = 0x8100, 0x88A8
TAGS = [(), (C_TAG,), (C_TAG,), (C_TAG,), (S_TAG,), (C_TAG, C_TAG), (C_TAG, S_TAG), (S_TAG, C_TAG), (S_TAG, S_TAG)]


def frame(dice: random.Random, port: PortSettings | None = None) -> bytes:
    """Any frame; mostly, if `port` is given, one that this port takes."""
    if port is not None and dice.random() < 0.75:
        return dice.choice(DESTINATIONS) + dice.choice(STATIONS) + _welcome(dice, port) + _payload(dice)
    if dice.random() < 0.1:
        return _runt(dice)
    tags = b"".join(
        _tag(tpid, dice.choice(WIRE_VIDS), dice.randrange(8), dice.randrange(2)) for tpid in dice.choice(TAGS)
    )
    return dice.choice(DESTINATIONS) + dice.choice(SOURCES) + tags + _payload(dice)


def _payload(dice: random.Random) -> bytes:
    return b"\x08\x00" + (b"x" if dice.random() < 0.7 else bytes(dice.choice(SIZES)))


def _runt(dice: random.Random) -> bytes:
    """Just long enough for a tag, or not."""
    kind = dice.choice([b"\x81\x00", b"\x88\xa8", dice.randbytes(2)])
    return (dice.choice(STATIONS) + dice.choice(STATIONS) + kind + b"\x00\x01\x08\x00")[: dice.randrange(20)]


def _welcome(dice: random.Random, port: PortSettings) -> bytes:
    """What stands between the addresses and the type of a frame that this port takes, or might."""
    if port.mode == "dot1q-tunnel":
        return dice.choice([b"", *[_tag(C_TAG, vid, dice.randrange(8)) for vid in (port.customer or {0, 1})]])
    if port.accept != "tagged" and port.pvid and (port.mode not in TRUNKS or dice.random() < 0.3):
        return b"" if dice.random() < 0.8 else _tag(port.tpid, 0, dice.randrange(8))
    wires = {inside: wire for wire, inside in port.translate}
    vid = dice.choice(sorted(port.allowed | {port.pvid} - {0}) or [1])
    return _tag(port.tpid, wires.get(vid, vid), dice.randrange(8), dice.randrange(2))


def _tag(tpid: int, vid: int, pcp: int = 0, dei: int = 0) -> bytes:
    return tpid.to_bytes(2, "big") + (pcp << 13 | dei << 12 | vid).to_bytes(2, "big")


def message(batch: Sequence[bytes]) -> bytes:
    """A FRAMES message, also with frames that no Burst would take."""
    out = b"".join(len(frame).to_bytes(4, "little") + bytes(20) + frame for frame in batch)
    return b"VB\x01\x00" + len(batch).to_bytes(4, "little") + bytes(8) + out


# Ports.


def vlans() -> st.SearchStrategy[VlanSettings]:
    return st.builds(
        VlanSettings,
        shared=st.sampled_from([False, False, False, True]),
        private=st.sampled_from([(), ((PRIMARY, ISOLATED, COMMUNITIES),), ((PRIMARY, 0, COMMUNITIES),)]),
        limits=st.sampled_from([(), (), ((1, 1),), ((1, 2), (PRIMARY, 1))]),
        remote=st.sampled_from([frozenset[int](), frozenset({REMOTE})]),
    )


def _mode(draw: st.DrawFn, around: VlanSettings) -> dict[str, Any]:
    """What has to fit together: mode, VLANs, translation."""
    private = around.private[0] if around.private else None
    modes = ["access", "access", *TRUNKS, *TRUNKS, "dot1q-tunnel"] + ["host", "host", "promiscuous"] * bool(private)
    mode = draw(st.sampled_from(modes))
    plain = st.sampled_from([1] * 6 + [5, 5, 66, 4094, *around.remote])
    if mode == "host":
        assert private is not None
        return {"mode": mode, "pvid": draw(st.sampled_from([vid for vid in (private[1], *private[2]) if vid]))}
    if mode == "promiscuous":
        return {"mode": mode, "pvid": PRIMARY}
    if mode == "dot1q-tunnel":
        return {
            "mode": mode,
            "pvid": draw(plain),
            "customer": draw(mostly(frozenset(), frozenset({0, 1}), frozenset({2}))),
        }
    if mode == "access":
        return {"mode": mode, "pvid": draw(plain)}
    allowed = draw(st.frozensets(st.one_of(plain, plain_vids, private_vids), max_size=6))
    native = draw(st.one_of(plain, st.just(0) if mode == "trunk" else plain))
    return {"mode": mode, "pvid": native, "allowed": allowed, **_trunk(draw, allowed | {native} - {0}, native)}


def _trunk(draw: st.DrawFn, allowed: frozenset[int], native: int) -> dict[str, Any]:
    foreign = allowed - {native}
    if not allowed:
        return {}
    translate: tuple[tuple[int, int], ...] = ()
    if foreign and draw(st.integers(0, 3)) == 0:
        wires = draw(st.permutations([100, 101, 102]))
        inside = draw(st.lists(st.sampled_from(sorted(foreign)), min_size=1, max_size=3, unique=True))
        translate = tuple(zip(wires, inside, strict=False))
    untagged = None if draw(st.integers(0, 3)) else draw(st.frozensets(st.sampled_from(sorted(allowed)), max_size=3))
    return {"translate": translate, "untagged": untagged}


kinds = st.sampled_from(["unicast", "multicast", "broadcast"])
storms = st.lists(
    st.one_of(
        st.tuples(kinds, st.sampled_from([1, 5, 10, 20]), st.just("fps")),
        st.tuples(kinds, st.sampled_from([8000, 80_000]), st.just("bps")),
    ),
    max_size=3,
    unique_by=lambda row: row[0],
).map(tuple)
octets = st.frozensets(st.sampled_from([0x00, 0x01, 0x03, 0x0E, 0x0F, 0x21]), max_size=4)


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual] * (3 * len(others)) + list(others))


@st.composite
def ports(draw: st.DrawFn, around: VlanSettings | None = None) -> PortSettings:
    mode = _mode(draw, around or VlanSettings())
    tunnel = mode["mode"] == "dot1q-tunnel"
    peer = draw(st.one_of(st.just(frozenset[int]()), octets))
    seldom = draw(st.integers(0, 2)) == 0  # limits and storms make frames vanish, so not everywhere
    return PortSettings(
        **mode,
        priority=draw(st.integers(0, 7)),
        state=draw(mostly("forwarding", "blocked")) if draw(st.integers(0, 3)) == 0 else "forwarding",
        mtu=draw(mostly(9216, SMALL_MTU, SMALL_MTU + 3)),
        ingress_filter=draw(mostly(True, False)),
        accept=draw(mostly("", "all", "untagged", *([] if tunnel else ["tagged"]))),
        priority_tags="never" if tunnel else draw(mostly("never", "if-nonzero", "always")),
        tpid=draw(mostly(0x8100, 0x88A8)),
        flood=draw(st.one_of(st.just(PortSettings().flood), st.frozensets(kinds))),
        storm=draw(storms) if seldom else (),
        protected=draw(mostly(False, True)),
        mac_limit=draw(st.sampled_from([1, 2])) if seldom else 0,
        on_limit=draw(mostly("flood", "drop", "shutdown")),
        sticky=draw(mostly(False, True)),
        peer=peer,
        tunnel=draw(st.one_of(st.just(frozenset({0x21})), octets)) - peer,
    )


@st.composite
def mirrors(draw: st.DrawFn, names: Sequence[str], around: VlanSettings) -> tuple[Mirror, ...]:
    """Up to three sessions; a destination is never a source."""
    if draw(st.integers(0, 1)) or len(names) < 3:
        return ()
    destination = draw(st.sampled_from(names))
    sources_of = st.frozensets(st.sampled_from([name for name in names if name != destination]), max_size=3)
    found = []
    for number in range(draw(st.integers(1, 3))):
        goal: dict[str, Any] = {"to_port": destination}
        if bool(around.remote) and draw(st.booleans()):
            goal = {"to_vlan": REMOTE}
        seen = st.frozensets(st.sampled_from([1, PRIMARY, ISOLATED]), max_size=2)
        found.append((f"m{number}", draw(sources_of), draw(sources_of), draw(seen), goal))
    return tuple(
        Mirror(name=name, ports_in=came, ports_out=left, vlans=seen, **goal)
        for name, came, left, seen, goal in found
        if came or left or seen
    )
