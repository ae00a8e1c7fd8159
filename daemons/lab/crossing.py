"""What happens to a frame's VLAN on a cable: the tags that it leaves with, and the VLAN that it comes to.

Knows: the rules of all port modes, the same as the data path's (netvirt.modes has the tables). Refuses to know: whole
networks; priorities (a frame that leaves with a priority tag leaves without a VLAN).
"""

from __future__ import annotations

from netvirt.settings import C_TAG

from .lab import Lab, Link, Port
from .ways import Ways

Tags = tuple[tuple[int, int], ...]  # (type, VID) from the outside in
MOST_TAGS = 4  # deeper ones are told apart no more: tunnels in tunnels in tunnels


def leaves(port: Port, vid: int, payload: Tags = ()) -> Tags | None:
    """How a frame of VLAN `vid` leaves through a port: its tags, None if not at all. `payload`: tags below its VLAN."""
    ways = port.ways
    if vid not in ways.member or not _takes_customer(ways, payload):
        return None
    if vid in ways.bare or ways.tunnel:
        return ((ways.tpid, 0), *payload) if ways.priority_tag and not ways.tunnel else payload
    return ((ways.tpid, ways.wire(vid)), *payload)


def enters(port: Port, tags: Tags) -> tuple[int, Tags]:
    """The VLAN of a frame that comes in through a port with those tags, and what is below it; VLAN 0: it is dropped."""
    ways = port.ways
    if ways.tunnel:
        return (ways.pvid, tags[:MOST_TAGS]) if _takes_customer(ways, tags) else (0, ())
    tagged = bool(tags) and tags[0][0] == ways.tpid
    payload = tags[1:] if tagged else tags[:MOST_TAGS]
    if not tagged or tags[0][1] == 0:
        vid = ways.pvid if ways.takes_untagged else 0
    else:
        vid = ways.inside(tags[0][1]) if ways.takes_tagged else 0
    return (vid, payload) if vid in ways.admit else (0, ())


def _takes_customer(ways: Ways, tags: Tags) -> bool:
    """A tunnel's list of customer VLANs holds both ways (802.1Q-2018 clause 15.4)."""
    customer = tags[0][1] if tags and tags[0][0] == C_TAG else 0
    return not ways.customer or customer in ways.customer


def host_tags(vlan: int) -> Tags:
    """What an interface of a host sends: its VLAN, 0 = untagged."""
    return ((C_TAG, vlan),) if vlan else ()


def hears(vlan: int, tags: Tags) -> bool:
    """Whether an interface of a host takes frames with these tags: without one, or with VLAN 0, are the same to it."""
    return tags == host_tags(vlan) or (vlan == 0 and tags == ((C_TAG, 0),))


def crosses(a: Port, b: Port, vid: int) -> int:
    """The VLAN at `b` of a frame that was in VLAN `vid` at `a`, nothing below it; 0 if it does not get there."""
    tags = leaves(a, vid)
    return 0 if tags is None else enters(b, tags)[0]


def carries(lab: Lab, link: Link, vid: int) -> bool:
    """Whether frames of a VLAN pass a trunk both ways and stay in that VLAN."""
    a, b = lab.port(link.a), lab.port(link.b)
    return crosses(a, b, vid) == vid and crosses(b, a, vid) == vid
