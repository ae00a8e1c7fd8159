"""Labs by a word, as Mininet has them: `single,4`, `tree,depth=2,fanout=3`, `leaf-spine,2,4,hosts=2`.

Knows: the shapes, their numbers, what names and addresses their nodes have. Refuses to know: files, what runs.
Mininet's words and their order are those of `mn --topo` (mininet.org, TOPOS in bin/mn); h1, h2, ...
are counted through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from daemons.errors import UserError

from .mistake import did_you_mean, printable, quoted
from .topo import Topo

MOST_NODES: Final = 2000  # loader.MOST_NODES; a test holds them together
MOST_LINKS: Final = 4000
HOSTS: Final = {"userspace": "host", "netns": "netns"}
NETWORK: Final = 10 << 24  # hosts have 10.0.0.1, 10.0.0.2, ...
LONGEST: Final = 200


class ShapeError(UserError):
    """Words that are no shape; the sentence says which there are."""


class Number(NamedTuple):
    """A number of a shape, by its place or by its name."""

    name: str
    default: int | None  # None: it has to be said
    lowest: int
    highest: int = MOST_NODES
    even: bool = False

    def __str__(self) -> str:
        return self.name.upper() if self.default is None else f"[{self.name}={self.default}]"


class Shape(NamedTuple):
    """`size` tells (nodes, links) before anything is made; `build` puts them into the Topo."""

    what: str
    numbers: tuple[Number, ...]
    size: Callable[..., tuple[int, int]]
    build: Callable[..., None]
    circles: bool = False


class Maker:
    """A Topo that is being filled: hosts get the next name and the next address."""

    def __init__(self, topo: Topo, kind: str, hosts: int) -> None:
        self.topo = topo
        self._kind = kind
        self._hosts = 0
        self._prefix = min(24, 32 - (hosts + 1).bit_length())  # the network's own address and its broadcast's are none

    def switches(self, count: int, word: str = "s") -> list[str]:
        names = [f"{word}{number}" for number in range(1, count + 1)]
        for name in names:
            self.topo.add_switch(name)
        return names

    def hosts(self, switch: str, count: int) -> None:
        for _ in range(count):
            self._hosts += 1
            value = NETWORK + self._hosts
            address = ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
            name = f"h{self._hosts}"
            self.topo.add_host(name, f"{address}/{self._prefix}", kind=self._kind)
            self.topo.add_link(switch, name)

    def link(self, a: str, b: str) -> None:
        self.topo.add_link(a, b)


def parse(text: str, hosts: str = "userspace") -> Topo:
    """The lab that a shape means. hosts: `userspace`, or `netns` (namespaces that run programs). Raises ShapeError."""
    name, numbers = _read(text)
    shape = SHAPES[name]
    if hosts not in HOSTS:
        raise ShapeError(f"there are no {quoted(hosts)} hosts; there are {' and '.join(HOSTS)}")
    nodes, links = shape.size(**numbers)
    if nodes > MOST_NODES or links > MOST_LINKS:
        raise ShapeError(
            f"{printable(text)} has {nodes} nodes and {links} links, and a lab may have {MOST_NODES} and {MOST_LINKS};"
            " take smaller numbers"
        )
    loops = "block" if shape.circles and links >= nodes else None
    said = ",".join([name, *(f"{key}={value}" for key, value in numbers.items())])
    kept = f"Made by: vfab topo {said}{f' --hosts {hosts}' if hosts != 'userspace' else ''}"
    topo = Topo("-".join([name, *map(str, numbers.values())]), loops=loops, description=shape.what, comment=kept)
    shape.build(Maker(topo, HOSTS[hosts], nodes), **numbers)
    return topo


def usage() -> str:
    """All shapes in one line each."""
    rows = [(",".join([name, *map(str, shape.numbers)]), shape.what) for name, shape in SHAPES.items()]
    width = max(len(words) for words, _ in rows)
    return "\n".join(f"  {words:<{width}}  {what}" for words, what in rows)


def _read(text: str) -> tuple[str, dict[str, int]]:
    if len(text) > LONGEST:
        raise ShapeError(f"a shape has a few words, and this has {len(text)} characters; shapes are {_names()}")
    name, *words = (word.strip() for word in text.split(","))
    name = name.lower().replace("_", "-")
    if name not in SHAPES:
        near = did_you_mean(name, SHAPES, f"shapes are {_names()}")
        raise ShapeError(f"there is no shape {quoted(name)}; {near}")
    return name, _numbers(name, SHAPES[name].numbers, words)


def _numbers(name: str, known: tuple[Number, ...], words: list[str]) -> dict[str, int]:
    say = f"write {','.join([name, *map(str, known)])}"
    given: dict[str, int] = {}
    named = {number.name: number for number in known}
    for place, word in enumerate(words):
        key, equals, digits = word.partition("=")
        if not equals:
            if place >= len(known):
                raise ShapeError(f"{quoted(word)} is more than {name} takes; {say}")
            key, digits = known[place].name, word
        if key not in named:
            raise ShapeError(f"{name} has no {quoted(key)}; {did_you_mean(key, named, say)}")
        if key in given:
            raise ShapeError(f"{key} of {name} stands there twice; {say}")
        given[key] = _number(named[key], digits, name, say)
    for number in known:
        if number.name not in given and number.default is None:
            raise ShapeError(f"{name} needs its {number.name}; {say}")
    return {number.name: given.get(number.name, number.default or 0) for number in known}


def _number(number: Number, digits: str, shape: str, say: str) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 9):
        raise ShapeError(f"{quoted(digits)} is no number for {number.name} of {shape}; {say}")
    value = int(digits)
    if not number.lowest <= value <= number.highest:
        raise ShapeError(f"{number.name} of {shape} can be {number.lowest} to {number.highest}, not {value}")
    if number.even and value % 2:
        raise ShapeError(f"{number.name} of {shape} is an even number, not {value}")
    return value


def _names() -> str:
    return ", ".join(SHAPES)


def _single(make: Maker, hosts: int) -> None:
    (switch,) = make.switches(1)
    make.hosts(switch, hosts)


def _reversed(make: Maker, hosts: int) -> None:
    """As single, but h1 is in the last port."""
    (switch,) = make.switches(1)
    make.hosts(switch, hosts)
    for link, number in zip(make.topo.links, range(hosts, 0, -1), strict=True):
        link["endpoints"] = [f"{switch}:eth{number}", link["endpoints"][1]]


def _linear(make: Maker, switches: int, hosts: int) -> None:
    names = make.switches(switches)
    for name in names:
        make.hosts(name, hosts)
    for one, other in pairwise(names):
        make.link(one, other)


def _tree_count(depth: int, fanout: int) -> tuple[int, int]:
    nodes = sum(fanout**level for level in range(depth + 1))
    return nodes, nodes - 1


def _tree(make: Maker, depth: int, fanout: int) -> None:
    """Switches are numbered as Mininet does: down the first branch before the second."""
    number = 0

    def grow(level: int) -> str:
        nonlocal number
        number += 1
        name = f"s{number}"
        make.topo.add_switch(name)
        if level == 1:
            make.hosts(name, fanout)
            return name
        for _ in range(fanout):
            make.link(name, grow(level - 1))
        return name

    grow(depth)


def _ring(make: Maker, switches: int, hosts: int) -> None:
    names = make.switches(switches)
    for name in names:
        make.hosts(name, hosts)
    for one, other in zip(names, [*names[1:], names[0]], strict=True):
        make.link(one, other)


def _torus(make: Maker, x: int, y: int, hosts: int) -> None:
    names = make.switches(x * y)
    for name in names:
        make.hosts(name, hosts)
    for row in range(y):
        for column in range(x):
            here = names[row * x + column]
            make.link(here, names[row * x + (column + 1) % x])
            make.link(here, names[(row + 1) % y * x + column])


def _leaf_spine(make: Maker, spines: int, leafs: int, hosts: int) -> None:
    upper, lower = make.switches(spines, "spine"), make.switches(leafs, "leaf")
    for leaf in lower:
        make.hosts(leaf, hosts)
    for leaf in lower:
        for spine in upper:
            make.link(leaf, spine)


def _fat_tree_count(k: int) -> tuple[int, int]:
    half = k // 2
    return half * half + k * k + k * half * half, 3 * k * half * half


def _fat_tree(make: Maker, k: int) -> None:
    """Al-Fares, Loukissas, Vahdat: A Scalable, Commodity Data Center Network Architecture (SIGCOMM 2008), 2.2."""
    half = k // 2
    cores = make.switches(half * half, "core")
    aggregation, edge = make.switches(k * half, "agg"), make.switches(k * half, "edge")
    for pod in range(k):
        uppers, lowers = (names[pod * half : pod * half + half] for names in (aggregation, edge))
        for lower in lowers:
            make.hosts(lower, half)
            for upper in uppers:
                make.link(lower, upper)
        for place, upper in enumerate(uppers):
            for core in cores[place * half : place * half + half]:
                make.link(upper, core)


_K = Number("hosts", 2, 1)
_EACH = Number("hosts", 1, 0, 100)
SHAPES: Final[Mapping[str, Shape]] = {
    "minimal": Shape("a switch and two hosts", (), lambda: (3, 2), lambda make: _single(make, 2)),
    "single": Shape("a switch and its hosts", (_K,), lambda hosts: (hosts + 1, hosts), _single),
    "reversed": Shape(
        "a switch and its hosts, the first in the last port", (_K,), lambda hosts: (hosts + 1, hosts), _reversed
    ),
    "linear": Shape(
        "a chain of switches, each with hosts", (Number("switches", 2, 1), _EACH),
        lambda switches, hosts: (switches * (1 + hosts), switches * (1 + hosts) - 1), _linear,
    ),
    "tree": Shape(
        "a tree of switches with hosts at its ends", (Number("depth", 1, 1, 12), Number("fanout", 2, 1, 100)),
        _tree_count, _tree,
    ),
    "ring": Shape(
        "a ring of switches, one link of it blocked", (Number("switches", 4, 3), _EACH),
        lambda switches, hosts: (switches * (1 + hosts), switches * (1 + hosts)), _ring, circles=True,
    ),
    "torus": Shape(
        "rings of switches in rows and columns", (Number("x", None, 3), Number("y", None, 3), _EACH),
        lambda x, y, hosts: (x * y * (1 + hosts), x * y * (2 + hosts)), _torus, circles=True,
    ),
    "leaf-spine": Shape(
        "each leaf is joined with each spine",
        (Number("spines", 2, 1), Number("leafs", 4, 1), Number("hosts", 2, 0, 100)),
        lambda spines, leafs, hosts: (spines + leafs * (1 + hosts), leafs * (spines + hosts)), _leaf_spine,
        circles=True,
    ),
    "fat-tree": Shape(
        "k pods of k switches, k*k*k/4 hosts", (Number("k", 4, 2, 100, even=True),), _fat_tree_count, _fat_tree,
        circles=True,
    ),
}  # fmt: skip
