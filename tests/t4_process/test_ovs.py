"""Our switches beside a real Open vSwitch: the same configurations and frames, the same frames out, the same MACs.

Frames and configurations about which they differ are not generated, or the difference is taken out by a function that
says so; test_ovs_differences.py has a row of ROWS for each, with the clause of the standard that decides.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.forwarded import tag
from tests.support.ovs import Ovs
from tests.support.ovs_config import FLOODED, Network, networks
from tests.support.ovs_judged import JUDGED, started, theirs
from tests.support.reference_settings import Port


@pytest.fixture(scope="module")
def ovs() -> Iterator[Ovs]:
    yield from started()


# Frames that both must agree about: see ROWS of test_ovs_differences.py for what is left out.

TYPE = b"\x88\xb5"  # local experimental: Open vSwitch looks into IP and ARP
stations = st.sampled_from([bytes([2, 0, 0, 0, 0, n]) for n in range(1, 5)])
groups = st.sampled_from([b"\xff" * 6, bytes.fromhex("01005e000001"), bytes.fromhex("0180c2000010")])
reserved = st.sampled_from(
    [bytes.fromhex("0180c20000") + bytes([last]) for last in (0x00, 0x01, 0x02, 0x0E, 0x0F, 0x21)]
)
NOBODY = bytes.fromhex("02ffffffffff")
OUTER = [10, 10, 10, 20, 20, FLOODED, 0, 99, 4095]


@st.composite
def tags(draw: st.DrawFn, network: Network, port: Port) -> bytes:
    inner = tag(draw(st.sampled_from([77, 78, 79, 10])), draw(st.integers(0, 7)))
    if port.mode == "dot1q-tunnel":
        return draw(st.sampled_from([b"", inner]))
    vid = draw(st.sampled_from([None, None, None, *OUTER]))
    if vid is None:
        return b""
    outer = tag(vid, draw(st.integers(0, 7)), 0, network.tpid)
    return outer + (inner if vid and network.second_tags and draw(st.integers(0, 2)) == 0 else b"")


@st.composite
def frames(draw: st.DrawFn, network: Network) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(network.ports)))
    between = draw(tags(network, network.ports[name]))
    addresses = draw(st.one_of(stations, stations, groups)) + draw(stations)
    if draw(st.integers(0, 7)) == 0:
        addresses = draw(reserved) + NOBODY
    return name, addresses + between + TYPE + bytes(draw(st.sampled_from([2, 44, 46, 50, 1500])))


def doubly_tagged(network: Network, leaving: dict[str, list[bytes]]) -> set[str]:
    """ROWS, access: the access ports where a frame with a second tag leaves."""
    return {
        name
        for name, frames in leaving.items()
        if network.ports[name].mode == "access" and any(frame[12:14] == b"\x81\x00" for frame in frames)
    }


def without(leaving: dict[str, list[bytes]], ports: set[str]) -> dict[str, list[bytes]]:
    return {name: frames for name, frames in leaving.items() if name not in ports}


def without_foreign_customers(network: Network, leaving: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """ROWS, customers: what Open vSwitch gives a tunnel port of customer VIDs that are not its own."""

    def own(name: str, frame: bytes) -> bool:
        customer = network.ports[name].customer
        vid = int.from_bytes(frame[14:16], "big") % 4096 if frame[12:14] == b"\x81\x00" else 0
        return not customer or vid in customer or frame[0] % 2 == 1

    found = {name: [frame for frame in frames if own(name, frame)] for name, frames in leaving.items()}
    return {name: frames for name, frames in found.items() if frames}


def mirrored_all_the_same(
    network: Network, port: str, frame: bytes, wanted: dict[str, list[bytes]]
) -> dict[str, list[bytes]]:
    """ROWS, mirrors: what our mirrors of a port show of a frame that its VLAN rules refuse."""
    assert not wanted
    return {session.to_port: [frame] for session in network.sessions if port in session.ports_in}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_same_frames_come_out(ovs: Ovs, data: st.DataObject) -> None:
    network = data.draw(networks())
    batch = data.draw(st.lists(frames(network), min_size=1, max_size=25))
    theirs(ovs, network)
    judged = [kind(network) for kind in JUDGED.values()]
    for port, frame in batch:
        wanted = without_foreign_customers(network, ovs.send(port, frame))
        for switch in judged:
            refused = switch.refused()
            got = switch.send(port, frame)
            expected = mirrored_all_the_same(network, port, frame, wanted) if switch.refused() > refused else wanted
            contested = doubly_tagged(network, got) if network.second_tags else set()
            assert without(got, contested) == without(expected, contested), (port, frame.hex())
    known = {row for row in ovs.stations() if row[1] != NOBODY.hex(":")}
    for switch in judged:
        assert {row for row in switch.stations() if row[1] != NOBODY.hex(":")} == known
