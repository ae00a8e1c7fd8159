"""What a runtime says to the CNI plugin: the environment and the network configuration, checked and as values.

Knows: the specification's names (CNI 1.1.0, sections 1 and 2, and its CONVENTIONS), the keys of our own. Refuses to
know: labs, namespaces, what is done with it. Whatever is wrong is a CniError with the code that the specification has.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from netvirt.addr import is_group, mac_bytes, mac_text
from netvirt.ports.errors import PortError
from netvirt.ports.tuntap import check_name
from tools.cni_errors import CONFIG, DECODE, ENVIRONMENT, UNSUPPORTED, VERSION, CniError
from tools.cni_result import is_result

SUPPORTED: Final = ("0.4.0", "1.0.0", "1.1.0")
# What each command needs, and the first version of the specification that has it.
NEEDS: Final = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "STATUS": (),
    "GC": (),
    "VERSION": (),
}
# Where labs of a user are found: runtimes run plugins in an environment of their own (Podman drops XDG_RUNTIME_DIR).
FOLDERS: Final = ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME")
SINCE: Final = {"STATUS": "1.1.0", "GC": "1.1.0"}
_CONTAINER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SMALLEST_MTU, _LARGEST_MTU = 68, 65521
VALID: Final = ("cni.dev/valid-attachments", "cni.dev/attachments")  # the second is an error of early runtimes


class Attachment(NamedTuple):
    """One interface of one container. netns: a path, "" where the container is gone."""

    container: str
    ifname: str
    netns: str = ""

    def __str__(self) -> str:
        return f"{self.ifname} of container {self.container}"


class Network(NamedTuple):
    """A network configuration. words: the port's settings as `vfab port set` takes them; ips: with prefix length.

    raw: all of it as it came, for the IPAM plugin; previous: the result of the plugins before, None for none.
    """

    version: str
    name: str
    lab: str | None
    switch: str
    words: dict[str, str]
    mtu: int
    mac: str
    ips: list[str]
    ipam: str
    dns: dict[str, Any]
    previous: dict[str, Any] | None
    raw: dict[str, Any]


def command_of(environment: Mapping[str, str]) -> str:
    command = environment.get("CNI_COMMAND", "")
    if command not in NEEDS:
        what = f"has the value {command!r}" if command else "is missing"
        raise CniError(ENVIRONMENT, f"CNI_COMMAND {what}; it is one of {', '.join(NEEDS)}")
    return command


def attachment_of(environment: Mapping[str, str], command: str) -> Attachment:
    """Of those commands that are about one interface; others have an empty one."""
    missing = [name for name in NEEDS[command] if not environment.get(name)]
    if missing:
        raise CniError(ENVIRONMENT, f"{', '.join(missing)} must be set for {command}")
    found = Attachment(*(environment.get(name, "") for name in ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS")))
    if not NEEDS[command]:
        return found
    if not _CONTAINER.fullmatch(found.container):
        raise CniError(ENVIRONMENT, f"CNI_CONTAINERID {found.container!r} is none; use letters, digits, _, . and -")
    try:
        check_name(found.ifname)
    except PortError as error:
        raise CniError(ENVIRONMENT, f"CNI_IFNAME: {error}") from None
    return found


def decoded(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CniError(DECODE, "the network configuration is no JSON", str(error)) from None
    if not isinstance(value, dict):
        raise CniError(DECODE, "the network configuration is no JSON object")
    return value


def check_version(raw: Mapping[str, Any], command: str) -> str:
    """The version to answer in."""
    version = raw.get("cniVersion", "0.1.0")  # what was meant before there was the key
    if version not in SUPPORTED or version < SINCE.get(command, ""):
        least = SINCE.get(command, SUPPORTED[0])
        what = f"cniVersion {version!r} does not go with {command}"
        raise CniError(VERSION, f"{what}; this plugin takes {least} to {SUPPORTED[-1]}", f"it supports {SUPPORTED}")
    return str(version)


def network_of(raw: dict[str, Any], command: str, arguments: str = "") -> Network:
    """arguments: CNI_ARGS."""
    version = check_version(raw, command)
    name, switch = _text(raw, "name"), _text(raw, "switch")
    if not name:
        raise CniError(CONFIG, 'the network has no name; add "name"')
    if not switch:
        raise CniError(CONFIG, 'which switch? Add "switch": the name of one of the lab')
    if raw.get("ipMasq"):
        raise CniError(UNSUPPORTED, "ipMasq true is not supported; an uplink of the lab is the way out")
    given = _arguments(arguments)
    ipam = raw.get("ipam") or {}
    if not isinstance(ipam, dict) or not isinstance(ipam.get("type", ""), str) or "/" in ipam.get("type", ""):
        raise CniError(CONFIG, 'ipam is an object with a "type": the name of a plugin')
    previous = raw.get("prevResult")
    if previous is not None and not (isinstance(previous, dict) and is_result(previous)):
        raise CniError(CONFIG, "prevResult is no result of a plugin")
    return Network(
        version, name, _text(raw, "lab") or None, switch, _words(raw), _mtu(raw), _mac(raw, given),
        [] if ipam.get("type") else _ips(raw, given), ipam.get("type", ""), _object(raw, "dns"), previous, raw,
    )  # fmt: skip


def folders_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """What the key `environment` says of our own environment."""
    given = _object(raw, "environment")
    for key, value in given.items():
        if key not in FOLDERS or not isinstance(value, str) or not value.startswith("/"):
            raise CniError(CONFIG, f"environment has folders for {', '.join(FOLDERS)}, and not {key}={value}")
    return dict(given)


def valid_attachments(raw: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Of GC. A list that is not there is no empty one: it would cut off everybody."""
    rows = next((raw[key] for key in VALID if key in raw), None)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CniError(CONFIG, f"GC needs {VALID[0]}: a list of containerID and ifname")
    return {(str(row.get("containerID", "")), str(row.get("ifname", ""))) for row in rows}


