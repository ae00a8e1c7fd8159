"""A journey as a tree in the terminal, and as a value for JSON.

Knows: how much of it an eye wants to see. Refuses to know: what the sentences mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from netvirt.frame import describe
from tools.journey import Hop, Journey, Way
from tools.journey_end import ARRIVED, Verdict, clause_text, tag_text
from tools.journey_words import Line
from tools.output import paint

_ENDS: Final = {
    "host": ("takes it", "green"),
    "copy": ("sees it", "green"),
    "useless": ("takes it and has no use for it", "green"),
    "guest": ("gets it", "green"),
    "lab": ("the journey through this lab ends here", "green"),
    "other": ("gets it", "green"),
    "free": ("gets it", "green"),
    "not-taken": ("does not take it", "yellow"),
    "loop": ("", "red"),
    "too-far": ("", "red"),
    "unknown": ("", "red"),
}
_WIDTH: Final = 9  # of a rule's name
_MOST_PORTS: Final = 8  # that are named in one line
_NAMES: Final = {"left-out": "not to", "lost": "copy", "untagged": "tag", "drop": "dropped"}


def lines(journey: Journey) -> Iterator[str]:
    """The whole tree."""
    first = journey.first
    yield paint(describe(first.frame), "bold")
    yield f"{journey.wiring.far(first.switch, first.port)} ─► {first.switch}:{first.port}"
    yield from _hop(first, "  ")


def _hop(hop: Hop, margin: str) -> Iterator[str]:
    for line in hop.lines:
        yield from _line(line, margin)
    yield from _left_out(hop.left_out, margin)
    for number, way in enumerate(hop.ways):
        last = number == len(hop.ways) - 1
        yield f"{margin}{'└' if last else '├'}─ {_way(way, hop.copied or bool(way.mirror))}"
        if way.hop is not None:
            yield from _hop(way.hop, margin + ("   " if last else "│  "))


def _line(line: Line, margin: str) -> Iterator[str]:
    bad = line.rule in ("drop", "lost")
    name = _NAMES.get(line.rule, line.rule)
    colour = "red" if bad else "dim"
    yield f"{margin}{paint(f'{name:<{_WIDTH}}', colour)} {line.text}{clause_text(line)}"
    if line.advice:
        yield f"{margin}{'':<{_WIDTH}} {paint(line.advice, 'yellow')}"


def _left_out(left_out: Iterable[Line], margin: str) -> Iterator[str]:
    """By reason, so that a switch of 48 ports has two lines and not 47."""
    by_reason: dict[str, list[str]] = {}
    for line in left_out:
        by_reason.setdefault(line.reason, []).append(line.port)
    for reason, ports in by_reason.items():
        more = f" and {len(ports) - _MOST_PORTS} more" if len(ports) > _MOST_PORTS else ""
        yield margin + paint(f"{'not to':<{_WIDTH}} {', '.join(ports[:_MOST_PORTS])}{more} ({reason})", "dim")


def _way(way: Way, copied: bool) -> str:
    words, colour = _ENDS["copy" if copied and way.end in ARRIVED else way.end] if way.hop is None else ("", None)
    told = ": ".join(filter(None, (words, way.note)))
    copy = f"copy for mirror {way.mirror}, " if way.mirror else ""
    end = f"  {paint(told, colour)}" if told else ""
    return f"{way.port} ({copy}{tag_text(way.frame)}) ─► {way.far}{end}"


# --- JSON


def value(journey: Journey, start: str, goal: str, end: Verdict) -> dict[str, Any]:
    """Everything, with frames as hex."""
    return {
        "start": start,
        "goal": goal,
        "reached": end.reached,
        "good": end.good,
        "sentence": end.sentence,
        "cause": end.cause,
        "advice": end.advice,
        "journey": _hop_value(journey.first),
    }


def _hop_value(hop: Hop) -> dict[str, Any]:
    return {
        "switch": hop.switch,
        "port": hop.port,
        "frame": hop.frame.hex(),
        "text": describe(hop.frame),
        "copied": hop.copied,
        "rules": [line._asdict() for line in hop.lines],
        "left_out": [line._asdict() for line in hop.left_out],
        "ways": [_way_value(way) for way in hop.ways],
    }


def _way_value(way: Way) -> dict[str, Any]:
    return {
        "port": way.port,
        "frame": way.frame.hex(),
        "text": describe(way.frame),
        "tag": tag_text(way.frame),
        "mirror": way.mirror,
        "to": {**way.far._asdict(), "text": str(way.far)},
        "end": way.end,
        "note": way.note,
        "next": None if way.hop is None else _hop_value(way.hop),
    }
