"""One interface at work: its addresses and groups, its tag, its neighbours. It answers ARP and neighbour discovery.

Knows: one VLAN on one NIC. Refuses to know: the host's other interfaces, ICMP echo, UDP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from netvirt.addr import BROADCAST
from netvirt.frame import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, TPID_CUSTOMER, Tag, tag_bytes
from netvirt.hosting import arp, icmp, ip, nd
from netvirt.hosting.interface import Address, Interface, link_local, parse_address, parse_ip
from netvirt.hosting.neighbours import Neighbours

_TYPES: Final = {
    4: ETHERTYPE_IPV4.to_bytes(2, "big"),
    6: ETHERTYPE_IPV6.to_bytes(2, "big"),
}
_ARP_TYPE: Final = ETHERTYPE_ARP.to_bytes(2, "big")
_NO_IP: Final = bytes(4)


class Station:
    """`emit(frame)` takes what is to be sent; `drops` is the host's counter."""

    def __init__(self, interface: Interface, emit: Callable[[bytes], None], drops: Counter[str]) -> None:
        self.name = interface.name
        self.mac = interface.mac
        self.vlan = interface.vlan
        self.mtu = interface.mtu
        self.addresses: list[Address] = [parse_address(text) for text in interface.addresses]
        self.addresses.append(link_local(interface.mac))
        self.own = frozenset(address.ip for address in self.addresses)
        self.gateway = None if interface.gateway is None else parse_ip(interface.gateway)
        v6 = [address.ip for address in self.addresses if len(address.ip) == 16]
        self.groups = frozenset((nd.ALL_NODES, *(nd.solicited_node(address) for address in v6)))
        self.macs = frozenset((self.mac, BROADCAST, *(nd.multicast_mac(group) for group in self.groups)))
        self.neighbours = Neighbours(self._ask, self._deliver, drops)
        self._emit = emit
        tagged = interface.vlan != 0 or interface.priority != 0
        self._tag = tag_bytes(Tag(TPID_CUSTOMER, interface.priority, False, interface.vlan)) if tagged else b""

    def frame(self, mac: bytes, packet: bytes) -> bytes:
        """`packet` is an IP packet; its first four bits say of which version."""
        return b"".join((mac, self.mac, self._tag, _TYPES[packet[0] >> 4], packet))

    def source(self, dst: bytes) -> bytes | None:
        """Our address to speak to `dst` from: one in its subnet, else the first of its kind (RFC 6724 section 5)."""
        for address in self.addresses:
            if address.covers(dst):
                return address.ip
        for address in self.addresses:
            if len(address.ip) == len(dst):
                return address.ip
        return None

    def on_link(self, dst: bytes) -> int:
        """The length of the longest of our prefixes that covers `dst`, 0 for none."""
        return max((address.prefix for address in self.addresses if address.covers(dst)), default=0)

    def next_hop(self, dst: bytes) -> bytes | None:
        """`dst` itself when it is in a subnet of ours, else the gateway."""
        if self.on_link(dst):
            return dst
        return self.gateway if self.gateway is not None and len(self.gateway) == len(dst) else None

    def announce(self) -> None:
        """ARP announcements (RFC 5227 section 2.3) and unsolicited advertisements (RFC 4861 section 7.2.6)."""
        for address in self.addresses:
            if len(address.ip) == 4:
                self._send_arp(BROADCAST, arp.REQUEST, address.ip, bytes(6), address.ip)
            else:
                self._send_nd(address.ip, nd.ALL_NODES, None, nd.advertisement(address.ip, self.mac, solicited=False))

    def receive_arp(self, data: bytes, now: int) -> None:
        message = arp.parse(data)
        for_us = message.target_ip in self.own
        # RFC 826: whoever asks for us will be answered, so enter him; others only refresh what is there already.
        # A probe (RFC 5227) has no sender address yet. Our own address is not up for learning.
        if message.sender_ip != _NO_IP and message.sender_ip not in self.own:
            create = for_us and bool(self.on_link(message.sender_ip))
            self.neighbours.learn(message.sender_ip, message.sender_mac, now, create)
        if for_us and message.operation == arp.REQUEST:
            self._send_arp(message.sender_mac, arp.REPLY, message.target_ip, message.sender_mac, message.sender_ip)

    def receive_nd(self, packet: ip.Packet, message: icmp.Message, now: int) -> None:
        heard = nd.parse(packet, message)
        if heard.type == nd.ADVERTISEMENT:
            # Section 7.2.5: an advertisement creates nothing; without a MAC address it says nothing here.
            known = self.neighbours.lookup(heard.target, now)
            if (
                heard.mac is not None
                and heard.target not in self.own
                and (heard.override or known in (None, heard.mac))
            ):
                self.neighbours.learn(heard.target, heard.mac, now, create=False)
            return
        if heard.target not in self.own:
            return
        if packet.src == nd.UNSPECIFIED:
            answer = nd.advertisement(heard.target, self.mac, solicited=False)
            self._send_nd(heard.target, nd.ALL_NODES, None, answer)
            return
        if heard.mac is not None and packet.src not in self.own:
            self.neighbours.learn(packet.src, heard.mac, now, create=bool(self.on_link(packet.src)))
        answer = nd.advertisement(heard.target, self.mac, solicited=True)
        self._send_nd(heard.target, packet.src, heard.mac or self.neighbours.lookup(packet.src, now), answer)

    def _send_arp(self, mac: bytes, operation: int, own: bytes, target_mac: bytes, target: bytes) -> None:
        body = arp.build(arp.Arp(operation, self.mac, own, target_mac, target))
        self._emit(b"".join((mac, self.mac, self._tag, _ARP_TYPE, body)))

    def _send_nd(self, src: bytes, dst: bytes, mac: bytes | None, message: icmp.Message) -> None:
        if mac is None:
            # A unicast solicitation without a MAC address from someone unknown: all nodes hear the answer, he too.
            mac = nd.multicast_mac(dst if dst[0] == 0xFF else nd.ALL_NODES)
        packet = ip.build(src, dst, ip.ICMPV6, icmp.build(src, dst, message), nd.HOP_LIMIT)
        self._emit(self.frame(mac, packet))

    def _ask(self, target: bytes) -> None:
        source = self.source(target)
        assert source is not None
        if len(target) == 4:
            self._send_arp(BROADCAST, arp.REQUEST, source, bytes(6), target)
        else:
            self._send_nd(source, nd.solicited_node(target), None, nd.solicitation(target, self.mac))

    def _deliver(self, mac: bytes, packet: bytes) -> None:
        self._emit(self.frame(mac, packet))
