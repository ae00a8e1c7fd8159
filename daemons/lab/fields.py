"""The scalar types of a lab file: names, VLANs, addresses, endpoints. Each says what is wrong with a value.

Knows: what one value may look like, and its JSON Schema. Refuses to know: the file's other values.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from . import vids
from .mistake import did_you_mean, quoted

NODE_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,30}"
PORT_NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,14}"
Z85_KEY = r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}"  # ZeroMQ RFC 32: 32 bytes are 40 characters
MAC = r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}"
SOCKET = r"(\[[0-9A-Fa-f:.]{2,39}\]|\*|[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?):([0-9]{1,5})"
NODE_RULE = "use a letter, then up to 30 letters, digits, _ or -"
QEMU_ID = r"[A-Za-z][A-Za-z0-9._-]{0,127}"  # id_wellformed() of QEMU, and a length
PORT_RULE = "use a letter, then up to 14 letters, digits, ., _ or -"


def wrong(what: str, fix: str) -> PydanticCustomError:
    """A mistake found inside pydantic that already has our words; `sentences` takes them out again."""
    return PydanticCustomError("lab", "{what}; {fix}", {"what": what, "fix": fix})


def _matching(pattern: str, what: str, rule: str) -> Callable[[Any], str]:
    compiled = re.compile(pattern)

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise wrong(f"{what} must be text, not {quoted(value)}", f"{rule}; quotes make text of anything")
        if not compiled.fullmatch(value):
            raise wrong(f"{quoted(value)} is no {what}", rule)
        return value

    return check


def _vlan_name(value: Any) -> str:
    name = _matching(NODE_NAME, "VLAN name", NODE_RULE)(value)
    if name in ("all", "none"):
        raise wrong(
            f"a VLAN cannot be called {quoted(name)}", "choose another name: 'all' and 'none' have a meaning in ports"
        )
    return name


def _vid(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(f"{quoted(value)} is no VLAN ID", "give a number from 1 to 4094")
    if not vids.is_vid(value):
        raise wrong(
            f"VLAN ID {quoted(value)} is out of range", "give a number from 1 to 4094 (802.1Q keeps 0 and 4095)"
        )
    return value


def _vlan(value: Any) -> int | str:
    if isinstance(value, str) and value.isdecimal() and len(value) <= 18:
        value = int(value)
    if isinstance(value, str):
        return _matching(NODE_NAME, "VLAN", "give a name from vlans:, or an ID from 1 to 4094")(value)
    return _vid(value)


def _native(value: Any) -> int | str:
    return "none" if value is None else _vlan(value)


def _trunk_item(value: Any) -> int | str:
    if isinstance(value, str) and re.match(r"[0-9]+ ?-", value):
        if vids.parse_range(value) is None:
            raise wrong(
                f"{quoted(value)} is no range of VLAN IDs", "write it rising, such as 10-20, between 1 and 4094"
            )
        return value
    return _vlan(value)


def _trunk(value: Any) -> Any:
    if value == "all":
        return [f"{vids.MIN_VID}-{vids.MAX_VID}"]
    if value == []:
        raise wrong("this trunk carries no VLAN", "list the VLANs that may pass, or write 'all'")
    if isinstance(value, list):
        return value
    if isinstance(value, str) and "," in value:
        raise wrong(f"{quoted(value)} is no list", f"write it as a list: [{value[:60]}]")
    if isinstance(value, int | str) and not isinstance(value, bool):
        raise wrong(f"a trunk takes 'all' or a list, not {quoted(value)}", f"write 'all' or [{str(value)[:60]}]")
    raise wrong(f"a trunk takes 'all' or a list, not {quoted(value)}", "write 'all', or a list such as [10, 20-30]")


def _address(value: Any) -> str:
    try:
        if not isinstance(value, str) or "/" not in value:
            raise ValueError
        address = ipaddress.ip_interface(value)
    except ValueError:
        raise wrong(
            f"{quoted(value)} is no IP address with a prefix length", "write it like 10.0.0.1/24 or fd00::1/64"
        ) from None
    if address.ip.is_multicast or address.ip.is_unspecified or address.ip.is_loopback:
        raise wrong(f"{quoted(value)} cannot be a host's address", "use a unicast address that is not loopback")
    net = address.network
    ends = (net.network_address, net.broadcast_address) if address.version == 4 and net.prefixlen < 31 else ()
    if address.ip in ends:
        raise wrong(
            f"{quoted(value)} is the network's own or its broadcast address", f"use a host address inside {net}"
        )
    return str(address)


def _gateway(value: Any) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise wrong(f"{quoted(value)} is no IP address", "write it without prefix length, like 10.0.0.254") from None


def _mac(value: Any) -> str:
    text = _matching(MAC, "MAC address", "write six hex pairs, like 02:00:00:00:00:01")(value).lower().replace("-", ":")
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise wrong(
            f"{quoted(value)} is no address of a single card", "the first pair must be even, like 02; not all zero"
        )
    return text


def _endpoint(value: Any) -> str:
    fix = "write node:port, like s1:eth1"
    if not isinstance(value, str) or value.count(":") != 1:
        raise wrong(f"{quoted(value)} is no endpoint", fix)
    node, port = value.split(":")
    _matching(NODE_NAME, "node name", NODE_RULE)(node)
    _matching(PORT_NAME, "port name", PORT_RULE)(port)
    return value


def _socket(value: Any) -> str:
    rule = "write host:port, like 127.0.0.1:7001 or [::1]:7001"
    text = _matching(SOCKET, "TCP address", rule)(value)
    if not 1 <= int(text.rpartition(":")[2]) <= 65535:
        raise wrong(f"the port of {quoted(text)} is out of range", "use a port from 1 to 65535")
    return text


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise wrong(f"{quoted(value)} is no absolute path", "write a path that begins with /")
    if len(value.encode()) > 107:  # sun_path has 108 bytes with its NUL (unix(7))
        raise wrong("this path is longer than the 107 bytes that a unix socket may have", "use a shorter path")
    return value


def _beside(value: Any) -> str:
    if isinstance(value, str) and value and not value.startswith("/") and value.isprintable():
        return _path(f"/{value}")[1:]
    return _path(value)


def choice(*allowed: str) -> Callable[[Any], str]:
    """A check that takes one of `allowed`, and suggests the nearest otherwise."""
    rule = f"use {' or '.join(allowed)}"

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise wrong(f"{quoted(value)} is not known here", did_you_mean(value, allowed, rule))
        return value

    return check


def number(lowest: int, highest: int, what: str) -> Callable[[Any], int]:
    """A check that takes whole numbers from `lowest` to `highest`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise wrong(f"{what} cannot be {quoted(value)}", f"give a whole number from {lowest} to {highest}")
        return value

    return check


