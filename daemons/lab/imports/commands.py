"""Shell commands that set up a network -> addresses, routes and sysctls of a machine. None is run.

Knows: the plain forms of ip, ifconfig, route and sysctl. Refuses to know: shell: what has pipes, variables, loops or
anything else in it is not understood, and said.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from typing import Final, NamedTuple

from ..fields import MAC
from ..machine_fields import HIGHEST_MTU, LOWEST_MTU, SYSCTL
from ..mistake import quoted
from .building import Machine, Route

LONGEST: Final = 1000
# Of an interface, and of a machine: each route is held against each address, here and when the lab file is read.
MOST_ADDRESSES, MOST_ROUTES = 256, 1024
_IFNAME = re.compile(r"[^\s/:]{1,15}")  # netdevice(7): IFNAMSIZ is 16 with its NUL
_SHELLS: Final = ("sh", "bash", "ash", "/bin/sh", "/bin/bash", "/bin/ash")
_BEYOND: Final = re.compile(r"[$`|<(){}*?]|>>|(?<!&)&(?!&)|\\$")
_WRITTEN = re.compile(r"echo\s+[\"']?(\S+?)[\"']?\s*>\s*/proc/sys/(net/\S+)")
_IGNORED: Final = ("up", "brd", "broadcast", "scope", "metric", "noprefixroute", "nodad", "proto", "onlink")
_TAKES_WORD: Final = ("brd", "broadcast", "scope", "metric", "proto")


class NotSimple(Exception):
    """Nothing that can be carried over; the text says why, "" if there is nothing to say but that."""


class Place(NamedTuple):
    line: int
    file: str | None


def understand(machine: Machine, text: str, place: Place, say: Callable[[str], None]) -> None:
    """Take over what a line says; what is not understood is told to `say`."""
    for command in _commands(text):
        try:
            if not _written(machine, command):
                _one(machine, _words(command), place)
        except (NotSimple, ValueError, IndexError) as error:  # of the last two: no number, no address; too few words
            why = f": {error}" if isinstance(error, NotSimple) and str(error) else ""
            say(f"not carried over: {quoted(command.strip())}{why}")


def _commands(text: str) -> Iterator[str]:
    """The commands of a line. `sh -c '...'` is looked into, once; what is more than commands in a row stays one."""
    text = text.strip()
    if not text or text.startswith("#"):
        return
    if len(text) > LONGEST:
        yield text[:LONGEST]
        return
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if len(words) == 3 and words[0] in _SHELLS and words[1] in ("-c", "-lc"):
        text = words[2]
    quotes = any(mark in text for mark in "\"'")
    parts = [text] if quotes or _BEYOND.search(text) else re.split(r"&&|;|\n", text)
    yield from (part for part in parts if part.strip())


def _words(command: str) -> list[str]:
    if len(command) >= LONGEST or _BEYOND.search(command):
        raise NotSimple("only single commands are understood")
    words = shlex.split(command, comments=True)
    if words[:1] == ["sudo"]:
        words = words[1:]
    if not words:
        raise NotSimple
    return [words[0].rpartition("/")[2], *words[1:]]


def _one(machine: Machine, words: list[str], place: Place) -> None:
    known = {"ip": _ip, "ifconfig": _ifconfig, "route": _route, "sysctl": _sysctl}
    if words[0] not in known:
        raise NotSimple("only ip, ifconfig, route and sysctl are understood")
    known[words[0]](machine, words[1:], place)


# --- ip(8)


def _ip(machine: Machine, words: list[str], place: Place) -> None:
    while words and words[0] in ("-4", "-6", "-family", "-f", "inet", "inet6"):
        words = words[1:]
    if len(words) < 3:
        raise NotSimple
    thing, verb, rest = words[0], words[1], words[2:]
    if "address".startswith(thing) and verb in ("add", "a", "replace", "r"):
        _ip_address(machine, rest, place)
    elif "link".startswith(thing) and "set".startswith(verb):
        _ip_link(machine, rest, place)
    elif "link".startswith(thing) and "add".startswith(verb):
        _ip_vlan(machine, rest, place)
    elif "route".startswith(thing) and verb in ("add", "a", "replace", "r"):
        _ip_route(machine, rest, place)
    else:
        raise NotSimple


def _options(words: list[str], known: tuple[str, ...]) -> dict[str, str]:
    """`dev eth1 brd +` -> {dev: eth1}; words that change nothing here are passed over. Raises NotSimple for others."""
    found: dict[str, str] = {}
    index = 0
    while index < len(words):
        word = words[index]
        if word in known and index + 1 < len(words):
            found[word] = words[index + 1]
            index += 2
        elif word in _IGNORED:
            index += 2 if word in _TAKES_WORD else 1
        else:
            raise NotSimple(f"{quoted(word)} is not understood")
    return found


def _ip_address(machine: Machine, words: list[str], place: Place) -> None:
    words = [word for word in words if word != "local"]
    if words[0] == "dev":
        words = [*words[2:], *words[:2]]
    _address(machine, _options(words[1:], ("dev",)).get("dev", ""), words[0], place)


def _ip_link(machine: Machine, words: list[str], place: Place) -> None:
    if words[0] == "dev" and len(words) > 1:
        words = words[1:]
    name = _name(words[0])
    given = _options(words[1:], ("mtu", "address"))
    if "mtu" in given:
        _mtu(machine, name, given["mtu"], place)
    if "address" in given:
        _mac(machine, name, given["address"], place)


def _ip_vlan(machine: Machine, words: list[str], place: Place) -> None:
    """ip link add link eth1 name eth1.10 type vlan id 10"""
    given = _options(words, ("link", "name", "type", "id"))
    if given.get("type") != "vlan" or not {"link", "name", "id"} <= set(given):
        raise NotSimple("of new interfaces only VLANs are carried over")
    vid = int(given["id"])
    if not 1 <= vid <= 4094 or "." in given["link"]:
        raise NotSimple
    made = f"{_name(given['link'])}.{vid}"
    if given["name"] != made:
        machine.alias[_name(given["name"])] = made
    machine.interface(made, *place)


def _ip_route(machine: Machine, words: list[str], place: Place) -> None:
    given = _options(words[1:], ("via", "dev"))
    _add_route(machine, words[0], given.get("via"), given.get("dev"), place)


# --- ifconfig(8), route(8), sysctl(8)


def _ifconfig(machine: Machine, words: list[str], place: Place) -> None:
    name, rest = _name(words[0]), words[1:]
    if rest[:1] == ["inet"]:
        rest = rest[1:]
    if rest[:2] == ["inet6", "add"] and len(rest) >= 3:
        _address(machine, name, rest[2], place)
        rest = rest[3:]
    elif rest[:2] == ["hw", "ether"] and len(rest) >= 3:
        _mac(machine, name, rest[2], place)
        rest = rest[3:]
    elif rest and rest[0][0].isdigit():
        given = _options(rest[1:], ("netmask", "mtu"))
        mask = given.get("netmask")
        _address(machine, name, _with_mask(rest[0], mask), place)
        rest = ["mtu", given["mtu"]] if "mtu" in given else []
    given = _options(rest, ("mtu",))
    if "mtu" in given:
        _mtu(machine, name, given["mtu"], place)


def _with_mask(address: str, mask: str | None) -> str:
    """10.0.0.1, 255.255.255.0 -> 10.0.0.1/24; without a mask the old class decides, as it does for ifconfig(8)."""
    if "/" in address:
        return address
    if mask is None:
        first = int(address.partition(".")[0])
        mask = "255.0.0.0" if first < 128 else "255.255.0.0" if first < 192 else "255.255.255.0"
    return f"{address}/{IPv4Network(f'0.0.0.0/{mask}').prefixlen}"


def _route(machine: Machine, words: list[str], place: Place) -> None:
    """route add default gw 10.0.0.1; route add -net 10.1.0.0 netmask 255.255.0.0 gw 10.0.0.1 dev eth0"""
    words = [word for word in words if word not in ("-A", "inet", "-n")]
    if words[:1] != ["add"] or len(words) < 3:
        raise NotSimple
    what, rest = words[1], words[2:]
    if what in ("-net", "-host"):
        what, rest = (rest[0] if what == "-net" else f"{rest[0]}/32"), rest[1:]
    given = _options(rest, ("gw", "dev", "netmask"))
    if "netmask" in given and what != "default":
        what = f"{what}/{given['netmask']}"
    _add_route(machine, what, given.get("gw"), given.get("dev"), place)


def _sysctl(machine: Machine, words: list[str], place: Place) -> None:
    settings = [word for word in words if word not in ("-w", "-q")]
    if not settings or not all("=" in setting for setting in settings):
        raise NotSimple
    for setting in settings:
        name, _, value = setting.partition("=")
        set_sysctl(machine, name.strip(), value.strip())


def set_sysctl(machine: Machine, name: str, value: str) -> None:
    """Raises NotSimple for one that is not a namespace's own."""
    name = name.replace("/", ".")
    if not re.fullmatch(SYSCTL, name) or len(name) > 200 or not re.fullmatch(r"[\w .:-]{1,100}", value, re.ASCII):
        raise NotSimple("only sysctls that begin with net. are a machine's own")
    machine.sysctls[name] = value


