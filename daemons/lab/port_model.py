"""The ports of a switch in a lab file as they are written: one model per mapping, with what editors show.

Knows: which keys a port has and what one value may look like. Refuses to know: which keys go together with which mode
(`port_settings`), whether VLANs and peers exist (`switchports`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from . import linux_models, network_models, peer_models
from .fields import (
    MonitorPath,
    Native,
    Peer,
    PortName,
    Priority,
    QemuId,
    SocketPath,
    SocketText,
    Trunk,
    Vlan,
    one_of,
    wrong,
)  # fmt: skip
from .port_fields import (
    Accept,
    Customers,
    Flooded,
    MacLimit,
    Mtu,
    OnLimit,
    PriorityTags,
    Rate,
    ReservedAction,
    ReservedName,
    State,
    StormKind,
    TagType,
    Vlans,
    WireVid,
    YesNo,
)

Role = Annotated[str, *one_of("dial", "listen", "dgram")]
# A port has one of these, or a link.
PEERS = ("qemu", "tcp", "udp", "vde", "tap", "packet", "websocket", "vxlan")


class Model(BaseModel):
    """A mapping of a lab file: no unknown keys; `mac_limit` here is `mac-limit` there."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=lambda name: name.replace("_", "-")
    )


class Qemu(Model):
    """A QEMU guest's network card on this port, over unix sockets (QEMU's `-netdev stream`, or `-netdev dgram`)."""

    role: Role = Field(
        default="dial",
        description="dial: QEMU listens and the switch dials; listen: the other way round; dgram: datagrams, a socket"
        " on each side",
    )
    path: SocketPath | None = Field(default=None, description="the unix socket; left out: one in the lab's run folder")
    peer: SocketPath | None = Field(
        default=None, description="with dgram: QEMU's own socket, and path: is the switch's"
    )
    qmp: MonitorPath | None = Field(
        default=None,
        description="a QMP monitor of QEMU, for this port alone: while the port is disabled or shut, the guest's card"
        " has no carrier. auto: a socket in the lab's run folder",
    )
    netdev: QemuId | None = Field(
        default=None, description="with qmp: the id of QEMU's netdev or card; left out: as vfab attach prints it"
    )

    @model_validator(mode="after")
    def _two(self) -> Qemu:
        if self.netdev is not None and self.qmp is None:
            raise wrong("netdev: belongs to qmp:", "remove it, or add qmp: auto")
        if self.peer is not None and self.role != "dgram":
            raise wrong("peer: belongs to role: dgram", "remove it, or write role: dgram")
        if self.peer is not None and self.peer == self.path:
            raise wrong("path: and peer: are one file", "each side needs a socket of its own")
        return self


class Tcp(Model):
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
    schema["anyOf"].insert(0, {"type": "string", "enum": ["dial", "listen", "dgram"]})


def _listen_form(schema: dict[str, Any]) -> None:
    schema["anyOf"].insert(0, {"type": "string", "enum": ["listen"]})


def _qemu(value: Any) -> Any:
    return {"role": value} if isinstance(value, str) else value


