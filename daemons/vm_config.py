"""What fabricd sends to vmd, checked and frozen: virtual machines, their cards and disks.

Knows: the shape of the value (ARCHITECTURE.md), what QEMU takes as a name. Refuses to know: what runs, which files are
there. Mistakes are UserErrors that say where.
"""

from __future__ import annotations

import os.path
import re
from typing import Any, NamedTuple

from daemons.errors import UserError
from daemons.values import named, table
from netvirt.addr import AddrError, mac_bytes

ACCELS = ("auto", "kvm", "tcg")
FORMATS = ("qcow2", "raw")
MIB = 1 << 20
MOST_MEMORY = 16 << 40
MOST_CPUS = 255  # QEMU's limit for q35 without an IOMMU for interrupts
MOST_MACHINES = 1000
_MOST_ROWS = 64  # cards, disks: each is a PCI device of the machine
_MOST_WORDS = 1000
_LONGEST = 4096
# id_wellformed() of QEMU; a node's name is in file names, too.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")


class NicConfig(NamedTuple):
    """A card. Its netdev has the card's name as id. path: where QEMU listens for the switch; qmp: a monitor of the
    switch's own, by which it pulls the cable (netvirt/ports/qmp.py), or None.
    """

    name: str
    mac: str
    model: str
    path: str
    mtu: int
    qmp: str | None


class DiskConfig(NamedTuple):
    """A LUN as a disk: one of `path` (unix socket) and `tcp` (host:port) is set."""

    lun: str
    path: str | None
    tcp: str | None
    export: str
    read_only: bool


class MachineConfig(NamedTuple):
    """memory: bytes. raw: the value as it came, without what is the guest's own, for comparing what changed."""

    name: str
    memory: int
    cpus: int
    accel: str
    image: str | None
    image_format: str | None
    writable: bool
    kernel: str | None
    initrd: str | None
    append: str
    args: tuple[str, ...]
    qemu: str
    machine: str
    nics: tuple[NicConfig, ...]
    disks: tuple[DiskConfig, ...]
    console: str
    qmp: str
    log: str
    raw: dict[str, Any]


class Config(NamedTuple):
    lab: str
    epoch: int
    machines: dict[str, MachineConfig]


def parse_config(value: object) -> Config:
    """Raises UserError."""
    where = "vmd's configuration"
    row = table(value, where)
    machines = [_machine(each, "a machine") for each in _list(row, "machines", where, MOST_MACHINES)]
    return Config(_text(row, "lab", where), _whole(row, "epoch", where, 0, 1 << 62), named(machines, where))


def _machine(value: object, where: str) -> MachineConfig:
    row = table(value, where)
    name = _match(row, "name", where, _NAME)
    where = f"machine {name}"
    image, kernel = _path(row, "image", where), _path(row, "kernel", where)
    nics = named([_nic(nic, f"a card of {where}") for nic in _list(row, "nics", where, _MOST_ROWS)], where)
    words = _list(row, "args", where, _MOST_WORDS)
    if not all(isinstance(word, str) and "\0" not in word and len(word) <= _LONGEST for word in words):
        raise UserError(f"{where}: its 'args' are words of text")
    return MachineConfig(
        name,
        _whole(row, "memory", where, MIB, MOST_MEMORY),
        _whole(row, "cpus", where, 1, MOST_CPUS),
        _one_of(row, "accel", where, ACCELS),
        image,
        _one_of(row, "image_format", where, FORMATS) if row.get("image_format") is not None else None,
        _flag(row, "writable", where),
        kernel,
        _path(row, "initrd", where),
        _text(row, "append", where),
        tuple(words),
        _text(row, "qemu", where, 1),
        _match(row, "machine", where, _ID),
        tuple(nics.values()),
        tuple(_disk(disk, f"a disk of {where}") for disk in _list(row, "disks", where, _MOST_ROWS)),
        _need_path(row, "console", where),
        _need_path(row, "qmp", where),
        _need_path(row, "log", where),
        {**row, "nics": [_ours(nic) for nic in row["nics"]]},
    )


def _nic(value: object, where: str) -> NicConfig:
    row = table(value, where)
    name = _match(row, "name", where, _ID)
    where = f"{where}, {name}"
    mac = _text(row, "mac", where)
    try:
        mac_bytes(mac)
    except AddrError as error:
        raise UserError(f"{where}: {error}") from None
    model, path = _match(row, "model", where, _ID), _need_path(row, "path", where)
    mtu = _whole({"mtu": 1500, **row}, "mtu", where, 68, 65535)
    return NicConfig(name, mac, model, path, mtu, _path(row, "qmp", where))


def _ours(nic: dict[str, Any]) -> dict[str, Any]:
    """Without the addresses, which are the guest's business: a change of theirs starts nothing anew."""
    return {key: value for key, value in nic.items() if key != "interfaces"}


def _disk(value: object, where: str) -> DiskConfig:
    row = table(value, where)
    lun = _text(row, "lun", where, 1)
    where = f"{where}, {lun}"
    path, tcp = _path(row, "path", where), row.get("tcp")
    if (path is None) == (tcp is None):
        raise UserError(f"{where} needs one of 'path' and 'tcp'")
    if tcp is not None and not (isinstance(tcp, str) and tcp.isprintable() and _port(tcp)):
        raise UserError(f"{where}: 'tcp' is host:port, not {tcp!r}")
    return DiskConfig(lun, path, tcp, _text(row, "export", where), _flag(row, "read_only", where))


def _port(tcp: str) -> bool:
    host, _, port = tcp.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16


# --- the types of JSON


def _text(row: dict[str, Any], key: str, where: str, least: int = 0) -> str:
    value = row.get(key)
    # A line break or a NUL has no place in QEMU's arguments, and none in a terminal.
    if not isinstance(value, str) or not least <= len(value) <= _LONGEST or not value.isprintable():
        raise UserError(f"{where} needs a {key!r}, which is printable text of up to {_LONGEST} characters")
    return value


def _match(row: dict[str, Any], key: str, where: str, pattern: re.Pattern[str]) -> str:
    value = _text(row, key, where, 1)
    if not pattern.fullmatch(value):
        raise UserError(f"{where}: {value!r} is no {key!r}; use letters, digits, - . _")
    return value


def _whole(row: dict[str, Any], key: str, where: str, least: int, most: int) -> int:
    value = row.get(key)
    if type(value) is not int or not least <= value <= most:
        raise UserError(f"{where} needs a {key!r}, which is a whole number from {least} to {most}")
    return value


def _flag(row: dict[str, Any], key: str, where: str) -> bool:
    value = row.get(key, False)
    if not isinstance(value, bool):
        raise UserError(f"{where}: {key!r} is true or false")
    return value


def _one_of(row: dict[str, Any], key: str, where: str, words: tuple[str, ...]) -> str:
    value = row.get(key)
    if not isinstance(value, str) or value not in words:
        raise UserError(f"{where}: {key!r} is one of {', '.join(words)}")
    return value


def _path(row: dict[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not os.path.isabs(value) or len(value) > _LONGEST or not value.isprintable():
        raise UserError(f"{where}: {key!r} is an absolute path")
    return value


def _need_path(row: dict[str, Any], key: str, where: str) -> str:
    value = _path(row, key, where)
    if value is None:
        raise UserError(f"{where} needs a {key!r}, which is an absolute path")
    return value


def _list(row: dict[str, Any], key: str, where: str, most: int) -> list[Any]:
    value = row.get(key)
    if not isinstance(value, list) or len(value) > most:
        raise UserError(f"{where} needs a list of {key!r}, of up to {most}")
    return value
