"""Is this value a configuration for a switch? Looked at as a whole before anything changes.

Knows: the value of ARCHITECTURE.md: which keys there must be, of which type, and what can't be true together.
Refuses to know: the switch as it is now, sockets, files.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from daemons import datagram_ports, guest_ports, linux_ports, network_ports
from daemons.errors import UserError
from netvirt.addr import check_vid, is_group, mac_bytes, mac_text
from netvirt.modes import check_mirrors, check_vlans, tables
from netvirt.ports.endpoint import parse_endpoint
from netvirt.ports.errors import PortError
from netvirt.settings import Mirror, PortSettings, VlanSettings

# What a port of each kind needs beside its VLANs.
KIND_KEYS = {
    "listen": (), "dial": ("endpoint",), "qemu": ("path", "role"), "tap": (), "packet": (),
    **datagram_ports.KIND_KEYS, **network_ports.KIND_KEYS,
}  # fmt: skip
CHECKS = linux_ports.CHECKS | datagram_ports.CHECKS | network_ports.CHECKS
QEMU_ROLES = ("dial", "listen")
LONGEST_AGEING = 1_000_000  # seconds: the largest that 802.1Q-2018 table 8-7 allows
MOST_STATIONS = 1 << 22
LAST_EPOCH = (1 << 63) - 1


class Config(NamedTuple):
    """A configuration in which everything is there: ports and their VLAN side by name, listeners by endpoint."""

    epoch: int
    ageing_s: int
    mac_limit: int
    listen: dict[str, dict[str, Any]]
    ports: dict[str, dict[str, Any]]
    settings: dict[str, PortSettings]
    vlans: VlanSettings
    mirrors: tuple[Mirror, ...]
    static: dict[tuple[int, str], str]  # (VID, MAC address) -> port


def check(config: object) -> Config:
    """Raises UserError with one sentence for the first thing that is wrong."""
    if not isinstance(config, dict) or not isinstance(config.get("ports"), list):
        raise UserError("configure needs a 'config' with a list of 'ports'; see ARCHITECTURE.md")
    listen = _listeners(config.get("listen", []))
    vlans = _vlans(config)
    transports = {parse_endpoint(endpoint, port_needed=False).transport for endpoint in listen}
    ports: dict[str, dict[str, Any]] = {}
    settings: dict[str, PortSettings] = {}
    for port in config["ports"]:
        name = _name(port, ports)
        try:
            settings[name] = _settings(port, vlans)
            _driver(port, transports)
        except KeyError as error:
            raise UserError(f"port {name} has no {error.args[0]!r} in its configuration") from None
        except (ValueError, TypeError, OverflowError, PortError) as error:
            raise UserError(f"port {name}: {error}") from None
        ports[name] = port
    return Config(
        _number(config, "epoch", 0, 0, LAST_EPOCH),
        _number(config, "ageing_s", 300, 1, LONGEST_AGEING),
        _number(config, "mac_limit", 16384, 1, MOST_STATIONS),
        listen,
        ports,
        settings,
        vlans,
        _mirrors(config, settings, vlans),
        _static(config, ports),
    )


def _vlans(config: dict[str, Any]) -> VlanSettings:
    try:
        vlans = VlanSettings.from_json(config.get("vlans_settings", {}))
        check_vlans(vlans)
    except ValueError as error:
        raise UserError(f"vlans_settings: {error}") from None
    return vlans


def _mirrors(config: dict[str, Any], ports: dict[str, PortSettings], vlans: VlanSettings) -> tuple[Mirror, ...]:
    value = config.get("mirrors", [])
    if not isinstance(value, list):
        raise UserError("'mirrors' is a list")
    try:
        mirrors = tuple(Mirror.from_json(mirror) for mirror in value)
        check_mirrors(mirrors, ports, vlans)
    except ValueError as error:
        raise UserError(f"mirrors: {error}") from None
    return mirrors


def _static(config: dict[str, Any], ports: dict[str, Any]) -> dict[tuple[int, str], str]:
    found: dict[tuple[int, str], str] = {}
    value = config.get("static", [])
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UserError("'static' is a list of stations: {vid, mac, port}")
    for row in value:
        try:
            place = (check_vid(row["vid"]), mac_text(mac_bytes(row["mac"])))
            if is_group(mac_bytes(row["mac"])):
                raise ValueError(f"{row['mac']} is not the address of one station")
        except KeyError as error:
            raise UserError(f"static: a station has no {error.args[0]!r}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"static: {error}") from None
        if row.get("port") not in ports:
            raise UserError(f"static: {place[1]} is at port {row.get('port')}, which there isn't")
        if place in found:
            raise UserError(f"static: {place[1]} in VLAN {place[0]} is given twice")
        found[place] = row["port"]
    return found


def _number(config: dict[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = config.get(key, default)
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{key} is a number from {low} to {high}, not {value!r}")
    return value


def _listeners(wanted: object) -> dict[str, dict[str, Any]]:
    if not isinstance(wanted, list):
        raise UserError("'listen' is a list of endpoints")
    found = {}
    for listen in wanted:
        if not isinstance(listen, dict) or not isinstance(listen.get("endpoint"), str):
            raise UserError(f"{listen!r} under 'listen' has no 'endpoint'")
        try:
            endpoint = parse_endpoint(listen["endpoint"], port_needed=False)
        except PortError as error:
            raise UserError(str(error)) from None
        if endpoint.transport == "tcp" and not isinstance(listen.get("key_file"), str):
            raise UserError(f"{endpoint.url} is TCP and needs CURVE: a 'key_file'")
        found[listen["endpoint"]] = listen
    return found


def _name(port: object, others: dict[str, Any]) -> str:
    name = port.get("name") if isinstance(port, dict) else None
    if not isinstance(name, str) or not 1 <= len(name) <= 80 or not name.isprintable():
        raise UserError(f"a port's name is 1 to 80 printable characters, not {name!r}")
    if name in others:
        raise UserError(f"there are two ports named {name}")
    return name


def _settings(port: dict[str, Any], vlans: VlanSettings) -> PortSettings:
    settings = PortSettings.from_json(port)
    tables(settings, vlans)  # says what can't be
    return settings


def _driver(port: dict[str, Any], transports: set[str]) -> None:
    kind, allow = port["kind"], port.get("allow", ())
    if kind not in KIND_KEYS:
        raise ValueError(f"its kind {kind!r} is none of {', '.join(KIND_KEYS)}")
    for key in KIND_KEYS[kind]:
        if not isinstance(port[key], str):
            raise ValueError(f"its {key!r} is text, not {port[key]!r}")
    if kind in CHECKS:
        CHECKS[kind](port)
    guest_ports.check_guest(port)
    if not isinstance(allow, list | tuple) or not all(isinstance(key, str) for key in allow):
        raise ValueError("its 'allow' is a list of public keys")
    if kind == "listen" and (wanted := "tcp" if allow else "ipc") not in transports:
        raise ValueError(f"it waits for its peer over {wanted}, but the switch does not listen there")
    if kind == "dial" and parse_endpoint(port["endpoint"]).transport == "tcp" and not port.get("key_file"):
        raise ValueError(f"its endpoint {port['endpoint']} is TCP and needs CURVE: a 'key_file'")
    if kind == "qemu" and port["role"] not in QEMU_ROLES:
        raise ValueError(f"its role {port['role']!r} is none of {', '.join(QEMU_ROLES)}")
