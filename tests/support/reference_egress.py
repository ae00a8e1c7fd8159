"""The reference switch's egress rules: the bytes that leave a port (IEEE Std 802.1Q-2018 clauses 6.9.2, 8.6.4, 9).

Knows: tag or none, whose type, which VID, which priority. Refuses to know: who gets the frame, everything in netvirt.
"""

from __future__ import annotations

from tests.support.reference_ingress import Classified
from tests.support.reference_settings import Port


def encode(port: Port, frame: Classified, untagged: bool) -> bytes:
    """`untagged`: the frame's VLAN leaves this port without tag; then a priority tag may still say the priority."""
    addresses = frame.dst + frame.src
    if not untagged:
        vid = {inside: wire for wire, inside in port.translate}.get(frame.vid, frame.vid)
        return addresses + port.tagged_type() + control(frame.pcp, frame.dei, vid) + frame.rest
    if port.mode != "dot1q-tunnel" and (
        port.priority_tags == "always" or (port.priority_tags == "if-nonzero" and frame.pcp != 0)
    ):
        return addresses + port.tagged_type() + control(frame.pcp, frame.dei, 0) + frame.rest
    return addresses + frame.rest


def control(pcp: int, dei: int, vid: int) -> bytes:
    """9.6: the Tag Control Information."""
    tci = pcp * 8192 + dei * 4096 + vid
    return bytes([tci // 256, tci % 256])
