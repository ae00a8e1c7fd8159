"""What a benchmark row is, and the three places it goes to: the terminal, bench.json, BENCHMARKS.md.

Knows: names, units, medians, ratios. Refuses to know: how anything is measured.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One measurement: area/medium/what/size/depth/vs-peer; ours and peer in `unit`, medians of `runs` runs."""

    name: str
    unit: str
    ours: float
    peer: float | None
    peer_name: str
    settings: str
    runs: int

    @property
    def ratio(self) -> float | None:
        return None if not self.peer else self.ours / self.peer


def make_row(
    name: str, unit: str, ours: Sequence[float], peer: Sequence[float] | None, peer_name: str, settings: str
) -> Row:
    """A row from the runs of both sides (a peer that is missing has None, and is named)."""
    theirs = statistics.median(peer) if peer else None
    return Row(name, unit, statistics.median(ours), theirs, peer_name, settings, len(ours))


def number(value: float | None) -> str:
    """Three digits that mean something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def line(row: Row) -> str:
    ratio = "" if row.ratio is None else f"  {row.ratio:.2f}x"
    beside = "" if row.peer is None else f"  | {row.peer_name}: {number(row.peer)}{ratio}"
    return f"{row.name:52} {number(row.ours):>10} {row.unit}{beside}"


def machine() -> str:
    """The machine in one line."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = (text.split(":", 1)[1].strip() for text in cpuinfo if "model name" in text)
    model = next(models, platform.machine())
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"


def as_dict(row: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "unit": row.unit,
        "ours": row.ours,
        "peer": row.peer,
        "peer_name": row.peer_name,
        "ratio": row.ratio,
        "settings": row.settings,
        "runs": row.runs,
    }


def write_json(rows: Sequence[Row], path: Path) -> None:
    path.write_text(json.dumps([as_dict(row) for row in rows], indent=1) + "\n")


HEAD = """# Benchmarks
Made by `make bench`: medians, shipped defaults, peers and we in turns in one run. Compare ratios: machines are noisy.
"""


def write_markdown(rows: Sequence[Row], path: Path) -> None:
    """Replace the rows that were measured now, keep the others; each block says when and where."""
    kept = _kept_lines(path, {row.name for row in rows})
    today = f"{date.today().isoformat()}, {machine()}"
    table = [
        f"| {row.name} | {number(row.ours)} {row.unit} | {number(row.peer)} {row.peer_name} | "
        f"{'-' if row.ratio is None else f'{row.ratio:.2f}'} | {row.settings} | {row.runs} | {today} |"
        for row in rows
    ]
    columns = "| row | ours | peer | ratio | settings | runs | when and where |\n|---|---|---|---|---|---|---|"
    path.write_text("\n".join([HEAD, columns, *sorted([*kept, *table])]) + "\n")


def _kept_lines(path: Path, replaced: set[str]) -> list[str]:
    if not path.exists():
        return []
    lines = [text for text in path.read_text().splitlines() if text.startswith("| ") and not text.startswith("| row |")]
    return [text for text in lines if text.split("|")[1].strip() not in replaced]
