"""Hostile bursts into a switch that uses every rule: nothing is raised, and nothing malformed leaves."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt.burst import MAX_FRAME, Burst
from netvirt.settings import S_TAG, Mirror, PortSettings, VlanSettings
from netvirt.switch import Switch

LONG = bool(os.environ.get("VFAB_LONG"))
TRUNK = PortSettings("trunk", 1, frozenset({1, 2, 3, 900}), translate=((7, 3),))
PORTS = {
    "access": PortSettings(mtu=65_535, priority_tags="always", mac_limit=3, on_limit="drop"),
    "trunk": TRUNK._replace(mtu=65_535, storm=(("broadcast", 50, "fps"), ("unicast", 10**6, "bps"))),
    "provider": TRUNK._replace(tpid=S_TAG, protected=True, ingress_filter=False),
    "tunnel": PortSettings("dot1q-tunnel", 2, customer=frozenset({0, 1, 5}), protected=True),
    "shutting": PortSettings(mac_limit=2, on_limit="shutdown", peer=frozenset({2}), tunnel=frozenset({0, 14})),
    "tap": PortSettings(),
    "far": PortSettings(pvid=900, mtu=1500),
}
MIRRORS = [
    Mirror("in", frozenset({"access", "trunk"}), to_port="tap"),
    Mirror("out", ports_out=frozenset({"trunk", "provider"}), to_vlan=900),
    Mirror("vlan", vlans=frozenset({1, 3}), to_vlan=900),
]


def everything() -> Switch:
    switch = Switch("s1", mac_limit=16)
    switch.change(PORTS, VlanSettings(remote=frozenset({900}), limits=((2, 4),)), MIRRORS)
    for number, name in enumerate(PORTS):
        switch.set_carrier(name, True)
        switch.plane.set_offload(switch.number(name), (0, 1, 0x6F)[number % 3])
    switch.plane.add_capture(range(len(PORTS)))
    return switch


RESERVED = [bytes.fromhex("0180c20000") + bytes([octet]) for octet in (0, 2, 14, 0x21)]
macs = st.sampled_from([b"\xff" * 6, *(bytes([2, 0, 0, 0, 0, n]) for n in range(6)), *RESERVED])
TAGS = ("", "8100", "81002001", "81000007", "8100ffff", "88a80002", "81000384", "8100000281000005")
tags = st.sampled_from([bytes.fromhex(text) for text in TAGS])
ends = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"\x08\x00\x45" + bytes(60), bytes(1500), bytes(9300), bytes(65_521), bytes(65_543), bytes(65_560)]
    ),
)
whole = st.builds(lambda *parts: b"".join(parts), macs, macs, tags, ends)
vnets = st.one_of(st.none(), st.none(), st.binary(min_size=12, max_size=12))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Frames behind true headers, now and then with one byte or the end changed."""
    batch = draw(st.lists(st.tuples(st.one_of(whole, whole, st.binary(max_size=30)), vnets), max_size=6))
    out = bytearray(b"VB\x01\x00" + len(batch).to_bytes(4, "little") + bytes(8))
    for frame, vnet in batch:
        out += len(frame).to_bytes(4, "little") + bytes([vnet is not None]) + bytes(19) + (vnet or b"") + frame
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        out[draw(st.integers(0, len(out) - 1))] = draw(st.integers(0, 255))
    return bytes(out[: len(out) - draw(st.sampled_from([0, 0, 0, 1, 5]))])


@settings(max_examples=5000 if LONG else 150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(PORTS)), messages()), min_size=1, max_size=5), st.integers(0, 2**64 - 1)
)
def test_whatever_comes_in(batches: list[tuple[str, bytes]], now: int) -> None:
    switch = everything()
    for name, message in batches:
        number = switch.number(name)
        before = switch.plane.statistics(number)
        frames = switch.process(number, message, now, 1)
        after = switch.plane.statistics(number)
        # Every frame of the message was received, or too short to be.
        lost = after["drops"].get("runt", 0) - before["drops"].get("runt", 0)
        assert after["rx_frames"] - before["rx_frames"] <= frames <= after["rx_frames"] - before["rx_frames"] + lost
        for port in PORTS:
            queue = switch.queue(port)
            while (head := queue.head()) is not None:
                for frame in Burst.parse(head):
                    assert 14 <= len(frame.data) <= MAX_FRAME
                queue.pop()
