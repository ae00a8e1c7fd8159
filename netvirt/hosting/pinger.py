"""A host's ICMP: answers echo requests, runs pings, tells errors to those whom they concern.

Knows: idents, routes to the pinged, which neighbour discovery belongs to which interface. Refuses to know: frames.
"""

from __future__ import annotations

from typing import Final

from netvirt.hosting import icmp, ip, nd
from netvirt.hosting.drop import Drop
from netvirt.hosting.interface import HostError, ip_text, parse_ip
from netvirt.hosting.ping import MAX_COUNT, Ping
from netvirt.hosting.routes import Network, Route
from netvirt.hosting.station import Station

_UNREACHABLE_TEXT: Final = {
    (3, 0): "the network is unreachable",
    (3, 1): "the host is unreachable",
    (3, 2): "it does not speak this protocol",
    (3, 3): "the port is closed",
    (1, 0): "there is no route",
    (1, 3): "the host is unreachable",
    (1, 4): "the port is closed",
    (11, 0): "the packet passed too many routers",
}


class _Running:
    """One ping, with what it takes to send an echo and to know its reply."""

    __slots__ = ("dst", "ping", "route", "size")

    def __init__(self, ping: Ping, route: Route, dst: bytes, size: int) -> None:
        self.ping = ping
        self.route = route
        self.dst = dst
        self.size = size


class Pinger:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._running: dict[int, _Running] = {}
        self._last_ident = 0
        self.requests_answered = 0

    def __len__(self) -> int:
        return len(self._running)

    def start(self, dst: str, count: int, interval_ns: int, timeout_ns: int, size: int, now: int) -> Ping:
        """See netvirt.host.Host.start_ping."""
        if not 1 <= count <= MAX_COUNT:
            raise HostError(f"a ping sends 1 to {MAX_COUNT} echoes, not {count}")
        if timeout_ns <= 0 or interval_ns < 0 or size < 0:
            raise HostError("a ping's timeout must be above 0, its interval and size not below")
        address, route = self._network.find(dst)
        ping = Ping(address, count, interval_ns, timeout_ns, now)
        if route is None:
            ping.abort(f"no route to {address}")
            return ping
        target = parse_ip(address)
        largest = route.station.mtu - ip.header_size(target) - icmp.HEADER_SIZE
        if size > largest:
            ping.abort(f"a ping of {size} bytes does not fit into one packet; the largest here has {largest}")
            return ping
        self._running[self._free_ident()] = _Running(ping, route, target, size)
        return ping

    def stop(self, error: str) -> None:
        """End all pings with this error."""
        running, self._running = self._running, {}
        for one in running.values():
            one.ping.abort(error)

    def next_deadline(self) -> int | None:
        moments = [one.ping.next_deadline() for one in self._running.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def tick(self, now: int) -> None:
        for ident, one in list(self._running.items()):
            one.ping.expire(now)
            sequence = one.ping.due(now)
            if sequence is not None:
                self._send_echo(ident, one, sequence, now)
            self._drop_if_over(ident)

    def receive(self, packet: ip.Packet, station: Station, now: int) -> icmp.Quoted | None:
        """One message. An error about something else than a ping is handed back as what it quotes."""
        version = len(packet.dst)
        types = icmp.TYPES[version]
        message = icmp.parse(packet)
        if message.type == types.request:
            self._answer(packet, message, station, now)
        elif message.type == types.reply:
            self._take_reply(packet, message, now)
        elif message.type in (types.unreachable, types.exceeded):
            return self._take_error(packet, message, now)
        elif version == 16 and message.type in (nd.SOLICITATION, nd.ADVERTISEMENT):
            station.receive_nd(packet, message, now)
        else:
            raise Drop("icmp-unknown")
        return None

    def _answer(self, packet: ip.Packet, request: icmp.Message, station: Station, now: int) -> None:
        src = packet.dst
        if src[0] == 0xFF:  # echo to all nodes: RFC 4443 section 4.2 answers from a unicast address
            source = station.source(packet.src)
            assert source is not None
            src = source
        reply = request._replace(type=icmp.TYPES[len(src)].reply)
        self.requests_answered += 1
        self._network.reply(station, src, packet.src, ip_protocol(src), icmp.build(src, packet.src, reply), now)

    def _take_reply(self, packet: ip.Packet, reply: icmp.Message, now: int) -> None:
        one = self._running.get(reply.ident)
        if one is None or packet.src != one.dst or reply.payload != pattern(one.size):
            raise Drop("icmp-not-asked")
        one.ping.answer(reply.sequence, now)
        self._drop_if_over(reply.ident)

    def _take_error(self, packet: ip.Packet, message: icmp.Message, now: int) -> icmp.Quoted | None:
        quoted = icmp.quoted(message, len(packet.dst))
        if quoted.src != packet.dst:
            raise Drop("icmp-not-asked")
        if quoted.protocol != ip_protocol(quoted.dst):
            return quoted
        one = self._running.get(quoted.first)
        if one is None or one.dst != quoted.dst:
            raise Drop("icmp-not-asked")
        what = _UNREACHABLE_TEXT.get((message.type, message.code), f"error {message.type} code {message.code}")
        one.ping.fail(quoted.second, f"{ip_text(packet.src)} says: {what}")
        self._drop_if_over(quoted.first)
        return None

    def _send_echo(self, ident: int, one: _Running, sequence: int, now: int) -> None:
        source = one.route.source
        request = icmp.Message(icmp.TYPES[len(source)].request, 0, ident, sequence, pattern(one.size))

        def failed() -> None:
            one.ping.fail(sequence, silent(one.route.next_hop))
            self._drop_if_over(ident)

        self._network.send(one.route, one.dst, ip_protocol(source), icmp.build(source, one.dst, request), now, failed)

    def _drop_if_over(self, ident: int) -> None:
        one = self._running.get(ident)
        # Taken out before it tells its owner: he may start the next one from there.
        if one is not None and one.ping.next_deadline() is None:
            del self._running[ident]
            one.ping.finish_if_over()

    def _free_ident(self) -> int:
        if len(self._running) >= MAX_COUNT:
            raise HostError(f"{MAX_COUNT} pings are running already")
        while True:
            self._last_ident = self._last_ident % MAX_COUNT + 1
            if self._last_ident not in self._running:
                return self._last_ident


def ip_protocol(address: bytes) -> int:
    """The ICMP of this kind of address."""
    return icmp.TYPES[len(address)].protocol


def pattern(size: int) -> bytes:
    """What an echo carries: 0, 1, 2 ... 255, 0, 1 ... so that a shifted or cut reply is seen."""
    return (_PATTERN * (size // 256 + 1))[:size]


_PATTERN: Final = bytes(range(256))


def silent(next_hop: bytes) -> str:
    """What to say when `next_hop` did not tell its MAC address."""
    how = "ARP" if len(next_hop) == 4 else "neighbour discovery"
    return f"no answer to {how} from {ip_text(next_hop)}"
