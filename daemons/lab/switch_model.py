"""What a lab file says of a whole switch: its MAC table, private VLANs, mirrors, static stations, as it is written.

Knows: which keys there are and what one value may look like. Refuses to know: whether VLANs and ports exist, and what
can't be together (`switch_vlans`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .fields import Mac, MirrorName, PortName, Vlan, VlanKey
from .port_fields import MacLimit, TableSize, Vlans, YesNo
from .port_model import Model

PortNames = Annotated[tuple[PortName, ...], Field(strict=False)]


class PrivateVlan(Model):
    """The secondary VLANs of a private VLAN. Isolated stations reach promiscuous ports only, a community itself too."""

    isolated: Vlan | None = Field(default=None, description="the VLAN of stations that do not reach each other")
    communities: Vlans = Field(default=[], description="VLANs of stations that reach each other")


class Mirror(Model):
    """A SPAN session: copies of frames go to a port, or into a remote-span VLAN."""

    in_: PortNames = Field(default=(), alias="in", description="ports: what comes in")
    out: PortNames = Field(default=(), description="ports: what goes out")
    both: PortNames = Field(default=(), description="ports: what comes in and what goes out")
    vlans: Vlans = Field(default=[], description="VLANs: what comes into them")
    to: PortName | None = Field(default=None, description="the port that gets the copies, and nothing else")
    to_vlan: Vlan | None = Field(default=None, description="or the VLAN (one of remote-span:) that carries them")


class Station(Model):
    """A station that is there, whatever is heard of it."""

    mac: Mac = Field(description="its MAC address")
    vlan: Vlan = Field(description="its VLAN")
    port: PortName = Field(description="the port where it is")


class SwitchKeys(Model):
    """The keys of a switch beside its ports."""

    shared_learning: YesNo = Field(
        default=False, description="switch: one MAC table for all VLANs in place of one for each"
    )
    mac_table: TableSize | None = Field(default=None, description="switch: stations that it knows at the most (16384)")
    mac_limits: dict[VlanKey, MacLimit] = Field(
        default={}, description="switch: stations of a VLAN that it learns at the most"
    )
    private_vlans: dict[VlanKey, PrivateVlan] = Field(
        default={}, description="switch: primary VLAN -> its isolated VLAN and its communities"
    )
    remote_span: Vlans = Field(default=[], description="switch: VLANs that carry mirrored frames (RSPAN)")
    mirrors: dict[MirrorName, Mirror] = Field(default={}, description="switch: SPAN sessions by name, 8 at the most")
    static: list[Station] = Field(default=[], description="switch: stations that are known from the beginning")
