"""What can be in a switch port beside a link, QEMU's stream and another lab, as it is written in a lab file.

Knows: the keys of each kind and what one value may look like. Refuses to know: what becomes of it (`plugs`).
"""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from .fields import SocketPath, SocketText, number, wrong
from .mistake import quoted

LARGEST_VDE_PORT = 65535
LONGEST_VDE_FOLDER = 91  # a client's socket in it has 16 bytes more, and a path at most 107 (netvirt.ports.vde_folder)


class PeerModel(BaseModel):
    """A mapping of a lab file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _numeric(value: str) -> str:
    host = value.rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise wrong(f"{quoted(value)} is no UDP address", "write it in numbers: 127.0.0.1:5000 or [::1]:5000") from None
    return value


def _folder(value: str) -> str:
    if len(value.encode()) > LONGEST_VDE_FOLDER:
        rule = f"a VDE folder's path has at most {LONGEST_VDE_FOLDER} bytes, because sockets in it have longer ones"
        raise wrong(f"{quoted(value)} is too long", rule)
    return value


UdpAddress = Annotated[SocketText, BeforeValidator(lambda value: _numeric(value) if isinstance(value, str) else value)]
VdeFolder = Annotated[SocketPath, BeforeValidator(lambda value: _folder(value) if isinstance(value, str) else value)]
ListenFolder = Annotated[
    VdeFolder,
    WrapValidator(lambda value, check: value if value == "auto" else check(value)),
    WithJsonSchema({"type": "string", "pattern": "^(/|auto$)", "maxLength": LONGEST_VDE_FOLDER}),
]


class Udp(PeerModel):
    """Frames in UDP datagrams: VirtualBox (UDPTunnel), GNS3 and dynamips, libvirt, QEMU. Neither secret nor safe."""

    listen: UdpAddress = Field(description="here: the switch receives at this address:port")
    connect: UdpAddress = Field(description="the other side: where its datagrams come from and ours go to")

    @model_validator(mode="after")
    def _two(self) -> Udp:
        if self.listen == self.connect:
            raise wrong("listen: and connect: are one address", "connect: is the other side's")
        if self.listen.startswith("[") != self.connect.startswith("["):
            raise wrong("listen: and connect: are IPv4 and IPv6", "use two addresses of one kind")
        return self


class Vde(PeerModel):
    """VDE2: programs such as vde_plug, or QEMU's -netdev vde, plug in here; or this port plugs into a vde_switch."""

    listen: ListenFolder | None = Field(
        default=None,
        description="the folder that they plug into; several ports of a switch may share it. auto: one in the lab's run"
        " folder, for all such ports of the switch",
    )
    plug: VdeFolder | None = Field(default=None, description="the folder of a running vde_switch to plug into")
    port: Annotated[
        int | None,
        PlainValidator(number(1, LARGEST_VDE_PORT, "a VDE port number")),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_VDE_PORT}),
        Field(
            description="this port's number in the folder (left out: the digits in its name); with plug: the one to ask"
            " for"
        ),
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Vde:
        if (self.listen is None) == (self.plug is None):
            raise wrong("a vde port either listens or plugs in", "give one of listen: and plug:, with a folder")
        return self
