"""Ports whose peers come over the network, as they are written in a lab file: WebSocket and VXLAN.

Knows: the keys of each kind and what one value may look like. Refuses to know: what becomes of it (`network_plugs`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from netvirt.ports.errors import PortError
from netvirt.ports.vxlan_rules import LARGEST_VNI, MOST_REMOTES, check_ends, parse_endpoint
from netvirt.ports.websocket_rules import check_origins, parse_listen

from .fields import Seconds, VlanKey, number, wrong
from .mistake import quoted


class NetworkModel(BaseModel):
    """A mapping of a lab file: `inner_tags` here is `inner-tags` there."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=lambda name: name.replace("_", "-")
    )


def _said(check: Callable[[], Any]) -> Any:
    """What a driver's own rules say, as a mistake of the file."""
    try:
        return check()
    except PortError as error:
        what, _, fix = str(error).partition("; ")
        raise wrong(what, fix) from None


def _text(value: Any, example: str) -> str:
    if not isinstance(value, str):
        raise wrong(f"{quoted(value)} is no text", f"write it like {example}")
    return value


def _end(value: Any) -> str:
    text = _text(value, "10.0.0.2 or 10.0.0.2:4789")
    _said(lambda: parse_endpoint(text))
    return text


def _at(value: Any) -> str:
    text = _text(value, "127.0.0.1:8080")
    _said(lambda: parse_listen(text, public=True))
    return text


def _origin(value: Any) -> str:
    text = _text(value, "https://example.org")
    _said(lambda: check_origins([text]))
    return text


def _remotes(value: Any) -> Any:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not value:
        raise wrong("this tunnel leads nowhere", "list the other ends under remotes:, like [10.0.0.2, 10.0.0.3]")
    return value


def _vnis(value: Any) -> Any:
    if not isinstance(value, dict) or not value:
        raise wrong("this tunnel carries no VLAN", "give each VLAN its VNI, like {10: 1010, office: 1020}")
    return value


End = Annotated[
    str, PlainValidator(_end), WithJsonSchema({"type": "string", "examples": ["10.0.0.2", "[fd00::2]:4789"]})
]
At = Annotated[str, PlainValidator(_at), WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8080"]})]
Origin = Annotated[
    str, PlainValidator(_origin), WithJsonSchema({"type": "string", "examples": ["https://example.org", "null", "*"]})
]
Vni = Annotated[
    int,
    PlainValidator(number(1, LARGEST_VNI, "a VNI")),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_VNI}),
]


class WebSocket(NetworkModel):
    """A machine in a browser (v86, JSLinux): one binary WebSocket message is one frame. Neither secret nor safe."""

    listen: At = Field(
        description="wait at this address:port for ws://address:port/NAME-OF-THE-PORT; ports of a switch may share it"
    )
    origins: list[Origin] = Field(
        default=[],
        description="pages that may connect, such as https://example.org, beside those from the address itself; 'null':"
        " pages from files; '*': any page of the Internet",
    )
    public: bool = Field(default=False, description="the address may be one that other machines reach")

    @model_validator(mode="after")
    def _here(self) -> WebSocket:
        _said(lambda: parse_listen(self.listen, self.public))
        return self


class Vxlan(NetworkModel):
    """A VXLAN tunnel end point (RFC 7348): VLANs of this port are VNIs at the remotes."""

    local: End = Field(description="our end: an IP address of this machine, with a UDP port if it is not 4789")
    remotes: Annotated[list[End], BeforeValidator(_remotes)] = Field(
        max_length=MOST_REMOTES, description="the other ends; nobody else is believed"
    )
    vnis: Annotated[dict[VlanKey, Vni], BeforeValidator(_vnis)] = Field(description="VLAN, by name or ID: its VNI")
    ageing: Seconds = Field(default=300, description="seconds after which a station behind a remote is forgotten")
    inner_tags: bool = Field(
        default=False, description="frames with a tag inside may pass (RFC 7348 clause 6.1 would drop them)"
    )

    @model_validator(mode="after")
    def _tunnel(self) -> Vxlan:
        _said(lambda: check_ends(self.local, self.remotes))
        owner: dict[int, int | str] = {}
        for vlan, vni in self.vnis.items():
            if vni in owner:
                raise wrong(f"VLANs {owner[vni]} and {vlan} have the same VNI {vni}", "give each a VNI of its own")
            owner[vni] = vlan
        return self


def short_websocket(value: Any) -> Any:
    """`websocket: 127.0.0.1:8080`."""
    return {"listen": value} if isinstance(value, str) else value


def short_schema(schema: dict[str, Any]) -> None:
    schema["anyOf"].insert(0, {"type": "string", "examples": ["127.0.0.1:8080"]})
