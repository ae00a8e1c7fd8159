"""Frames with a virtio-net header on their way through the plane: tags, MTU, what ports take, captures, junk."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt.burst import FLAG_IN, FLAG_OUT, FLAG_VNET, Burst, Frame
from netvirt.dataplane import offload
from netvirt.dataplane.plane import Plane
from tests.support.unsegmented import ADDRESSES, TCPV4, Large, vnet

ALL = 0x6F
SECOND = 10**9
DATA = bytes(range(251)) * 16
ACCESS, OTHER, TRUNK = 0, 1, 2
TAGGED, BARE = ((0x8100, 0x600A),), ()
LARGES = [Large(DATA, 1000, ipv6=ipv6, udp=udp) for ipv6 in (False, True) for udp in (False, True)]


def made() -> Plane:
    """Two access ports and a trunk of VLAN 10; frames that come untagged get priority 3."""
    plane = Plane()
    for number in (ACCESS, OTHER, TRUNK):
        assert plane.add_port() == number
        configure(plane, number)
        plane.queue(number).open = True
    return plane


def configure(plane: Plane, number: int, mtu: int = 9216) -> None:
    tagged = number == TRUNK
    plane.set_port(
        number, state="forwarding", takes_tagged=tagged, pvid=0 if tagged else 10, member=[10],
        untagged=[] if tagged else [10], priority=3, mtu=mtu,
    )  # fmt: skip


def send(plane: Plane, number: int, *frames: tuple[bytes, bytes]) -> None:
    burst = Burst()
    for data, header in frames:
        burst.append(data, time_ns=7, identity=8, vnet=header)
    assert plane.forward(number, burst.message(), SECOND, 5) == len(frames)


def came(plane: Plane, number: int) -> list[Frame]:
    queue, out = plane.queue(number), []
    while (head := queue.head()) is not None:
        out += list(Burst.parse(head))
        queue.pop()
    return out


def learn(plane: Plane, number: int) -> None:
    """The large frames' destination is behind this port."""
    frame = ADDRESSES[6:] + ADDRESSES[:6] + bytes(50)
    send(plane, number, (frame[:12] + b"\x81\x00\x00\x0a" + frame[12:] if number == TRUNK else frame, b""))
    for port in (ACCESS, OTHER, TRUNK):
        came(plane, port)


def drops(plane: Plane, number: int) -> dict[str, int]:
    return {reason: count for reason, count in plane.statistics(number)["drops"].items() if count}


@pytest.mark.parametrize("large", LARGES)
def test_a_tag_is_put_on_each_segment(large: Large) -> None:
    plane = made()
    learn(plane, TRUNK)
    send(plane, ACCESS, (large.frame(), large.vnet))
    frames = came(plane, TRUNK)
    assert [frame.data for frame in frames] == list(large.segments(TAGGED))
    assert {(frame.time_ns, frame.identity, frame.flags) for frame in frames} == {(7, 8, 0)}
    assert came(plane, OTHER) == []


@pytest.mark.parametrize("large", LARGES)
def test_a_tag_is_taken_off(large: Large) -> None:
    plane, tagged = made(), large._replace(tags=TAGGED)
    learn(plane, ACCESS)
    send(plane, TRUNK, (tagged.frame(), tagged.vnet))
    assert [frame.data for frame in came(plane, ACCESS)] == list(large.segments(BARE))


@pytest.mark.parametrize("large", LARGES)
def test_a_port_that_takes_it_gets_it_whole(large: Large) -> None:
    plane = made()
    learn(plane, TRUNK)
    plane.set_offload(TRUNK, ALL)
    send(plane, ACCESS, (large.frame(), large.vnet))
    [frame] = came(plane, TRUNK)
    assert frame.flags == FLAG_VNET
    tagged = large._replace(tags=TAGGED)
    assert (frame.data, frame.vnet) == (tagged.frame(), tagged.vnet)
    plane.set_offload(TRUNK, ALL & ~large.need | offload.CSUM)
    send(plane, ACCESS, (large.frame(), large.vnet))
    assert len(came(plane, TRUNK)) == len(list(large.segments(TAGGED)))


