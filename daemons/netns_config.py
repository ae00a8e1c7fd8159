"""What fabricd sends to netnsd, checked and frozen: hosts and uplinks, their NICs, the interfaces on them.

Knows: the shape of the value (ARCHITECTURE.md). Refuses to know: what runs, what an uplink's own keys mean.
Mistakes are UserErrors that say where.
"""

from __future__ import annotations

import re
import socket
from typing import Any, Final, NamedTuple

from daemons.errors import UserError
from daemons.values import items, named, table, text, whole
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
    row = table(value, where)
    hosts = [_host(item, "netns") for item in items(row, "hosts", where)]
    uplinks = [_host(item, "uplink") for item in items({"uplinks": [], **row}, "uplinks", where)]
    return Config(text(row, "lab", where), whole(row, "epoch", where), named([*hosts, *uplinks], where))


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
    row = table(value, f"a host of kind {kind}")
    name = text(row, "name", f"a host of kind {kind}")
    where = f"{kind} {name}"
    nics = [_nic(item, where) for item in items(row, "nics", where)]
    named([interface for nic in nics for interface in nic.interfaces], where)
    named(nics, where)
    sysctls = table(row.get("sysctls", {}), f"'sysctls' of {where}")
    routes = [_route(item, where) for item in items({"routes": [], **row}, "routes", where)]
    more = {key: value for key, value in row.items() if key not in _OWN}
    settings = tuple(_sysctl(key, value, where) for key, value in sysctls.items())
    return HostConfig(name, kind, tuple(nics), settings, tuple(routes), more)


def _nic(value: object, where: str) -> NicConfig:
    row = table(value, f"a NIC of {where}")
    name = text(row, "name", f"a NIC of {where}")
    where = f"{where}, NIC {name}"
    mac, path = text(row, "mac", where), text(row, "path", where)
    mtu = _mtu({"mtu": 1500, **row}, where)
    try:
        check_name(name)
        check_path(path)
        group = mac_bytes(mac)[0] & 1
    except (AddrError, PortError) as error:
        raise UserError(f"{where}: {error}") from None
    if group:
        raise UserError(f"{where}: {mac} is a group address; a NIC's own has an even first byte")
    interfaces = [_interface(item, name, where) for item in items(row, "interfaces", where)]
    return NicConfig(name, mac, mtu, path, tuple(interfaces))


def _interface(value: object, nic: str, where: str) -> InterfaceConfig:
    row = table(value, f"an interface of {where}")
    name = text(row, "name", f"an interface of {where}")
    where = f"{where}, interface {name}"
    vlan, priority = whole(row, "vlan", where), whole(row, "priority", where)
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
    addresses = tuple(items(row, "addresses", where))
    for address in addresses:
        if not isinstance(address, str) or address == "default":
            raise UserError(f"{where}: an address is text such as 10.0.0.1/24, not {address!r:.40}")
        parse_network(address, where)
    return InterfaceConfig(name, vlan, priority, _mtu({"mtu": 0, **row}, where), addresses, _address(row, where))


def _address(row: dict[str, Any], where: str, key: str = "gateway") -> str | None:
    value = row.get(key)
    if value is not None:
        if not isinstance(value, str):
            raise UserError(f"{where}: {key!r} is an address, not {value!r:.40}")
        parse_address(value, where)
    return value


def _route(value: object, where: str) -> RouteConfig:
    row = table(value, f"a route of {where}")
    to, dev = text(row, "to", f"a route of {where}"), row.get("dev")
    where = f"{where}, route to {to:.60}"
    via = _address(row, where, "via")
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


def _mtu(row: dict[str, Any], where: str) -> int:
    value = whole(row, "mtu", where)
    if value and not MIN_MTU <= value <= MAX_MTU:
        raise UserError(f"{where}: 'mtu' is a number from {MIN_MTU} to {MAX_MTU}, not {value}")
    return value