def _written(machine: Machine, command: str) -> bool:
    """echo 1 > /proc/sys/net/ipv4/ip_forward"""
    match = _WRITTEN.fullmatch(command.strip())
    if match is None:
        return False
    set_sysctl(machine, match[2], match[1])
    return True


# --- values


def _name(text: str) -> str:
    if not _IFNAME.fullmatch(text):
        raise NotSimple(f"{quoted(text)} is no interface")
    return text


def _address(machine: Machine, dev: str, text: str, place: Place) -> None:
    name = machine.alias.get(_name(dev), dev)
    address = ip_interface(text)
    if not fits(text):
        raise NotSimple("that is no address that a machine can have here")
    addresses = machine.interface(name, *place).addresses
    if len(addresses) >= MOST_ADDRESSES:
        raise NotSimple(f"an interface has {MOST_ADDRESSES} addresses at most here")
    addresses.append(str(address))


def fits(text: str) -> bool:
    """Whether a lab file can have the address, prefix length or not (daemons.lab.fields.Address says the same)."""
    try:
        address = ip_interface(text)
    except ValueError:
        return False
    ip, net = address.ip, address.network
    ends = (net.network_address, net.broadcast_address) if address.version == 4 and net.prefixlen < 31 else ()
    return not (ip.is_multicast or ip.is_unspecified or ip.is_loopback or ip in ends or "%" in text)


