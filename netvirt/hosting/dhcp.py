"""A DHCP server for IPv4 (RFC 2131, RFC 2132), sans-io: a client's message and `now` in, at most one answer out.

Knows: what each kind of message asks for, and what a client is told. Refuses to know: sockets, clocks, files.
Seconds are whole ones of any clock; leases that are to outlive a restart want one that goes on meanwhile.

Held to: no relays (section 4.1, giaddr): a message that came through one is counted, not answered. Without a record of
a client that reboots elsewhere we stay silent (section 4.3.2), and we never talk about another network's addresses but
to say no. An address is not probed before it is offered: clients do that, and DECLINE it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from netvirt.hosting import dhcp_wire as wire
from netvirt.hosting.dhcp_wire import Junk, Message
from netvirt.hosting.leases import BOUND, DECLINED, LARGEST_RANGE, OFFERED, Lease, Leases, readable

__all__ = ["CLIENT_PORT", "EVERYBODY", "LARGEST_RANGE", "SERVER_PORT", "Answer", "Server", "Service"]

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68
EVERYBODY: Final = b"\xff" * 4
OFFER_SECONDS: Final = 30  # how long an address is kept for a client that was offered it
DECLINE_SECONDS: Final = 600  # how long one is left alone that somebody uses without having asked
SHORTEST_LEASE: Final = 60  # a client may ask for less than we give, but not for so little that it does nothing else
_DNS_SERVERS: Final = 8


class Service(NamedTuple):
    """What clients of one network are given. Addresses are 4 bytes; `mtu` 0: nothing is said about it.

    first, last: the range that leases come from. lease_s: the longest one, in seconds. router b"": none.
    """

    server: bytes
    prefix: int
    first: bytes
    last: bytes
    lease_s: int
    router: bytes = b""
    dns: tuple[bytes, ...] = ()
    mtu: int = 0


class Answer(NamedTuple):
    """To be sent from port 67 to port 68 of `to`; EVERYBODY where the client has no address yet.

    RFC 2131 section 4.1 allows the broadcast even if the client did not ask for it: unicast to somebody who can't
    answer ARP yet would need raw frames.
    """

    data: bytes
    to: bytes


class Server:
    """Serves one network. `receive` takes whatever comes, raises nothing, and counts why something got no answer."""

    def __init__(self, service: Service, kept: Iterable[Any] = (), now: int = 0) -> None:
        """kept: what dump() of another one gave; rows that don't fit are counted as `lease-refused`."""
        self.service = service
        self.counts: Counter[str] = Counter()
        self.changes = 0  # grows whenever dump() would give something else
        first, last = _number(service.first), _number(service.last)
        self._mask = (0xFFFFFFFF << (32 - service.prefix)) & 0xFFFFFFFF
        network = _number(service.server) & self._mask
        ends = () if service.prefix > 30 else (network, network | ~self._mask & 0xFFFFFFFF)
        self._network = network
        self._leases = Leases(first, last, {_number(service.server), *ends})
        if refused := self._leases.restore(kept):
            self.counts["lease-refused"] += refused

    def receive(self, data: bytes, now: int) -> Answer | None:
        """The answer to one datagram, or None."""
        try:
            message = wire.parse(data)
            if message.giaddr != wire.NOWHERE:
                raise Junk("relayed")
            handle = _HANDLERS.get(message.kind)
            if handle is None:
                raise Junk("unknown-type")
            answer = handle(self, message, now)
        except Junk as junk:
            self.counts[junk.reason] += 1
            return None
        self.counts[_NAMES[message.kind]] += 1
        return answer

    # --- what clients send (section 4.3)

    def _discover(self, message: Message, now: int) -> Answer:
        client = _client(message)
        address = self._leases.find(client, _wished(message), now)
        if address is None:
            raise Junk("exhausted")
        held = self._leases.of_client(client)
        if held is None or held.state != BOUND or held.expires <= now + OFFER_SECONDS:
            # A client that had it keeps its record: asking again must not turn a lease into an offer.
            state = BOUND if held is not None and held.state == BOUND else OFFERED
            self._leases.put(Lease(client, message.mac, address, now + OFFER_SECONDS, state, _name(message)))
        return self._give(wire.OFFER, message, address)

    def _request(self, message: Message, now: int) -> Answer | None:
        client, wished = _client(message), _wished(message)
        server = message.options.get(wire.SERVER)
        if server is not None and server != self.service.server:
            self._leases.withdraw(client, now)
            raise Junk("other-server")
        if server is not None and wished is None and message.ciaddr == wire.NOWHERE:
            raise Junk("incomplete")
        if wished is None:
            return self._renew(message, client, now)
        held = self._leases.of_client(client)
        if held is not None and held.address == wished:
            return self._bind(message, client, wished, now)
        if server is None and held is None and self._is_here(wished):
            raise Junk("without-record")  # INIT-REBOOT: another server of this network may have one
        return self._refuse(message)

    def _renew(self, message: Message, client: bytes, now: int) -> Answer:
        """RENEWING and REBINDING: the address is in ciaddr, and the client is believed (section 4.3.2)."""
        if message.ciaddr == wire.NOWHERE:
            raise Junk("incomplete")
        address = _number(message.ciaddr)
        held = self._leases.of_client(client)
        if held is not None and held.address == address:
            return self._bind(message, client, address, now)
        if self._leases.is_free(address, now):  # we forgot: our leases were lost, or the range was another one
            return self._bind(message, client, address, now)
        return self._refuse(message)

    def _decline(self, message: Message, now: int) -> None:
        held, address = self._leases.of_client(_client(message)), _wished(message)
        if held is None or held.address != address:
            raise Junk("without-record")
        self._leases.put(held._replace(expires=now + DECLINE_SECONDS, state=DECLINED))
        self.changes += 1

    def _release(self, message: Message, now: int) -> None:
        client = _client(message)
        held = self._leases.of_client(client)
        if held is None or held.address != _number(message.ciaddr):
            raise Junk("without-record")
        self._leases.release(client, now)
        self.changes += 1

    def _inform(self, message: Message, now: int) -> Answer:
        """It has an address by other means and wants to know the rest: no lease, no yiaddr (section 4.3.5)."""
        if message.ciaddr == wire.NOWHERE or not self._is_here(_number(message.ciaddr)):
            raise Junk("incomplete")
        return self._answer(wire.ACK, message, self._network_options(), wire.NOWHERE)

    # --- what they are told

    def _bind(self, message: Message, client: bytes, address: int, now: int) -> Answer:
        lease = Lease(client, message.mac, address, now + self._seconds(message), BOUND, _name(message))
        if self._leases.of_client(client) != lease:
            self._leases.put(lease)
            self.changes += 1
        return self._give(wire.ACK, message, address)

    def _seconds(self, message: Message) -> int:
        longest = self.service.lease_s
        asked = message.options.get(wire.LEASE_TIME)
        return longest if asked is None else min(longest, max(_number(asked), SHORTEST_LEASE))

    def _give(self, kind: int, message: Message, address: int) -> Answer:
        seconds = self._seconds(message)
        # T1 and T2 of section 4.4.5.
        times = ((wire.LEASE_TIME, seconds), (wire.RENEWAL, seconds // 2), (wire.REBINDING, seconds * 7 // 8))
        options = [(code, value.to_bytes(4, "big")) for code, value in times]
        return self._answer(kind, message, options + self._network_options(), address.to_bytes(4, "big"))

    def _network_options(self) -> list[tuple[int, bytes]]:
        """All of it, whatever was asked for: it is little, and the MTU is asked for by few."""
        service = self.service
        wanted = (
            (wire.MASK, self._mask.to_bytes(4, "big")),  # before the router (RFC 2132 section 3.3)
            (wire.ROUTER, service.router),
            (wire.DNS, b"".join(service.dns[:_DNS_SERVERS])),
            (wire.MTU, service.mtu.to_bytes(2, "big") if service.mtu else b""),
            (wire.BROADCAST_ADDRESS, (self._network | ~self._mask & 0xFFFFFFFF).to_bytes(4, "big")),
        )
        return [(code, value) for code, value in wanted if value]

    def _refuse(self, message: Message) -> Answer:
        self.counts["refused"] += 1
        return self._answer(wire.NAK, message, [], wire.NOWHERE)

    def _answer(self, kind: int, message: Message, options: list[tuple[int, bytes]], yiaddr: bytes) -> Answer:
        head = [(wire.KIND, bytes((kind,))), (wire.SERVER, self.service.server)]
        tail = [(wire.CLIENT, value) for value in (message.options.get(wire.CLIENT),) if value]  # RFC 6842
        refusal = kind == wire.NAK
        # Table 3: ciaddr comes back in an ACK only. A client that hears no is to forget its address, so all hear it.
        ciaddr = message.ciaddr if kind == wire.ACK else wire.NOWHERE
        data = wire.build(
            wire.REPLY_OP, message.xid, message.mac, head + options + tail,
            flags=message.flags & wire.BROADCAST_FLAG, ciaddr=ciaddr, yiaddr=yiaddr,
        )  # fmt: skip
        return Answer(data, EVERYBODY if refusal or message.ciaddr == wire.NOWHERE else message.ciaddr)

    def _is_here(self, address: int) -> bool:
        return address & self._mask == self._network

    # --- for people, and for the next process

    def leases(self) -> list[Lease]:
        """Those that clients took, by address; expired ones too."""
        return self._leases.bound()

    def dump(self) -> list[dict[str, Any]]:
        """The leases as plain data (JSON can hold it), for `kept` of another Server."""
        return self._leases.dump()

    def changed(self) -> list[dict[str, Any]]:
        """What is different in dump() since saved(): rows, or `{address}` alone for one that is nobody's any more."""
        return self._leases.changed()

    def saved(self) -> None:
        """dump() or changed() is kept now."""
        self._leases.saved()

    def statistics(self) -> dict[str, int]:
        """What came, by kind, and what got no answer, by reason (dhcp_wire.REASONS)."""
        return dict(self.counts)


_Handler = Callable[[Server, Message, int], Answer | None]
_HANDLERS: Final[dict[int, _Handler]] = {
    wire.DISCOVER: Server._discover,
    wire.REQUEST: Server._request,
    wire.DECLINE: Server._decline,
    wire.RELEASE: Server._release,
    wire.INFORM: Server._inform,
}
_NAMES: Final = {
    wire.DISCOVER: "discover", wire.REQUEST: "request", wire.DECLINE: "decline", wire.RELEASE: "release",
    wire.INFORM: "inform",
}  # fmt: skip


def _number(address: bytes) -> int:
    return int.from_bytes(address, "big")


def _client(message: Message) -> bytes:
    """Who asks: option 61, or else the MAC address as if it stood there (RFC 2131 section 4.2, RFC 2132 9.14)."""
    return message.options.get(wire.CLIENT, b"")[:255] or b"\x01" + message.mac


def _wished(message: Message) -> int | None:
    value = message.options.get(wire.REQUESTED)
    return None if value is None else _number(value)


def _name(message: Message) -> str:
    return readable(message.options.get(wire.HOST_NAME, b"").decode(errors="replace"))
