"""Hosts among themselves and through reference switches, on virtual time: who reaches whom, and what is said else."""

from __future__ import annotations

import pytest

from netvirt import addr, frame
from netvirt.host import Datagram, Host, HostError, Interface, Ping
from tests.support.reference_switch import Port, ReferenceSwitch
from tests.support.simnet import MILLISECOND, SECOND, HostNode, Impairment, SimNet, SwitchNode

A, B, C = (addr.mac_bytes(f"02:00:00:00:00:0{n}") for n in (1, 2, 3))
LINK_LOCAL_B = "fe80::ff:fe00:2"


def make(name: str, mac: bytes, *addresses: str, gateway: str | None = None, vlan: int = 0, priority: int = 0) -> Host:
    return Host(name, [Interface("eth0", mac, vlan, priority, addresses, gateway)])


def two_hosts(impairment: Impairment = Impairment(), seed: int = 0) -> tuple[SimNet, Host, Host]:  # noqa: B008
    h1, h2 = make("h1", A, "10.0.0.1/24", "fd00::1/64"), make("h2", B, "10.0.0.2/24", "fd00::2/64")
    net = SimNet(seed)
    net.add("h1", HostNode(h1))
    net.add("h2", HostNode(h2))
    net.connect("h1", "eth0", "h2", "eth0", impairment)
    return net, h1, h2


def ping(net: SimNet, host: Host, dst: str, count: int = 1, size: int = 56, timeout: int = 2 * SECOND) -> Ping:
    result = host.start_ping(dst, count, 100 * MILLISECOND, timeout, size, net.now)
    net.run(until=lambda: result.done)
    assert result.done
    return result


@pytest.mark.parametrize("dst", ["10.0.0.2", "fd00::2", LINK_LOCAL_B, LINK_LOCAL_B + "%eth0", "10.0.0.1", "fd00::1"])
def test_ping_reaches_the_neighbour_and_oneself(dst: str) -> None:
    net, h1, h2 = two_hosts()
    result = ping(net, h1, dst, count=3)
    assert (result.sent, result.received, result.lost, result.duplicates, result.errors) == (3, 3, 0, 0, [])
    to_itself = dst.endswith(("::1", ".1"))
    assert h2.statistics()["echo_requests"] == (0 if to_itself else 3)
    # 10 us each way; the first echo also waits for ARP or neighbour discovery.
    assert result.rtts == ([0, 0, 0] if to_itself else [40_000, 20_000, 20_000])
    assert h1.statistics()["drops"] == h2.statistics()["drops"] == {}
    assert h1.next_deadline() is h2.next_deadline() is None


@pytest.mark.parametrize(
    ("dst", "error"),
    [
        ("10.0.0.77", "no answer to ARP from 10.0.0.77"),
        ("fd00::77", "no answer to neighbour discovery from fd00::77"),
        ("10.1.0.1", "no route to 10.1.0.1"),
        ("fd01::1", "no route to fd01::1"),
    ],
)
def test_what_is_said_when_there_is_no_answer(dst: str, error: str) -> None:
    net, h1, _h2 = two_hosts()
    began = net.now
    result = ping(net, h1, dst, count=2)
    assert result.errors == [error]
    assert result.received == 0
    if "no route" in error:
        assert (result.sent, result.lost, net.now) == (0, 0, began)
    else:
        assert (result.sent, result.lost) == (2, 2)
        assert len(net.crossings) == 3, "three tries serve both echoes"
        assert h1.statistics()["drops"] == {"neighbour-silent": 2}


def test_an_echo_that_is_late_is_lost_and_then_a_duplicate() -> None:
    net, h1, _h2 = two_hosts(Impairment(delay=60 * MILLISECOND))
    result = h1.start_ping("10.0.0.2", 1, 0, 200 * MILLISECOND, 8, net.now)
    net.run()
    assert result.errors == ["no answer from 10.0.0.2"]
    assert h1.statistics()["drops"] == {"icmp-not-asked": 1}


def test_a_link_that_doubles_frames_is_seen_as_duplicates() -> None:
    net, h1, _h2 = two_hosts(Impairment(double=1.0))
    result = ping(net, h1, "10.0.0.2", count=2)
    assert (result.received, result.lost) == (2, 0)
    assert result.duplicates >= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_link_costs_echoes_and_nothing_else(seed: int) -> None:
    net, h1, _h2 = two_hosts(Impairment(loss=0.2, double=0.1, jitter=5 * MILLISECOND), seed)
    result = h1.start_ping("10.0.0.2", 50, 20 * MILLISECOND, SECOND, 100, net.now)
    net.run(60 * SECOND)
    assert result.done
    assert result.sent == 50 == result.received + result.lost
    assert 0 < result.received < 50


