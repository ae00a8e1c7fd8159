"""The scalar types of machines in a lab file: sysctls, routes, memory, files, names of cards; each says what is wrong.

Knows: what one value may look like, and its JSON Schema. Refuses to know: the file's other values, what is on disk.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from . import sizes
from .fields import number, one_of, wrong
from .mistake import quoted

# The kernel takes both ways of writing; here dots part a name, and a slash is a dot in an interface's name (sysctl(8)).
SYSCTL: Final = r"net(\.[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)+"
LOWEST_MTU, HIGHEST_MTU = 68, 9216  # RFC 791: every IPv4 network carries 68 bytes; a switch's ports carry 9216
LEAST_MEMORY, MOST_MEMORY = 4 << 20, 16 << 40
MOST_CPUS: Final = 255  # QEMU's limit for q35 without an IOMMU for interrupts
MOST_LEASE: Final = 0xFFFFFFFE  # RFC 2131: seconds in 32 bits; all ones are "for ever"
MOST_VMS: Final = 1000
CARD: Final = r"[A-Za-z][A-Za-z0-9_.-]{0,39}"
PROGRAM: Final = r"/?[A-Za-z0-9_][A-Za-z0-9_+./-]{0,199}"
_MEMORY_RULE = "write it like 256MiB, 1GiB or 268435456"


def _whole(low: int, high: int, what: str) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(number(low, high, what)), WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


def _sysctl(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("net."):
        fix = "only names that begin with net. belong to a network namespace, all others to the whole machine"
        raise wrong(f"{quoted(value)} is no sysctl of a namespace", fix)
    if not re.fullmatch(SYSCTL, value) or len(value) > 200:
        raise wrong(f"{quoted(value)} is no name of a sysctl", "write it like net.ipv4.ip_forward")
    return value


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        raise wrong(f"a sysctl cannot be {quoted(value)}", "write 1 for on, 0 for off")
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > 200:
        raise wrong(f"a sysctl cannot be {quoted(value)}", 'give a number, or a text such as "4096 87380 6291456"')
    return value


def _to(value: Any) -> str:
    if value == "default":
        return "default"
    try:
        if not isinstance(value, str):
            raise ValueError
        given = ipaddress.ip_interface(value)
    except ValueError:
        raise wrong(f"{quoted(value)} is no network", "write it like 10.1.0.0/16, or default") from None
    if given.ip != given.network.network_address:
        raise wrong(f"{quoted(value)} is an address in a network", f"write the network, {given.network}")
    return str(given.network)


def _memory(value: Any) -> int:
    size = sizes.parse(value) if isinstance(value, str) else value
    if isinstance(size, bool) or not isinstance(size, int):
        raise wrong(f"{quoted(value)} is no size", _MEMORY_RULE)
    if not LEAST_MEMORY <= size <= MOST_MEMORY:
        fix = f"give {sizes.text(LEAST_MEMORY)} to {sizes.text(MOST_MEMORY)}, like 256MiB"
        raise wrong(f"the size {quoted(value)} is out of range", fix)
    if size % (1 << 20):
        raise wrong(f"the size {quoted(value)} is no whole number of MiB", _MEMORY_RULE)
    return size


def _file(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise wrong(f"{quoted(value)} is no path of a file", "write a path, relative to the lab file or absolute")
    if value.endswith("/") or value.rpartition("/")[2] in (".", ".."):
        raise wrong(f"{quoted(value)} is a folder", "name a file in it")
    if len(value.encode()) > 4000 or any(len(part.encode()) > 255 for part in value.split("/")):
        raise wrong("this path is longer than a path may be", "use a shorter one")
    return value


def _named(pattern: str, what: str, fix: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise wrong(f"{quoted(value)} is no {what}", fix)
        return value

    return check


def _line(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 2000:
        raise wrong(f"{quoted(value)} is no line of text", "write one line of up to 2000 characters, in quotes")
    return value


def _argument(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise wrong(f"{quoted(value)} is no argument", 'write each word as a text: ["-device", "virtio-rng-pci"]')
    return _line(str(value))


def _words(value: Any) -> Any:
    if isinstance(value, str):
        raise wrong(f"{quoted(value)} is no list", 'write each word as a text: ["-device", "virtio-rng-pci"]')
    return value


def _range(value: Any) -> tuple[str, str]:
    fix = "write the first and the last address: [10.0.2.100, 10.0.2.200]"
    if not isinstance(value, list) or len(value) != 2:
        raise wrong(f"{quoted(value)} is no range of addresses", fix)
    try:
        if not all(isinstance(each, str) for each in value):
            raise ValueError
        first, last = (ipaddress.IPv4Address(each) for each in value)
    except ValueError:
        raise wrong(f"{quoted(value)} is no range of IPv4 addresses", fix) from None
    if first > last:
        raise wrong(f"the range {first} to {last} falls", "write the lower address first")
    return str(first), str(last)


SysctlName = Annotated[str, PlainValidator(_sysctl), WithJsonSchema({"type": "string", "pattern": f"^{SYSCTL}$"})]
SysctlValue = Annotated[
    str, PlainValidator(_setting), WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1}]})
]
To = Annotated[
    str, PlainValidator(_to), WithJsonSchema({"type": "string", "examples": ["10.1.0.0/16", "fd01::/64", "default"]})
]
MachineMtu = Annotated[int, *_whole(LOWEST_MTU, HIGHEST_MTU, "an MTU")]
Memory = Annotated[
    int,
    PlainValidator(_memory),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": LEAST_MEMORY}, {"type": "string", "pattern": f"^{sizes.PATTERN}$"}]}
    ),
]
Cpus = Annotated[int, *_whole(1, MOST_CPUS, "a number of CPUs")]
Lease = Annotated[int, *_whole(60, MOST_LEASE, "a lease in seconds")]
Vms = Annotated[int, *_whole(0, MOST_VMS, "a number of virtual machines")]
FilePath = Annotated[str, PlainValidator(_file), WithJsonSchema({"type": "string", "minLength": 1})]
ImageFormat = Annotated[str, *one_of("qcow2", "raw")]
Accel = Annotated[str, *one_of("auto", "kvm", "tcg")]
Line = Annotated[str, PlainValidator(_line), WithJsonSchema({"type": "string", "maxLength": 2000})]
Argument = Annotated[
    str, PlainValidator(_argument), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
Arguments = Annotated[tuple[Argument, ...], BeforeValidator(_words), Field(strict=False)]
Card = Annotated[
    str,
    PlainValidator(
        _named(CARD, "network card of QEMU", "use a name of qemu -device help, such as virtio-net-pci, e1000")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{CARD}$"}),
]
Board = Annotated[
    str,
    PlainValidator(
        _named(CARD, "machine type of QEMU", "use a name of qemu -machine help, such as q35, microvm, virt")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{CARD}$"}),
]
Program = Annotated[
    str,
    PlainValidator(_named(PROGRAM, "program", "write a program's name, such as qemu-system-x86_64, or its path")),
    WithJsonSchema({"type": "string", "pattern": f"^{PROGRAM}$"}),
]
LeaseRange = Annotated[
    tuple[str, str],
    PlainValidator(_range),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
]
