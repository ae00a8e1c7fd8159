"""What fabricd sends to netnsd, checked and frozen: hosts and uplinks, their NICs, the interfaces on them.

Knows: the shape of the value (ARCHITECTURE.md). Refuses to know: what runs, what an uplink's own keys mean.
Mistakes are UserErrors that say where.
"""

from __future__ import annotations

import re
import socket
from typing import Any, Final, NamedTuple, TypeVar

from daemons.errors import UserError
from netvirt.addr import MAX_PCP, MAX_VID, AddrError, mac_bytes
from netvirt.ports.errors import PortError
from netvirt.ports.tuntap import check_name
from netvirt.ports.unixpath import check_path

_OWN: Final = ("name", "nics", "sysctls", "routes")
# Those below net. are of the namespace, or are not there in it. Any other would be the machine's.
_SYSCTL: Final = re.compile(r"net(\.[A-Za-z0-9_-][A-Za-z0-9_/-]*)+")
MIN_MTU, MAX_MTU = 68, 65521  # RFC 791; what a TAP takes (tun.c: MAX_MTU)


class Network(NamedTuple):
    """An address with its prefix length; `packed` has 4 or 16 bytes."""

    packed: bytes
    prefix: int


class InterfaceConfig(NamedTuple):
    name: str
    vlan: int
    priority: int
    mtu: int
    addresses: tuple[str, ...]
    gateway: str | None


class NicConfig(NamedTuple):
    name: str
    mac: str
    mtu: int
    path: str
    interfaces: tuple[InterfaceConfig, ...]


class RouteConfig(NamedTuple):
    to: str
    via: str | None
    dev: str | None


class HostConfig(NamedTuple):
    """`kind`: "netns", or "uplink" with `more`: its keys that are its own matter."""

    name: str
    kind: str
    nics: tuple[NicConfig, ...]
    sysctls: tuple[tuple[str, str], ...]
    routes: tuple[RouteConfig, ...]
    more: dict[str, Any]

    def interfaces(self) -> list[InterfaceConfig]:
        return [interface for nic in self.nics for interface in nic.interfaces]


class Config(NamedTuple):
    lab: str
    epoch: int
    hosts: dict[str, HostConfig]


def parse_config(value: object) -> Config:
    """Raises UserError."""
    where = "netnsd's configuration"
    table = _table(value, where)
    hosts = [_host(item, "netns") for item in _list(table, "hosts", where)]
    uplinks = [_host(item, "uplink") for item in _list({"uplinks": [], **table}, "uplinks", where)]
    return Config(_text(table, "lab", where), _whole(table, "epoch", where), _named([*hosts, *uplinks], where))