def test_the_same_seed_gives_the_same_frames() -> None:
    runs = []
    for _ in range(2):
        net, h1, _h2 = two_hosts(Impairment(loss=0.3, double=0.2, jitter=MILLISECOND), seed=7)
        h1.start_ping("fd00::2", 20, MILLISECOND, SECOND, 30, net.now)
        net.run()
        runs.append(net.crossings)
    assert runs[0] == runs[1]
    assert len(runs[0]) > 20


@pytest.mark.parametrize(("dst", "largest"), [("10.0.0.2", 1472), ("fd00::2", 1452)])
def test_the_largest_ping_fits_and_one_byte_more_gets_one_clear_error(dst: str, largest: int) -> None:
    net, h1, _h2 = two_hosts()
    assert ping(net, h1, dst, size=largest).received == 1
    assert max(len(crossing.frame) for crossing in net.crossings) == 1514
    result = ping(net, h1, dst, size=largest + 1)
    assert result.errors == [
        f"a ping of {largest + 1} bytes does not fit into one packet; the largest here has {largest}"
    ]
    assert result.sent == 0


@pytest.mark.parametrize(
    "dst", ["", "h2", "10.0.0", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "127.0.0.1", "255.255.255.255"]
)
def test_what_cannot_be_pinged_is_refused(dst: str) -> None:
    _net, h1, _h2 = two_hosts()
    with pytest.raises(HostError, match="address"):
        h1.start_ping(dst, 1, 0, SECOND, 8, 0)


@pytest.mark.parametrize("numbers", [(0, 0, 1, 0), (65536, 0, 1, 0), (1, -1, 1, 0), (1, 0, 0, 0), (1, 0, 1, -1)])
def test_numbers_that_make_no_sense_are_refused(numbers: tuple[int, int, int, int]) -> None:
    _net, h1, _h2 = two_hosts()
    with pytest.raises(HostError, match="ping"):
        h1.start_ping("10.0.0.2", *numbers, 0)


def test_pings_end_when_the_host_is_stopped() -> None:
    net, h1, _h2 = two_hosts()
    result = h1.start_ping("10.0.0.2", 10, SECOND, SECOND, 8, net.now)
    ended: list[Ping] = []
    result.on_done = ended.append
    net.run(until=lambda: result.received == 2)
    h1.stop_pings("h1 was removed")
    assert ended == [result]
    assert (result.done, result.received, result.errors) == (True, 2, ["h1 was removed"])
    assert h1.next_deadline() is None


def test_every_echo_is_told() -> None:
    net, h1, _h2 = two_hosts()
    told: list[tuple[int, int | None, str]] = []
    result = h1.start_ping("10.0.0.2", 3, SECOND, SECOND, 8, net.now)
    result.on_answer = lambda *echo: told.append(echo)
    net.run(until=lambda: result.received == 2)
    net.disconnect("h1", "eth0")
    net.run()
    assert told == [(1, 40_000, ""), (2, 20_000, ""), (3, None, "no answer from 10.0.0.2")]


@pytest.mark.parametrize("dst", ["10.0.0.2", "fd00::2", "10.0.0.1"])
def test_udp_echo_discard_and_closed_ports(dst: str) -> None:
    net, h1, h2 = two_hosts()
    got: list[Datagram] = []
    h1.listen_udp(5000, got.append)
    for port in (7, 9, 4711):
        h1.send_udp(dst, port, 5000, b"hello", net.now)
        net.run()
    echo, error = got
    assert (echo.src, echo.src_port, echo.dst_port, echo.payload, echo.error) == (dst, 7, 5000, b"hello", "")
    assert (error.src, error.src_port, error.payload) == (dst, 4711, b"")
    assert error.error == f"UDP port 4711 of {dst} does not answer: it is closed or out of reach"
    served = (h1 if dst == "10.0.0.1" else h2).statistics()
    assert (served["udp_echoed"], served["discarded_frames"]) == (1, 0 if dst == "10.0.0.1" else 1)
    assert served["drops"] == {"udp-closed": 1}


def test_udp_to_a_silent_neighbour_is_told() -> None:
    net, h1, _h2 = two_hosts()
    got: list[Datagram] = []
    h1.listen_udp(5000, got.append)
    h1.send_udp("10.0.0.9", 7, 5000, b"", net.now)
    net.run()
    assert [datagram.error for datagram in got] == ["no answer to ARP from 10.0.0.9"]


