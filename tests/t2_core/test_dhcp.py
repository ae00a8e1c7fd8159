"""The DHCP server: every message that a client sends, what it is told, and who gets which address. Held against scapy.

RFC 2131 and 2132; numbers in the names of cases are its sections.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from netvirt.hosting import dhcp_wire as wire
from netvirt.hosting.dhcp import DECLINE_SECONDS, EVERYBODY, OFFER_SECONDS, Answer, Server, Service

NOW = 1_000_000
OWN = bytes((10, 0, 2, 1))
OTHER_SERVER = bytes((10, 0, 2, 250))
ELSEWHERE = bytes((192, 168, 7, 7))


def service(first: int = 100, last: int = 103, **more: Any) -> Service:
    usual = Service(
        OWN, 24, bytes((10, 0, 2, first)), bytes((10, 0, 2, last)), 3600, router=OWN, dns=(OWN, OTHER_SERVER), mtu=1450
    )
    return usual._replace(**more)


def mac(number: int) -> bytes:
    return bytes((2, 0, 0, 0, number >> 8, number & 255))


def ip(last: int) -> bytes:
    return bytes((10, 0, 2, last))


def ask(kind: int, number: int = 1, *, flags: int = 0, xid: int = 7, **fields: bytes) -> bytes:
    """A client's message: ciaddr, giaddr, and options by their names in dhcp_wire, in small letters."""
    ciaddr, giaddr = fields.pop("ciaddr", bytes(4)), fields.pop("giaddr", bytes(4))
    options = [(wire.KIND, bytes((kind,)))]
    options += [(getattr(wire, name.upper()), value) for name, value in fields.items()]
    return wire.build(wire.REQUEST_OP, xid, mac(number), options, flags=flags, ciaddr=ciaddr, giaddr=giaddr)


def told(answer: Answer | None) -> tuple[str, str]:
    """What scapy reads: the kind of message, and the address in it."""
    assert answer is not None
    kinds = {2: "offer", 5: "ack", 6: "nak"}
    message = BOOTP(answer.data)
    options = {option[0]: option[1] for option in message[DHCP].options if isinstance(option, tuple)}
    return kinds[options["message-type"]], message.yiaddr


def bind(server: Server, number: int, now: int = NOW, **options: Any) -> str:
    """DISCOVER, OFFER, REQUEST, ACK; the address."""
    kind, address = told(server.receive(ask(wire.DISCOVER, number, **options), now))
    assert kind == "offer"
    wished = bytes(map(int, address.split(".")))
    request = ask(wire.REQUEST, number, **{**options, "requested": wished, "server": OWN})
    assert told(server.receive(request, now)) == ("ack", address)
    return address


def test_scapy_reads_every_field_of_an_offer_and_of_an_ack() -> None:
    server = Server(service())
    for kind, number in ((wire.DISCOVER, 2), (wire.REQUEST, 5)):
        question = ask(kind, xid=0xDEADBEEF, flags=0x8000, client=b"\x00me", requested=ip(100), server=OWN)
        answer = server.receive(question, NOW)
        assert answer is not None and answer.to == EVERYBODY and len(answer.data) >= 300
        message = BOOTP(answer.data)
        assert (message.op, message.xid, int(message.flags), message.htype, message.hlen) == (
            2,
            0xDEADBEEF,
            0x8000,
            1,
            6,
        )
        assert (message.ciaddr, message.yiaddr, message.giaddr) == ("0.0.0.0", "10.0.2.100", "0.0.0.0")
        assert message.chaddr[:6] == mac(1) and not any(message.chaddr[6:])
        options = [option for option in message[DHCP].options if option != "pad"]
        assert options == [
            ("message-type", number), ("server_id", "10.0.2.1"), ("lease_time", 3600), ("renewal_time", 1800),
            ("rebinding_time", 3150), ("subnet_mask", "255.255.255.0"), ("router", "10.0.2.1"),
            ("name_server", "10.0.2.1", "10.0.2.250"), ("interface-mtu", 1450), ("broadcast_address", "10.0.2.255"),
            ("client_id", b"\x00me"), "end",
        ]  # fmt: skip


