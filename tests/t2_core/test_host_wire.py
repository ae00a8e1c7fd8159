"""What a host says and hears on the wire, frame by frame: scapy, which shares nothing with it, builds and judges.

Every drop reason of netvirt.hosting.drop is provoked here or in test_host_neighbours.py.
"""

from __future__ import annotations

import warnings

import pytest

from netvirt.host import REASONS, Host, Interface
from netvirt.hosting.checksum import checksum, is_valid
from netvirt.hosting.interface import link_local

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scapy's own deprecations
    from scapy.layers.inet import ICMP, IP, UDP, IPerror, IPOption_NOP, UDPerror
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6EchoRequest,
        ICMPv6ND_NA,
        ICMPv6ND_NS,
        ICMPv6NDOptDstLLAddr,
        ICMPv6NDOptSrcLLAddr,
        IPv6,
    )
    from scapy.layers.l2 import ARP, Dot1Q, Ether
    from scapy.packet import Packet, Raw

OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:02"
MAC, PEER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
SOLICITED = "33:33:ff:00:00:01"


def host(vlan: int = 0, priority: int = 0) -> Host:
    return Host("h1", [Interface("eth0", MAC, vlan, priority, ["10.0.0.1/24", "fd00::1/64"])])


def head(dst: str = OURS, src: str = THEIRS) -> Packet:
    return Ether(dst=dst, src=src)


def ip(**fields: object) -> Packet:
    return IP(src="10.0.0.2", dst="10.0.0.1", **fields)


def ip6(**fields: object) -> Packet:
    return IPv6(**{"src": "fd00::2", "dst": "fd00::1", **fields})


def introduced() -> Host:
    """A host that knows the MAC address of 10.0.0.2 and fd00::2."""
    made = host()
    made.receive(bytes(head("ff:ff:ff:ff:ff:ff") / ARP(hwsrc=THEIRS, psrc="10.0.0.2", pdst="10.0.0.1")), 0)
    solicitation = ICMPv6ND_NS(tgt="fd00::1") / ICMPv6NDOptSrcLLAddr(lladdr=THEIRS)
    made.receive(bytes(head(SOLICITED) / ip6(dst="ff02::1:ff00:1", hlim=255) / solicitation), 0)
    assert made.statistics()["neighbours"] == 2
    return made


def answers(made: Host, question: Packet) -> list[Packet]:
    frames = made.receive(bytes(question), 0)
    parsed = [Ether(frame) for frame in frames]
    for frame, packet in zip(frames, parsed, strict=True):
        assert_checksums(frame, packet)
    return parsed


def assert_checksums(frame: bytes, packet: Packet) -> None:
    """Scapy, made to compute every length and checksum itself, builds the same bytes."""
    again = packet.copy()
    layer = again
    while layer:
        for field in ("chksum", "cksum", "len", "plen"):
            if field in layer.fields and layer.name not in ("IP in ICMP", "UDP in ICMP", "IPv6 in ICMPv6"):
                del layer.fields[field]
        layer = layer.payload
    assert bytes(again) == frame


def test_arp_is_answered_to_him_who_asks() -> None:
    (reply,) = answers(host(), head("ff:ff:ff:ff:ff:ff") / ARP(hwsrc=THEIRS, psrc="10.0.0.2", pdst="10.0.0.1"))
    assert (reply.dst, reply.src, reply[ARP].op) == (THEIRS, OURS, 2)
    assert (reply[ARP].hwsrc, reply[ARP].psrc, reply[ARP].hwdst, reply[ARP].pdst) == (
        OURS,
        "10.0.0.1",
        THEIRS,
        "10.0.0.2",
    )


def test_an_arp_probe_is_answered_and_teaches_nothing() -> None:
    made = host()
    (reply,) = answers(made, head("ff:ff:ff:ff:ff:ff") / ARP(hwsrc=THEIRS, psrc="0.0.0.0", pdst="10.0.0.1"))
    assert reply[ARP].pdst == "0.0.0.0"
    assert made.statistics()["neighbours"] == 0


