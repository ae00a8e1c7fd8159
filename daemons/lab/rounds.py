"""Frames that go round for ever where ports do more than access and trunk: found by following them.

Knows: that a tunnel, tags of two types or a translation can bring a frame back in another VLAN, or with a tag more
or less, which no tree of VLANs shows (`graph.loops`). Refuses to know: why a link is there; frames that come with two
tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netvirt.settings import C_TAG, S_TAG

from .domains import Inside, inside, onward, trunks_of
from .lab import End, Lab, Link

MOST_STATES = 200_000  # some seconds' work


class TooMany(Exception):
    """More frames to be followed than can be."""


class Round(NamedTuple):
    """A way round: the last of its links in the file, its VLANs, its switches, the first one again at the end."""

    link: Link
    vids: frozenset[int]
    circle: tuple[str, ...]


def special(lab: Lab) -> bool:
    """Whether there is a port that is neither a plain access port nor a plain trunk."""
    return any(not port.ways.plain for switch in lab.switches.values() for port in switch.ports.values())


def rounds(lab: Lab, groups: Iterable[frozenset[int]]) -> list[Round]:
    """The links without which nothing goes round, in the file's order. `groups`: VIDs that all ports treat alike."""
    found: list[Round] = []
    samples = [min(group) for group in groups]
    while (one := _round(lab, samples)) is not None:
        found.append(one)
        lab = lab.with_blocked(lab.blocked | {one.link.index})
    return sorted(found, key=lambda each: each.link.index)


def _round(lab: Lab, samples: list[int]) -> Round | None:
    import networkx

    flow = networkx.DiGraph()
    trunks = trunks_of(lab)
    todo = list(_starts(lab, samples))
    seen = set(todo)
    while todo:
        here = todo.pop()
        for there in onward(lab, trunks[here.switch], here):
            flow.add_edge(here, there)
            if there not in seen:
                seen.add(there)
                todo.append(there)
        if len(seen) > MOST_STATES:
            raise TooMany
    try:
        steps = [step[0] for step in networkx.find_cycle(flow)]
    except networkx.NetworkXNoCycle:
        return None
    linked = lab.link_of()
    links = [linked[End(step.switch, str(step.came))] for step in steps]
    names = [step.switch for step in steps]
    vids = frozenset(step.vid for step in steps)
    return Round(max(links, key=lambda link: link.index), vids, (*names, names[0]))


def _starts(lab: Lab, samples: list[int]) -> Iterator[Inside]:
    """What may come in where something that is not a switch of this lab is plugged in, or may be."""
    between = {end for link in lab.trunks() for end in (link.a, link.b)}
    found: dict[Inside, None] = {}
    for switch in lab.switches.values():
        for port in switch.ports.values():
            end = End(switch.name, port.name)
            if end in between:
                continue
            tagged = [((kind, vid),) for kind in (C_TAG, S_TAG) for vid in samples]
            for tags in [(), *tagged]:
                first = inside(end, port, tags)
                if first is not None:
                    found[first._replace(came="")] = None
    yield from found
