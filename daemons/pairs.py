"""What `pingall` asks of hostd and netnsd, and what both answer: pairs of (host, host or address).

Knows: the two values. Refuses to know: how an echo is sent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from daemons.errors import UserError


class PairAnswer(NamedTuple):
    src: str
    dst: str
    address: str
    ok: bool
    rtt_ms: float | None
    error: str


def pairs_of(args: dict[str, Any]) -> list[tuple[str, str]]:
    """`{pairs: [[src, dst], ...]}`. Raises UserError."""
    pairs = args.get("pairs")
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise UserError("pingall needs 'pairs', a list of [source host, destination host or address]")
    return [(pair[0], pair[1]) for pair in pairs]


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(end, str) for end in pair)