def _text(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


def _whole(pattern: str) -> WithJsonSchema:
    return _text(pattern=f"^{pattern}$")


_VID_SCHEMA = {"type": "integer", "minimum": vids.MIN_VID, "maximum": vids.MAX_VID}
_VLAN_SCHEMA = {"anyOf": [_VID_SCHEMA, {"type": "string", "pattern": f"^({NODE_NAME}|[0-9]+)$"}]}
_ITEM_SCHEMA = {"anyOf": [*_VLAN_SCHEMA["anyOf"], {"type": "string", "pattern": "^[0-9]+ ?- ?[0-9]+$"}]}

LabName = Annotated[str, PlainValidator(_matching(NODE_NAME, "lab name", NODE_RULE)), _whole(NODE_NAME)]
NodeName = Annotated[str, PlainValidator(_matching(NODE_NAME, "node name", NODE_RULE)), _whole(NODE_NAME)]
PoolName = Annotated[str, PlainValidator(_matching(NODE_NAME, "pool name", NODE_RULE)), _whole(NODE_NAME)]
VolumeName = Annotated[str, PlainValidator(_matching(NODE_NAME, "volume name", NODE_RULE)), _whole(NODE_NAME)]
LunName = Annotated[str, PlainValidator(_matching(NODE_NAME, "LUN name", NODE_RULE)), _whole(NODE_NAME)]
PortName = Annotated[str, PlainValidator(_matching(PORT_NAME, "port name", PORT_RULE)), _whole(PORT_NAME)]
VlanName = Annotated[str, PlainValidator(_vlan_name), _whole(NODE_NAME)]
VlanId = Annotated[int, PlainValidator(_vid), WithJsonSchema(_VID_SCHEMA)]
MirrorName = Annotated[str, PlainValidator(_matching(NODE_NAME, "mirror name", NODE_RULE)), _whole(NODE_NAME)]
Vlan = Annotated[int | str, PlainValidator(_vlan), WithJsonSchema(_VLAN_SCHEMA)]
VlanKey = Annotated[int | str, PlainValidator(_vlan), _whole(f"({NODE_NAME}|[0-9]+)")]  # as the key of a mapping
Native = Annotated[int | str, PlainValidator(_native), WithJsonSchema(_VLAN_SCHEMA)]
TrunkItem = Annotated[int | str, PlainValidator(_trunk_item), WithJsonSchema(_ITEM_SCHEMA)]
Trunk = Annotated[
    list[TrunkItem],
    BeforeValidator(_trunk),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "array", "items": _ITEM_SCHEMA}]}),
]
Address = Annotated[str, PlainValidator(_address), _text(examples=["10.0.0.1/24", "fd00::1/64"])]
Gateway = Annotated[str, PlainValidator(_gateway), _text(examples=["10.0.0.254"])]
Mac = Annotated[str, PlainValidator(_mac), _whole(MAC)]
EndpointText = Annotated[str, PlainValidator(_endpoint), _whole(f"{NODE_NAME}:{PORT_NAME}")]
SocketText = Annotated[str, PlainValidator(_socket), _text(examples=["127.0.0.1:7001"])]
SocketPath = Annotated[str, PlainValidator(_path), _text(pattern="^/", maxLength=107)]
SocketBeside = Annotated[str, PlainValidator(_beside), _text(minLength=1, maxLength=107)]  # of the lab file
MonitorPath = Annotated[
    str,
    PlainValidator(lambda value: value if value == "auto" else _path(value)),
    _text(pattern="^(/|auto$)", maxLength=107),
]
QemuId = Annotated[
    str,
    PlainValidator(_matching(QEMU_ID, "id of QEMU's", "use letters, digits, - . _; begin with a letter")),
    _whole(QEMU_ID),
]
Peer = Annotated[
    str,
    PlainValidator(
        _matching(f"{NODE_NAME}|{Z85_KEY}", "peer", "give the name of a key, or a Z85 public key of 40 characters")
    ),
    _whole(f"({NODE_NAME}|{Z85_KEY})"),
]
Priority = Annotated[
    int,
    PlainValidator(number(0, 7, "a priority (PCP)")),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 7}),
]
Seconds = Annotated[
    int,
    PlainValidator(number(10, 1_000_000, "the ageing time")),  # the range of IEEE 802.1Q-2022, table 8-6
    WithJsonSchema({"type": "integer", "minimum": 10, "maximum": 1_000_000}),
]


def one_of(*allowed: str) -> tuple[PlainValidator, WithJsonSchema]:
    """What Annotated needs for a text that is one of `allowed`."""
    return PlainValidator(choice(*allowed)), WithJsonSchema({"type": "string", "enum": list(allowed)})
