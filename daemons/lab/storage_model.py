"""The `storage:` part of a lab file as it is written: pools, volumes, LUNs.

Knows: which keys there are and what one value may look like. Refuses to know: whether names meet (`storage_rules`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from storvirt.block import BLOCK
from storvirt.nbd.uri import UriError, is_uri, parse
from storvirt.raid.layout import LEVELS, MAX_GRAIN, MIN_GRAIN, PROFILES, LayoutError, profile_named

from . import sizes
from .fields import LunName, PoolName, SocketBeside, SocketText, VolumeName, wrong
from .mistake import did_you_mean, quoted

MOST_MEMBERS = 64  # storvirt.pool.format.MAX_MEMBERS; a test holds them together
LARGEST = 1 << 50
DEFAULT_GRAIN = 32768
_SIZE_RULE = "write it like 512MiB, 1GiB or 1073741824"


def _size(value: Any) -> int:
    size = sizes.parse(value) if isinstance(value, str) else value
    if isinstance(size, bool) or not isinstance(size, int):
        raise wrong(f"{quoted(value)} is no size", _SIZE_RULE)
    if size < BLOCK or size > LARGEST:
        raise wrong(f"the size {quoted(value)} is out of range", f"give one from {BLOCK} bytes to 1 PiB")
    if size % BLOCK:
        raise wrong(
            f"the size {quoted(value)} is no multiple of 4 KiB", f"give {size // BLOCK * BLOCK} bytes, or {_SIZE_RULE}"
        )
    return size


def _grain(value: Any) -> int:
    size = sizes.parse(value) if isinstance(value, str) else value
    if isinstance(size, bool) or not isinstance(size, int):
        raise wrong(f"{quoted(value)} is no size", "write a grain like 32KiB")
    if not MIN_GRAIN <= size <= MAX_GRAIN or size & (size - 1):
        raise wrong(f"a grain cannot be {quoted(value)}", "give a power of two from 4KiB to 1MiB")
    return size


def _member(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise wrong(f"{quoted(value)} is no path of a file", "write a path, relative to the lab file or absolute")
    if is_uri(value):
        return _elsewhere(value)
    if value.endswith("/") or value.rpartition("/")[2] in (".", ".."):
        raise wrong(f"{quoted(value)} is a folder", "name a file in it")
    if len(value.encode()) > 4000 or any(len(part.encode()) > 255 for part in value.split("/")):
        raise wrong("this path is longer than a path may be", "use a shorter one")
    return value


def _elsewhere(value: str) -> str:
    try:
        parse(value)
    except UriError as error:
        rule = "write nbd://host:port/export or nbd+unix:///export?socket=/path"
        raise wrong(f"this member is no address of an NBD export ({error})", rule) from None
    return value


def _level(value: Any) -> str:
    try:
        return profile_named(value if isinstance(value, str) else "").name
    except LayoutError:
        rule = f"give one of {LEVELS}"
        raise wrong(f"{quoted(value)} is no RAID level", did_you_mean(str(value), PROFILES, rule)) from None


def _nbd(value: Any) -> Any:
    if value is True:
        return {}
    if value is False or value is None:
        raise wrong("a LUN that nobody can reach", "write nbd: true, or remove the LUN")
    return value


_SIZE_SCHEMA = {"anyOf": [{"type": "integer", "minimum": BLOCK}, {"type": "string", "pattern": f"^{sizes.PATTERN}$"}]}
Size = Annotated[int, PlainValidator(_size), WithJsonSchema(_SIZE_SCHEMA)]
Grain = Annotated[int, PlainValidator(_grain), WithJsonSchema(_SIZE_SCHEMA)]
MemberPath = Annotated[str, PlainValidator(_member), WithJsonSchema({"type": "string", "minLength": 1})]
_LEVEL_SCHEMA = {
    "anyOf": [{"enum": list(PROFILES)}, {"type": "string", "pattern": "^raid1c([3-9]|[1-5][0-9]|6[0-4])$"}]
}
Level = Annotated[str, PlainValidator(_level), WithJsonSchema(_LEVEL_SCHEMA)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=lambda name: name.replace("_", "-")
    )


class PoolModel(_Model):
    """A pool: files that together hold volumes. Missing files are made by the first `up`, sparse."""

    members: Annotated[tuple[MemberPath, ...], Field(strict=False)] = Field(
        description="the files, relative to the lab file or absolute, each on a disk of its own if it can be; or block"
        " devices; or exports elsewhere, nbd://host:port/export or nbd+unix:///export?socket=/path",
        json_schema_extra={"minItems": 1, "maxItems": MOST_MEMBERS},
    )
    size: Size = Field(description="size of each file, such as 1GiB: what it may grow to")
    spares: Annotated[tuple[MemberPath, ...], Field(strict=False)] = Field(
        default=(), description="files that are kept empty: one takes the place of a member that is lost, by itself"
    )
    repair_rate: Size | None = Field(
        default=None, description="bytes a second that rebuilds, scrubs and moves may deal with, such as 100MiB"
    )
    spare_after: Annotated[int, Field(ge=0, le=86400)] | None = Field(
        default=None, description="seconds for which a member may be away before a spare takes its place (10)"
    )

    @model_validator(mode="after")
    def _some(self) -> PoolModel:
        if not self.members:
            raise wrong("a pool without members", "list at least one file under members:")
        count = len(self.members) + len(self.spares)
        if count > MOST_MEMBERS:
            raise wrong(f"a pool has at most {MOST_MEMBERS} members, not {count}", "make two pools of them")
        return self


class VolumeModel(_Model):
    """A volume: blocks that a LUN offers. It is thin: it takes space when it is written."""

    pool: PoolName = Field(description="the pool that it lies in")
    raid: Level = Field(description=f"RAID level: {LEVELS}")
    size: Size = Field(description="size that guests see; it can grow, which those see that connect anew")
    grain: Grain = Field(default=DEFAULT_GRAIN, description="unit of mapping, a power of two from 4KiB to 1MiB (32KiB)")


class NbdModel(_Model):
    """Where a LUN is reached over NBD. Left empty: a unix socket in the lab's run folder."""

    path: SocketBeside | None = Field(
        default=None, description="a unix socket at this path, relative to the lab file or absolute"
    )
    tcp: SocketText | None = Field(
        default=None, description="TCP at this host:port; NBD has no passwords, so whoever reaches it may use it"
    )

    @model_validator(mode="after")
    def _one(self) -> NbdModel:
        if self.path is not None and self.tcp is not None:
            raise wrong("a LUN is reached by one of path: and tcp:", "remove one of the two keys")
        return self


def _short_form(schema: dict[str, Any]) -> None:
    reference = schema.pop("$ref", None) or schema.pop("allOf")[0]["$ref"]
    schema["anyOf"] = [{"const": True}, {"$ref": reference}]
    schema["default"] = True


class LunModel(_Model):
    """A LUN: a volume as a guest's disk."""

    volume: VolumeName = Field(description="the volume behind it")
    nbd: Annotated[
        NbdModel,
        BeforeValidator(_nbd),
        Field(description="true, or left out: a unix socket in the run folder; or {path: ...}, {tcp: ...}",
              json_schema_extra=_short_form),
    ] = NbdModel()  # fmt: skip
    read_only: bool = Field(default=False, description="clients may not write")


class StorageModel(_Model):
    """Pools of files, volumes in them, and LUNs that offer volumes to guests."""

    pools: dict[PoolName, PoolModel] = Field(default={}, description="pools by name")
    volumes: dict[VolumeName, VolumeModel] = Field(default={}, description="volumes by name")
    luns: dict[LunName, LunModel] = Field(default={}, description="LUNs by name")
