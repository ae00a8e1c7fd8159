"""The neighbour tables: bounded against floods, ageing without timers, retries, and who may teach what."""

from __future__ import annotations

from collections import Counter

from netvirt.host import Host, Interface
from netvirt.hosting import arp, icmp, ip, nd
from netvirt.hosting.neighbours import AGE_NS, PENDING_LIMIT, RETRY_NS, WAITING_LIMIT, Neighbours

MAC, PEER, OTHER = (bytes((2, 0, 0, 0, 0, n)) for n in (1, 2, 3))
OUR_IP, PEER_IP = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
OUR_IP6, PEER_IP6 = (bytes.fromhex("fd00" + "00" * 13 + f"0{n}") for n in (1, 2))
ALL = b"\xff" * 6


class Table:
    """A Neighbours with what it asked and delivered."""

    def __init__(self, limit: int = 4) -> None:
        self.asked: list[bytes] = []
        self.delivered: list[tuple[bytes, bytes]] = []
        self.drops: Counter[str] = Counter()
        self.failures = 0
        self.table = Neighbours(
            self.asked.append, lambda mac, packet: self.delivered.append((mac, packet)), self.drops, limit
        )

    def failed(self) -> None:
        self.failures += 1


def address(number: int) -> bytes:
    return number.to_bytes(4, "big")


def test_packets_wait_for_the_answer_and_leave_in_order() -> None:
    t = Table()
    for packet in (b"1", b"2", b"3"):
        t.table.send(PEER_IP, packet, 0)
    assert (t.asked, t.delivered) == ([PEER_IP], [])
    t.table.learn(PEER_IP, PEER, 5, create=False)
    t.table.send(PEER_IP, b"4", 6)
    assert t.delivered == [(PEER, packet) for packet in (b"1", b"2", b"3", b"4")]
    assert t.table.next_deadline() is None


def test_three_tries_then_everybody_is_told() -> None:
    t = Table()
    t.table.send(PEER_IP, b"1", 0, t.failed)
    t.table.send(PEER_IP, b"2", 0, t.failed)
    deadlines = []
    while (deadline := t.table.next_deadline()) is not None:
        deadlines.append(deadline)
        t.table.tick(deadline - 1)
        assert t.failures == 0
        t.table.tick(deadline)
    assert deadlines == [RETRY_NS, 2 * RETRY_NS, 3 * RETRY_NS]
    assert (t.asked, t.failures, t.drops) == ([PEER_IP] * 3, 2, {"neighbour-silent": 2})
    t.table.send(PEER_IP, b"3", deadlines[-1])
    assert len(t.asked) == 4, "the next packet asks again"


def test_an_entry_ages_without_a_timer() -> None:
    t = Table()
    t.table.learn(PEER_IP, PEER, 0, create=True)
    assert t.table.next_deadline() is None
    assert t.table.lookup(PEER_IP, AGE_NS - 1) == PEER
    assert t.table.lookup(PEER_IP, AGE_NS) is None
    assert len(t.table) == 0


def test_strangers_enter_only_while_there_is_room() -> None:
    t = Table(limit=4)
    for number in range(10):
        t.table.learn(address(number), PEER, number, create=True)
    assert (len(t.table), t.drops) == (4, {"neighbour-limit": 6})
    t.table.learn(address(0), OTHER, 20, create=True)
    assert t.table.lookup(address(0), 20) == OTHER, "who is known may move"
    t.table.learn(address(7), PEER, AGE_NS + 3, create=True)
    assert t.table.lookup(address(7), AGE_NS + 3) == PEER, "the old ones make room"


def test_whom_we_asked_for_replaces_the_oldest_stranger() -> None:
    t = Table(limit=2)
    for number in (1, 2):
        t.table.learn(address(number), OTHER, number, create=True)
    t.table.send(PEER_IP, b"x", 3)
    t.table.learn(PEER_IP, PEER, 3, create=False)
    assert (t.table.lookup(PEER_IP, 3), t.table.lookup(address(1), 3), len(t.table)) == (PEER, None, 2)


def test_nobody_is_created_by_an_answer_that_was_not_asked_for() -> None:
    t = Table()
    t.table.learn(PEER_IP, PEER, 0, create=False)
    assert len(t.table) == 0


def test_waiting_is_bounded_too() -> None:
    t = Table()
    for _ in range(WAITING_LIMIT + 5):
        t.table.send(PEER_IP, b"x", 0, t.failed)
    assert (t.failures, t.drops) == (5, {"neighbour-queue": 5})
    for number in range(PENDING_LIMIT + 3):
        t.table.send(address(number), b"x", 0, t.failed)
    assert (t.failures, t.drops["neighbour-limit"]) == (5 + 4, 4)