def parse_address(text: str, where: str) -> bytes:
    """4 or 16 bytes. Raises UserError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    raise UserError(f"{where}: {text!r:.60} is no IP address")


def parse_network(text: str, where: str) -> Network:
    """`10.0.0.1/24`, `fd00::/64`, and `default` for nothing at all of either family. Raises UserError."""
    if text == "default":
        return Network(b"", 0)
    address, slash, length = text.partition("/")
    packed = parse_address(address, where)
    bits = 8 * len(packed)
    if not slash:
        return Network(packed, bits)
    if not length.isdigit() or len(length) > 3 or int(length) > bits:
        raise UserError(f"{where}: {text!r:.60} has no prefix length from 0 to {bits}")
    return Network(packed, int(length))


def _host(value: object, kind: str) -> HostConfig:
    table = _table(value, f"a host of kind {kind}")
    name = _text(table, "name", f"a host of kind {kind}")
    where = f"{kind} {name}"
    nics = [_nic(item, where) for item in _list(table, "nics", where)]
    _named([interface for nic in nics for interface in nic.interfaces], where)
    _named(nics, where)
    sysctls = _table(table.get("sysctls", {}), f"'sysctls' of {where}")
    routes = [_route(item, where) for item in _list({"routes": [], **table}, "routes", where)]
    more = {key: value for key, value in table.items() if key not in _OWN}
    settings = tuple(_sysctl(key, value, where) for key, value in sysctls.items())
    return HostConfig(name, kind, tuple(nics), settings, tuple(routes), more)


def _nic(value: object, where: str) -> NicConfig:
    table = _table(value, f"a NIC of {where}")
    name = _text(table, "name", f"a NIC of {where}")
    where = f"{where}, NIC {name}"
    mac, path = _text(table, "mac", where), _text(table, "path", where)
    mtu = _mtu({"mtu": 1500, **table}, where)
    try:
        check_name(name)
        check_path(path)
        group = mac_bytes(mac)[0] & 1
    except (AddrError, PortError) as error:
        raise UserError(f"{where}: {error}") from None
    if group:
        raise UserError(f"{where}: {mac} is a group address; a NIC's own has an even first byte")
    interfaces = [_interface(item, name, where) for item in _list(table, "interfaces", where)]
    return NicConfig(name, mac, mtu, path, tuple(interfaces))


def _interface(value: object, nic: str, where: str) -> InterfaceConfig:
    table = _table(value, f"an interface of {where}")
    name = _text(table, "name", f"an interface of {where}")
    where = f"{where}, interface {name}"
    vlan, priority = _whole(table, "vlan", where), _whole(table, "priority", where)
    if not 0 <= vlan <= MAX_VID or not 0 <= priority <= MAX_PCP:
        raise UserError(f"{where}: 'vlan' is a number from 0 to {MAX_VID}, 'priority' one from 0 to {MAX_PCP}")
    if (vlan == 0) != (name == nic):
        raise UserError(f"{where}: the interface without a VLAN has its NIC's name, and only that one")
    if vlan == 0 and priority:
        raise UserError(f"{where}: Linux puts a priority into the tag of a VLAN only; give the interface a VLAN")
    try:
        check_name(name)
    except PortError as error:
        raise UserError(f"{where}: {error}") from None
    addresses = tuple(_list(table, "addresses", where))
    for address in addresses:
        if not isinstance(address, str) or address == "default":
            raise UserError(f"{where}: an address is text such as 10.0.0.1/24, not {address!r:.40}")
        parse_network(address, where)
    return InterfaceConfig(name, vlan, priority, _mtu({"mtu": 0, **table}, where), addresses, _address(table, where))


def _address(table: dict[str, Any], where: str, key: str = "gateway") -> str | None:
    value = table.get(key)
    if value is not None:
        if not isinstance(value, str):
            raise UserError(f"{where}: {key!r} is an address, not {value!r:.40}")
        parse_address(value, where)
    return value


def _route(value: object, where: str) -> RouteConfig:
    table = _table(value, f"a route of {where}")
    to, dev = _text(table, "to", f"a route of {where}"), table.get("dev")
    where = f"{where}, route to {to:.60}"
    via = _address(table, where, "via")
    parse_network(to, where)
    if dev is not None and not isinstance(dev, str):
        raise UserError(f"{where}: 'dev' is an interface's name, not {dev!r:.40}")
    if via is None and (dev is None or to == "default"):
        raise UserError(f"{where}: it needs 'via', a router's address" + ("" if to == "default" else ", or 'dev'"))
    return RouteConfig(to, via, dev)


def _sysctl(key: str, value: object, where: str) -> tuple[str, str]:
    if not _SYSCTL.fullmatch(key):
        raise UserError(
            f"{where}: {key!r:.60} is no sysctl of a network namespace; those begin with net., as net.ipv4.ip_forward"
        )
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{where}: the sysctl {key} is text or a whole number, not {value!r:.40}")
    return key, str(value)


def _mtu(table: dict[str, Any], where: str) -> int:
    value = _whole(table, "mtu", where)
    if value and not MIN_MTU <= value <= MAX_MTU:
        raise UserError(f"{where}: 'mtu' is a number from {MIN_MTU} to {MAX_MTU}, not {value}")
    return value


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} must be an object, not {type(value).__name__}")
    return value


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
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


_Named = TypeVar("_Named", HostConfig, NicConfig, InterfaceConfig)


def _named(items: list[_Named], where: str) -> dict[str, _Named]:
    named = {item.name: item for item in items}
    if len(named) < len(items):
        names = [item.name for item in items]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{where}: the name {twice} is there twice")
    return named
