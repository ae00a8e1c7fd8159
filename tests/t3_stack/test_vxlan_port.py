"""The VXLAN port against a tunnel end point that is a plain socket: the contract, VNIs, learning, floods, junk."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netvirt.burst import FLAG_VNET, Burst
from netvirt.dataplane import offload
from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop
from netvirt.ports.vxlan import VxlanPort
from netvirt.ports.vxlan_rules import check_tunnel, parse_endpoint
from tests.support.contracts import check_port
from tests.support.links import End, frame, numbers, run_until
from tests.support.vxlan_rig import VNI, ContractRig, Rig, between, tagged, wrapped


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(remotes: int = 1, **options: Any) -> Rig:
        made.append(Rig(remotes, **options))
        made[-1].peer_comes()
        made[-1].port.open()
        return made[-1]

    yield make
    assert not any(each.loop.mistakes for each in made)
    for each in made:
        each.close()


def test_contract() -> None:
    check_port(ContractRig, deaf=True)


def test_the_tag_is_the_vni_and_stays_outside(rig: Callable[..., Rig]) -> None:
    r = rig()
    r.end.send(tagged(frame(1), 10), tagged(frame(2), 20 | 5 << 13), tagged(frame(3), 20, b"\x88\xa8"))
    heard: list[tuple[int, bytes]] = []
    r.until(lambda: len(heard) == 3 or heard.extend(r.hears()))
    assert sorted(heard) == [(1010, frame(1)), (0xABCDEF, frame(2)), (0xABCDEF, frame(3))]
    r.says(wrapped(frame(4), 1010))
    r.says(wrapped(frame(5), 0xABCDEF))
    r.until(lambda: len(r.received) == 2)
    assert r.received == [tagged(frame(4), 10), tagged(frame(5), 20)]


def test_the_configured_tag_type_is_put_on(rig: Callable[..., Rig]) -> None:
    r = rig(tpid=0x88A8)
    r.says(wrapped(frame(4), 1010))
    r.until(lambda: r.received == [tagged(frame(4), 10, b"\x88\xa8")])


def test_floods_go_to_all_and_what_is_known_to_one(rig: Callable[..., Rig]) -> None:
    r = rig(3)
    r.end.send(tagged(between(1, 7)), tagged(between(1, 0)))
    for who in range(3):
        assert sorted(r.hears(who)) == [(1010, between(1, 7)), (1010, between(1, 0))]  # two flows: in any order
    r.says(wrapped(between(7, 1)), 1)
    r.until(lambda: r.received)
    r.end.send(tagged(between(1, 7)), tagged(between(1, 7), 20))
    assert r.hears(1) == [(1010, between(1, 7)), (0xABCDEF, between(1, 7))]
    assert r.hears(0) == r.hears(2) == [(0xABCDEF, between(1, 7))]  # stations are known by VNI
    r.says(wrapped(between(7, 1)), 2)  # it has moved
    r.until(lambda: len(r.received) == 2)
    r.end.send(tagged(between(1, 7)))
    assert [len(r.hears(who)) for who in range(3)] == [0, 0, 1]
    assert (r.count("stations"), r.count("moves"), r.count("flooded"), r.count("tx_datagrams")) == (1, 1, 3, 11)


def test_stations_age(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    r = rig(2, ageing=300)
    r.says(wrapped(between(7, 1)))
    r.until(lambda: r.received)
    start = r.loop.now()
    for seconds, copies in ((299, 1), (301, 2)):
        monkeypatch.setattr(r.loop, "now", lambda seconds=seconds: start + seconds * 10**9)
        r.end.send(tagged(between(1, 7)))
        assert len(r.hears(0)) + len(r.hears(1)) == copies
        assert r.count("stations") == (copies == 1)


def test_a_table_that_is_full_floods_and_counts(rig: Callable[..., Rig]) -> None:
    r = rig()
    wanted = 40_000
    for n in range(wanted):
        r.says(wrapped(b"\x02\0\0\0\0\1" + b"\x06\0" + n.to_bytes(4, "big") + b"\x88\xb5" + bytes(46)))
        if n % 32 == 0:
            r.loop.run_once(0)
    r.until(lambda: r.count("stations") + r.count("stations-full") >= r.count("rx_frames") > 30_000)
    assert r.count("stations") <= 16384
    assert r.count("stations-full") > 10_000


@pytest.mark.parametrize(
    ("junk", "reason"),
    [
        (b"", "runt"),
        (b"\x08", "runt"),
        (wrapped(b""), "runt"),
        (wrapped(frame(1)[:13]), "runt"),
        (wrapped(frame(1), flags=0), "bad-flags"),
        (wrapped(frame(1), flags=0xF7), "bad-flags"),
        (wrapped(frame(1), 1011), "unknown-vni"),
        (wrapped(frame(1), 0), "unknown-vni"),
        (wrapped(frame(1), 0xFFFFFF), "unknown-vni"),
        (wrapped(tagged(frame(1), 10)), "tag-inside"),
        (wrapped(tagged(frame(1), 0, b"\x88\xa8")), "tag-inside"),
    ],
)
def test_junk_is_counted(rig: Callable[..., Rig], junk: bytes, reason: str) -> None:
    r = rig()
    r.says(junk)
    r.says(wrapped(frame(2), flags=0xFF))  # reserved bits are ignored
    r.until(lambda: r.received)
    assert (r.count(reason), r.received) == (1, [tagged(frame(2))])


def test_a_remote_that_is_not_in_the_list_is_not_believed(rig: Callable[..., Rig]) -> None:
    r = rig()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))
        stranger.sendto(wrapped(frame(1)), (r.here, r.number))
    r.until(lambda: r.count("unknown-remote") == 1)
    assert (r.received, r.count("stations")) == ([], 0)


def test_frames_that_no_vni_is_for(rig: Callable[..., Rig]) -> None:
    r = rig()
    r.end.send(frame(1), tagged(frame(2), 30), tagged(tagged(frame(3), 20)), tagged(frame(4)))
    heard: list[tuple[int, bytes]] = []
    r.until(lambda: heard or heard.extend(r.hears()))
    assert heard == [(1010, frame(4))]
    assert (r.count("vlan-without-vni"), r.count("tag-inside"), len(r.queue)) == (2, 1, 0)


def test_tags_inside_where_they_may_be(rig: Callable[..., Rig]) -> None:
    r = rig(inner_tags=True)
    inside = tagged(frame(3), 77)
    r.end.send(tagged(inside, 10))
    r.until(lambda: r.hears() == [(1010, inside)])
    r.says(wrapped(inside))
    r.until(lambda: r.received == [tagged(inside, 10)])


def test_a_flow_keeps_its_source_port_and_flows_are_spread(rig: Callable[..., Rig]) -> None:
    r = rig()

    def packet(number: int) -> bytes:
        ip = bytes.fromhex("45000030000000004011") + b"\0\0" + bytes([10, 0, 0, 1, 10, 0, 0, 2])
        return between(1, 2)[:12] + b"\x08\0" + ip + struct.pack(">HH", number, 53) + bytes(24)

    flows = [packet(number) for number in range(100)]
    r.end.send(*(tagged(data) for data in flows * 3))
    ports: dict[bytes, set[int]] = {}
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            data, sender = r.peers[0].recvfrom(2000)
            ports.setdefault(data[8:], set()).add(sender[1])
            total += 1
    assert total == 300
    assert set(ports) == set(flows)
    assert all(len(seen) == 1 for seen in ports.values())
    assert len(set(itertools.chain(*ports.values()))) == 8


def test_a_flood_to_many_remotes_is_more_than_one_batch(rig: Callable[..., Rig]) -> None:
    r = rig(200)
    frames = [between(1, 0, bytes([n]) * 46) for n in range(7)]
    r.end.send(*(tagged(data) for data in frames))
    for who in range(200):
        assert sorted(r.hears(who)) == [(1010, data) for data in frames]
    assert (r.count("tx_datagrams"), r.count("tx_frames")) == (1400, 7)


def test_a_frame_that_is_too_long_is_counted_and_the_port_says_what_it_needs(rig: Callable[..., Rig]) -> None:
    r = rig()
    assert r.port.mtu == 65535 - 50
    r.end.send(tagged(frame(1, 65_520)), tagged(frame(2)))
    r.until(lambda: [data for _, data in r.hears()] == [frame(2)])
    assert r.count("too-long-to-send") == 1
    assert r.port.statistics()["needs"] == f"an MTU of {65_520 + 36} on the way to the remotes"


def udp_packet(checksum: int | None = None, six: bool = False) -> bytes:
    """A UDP packet in a frame; checksum None: as Linux leaves it to a network card."""
    body = bytes(range(33))
    size = 8 + len(body)
    udp = struct.pack(">HHHH", 1000, 2000, size, checksum or 0) + body
    if six:
        ends = bytes(15) + b"\1" + bytes(15) + b"\2"
        head = b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, size, 17, 64) + ends
    else:
        ends = bytes([10, 0, 0, 1, 10, 0, 0, 2])
        head = b"\x08\0" + struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, 17, 0) + ends
    data = between(1, 2)[:12] + head + udp
    if checksum is not None:
        return data
    pseudo = ends + struct.pack(">HH", 17, size)
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    partial = (total & 0xFFFF) + (total >> 16)
    at = len(data) - len(udp) + 6
    return data[:at] + struct.pack(">H", partial) + data[at + 2 :]


@pytest.mark.parametrize("six", [False, True])
def test_a_checksum_that_was_left_to_a_card_is_finished(rig: Callable[..., Rig], six: bool) -> None:
    r = rig()
    partial = udp_packet(None, six)
    start = 14 + (40 if six else 20)
    whole = offload.finish(partial, struct.pack("<BBHHHHH", 1, 0, 0, 0, start, 6, 0))
    wrong = partial[: start + 6] + b"\x12\x34" + partial[start + 8 :]
    cut = partial[:-1]
    for data in (partial, whole, wrong, cut):
        r.says(wrapped(data))
    r.until(lambda: len(r.received) == 4)
    assert r.received == [tagged(data) for data in (whole, whole, wrong, cut)]
    assert r.count("checksums-finished") == 1


@pytest.mark.parametrize("vid", [0, 10])
@pytest.mark.parametrize("six", [False, True])
def test_a_large_packet_that_was_left_to_a_card_is_cut_up_further_on(
    rig: Callable[..., Rig], vid: int, six: bool
) -> None:
    """The port hands it on with a virtio-net header, for segments that fit through the tunnel."""
    r = rig(vnis={vid: 1010})
    r.port._receiver.mtu = 1450
    data = bytes(range(256)) * 40
    size = 32 + len(data)
    if six:
        ends = bytes(15) + b"\1" + bytes(15) + b"\2"
        head = b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, size, 6, 64) + ends
    else:
        ends = bytes([10, 0, 0, 1, 10, 0, 0, 2])
        head = b"\x08\0" + struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, 6, 0) + ends
    pseudo = ends + struct.pack(">HH", 6, size)
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    partial = (total & 0xFFFF) + (total >> 16)
    tcp = struct.pack(">HHIIBBHHH", 1, 2, 3, 4, 8 << 4, 0x10, 500, partial, 0) + bytes([1]) * 12
    large = between(1, 2)[:12] + head + tcp + data
    messages: list[Burst] = []
    r.port._receive = lambda message: messages.append(Burst.parse(message))
    for each in (frame(1), large, frame(2)):
        r.says(wrapped(each))
    r.until(lambda: sum(len(each) for each in messages) == 3)
    got = [each for message in messages for each in message]
    wanted = [tagged(each) if vid else each for each in (frame(1), large, frame(2))]
    assert [each.data for each in got] == wanted
    assert [each.flags for each in got] == [0, FLAG_VNET, 0]
    pieces = offload.segment(got[1].data, got[1].vnet)
    headers = len(wanted[1]) - len(data)
    assert b"".join(piece[headers:] for piece in pieces) == data
    assert [len(piece) - 14 - (4 if vid else 0) for piece in pieces[:-1]] == [1450] * (len(pieces) - 1)
    assert (r.count("large"), r.count("checksums-finished")) == (1, 0)


def noise(dice: random.Random) -> bytes:
    """A frame that looks like IP more or less: lengths, offsets and protocols that lie, cut off anywhere."""
    kind, head = dice.choice([(b"\x08\0", 20), (b"\x86\xdd", 40), (b"\x81\0", 4), (b"\x88\xb5", 0)])
    body = bytearray(dice.randbytes(dice.choice([0, 1, 19, 20, 39, 40, 60, 300, 3000, 60_000])))
    if head == 20 and len(body) > 20:
        body[0], body[6:8], body[9] = dice.choice([0x45, 0x4F, 0x40, 0x46]), b"\0\0", dice.choice([6, 17, 1])
    if head == 40 and len(body) > 40:
        body[6] = dice.choice([6, 17, 0])
    at = dice.choice([2, 4])
    if len(body) > 60 and dice.random() < 0.7:
        body[at : at + 2] = struct.pack(">H", min(65535, max(0, len(body) - dice.choice([0, 1, head, head + 20]))))
    if len(body) > 60 and dice.random() < 0.5:  # the sum that counts as left to a card
        ends, start = (body[12:20], (body[0] & 15) * 4) if head == 20 else (body[8:40], 40)
        size = (int.from_bytes(body[2:4], "big") - start) if head == 20 else int.from_bytes(body[4:6], "big")
        protocol = body[9 if head == 20 else 6]
        pseudo = bytes(ends) + struct.pack(">HH", protocol, size & 0xFFFF)
        total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
        total = (total & 0xFFFF) + (total >> 16)
        field = start + (16 if protocol == 6 else 6)
        body[field : field + 2] = struct.pack(">H", (total & 0xFFFF) + (total >> 16))
    return between(1, 2)[:12] + kind + bytes(body)


def test_noise_comes_out_as_it_went_in_or_is_counted(rig: Callable[..., Rig]) -> None:
    """Only a checksum may be another one; what is too long for the way is counted."""
    r = rig(inner_tags=True)
    r.port._receiver.mtu = 200
    dice = random.Random(4789)
    frames = [noise(dice)[: dice.choice([14, 15, 40, 1 << 16, 1 << 16, 1 << 16])] for _ in range(1500)]
    for data in frames:
        r.says(wrapped(data))
        r.loop.run_once(0)
        r.end.send(tagged(data))
        r.hears()
    r.until(lambda: len(r.received) == len(frames))
    for came, went in zip(r.received, frames, strict=True):
        wanted = tagged(went)
        assert (len(came), came[:34]) == (len(wanted), wanted[:34])
        assert sum(a != b for a, b in zip(came, wanted, strict=True)) <= 2
    assert r.count("large") > 5 and r.count("checksums-finished") > 5
    assert r.count("tx_frames") == len(frames)


@pytest.mark.parametrize(
    ("local", "remotes", "vnis", "why"),
    [
        ("127.0.0.1", [], {10: 1}, "has 0 remotes; it needs 1 to 256"),
        ("127.0.0.1", ["::1"], {10: 1}, "are IPv4 and IPv6"),
        ("127.0.0.1", ["127.0.0.1:1"], {10: 1}, "is there twice"),
        ("127.0.0.1", ["127.0.0.2", "127.0.0.2:1"], {10: 1}, "is there twice"),
        ("somewhere", ["127.0.0.2"], {10: 1}, "is no address of a tunnel"),
        ("127.0.0.1", ["127.0.0.2"], {}, "without a VNI carries nothing"),
        ("127.0.0.1", ["127.0.0.2"], {10: 5, 20: 5}, "VNI 5 is given to VLAN 10 and VLAN 20"),
        ("127.0.0.1", ["127.0.0.2"], {4095: 5}, "a VLAN is 1 to 4094"),
        ("127.0.0.1", ["127.0.0.2"], {10: 1 << 24}, "a VNI 1 to 16777215"),
    ],
)
def test_tunnels_that_cannot_be(local: str, remotes: list[str], vnis: dict[int, int], why: str) -> None:
    with pytest.raises(PortError, match=why):
        check_tunnel(local, remotes, vnis)


def test_addresses() -> None:
    assert str(parse_endpoint("10.0.0.1")) == "10.0.0.1:4789"
    assert str(parse_endpoint("10.0.0.1:8472")) == "10.0.0.1:8472"
    assert str(parse_endpoint("fd00::1")) == str(parse_endpoint("[fd00::1]")) == "[fd00::1]:4789"
    assert str(parse_endpoint("[fd00::1]:8472")) == "[fd00::1]:8472"


def test_over_ipv6() -> None:
    """Its checksum may be zero or not; the loopback interface has one address, so the port listens at all of them."""
    loop = Loop()
    end = End(loop)
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as p,
    ):
        peer.bind(("::1", 0))
        p.bind(("::", 0))
        number = p.getsockname()[1]
        p.close()
        remote = f"[::1]:{peer.getsockname()[1]}"
        wires = (end.queue, end.receive, end.carrier_changed)
        port = VxlanPort(loop, f"[::]:{number}", [remote], {0: 7}, *wires)
        end.driver = port
        port.open()
        end.send(frame(5))
        assert peer.recv(2000) == wrapped(frame(5), 7)
        for zero in (0, 1):
            peer.setsockopt(socket.IPPROTO_UDP, 101, zero)  # UDP_NO_CHECK6_TX
            peer.sendto(wrapped(frame(6 + zero), 7), ("::1", number))
        run_until(lambda: numbers(end.frames) == [6, 7], loop)
        assert port.mtu == 65535 - 70 or port.mtu == 65536 - 70
        port.close()
    loop.close()


def test_an_address_that_somebody_has(rig: Callable[..., Rig]) -> None:
    r = rig()
    other = VxlanPort(r.loop, f"{r.here}:{r.number}", ["127.0.0.2"], VNI, *r.wires)
    with pytest.raises(PortError, match="somebody uses it already"):
        other.open()
    assert not other.carrier
    later = VxlanPort(r.loop, "192.0.2.77:4789", ["192.0.2.78"], VNI, *r.wires)
    later.open()
    assert "trying again" in str(later.statistics()["problem"])
    later.close()