@pytest.mark.parametrize(("vlan", "priority"), [(10, 0), (4094, 7)])
def test_a_tagged_interface_answers_tagged(vlan: int, priority: int) -> None:
    question = (
        Ether(dst="ff:ff:ff:ff:ff:ff", src=THEIRS) / Dot1Q(vlan=vlan, prio=1) / ARP(psrc="10.0.0.2", pdst="10.0.0.1")
    )
    made = host(vlan, priority)
    (reply,) = answers(made, question)
    assert (reply[Dot1Q].vlan, reply[Dot1Q].prio, reply[ARP].op) == (vlan, priority, 2)
    for wrong in (question.copy(), head() / ip() / ICMP()):
        if Dot1Q in wrong:
            wrong[Dot1Q].vlan = 11
        assert made.receive(bytes(wrong), 0) == []
    assert made.statistics()["drops"] == {"unknown-vlan": 2}


def test_an_untagged_interface_takes_priority_tags() -> None:
    question = (
        Ether(dst="ff:ff:ff:ff:ff:ff", src=THEIRS) / Dot1Q(vlan=0, prio=5) / ARP(psrc="10.0.0.2", pdst="10.0.0.1")
    )
    made = host()
    (reply,) = answers(made, question)
    assert Dot1Q not in reply
    assert made.statistics()["rx_priorities"] == {"5": 1}


def test_a_solicitation_is_answered_as_rfc_4861_wants() -> None:
    question = head(SOLICITED) / ip6(dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="fd00::1")
    (reply,) = answers(host(), question / ICMPv6NDOptSrcLLAddr(lladdr=THEIRS))
    assert (reply.dst, reply[IPv6].dst, reply[IPv6].src, reply[IPv6].hlim) == (THEIRS, "fd00::2", "fd00::1", 255)
    advertisement = reply[ICMPv6ND_NA]
    assert (advertisement.R, advertisement.S, advertisement.O, advertisement.tgt) == (0, 1, 1, "fd00::1")
    assert reply[ICMPv6NDOptDstLLAddr].lladdr == OURS


def test_somebody_elses_duplicate_address_detection_hears_from_all_nodes() -> None:
    question = head(SOLICITED) / ip6(src="::", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="fd00::1")
    (reply,) = answers(host(), question)
    assert (reply.dst, reply[IPv6].dst, reply[ICMPv6ND_NA].S) == ("33:33:00:00:00:01", "ff02::1", 0)


@pytest.mark.parametrize("size", [0, 1, 56, 57, 1400])
def test_echo_requests(size: int) -> None:
    made, data = introduced(), bytes(range(256)) * 6
    (reply,) = answers(made, head() / ip() / ICMP(id=7, seq=9) / Raw(data[:size]))
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq, bytes(reply[ICMP].payload)) == (0, 7, 9, data[:size])
    (reply6,) = answers(made, head() / ip6() / ICMPv6EchoRequest(id=7, seq=9, data=data[:size]))
    assert (reply6[ICMPv6EchoReply].id, reply6[ICMPv6EchoReply].seq) == (7, 9)
    assert reply6[ICMPv6EchoReply].data == data[:size]


def test_an_echo_to_all_nodes_is_answered_from_a_unicast_address() -> None:
    (reply,) = answers(introduced(), head("33:33:00:00:00:01") / ip6(dst="ff02::1") / ICMPv6EchoRequest())
    assert (reply[IPv6].src, reply[IPv6].dst) == ("fd00::1", "fd00::2")


@pytest.mark.parametrize("payload", [b"", b"odd", b"even", b"\xff" * 1000])
def test_udp_echo(payload: bytes) -> None:
    made = introduced()
    for packet in (ip(), ip6()):
        (reply,) = answers(made, head() / packet / UDP(sport=5000, dport=7) / Raw(payload))
        assert (reply[UDP].sport, reply[UDP].dport, bytes(reply[UDP].payload)) == (7, 5000, payload)
    (reply,) = answers(made, head() / ip() / UDP(sport=5000, dport=7, chksum=0) / Raw(payload))
    assert reply[UDP].chksum != 0


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    made = introduced()
    for word in range(0x10000):
        payload = word.to_bytes(2, "big")
        frame = made.udp_frame("10.0.0.2", 9, payload, 0)
        assert frame is not None
        total = frame[40:42]
        assert total != b"\0\0"
        if total == b"\xff\xff":
            assert_checksums(frame, Ether(frame))
            return
    raise AssertionError("no payload gave the checksum zero")


