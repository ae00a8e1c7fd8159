"""Who may come in over a WebSocket, and to which port: addresses, paths and origins, as text.

Knows: what `listen:` and `origins:` may be, which pages a browser may connect from, how a path names a port. Pure.
Refuses to know: sockets, frames, RFC 6455 itself (wsproto does it); so a configuration is checked without that library.

Why pages are asked where they are from: a browser lets any page of the Internet open a WebSocket to this machine
(cross-site WebSocket hijacking), and a page can give its own name our address (DNS rebinding). It can't lie about its
Origin. So an Origin is held against the address that was connected to, never against the Host header, which the page
chooses. A program that is no browser sends no Origin, and on loopback it runs on this machine anyway.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from netvirt.ports.errors import PortError

ANY: Final = "*"
_OPAQUE: Final = "null"  # what a page from a file, or in a sandbox, is from
_LOCALHOST: Final = "localhost"
_LONGEST_SHOWN: Final = 80


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str, public: bool = False) -> Address:
    """`127.0.0.1:8080`, `localhost:8080`, `[::1]:8080`; public: addresses that others reach, too. Raises PortError."""
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == _LOCALHOST else host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
        if not (port.isascii() and port.isdecimal()) or not 1 <= int(port) <= 65535:
            raise ValueError
    except ValueError:
        what = f"{text!r} is no address to listen at"
        raise PortError(f"{what}; write it in numbers, like 127.0.0.1:8080 or [::1]:8080") from None
    if not address.is_loopback and not public:
        why = "a WebSocket port has neither keys nor encryption"
        raise PortError(f"{text} can be reached from other machines, and {why}; say public: true if you want that")
    return Address(str(address), int(port))


def check_origins(origins: Iterable[str]) -> tuple[str, ...]:
    """The list as it is compared: lower case, without a slash at the end. Raises PortError."""
    found = []
    for origin in origins:
        plain = origin.lower().removesuffix("/")
        if plain not in (ANY, _OPAQUE) and _host(plain) is None:
            raise PortError(f"{origin!r} is no origin; write it like https://example.org, or http://localhost:8000")
        found.append(plain)
    return tuple(found)


def refusal(origin: str | None, address: str, origins: Sequence[str]) -> str:
    """ "" if a client may come in, else the one sentence that it is told.

    origin: the header, None without one; address: our own end of the connection; origins: as check_origins gave them.
    """
    if origin is None or ANY in origins:
        return ""
    plain = origin.lower().removesuffix("/")
    if plain in origins or (plain != _OPAQUE and _is_here(_host(plain), address)):
        return ""
    shown = "".join(each for each in origin[:_LONGEST_SHOWN] if each.isprintable())
    return f"pages from {shown} may not use this port; if they should, add that to its origins: in the lab file"


def _host(origin: str) -> str | None:
    """The host in `scheme://host:port`, or None."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    bare = not parts.path and not parts.query and not parts.fragment and "@" not in parts.netloc and port != 0
    return parts.hostname if parts.scheme and bare else None


def _is_here(host: str | None, address: str) -> bool:
    """Is the page from the very address that it connects to?"""
    if host is None:
        return False
    loopback = ipaddress.ip_address(address).is_loopback
    if host == _LOCALHOST or host.endswith(f".{_LOCALHOST}"):
        return loopback
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name, whoever it belongs to
    return literal == ipaddress.ip_address(address) or (loopback and literal.is_loopback)


def port_in(target: str) -> str:
    """The port's name in a request's target: `/eth5`; "" for `/`."""
    return unquote(target.partition("?")[0]).strip("/")


def url(address: Address, port: str) -> str:
    """What to connect to, for `port` behind `address`."""
    return f"ws://{address}/{quote(port, safe='')}"