def test_scapy_writes_what_we_read() -> None:
    options = [("message-type", "request"), ("client_id", b"\x01abcdef"), ("requested_addr", "10.0.2.9"), "end"]
    data = bytes(BOOTP(op=1, xid=5, chaddr=mac(9), ciaddr="10.0.2.8", flags="B") / DHCP(options=options))
    message = wire.parse(data)
    assert (message.kind, message.xid, message.flags, message.ciaddr) == (wire.REQUEST, 5, 0x8000, ip(8))
    assert message.mac == mac(9)
    assert message.options == {wire.KIND: b"\x03", wire.CLIENT: b"\x01abcdef", wire.REQUESTED: ip(9)}


def test_a_client_gets_the_same_address_again_also_when_its_lease_is_over() -> None:
    server = Server(service())
    addresses = [bind(server, number) for number in (1, 2, 3)]
    assert addresses == ["10.0.2.100", "10.0.2.101", "10.0.2.102"]
    much_later = NOW + 10 * 3600
    assert [bind(server, number, much_later) for number in (3, 2, 1)] == addresses[::-1]


def test_a_client_is_who_its_client_id_says_and_else_its_mac_address() -> None:
    server = Server(service())
    first = bind(server, 1, client=b"\x00laptop")
    assert bind(server, 2, client=b"\x00laptop") == first
    assert bind(server, 1) != first
    # A boot ROM without an id, and the system that it starts: type 1 and the address are the same client.
    assert bind(server, 3) == bind(server, 3, client=b"\x01" + mac(3))


def test_an_address_that_is_free_is_given_to_the_one_who_wishes_it() -> None:
    server = Server(service())
    assert told(server.receive(ask(wire.DISCOVER, 1, requested=ip(102)), NOW)) == ("offer", "10.0.2.102")
    assert told(server.receive(ask(wire.DISCOVER, 2, requested=ip(102)), NOW)) == ("offer", "10.0.2.100")
    assert told(server.receive(ask(wire.DISCOVER, 3, requested=ip(55)), NOW)) == ("offer", "10.0.2.101")


def test_nobody_gets_the_gateways_address_or_those_of_the_network_itself() -> None:
    server = Server(service(0, 3))
    assert {bind(server, number) for number in (1, 2)} == {"10.0.2.2", "10.0.2.3"}
    assert server.receive(ask(wire.DISCOVER, 3), NOW) is None
    top = Server(service(254, 255))
    assert bind(top, 1) == "10.0.2.254"
    assert top.receive(ask(wire.DISCOVER, 2), NOW) is None


def test_when_all_are_taken_there_is_no_offer_until_one_is_free_again() -> None:
    server = Server(service())
    for number in range(4):
        bind(server, number, NOW + number)
    assert server.receive(ask(wire.DISCOVER, 9), NOW + 5) is None
    assert server.statistics()["exhausted"] == 1
    assert server.receive(ask(wire.RELEASE, 2, ciaddr=ip(102)), NOW + 6) is None
    assert bind(server, 9, NOW + 7) == "10.0.2.102"
    assert server.receive(ask(wire.DISCOVER, 10), NOW + 8) is None
    # The lease that ends first is given away first, and its holder gets another one.
    assert bind(server, 10, NOW + 3600) == "10.0.2.100"
    assert bind(server, 0, NOW + 3601) == "10.0.2.101"


def test_an_offer_is_kept_for_a_while_only() -> None:
    server = Server(service(100, 100))
    assert told(server.receive(ask(wire.DISCOVER, 1), NOW)) == ("offer", "10.0.2.100")
    assert server.receive(ask(wire.DISCOVER, 2), NOW + OFFER_SECONDS - 1) is None
    assert told(server.receive(ask(wire.DISCOVER, 2), NOW + OFFER_SECONDS)) == ("offer", "10.0.2.100")
    assert told(server.receive(ask(wire.REQUEST, 1, requested=ip(100), server=OWN), NOW + OFFER_SECONDS))[0] == "nak"
    assert server.leases() == []