def test_a_closed_port_is_unreachable_and_the_error_quotes_the_packet() -> None:
    made = introduced()
    (error,) = answers(made, head() / ip() / UDP(sport=5000, dport=4711) / Raw(b"x" * 1400))
    assert (error[ICMP].type, error[ICMP].code, len(error)) == (3, 3, 14 + 576)
    assert (error[IPerror].dst, error[UDPerror].dport) == ("10.0.0.1", 4711)
    (error6,) = answers(made, head() / ip6() / UDP(sport=5000, dport=4711) / Raw(b"x" * 1400))
    assert (error6[ICMPv6DestUnreach].code, len(error6)) == (4, 14 + 1280)
    assert made.statistics()["drops"] == {"udp-closed": 2}


def test_errors_are_limited_per_second() -> None:
    made = introduced()
    question = bytes(head() / ip() / UDP(sport=5000, dport=4711))
    assert sum(len(made.receive(question, 5)) for _ in range(250)) == 100
    assert made.statistics()["drops"] == {"udp-closed": 100, "error-limit": 150}
    assert len(made.receive(question, 1_000_000_005)) == 1


def test_announcements_name_every_address() -> None:
    frames = host(10, 3).announce(0)
    packets = [Ether(frame) for frame in frames]
    assert all((packet[Dot1Q].vlan, packet[Dot1Q].prio) == (10, 3) for packet in packets)
    arp, *advertisements = packets
    assert (arp.dst, arp[ARP].op, arp[ARP].psrc, arp[ARP].pdst) == ("ff:ff:ff:ff:ff:ff", 1, "10.0.0.1", "10.0.0.1")
    assert [packet[ICMPv6ND_NA].tgt for packet in advertisements] == ["fd00::1", "fe80::ff:fe00:1"]
    assert all(
        (packet[ICMPv6ND_NA].S, packet[ICMPv6ND_NA].O, packet[IPv6].dst) == (0, 1, "ff02::1")
        for packet in advertisements
    )
    for frame, packet in zip(frames, packets, strict=True):
        assert_checksums(frame, packet)


def test_the_link_local_address_is_the_macs_eui_64() -> None:
    # RFC 2464 section 4: the address 34-56-78-9A-BC-DE has the interface identifier 36-56-78-FF-FE-9A-BC-DE.
    assert link_local(bytes.fromhex("3456789abcde")).ip.hex() == "fe80" + "0" * 12 + "365678fffe9abcde"


def test_checksums_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert checksum(b"") == checksum(bytes(7)) == 0xFFFF
    assert checksum(b"\xff\xff") == 0
    assert is_valid(bytes.fromhex("0001f203f4f5f6f7") + (0xFFFF - 0xDDF2).to_bytes(2, "big"))
    assert not is_valid(bytes(20))


def raw(packet: Packet, at: int, data: bytes) -> bytes:
    """The packet with other bytes at one place."""
    built = bytes(packet)
    return built[:at] + data + built[at + len(data) :]


ECHO = head() / ip() / ICMP()
ECHO6 = head() / ip6() / ICMPv6EchoRequest()
DATAGRAM = head() / ip() / UDP(sport=5000, dport=7)
SOLICITATION = head(SOLICITED) / ip6(dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="fd00::1")
WHO_HAS = head("ff:ff:ff:ff:ff:ff") / ARP(hwsrc=THEIRS, psrc="10.0.0.2", pdst="10.0.0.1")

