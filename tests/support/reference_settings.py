"""What the reference switch is told: a port, the VLANs, a mirror session; and what that means by IEEE Std 802.1Q-2018.

Knows: acceptable frame types (6.9), the three VID sets of a port (what it admits, 8.6.2; what it carries, 8.8.10; what
leaves it untagged, 8.8.2), filtering identifiers (8.8.8), private VLANs (annex F.1.3.2: asymmetric VLANs that share
learning; RFC 5517 for the port types). Refuses to know: frames, and everything in netvirt.

The standard calls "member set" what two sets are here: a private VLAN's host port admits its secondary VLAN, and the
primary VLAN, which it does not admit, leaves there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ALL_KINDS = frozenset({"unicast", "multicast", "broadcast"})
ONE_VLAN = frozenset({"access", "dot1q-tunnel", "host", "promiscuous"})


@dataclass(frozen=True)
class Port:
    """One port. `pvid` is its VLAN, or a trunk's native VLAN, 0 = none; sizes in bytes."""

    mode: str = "access"
    pvid: int = 1
    allowed: frozenset[int] = frozenset()
    priority: int = 0
    state: str = "forwarding"
    mtu: int = 9216
    ingress_filter: bool = True
    accept: str = ""
    priority_tags: str = "never"
    tpid: int = 0x8100
    customer: frozenset[int] = frozenset()
    untagged: frozenset[int] | None = None
    translate: tuple[tuple[int, int], ...] = ()
    flood: frozenset[str] = ALL_KINDS
    storm: tuple[tuple[str, int, str], ...] = ()
    protected: bool = False
    mac_limit: int = 0
    on_limit: str = "flood"
    sticky: bool = False
    peer: frozenset[int] = frozenset()
    tunnel: frozenset[int] = frozenset({0x21})

    def own(self) -> frozenset[int]:
        """The VIDs of its configuration: one, or those of a trunk with its native one."""
        mine = frozenset({self.pvid} - {0})
        return mine if self.mode in ONE_VLAN else mine | self.allowed

    def acceptable(self) -> str:
        """all | tagged | untagged (6.9: the Acceptable Frame Types parameter)."""
        if self.accept:
            return self.accept
        if self.mode in {"access", "host", "promiscuous"}:
            return "untagged"
        return "tagged" if self.mode == "trunk" and not self.pvid else "all"

    def tagged_type(self) -> bytes:
        return self.tpid.to_bytes(2, "big")


@dataclass(frozen=True)
class Vlans:
    """What concerns VLANs of the whole switch. private: (primary, isolated or 0, communities)."""

    shared: bool = False
    private: tuple[tuple[int, int, tuple[int, ...]], ...] = ()
    limits: tuple[tuple[int, int], ...] = ()
    remote: frozenset[int] = frozenset()

    def primary(self, vid: int) -> int:
        """The primary VLAN of a secondary one; any other VID as it is."""
        for primary, isolated, communities in self.private:
            if vid == isolated or vid in communities:
                return primary
        return vid

    def isolated(self, vid: int) -> bool:
        return any(vid == isolated for _, isolated, _ in self.private)

    def secondaries(self, vid: int) -> frozenset[int]:
        for primary, isolated, communities in self.private:
            if vid == primary:
                return frozenset({isolated, *communities}) - {0}
        return frozenset()

    def fid(self, vid: int) -> int:
        """8.8.8: stations of VLANs with one FID are known to all of them."""
        return 1 if self.shared else self.primary(vid)


@dataclass(frozen=True)
class Session:
    """A mirror: copies of what comes in at, goes out of, or belongs to, to a port or into an RSPAN VLAN."""

    name: str
    ports_in: frozenset[str] = frozenset()
    ports_out: frozenset[str] = frozenset()
    vlans: frozenset[int] = frozenset()
    to_port: str = ""
    to_vlan: int = 0


@dataclass(frozen=True)
class Configuration:
    """All of it at one time. `ports` in the order of their numbers."""

    ports: dict[str, Port] = field(default_factory=dict)
    vlans: Vlans = Vlans()
    sessions: tuple[Session, ...] = ()
    shut: frozenset[str] = frozenset()  # ports that had a station too many (on_limit = shutdown)

    def is_destination(self, name: str) -> bool:
        return any(session.to_port == name for session in self.sessions)

    def state(self, name: str) -> str:
        return "disabled" if name in self.shut else self.ports[name].state

    def forwards(self, name: str) -> bool:
        return self.state(name) == "forwarding" and not self.is_destination(name)

    def admits(self, name: str, vid: int) -> bool:
        """8.6.2: without ingress filtering, every VLAN."""
        return not self.ports[name].ingress_filter or vid in self.ports[name].own()

    def carried(self, name: str) -> frozenset[int]:
        """The VIDs whose frames may leave here."""
        port = self.ports[name]
        if port.mode == "promiscuous":
            return port.own() | self.vlans.secondaries(port.pvid)
        if port.mode == "host":
            community = frozenset() if self.vlans.isolated(port.pvid) else port.own()
            return community | {self.vlans.primary(port.pvid)}
        return port.own()

    def untagged(self, name: str, vid: int) -> bool:
        """Whether frames of this VLAN leave without a tag."""
        port = self.ports[name]
        if port.mode in ONE_VLAN:
            return True
        if port.untagged is not None:
            return vid in port.untagged
        return port.mode != "native-tagged" and vid == port.pvid
