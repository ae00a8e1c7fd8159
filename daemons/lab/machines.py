"""Machines of a lab as they are meant: every default filled in, every name resolved. All values are frozen.

Knows: what the rest of the house needs of namespaces, virtual machines and uplinks. Refuses to know: the file, what
runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

VM_MEMORY = 256 << 20
MOST_VMS = 64
MTU = 1500
CARD = "virtio-net-pci"
BOARD = "q35"
QEMU = "qemu-system-x86_64"
LEASE_S = 3600
# What people call a node of each kind; the article goes with it.
WORDS = {
    "switch": "a switch",
    "host": "a host",
    "netns": "a namespace",
    "vm": "a virtual machine",
    "external": "an external node",
    "uplink": "an uplink",
}
# Kinds whose NIC is a TAP in a namespace, which is handed to the switch.
TAPPED = ("netns", "uplink")
WAY_OUT = "wan0"  # daemons.uplink_config.WAN; a test holds them together
# Switches on which a namespace forwards packets that are for others (Documentation/networking/ip-sysctl.rst).
_FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/forwarding")


@dataclass(frozen=True, slots=True)
class Route:
    """to: a network with prefix length; at least one of via (an address) and dev (an interface) is set."""

    to: str
    via: str | None
    dev: str | None


@dataclass(frozen=True, slots=True)
class Netns:
    sysctls: dict[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    @property
    def forwards(self) -> bool:
        return any(self.sysctls.get(key.replace("/", "."), "0") not in ("0", "") for key in _FORWARDING)


@dataclass(frozen=True, slots=True)
class Vm:
    """image, kernel, initrd: as they stand in the file; format: of the image, as far as its name or the file tells;
    memory: bytes; disks: names of LUNs."""

    image: str | None
    format: str | None
    told: bool  # the file itself says the format
    writable: bool
    kernel: str | None
    initrd: str | None
    append: str
    memory: int
    cpus: int
    accel: str
    machine: str
    qemu: str
    args: tuple[str, ...]
    disks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Uplink:
    """ipv4_range: first and last address that is leased, in the network of the first interface with an IPv4 address."""

    lease_s: int
    dns: bool
    host_loopback: bool
    ipv4_range: tuple[str, str]


Machine = Netns | Vm | Uplink


@dataclass(frozen=True, slots=True)
class Limits:
    """vm_memory: bytes, None: what the machine has available."""

    vm_memory: int | None = None
    vms: int = MOST_VMS
