"""A small userspace host, sans-io: ARP, neighbour discovery, ping, UDP echo and discard, on one NIC with any VLANs.

Knows: frames in, frames out, `now`. Refuses to know: sockets, clocks, and where its NIC is plugged in.

    host = Host("h1", [Interface("eth0", mac_bytes("02:00:00:00:00:01"), addresses=["10.0.0.1/24"])])
    frames = host.receive(frame, now)      # what is to be sent because of it
    frames = host.tick(now)                # when next_deadline() has come, and after start_ping() and send_udp()

Every frame that ends here is counted with a reason (netvirt.hosting.drop); junk never raises. Left out on purpose: TCP,
IP fragments and options, IPv6 extension headers, router discovery, duplicate address detection (a lab's addresses are
checked in its file). All times are nanoseconds of any clock that does not run backwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, TypedDict

from netvirt.addr import AddrError
from netvirt.hosting import ip, udp
from netvirt.hosting.drop import REASONS, Drop
from netvirt.hosting.interface import DEFAULT_MTU, HostError, Interface, check_interface, parse_ip
from netvirt.hosting.ping import Ping
from netvirt.hosting.pinger import Pinger, ip_protocol, silent
from netvirt.hosting.routes import Network, Route
from netvirt.hosting.station import Station
from netvirt.hosting.udp_ports import Datagram, Listener, UdpPorts, check_port

__all__ = [
    "DEFAULT_MTU",
    "REASONS",
    "AddrError",
    "Datagram",
    "Host",
    "HostError",
    "HostStatistics",
    "Interface",
    "Ping",
]

_TAG: Final = b"\x81\x00"
_ARP: Final = b"\x08\x06"
_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_DEFAULT_SOURCE_PORT: Final = 49152  # the first of the dynamic ports, RFC 6335


class HostStatistics(TypedDict):
    """`rx_priorities` counts tagged frames by PCP; `drops` counts frames and packets by reason."""

    rx_frames: int
    rx_bytes: int
    tx_frames: int
    tx_bytes: int
    rx_priorities: dict[str, int]
    echo_requests: int
    udp_echoed: int
    discarded_frames: int
    discarded_bytes: int
    neighbours: int
    pings: int
    drops: dict[str, int]


class Host:
    """A host with one NIC. Two interfaces may not have the same VLAN. Raises HostError or AddrError."""

    def __init__(self, name: str, interfaces: Sequence[Interface]) -> None:
        self.name = name
        self._drops: Counter[str] = Counter()
        self._priorities: Counter[int] = Counter()
        self._rx_frames = self._rx_bytes = self._tx_frames = self._tx_bytes = 0
        self.discarded_frames = 0
        self.discarded_bytes = 0
        self._discarded: tuple[bytes, int | None] = (b"", None)
        stations: list[Station] = []
        self._network = Network(stations, self._drops)
        for interface in interfaces:
            check_interface(interface)
            stations.append(Station(interface, self._network.emit, self._drops))
        self._stations = {station.vlan: station for station in stations}
        if len(self._stations) < len(stations):
            raise HostError(f"two interfaces of {name} are in the same VLAN on one NIC; give each its own")
        self._pinger = Pinger(self._network)
        self._udp = UdpPorts(self._network)

    def receive(self, frame: bytes, now_ns: int) -> list[bytes]:
        """One frame from the NIC; returns the frames to send."""
        self._count_and_take(frame, now_ns)
        return self._take(now_ns)

    def receive_burst(self, frames: list[bytes], now_ns: int) -> list[bytes]:
        """Many frames at once. Repetitions of the last discarded datagram, byte by byte the same, are only counted."""
        known, priority = self._discarded
        same = frames.count(known) if known else 0
        if same:
            self._rx_frames += same
            self._rx_bytes += same * len(known)
            self.discarded_frames += same
            self.discarded_bytes += same * len(known)
            if priority is not None:
                self._priorities[priority] += same
        if same < len(frames):
            for frame in frames:
                if not same or frame != known:
                    self._count_and_take(frame, now_ns)
        return self._take(now_ns)

    def tick(self, now_ns: int) -> list[bytes]:
        """Do what is due; returns the frames to send, also those of start_ping() and send_udp() before it."""
        self._pinger.tick(now_ns)
        for station in self._stations.values():
            station.neighbours.tick(now_ns)
        return self._take(now_ns)

    def next_deadline(self) -> int | None:
        """When tick() wants to be called, 0 for at once; None while nothing is awaited: an idle host has no timer."""
        if self._network.emitted or self._network.local:
            return 0
        moments = [self._pinger.next_deadline()]
        moments += [station.neighbours.next_deadline() for station in self._stations.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def announce(self, now_ns: int) -> list[bytes]:
        """Tell all neighbours our addresses: to be called when the carrier comes up."""
        for station in self._stations.values():
            station.announce()
        return self._take(now_ns)

    def start_ping(self, dst_ip: str, count: int, interval_ns: int, timeout_ns: int, size: int, now_ns: int) -> Ping:
        """Ping `dst_ip` with `size` bytes of payload; the first echo goes out with the next tick().

        No route, and a size that does not fit into one packet, end it at once with that error. Raises HostError for an
        address that is none, and for numbers that make no sense.
        """
        return self._pinger.start(dst_ip, count, interval_ns, timeout_ns, size, now_ns)

    def stop_pings(self, error: str) -> None:
        """End all pings, for example because the host is removed."""
        self._pinger.stop(error)

    def listen_udp(self, port: int, listener: Listener | None) -> None:
        """Give each datagram for `port`, and errors about what was sent from it, to `listener`; None ends it."""
        self._udp.listen(port, listener)

    def send_udp(self, dst_ip: str, dst_port: int, src_port: int, payload: bytes, now_ns: int) -> None:
        """One datagram, out with the next tick(). Raises HostError when there is no way to send it."""
        dst, route, data = self._datagram(dst_ip, dst_port, src_port, payload)

        def failed() -> None:
            self._udp.silent(route.source, src_port, dst, dst_port, silent(route.next_hop))

        self._network.send(route, dst, ip.UDP, data, now_ns, failed)

    def udp_frame(self, dst_ip: str, dst_port: int, payload: bytes, now_ns: int) -> bytes | None:
        """The whole frame of one datagram, for sending many times; None while its next hop's MAC address is asked for.

        The question goes out with the next tick(). Raises HostError as send_udp() does, and for our own addresses.
        """
        dst, route, data = self._datagram(dst_ip, dst_port, _DEFAULT_SOURCE_PORT, payload)
        if dst in route.station.own:
            raise HostError(f"{dst_ip} is {self.name} itself, so nothing would be sent")
        mac = route.station.neighbours.lookup(route.next_hop, now_ns)
        if mac is None:
            route.station.neighbours.send(route.next_hop, None, now_ns)
            return None
        return route.station.frame(mac, ip.build(route.source, dst, ip.UDP, data))

    def route_quality(self, dst_ip: str) -> int | None:
        """How well this NIC leads to `dst_ip`: the on-link prefix length, 0 by gateway, None not at all."""
        _address, route = self._network.find(dst_ip)
        return None if route is None else route.prefix

    def owns(self, ip: str) -> bool:
        """Is this one of our addresses (link-local ones included)? Raises HostError."""
        packed = parse_ip(ip.partition("%")[0])
        return any(packed in station.own for station in self._stations.values())

    def statistics(self) -> HostStatistics:
        return HostStatistics(
            rx_frames=self._rx_frames,
            rx_bytes=self._rx_bytes,
            tx_frames=self._tx_frames,
            tx_bytes=self._tx_bytes,
            rx_priorities={str(pcp): count for pcp, count in sorted(self._priorities.items())},
            echo_requests=self._pinger.requests_answered,
            udp_echoed=self._udp.echoed,
            discarded_frames=self.discarded_frames,
            discarded_bytes=self.discarded_bytes,
            neighbours=sum(len(station.neighbours) for station in self._stations.values()),
            pings=len(self._pinger),
            drops=dict(self._drops),
        )

    def _datagram(self, dst_ip: str, dst_port: int, src_port: int, payload: bytes) -> tuple[bytes, Route, bytes]:
        check_port(dst_port)
        check_port(src_port)
        address, route = self._network.find(dst_ip)
        if route is None:
            raise HostError(f"no route to {address}")
        dst = parse_ip(address)
        largest = route.station.mtu - ip.header_size(dst) - udp.HEADER_SIZE
        if len(payload) > largest:
            raise HostError(f"{len(payload)} bytes do not fit into one datagram; the largest here has {largest}")
        return dst, route, udp.build(route.source, dst, src_port, dst_port, payload)

    def _count_and_take(self, frame: bytes, now: int) -> None:
        self._rx_frames += 1
        self._rx_bytes += len(frame)
        try:
            self._receive(frame, now)
        except Drop as drop:
            self._drops[drop.reason] += 1

    def _receive(self, frame: bytes, now: int) -> None:
        if len(frame) < 14:
            raise Drop("runt")
        at, vid, priority = 12, 0, None
        if frame[12:14] == _TAG:
            if len(frame) < 18:
                raise Drop("runt")
            at, vid, priority = 16, (frame[14] & 15) << 8 | frame[15], frame[14] >> 5
            self._priorities[priority] += 1
        station = self._stations.get(vid)
        if frame[6] & 1:
            raise Drop("bad-source")
        if station is None:
            raise Drop("unknown-vlan")
        if frame[:6] not in station.macs:
            raise Drop("not-for-us")
        kind, body = frame[at : at + 2], frame[at + 2 :]
        if kind == _ARP:
            station.receive_arp(body, now)
        elif kind in (_IPV4, _IPV6):
            packet = ip.parse_ipv4(body) if kind == _IPV4 else ip.parse_ipv6(body)
            if (frame[0] & 1) and packet.dst[0] != 0xFF:
                raise Drop("ip-not-for-us")  # RFC 1122 section 3.3.6: link broadcast with a unicast destination
            if self._receive_ip(packet, station, now):
                self.discarded_frames += 1
                self.discarded_bytes += len(frame)
                self._discarded = (frame, priority)
        else:
            raise Drop("unknown-type")

    def _receive_ip(self, packet: ip.Packet, station: Station, now: int) -> bool:
        """One packet; True when the discard server took it."""
        if packet.dst not in station.own and packet.dst not in station.groups:
            raise Drop("ip-not-for-us")
        if not _is_host(packet.src) and not (packet.protocol == ip.ICMPV6 and packet.src == bytes(16)):
            raise Drop("ip-bad-source")
        if packet.protocol == ip_protocol(packet.dst):
            quoted = self._pinger.receive(packet, station, now)
            if quoted is not None:
                self._udp.fail(quoted)
        elif packet.protocol == ip.UDP and packet.dst in station.own:
            return self._udp.receive(packet, station, now)
        else:
            raise Drop("ip-unknown-protocol")
        return False

    def _take(self, now: int) -> list[bytes]:
        """What is to be sent, after packets to ourselves have come back in."""
        while self._network.local:
            station, data = self._network.local.popleft()
            try:
                self._receive_ip(ip.parse_ipv4(data) if data[0] >> 4 == 4 else ip.parse_ipv6(data), station, now)
            except Drop as drop:
                self._drops[drop.reason] += 1
        frames, self._network.emitted = self._network.emitted, []
        self._tx_frames += len(frames)
        self._tx_bytes += sum(map(len, frames))
        return frames


def _is_host(ip: bytes) -> bool:
    """May a packet come from here? Not from a group, nobody, or the loopback."""
    if len(ip) == 4:
        return 0 < ip[0] < 224 and ip[0] != 127
    return ip[0] != 0xFF and ip[:15] != bytes(15)