def test_udp_mistakes() -> None:
    _net, h1, _h2 = two_hosts()
    for dst, port, payload, words in [
        ("10.0.0.2", 0, b"", "1 to 65535"),
        ("10.0.0.2", 65536, b"", "1 to 65535"),
        ("10.9.0.2", 7, b"", "no route"),
        ("10.0.0.2", 7, bytes(1473), "1472"),
    ]:
        with pytest.raises(HostError, match=words):
            h1.send_udp(dst, port, 5000, payload, 0)
    h1.listen_udp(5000, lambda datagram: None)
    for taken in (5000, 7, 9):
        with pytest.raises(HostError, match="in use"):
            h1.listen_udp(taken, lambda datagram: None)
    h1.listen_udp(5000, None)
    h1.listen_udp(5000, lambda datagram: None)


@pytest.mark.parametrize("dst", ["10.0.0.2", "fd00::2"])
def test_a_template_frame_for_throughput_is_counted_however_often_it_comes(dst: str) -> None:
    net, h1, h2 = two_hosts()
    assert h1.udp_frame(dst, 9, bytes(100), net.now) is None
    net.run()
    template = h1.udp_frame(dst, 9, bytes(100), net.now)
    assert template is not None
    other = h1.udp_frame(dst, 9, bytes(50), net.now)
    assert other is not None
    for burst in ([template], [template] * 99, [other, template, template], [other] * 2, []):
        assert h2.receive_burst(burst, net.now) == []
    assert h2.discarded_frames == 105
    assert h2.discarded_bytes == 102 * len(template) + 3 * len(other)
    assert h2.statistics()["rx_frames"] == 106, "with the question for the MAC address"
    with pytest.raises(HostError, match="h1 itself"):
        h1.udp_frame("10.0.0.1", 9, b"", net.now)


def access(vid: int) -> Port:
    return Port("access", vid, frozenset({vid}))


def trunk(*vids: int, native: int = 0) -> Port:
    return Port("trunk", native, frozenset(vids))


def two_switches() -> tuple[SimNet, dict[str, Host]]:
    """h1, h3 in VLAN 10 and h2, h4 in VLAN 20, all in one subnet; h5 tags both VLANs itself."""
    s1 = ReferenceSwitch({"p1": access(10), "p2": access(20), "up": trunk(10, 20)})
    s2 = ReferenceSwitch({"p1": access(10), "p2": access(20), "p3": trunk(10, 20), "up": trunk(10, 20)})
    net = SimNet()
    net.add("s1", SwitchNode(s1.process))
    net.add("s2", SwitchNode(s2.process))
    net.connect("s1", "up", "s2", "up")
    hosts = {f"h{n}": make(f"h{n}", bytes((2, 0, 0, 0, 0, n)), f"10.0.0.{n}/24", f"fd00::{n}/64") for n in range(1, 5)}
    mac = bytes((2, 0, 0, 0, 0, 5))
    both = [
        Interface("office", mac, 10, 3, ["10.0.0.5/24"]),
        Interface("lab", mac, 20, 6, ["10.0.1.5/24", "fd00::5/64"]),
    ]
    hosts["h5"] = Host("h5", both)
    for name, host in hosts.items():
        net.add(name, HostNode(host))
    for name, switch, port in [
        ("h1", "s1", "p1"),
        ("h2", "s1", "p2"),
        ("h3", "s2", "p1"),
        ("h4", "s2", "p2"),
        ("h5", "s2", "p3"),
    ]:
        net.connect(name, "eth0", switch, port)
    return net, hosts


@pytest.mark.parametrize(
    ("src", "dst", "reached"),
    [
        ("h1", "10.0.0.3", True),
        ("h1", "fd00::3", True),
        ("h2", "10.0.0.4", True),
        ("h1", "10.0.0.2", False),
        ("h1", "fd00::4", False),
        ("h1", "10.0.0.5", True),
        ("h2", "10.0.0.5", False),
        ("h2", "fd00::5", True),
        ("h5", "10.0.0.1", True),
        ("h5", "fd00::4", True),
        ("h5", "fe80::ff:fe00:1%office", True),
        ("h5", "fe80::ff:fe00:1%lab", False),
    ],
)
def test_two_switches_and_a_trunk_keep_two_vlans_apart(src: str, dst: str, reached: bool) -> None:
    net, hosts = two_switches()
    assert ping(net, hosts[src], dst).received == int(reached)


def test_everything_on_the_trunk_is_tagged_and_carries_the_priority() -> None:
    net, hosts = two_switches()
    assert ping(net, hosts["h5"], "10.0.0.1").received == 1
    assert ping(net, hosts["h1"], "10.0.0.3").received == 1
    up = [frame.parse(crossing.frame) for crossing in net.crossings if crossing.port == "up"]
    assert up
    assert all([tag.vid for tag in parsed.tags] == [10] for parsed in up)
    assert {parsed.tags[0].pcp for parsed in up if parsed.src[5] == 5} == {3}
    # h1's ARP reply, its echo reply, and its ARP broadcast for h3: the access port of h1 gives priority 0.
    assert hosts["h5"].statistics()["rx_priorities"] == {"0": 3}