def test_each_port_of_a_flood_gets_what_it_takes() -> None:
    plane, large = made(), LARGES[0]
    plane.set_offload(OTHER, ALL)
    send(plane, ACCESS, (large.frame(), large.vnet))
    assert [(frame.data, frame.vnet) for frame in came(plane, OTHER)] == [(large.frame(), large.vnet)]
    assert [frame.data for frame in came(plane, TRUNK)] == list(large.segments(TAGGED))


def test_the_mtu_is_held_against_the_segments() -> None:
    plane, large = made(), Large(DATA, 1460)
    learn(plane, TRUNK)
    for mtu, count in ((1500, 3), (1499, 0)):
        for takes in (0, ALL):
            configure(plane, TRUNK, mtu)
            plane.set_offload(TRUNK, takes)
            send(plane, ACCESS, (large.frame(), large.vnet))
            assert len(came(plane, TRUNK)) == (min(count, 1) if takes else count)
    assert drops(plane, TRUNK) == {"oversize": 2}
    configure(plane, ACCESS, 1499)
    send(plane, ACCESS, (large.frame(), large.vnet))
    assert drops(plane, ACCESS) == {"oversize": 1}


def test_what_is_refused_is_counted_and_the_next_frame_goes_on() -> None:
    plane, large = made(), LARGES[0]
    learn(plane, OTHER)
    send(
        plane, ACCESS, (large.frame(), vnet(1, TCPV4, 54, 0, 34, 16)), (large.frame(), vnet(1, 3, 54, 9, 34, 6)),
        (large.frame(), large.vnet), (large.frame(), bytes(12)),
    )  # fmt: skip
    assert drops(plane, ACCESS) == {"offload-unsupported": 2}
    frames = [frame.data for frame in came(plane, OTHER)]
    assert frames == [*large.segments(BARE), large.frame()]  # the last one asked for nothing


def test_segments_that_a_queue_has_no_room_for_are_counted_one_by_one() -> None:
    plane, large = Plane(), Large(DATA, 1000)
    for number in (ACCESS, OTHER):
        plane.add_port(queue_bytes=2500)
        configure(plane, number)
        plane.queue(number).open = True
    send(plane, ACCESS, (large.frame(), large.vnet))
    assert [frame.data for frame in came(plane, OTHER)] == list(large.segments(BARE))[:2]
    assert drops(plane, OTHER) == {"queue-full": 3}


def test_a_capture_sees_it_whole() -> None:
    plane, large = made(), LARGES[0]
    learn(plane, TRUNK)
    capture = plane.add_capture([ACCESS, TRUNK])
    assert capture is not None
    send(plane, ACCESS, (large.frame(), large.vnet))
    head = capture[1].head()
    assert head is not None
    tagged = large._replace(tags=TAGGED)
    assert [(frame.flags, frame.port, frame.data, frame.vnet) for frame in Burst.parse(head)] == [
        (FLAG_IN | FLAG_VNET, ACCESS, large.frame(), large.vnet),
        (FLAG_OUT | FLAG_VNET, TRUNK, tagged.frame(), tagged.vnet),
    ]


