"""What happens to a frame's VLAN on a cable: the tag that it leaves with, and the VLAN that it comes to.

Knows: the rules of access and trunk ports, the same as the data path's. Refuses to know: whole networks.
"""

from __future__ import annotations

from .lab import Lab, Link, Port


def leaves(port: Port, vid: int) -> int | None:
    """How a frame of VLAN `vid` leaves through a port: its tag, 0 without one, None not at all."""
    if vid not in port.allowed:
        return None
    return 0 if vid == port.pvid else vid


def enters(port: Port, tag: int) -> int:
    """The VLAN of a frame that comes in through a port with that tag (0: none); 0 if it is dropped."""
    if tag == 0:
        return port.pvid
    return tag if port.mode == "trunk" and tag in port.allowed else 0


def crosses(a: Port, b: Port, vid: int) -> int:
    """The VLAN at `b` of a frame that was in VLAN `vid` at `a`; 0 if it does not get there."""
    tag = leaves(a, vid)
    return 0 if tag is None else enters(b, tag)


def carries(lab: Lab, link: Link, vid: int) -> bool:
    """Whether frames of a VLAN pass a trunk both ways and stay in that VLAN."""
    a, b = lab.port(link.a), lab.port(link.b)
    return crosses(a, b, vid) == vid and crosses(b, a, vid) == vid