def test_who_takes_another_servers_offer_does_not_hold_ours() -> None:
    server = Server(service(100, 100))
    server.receive(ask(wire.DISCOVER, 1), NOW)
    assert server.receive(ask(wire.REQUEST, 1, requested=ip(9), server=OTHER_SERVER), NOW + 1) is None
    assert server.statistics()["other-server"] == 1
    assert told(server.receive(ask(wire.DISCOVER, 2), NOW + 2)) == ("offer", "10.0.2.100")


# Client 1 has 10.0.2.100, client 2 has 10.0.2.101, then there is this request; a word is why it has no answer.
REQUESTS: dict[str, tuple[dict[str, Any], tuple[str, str] | str]] = {
    "4.3.2 selecting, ours": ({"requested": ip(100), "server": OWN}, ("ack", "10.0.2.100")),
    "4.3.2 selecting, not what was offered": ({"requested": ip(103), "server": OWN}, ("nak", "0.0.0.0")),
    "4.3.2 selecting, without an address": ({"server": OWN}, "incomplete"),
    "4.3.2 init-reboot, ours": ({"requested": ip(100)}, ("ack", "10.0.2.100")),
    "4.3.2 init-reboot, wrong address": ({"requested": ip(103)}, ("nak", "0.0.0.0")),
    "4.3.2 init-reboot, another network": ({"requested": ELSEWHERE}, ("nak", "0.0.0.0")),
    "4.3.2 init-reboot of a stranger, another network": ({"number": 9, "requested": ELSEWHERE}, ("nak", "0.0.0.0")),
    "4.3.2 init-reboot of a stranger": ({"number": 9, "requested": ip(103)}, "without-record"),
    "4.3.2 renewing": ({"ciaddr": ip(100)}, ("ack", "10.0.2.100")),
    "4.3.2 renewing, somebody else's": ({"ciaddr": ip(101)}, ("nak", "0.0.0.0")),
    "4.3.2 renewing, forgotten": ({"number": 9, "ciaddr": ip(103)}, ("ack", "10.0.2.103")),
    "4.3.2 renewing, outside the range": ({"number": 9, "ciaddr": ip(77)}, ("nak", "0.0.0.0")),
    "4.3.2 rebinding from another network": ({"ciaddr": ELSEWHERE}, ("nak", "0.0.0.0")),
    "4.3.2 nothing at all": ({}, "incomplete"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str) -> None:
    arguments, expected = REQUESTS[name]
    server = Server(service())
    bind(server, 1), bind(server, 2)
    before = server.dump()
    answer = server.receive(ask(wire.REQUEST, **arguments), NOW + 60)
    if isinstance(expected, str):
        assert answer is None and server.statistics()[expected] == 1
        assert server.dump() == before
        return
    assert told(answer) == expected
    assert answer is not None
    if expected[0] == "nak":
        assert answer.to == EVERYBODY and server.statistics()["refused"] == 1 and server.dump() == before
        options = wire.parse_options(answer.data[240:])
        assert set(options) == {wire.KIND, wire.SERVER}
    else:
        # Who has an address hears it there, and finds its own in ciaddr again (table 3).
        ciaddr = arguments.get("ciaddr", bytes(4))
        assert answer.to == (ciaddr if any(ciaddr) else EVERYBODY)
        assert answer.data[12:16] == ciaddr
        held = {lease.address & 255: lease.expires for lease in server.leases()}
        assert held[int(expected[1].split(".")[3])] == NOW + 60 + 3600


def test_an_address_that_somebody_uses_already_is_left_alone_for_a_while() -> None:
    server = Server(service(100, 101))
    bind(server, 1)
    assert server.receive(ask(wire.DECLINE, 1, requested=ip(100), server=OWN), NOW) is None
    assert server.leases() == []
    assert bind(server, 1) == "10.0.2.101"
    assert server.receive(ask(wire.DISCOVER, 2), NOW) is None
    assert told(server.receive(ask(wire.DISCOVER, 2), NOW + DECLINE_SECONDS)) == ("offer", "10.0.2.100")
    # Somebody else's can't be declined.
    assert server.receive(ask(wire.DECLINE, 3, requested=ip(101), server=OWN), NOW) is None
    assert server.statistics()["without-record"] == 1 and len(server.leases()) == 1


def test_who_declined_an_address_keeps_the_one_that_came_after_it() -> None:
    server = Server(service(100, 101))
    bind(server, 1)
    assert server.receive(ask(wire.DECLINE, 1, requested=ip(100), server=OWN), NOW) is None
    assert bind(server, 1) == "10.0.2.101"
    later = NOW + DECLINE_SECONDS
    assert bind(server, 2, later) == "10.0.2.100"
    assert told(server.receive(ask(wire.REQUEST, 1, ciaddr=ip(101)), later)) == ("ack", "10.0.2.101")


def test_nobody_releases_the_lease_of_another_one() -> None:
    server = Server(service())
    bind(server, 1), bind(server, 2)
    before = server.dump()
    server.receive(ask(wire.RELEASE, 1, ciaddr=ip(101)), NOW)
    server.receive(ask(wire.RELEASE, 3, ciaddr=ip(100)), NOW)
    assert server.dump() == before and server.statistics()["without-record"] == 2


def test_who_has_an_address_is_told_the_rest() -> None:
    server = Server(service())
    answer = server.receive(ask(wire.INFORM, 1, ciaddr=ip(50)), NOW)
    assert told(answer) == ("ack", "0.0.0.0")
    assert answer is not None and answer.to == ip(50)
    options = wire.parse_options(answer.data[240:])
    assert options[wire.ROUTER] == OWN and options[wire.MTU] == (1450).to_bytes(2, "big")
    assert not {wire.LEASE_TIME, wire.RENEWAL, wire.REBINDING} & set(options)
    assert server.leases() == []
    assert server.receive(ask(wire.INFORM, 1, ciaddr=ELSEWHERE), NOW) is None
    assert server.receive(ask(wire.INFORM, 1), NOW) is None
    assert server.statistics()["incomplete"] == 2


@pytest.mark.parametrize(("asked", "given"), [(600, 600), (7200, 3600), (1, 60), (0xFFFFFFFF, 3600)])
def test_a_client_may_ask_for_less_time(asked: int, given: int) -> None:
    server = Server(service())
    answer = server.receive(ask(wire.DISCOVER, lease_time=asked.to_bytes(4, "big")), NOW)
    assert answer is not None
    assert int.from_bytes(wire.parse_options(answer.data[240:])[wire.LEASE_TIME], "big") == given


def test_what_is_not_configured_is_not_said() -> None:
    answer = Server(service(router=b"", dns=(), mtu=0)).receive(ask(wire.DISCOVER), NOW)
    assert answer is not None
    assert not {wire.ROUTER, wire.DNS, wire.MTU} & set(wire.parse_options(answer.data[240:]))


def test_leases_are_plain_data_and_outlive_the_server() -> None:
    server = Server(service())
    before = [bind(server, number, host_name=b"box\x00\x1b[1m" + bytes((65 + number,))) for number in (1, 2, 3)]
    server.receive(ask(wire.DISCOVER, 4), NOW)  # an offer is no lease
    rows = server.dump()
    assert rows[0] == {
        "client": "01020000000001", "mac": "02:00:00:00:00:01", "address": 0x0A000264, "expires": NOW + 3600,
        "name": "box[1mB",
    }  # fmt: skip
    again = Server(service(), rows)
    assert again.dump() == rows
    assert bind(again, 9) not in before
    assert [bind(again, number) for number in (3, 2, 1)] == before[::-1]


def test_kept_leases_that_do_not_fit_are_left_out() -> None:
    server = Server(service())
    bind(server, 1), bind(server, 2)
    good, other = server.dump()
    bad: list[Any] = [
        None, [], {}, 3, {**good, "address": 1}, {**good, "address": "10.0.2.100"}, {**good, "client": "zz"},
        {**good, "client": ""}, {**good, "mac": "02"}, {**good, "expires": None}, {**good, "address": other["address"]},
        {**other, "client": good["client"]}, {**other, "address": OWN[3]},
    ]  # fmt: skip
    again = Server(service(), [good, *bad, other])
    assert again.dump() == [good, other]
    assert again.statistics() == {"lease-refused": len(bad)}


HEAD = ask(wire.DISCOVER)[:236]
COOKIE = bytes((99, 130, 83, 99))
JUNK = {
    "nothing": (b"", "short"),
    "no options at all": (HEAD, "short"),
    "an answer": (b"\x02" + ask(wire.DISCOVER)[1:], "not-a-request"),
    "token ring": (b"\x01\x06" + ask(wire.DISCOVER)[2:], "not-ethernet"),
    "a long address": (b"\x01\x01\x10" + ask(wire.DISCOVER)[3:], "not-ethernet"),
    "a group's address": (HEAD[:28] + b"\xff" + ask(wire.DISCOVER)[29:], "not-ethernet"),
    "nobody's address": (HEAD[:28] + bytes(6) + ask(wire.DISCOVER)[34:], "not-ethernet"),
    "wrong cookie": (HEAD + b"abcd" + ask(wire.DISCOVER)[240:], "no-cookie"),
    "BOOTP": (HEAD + COOKIE + b"\xff", "bootp"),
    "options that end without an end": (HEAD + COOKIE, "bootp"),
    "an option that overruns": (HEAD + COOKIE + b"\x35\x01\x01\x0c\x09abc", "options-malformed"),
    "an option without a length": (HEAD + COOKIE + b"\x35\x01\x01\x0c", "options-malformed"),
    "a type of two bytes": (HEAD + COOKIE + b"\x35\x02\x01\x01\xff", "options-malformed"),
    "an empty type": (HEAD + COOKIE + b"\x35\x00\xff", "options-malformed"),
    "an address of three bytes": (HEAD + COOKIE + b"\x35\x01\x03\x32\x03abc\xff", "options-malformed"),
    "two overloads": (HEAD + COOKIE + b"\x35\x01\x01\x34\x02\x01\x02\xff", "options-malformed"),
    "an empty overload": (HEAD + COOKIE + b"\x35\x01\x01\x34\x00\xff", "options-malformed"),
    "type 0": (ask(0), "unknown-type"),
    "an offer": (ask(wire.OFFER), "unknown-type"),
    "type 255": (ask(255), "unknown-type"),
    "a relay": (ask(wire.DISCOVER, giaddr=ip(254)), "relayed"),
}


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_counted_with_a_reason(name: str) -> None:
    data, reason = JUNK[name]
    server = Server(service())
    assert server.receive(data, NOW) is None
    assert server.statistics() == {reason: 1}


def test_every_reason_is_seen_somewhere() -> None:
    elsewhere = {"other-server", "without-record", "incomplete", "exhausted"}
    assert {reason for _, reason in JUNK.values()} | elsewhere == set(wire.REASONS)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_options_may_overflow_into_the_other_fields(bits: int) -> None:
    """Option 52; a value that goes on in the next field is one value (RFC 3396)."""
    field = COOKIE + b"\x35\x01\x01\x0c\x02ab\x34\x01" + bytes((bits,)) + b"\xff"
    sname, file = b"\x0c\x01s\xff".ljust(64, b"\0"), b"\x0c\x01f\xff".ljust(128, b"\0")
    message = wire.parse(HEAD[:44] + sname + file + field)
    assert message.options[wire.HOST_NAME] == b"ab" + b"f" * (bits & 1) + b"s" * (bits >> 1)


def test_an_overflow_that_overruns_its_field_is_junk() -> None:
    field = COOKIE + b"\x35\x01\x01\x34\x01\x01\xff"
    file = (b"\0" * 120 + b"\x0c\x20").ljust(128, b"x")
    server = Server(service())
    assert server.receive(HEAD[:44] + bytes(64) + file + field, NOW) is None
    assert server.statistics() == {"options-malformed": 1}


def test_a_long_value_is_split_and_read_again() -> None:
    value = bytes(range(256)) * 2
    assert wire.parse_options(wire.build_options([(wire.HOST_NAME, value)])) == {wire.HOST_NAME: value}


KINDS = (wire.DISCOVER, wire.REQUEST, wire.DECLINE, wire.RELEASE, wire.INFORM)
CLIENTS = 7


def random_message(dice: random.Random) -> bytes:
    options: dict[str, Any] = {}
    if dice.random() < 0.5:
        options["requested"] = ip(dice.randrange(98, 106))
    if dice.random() < 0.4:
        options["server"] = dice.choice((OWN, OWN, OTHER_SERVER))
    ciaddr = ip(dice.randrange(98, 106)) if dice.random() < 0.4 else bytes(4)
    return ask(dice.choice(KINDS), dice.randrange(CLIENTS), ciaddr=ciaddr, **options)


@given(st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_no_two_clients_ever_hold_one_address(seed: int) -> None:
    """What clients believe after any sequence of messages, kept by an account of our own."""
    dice = random.Random(seed)
    server, now = Server(service()), NOW
    holds: dict[int, tuple[int, int]] = {}  # address: (client, until)
    for _ in range(200):
        now += dice.choice((0, 1, 20, 700, 2000))
        data = random_message(dice)
        client, kind = data[33], data[242]
        answer = server.receive(data, now)
        if kind in (wire.RELEASE, wire.DECLINE):
            holds = {address: held for address, held in holds.items() if held[0] != client}
        if answer is None or answer.data[16:20] == bytes(4):
            continue
        address, given = answer.data[19], answer.data[242]
        holder, until = holds.get(address, (client, 0))
        assert holder == client or until <= now, "somebody else has it"
        assert 100 <= address <= 103
        if given == wire.ACK:
            holds = {other: held for other, held in holds.items() if held[0] != client}
            holds[address] = (client, now + 3600)
    rows = server.dump()
    assert len({row["address"] for row in rows}) == len({row["client"] for row in rows}) == len(rows)
    assert Server(service(), rows).dump() == rows


@given(st.binary(max_size=600), st.integers(0, 700), st.integers(0, 4))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_is_answered_or_counted(noise: bytes, at: int, kind: int) -> None:
    seed = ask(KINDS[kind], 3, ciaddr=ip(100), requested=ip(100), server=OWN, client=b"\x01abc", host_name=b"h")
    for data in (noise, seed[:at], seed[:at] + noise, seed[:240] + noise, seed[:at] + noise + seed[at + len(noise) :]):
        server = Server(service())
        answer = server.receive(data, NOW)
        assert sum(server.statistics().values()) >= 1
        if answer is not None:
            assert told(answer)[0] in ("offer", "ack", "nak")
            assert wire.parse_options(answer.data[240:])[wire.SERVER] == OWN


def test_a_flood_of_strangers_takes_the_range_and_nothing_more() -> None:
    server = Server(service())
    for number in range(3000):
        server.receive(ask(wire.DISCOVER, number), NOW)
    counts = server.statistics()
    assert counts == {"discover": 4, "exhausted": 2996}
    for number in range(3000):  # a client that asks again and again does not grow anything either
        server.receive(ask(wire.DISCOVER, 1), NOW + number)
    assert len(server._leases._ends) <= 2 * 4 + 65
    assert bind(server, 2999, NOW + 3600) == "10.0.2.100"
