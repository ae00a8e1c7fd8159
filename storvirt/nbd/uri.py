"""The address of an export as people write it: nbd://host:port/export and nbd+unix:///export?socket=/path.

Knows: the NBD URI specification (NetworkBlockDevice project, doc/uri.md), and `patience` in seconds, which is ours.
Refuses to know: TLS (nbds:), names that have to be looked up, whether anybody is there.
"""

from __future__ import annotations

import posixpath
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from storvirt.nbd.wire import MAX_STRING, PORT

SCHEMES: Final = ("nbd", "nbd+unix")
PATIENCE: Final = 5.0  # seconds without any answer, after which a server is taken for hung
_MOST_PATIENCE: Final = 600.0
_LONGEST_SOCKET: Final = 107  # bytes of sun_path without its end


class UriError(ValueError):
    """One sentence."""


class Address(NamedTuple):
    """socket: the path of a unix socket, or "" for host and port."""

    export: str
    socket: str
    host: str = ""
    port: int = PORT
    patience: float = PATIENCE

    @property
    def text(self) -> str:
        """As it is written; the same for the same export, however it was written."""
        query = {"socket": self.socket} if self.socket else {}
        if self.patience != PATIENCE:
            query["patience"] = f"{self.patience:g}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = f"nbd+unix:///{quote(self.export)}" if self.socket else f"nbd://{host}:{self.port}/{quote(self.export)}"
        return where + ("?" + urlencode(query, safe="/", quote_via=quote) if query else "")


def is_uri(text: str) -> bool:
    """Whether a member is named by a URI, good or bad, and not by a path. (No path that is meant has :// in it.)"""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.replace("+", "").isalnum()


def parse(text: str, folder: str = "/") -> Address:
    """folder: what a relative socket is relative to. Raises UriError."""
    try:
        parts = urlsplit(text)
        port, host = parts.port or PORT, parts.hostname or ""
    except ValueError as error:
        raise UriError(f"{text} is no address: {error}") from None
    if parts.scheme not in SCHEMES:
        raise UriError(
            f"{text}: a member elsewhere is written nbd://host:port/export or nbd+unix:///export?socket=/path"
        )
    export = unquote(parts.path.removeprefix("/"))
    if len(export.encode(errors="replace")) > MAX_STRING or "\0" in export:
        raise UriError(f"{text}: this is no name of an export")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    patience = _patience(text, query.pop("patience", f"{PATIENCE:g}"))
    socket = query.pop("socket", "")
    if query or parts.fragment or parts.username is not None:
        raise UriError(f"{text}: beside socket= and patience= nothing is understood here")
    if parts.scheme == "nbd":
        if socket or not host:
            raise UriError(f"{text}: nbd:// wants a host; for a unix socket write nbd+unix:///export?socket=/path")
        return Address(export, "", host, port, patience)
    if not socket or host:
        raise UriError(f"{text}: write nbd+unix:///export?socket=/path")
    socket = posixpath.normpath(posixpath.join(folder, socket))
    if len(socket.encode(errors="replace")) > _LONGEST_SOCKET or "\0" in socket:
        raise UriError(f"{text}: the path of a unix socket has at most {_LONGEST_SOCKET} bytes")
    return Address(export, socket, patience=patience)


def _patience(text: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= _MOST_PATIENCE:
        raise UriError(f"{text}: patience= is a number of seconds from 0.1 to {_MOST_PATIENCE:g}")
    return seconds
