"""A switch's configuration in the words of Open vSwitch, and generated ones that both know.

Knows: which columns of ovs-vswitchd.conf.db(5) mean what a port, VLANs and mirrors mean here. Refuses to know: sockets,
daemons, what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.support.reference_settings import Port, Session

NAMES = ("p0", "p1", "p2", "p3", "p4")
FLOODED = 30
EVERY_RESERVED = frozenset({*range(16), 0x21})


@dataclass(frozen=True)
class Network:
    """A bridge as both can have it. tpid: of all its trunks, and what its tunnels put in front."""

    ports: dict[str, Port]
    tpid: int = 0x8100
    flood_vlans: frozenset[int] = frozenset()
    sessions: tuple[Session, ...] = ()
    forward_bpdu: bool = False
    static: tuple[tuple[int, str, str], ...] = ()  # VID, MAC, port
    stations: int = 1000
    second_tags: bool = True  # frames may have two; without them, ports may write priority tags


def columns(port: Port) -> list[str]:
    """The columns of a Port record."""
    words = [f"vlan_mode={port.mode}"]
    if port.pvid:
        words.append(f"tag={port.pvid}")
    if port.mode in {"trunk", "native-tagged", "native-untagged"}:
        # An empty list means all VLANs in Open vSwitch, so the native one is written down again.
        words.append("trunks=" + ",".join(map(str, sorted(port.own()))))
    if port.mode == "dot1q-tunnel":
        words.append("other_config:qinq-ethtype=" + {0x8100: "802.1q", 0x88A8: "802.1ad"}[port.tpid])
        words += ["cvlans=" + ",".join(map(str, sorted(port.customer)))] if port.customer else []
    words.append(f"other_config:priority-tags={port.priority_tags}")
    words.append(f"protected={'true' if port.protected else 'false'}")
    return words


def bridge(network: Network, name: str) -> list[str]:
    """What concerns the whole bridge, as further words for ovs-vsctl."""
    words = ["--", "set", "bridge", name, f"other_config:mac-table-size={network.stations}"]
    words.append(f"other_config:forward-bpdu={'true' if network.forward_bpdu else 'false'}")
    if network.flood_vlans:
        words += ["--", "set", "bridge", name, "flood_vlans=" + ",".join(map(str, sorted(network.flood_vlans)))]
    if network.sessions:
        words += [word for port in network.ports for word in ("--", f"--id=@{port}", "get", "port", port)]
    for number, session in enumerate(network.sessions):
        words += ["--", f"--id=@m{number}", "create", "mirror", f"name={session.name}", *_mirror(session)]
        words += ["--", "add", "bridge", name, "mirrors", f"@m{number}"]
    return words


def _mirror(session: Session) -> list[str]:
    words = [f"output_port=@{session.to_port}"] if session.to_port else [f"output_vlan={session.to_vlan}"]
    for column, names in (("select_src_port", session.ports_in), ("select_dst_port", session.ports_out)):
        words += [f"{column}=" + ",".join(f"@{name}" for name in sorted(names))] if names else []
    if session.vlans:
        words += ["select_all=true", "select_vlan=" + ",".join(map(str, sorted(session.vlans)))]
    return words


# Generated networks.

vids = st.sampled_from([10, 10, 10, 10, 20, 20, FLOODED])
customers = st.sampled_from([frozenset[int](), frozenset[int](), frozenset({0, 77}), frozenset({77, 78})])
macs = st.sampled_from([f"02:00:00:00:00:0{number}" for number in range(1, 5)])


@st.composite
def ports(draw: st.DrawFn, tpid: int, second_tags: bool) -> Port:
    customer_only = tpid == 0x88A8  # a network of service tags: its edge is tunnels, its inside trunks
    modes = ["dot1q-tunnel", "trunk"] if customer_only else ["access", "access", "trunk", "trunk", "native-tagged"]
    mode = draw(
        st.sampled_from([*modes, *([] if customer_only else ["native-untagged", *["dot1q-tunnel"] * second_tags])])
    )
    allowed = draw(st.frozensets(vids, min_size=1)) if mode not in {"access", "dot1q-tunnel"} else frozenset[int]()
    return Port(
        mode=mode,
        pvid=0 if mode == "trunk" else draw(vids),
        allowed=allowed,
        tpid=tpid,
        customer=draw(customers) if mode == "dot1q-tunnel" else frozenset(),
        priority_tags="never" if second_tags else draw(st.sampled_from(["never", "if-nonzero"])),
        protected=draw(st.integers(0, 3)) == 0,
    )


@st.composite
def networks(draw: st.DrawFn) -> Network:
    tpid = draw(st.sampled_from([0x8100, 0x8100, 0x88A8]))
    second_tags = tpid == 0x88A8 or draw(st.booleans())
    found = {name: draw(ports(tpid, second_tags)) for name in NAMES[: draw(st.integers(2, len(NAMES)))]}
    names = sorted(found)
    session = draw(sessions(found)) if tpid == 0x8100 and len(names) > 2 else ()
    if session:
        found[session[0].to_port] = DESTINATION
    reached = [name for name in names if all(each.to_port != name for each in session)]
    static = draw(st.lists(st.tuples(vids, macs, st.sampled_from(reached)), max_size=1)) if not session else []
    flooded = frozenset({FLOODED}) if not session and draw(st.booleans()) else frozenset[int]()
    return Network(
        found, tpid, flooded, session,
        draw(st.booleans()), tuple(row for row in static if row[0] != FLOODED and row[0] in found[row[2]].own()),
        second_tags=second_tags,
    )  # fmt: skip


# Open vSwitch gives a mirror's port what would leave a port of that kind. For copies as they were, the destination is a
# trunk, and so are the sources.
DESTINATION = Port("trunk", 0, frozenset({10, 20, FLOODED}))


@st.composite
def sessions(draw: st.DrawFn, found: dict[str, Port]) -> tuple[Session, ...]:
    """None, or one of what comes in, goes out, both, or belongs to a VLAN."""
    *others, goal = sorted(found)
    trunks = [name for name in others if found[name].mode == "trunk"]
    kind = draw(st.integers(0, 5))
    if not trunks or kind > 3:
        return ()
    if kind == 3 and trunks == others:
        return (Session("m", vlans=draw(st.frozensets(vids, min_size=1, max_size=2)), to_port=goal),)
    seen = st.frozensets(st.sampled_from(trunks), min_size=1, max_size=2)
    came = draw(seen) if kind in {0, 2} else frozenset[str]()
    left = draw(seen) if kind in {1, 2, 3} else frozenset[str]()
    return (Session("m", came, left, to_port=goal),)
