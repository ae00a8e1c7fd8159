"""What fabricd sends to hostd, checked and frozen: hosts, their NICs, the interfaces on them.

Knows: the shape of the value (ARCHITECTURE.md). Refuses to know: what runs. Mistakes are UserErrors that say where.
"""

from __future__ import annotations

from typing import NamedTuple

from daemons.errors import UserError
from daemons.values import items, named, table, text, whole
from netvirt.addr import AddrError, mac_bytes
from netvirt.host import DEFAULT_MTU, Host, HostError, Interface
from netvirt.ports.endpoint import parse_endpoint
from netvirt.ports.errors import PortError


class NicConfig(NamedTuple):
    name: str
    mac: str
    endpoint: str
    key_file: str | None
    interfaces: tuple[Interface, ...]


class HostConfig(NamedTuple):
    name: str
    nics: tuple[NicConfig, ...]

    def addresses(self) -> list[str]:
        """Its addresses without prefix length, in the order of the lab file."""
        found = [address for nic in self.nics for interface in nic.interfaces for address in interface.addresses]
        return [address.partition("/")[0] for address in found]


class Config(NamedTuple):
    lab: str
    epoch: int
    hosts: dict[str, HostConfig]


def parse_config(value: object) -> Config:
    """Raises UserError."""
    where = "hostd's configuration"
    row = table(value, where)
    hosts = named([_host(item) for item in items(row, "hosts", where)], where)
    return Config(text(row, "lab", where), whole(row, "epoch", where), hosts)


def _host(value: object) -> HostConfig:
    row = table(value, "a host")
    name = text(row, "name", "a host")
    where = f"host {name}"
    nics = [_nic(item, where) for item in items(row, "nics", where)]
    named(nics, where)
    return HostConfig(name, tuple(nics))


def _nic(value: object, where: str) -> NicConfig:
    row = table(value, f"a NIC of {where}")
    name = text(row, "name", f"a NIC of {where}")
    where = f"{where}, NIC {name}"
    mac, endpoint = text(row, "mac", where), text(row, "endpoint", where)
    key_file = row.get("key_file")
    if key_file is not None and not isinstance(key_file, str):
        raise UserError(f"{where}: 'key_file' must be a path or null")
    try:
        address = mac_bytes(mac)
        parse_endpoint(endpoint)
        interfaces = [_interface(item, address, where) for item in items(row, "interfaces", where)]
        named(interfaces, where)
        Host(name, interfaces)
    except (AddrError, HostError, PortError) as error:
        raise UserError(f"{where}: {error}") from None
    return NicConfig(name, mac, endpoint, key_file, tuple(interfaces))


def _interface(value: object, mac: bytes, where: str) -> Interface:
    row = table(value, f"an interface of {where}")
    name = text(row, "name", f"an interface of {where}")
    where = f"{where}, interface {name}"
    addresses = items(row, "addresses", where)
    gateway = row.get("gateway")
    if not all(isinstance(address, str) for address in addresses) or not isinstance(gateway, str | None):
        raise UserError(f"{where}: addresses and gateway must be text")
    vlan, priority = whole(row, "vlan", where), whole(row, "priority", where)
    mtu = whole({"mtu": DEFAULT_MTU, **row}, "mtu", where)
    return Interface(name, mac, vlan, priority, tuple(addresses), gateway, mtu)
