"""The machines of a lab -> what fabricd sends to its netnsd and its vmd.

Knows: the two values of `configure` (ARCHITECTURE.md), where a NIC and its port meet. Refuses to know: where files
and sockets are (`MachinePlaces` is asked), processes.
"""

from __future__ import annotations

from typing import Any, Protocol

from .lab import End, Host, Lab, Nic
from .machines import TAPPED, Netns, Uplink, Vm

Config = dict[str, Any]


class SomePlaces(Protocol):
    """What is asked for the place where a NIC and its port meet."""

    def qemu_path(self, node: str, port: str) -> str:
        """The unix socket of a port, or of a machine's NIC, where QEMU speaks."""
        ...

    def run_file(self, name: str) -> str:
        """The path of a file of that name in the run folder."""
        ...


class MachinePlaces(SomePlaces, Protocol):
    """Where things are; fabricd has one, and the planner only asks."""

    def nbd_path(self, pool: str, lun: str) -> str:
        """The unix socket of a LUN that the file gives no address for."""
        ...

    def file(self, path: str) -> str:
        """The absolute path of a file that the lab file names."""
        ...

    def console_log(self, machine: str) -> str:
        """The file in which a machine's console is kept."""
        ...


def nic_path(lab: Lab, nic: End, port: End, places: SomePlaces) -> str:
    """The unix socket between a machine's NIC and its port: of the switch for a TAP, of QEMU for a virtual machine."""
    if lab.hosts[nic.node].kind in TAPPED:
        return places.run_file(f"{port.node}-{port.port}.tap")
    return places.qemu_path(*nic)


def monitor_path(nic: End, places: SomePlaces) -> str:
    """Where QEMU serves the monitor by which the switch pulls that card's cable."""
    return places.run_file(f"{nic.node}-{nic.port}.qmp")


def netns_config(lab: Lab, places: MachinePlaces, epoch: int) -> Config:
    """What `configure` carries to the lab's netnsd."""
    hosts = []
    for host in lab.of_kind("netns"):
        assert isinstance(host.machine, Netns)
        hosts.append(
            {
                "name": host.name,
                "sysctls": host.machine.sysctls,
                "routes": [{"to": each.to, "via": each.via, "dev": each.dev} for each in host.machine.routes],
                "nics": _tapped(lab, host, places),
            }
        )
    uplinks = []
    for host in lab.of_kind("uplink"):
        assert isinstance(host.machine, Uplink)
        uplinks.append(
            {
                "name": host.name,
                "lease_s": host.machine.lease_s,
                "dns": host.machine.dns,
                "host_loopback": host.machine.host_loopback,
                "ipv4_range": list(host.machine.ipv4_range),
                "nics": _tapped(lab, host, places),
            }
        )
    return {"lab": lab.name, "epoch": epoch, "hosts": hosts, "uplinks": uplinks}


def _tapped(lab: Lab, host: Host, places: MachinePlaces) -> list[Config]:
    return [
        {"name": nic.name, "mac": nic.mac, "mtu": nic.mtu, "path": path, "interfaces": interface_rows(nic)}
        for nic, path in _plugged(lab, host, places)
    ]


def _plugged(lab: Lab, host: Host, places: MachinePlaces) -> list[tuple[Nic, str]]:
    """The NICs with a cable, and where each meets its port."""
    ends = {near: port for _, near, port in lab.nic_links() if near.node == host.name}
    cabled = [(nic, End(host.name, nic.name)) for nic in host.nics.values()]
    return [(nic, nic_path(lab, near, ends[near], places)) for nic, near in cabled if near in ends]


def interface_rows(nic: Nic) -> list[Config]:
    """The interfaces of a NIC, as hostd and netnsd are told of them."""
    return [
        {
            "name": interface.name,
            "vlan": interface.vlan,
            "priority": interface.priority,
            "addresses": [str(address) for address in interface.addresses],
            "gateway": interface.gateway,
        }
        for interface in nic.interfaces
    ]


def vm_config(lab: Lab, places: MachinePlaces, epoch: int) -> Config:
    """What `configure` carries to the lab's vmd."""
    return {"lab": lab.name, "epoch": epoch, "machines": [_vm(lab, host, places) for host in lab.of_kind("vm")]}


def _vm(lab: Lab, host: Host, places: MachinePlaces) -> Config:
    vm = host.machine
    assert isinstance(vm, Vm)
    return {
        "name": host.name,
        "memory": vm.memory,
        "cpus": vm.cpus,
        "accel": vm.accel,
        "image": _file(vm.image, places),
        "image_format": vm.format,
        "writable": vm.writable,
        "kernel": _file(vm.kernel, places),
        "initrd": _file(vm.initrd, places),
        "append": vm.append,
        "args": list(vm.args),
        "qemu": vm.qemu,
        "machine": vm.machine,
        "nics": [
            {
                "name": nic.name,
                "mac": nic.mac,
                "model": nic.model,
                "path": path,
                "mtu": nic.mtu,
                "qmp": monitor_path(End(host.name, nic.name), places),
                "interfaces": interface_rows(nic),  # what the guest is expected to set up, for those who ping it
            }
            for nic, path in _plugged(lab, host, places)
        ],
        "disks": [_disk(lab, name, places) for name in vm.disks],
        "console": places.run_file(f"{host.name}.console"),
        "qmp": places.run_file(f"{host.name}.qmp"),
        "log": places.console_log(host.name),
    }


def _file(path: str | None, places: MachinePlaces) -> str | None:
    return None if path is None else places.file(path)


def _disk(lab: Lab, name: str, places: MachinePlaces) -> Config:
    lun = lab.storage.luns[name]
    pool = lab.storage.volumes[lun.volume].pool
    path = None
    if lun.tcp is None:
        path = places.file(lun.path) if lun.path is not None else places.nbd_path(pool, name)
    return {"lun": name, "path": path, "tcp": lun.tcp, "export": name, "read_only": lun.read_only}
