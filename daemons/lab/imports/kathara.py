"""Kathará's (and Netkit's) lab.conf, with the .startup files beside it -> machines and cables.

Knows: `machine[0]="A"` (an interface in a collision domain), `machine[0]="A/02:...:01"` (with a MAC address), options
such as `machine[image]=...`, LAB_ metadata (https://www.kathara.org/man-pages/kathara-lab.conf.5.html). Collision
domains become switches. Refuses to know: what commands mean (`commands`), where the files are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from ..mistake import quoted
from . import commands
from .building import Builder, Machine

SHARED: Final = "shared"  # shared.startup is run in every machine
HIGHEST_INTERFACE: Final = 999
_LINE: Final = re.compile(r"\s*([A-Za-z0-9_.-]{1,100})\[(\w{1,30})\]\s*=\s*(.*)", re.ASCII)
_META: Final = re.compile(r"\s*LAB_([A-Z]{1,30})\s*=\s*(.*)", re.ASCII)
WHY: Final = {
    "image": "no container is run: a machine is a namespace with this computer's own programs",
    "bridged": "add a node of kind: uplink for a way out",
    "port": "a namespace has no ports of this computer",
}


def read(text: str, builder: Builder, startups: Mapping[str, str]) -> None:
    """startups: machine (or `shared`) -> the text of its .startup file."""
    report = builder.report
    machines: dict[str, Machine] = {}
    domains: dict[str, Machine] = {}
    wires: list[tuple[int, Machine, int, str, str]] = []
    for line, raw in enumerate(text.splitlines(), 1):
        stripped = raw.strip()
        if not stripped or stripped.startswith("#"):
            continue
        meta, given = _META.fullmatch(raw), _LINE.fullmatch(raw)
        if meta is not None:
            _about(meta[1], _value(meta[2]), line, builder)
        elif given is None:
            report.say(line, f"left out: {quoted(stripped)} is not machine[...]=...")
        else:
            name, key, value = given[1], given[2], _value(given[3])
            machine = machines.get(name) or machines.setdefault(
                name, builder.add(name, builder.hosts, line, key=(name,))
            )
            if key.isdecimal():
                _wire(machine, key, value, line, builder, wires)
            else:
                _option(machine, key, value, line, builder)
    for line, machine, number, domain, mac in sorted(wires, key=lambda wire: (wire[1].line, wire[2])):
        switch = domains.get(domain) or domains.setdefault(domain, builder.add(domain, "switch", line))
        builder.cable(machine, f"eth{number}", switch, "", line)
        if mac:
            _command(machine, f"ip link set eth{number} address {mac}", line, None, builder)
    for name, machine in machines.items():
        for file in (SHARED, name):
            _startup(machine, f"{file}.startup", startups.get(file, ""), builder)


def startup_names(text: str) -> list[str]:
    """The names before `.startup` of the files that belong to a lab.conf: letters, digits, _ . - and nothing else."""
    names = [match[1] for line in text.splitlines() if (match := _LINE.fullmatch(line))]
    return [name for name in dict.fromkeys([SHARED, *names]) if not name.startswith(".")]


def _value(text: str) -> str:
    """Without quotes, and without a comment behind it."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text[1:]
    return text.partition("#")[0].strip()


def _about(key: str, value: str, line: int, builder: Builder) -> None:
    if key == "NAME":
        builder.call(value, line)
    elif key == "DESCRIPTION":
        builder.description = value[:1000]
    elif value:
        builder.report.say(line, f"not carried over: LAB_{key}")


def _wire(
    machine: Machine, key: str, value: str, line: int, builder: Builder, wires: list[tuple[int, Machine, int, str, str]]
) -> None:
    domain, _, mac = value.partition("/")
    if len(key) > 4 or int(key) > HIGHEST_INTERFACE or not domain:
        builder.report.say(line, f"left out: interface {quoted(key)} of {machine.name} in {quoted(value)}")
        return
    wires.append((line, machine, int(key), domain, mac))


def _option(machine: Machine, key: str, value: str, line: int, builder: Builder) -> None:
    if key == "sysctl":
        _command(machine, f"sysctl -w {value}", line, None, builder)
    elif key == "exec":
        _command(machine, value, line, None, builder)
    else:
        why = f"; {WHY[key]}" if key in WHY else ""
        builder.report.say(line, f"not carried over: {machine.name}[{key}]={quoted(value)}{why}")


def _command(machine: Machine, text: str, line: int, file: str | None, builder: Builder) -> None:
    say: Callable[[str], None] = lambda what: builder.report.say(line, what, file)  # noqa: E731
    commands.understand(machine, text, commands.Place(line, file), say)


def _startup(machine: Machine, file: str, text: str, builder: Builder) -> None:
    for line, command in enumerate(text.splitlines(), 1):
        if not command.lstrip().startswith("#!"):
            _command(machine, command, line, file, builder)
