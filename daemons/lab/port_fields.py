"""The scalar types of a switch's and a port's settings in a lab file; each says what is wrong with a value.

Knows: what one value may look like, and its JSON Schema. Refuses to know: the file's other values, what the words mean
for a frame (`words` and netvirt.settings).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from netvirt.modes import LARGEST_LIMIT, LARGEST_MTU
from netvirt.settings import KINDS

from . import vids, words
from .fields import TrunkItem, number, one_of, wrong
from .mistake import quoted

_LARGEST_TABLE = 1 << 20  # what switchd is built for; 64 MiB of memory


def _said(read: Callable[[Any], Any]) -> PlainValidator:
    """A check that leaves the value as it is written; `read` raises ValueError("what; fix")."""

    def check(value: Any) -> Any:
        try:
            read(value)
        except ValueError as error:
            what, _, fix = str(error).partition("; ")
            raise wrong(what, fix) from None
        return value

    return PlainValidator(check)


def _yes_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong(f"{quoted(value)} is neither true nor false", "write true or false")
    return value


def _list_of(what: str, example: str) -> BeforeValidator:
    """A list, or one value of it by itself."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and "," in value:
            raise wrong(f"{quoted(value)} is no list", f"write it as a list: [{value[:60]}]")
        if isinstance(value, int | str) and not isinstance(value, bool):
            return [value]
        if not isinstance(value, list):
            raise wrong(f"{quoted(value)} is no list of {what}", f"write it like {example}")
        return value

    return BeforeValidator(check)


def _customer(value: Any) -> Any:
    if value == "untagged" or (type(value) is int and value == 0):
        return 0
    if isinstance(value, str) and "-" in value and vids.parse_range(value) is not None:
        return value
    if type(value) is int and vids.is_vid(value):
        return value
    rule = "give VLAN IDs from 1 to 4094, ranges such as 10-20, or untagged"
    raise wrong(f"{quoted(value)} is no customer VLAN", rule)


def _pair_side(value: Any) -> int:
    if type(value) is str and value.isdecimal() and len(value) <= 5:
        value = int(value)
    if type(value) is not int or not vids.is_vid(value):
        raise wrong(f"{quoted(value)} is no VLAN ID on the wire", "give a number from 1 to 4094")
    return value


def _number(low: int, high: int, what: str) -> tuple[PlainValidator, WithJsonSchema]:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return PlainValidator(number(low, high, what)), WithJsonSchema(schema)


_VLAN_LIST = {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}
_KIND = {"type": "string", "enum": list(KINDS)}

YesNo = Annotated[bool, PlainValidator(_yes_no), WithJsonSchema({"type": "boolean"})]
Vlans = Annotated[list[TrunkItem], _list_of("VLANs", "[10, office, 20-30]"), WithJsonSchema(_VLAN_LIST)]
Customers = Annotated[
    list[Annotated[int | str, PlainValidator(_customer)]],
    _list_of("customer VLANs", "[10, 20-30, untagged]"),
    WithJsonSchema(_VLAN_LIST),
]
WireVid = Annotated[int, PlainValidator(_pair_side), WithJsonSchema({"type": "string", "pattern": "^[0-9]+$"})]
Flooded = Annotated[
    list[Annotated[str, _said(words.kind)]],
    _list_of("kinds", "[unicast, multicast, broadcast]"),
    WithJsonSchema({"type": "array", "items": _KIND}),
]
StormKind = Annotated[str, _said(words.kind), WithJsonSchema(_KIND)]
Rate = Annotated[str, _said(words.rate), WithJsonSchema({"type": "string", "examples": ["1000 fps", "10 Mbit/s"]})]
TagType = Annotated[str | int, _said(words.tpid), WithJsonSchema({"enum": [*words.TPIDS, *words.TPIDS.values()]})]
ReservedName = Annotated[
    str, _said(words.address), WithJsonSchema({"type": "string", "examples": [*words.RESERVED, "all", "0e"]})
]
ReservedAction = Annotated[str, _said(words.action), WithJsonSchema({"type": "string", "enum": list(words.ACTIONS)})]
Accept = Annotated[str, *one_of("all", "tagged", "untagged")]
PriorityTags = Annotated[str, *one_of("never", "if-nonzero", "always")]
State = Annotated[str, *one_of("forwarding", "blocked", "disabled")]
OnLimit = Annotated[str, *one_of("flood", "drop", "shutdown")]
Mtu = Annotated[int, *_number(words.SMALLEST_MTU, LARGEST_MTU, "an MTU")]
MacLimit = Annotated[int, *_number(1, LARGEST_LIMIT, "a limit of MAC addresses")]
TableSize = Annotated[int, *_number(1, _LARGEST_TABLE, "the size of a MAC table")]
