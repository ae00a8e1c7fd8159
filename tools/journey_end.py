"""How a journey ended: whom the frame reached, or which rule kept it from there and what to do about it. Pure.

Knows: which end of a way counts as having arrived. Refuses to know: the rules (journey_words), how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from netvirt.frame import TPID_CUSTOMER, FrameError, parse
from tools.journey import Hop, Journey, Way
from tools.journey_words import Line

ARRIVED: Final = ("host", "useless", "guest", "lab", "other", "free")
_MOST_NAMED: Final = 6


class Verdict(NamedTuple):
    """reached: who gets it, by name; good: those it was meant for do; cause, advice: "" where all is well."""

    good: bool
    sentence: str
    reached: list[str]
    cause: str = ""
    advice: str = ""


def verdict(journey: Journey, goal: str = "") -> Verdict:
    """goal: the NIC that it is meant for, `h3:eth0`, or "" = whoever there is."""
    arrived = list(arrivals(journey))
    reached = list(dict.fromkeys(f"{_who(hop, way)} ({tag_text(way.frame)})" for hop, way in arrived))
    wanted = [name for name in reached if not goal or name.startswith(f"{goal} (")]
    if wanted:
        more = f" and {len(wanted) - _MOST_NAMED} more" if len(wanted) > _MOST_NAMED else ""
        return Verdict(True, f"reaches {', '.join(wanted[:_MOST_NAMED])}{more}", reached)
    cause, advice = why_not(journey, goal)
    who = f"{goal} does not get it" if reached and goal else "nobody gets it"
    return Verdict(False, "; ".join(filter(None, (f"{who}: {cause}", advice))), reached, cause, advice)


def arrivals(journey: Journey) -> Iterator[tuple[Hop, Way]]:
    """Where the frame itself came to its end and was taken; mirrors' copies do not count."""
    for hop in journey.hops():
        for way in hop.ways:
            if way.end in ARRIVED and not way.mirror and not hop.copied:
                yield hop, way


def _who(hop: Hop, way: Way) -> str:
    return str(way.far) if way.far.kind == "host" else f"{way.far} at {hop.switch}:{way.port}"


def tag_text(frame: bytes) -> str:
    """`untagged`, `tagged 10`, `tagged 10, PCP 5`, `tagged 900 (0x88a8) over 10`."""
    try:
        tags = parse(frame).tags
    except FrameError:
        return "a tag that is cut off"
    if not tags:
        return "untagged"
    words = [f"{tag.vid}" + (f" ({tag.tpid:#x})" if tag.tpid != TPID_CUSTOMER else "") for tag in tags[:3]]
    return f"tagged {' over '.join(words)}" + (f", PCP {tags[0].pcp}" if tags[0].pcp else "")


def why_not(journey: Journey, goal: str = "") -> tuple[str, str]:
    """The rule that kept a frame from its goal, on the way that leads there; else the first that dropped it."""
    toward, hop = journey.wiring.toward(goal), journey.first
    while True:
        port = toward.get(hop.switch, "")
        passed_by = next((line for line in hop.left_out if line.port == port), None)
        if ended := passed_by or _ended(hop):
            return _told(ended)
        way = next((way for way in hop.ways if way.port == port and not way.mirror), None)
        if way is None or way.hop is None:
            break
        hop = way.hop
    if way is not None:
        return f"{hop.switch}:{port} sends it to {way.far}, but {way.note or 'it is not meant for that host'}", ""
    for line in hop.lines:
        if line.port == port and line.rule == "drop":
            return _told(line)
    elsewhere = next((way for way in hop.ways if not way.mirror), None)
    if elsewhere is not None and port:
        known = next((line.text for line in hop.lines if line.rule == "found"), "")
        told = f"{hop.switch} sends it out of {elsewhere.port}, and {goal} is behind {port}"
        return f"{told}: {known}" if known else told, f"vfab fdb flush {hop.switch}" if known else ""
    return _first_reason(journey)


def _first_reason(journey: Journey) -> tuple[str, str]:
    """Nobody in particular was meant: the first rule that ended it; an empty port is the last to tell of."""
    hops = list(journey.hops())
    for line in sorted(filter(None, map(_ended, hops)), key=lambda line: line.reason == "link-down"):
        return _told(line)
    for way in (way for hop in hops for way in hop.ways if way.note):
        return f"{way.far}: {way.note}", ""
    return "there are only mirrors' copies of it", ""


def _ended(hop: Hop) -> Line | None:
    """The rule that ended it; where nobody else is in the VLAN, the empty port where he would be."""
    empty = next((line for line in hop.left_out if line.reason == "link-down"), None)
    return empty or hop.drop if hop.drop is not None and hop.drop.reason == "no-destination" else hop.drop


def _told(line: Line) -> tuple[str, str]:
    return line.text + clause_text(line), line.advice


def clause_text(line: Line) -> str:
    """` (802.1Q-2018, 8.6.2)`; "" where no standard decides."""
    if not line.clause:
        return ""
    other = line.clause.startswith(("802", "RFC"))
    return f" ({line.clause})" if other else f" (802.1Q-2018, {line.clause})"