DROPPED: list[tuple[bytes, str]] = [
    (b"", "runt"),
    (bytes(ECHO)[:13], "runt"),
    (bytes(ECHO)[:12] + b"\x81\x00\x00\x00\x08", "runt"),
    (raw(ECHO, 6, b"\x03"), "bad-source"),
    (raw(ECHO, 0, PEER), "not-for-us"),
    (bytes(head("33:33:ff:00:00:02") / SOLICITATION[IPv6]), "not-for-us"),
    (bytes(Ether(dst=OURS, src=THEIRS) / Dot1Q(vlan=10) / ip() / ICMP()), "unknown-vlan"),
    (bytes(Ether(dst=OURS, src=THEIRS, type=0x88A8) / b"\x00\x0a\x08\x00"), "unknown-type"),
    (bytes(Ether(dst=OURS, src=THEIRS, type=0x88CC) / b"lldp"), "unknown-type"),
    (bytes(WHO_HAS)[:41], "arp-malformed"),
    (raw(WHO_HAS, 14, b"\x00\x06"), "arp-malformed"),
    (raw(WHO_HAS, 20, b"\x00\x03"), "arp-malformed"),
    (raw(WHO_HAS, 22, b"\x03"), "arp-malformed"),
    (bytes(ECHO)[:33], "ip-malformed"),
    (bytes(ECHO)[:41], "ip-malformed"),
    (raw(ECHO, 14, b"\x65"), "ip-malformed"),
    (raw(ECHO, 14, b"\x44"), "ip-malformed"),
    (bytes(ECHO6)[:53], "ip-malformed"),
    (bytes(ECHO6)[:61], "ip-malformed"),
    (raw(ECHO6, 14, b"\x40"), "ip-malformed"),
    (raw(ECHO, 22, b"\x01"), "ip-checksum"),
    (bytes(head() / ip(flags="MF") / ICMP()), "ip-fragment"),
    (bytes(head() / ip(frag=3) / ICMP()), "ip-fragment"),
    (bytes(head() / ip6(nh=44) / Raw(bytes(8))), "ip-fragment"),
    (bytes(head() / IP(src="10.0.0.2", dst="10.0.0.9") / ICMP()), "ip-not-for-us"),
    (bytes(head("ff:ff:ff:ff:ff:ff") / IP(src="10.0.0.2", dst="10.0.0.255") / ICMP()), "ip-not-for-us"),
    (bytes(head("ff:ff:ff:ff:ff:ff") / ip() / ICMP()), "ip-not-for-us"),
    (bytes(head() / ip6(dst="fd00::9") / ICMPv6EchoRequest()), "ip-not-for-us"),
    (bytes(head() / IP(src="224.0.0.1", dst="10.0.0.1") / ICMP()), "ip-bad-source"),
    (bytes(head() / IP(src="0.0.0.0", dst="10.0.0.1") / ICMP()), "ip-bad-source"),
    (bytes(head() / ip6(src="ff02::1") / ICMPv6EchoRequest()), "ip-bad-source"),
    (bytes(head() / ip6(src="::") / UDP(dport=7)), "ip-bad-source"),
    (bytes(head() / ip(proto=6) / Raw(bytes(20))), "ip-unknown-protocol"),
    (bytes(head() / ip6(nh=0) / Raw(bytes(8))), "ip-unknown-protocol"),
    (bytes(head("33:33:00:00:00:01") / ip6(dst="ff02::1") / UDP(dport=7)), "ip-unknown-protocol"),
    (bytes(head() / ip(proto=1) / Raw(bytes(7))), "icmp-malformed"),
    (bytes(head() / ip() / ICMP(type=3, code=3) / Raw(bytes(27))), "icmp-malformed"),
    (bytes(head() / ip() / ICMP(chksum=1)), "icmp-checksum"),
    (bytes(head() / ip6() / ICMPv6EchoRequest(cksum=1)), "icmp-checksum"),
    (bytes(head() / ip() / ICMP(type=13)), "icmp-unknown"),
    (bytes(head() / ip() / ICMP(type=0, id=1, seq=1)), "icmp-not-asked"),
    (bytes(head() / ip() / ICMP(type=3, code=3) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP()), "icmp-not-asked"),
    (bytes(head() / ip() / ICMP(type=3, code=1) / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(id=1)), "icmp-not-asked"),
    (bytes(head() / ip() / ICMP(type=3, code=1) / IP(src="10.0.0.7", dst="10.0.0.2") / ICMP(id=1)), "icmp-not-asked"),
    (bytes(head(SOLICITED) / ip6(dst="ff02::1:ff00:1", hlim=254) / ICMPv6ND_NS(tgt="fd00::1")), "nd-malformed"),
    (bytes(head(SOLICITED) / ip6(dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="ff02::1")), "nd-malformed"),
    (bytes(SOLICITATION / Raw(b"\x01\x00" + bytes(6))), "nd-malformed"),
    (bytes(SOLICITATION / Raw(b"\x01")), "nd-malformed"),
    (bytes(SOLICITATION / ICMPv6NDOptSrcLLAddr(lladdr="ff:ff:ff:ff:ff:ff")), "nd-malformed"),
    (bytes(head("33:33:00:00:00:01") / ip6(dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt="fd00::2", S=1)), "nd-malformed"),
    (bytes(head() / ip(proto=17) / Raw(bytes(7))), "udp-malformed"),
    (bytes(head() / ip() / UDP(dport=7, len=9)), "udp-malformed"),
    (bytes(head() / ip() / UDP(dport=7, len=7)), "udp-malformed"),
    (bytes(head() / ip() / UDP(dport=0)), "udp-malformed"),
    (bytes(head() / ip() / UDP(dport=7, chksum=1)), "udp-checksum"),
    (bytes(head() / ip6() / UDP(dport=7, chksum=0)), "udp-checksum"),
    (bytes(head() / ip() / UDP(dport=4711)), "udp-closed"),
    (bytes(head() / ip() / UDP(sport=7, dport=7)), "udp-echo-loop"),
    (bytes(head() / ip() / UDP(sport=19, dport=7)), "udp-echo-loop"),
    (bytes(head() / IP(src="192.0.2.1", dst="10.0.0.1") / ICMP()), "no-route"),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "reason"), DROPPED, ids=range(len(DROPPED)))