def _words(raw: Mapping[str, Any]) -> dict[str, str]:
    vlan, trunk = raw.get("vlan"), raw.get("trunk")
    if vlan is not None and trunk is not None:
        raise CniError(CONFIG, "a port has vlan or trunk, and this network has both; remove one")
    native = {"native": _vlan(raw["native"], "native")} if raw.get("native") is not None else {}
    if trunk is None:
        if native:
            raise CniError(CONFIG, "native belongs to trunk; remove it, or add trunk")
        return {} if vlan is None else {"access": _vlan(vlan, "vlan")}
    items = trunk if isinstance(trunk, list) else [trunk]
    return {"trunk": ",".join(_vlan(item, "trunk") for item in items), **native}


def _vlan(value: object, key: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value):
        raise CniError(CONFIG, f"{key} {value!r} is no VLAN; give a name or a number of the lab")
    return str(value)


def _mtu(raw: Mapping[str, Any]) -> int:
    mtu = raw.get("mtu") or 0
    if type(mtu) is not int or (mtu and not _SMALLEST_MTU <= mtu <= _LARGEST_MTU):
        raise CniError(CONFIG, f"mtu {mtu!r} is none; give a number from {_SMALLEST_MTU} to {_LARGEST_MTU}")
    return mtu


def _mac(raw: Mapping[str, Any], arguments: Mapping[str, str]) -> str:
    """The first that is said, from the most special to the most general place; "" for any."""
    places = (
        _object(raw, "runtimeConfig").get("mac"),
        _for_plugins(raw).get("mac"),
        arguments.get("MAC"),
        raw.get("mac"),
    )
    text = next((each for each in places if each), "")
    if not text:
        return ""
    try:
        mac = mac_bytes(text)
    except (ValueError, TypeError, AttributeError):
        raise CniError(CONFIG, f"mac {text!r} is no MAC address") from None
    if is_group(mac) or not any(mac):
        raise CniError(CONFIG, f"mac {text!r} is not the address of one interface")
    return mac_text(mac)


def _ips(raw: Mapping[str, Any], arguments: Mapping[str, str]) -> list[str]:
    places = (_object(raw, "runtimeConfig").get("ips"), _for_plugins(raw).get("ips"))
    rows = next((each for each in places if each), None) or [
        each for each in arguments.get("IP", "").split(",") if each
    ]
    if not isinstance(rows, list):
        raise CniError(CONFIG, "ips is no list of addresses")
    try:
        if not all("/" in row for row in rows):
            raise ValueError
        return [str(ipaddress.ip_interface(row)) for row in rows]
    except (ValueError, TypeError):
        what = "an address without ipam has its prefix length with it, such as 10.0.0.5/24"
        raise CniError(CONFIG, f"{what}; this is {json.dumps(rows)}") from None


def _for_plugins(raw: Mapping[str, Any]) -> dict[str, Any]:
    return _object(_object(raw, "args"), "cni")


def _object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        raise CniError(CONFIG, f"{key} is no object")
    return value


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key) or ""
    if not isinstance(value, str):
        raise CniError(CONFIG, f"{key} {value!r} is no text")
    return value


def _arguments(text: str) -> dict[str, str]:
    """CNI_ARGS: KEY=VALUE;KEY=VALUE. What we don't know is for others."""
    pairs = [part.partition("=") for part in text.split(";") if part]
    if not all(equals for _, equals, _ in pairs):
        raise CniError(ENVIRONMENT, f"CNI_ARGS {text!r} is not KEY=VALUE;KEY=VALUE")
    return {key: value for key, _, value in pairs}
