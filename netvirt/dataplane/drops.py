"""Why a frame was dropped: the one list of reasons, in the order of the compiled plane's numbers (drops.pxd)."""

from __future__ import annotations

# Number and name belong together with the enum in drops.pxd: change both.
REASONS: tuple[str, ...] = (
    "malformed",  # the burst itself: lengths or count do not fit; the rest of the message is lost
    "runt",  # shorter than an Ethernet header, or a tag cut short
    "oversize",  # payload larger than the port's MTU
    "bad-source",  # a group address as source (IEEE 802.3-2018 clause 3.2.3 b)
    "bad-vid",  # VID 4095 is reserved (802.1Q-2018 table 9-2)
    "port-blocked",  # spanning tree keeps the port from forwarding
    "port-disabled",
    "tagged-not-accepted",  # acceptable frame types (802.1Q-2018 clause 6.9): untagged and priority-tagged ones only
    "untagged-not-accepted",  # tagged ones only, or no PVID: a trunk without native VLAN
    "vlan-not-allowed",  # ingress filtering (802.1Q-2018 clause 8.6.2)
    "reserved-address",  # 01-80-C2-00-00-00..0F are not relayed unless the port says so (802.1Q-2018 table 8-1)
    "no-destination",  # known behind the port it came from, or nobody else in its VLAN
    "offload-unsupported",  # an unsegmented frame for a port that can't take one
    "link-down",  # egress: nobody is connected
    "queue-full",  # egress: the receiver is too slow
    "customer-not-allowed",  # a dot1q-tunnel port with a list of customer VLANs
    "security",  # a station too many at this port, or one that sticks to another port
    "storm",  # more flooded frames than the port may bring in
    "isolated",  # from one protected port to another
    "for-switch",  # a reserved address that the port keeps for the switch itself
    "mirror-port",  # the destination of a mirror takes nothing in
)
