"""Machines in a lab file as they are written: namespaces, virtual machines, uplinks; and the lab's limits.

Knows: which keys there are and what one value may look like. Refuses to know: which key belongs to which kind of node
(`node_kinds`), whether names meet (`machines`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from .fields import Gateway, LunName, PortName, wrong
from .machine_fields import (
    Accel,
    Arguments,
    Board,
    Card,
    Cpus,
    FilePath,
    ImageFormat,
    Lease,
    LeaseRange,
    Line,
    MachineMtu,
    Memory,
    Program,
    SysctlName,
    SysctlValue,
    To,
    Vms,
)
from .port_fields import YesNo
from .port_model import Model


class Route(Model):
    """A route of a namespace."""

    to: To = Field(description="the network, such as 10.1.0.0/16, or default")
    via: Gateway | None = Field(
        default=None, description="the router's address; left out: the network is at dev: itself"
    )
    dev: PortName | None = Field(default=None, description="the interface; left out: the one whose network has via:")

    @model_validator(mode="after")
    def _way(self) -> Route:
        if self.via is None and self.dev is None:
            raise wrong("this route leads nowhere", "add via: with the router's address, or dev: with an interface")
        if self.to == "default" and self.via is None:
            raise wrong("a default route without a router", "add via:, or write to: 0.0.0.0/0 or to: ::/0")
        return self


class MtuKey(Model):
    mtu: MachineMtu | None = Field(
        default=None, description="namespace, virtual machine, uplink: MTU of its NICs in bytes (1500)"
    )


class NetnsShared(Model):
    """What a namespace may have from `kinds`."""

    sysctls: dict[SysctlName, SysctlValue] = Field(
        default={}, description="namespace: settings of its network, such as net.ipv4.ip_forward: 1"
    )


class VmShared(Model):
    """What a virtual machine may have from `kinds`."""

    image: FilePath | None = Field(
        default=None, description="vm: its disk, a file beside the lab file or elsewhere; left as it is (see writable:)"
    )
    format: ImageFormat | None = Field(
        default=None, description="vm: format of the image; left out: qcow2 if its name ends so, else raw"
    )
    writable: YesNo | None = Field(
        default=None, description="vm: true: the guest writes into the image itself; false: into a file that goes with"
        " the lab (the default)"
    )  # fmt: skip
    kernel: FilePath | None = Field(default=None, description="vm: a kernel to start, in place of what is in the image")
    initrd: FilePath | None = Field(default=None, description="vm: the kernel's initial RAM disk")
    append: Line | None = Field(default=None, description="vm: the kernel's command line")
    memory: Memory | None = Field(default=None, description="vm: its memory, such as 512MiB (256MiB)")
    cpus: Cpus | None = Field(default=None, description="vm: how many CPUs it has (1)")
    accel: Accel | None = Field(
        default=None, description="vm: kvm, tcg (emulated), or auto: kvm where a trial guest runs with it (the default)"
    )
    nic_model: Card | None = Field(default=None, description="vm: its network cards (virtio-net-pci)")
    machine: Board | None = Field(default=None, description="vm: QEMU's machine type (q35)")
    qemu: Program | None = Field(default=None, description="vm: the program (qemu-system-x86_64)")
    args: Arguments | None = Field(default=None, description="vm: more arguments for QEMU, a word each")


class UplinkShared(Model):
    """What an uplink may have from `kinds`."""

    lease: Lease | None = Field(default=None, description="uplink: seconds that a DHCP lease lasts (3600)")
    dns: YesNo | None = Field(default=None, description="uplink: answer DNS questions, and say so in leases (true)")
    host_loopback: YesNo | None = Field(
        default=None, description="uplink: whether 192.0.0.1 is this machine's own loopback for everybody there (false)"
    )


class MachineKeys(MtuKey, NetnsShared, VmShared, UplinkShared):
    """The keys of nodes that are neither switches nor userspace hosts."""

    routes: Annotated[tuple[Route, ...], Field(strict=False)] = Field(
        default=(), description="namespace: routes beside those of its interfaces and its gateway"
    )
    disks: Annotated[tuple[LunName, ...], Field(strict=False)] = Field(
        default=(), description="vm: LUNs of the storage section that are its disks, behind the image"
    )
    range: LeaseRange | None = Field(
        default=None, description="uplink: first and last address of DHCP leases; left out: a part of its network"
    )


class NetnsKind(MtuKey, NetnsShared):
    """For every network namespace."""

    gateway: Gateway | None = Field(default=None, description="where packets to other networks go")


class VmKind(MtuKey, VmShared):
    """For every virtual machine."""


class UplinkKind(MtuKey, UplinkShared):
    """For every uplink."""


class Limits(Model):
    """What the lab's virtual machines may take together; more is refused before anything starts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=None)

    vm_memory: Memory | None = Field(
        default=None, description="memory of all virtual machines together; left out: what the machine has available"
    )
    vms: Vms = Field(default=64, description="how many virtual machines there may be")