def test_every_drop_has_its_reason(frame: bytes, reason: str) -> None:
    made = introduced()
    sent = made.receive(frame, 0)
    assert made.statistics()["drops"] == {reason: 1}
    assert len(sent) == (1 if reason == "udp-closed" else 0)
    assert made.next_deadline() is None


def test_every_reason_is_provoked_somewhere() -> None:
    elsewhere = {"error-limit", "neighbour-limit", "neighbour-queue", "neighbour-silent"}
    assert {reason for _, reason in DROPPED} | elsewhere == set(REASONS)


@pytest.mark.parametrize("question", [ECHO, ECHO6, DATAGRAM, WHO_HAS, SOLICITATION])
def test_ethernet_padding_is_no_part_of_the_packet(question: Packet) -> None:
    plain, padded = introduced().receive(bytes(question), 0), introduced().receive(bytes(question) + bytes(18), 0)
    assert plain == padded != []


@pytest.mark.parametrize("question", [ECHO, ECHO6, DATAGRAM, WHO_HAS, SOLICITATION])
def test_cut_anywhere_it_is_one_counted_drop(question: Packet) -> None:
    whole = bytes(question)
    for length in range(len(whole)):
        made = introduced()
        assert made.receive(whole[:length], 0) == []
        assert sum(made.statistics()["drops"].values()) == 1


def test_ip_options_are_stepped_over() -> None:
    (reply,) = answers(introduced(), head() / ip(options=[IPOption_NOP()] * 4) / ICMP(id=3))
    assert reply[ICMP].id == 3


def test_an_error_from_a_router_ends_the_echo_with_its_words() -> None:
    made = introduced()
    ping = made.start_ping("10.0.0.2", 1, 0, 10**9, 8, 0)
    (request,) = (Ether(frame) for frame in made.tick(0))
    made.receive(bytes(head() / ip() / ICMP(type=3, code=1) / request[IP]), 5)
    assert ping.done
    assert ping.errors == ["10.0.0.2 says: the host is unreachable"]