def _mtu(machine: Machine, name: str, text: str, place: Place) -> None:
    if not text.isdecimal() or not LOWEST_MTU <= int(text[:9]) <= HIGHEST_MTU:
        raise NotSimple(f"an MTU is {LOWEST_MTU} to {HIGHEST_MTU} here")
    machine.interface(machine.alias.get(name, name), *place).mtu = int(text)


def _mac(machine: Machine, name: str, text: str, place: Place) -> None:
    machine.interface(machine.alias.get(name, name), *place).mac = mac(text)


def mac(text: str) -> str:
    """Raises NotSimple for what is no address of a single card."""
    if not re.fullmatch(MAC, text) or int(text[:2], 16) & 1 or not text.strip("0:-"):
        raise NotSimple("that is no MAC address of a card")
    return text.lower().replace("-", ":")


def _add_route(machine: Machine, to: str, via: str | None, dev: str | None, place: Place) -> None:
    to = "default" if to in ("default", "0/0") else str(ip_network(to, strict=False))
    if via is not None:
        via = str(ip_address(via))
        if to != "default" and ip_address(via).version != ip_network(to).version:
            raise NotSimple("a network of one IP version, and a router of the other")
    dev = machine.alias.get(_name(dev), dev) if dev is not None else None
    if len(machine.routes) >= MOST_ROUTES:
        raise NotSimple(f"a machine has {MOST_ROUTES} routes at most here")
    machine.routes.append(Route(to, via, dev, *place))
