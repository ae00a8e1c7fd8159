"""The lab file as it is written: one model per mapping, with the descriptions that editors show.

Knows: which keys there are and what one value may look like. Refuses to know: what is left out and whether
names meet (`resolve`), and what the network does (`graph`, `domains`). The JSON Schema is made from these models.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .fields import (
    Address,
    EndpointText,
    Gateway,
    LabName,
    Mac,
    Native,
    NodeName,
    Peer,
    PortName,
    Priority,
    Seconds,
    SocketPath,
    SocketText,
    Trunk,
    Vlan,
    VlanId,
    VlanName,
    one_of,
    wrong,
)
from .storage_model import StorageModel

KINDS = ("switch", "host")
Kind = Annotated[str, *one_of(*KINDS)]
Role = Annotated[str, *one_of("dial", "listen")]
Loops = Annotated[str, *one_of("refuse", "block")]
Transport = Annotated[str, *one_of("ipc", "tcp")]
Text = Annotated[str, Field(max_length=2000)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Qemu(_Model):
    """A QEMU guest's network card on this port, over a unix socket (QEMU's `-netdev stream`)."""

    role: Role = Field(
        default="dial", description="dial: QEMU listens and the switch dials; listen: the other way round"
    )
    path: SocketPath | None = Field(default=None, description="the unix socket; left out: one in the lab's run folder")


class Tcp(_Model):
    """A trunk to a switch of another lab, over TCP with CURVE keys."""

    listen: SocketText | None = Field(default=None, description="wait for the other lab at this host:port")
    connect: SocketText | None = Field(default=None, description="dial the other lab at this host:port")
    peer: Peer = Field(
        description="who may be there: the name of a key in your key folder (a lab's name), or a Z85 key"
    )
    port: PortName | None = Field(
        default=None, description="with connect: the port's name over there; left out: the same as here"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Tcp:
        if (self.listen is None) == (self.connect is None):
            raise wrong("a tcp port either listens or connects", "give one of listen: and connect:")
        if self.port is not None and self.connect is None:
            raise wrong("port: belongs to connect:", "remove it: the side that connects says which port it wants")
        return self


def _short_form(schema: dict[str, Any]) -> None:
    schema["anyOf"].insert(0, {"type": "string", "enum": ["dial", "listen"]})


def _qemu(value: Any) -> Any:
    return {"role": value} if isinstance(value, str) else value


class Port(_Model):
    """A switch port. Left out: access VLAN 1; towards another switch a trunk for all VLANs with native VLAN 1."""

    access: Vlan | None = Field(
        default=None, description="access port: the VLAN, by name or ID; frames go out untagged"
    )
    trunk: Trunk | None = Field(
        default=None, description="trunk port: 'all', or the VLANs that may pass: names, IDs, ranges '10-20'"
    )
    native: Native | None = Field(
        default=None, description="the trunk's VLAN for untagged frames, or 'none' (the default)"
    )
    priority: Priority = Field(default=0, description="PCP (0 to 7) given to frames that come in untagged")
    qemu: Annotated[
        Qemu | None,
        BeforeValidator(_qemu),
        Field(description="a QEMU guest plugs in here: dial, listen, or {role, path}", json_schema_extra=_short_form),
    ] = None
    tcp: Tcp | None = Field(default=None, description="a trunk to another lab over TCP")

    @model_validator(mode="after")
    def _modes(self) -> Port:
        if self.access is not None and self.trunk is not None:
            raise wrong("a port is either access or trunk", "remove one of the two keys")
        if self.native is not None and self.trunk is None:
            raise wrong("native: belongs to a trunk", "add trunk:, or write access: with that VLAN")
        if self.qemu is not None and self.tcp is not None:
            raise wrong("a port has one peer, and this one has qemu: and tcp:", "give each a port of its own")
        return self


class Interface(_Model):
    """An interface of a host: a NIC such as eth0, or a VLAN of one such as eth0.7, which is tagged."""

    addresses: tuple[Address, ...] = Field(
        default=(), description="IPv4 and IPv6 addresses with prefix length", strict=False
    )
    gateway: Gateway | None = Field(default=None, description="where packets to other networks go")
    mac: Mac | None = Field(
        default=None, description="MAC address of the NIC; left out: made from the names, always the same"
    )
    priority: Priority = Field(
        default=0, description="on a VLAN such as eth0.7: the PCP (0 to 7) in the tags of what the host sends"
    )


class _Common(_Model):
    ageing: Seconds | None = Field(
        default=None, description="switch: seconds until an unused MAC address is forgotten (300)"
    )
    gateway: Gateway | None = Field(default=None, description="host: where packets to other networks go")


class Defaults(_Common):
    """For every node that does not say otherwise."""

    kind: Kind | None = Field(default=None, description="switch or host; host if nobody says")


class SwitchKind(_Model):
    """For every switch."""

    ageing: Seconds | None = Field(default=None, description="seconds until an unused MAC address is forgotten (300)")


class HostKind(_Model):
    """For every host."""

    gateway: Gateway | None = Field(default=None, description="where packets to other networks go")


class Kinds(_Model):
    """Settings for every node of a kind; they win over `defaults`, and the node's own win over them."""

    switch: SwitchKind | None = None
    host: HostKind | None = None


