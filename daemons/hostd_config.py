"""What fabricd sends to hostd, checked and frozen: hosts, their NICs, the interfaces on them.

Knows: the shape of the value (ARCHITECTURE.md). Refuses to know: what runs. Mistakes are UserErrors that say where.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from daemons.errors import UserError
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
    table = _table(value, where)
    hosts = _named([_host(item) for item in _list(table, "hosts", where)], where)
    return Config(_text(table, "lab", where), _whole(table, "epoch", where), hosts)


def _host(value: object) -> HostConfig:
    table = _table(value, "a host")
    name = _text(table, "name", "a host")
    where = f"host {name}"
    nics = [_nic(item, where) for item in _list(table, "nics", where)]
    _named(nics, where)
    return HostConfig(name, tuple(nics))


def _nic(value: object, where: str) -> NicConfig:
    table = _table(value, f"a NIC of {where}")
    name = _text(table, "name", f"a NIC of {where}")
    where = f"{where}, NIC {name}"
    mac, endpoint = _text(table, "mac", where), _text(table, "endpoint", where)
    key_file = table.get("key_file")
    if key_file is not None and not isinstance(key_file, str):
        raise UserError(f"{where}: 'key_file' must be a path or null")
    try:
        address = mac_bytes(mac)
        parse_endpoint(endpoint)
        interfaces = [_interface(item, address, where) for item in _list(table, "interfaces", where)]
        _named(interfaces, where)
        Host(name, interfaces)
    except (AddrError, HostError, PortError) as error:
        raise UserError(f"{where}: {error}") from None
    return NicConfig(name, mac, endpoint, key_file, tuple(interfaces))


def _interface(value: object, mac: bytes, where: str) -> Interface:
    table = _table(value, f"an interface of {where}")
    name = _text(table, "name", f"an interface of {where}")
    where = f"{where}, interface {name}"
    addresses = _list(table, "addresses", where)
    gateway = table.get("gateway")
    if not all(isinstance(address, str) for address in addresses) or not isinstance(gateway, str | None):
        raise UserError(f"{where}: addresses and gateway must be text")
    vlan, priority = _whole(table, "vlan", where), _whole(table, "priority", where)
    mtu = _whole({"mtu": DEFAULT_MTU, **table}, "mtu", where)
    return Interface(name, mac, vlan, priority, tuple(addresses), gateway, mtu)


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} must be an object, not {type(value).__name__}")
    return value


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise UserError(f"{where} needs a {key!r}, which is text")
    return value


def _whole(table: dict[str, Any], key: str, where: str) -> int:
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{where} needs a {key!r}, which is a whole number")
    return value


def _list(table: dict[str, Any], key: str, where: str) -> list[Any]:
    value = table.get(key)
    if not isinstance(value, list):
        raise UserError(f"{where} needs a list of {key!r}")
    return value


_Named = TypeVar("_Named", HostConfig, NicConfig, Interface)


def _named(items: list[_Named], where: str) -> dict[str, _Named]:
    named = {item.name: item for item in items}
    if len(named) < len(items):
        names = [item.name for item in items]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{where}: the name {twice} is there twice")
    return named
