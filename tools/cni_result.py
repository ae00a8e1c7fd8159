"""Results of CNI plugins: ours in the version that was asked for, and those of others, read. Pure.

Knows: what the versions of the specification have in a result. Refuses to know: where addresses come from, namespaces.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final, NamedTuple

from tools.cni_errors import DECODE, CniError

_ROUTE_KEYS: Final = {"0.4.0": ("dst", "gw"), "1.0.0": ("dst", "gw")}
_ALL_ROUTE_KEYS: Final = ("dst", "gw", "mtu", "advmss", "priority", "table", "scope")


class Addressing(NamedTuple):
    """ips: {address, gateway?}; routes: {dst, gw?, ...}; dns: as the specification has it."""

    ips: list[dict[str, Any]] = []  # noqa: RUF012 - never changed
    routes: list[dict[str, Any]] = []  # noqa: RUF012
    dns: dict[str, Any] = {}  # noqa: RUF012


def read(value: dict[str, Any]) -> Addressing:
    """What an IPAM plugin answered. Raises CniError for what is no result."""
    if not is_result(value):
        raise CniError(DECODE, "the IPAM plugin's answer is no result", str(value)[:500])
    return Addressing(value.get("ips") or [], value.get("routes") or [], value.get("dns") or {})


def is_result(value: dict[str, Any]) -> bool:
    """Whether all that we use of it is of its kind."""
    interfaces = value.get("interfaces") or []
    try:
        for row in value.get("ips") or []:
            ipaddress.ip_interface(_text(row["address"]))
            row.get("gateway") and ipaddress.ip_address(_text(row["gateway"]))
        for row in value.get("routes") or []:
            ipaddress.ip_network(_text(row["dst"]), strict=False)
            row.get("gw") and ipaddress.ip_address(_text(row["gw"]))
        named = all(isinstance(row.get("name"), str) for row in interfaces)
        lists = all(isinstance(value.get(key) or [], list) for key in ("interfaces", "ips", "routes"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return named and lists and isinstance(value.get("dns") or {}, dict)


def _text(value: object) -> str:
    """ipaddress takes numbers, too."""
    if not isinstance(value, str):
        raise TypeError
    return value


def gateway_for(route: dict[str, Any], addressing: Addressing) -> str:
    """The route's own, else that of the first address of its family that has one; "" for none."""
    if route.get("gw"):
        return str(route["gw"])
    version = ipaddress.ip_network(route["dst"], strict=False).version
    for row in addressing.ips:
        if row.get("gateway") and ipaddress.ip_interface(row["address"]).version == version:
            return str(row["gateway"])
    return ""


def network_text(destination: str) -> str:
    """A route's destination as the kernel would say it."""
    return str(ipaddress.ip_network(destination, strict=False))


def result(version: str, interface: dict[str, Any], own: Addressing, before: dict[str, Any] | None) -> dict[str, Any]:
    """interface: {name, mac, mtu, sandbox}; before: the result of the plugins before us, which ours goes on."""
    before = before or {}
    interfaces = list(before.get("interfaces") or [])
    keys = ("name", "mac", "mtu", "sandbox") if version >= "1.1.0" else ("name", "mac", "sandbox")
    ips = [_ip(version, row, len(interfaces)) for row in own.ips]
    route_keys = _ROUTE_KEYS.get(version, _ALL_ROUTE_KEYS)
    routes = [{key: row[key] for key in route_keys if row.get(key) not in (None, "")} for row in own.routes]
    return {
        "cniVersion": version,
        "interfaces": [*interfaces, {key: interface[key] for key in keys}],
        "ips": [*(before.get("ips") or []), *ips],
        "routes": [*(before.get("routes") or []), *routes],
        "dns": own.dns or before.get("dns") or {},
    }


def _ip(version: str, row: dict[str, Any], index: int) -> dict[str, Any]:
    kind = {"version": str(ipaddress.ip_interface(row["address"]).version)} if version == "0.4.0" else {}
    gateway = {"gateway": row["gateway"]} if row.get("gateway") else {}
    return {**kind, "address": row["address"], **gateway, "interface": index}


def own_part(previous: dict[str, Any], ifname: str, netns: str) -> tuple[dict[str, Any] | None, list[str]]:
    """(our interface in a result, its addresses), None where it is not in there."""
    interfaces = previous.get("interfaces") or []
    for index, each in enumerate(interfaces):
        if each.get("name") == ifname and each.get("sandbox"):
            rows = [row for row in previous.get("ips") or [] if row.get("interface", index) == index]
            return each, [row["address"] for row in rows]
    return None, []