class Port(Model):
    """A switch port. Left out: access VLAN 1; towards another switch a trunk for all VLANs with native VLAN 1."""

    access: Vlan | None = Field(
        default=None,
        description="access port: the VLAN, by name or ID; frames go out untagged. One of private-vlans: makes it a"
        " promiscuous port (primary VLAN) or a host port",
    )
    trunk: Trunk | None = Field(
        default=None, description="trunk port: 'all', or the VLANs that may pass: names, IDs, ranges '10-20'"
    )
    native: Native | None = Field(
        default=None, description="the trunk's VLAN for untagged frames, or 'none' (the default)"
    )
    native_tagged: Vlan | None = Field(
        default=None, description="like native:, but frames of this VLAN go out with a tag"
    )
    tunnel: Vlan | None = Field(
        default=None,
        description="dot1q-tunnel port: what comes in, tags and all, is carried in this VLAN and goes out as it came",
    )
    customer: Customers | None = Field(
        default=None, description="of a tunnel: customer VLANs that pass, both ways (untagged: frames without a tag)"
    )
    untagged: Vlans | None = Field(
        default=None, description="of a trunk: the VLANs that go out untagged, in place of the native one"
    )
    translate: dict[WireVid, Vlan] | None = Field(
        default=None, description="of a trunk: VLAN ID on the wire -> VLAN in this switch, one to one"
    )
    tpid: TagType | None = Field(
        default=None, description="the tags that this port takes and writes: 802.1q (the default) or 802.1ad"
    )
    priority: Priority = Field(default=0, description="PCP (0 to 7) given to frames that come in untagged")
    priority_tags: PriorityTags | None = Field(
        default=None, description="frames that go out untagged get a tag with VLAN 0 for their PCP: never (the default)"
    )
    accept: Accept | None = Field(default=None, description="which frames may come in; left out: what suits the port")
    ingress_filter: YesNo = Field(
        default=True, description="false: a tagged frame of a VLAN that this port is not in comes in all the same"
    )
    state: State | None = Field(
        default=None, description="forwarding (the default); blocked or disabled: nothing passes"
    )
    mtu: Mtu | None = Field(default=None, description="the largest payload in bytes, tags not counted (9216)")
    flood: Flooded | None = Field(
        default=None, description="what may be flooded out here: unicast (unknown), multicast, broadcast; left out: all"
    )
    storm: dict[StormKind, Rate] | None = Field(
        default=None, description="how much may come in here to be flooded: unicast, multicast, broadcast: 1000 fps"
    )
    protected: YesNo = Field(default=False, description="protected ports of a switch do not talk to each other")
    mac_limit: MacLimit | None = Field(default=None, description="stations that may be learned here at the most")
    on_limit: OnLimit | None = Field(
        default=None, description="one station too many: flood its frames (the default), drop them, shutdown the port"
    )
    sticky: YesNo = Field(default=False, description="stations that are learned here never age, and never move away")
    reserved: dict[ReservedName, ReservedAction] | None = Field(
        default=None,
        description="frames to 01-80-C2-00-00-xx by protocol (stp, lacp, lldp ...), last octet, or all: peer, tunnel"
        " (forward), drop; left out: drop, but for mvrp",
    )
    qemu: Annotated[
        Qemu | None,
        BeforeValidator(_qemu),
        Field(
            description="a QEMU guest plugs in here: dial, listen, dgram, or {role, path}",
            json_schema_extra=_short_form,
        ),
    ] = None
    tcp: Tcp | None = Field(default=None, description="a trunk to another lab over TCP")
    udp: peer_models.Udp | None = Field(
        default=None, description="frames in UDP datagrams: VirtualBox, GNS3, dynamips, libvirt"
    )
    vde: Annotated[
        peer_models.Vde | None,
        BeforeValidator(lambda value: {"listen": "auto"} if value == "listen" else value),
        Field(
            description="VDE2: {listen: folder} or listen: vde_plug, QEMU -netdev vde plug in here; {plug: folder}:"
            " into a vde_switch",
            json_schema_extra=_listen_form,
        ),
    ] = None
    tap: Annotated[
        linux_models.Tap | None,
        BeforeValidator(linux_models.short_tap),
        Field(
            description="a TAP of this machine, by name; or listen: somebody hands one over",
            json_schema_extra=linux_models.short_schema,
        ),
    ] = None
    packet: linux_models.Interface | None = Field(
        default=None, description="an interface of this machine, such as eth0 or a veth: all its frames (CAP_NET_RAW)"
    )
    websocket: Annotated[
        network_models.WebSocket | None,
        BeforeValidator(network_models.short_websocket),
        Field(
            description="a machine in a browser (v86, JSLinux) connects to ws://address:port/NAME-OF-THE-PORT",
            json_schema_extra=network_models.short_schema,
        ),
    ] = None
    vxlan: network_models.Vxlan | None = Field(
        default=None, description="a VXLAN tunnel end point: VLANs of this port are VNIs elsewhere"
    )

    @model_validator(mode="after")
    def _modes(self) -> Port:
        if self.access is not None and self.trunk is not None:
            raise wrong("a port is either access or trunk", "remove one of the two keys")
        if self.tunnel is not None and (self.access is not None or self.trunk is not None):
            raise wrong("a tunnel port has one VLAN, and is neither access nor trunk", "keep one of the keys")
        if self.native is not None and self.trunk is None:
            raise wrong("native: belongs to a trunk", "add trunk:, or write access: with that VLAN")
        if self.native is not None and self.native_tagged is not None:
            raise wrong("a trunk has one native VLAN", "keep native: or native-tagged:")
        peers = [key for key in PEERS if getattr(self, key) is not None]
        if len(peers) > 1:
            said = f"{peers[0]}: and {peers[1]}:"
            raise wrong(f"a port has one peer, and this one has {said}", "give each a port of its own")
        return self