def test_a_tagging_host_needs_to_be_told_which_link_is_meant() -> None:
    _net, hosts = two_switches()
    with pytest.raises(HostError, match="fe80::ff:fe00:1%office"):
        hosts["h5"].start_ping("fe80::ff:fe00:1", 1, 0, SECOND, 8, 0)
    with pytest.raises(HostError, match="no interface 'moon'"):
        hosts["h5"].start_ping("fe80::ff:fe00:1%moon", 1, 0, SECOND, 8, 0)


def test_what_is_off_link_goes_to_the_gateway() -> None:
    net = SimNet()
    h1 = make("h1", A, "10.0.0.1/24", "fd00::1/64", gateway="10.0.0.254")
    net.add("h1", HostNode(h1))
    # No router here: a host that owns both addresses answers for the far one as a router would pass it on.
    far = make("far", C, "10.0.0.254/24", "192.0.2.1/32", gateway="10.0.0.1")
    net.add("far", HostNode(far))
    net.connect("h1", "eth0", "far", "eth0")
    assert ping(net, h1, "192.0.2.1").received == 1
    asked = [frame.describe(crossing.frame) for crossing in net.crossings if crossing.sender == "h1"]
    assert "who has 10.0.0.254, tell 10.0.0.1" in asked[0]
    assert "> 02:00:00:00:00:03 IPv4 10.0.0.1 > 192.0.2.1 ICMP" in asked[1]
    assert ping(net, h1, "fd01::1").errors == ["no route to fd01::1"]
    assert (h1.route_quality("192.0.2.1"), h1.route_quality("10.0.0.7"), h1.route_quality("10.0.0.1")) == (0, 24, 255)
    assert h1.route_quality("fd01::1") is None


def test_a_priority_without_vlan_sends_priority_tags_and_any_host_takes_them() -> None:
    net = SimNet()
    h1, h2 = make("h1", A, "10.0.0.1/24", priority=5), make("h2", B, "10.0.0.2/24")
    net.add("h1", HostNode(h1))
    net.add("h2", HostNode(h2))
    net.connect("h1", "eth0", "h2", "eth0")
    assert ping(net, h1, "10.0.0.2").received == 1
    assert h2.statistics()["rx_priorities"] == {"5": 2}
    assert {frame.parse(c.frame).tags[:1] for c in net.crossings if c.sender == "h1"} == {
        (frame.Tag(0x8100, 5, False, 0),)
    }


BAD_INTERFACES = [
    (Interface("eth0", bytes(6)), "MAC address"),
    (Interface("eth0", A[:5]), "MAC address"),
    (Interface("eth0", b"\x03" + A[1:]), "group"),
    (Interface("eth0", A, 4095), "VLAN ID"),
    (Interface("eth0", A, 0, 8), "priority"),
    (Interface("eth0", A, addresses=["10.0.0.1"]), "like 10.0.0.1/24"),
    (Interface("eth0", A, addresses=["10.0.0.1/33"]), "1 to 32"),
    (Interface("eth0", A, addresses=["10.0.0.1/0"]), "1 to 32"),
    (Interface("eth0", A, addresses=["10.0.0.1/" + "9" * 9999]), "1 to 32"),
    (Interface("eth0", A, addresses=["10.0.0.0/24"]), "name of its subnet"),
    (Interface("eth0", A, addresses=["10.0.0.255/24"]), "broadcast address"),
    (Interface("eth0", A, addresses=["224.0.0.1/24"]), "not the address of one host"),
    (Interface("eth0", A, addresses=["ten/24"]), "not an IPv4 or IPv6 address"),
    (Interface("eth0", A, addresses=["10.0.0.1/24"], gateway="10.0.1.1"), "none of the subnets"),
    (Interface("eth0", A, addresses=["10.0.0.1/24"], gateway="10.0.0.1"), "itself"),
    (Interface("eth0", A, addresses=["10.0.0.1/24"], gateway="10.0.0.1/24"), "not an IPv4"),
    (Interface("eth0", A, mtu=1279), "MTU"),
]


@pytest.mark.parametrize(("interface", "words"), BAD_INTERFACES)
def test_bad_interfaces_are_refused_in_one_sentence(interface: Interface, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Host("h1", [interface])
    assert len(str(caught.value)) < 160


def test_one_vlan_once_per_nic() -> None:
    with pytest.raises(HostError, match="same VLAN"):
        Host("h1", [Interface("a", A), Interface("b", B)])
