"""Ports that are the Linux kernel's own, as they are written in a lab file: TAPs, and interfaces by name.

Knows: the keys of each kind and what one value may look like. Refuses to know: what becomes of it (`plugs`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from .fields import SocketPath, number, wrong
from .mistake import quoted

LONGEST_NAME = 15  # IFNAMSIZ without its NUL
INTERFACE = rf"[^\s/:%]{{1,{LONGEST_NAME}}}"
LARGEST_MTU = 65521  # of a TAP: 65,535 - 14
FASTEST = 4_000_000


def _interface(value: Any) -> str:
    fix = f"write an interface's name, such as tap0 or eth0: up to {LONGEST_NAME} letters and digits"
    if not isinstance(value, str):
        raise wrong(f"{quoted(value)} is no name of an interface", fix)
    bad = not value.isprintable() or any(c in "/:%" or c.isspace() for c in value) or value in ("", ".", "..")
    if bad or len(value.encode()) > LONGEST_NAME:
        raise wrong(f"{quoted(value)} is no name of an interface", fix)
    return value


def _listen(value: Any) -> Any:
    if value == "auto" or (isinstance(value, str) and value.startswith("/")):
        return value
    raise wrong(f"{quoted(value)} is no path of a socket", "write auto (one in the lab's run folder), or a path")


def _whole(low: int, high: int, what: str) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(number(low, high, what)), WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


Interface = Annotated[str, PlainValidator(_interface), WithJsonSchema({"type": "string", "pattern": f"^{INTERFACE}$"})]


class Tap(BaseModel):
    """A TAP: the host's own network stack, a container or a namespace plugs in here, with its offloads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Interface | None = Field(default=None, description="the TAP's name on this machine")
    listen: Annotated[
        SocketPath | str | None, BeforeValidator(lambda value: None if value is None else _listen(value))
    ] = Field(
        default=None, description="a unix socket where somebody hands a TAP over (vfab plug); auto: in the run folder"
    )
    create: bool = Field(
        default=True, description="make the TAP where there is none (CAP_NET_ADMIN); false: wait for it"
    )
    persistent: bool = Field(default=False, description="a TAP that was made stays when the lab is down")
    offload: bool = Field(default=True, description="take and give large frames, and frames without checksum")
    mtu: Annotated[int | None, *_whole(68, LARGEST_MTU, "an MTU")] = Field(
        default=None, description="the interface's MTU in bytes; left out: as it is (1500)"
    )
    speed: Annotated[int | None, *_whole(1, FASTEST, "a speed in Mbit/s")] = Field(
        default=None, description="what the interface tells of its speed, in Mbit/s (10000)"
    )

    @model_validator(mode="after")
    def _one(self) -> Tap:
        if (self.name is None) == (self.listen is None):
            raise wrong("a tap port has either a name or a socket", "give one of name: and listen:")
        odd = [key for key in ("mtu", "speed", "persistent", "create") if key in self.model_fields_set]
        if self.listen is not None and odd:
            raise wrong(f"{odd[0]}: is for a TAP with a name", "remove it: who hands a TAP over has set it up")
        return self


def short_tap(value: Any) -> Any:
    """`tap: tap0` and `tap: listen`."""
    if value == "listen":
        return {"listen": "auto"}
    return {"name": value} if isinstance(value, str) else value


def short_schema(schema: dict[str, Any]) -> None:
    schema["anyOf"].insert(0, {"type": "string", "pattern": f"^{INTERFACE}$"})
