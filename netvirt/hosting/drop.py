"""Why a host drops a frame or a packet: the one list of reasons, and the exception that carries one to the counter.

Knows: names. Refuses to know: who drops. Nothing that comes from outside raises anything but Drop in netvirt.hosting.
"""

from __future__ import annotations

from typing import Final

REASONS: Final = {
    "runt": "shorter than an Ethernet header, or a VLAN tag that is cut off",
    "bad-source": "a group address as the sender's MAC address",
    "not-for-us": "for another MAC address or a group that this host is not in",
    "unknown-vlan": "no interface has this VLAN",
    "unknown-type": "neither ARP nor IP",
    "arp-malformed": "ARP that is cut off or not for Ethernet and IPv4",
    "ip-malformed": "an IP header that is cut off or contradicts itself",
    "ip-checksum": "a wrong IPv4 header checksum",
    "ip-fragment": "a fragment; there is no reassembly here",
    "ip-not-for-us": "another host's IP address, or broadcast",
    "ip-bad-source": "a source address that no single host has",
    "ip-unknown-protocol": "an IP protocol or extension header that this host does not speak",
    "icmp-malformed": "an ICMP message that is cut off",
    "icmp-checksum": "a wrong ICMP checksum",
    "icmp-unknown": "an ICMP message that this host has no use for",
    "icmp-not-asked": "an echo reply or an error that answers nothing we sent, or answers it wrongly",
    "nd-malformed": "neighbour discovery with a hop limit other than 255, a wrong length or option",
    "udp-malformed": "a UDP header that is cut off or contradicts the packet's length",
    "udp-checksum": "a wrong UDP checksum, or none over IPv6",
    "udp-closed": "no one listens on this UDP port",
    "udp-echo-loop": "an echo request from another echo, discard or chargen port, which would never end",
    "error-limit": "an ICMP error that was not sent, because too many were",
    "no-route": "an answer to an address that no interface leads to",
    "neighbour-limit": "a neighbour that was not learned or asked for, because the table is full",
    "neighbour-queue": "a packet too many waiting for one neighbour's MAC address",
    "neighbour-silent": "a packet whose next hop did not answer ARP or neighbour discovery",
}


class Drop(Exception):
    """This frame ends here; `reason` is one of REASONS."""

    def __init__(self, reason: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason)
        self.reason = reason
