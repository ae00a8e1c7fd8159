"""What a lab's machines may be on purpose but mostly are not: warnings.

Knows: disks that two machines write, addresses that an uplink leases. Refuses to know: mistakes (`machine_rules`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from .domains import Domain, Member
from .lab import Lab
from .machines import Uplink, Vm
from .mistake import NODES, At, Finding, quoted


def oddities(lab: Lab, domains: Iterable[Domain]) -> Iterator[Finding]:
    yield from _writers(lab)
    for domain in domains:
        for member in domain.members:
            machine = lab.hosts[member.host].machine
            if isinstance(machine, Uplink):
                yield from _leased(member, machine, domain)


def _writers(lab: Lab) -> Iterator[Finding]:
    writers: dict[str, tuple[str, str]] = {}
    for host in lab.hosts.values():
        for index, name in enumerate(host.machine.disks if isinstance(host.machine, Vm) else ()):
            lun = lab.storage.luns[name]
            if lun.read_only:
                continue
            first, through = writers.setdefault(lun.volume, (host.name, name))
            if first != host.name and through == name:  # of two LUNs the storage has said it
                what = f"{first} and {host.name} both write to volume {quoted(lun.volume)}"
                fix = "give each a volume of its own, unless they share a cluster file system"
                yield Finding((*NODES, host.name, "disks", index), what, fix)


def _leased(uplink: Member, machine: Uplink, domain: Domain) -> Iterator[Finding]:
    first, last = map(IPv4Address, machine.ipv4_range)
    for member in domain.members:
        for index, address in enumerate(member.interface.addresses):
            if member.host == uplink.host or not isinstance(address.ip, IPv4Address):
                continue
            if first <= address.ip <= last:
                at: At = (*NODES, member.host, "interfaces", member.interface.name, "addresses", index)
                what = f"{address.ip} of {member} is one of the addresses that {uplink.host} leases"
                fix = f"use one outside {first} to {last}, or give {uplink.host} another range:"
                yield Finding(at, what, fix)
