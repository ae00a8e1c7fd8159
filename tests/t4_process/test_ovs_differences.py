"""Where our switch and Open vSwitch differ, and why: one row each, with the clause of 802.1Q-2018 that decides.

Each row is run through both, so the table stays true when either side changes. test_ovs.py generates everything else;
where it leaves out frames or configurations, a row here says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.forwarded import tag
from tests.support.ovs import Ovs
from tests.support.ovs_config import Network
from tests.support.ovs_judged import JUDGED, Judged, started, theirs
from tests.support.reference_settings import Port, Session

A, B, C = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
ALL = b"\xff" * 6
GROUP = b"\x03" + bytes(5)
STP = bytes.fromhex("0180c2000000")
DATA = b"\x88\xb5" + b"payload payload"
A10, A20 = Port("access", 10), Port("access", 20)
TRUNK = Port("trunk", 0, frozenset({10, 20}))
S_TRUNK = Port("trunk", 0, frozenset({10, 20}), tpid=0x88A8)
TUNNEL = Port("dot1q-tunnel", 10)
CUSTOMER = Port("dot1q-tunnel", 10, customer=frozenset({77}))


class Row(NamedTuple):
    """Frames (port, frame) in; of the last one, what stands between the addresses and DATA where it leaves, by port."""

    why: str
    network: Network
    frames: list[tuple[str, bytes]]
    theirs: dict[str, bytes]
    ours: dict[str, bytes]


ROWS = {
    "group source": Row(
        "IEEE 802.3-2018 3.2.3 b: a source is one station; we drop the frame, they forward it and learn nothing",
        Network({"p0": A10, "p1": A10}), [("p0", ALL + GROUP + DATA)], {"p1": b""}, {},
    ),
    "learning before filtering": Row(
        "8.7: the learning process hears frames to reserved addresses too; 8.6.3 only keeps them from being relayed",
        Network({"p0": A10, "p1": A10, "p2": A10}), [("p0", STP + A + DATA), ("p1", A + B + DATA)],
        {"p0": b"", "p2": b""}, {"p0": b""},
    ),
    "service tag at a customer port": Row(
        "table 9-1 and 6.9: a C-VLAN component knows C-tags only; another type is payload, and the frame untagged",
        Network({"p0": TRUNK, "p1": A10}), [("p0", ALL + A + tag(10, tpid=0x88A8) + DATA)], {"p1": b""}, {},
    ),
    "customer tag at a service port": Row(
        "table 9-1 and 6.9: an S-VLAN component knows S-tags only",
        Network({"p0": S_TRUNK, "p1": S_TRUNK}, 0x88A8), [("p0", ALL + A + tag(10) + DATA)], {"p1": tag(10)}, {},
    ),
    "drop eligible": Row(
        "6.9.3 and 9.6: the DEI is kept from tag to tag; they use its bit for themselves",
        Network({"p0": A10, "p1": TRUNK}), [("p0", ALL + A + tag(0, 3, 1) + DATA)],
        {"p1": tag(10, 3)}, {"p1": tag(10, 3, 1)},
    ),
    "priority tags always": Row(
        "6.9.2: the egress port alone decides; they keep a priority tag, but do not give one to a frame that had none",
        Network({"p0": A10, "p1": Port("access", 10, priority_tags="always")}), [("p0", ALL + A + DATA)],
        {"p1": b""}, {"p1": tag(0)},
    ),
    "priority tags and a second tag": Row(
        "9.6: a frame's priority goes into its own tag; they write it into the customer's",
        Network({"p0": TRUNK, "p1": Port("native-untagged", 10, frozenset({10}), priority_tags="if-nonzero")}),
        [("p0", ALL + A + tag(10, 3) + tag(77) + DATA)], {"p1": tag(77, 3)}, {"p1": tag(0, 3) + tag(77)},
    ),
    "a third tag": Row(
        "9.5: what is behind the outermost tag is payload, and whole; they know two tags and lose the third",
        Network({"p0": TUNNEL, "p1": TRUNK}), [("p0", ALL + A + tag(77) + tag(5) + DATA)],
        {"p1": tag(10) + tag(77)}, {"p1": tag(10) + tag(77) + tag(5)},
    ),
    "a tag behind a priority tag": Row(
        "6.9: a priority tag says no VLAN, and what is behind it is payload; they lose it",
        Network({"p0": A10, "p1": TRUNK}), [("p0", ALL + A + tag(0) + tag(77) + DATA)],
        {"p1": tag(10)}, {"p1": tag(10) + tag(77)},
    ),
    "a second tag at an access port": Row(
        "8.6.4: membership is by the frame's VID; they keep frames with a second tag from access ports",
        Network({"p0": TRUNK, "p1": A10}), [("p0", ALL + A + tag(10) + tag(77) + DATA)], {}, {"p1": tag(77)},
    ),
    "a second tag to a known station at an access port": Row(
        "9.5: what is behind the outermost tag is payload; to a known station they send the frame without either tag",
        Network({"p0": TRUNK, "p1": A10}, static=((10, B.hex(":"), "p1"),)),
        [("p0", B + A + tag(10) + tag(77) + DATA)], {"p1": b""}, {"p1": tag(77)},
    ),
    "a customer's priority tag": Row(
        "9.5: in a tunnel a C-tag is payload, whatever its VID; they take it away at an access port",
        Network({"p0": TUNNEL, "p1": A10}), [("p0", ALL + A + tag(0, 5) + DATA)], {"p1": b""}, {"p1": tag(0, 5)},
    ),
    "a static station outside its VLAN": Row(
        "8.6.4: egress filtering is for known stations too; they send VLAN 10 to an access port of VLAN 20",
        Network({"p0": A10, "p1": A20}, static=((10, B.hex(":"), "p1"),)), [("p0", B + A + DATA)], {"p1": b""}, {},
    ),
    "a foreign customer that is known": Row(
        "15.4 and 8.6.4: customer VIDs are filtered at egress; they do it for flooded frames only",
        Network({"p0": A10, "p1": CUSTOMER}, static=((10, B.hex(":"), "p1"),)),
        [("p0", B + A + DATA)], {"p1": b""}, {},
    ),
    "a foreign customer": Row(
        "15.4 and 8.6.4: here both agree, so the row above is the exception and not the rule",
        Network({"p0": A10, "p1": CUSTOMER, "p2": A10}),
        [("p0", ALL + A + DATA)], {"p2": b""}, {"p2": b""},
    ),
    "a mirror of what is refused": Row(
        "no clause: a mirror is for looking for mistakes, so ours shows what comes in, theirs what is let in",
        Network({"p0": TRUNK, "p1": TRUNK}, sessions=(Session("m", frozenset({"p0"}), to_port="p1"),)),
        [("p0", ALL + A + tag(99) + DATA)], {}, {"p1": tag(99)},
    ),
    "a mirror of an RSPAN VLAN": Row(
        "no clause: ours leaves out VLANs that carry copies, or two switches that mirror their trunk would loop",
        Network({"p0": TRUNK, "p1": TRUNK}, flood_vlans=frozenset({20}),
                sessions=(Session("m", frozenset({"p0"}), to_port="p1"),)),
        [("p0", ALL + A + tag(20) + DATA)], {"p1": tag(20)}, {},
    ),
    "a mirror's port": Row(
        "no clause: ours gets the frame as it was, theirs what would leave a port of its kind",
        Network({"p0": TRUNK, "p1": A10}, sessions=(Session("m", frozenset({"p0"}), to_port="p1"),)),
        [("p0", ALL + A + tag(10, 3) + DATA)], {"p1": b""}, {"p1": tag(10, 3)},
    ),
    "a remote mirror": Row(
        "no clause: ours puts the RSPAN tag around the frame, theirs writes it over the frame's own",
        Network({"p0": TRUNK, "p1": Port("trunk", 0, frozenset({30}))}, flood_vlans=frozenset({30}),
                sessions=(Session("m", frozenset({"p0"}), to_vlan=30),)),
        [("p0", ALL + A + tag(10, 3) + DATA)], {"p1": tag(30, 3)}, {"p1": tag(30, 3) + tag(10, 3)},
    ),
    "a remote mirror of an untagged frame": Row(
        "here both agree",
        Network({"p0": A10, "p1": Port("trunk", 0, frozenset({30})), "p2": Port("access", 30)},
                flood_vlans=frozenset({30}), sessions=(Session("m", frozenset({"p0"}), to_vlan=30),)),
        [("p0", ALL + A + DATA)], {"p1": tag(30), "p2": b""}, {"p1": tag(30), "p2": b""},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ovs() -> Iterator[Ovs]:
    yield from started()


def leaving(row: Row, between: dict[str, bytes]) -> dict[str, list[bytes]]:
    addresses = row.frames[-1][1][:12]
    return {name: [addresses + middle + DATA] for name, middle in between.items()}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_they(ovs: Ovs, row: Row) -> None:
    theirs(ovs, row.network)
    out = [ovs.send(port, frame) for port, frame in row.frames]
    assert out[-1] == leaving(row, row.theirs), row.why


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("kind", JUDGED.values(), ids=JUDGED)
def test_we(row: Row, kind: type[Judged]) -> None:
    switch = kind(row.network)
    out = [switch.send(port, frame) for port, frame in row.frames]
    assert out[-1] == leaving(row, row.ours), row.why
