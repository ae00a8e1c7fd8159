"""A lab as it is meant: every default filled in, every name resolved. All values are frozen.

Knows: what the rest of the house needs of a lab. Refuses to know: the file, its positions, and what was left out in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal, NamedTuple

from netvirt.settings import Mirror, PortSettings, VlanSettings

from .machines import CARD, MTU, Limits, Machine
from .plugs import Plug
from .storage import Storage
from .ways import Ways, ways

MAC_LIMIT = 16384  # addresses in a switch's table: what a small hardware switch has

IpInterface = IPv4Interface | IPv6Interface


class End(NamedTuple):
    """One end of a link, or a port by itself; its text is `s1:eth1`."""

    node: str
    port: str

    def __str__(self) -> str:
        return f"{self.node}:{self.port}"


@dataclass(frozen=True, slots=True)
class QemuPeer:
    role: str  # what the switch does: "dial" | "listen"
    path: str | None  # None: a socket in the run folder


class Monitor(NamedTuple):
    """A guest's QMP socket ("": one in the run folder), and which of its netdevs, or cards, is on the port."""

    path: str
    netdev: str


@dataclass(frozen=True, slots=True)
class TcpPeer:
    listen: str | None  # "host:port"; exactly one of listen and connect is set
    connect: str | None
    peer: str  # the name of a key, or a Z85 public key
    port: str  # the port's name at the far end, when connecting


class Station(NamedTuple):
    """A static entry of a MAC table."""

    vid: int
    mac: str
    port: str


@dataclass(frozen=True, slots=True)
class Port:
    """A switch port; `ways` is what its settings mean for VLANs in this switch."""

    name: str
    settings: PortSettings
    ways: Ways
    qemu: QemuPeer | None = None
    tcp: TcpPeer | None = None
    plug: Plug | None = None
    monitor: Monitor | None = None

    @property
    def pvid(self) -> int:
        return self.settings.pvid

    @property
    def allowed(self) -> frozenset[int]:
        """The VIDs that may leave here, and with few exceptions those that may come in."""
        return self.ways.member

    @property
    def trunk(self) -> bool:
        """Whether it is made for tags."""
        return self.settings.mode in ("trunk", "native-untagged", "native-tagged")


@dataclass(frozen=True, slots=True)
class Switch:
    name: str
    ageing_s: int
    ports: dict[str, Port]
    mac_limit: int = MAC_LIMIT
    vlans: VlanSettings = VlanSettings()  # noqa: RUF009 (immutable)
    mirrors: tuple[Mirror, ...] = ()
    static: tuple[Station, ...] = ()

    def with_settings(
        self, settings: Mapping[str, PortSettings], vlans: VlanSettings, mirrors: tuple[Mirror, ...]
    ) -> Switch:
        """The same switch with other settings; ports that are not named keep theirs."""
        targets = {mirror.to_port for mirror in mirrors}
        ports = {}
        for name, port in self.ports.items():
            said = settings.get(name, port.settings)
            ports[name] = replace(port, settings=said, ways=ways(said, vlans, name in targets))
        return replace(self, ports=ports, vlans=vlans, mirrors=mirrors)


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a machine; `vlan` 0 means untagged. At most one gateway per interface."""

    name: str
    vlan: int
    priority: int
    addresses: tuple[IpInterface, ...]
    gateway: str | None


@dataclass(frozen=True, slots=True)
class Nic:
    name: str
    mac: str
    interfaces: tuple[Interface, ...]
    mtu: int = MTU
    model: str = CARD  # of a virtual machine


@dataclass(frozen=True, slots=True)
class Host:
    """Any node that is no switch. machine: what its kind has more; None for kinds host and external."""

    name: str
    nics: dict[str, Nic]
    kind: str = "host"
    machine: Machine | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A cable; `index` is its place in the file, `a` and `b` are in the file's order."""

    index: int
    a: End
    b: End
    transport: Literal["ipc", "tcp"]

    def __str__(self) -> str:
        return f"{self.a} - {self.b}"

    def other(self, node: str) -> End:
        return self.b if self.a.node == node else self.a

    def end(self, node: str) -> End:
        return self.a if self.a.node == node else self.b


@dataclass(frozen=True, slots=True)
class Lab:
    name: str
    description: str
    vlans: dict[str, int]
    loops: str  # "refuse" | "block"
    switches: dict[str, Switch]
    hosts: dict[str, Host]
    links: tuple[Link, ...]
    storage: Storage = field(default_factory=Storage)
    limits: Limits = Limits()  # noqa: RUF009 (immutable)
    blocked: frozenset[int] = field(default=frozenset())  # indexes of the links that `loops: block` takes out

    def trunks(self) -> Iterator[Link]:
        """The links between two switches, in the file's order."""
        return (link for link in self.links if link.a.node in self.switches and link.b.node in self.switches)

    def nic_links(self) -> Iterator[tuple[Link, End, End]]:
        """The links to machines, as (link, the machine's end, the switch's end)."""
        for link in self.links:
            for host in (link.a, link.b):
                if host.node in self.hosts:
                    yield link, host, link.other(host.node)

    def of_kind(self, *kinds: str) -> list[Host]:
        """The machines of these kinds, in the file's order."""
        return [host for host in self.hosts.values() if host.kind in kinds]

    def port(self, end: End) -> Port:
        return self.switches[end.node].ports[end.port]

    def link_of(self) -> dict[End, Link]:
        """Which link is in which port."""
        return {end: link for link in self.links for end in (link.a, link.b)}

    def with_blocked(self, links: frozenset[int]) -> Lab:
        return replace(self, blocked=links)

    def vlan_name(self, vid: int) -> str:
        """`office (10)`, or just `10` for a VLAN without a name."""
        for name, number in self.vlans.items():
            if number == vid:
                return f"{name} ({vid})"
        return str(vid)