class Node(_Common):
    """A switch or a host."""

    kind: Kind | None = Field(default=None, description="switch or host")
    description: Text = Field(default="", description="for people")
    ports: dict[PortName, Port | None] = Field(
        default={}, description="switch: its ports; those that links name need no entry"
    )
    addresses: tuple[Address, ...] = Field(
        default=(), description="host: addresses of eth0 with prefix length", strict=False
    )
    mac: Mac | None = Field(
        default=None, description="host: MAC address of eth0; left out: made from the names, always the same"
    )
    interfaces: dict[PortName, Interface | None] = Field(
        default={}, description="host: more NICs, and VLANs on them (eth0.7)"
    )


class Link(_Model):
    """A cable between two switches, or from a switch to a host."""

    endpoints: Annotated[tuple[EndpointText, ...], Field(strict=False)] = Field(
        description="both ends as node:port", json_schema_extra={"minItems": 2, "maxItems": 2}
    )
    transport: Transport = Field(default="ipc", description="ipc: unix sockets; tcp: TCP on loopback with CURVE")

    @model_validator(mode="after")
    def _two(self) -> Link:
        if len(self.endpoints) != 2:
            raise wrong(
                f"a link has two endpoints, not {len(self.endpoints)}", 'write endpoints: ["s1:eth1", "h1:eth0"]'
            )
        return self


class Topology(_Model):
    """Nodes and links; the names are containerlab's."""

    defaults: Defaults = Field(default=Defaults(), description="settings for every node")
    kinds: Kinds = Field(default=Kinds(), description="settings for every node of a kind")
    nodes: dict[NodeName, Node | None] = Field(description="switches and hosts by name")
    links: list[Link] = Field(default=[], description="the cables")


def _either(schema: dict[str, Any]) -> None:
    """A lab without a network has storage; the loader puts an empty topology into it before the model sees it."""
    schema["required"].remove("topology")
    schema["anyOf"] = [{"required": ["topology"]}, {"required": ["storage"]}]


class LabFile(_Model):
    """A virtfab lab: switches, VLANs, hosts and the links between them; pools, volumes and LUNs."""

    model_config = ConfigDict(json_schema_extra=_either)

    name: LabName = Field(description="the lab's name; also the name of its key")
    description: Text = Field(default="", description="one sentence for people")
    vlans: dict[VlanName, VlanId] = Field(default={}, description="VLANs: name and ID")
    loops: Loops = Field(
        "refuse", description="refuse: a loop is a mistake; block: links that would close one are blocked"
    )
    topology: Topology = Field(description="nodes and links")
    storage: StorageModel = Field(default=StorageModel(), description="pools, volumes and LUNs")
