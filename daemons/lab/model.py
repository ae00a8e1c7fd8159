"""The lab file as it is written: one model per mapping, with the descriptions that editors show.

Knows: which keys there are and what one value may look like. Refuses to know: what is left out and whether
names meet (`resolve`), and what the network does (`graph`, `domains`). The JSON Schema is made from these models.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from .fields import (
    Address,
    EndpointText,
    Gateway,
    LabName,
    Mac,
    NodeName,
    PortName,
    Priority,
    Seconds,
    VlanId,
    VlanName,
    one_of,
    wrong,
)
from .machine_fields import Card, MachineMtu
from .machine_model import Limits, MachineKeys, MtuKey, NetnsKind, UplinkKind, VmKind
from .port_model import Model as Model
from .port_model import Port as Port
from .storage_model import StorageModel
from .switch_model import SwitchKeys

KINDS = ("switch", "host", "netns", "vm", "external", "uplink")
Kind = Annotated[str, *one_of(*KINDS)]
Loops = Annotated[str, *one_of("refuse", "block")]
Transport = Annotated[str, *one_of("ipc", "tcp")]
Text = Annotated[str, Field(max_length=2000)]


class Interface(Model):
    """An interface of a machine: a NIC such as eth0, or a VLAN of one such as eth0.7, which is tagged."""

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
    mtu: MachineMtu | None = Field(
        default=None, description="of a NIC of a namespace, virtual machine or uplink: its MTU in bytes"
    )
    model: Card | None = Field(default=None, description="of a NIC of a virtual machine: QEMU's name of the card")


class _Common(Model):
    ageing: Seconds | None = Field(
        default=None, description="switch: seconds until an unused MAC address is forgotten (300)"
    )
    gateway: Gateway | None = Field(default=None, description="host, namespace: where packets to other networks go")


class Defaults(_Common, MtuKey):
    """For every node that does not say otherwise."""

    kind: Kind | None = Field(
        default=None, description="switch, host, netns, vm, external or uplink; host if nobody says"
    )


class SwitchKind(Model):
    """For every switch."""

    ageing: Seconds | None = Field(default=None, description="seconds until an unused MAC address is forgotten (300)")


class HostKind(Model):
    """For every host."""

    gateway: Gateway | None = Field(default=None, description="where packets to other networks go")


class Kinds(Model):
    """Settings for every node of a kind; they win over `defaults`, and the node's own win over them."""

    switch: SwitchKind | None = None
    host: HostKind | None = None
    netns: NetnsKind | None = None
    vm: VmKind | None = None
    uplink: UplinkKind | None = None


class Node(_Common, SwitchKeys, MachineKeys):
    """A switch, or a machine at one."""

    kind: Kind | None = Field(
        default=None,
        description="switch; host (in our own process: answers pings); netns (a network namespace of Linux); vm (QEMU);"
        " external (somebody whom you start); uplink (the way out of the lab)",
    )
    description: Text = Field(default="", description="for people")
    ports: dict[PortName, Port | None] = Field(
        default={}, description="switch: its ports; those that links name need no entry"
    )
    addresses: tuple[Address, ...] = Field(
        default=(),
        description="machine: addresses of eth0 with prefix length; of vm and external for people only",
        strict=False,
    )
    mac: Mac | None = Field(
        default=None, description="machine: MAC address of eth0; left out: made from the names, always the same"
    )
    interfaces: dict[PortName, Interface | None] = Field(
        default={}, description="machine: more NICs, and VLANs on them (eth0.7)"
    )


class Link(Model):
    """A cable between two switches, or from a switch to a machine."""

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


class Topology(Model):
    """Nodes and links; the names are containerlab's."""

    defaults: Defaults = Field(default=Defaults(), description="settings for every node")
    kinds: Kinds = Field(default=Kinds(), description="settings for every node of a kind")
    nodes: dict[NodeName, Node | None] = Field(description="switches and machines by name")
    links: list[Link] = Field(default=[], description="the cables")


def _either(schema: dict[str, Any]) -> None:
    """A lab without a network has storage; the loader puts an empty topology into it before the model sees it."""
    schema["required"].remove("topology")
    schema["anyOf"] = [{"required": ["topology"]}, {"required": ["storage"]}]


class LabFile(Model):
    """A virtfab lab: switches, VLANs, machines and the links between them; pools, volumes and LUNs."""

    model_config = ConfigDict(json_schema_extra=_either)

    name: LabName = Field(description="the lab's name; also the name of its key")
    description: Text = Field(default="", description="one sentence for people")
    vlans: dict[VlanName, VlanId] = Field(default={}, description="VLANs: name and ID")
    loops: Loops = Field(
        "refuse", description="refuse: a loop is a mistake; block: links that would close one are blocked"
    )
    topology: Topology = Field(description="nodes and links")
    limits: Limits = Field(default=Limits(), description="what the lab's virtual machines may take together")
    storage: StorageModel = Field(default=StorageModel(), description="pools, volumes and LUNs")
