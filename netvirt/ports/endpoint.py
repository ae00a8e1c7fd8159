"""Endpoints as text: where a switch listens, and which of its ports is meant.

`ipc:///run/lab/s1.zmq#eth5`, `tcp://127.0.0.1:7001?key=<Z85 public key of the server>#eth9`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from netvirt.ports.errors import PortError

MAX_PATH = 107  # sockaddr_un.sun_path is 108 bytes with its NUL (unix(7))
# The characters of Z85 (RFC 32). '#' and '?' are among them: a key is told from what follows by its 40 characters.
Z85 = r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]"
_ENDPOINT = re.compile(rf"(ipc|tcp)://([^#?]+)(?:\?key=({Z85}{{40}}))?(?:#(.+))?")


class Endpoint(NamedTuple):
    transport: str
    address: str  # a path, or host:port
    key: str | None
    port: str

    @property
    def url(self) -> str:
        """What libzmq is given."""
        return f"{self.transport}://{self.address}"


def parse_endpoint(text: str, *, port_needed: bool = True) -> Endpoint:
    """Raises PortError with one sentence."""
    match = _ENDPOINT.fullmatch(text)
    if not match:
        raise PortError(
            f"{text!r} is no endpoint; it looks like ipc:///path/s1.zmq#eth1 or tcp://host:port?key=...#eth1"
        )
    transport, address, key, port = match.groups()
    if port_needed and not port:
        raise PortError(f"the endpoint {text!r} does not say which port; add '#' and the port's name")
    if transport == "ipc" and len(address.encode()) > MAX_PATH:
        raise PortError(f"the socket path {address} is {len(address.encode())} bytes long; the kernel takes {MAX_PATH}")
    return Endpoint(transport, address, key, port or "")