def host() -> Host:
    return Host("h1", [Interface("eth0", MAC, addresses=["10.0.0.1/24", "fd00::1/64"])])


def arp_frame(operation: int, sender_mac: bytes, sender: bytes, target: bytes) -> bytes:
    body = arp.build(arp.Arp(operation, sender_mac, sender, MAC, target))
    return ALL + sender_mac + b"\x08\x06" + body


def nd_frame(src: bytes, message: icmp.Message, dst: bytes = OUR_IP6) -> bytes:
    packet = ip.build(src, dst, ip.ICMPV6, icmp.build(src, dst, message), nd.HOP_LIMIT)
    return MAC + PEER + b"\x86\xdd" + packet


def knows(made: Host) -> int:
    return made.statistics()["neighbours"]


def test_an_arp_flood_ends_at_the_limit_and_real_neighbours_still_work() -> None:
    wide = Host("wide", [Interface("eth0", MAC, addresses=["10.0.0.1/8"])])
    for number in range(3000):
        sender = bytes((10, 0, number // 250, number % 250 + 2))
        wide.receive(arp_frame(arp.REQUEST, OTHER, sender, OUR_IP), 0)
    assert knows(wide) == 1024
    assert wide.statistics()["drops"] == {"neighbour-limit": 3000 - 1024}
    assert wide.udp_frame("10.200.0.1", 9, b"", 0) is None
    wide.receive(arp_frame(arp.REPLY, PEER, bytes((10, 200, 0, 1)), OUR_IP), 0)
    frame = wide.udp_frame("10.200.0.1", 9, b"", 0)
    assert frame is not None
    assert frame[:6] == PEER


def test_arp_teaches_only_what_concerns_us() -> None:
    made = host()
    made.receive(arp_frame(arp.REQUEST, PEER, PEER_IP, bytes((10, 0, 0, 9))), 0)
    assert knows(made) == 0, "a request for somebody else"
    made.receive(arp_frame(arp.REQUEST, PEER, bytes((192, 0, 2, 1)), OUR_IP), 0)
    assert knows(made) == 0, "a sender that is not on this link"
    made.receive(arp_frame(arp.REQUEST, PEER, OUR_IP, OUR_IP), 0)
    assert knows(made) == 0, "somebody with our own address"
    made.receive(arp_frame(arp.REQUEST, PEER, PEER_IP, OUR_IP), 0)
    assert knows(made) == 1
    made.receive(arp_frame(arp.REQUEST, OTHER, PEER_IP, PEER_IP), 0)
    frame = made.udp_frame("10.0.0.2", 9, b"", 0)
    assert frame is not None
    assert frame[:6] == OTHER, "its announcement says that it moved"


def test_advertisements_update_and_never_create() -> None:
    made = host()
    made.receive(nd_frame(PEER_IP6, nd.advertisement(PEER_IP6, PEER, solicited=True)), 0)
    assert knows(made) == 0
    assert made.udp_frame("fd00::2", 9, b"", 0) is None
    made.receive(nd_frame(PEER_IP6, nd.advertisement(PEER_IP6, PEER, solicited=True)), 0)
    moved = nd.advertisement(PEER_IP6, OTHER, solicited=True)
    made.receive(nd_frame(PEER_IP6, moved._replace(ident=0x4000)), 0)
    frame = made.udp_frame("fd00::2", 9, b"", 0)
    assert frame is not None
    assert frame[:6] == PEER, "without the override flag the known address stays"
    made.receive(nd_frame(PEER_IP6, moved), 0)
    frame = made.udp_frame("fd00::2", 9, b"", 0)
    assert frame is not None
    assert frame[:6] == OTHER


def test_a_solicitation_without_mac_address_from_a_stranger_is_answered_to_all_nodes() -> None:
    made = host()
    question = nd.solicitation(OUR_IP6, PEER)
    (reply,) = made.receive(nd_frame(PEER_IP6, question._replace(payload=question.payload[:16])), 0)
    assert reply[:6] == nd.multicast_mac(nd.ALL_NODES)
    (reply,) = made.receive(nd_frame(PEER_IP6, question), 0)
    assert reply[:6] == PEER
    (reply,) = made.receive(nd_frame(PEER_IP6, question._replace(payload=question.payload[:16])), 0)
    assert reply[:6] == PEER, "now it is known"
