"""Fuzz seeds of the host: whatever frame comes, nothing is raised, and what ends is counted."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt.host import Host, Interface
from netvirt.hosting import arp, icmp, ip, nd, udp
from netvirt.hosting.neighbours import WAITING_LIMIT

MAC, PEER = bytes((2, 0, 0, 0, 0, 1)), bytes((2, 0, 0, 0, 0, 2))
OUR_IP, PEER_IP = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
OUR_IP6, PEER_IP6 = (bytes.fromhex("fd00" + "00" * 13 + f"0{n}") for n in (1, 2))
ALL = b"\xff" * 6


def packet4(protocol: int, payload: bytes) -> bytes:
    return MAC + PEER + b"\x08\x00" + ip.build(PEER_IP, OUR_IP, protocol, payload)


def packet6(protocol: int, payload: bytes, hop_limit: int = 255) -> bytes:
    return MAC + PEER + b"\x86\xdd" + ip.build(PEER_IP6, OUR_IP6, protocol, payload, hop_limit)


def icmp6(message: icmp.Message) -> bytes:
    return packet6(ip.ICMPV6, icmp.build(PEER_IP6, OUR_IP6, message))


QUOTED = ip.build(OUR_IP, PEER_IP, ip.UDP, udp.build(OUR_IP, PEER_IP, 5000, 7, b"x"))
SEEDS = [
    ALL + PEER + b"\x08\x06" + arp.build(arp.Arp(arp.REQUEST, PEER, PEER_IP, bytes(6), OUR_IP)),
    MAC + PEER + b"\x08\x06" + arp.build(arp.Arp(arp.REPLY, PEER, PEER_IP, MAC, OUR_IP)),
    packet4(ip.ICMP, icmp.build(PEER_IP, OUR_IP, icmp.Message(8, 0, 1, 1, b"echo"))),
    packet4(ip.ICMP, icmp.build(PEER_IP, OUR_IP, icmp.Message(0, 0, 1, 1, b"echo"))),
    packet4(ip.ICMP, icmp.build(PEER_IP, OUR_IP, icmp.Message(3, 3, 0, 0, QUOTED))),
    packet4(ip.UDP, udp.build(PEER_IP, OUR_IP, 5000, 7, b"echo")),
    packet4(ip.UDP, udp.build(PEER_IP, OUR_IP, 5000, 9, b"discard")),
    packet4(ip.UDP, udp.build(PEER_IP, OUR_IP, 5000, 4711, b"closed")),
    icmp6(icmp.Message(128, 0, 1, 1, b"echo")),
    icmp6(nd.solicitation(OUR_IP6, PEER)),
    icmp6(nd.advertisement(PEER_IP6, PEER, solicited=True)),
    packet6(ip.UDP, udp.build(PEER_IP6, OUR_IP6, 5000, 7, b"echo")),
]


def busy_host() -> Host:
    """A host that awaits neighbours and an echo, and listens, so that answers have something to meet."""
    made = Host("h1", [Interface("eth0", MAC, addresses=["10.0.0.1/24", "fd00::1/64"])])
    made.listen_udp(5000, lambda datagram: None)
    for dst in ("10.0.0.2", "fd00::2"):
        made.start_ping(dst, 2, 1, 1_000, 4, 0)
    made.tick(0)
    return made


def feed(made: Host, frame: bytes, now: int) -> None:
    before = made.statistics()
    sent = made.receive(frame, now)
    after = made.statistics()
    assert after["rx_frames"] == before["rx_frames"] + 1
    assert after["tx_frames"] == before["tx_frames"] + len(sent)
    assert all(len(out) >= 42 for out in sent)
    # One answer to one frame; with a neighbour's MAC address also what waited for it.
    assert len(sent) <= 1 + WAITING_LIMIT


@settings(deadline=None)
@given(st.lists(st.binary(max_size=120), max_size=5))
def test_random_bytes(frames: list[bytes]) -> None:
    made = busy_host()
    for frame in frames:
        feed(made, frame, 1)
    assert sum(made.statistics()["drops"].values()) >= sum(len(frame) < 14 for frame in frames)


@settings(deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(12, 120), st.integers(0, 255)), max_size=4),
    st.integers(0, 130),
)
def test_good_frames_with_some_bytes_wrong(seed: bytes, changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(seed)
    for at, value in changes:
        if at < len(data):
            data[at] = value
    made = busy_host()
    feed(made, bytes(data[:length]) if length < len(data) else bytes(data), 1)


@settings(deadline=None)
@given(st.sampled_from([ip.ICMP, ip.UDP, ip.ICMPV6, 0, 44]), st.binary(max_size=80), st.integers(0, 255), st.booleans())
def test_valid_checksums_over_random_contents(protocol: int, payload: bytes, first: int, six: bool) -> None:
    """Without this nearly everything random ends at the checksum, and what lies behind it stays untried."""
    made = busy_host()
    src, dst = (PEER_IP6, OUR_IP6) if six else (PEER_IP, OUR_IP)
    body = bytes((first,)) + payload
    if protocol in (ip.ICMP, ip.ICMPV6):
        body = icmp.build(src, dst, icmp.Message(first, 0, 1, 1, payload))
    elif protocol == ip.UDP:
        body = udp.build(src, dst, 5000, first or 1, payload)
    feed(made, (packet6 if six else packet4)(protocol, body), 1)


def test_a_long_storm_of_damaged_frames_changes_nothing_for_good() -> None:
    dice, made = random.Random(2), busy_host()
    for now in range(20_000):
        data = bytearray(dice.choice(SEEDS))
        for _ in range(dice.randrange(4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        feed(made, bytes(data), now * 1000)
        made.tick(now * 1000)
    assert made.statistics()["tx_frames"] < made.statistics()["rx_frames"] + 1000
    clean = made.receive(SEEDS[0], 10**12)
    assert len(clean) == 1
    assert clean[0][:6] == PEER