def test_the_longest_frame_with_one_more_tag_is_still_a_burst_to_everybody() -> None:
    plane = made()
    plane.set_offload(TRUNK, ALL)
    learn(plane, TRUNK)
    capture = plane.add_capture([TRUNK])
    assert capture is not None
    inner = Large(bytes(65_557 - 74), 1400, ipv6=True)
    send(plane, ACCESS, (inner.frame(), inner.vnet))
    sent = [frame.data for frame in came(plane, TRUNK)]
    assert len(sent) == 47 and all(len(data) <= 65_557 for data in sent)
    captured: list[bytes] = []
    while (head := capture[1].head()) is not None:
        captured += Burst.parse(head).frames()
        capture[1].pop()
    assert captured == sent


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(LARGES), st.booleans(), st.integers(14, 400),
            st.none() | st.binary(min_size=12, max_size=12)
            | st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 4, 5, 0x81]), *[st.integers(0, 120)] * 4).map(
                lambda numbers: struct.pack("<BBHHHHxx", *numbers)
            ),
        ),
        max_size=5,
    ),
    st.integers(0, 255), st.sampled_from([ACCESS, TRUNK]),
)  # fmt: skip
def test_whatever_comes_others_get_whole_bursts(
    frames: list[tuple[Large, bool, int, bytes | None]], takes: int, number: int
) -> None:
    plane = made()
    plane.set_offload(OTHER, takes)
    capture = plane.add_capture([ACCESS, OTHER, TRUNK])
    assert capture is not None
    burst = []
    for large, tagged, length, header in frames:
        chosen = large._replace(tags=TAGGED if tagged else BARE, mss=100, data=DATA[:300])
        burst.append((chosen.frame()[:length], header if header is not None else chosen.vnet))
    send(plane, number, *burst)
    for queue in (*(plane.queue(port) for port in (ACCESS, OTHER, TRUNK)), capture[1]):
        while (head := queue.head()) is not None:
            assert len(Burst.parse(head))
            queue.pop()


def watcher(plane: Plane, takes: int, **port: Any) -> int:
    number = plane.add_port()
    wanted: dict[str, Any] = {"state": "forwarding", "takes_tagged": True, "pvid": 0, "member": [], "untagged": []}
    plane.set_port(number, **(wanted | port))
    plane.set_offload(number, takes)
    plane.queue(number).open = True
    return number


@pytest.mark.parametrize("large", LARGES)
def test_a_mirror_shows_segments_as_they_came_and_as_they_left(large: Large) -> None:
    plane = made()
    learn(plane, TRUNK)
    coming, leaving, whole = (watcher(plane, takes) for takes in (0, 0, ALL))
    plane.set_mirrors([([ACCESS], [], [], coming, 0), ([], [TRUNK], [], leaving, 0), ([], [TRUNK], [], whole, 0)])
    send(plane, ACCESS, (large.frame(), large.vnet))
    assert [frame.data for frame in came(plane, coming)] == list(large.segments(BARE))
    assert [frame.data for frame in came(plane, leaving)] == list(large.segments(TAGGED))
    tagged = large._replace(tags=TAGGED)
    assert [(frame.data, frame.vnet) for frame in came(plane, whole)] == [(tagged.frame(), tagged.vnet)]


@pytest.mark.parametrize("large", LARGES)
def test_a_remote_mirror_puts_its_tag_in_front(large: Large) -> None:
    plane = made()
    learn(plane, TRUNK)
    far, near = watcher(plane, 0, member=[99]), watcher(plane, 0, pvid=99, member=[99], untagged=[99])
    plane.set_vlans({}, remote=[99])
    plane.set_mirrors([([], [TRUNK], [], -1, 99)])
    send(plane, ACCESS, (large.frame(), large.vnet))
    assert [frame.data for frame in came(plane, far)] == list(large.segments(((0x8100, 0x6063), *TAGGED)))
    assert [frame.data for frame in came(plane, near)] == list(large.segments(TAGGED))


def test_a_tunnel_puts_its_tag_in_front_of_the_customers() -> None:
    plane, large = made(), Large(DATA, 1000, tags=((0x8100, 5),))
    plane.set_port(
        ACCESS, state="forwarding", takes_tagged=False, pvid=10, member=[10], untagged=[10], dot1q_tunnel=True
    )  # fmt: skip
    plane.set_port(
        TRUNK, state="forwarding", takes_tagged=True, pvid=0, member=[10], untagged=[], tpid=0x88A8
    )  # fmt: skip
    send(plane, ACCESS, (large.frame(), large.vnet))
    assert [frame.data for frame in came(plane, TRUNK)] == list(large.segments(((0x88A8, 10), (0x8100, 5))))
    outer = large._replace(tags=((0x88A8, 10), (0x8100, 5)))
    send(plane, TRUNK, (outer.frame(), outer.vnet))
    assert [frame.data for frame in came(plane, ACCESS)] == list(large.segments(large.tags))
