"""A host's UDP: the echo server (RFC 862), the discard server that counts (RFC 863), listeners, port unreachable.

Knows: ports. Refuses to know: frames and routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from netvirt.hosting import icmp, ip, udp
from netvirt.hosting.drop import Drop
from netvirt.hosting.interface import HostError, ip_text
from netvirt.hosting.routes import Network
from netvirt.hosting.station import Station

ECHO: Final = 7
DISCARD: Final = 9
# Answering one of these would make two servers answer each other for ever (RFC 862's well-known trouble; CA-1996-01).
_NEVER_ECHOED: Final = frozenset((ECHO, DISCARD, 13, 17, 19))
_ERRORS_PER_SECOND: Final = 100  # ICMP errors; RFC 4443 section 2.4 (f) wants a limit and suggests tens per second
_SECOND: Final = 1_000_000_000


class Datagram(NamedTuple):
    """What a listener gets: a payload with its sender, or, with `error`, why what it sent to `src` did not arrive."""

    src: str
    src_port: int
    dst: str
    dst_port: int
    payload: bytes
    error: str = ""


Listener = Callable[[Datagram], None]


class UdpPorts:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._listeners: dict[int, Listener] = {}
        self._errors_since = -_SECOND
        self._errors_sent = 0
        self.echoed = 0
        self.discarded = 0

    def listen(self, port: int, listener: Listener | None) -> None:
        """Give what comes to `port` to `listener`; None ends it. Raises HostError."""
        check_port(port)
        if listener is None:
            self._listeners.pop(port, None)
        elif port in self._listeners or port in (ECHO, DISCARD):
            raise HostError(f"UDP port {port} is in use")
        else:
            self._listeners[port] = listener

    def receive(self, packet: ip.Packet, station: Station, now: int) -> bool:
        """One UDP packet for us. True when the discard server took it."""
        segment = udp.parse(packet)
        if segment.dst_port == DISCARD:
            self.discarded += 1
            return True
        if segment.dst_port == ECHO:
            self._echo(packet, segment, station, now)
            return False
        listener = self._listeners.get(segment.dst_port)
        if listener is None:
            self._refuse(packet, station, now)
            raise Drop("udp-closed")
        src, dst = ip_text(packet.src), ip_text(packet.dst)
        listener(Datagram(src, segment.src_port, dst, segment.dst_port, segment.payload))
        return False

    def fail(self, quoted: icmp.Quoted) -> None:
        """An ICMP error about something that we sent."""
        listener = self._listeners.get(quoted.first) if quoted.protocol == ip.UDP else None
        if listener is None:
            raise Drop("icmp-not-asked")
        dst = ip_text(quoted.dst)
        error = f"UDP port {quoted.second} of {dst} does not answer: it is closed or out of reach"
        listener(Datagram(dst, quoted.second, ip_text(quoted.src), quoted.first, b"", error))

    def silent(self, src: bytes, src_port: int, dst: bytes, dst_port: int, error: str) -> None:
        """The next hop of something that we sent did not answer."""
        listener = self._listeners.get(src_port)
        if listener is not None:
            listener(Datagram(ip_text(dst), dst_port, ip_text(src), src_port, b"", error))

    def _echo(self, packet: ip.Packet, segment: udp.Segment, station: Station, now: int) -> None:
        if segment.src_port in _NEVER_ECHOED or segment.src_port == 0:
            raise Drop("udp-echo-loop")
        self.echoed += 1
        data = udp.build(packet.dst, packet.src, ECHO, segment.src_port, segment.payload)
        self._network.reply(station, packet.dst, packet.src, ip.UDP, data, now)

    def _refuse(self, packet: ip.Packet, station: Station, now: int) -> None:
        if now - self._errors_since >= _SECOND:
            self._errors_since, self._errors_sent = now, 0
        if self._errors_sent >= _ERRORS_PER_SECOND:
            raise Drop("error-limit")
        self._errors_sent += 1
        message = icmp.build(packet.dst, packet.src, icmp.port_unreachable(packet))
        protocol = icmp.TYPES[len(packet.dst)].protocol
        self._network.reply(station, packet.dst, packet.src, protocol, message, now)


def check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise HostError(f"a UDP port is a number from 1 to 65535, not {port}")
