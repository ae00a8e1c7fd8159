"""What leaves a switch of five ports, by hand from IEEE Std 802.1Q-2018: one table for whoever forwards.

Knows: tags as bytes, five ports: a10 (access, VLAN 10, PCP 1), b10 (access, VLAN 10), a20 (access, VLAN 20), t (trunk
without a native VLAN), n (trunk, native VLAN 20, PCP 5). Refuses to know: who forwards; the compiled plane and the
reference switch are both held against it.
"""

from __future__ import annotations


def tag(vid: int, pcp: int = 0, dei: int = 0, tpid: int = 0x8100) -> bytes:
    return tpid.to_bytes(2, "big") + (pcp << 13 | dei << 12 | vid).to_bytes(2, "big")


S20 = tag(20, tpid=0x88A8)

# ingress port, what stands between addresses and type, what leaves there by port
FORWARDED = [
    ("a10", b"", {"b10": b"", "t": tag(10, 1), "n": tag(10, 1)}),
    ("b10", b"", {"a10": b"", "t": tag(10), "n": tag(10)}),
    ("a10", tag(0, 6, 1), {"b10": b"", "t": tag(10, 6, 1), "n": tag(10, 6, 1)}),
    ("a20", b"", {"t": tag(20), "n": b""}),
    ("t", tag(10, 3), {"a10": b"", "b10": b"", "n": tag(10, 3)}),
    ("t", tag(20, 7, 1), {"a20": b"", "n": b""}),
    ("n", b"", {"a20": b"", "t": tag(20, 5)}),
    ("n", tag(0, 2), {"a20": b"", "t": tag(20, 2)}),
    ("n", tag(20, 4), {"a20": b"", "t": tag(20, 4)}),
    ("n", tag(10) + tag(99), {"a10": tag(99), "b10": tag(99), "t": tag(10) + tag(99)}),
    ("a10", S20, {"b10": S20, "t": tag(10, 1) + S20, "n": tag(10, 1) + S20}),
    ("t", tag(10) + S20, {"a10": S20, "b10": S20, "n": tag(10) + S20}),
]
