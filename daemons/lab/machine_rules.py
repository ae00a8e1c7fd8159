"""A machine as the file says it -> what is meant, with everything in it that does not fit together.

Knows: namespaces, virtual machines, uplinks: what is left out, what must go together, MTUs beside those of ports,
limits. Refuses to know: NICs, interfaces and addresses (`hosts`), routes (`route_rules`), what is on disk,
how much memory there is (daemons.admission).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, Final, NamedTuple

from . import machines, sizes
from .lab import End, Host, Link, Nic, Switch
from .machine_fields import LOWEST_MTU
from .machines import Limits, Machine, Netns, Uplink, Vm
from .mistake import NODES, At, Finding, did_you_mean, listed, quoted
from .model import Interface as FileInterface
from .model import LabFile, Node
from .route_rules import Routes
from .storage_model import LunModel
from .storage_rules import Gone

IPV6_MTU: Final = 1280  # RFC 8200, section 5; Linux takes IPv6 away from an interface with less
# Words of QEMU that would take it out of the hands of whoever started it.
_NOT_OURS: Final = ("-daemonize", "-pidfile")


class Around(NamedTuple):
    """What a machine is held against."""

    file: LabFile
    switches: Mapping[str, Switch]
    linked: Mapping[End, Link]
    gone: Gone
    findings: list[Finding]


def resolve_machine(host: Host, node: Node, kind: str, around: Around, spoilt: bool) -> Host:
    """The host with what its kind has more. spoilt: something of the node was taken out, so that nothing may miss."""
    shared = getattr(around.file.topology.kinds, kind, None)
    found: list[Finding] = []
    at: At = (*NODES, host.name)
    made: Machine | None = None
    if kind == "netns":
        interfaces = (each for nic in host.nics.values() for each in nic.interfaces)
        sysctls = {**(shared.sysctls if shared else {}), **node.sysctls}
        made = Netns(sysctls, Routes(interfaces, at, found).resolve(node.routes))
    elif kind == "vm":
        made = _vm(node, shared, at, around, found)
    elif kind == "uplink":
        made = _uplink(host, node, shared, at, found)
    around.findings.extend(() if spoilt else found)
    if kind == "host":
        return host
    nics = {nic.name: _nic(host, nic, node, kind, around) for nic in host.nics.values()}
    return replace(host, kind=kind, nics=nics, machine=made)


def _own(node: Node, shared: Any, key: str, usual: Any) -> Any:
    """A value of the node, else of its kind, else the usual one."""
    for owner in (node, shared):
        value = getattr(owner, key, None)
        if value is not None:
            return value
    return usual


# --- NICs


def _nic(host: Host, nic: Nic, node: Node, kind: str, around: Around) -> Nic:
    own = node.interfaces.get(nic.name) or FileInterface()
    topology = around.file.topology
    at: At = (*NODES, host.name)
    said: list[tuple[int | None, At]] = [
        (own.mtu, (*at, "interfaces", nic.name, "mtu")),
        (node.mtu, (*at, "mtu")),
        (getattr(getattr(topology.kinds, kind, None), "mtu", None), ("topology", "kinds", kind, "mtu")),
        (topology.defaults.mtu, ("topology", "defaults", "mtu")),
    ]
    given, where = next(((mtu, place) for mtu, place in said if mtu), (None, at))
    carried = _carried(End(host.name, nic.name), around)
    mtu = given or max(LOWEST_MTU, min(machines.MTU, carried[1] if carried else machines.MTU))
    if kind in ("netns", "uplink", "vm"):
        around.findings.extend(_mtu(nic, mtu, bool(given), where, carried))
    if kind in machines.TAPPED and nic.name == "lo":
        what = f"the NIC lo of {quoted(host.name)} would be called like the namespace's own loopback interface"
        around.findings.append(Finding(at, what, "give it another name, such as eth0", key=True))
    if kind == "uplink" and nic.name == machines.WAY_OUT:
        what = f"the NIC {nic.name} of {quoted(host.name)} would be called like the uplink's own way out"
        around.findings.append(Finding(at, what, "give it another name, such as eth0", key=True))
    card = own.model or _own(node, topology.kinds.vm, "nic_model", machines.CARD)
    return replace(nic, mtu=mtu, model=card)


def _carried(end: End, around: Around) -> tuple[End, int] | None:
    """The port that a NIC is in, and its MTU."""
    link = around.linked.get(end)
    far = link.other(end.node) if link is not None else None
    switch = around.switches.get(far.node) if far is not None else None
    port = switch.ports.get(far.port) if switch is not None and far is not None else None
    return (far, port.settings.mtu) if port is not None and far is not None else None


def _mtu(nic: Nic, mtu: int, given: bool, at: At, carried: tuple[End, int] | None) -> Iterator[Finding]:
    if given and carried is not None and mtu > carried[1]:
        what = f"an MTU of {mtu} is more than the {carried[1]} that port {carried[0]} lets pass"
        yield Finding(at, what, "raise mtu: of the port, or lower this one")
    if mtu < IPV6_MTU and any(a.version == 6 for each in nic.interfaces for a in each.addresses):
        what = f"{nic.name} has an IPv6 address and an MTU of {mtu}, and IPv6 needs {IPV6_MTU}"
        yield Finding(at, what, f"give it {IPV6_MTU} or more, or IPv4 addresses only")


# --- virtual machines


def _vm(node: Node, shared: Any, at: At, around: Around, found: list[Finding]) -> Vm:
    image, kernel = _own(node, shared, "image", None), _own(node, shared, "kernel", None)
    initrd, append = _own(node, shared, "initrd", None), _own(node, shared, "append", None)
    said = _own(node, shared, "format", None)
    if image is None and kernel is None and not node.disks:
        fix = "add image: with a disk, or kernel: with a kernel, or disks: with a LUN"
        found.append(Finding(at, "this virtual machine has nothing to start from", fix, key=True))
    for key, needs, there in (
        ("initrd", "kernel", kernel), ("append", "kernel", kernel), ("format", "image", image),
        ("writable", "image", image),
    ):  # fmt: skip
        if getattr(node, key) is not None and there is None:
            found.append(Finding((*at, key), f"{key}: belongs to {needs}:, which is not here", f"add {needs}:", True))
    found += _disks(node, at, around)
    args = _own(node, shared, "args", ())
    for word in args:
        if word in _NOT_OURS or word.replace("--", "-", 1) in _NOT_OURS:
            what = f"{word} would take QEMU out of the lab's hands, or is said already"
            found.append(Finding((*at, "args"), what, "remove it", key=True))
    return Vm(
        image=image,
        format=(said or ("qcow2" if image.lower().endswith(".qcow2") else "raw")) if image else None,
        told=said is not None or (image or "").lower().endswith((".qcow2", ".raw")),
        writable=bool(_own(node, shared, "writable", False)) and image is not None,
        kernel=kernel,
        initrd=initrd if kernel else None,
        append=(append or "") if kernel else "",
        memory=_own(node, shared, "memory", machines.VM_MEMORY),
        cpus=_own(node, shared, "cpus", 1),
        accel=_own(node, shared, "accel", "auto"),
        machine=_own(node, shared, "machine", machines.BOARD),
        qemu=_own(node, shared, "qemu", machines.QEMU),
        args=tuple(args),
        disks=node.disks,
    )


def _disks(node: Node, at: At, around: Around) -> Iterator[Finding]:
    luns: Mapping[str, LunModel] = around.file.storage.luns
    for index, name in enumerate(node.disks):
        here = (*at, "disks", index)
        if name in node.disks[:index]:
            yield Finding(here, f"LUN {quoted(name)} is a disk of this machine twice", "remove one")
        elif name not in luns and not around.gone.has("luns", name):
            fix = f"add it to luns:, or use one of {listed(luns)}" if luns else "add it to luns: of storage:"
            yield Finding(here, f"there is no LUN {quoted(name)}", did_you_mean(name, luns, fix))


# --- uplinks


def _uplink(host: Host, node: Node, shared: Any, at: At, found: list[Finding]) -> Uplink:
    every = [address for nic in host.nics.values() for each in nic.interfaces for address in each.addresses]
    own = next((address for address in every if isinstance(address, IPv4Interface)), None)
    lease, dns = _own(node, shared, "lease", machines.LEASE_S), _own(node, shared, "dns", True)
    made = partial(Uplink, lease, dns, _own(node, shared, "host_loopback", False))
    if own is None:
        fix = "add addresses: [10.0.2.1/24]: it is the gateway of that network"
        found.append(Finding(at, f"uplink {quoted(host.name)} has no IPv4 address", fix, key=True))
        return made(("0.0.0.0", "0.0.0.0"))
    if own.network.prefixlen > 29:
        what = f"the network {own.network} of uplink {quoted(host.name)} has no room for leases"
        found.append(Finding(at, what, "give it a larger one, such as 10.0.2.1/24", key=True))
        return made((str(own.ip), str(own.ip)))
    if node.range is None:
        return made(usual_range(own.network))
    first, last = (IPv4Address(each) for each in node.range)
    if first <= own.network.network_address or last >= own.network.broadcast_address or first not in own.network:
        what = f"the range {first} to {last} is not inside the uplink's network {own.network}"
        found.append(Finding((*at, "range"), what, f"take addresses of {own.network}"))
    return made((str(first), str(last)))


def usual_range(network: IPv4Network) -> tuple[str, str]:
    """Addresses 100 to 200 of a network that has them, else the upper half of a smaller one."""
    if network.num_addresses >= 256:
        return str(network[100]), str(network[200])
    return str(network[network.num_addresses // 2]), str(network[-2])


# --- all together


def clashes(file: LabFile, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Images that one machine writes and another one uses; more machines, or more memory, than the lab may have."""
    vms = {host.name: host.machine for host in hosts.values() if isinstance(host.machine, Vm)}
    users: dict[str, str] = {}
    for writers in (True, False):
        for name, vm in vms.items():
            if vm.image is None or vm.writable != writers:
                continue
            path = posixpath.normpath(vm.image)
            first = users.setdefault(path, name) if writers else users.get(path, name)
            if first != name:
                what = f"{first} writes into {quoted(vm.image)}, and {name} uses it, too"
                yield Finding(
                    (*NODES, name), what, f"give {name} a copy of its own, or remove writable: of {first}", True
                )
    yield from _limits(file, vms)


def _limits(file: LabFile, vms: Mapping[str, Vm]) -> Iterator[Finding]:
    limits = file.limits
    at: At = ("limits", "vms") if "vms" in limits.model_fields_set else ("topology", "nodes")
    if len(vms) > limits.vms:
        what = f"{len(vms)} virtual machines are more than the {limits.vms} of limits: vms"
        yield Finding(at, what, "start fewer, or raise the limit", key=True)
    total = sum(vm.memory for vm in vms.values())
    if limits.vm_memory is not None and total > limits.vm_memory:
        what = f"the virtual machines have {sizes.about(total)} together, more than limits: vm_memory"
        yield Finding(("limits", "vm_memory"), what, "give them less, or raise the limit", key=True)


def limits_of(file: LabFile) -> Limits:
    return Limits(file.limits.vm_memory, file.limits.vms)
