"""Is this value a configuration for a pool? Looked at as a whole before anything changes.

Knows: the value of ARCHITECTURE.md: which keys there must be, and of which type. Refuses to know: the pool as it is
now, files, sockets.
"""

from __future__ import annotations

import os.path
from typing import Any, NamedTuple

from daemons.errors import UserError
from storvirt.nbd.uri import UriError, is_uri, parse


class WantedVolume(NamedTuple):
    """size, grain: bytes."""

    name: str
    size: int
    raid: str
    grain: int


class WantedLun(NamedTuple):
    """One of `path` (a unix socket) and `tcp` (host:port) is set."""

    name: str
    volume: str
    path: str | None
    tcp: str | None
    read_only: bool


class Witness(NamedTuple):
    """A commit record that was durable on all members: its number and hash; the hash may be b"", not known."""

    number: int
    digest: bytes


class Config(NamedTuple):
    """members: absolute paths, or NBD URIs; size: bytes of each, where it is made; witness: what fabricd knows."""

    epoch: int
    pool: str
    members: tuple[str, ...]
    size: int
    volumes: dict[str, WantedVolume]
    luns: dict[str, WantedLun]
    witness: Witness | None = None
    spares: tuple[str, ...] = ()
    repair_rate: int = 0  # bytes/s that jobs may deal with; 0: no limit
    spare_after: float = 10.0  # seconds for which a member may be away before a spare takes its place


def check(config: object) -> Config:
    """Raises UserError with one sentence for the first thing that is wrong."""
    if not isinstance(config, dict) or not isinstance(config.get("pool"), dict):
        raise UserError("configure needs a 'config' with a 'pool'; see ARCHITECTURE.md")
    pool = config["pool"]
    members = pool.get("members")
    if not isinstance(members, list) or not members or not all(map(_is_member, members)):
        raise UserError("a pool's 'members' is a list of absolute paths")
    if len(set(members)) < len(members):
        raise UserError("a pool's members are different files; one stands there twice")
    spares = pool.get("spares", [])
    if not isinstance(spares, list) or not all(map(_is_member, spares)) or set(spares) & set(members):
        raise UserError("a pool's 'spares' is a list of absolute paths, of other files than its members")
    after = pool.get("spare_after", 10)
    if type(after) not in (int, float) or not 0 <= after <= 1e9:
        raise UserError(f"a pool's 'spare_after' is a number of seconds, not {after!r}")
    volumes = _by_name(config, "volumes", _volume)
    luns = _by_name(config, "luns", _lun)
    for lun in luns.values():
        if lun.volume not in volumes:
            raise UserError(f"LUN {lun.name} is of volume {lun.volume!r}, which the configuration does not have")
    name = _text(pool, "name", "the pool")
    return Config(
        _number(config, "epoch", "the configuration", 0), name, tuple(members), _number(pool, "size", f"pool {name}"),
        volumes, luns, witness(config.get("witness")), tuple(spares),
        _number({"repair_rate": 0, **pool}, "repair_rate", f"pool {name}", 0), float(after),
    )  # fmt: skip


def witness(value: object) -> Witness | None:
    """Of `{"number": 7, "hash": "<64 hex digits, or none>"}`. Raises UserError."""
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(value.get("hash"), str):
        try:
            return Witness(_number(value, "number", "a pool's witness", 0), bytes.fromhex(value["hash"]))
        except ValueError:
            pass
    raise UserError("a pool's 'witness' has the 'number' and the 'hash' of a commit record")


def _is_path(value: object) -> bool:
    return isinstance(value, str) and os.path.isabs(value) and "\0" not in value


def _is_member(value: object) -> bool:
    if isinstance(value, str) and is_uri(value):
        try:
            parse(value)
        except UriError as error:
            raise UserError(str(error)) from None
        return True
    return _is_path(value)


def _by_name(config: dict[str, Any], key: str, make: Any) -> dict[str, Any]:
    rows = config.get(key, [])
    if not isinstance(rows, list):
        raise UserError(f"{key!r} is a list")
    found: dict[str, Any] = {}
    for row in rows:
        if not isinstance(row, dict):
            raise UserError(f"{row!r} under {key!r} is no object")
        made = make(row)
        if made.name in found:
            raise UserError(f"there are two {key} named {made.name}")
        found[made.name] = made
    return found


def _volume(row: dict[str, Any]) -> WantedVolume:
    name = _text(row, "name", "a volume")
    what = f"volume {name}"
    return WantedVolume(name, _number(row, "size", what), _text(row, "raid", what), _number(row, "grain", what))


def _lun(row: dict[str, Any]) -> WantedLun:
    name = _text(row, "name", "a LUN")
    path, tcp = row.get("path"), row.get("tcp")
    if (path is None) == (tcp is None):
        raise UserError(f"LUN {name} needs one of 'path' and 'tcp'")
    if path is not None and not _is_path(path):
        raise UserError(f"the 'path' of LUN {name} is no absolute path")
    if tcp is not None and (not isinstance(tcp, str) or not tcp.rpartition(":")[2].isdigit()):
        raise UserError(f"the 'tcp' of LUN {name} is no host:port")
    return WantedLun(name, _text(row, "volume", f"LUN {name}"), path, tcp, bool(row.get("read_only", False)))


def _text(row: dict[str, Any], key: str, what: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not 1 <= len(value) <= 64 or not value.isprintable():
        raise UserError(f"{what} needs a {key!r} of 1 to 64 printable characters, not {value!r}")
    return value


def _number(row: dict[str, Any], key: str, what: str, least: int = 1) -> int:
    value = row.get(key)
    if type(value) is not int or not least <= value < 1 << 63:
        raise UserError(f"{what} needs a number {key!r} from {least} on, not {value!r}")
    return value
