"""vfab top: what passes each port per second, and what is dropped, looked at once a second. Ends with q or Ctrl-C.

No daemon is asked: switches count in files of the lab's run folder, so looking costs them nothing.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from daemons import counter_file
from daemons.errors import UserError
from netvirt.dataplane.counters import SwitchCounters
from tools.arguments import seconds
from tools.labs import KnownLab, choose
from tools.output import colourful, paint, print_json, warn
from tools.rates import PortRate, rates, shown

_REFRESH = 1.0
_LONGEST = 3600.0
_ROOM = 4  # lines that are no rows: headline, blank, header, the cursor's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("switch", metavar="SWITCH", nargs="?", help="only this switch")
    parser.add_argument(
        "--once", type=seconds(0.1, _LONGEST), metavar="S", help="look for S seconds, print one table, and end"
    )


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    once = options.once or (_REFRESH if options.json else None)
    if once is not None:
        return _once(lab, options, once)
    with _screen() as keys:
        return _live(lab, options.switch, keys)


def _look(lab: KnownLab, only: str | None) -> tuple[dict[str, SwitchCounters], list[str]]:
    """What each switch has counted, and a sentence for each that can't be read."""
    found: dict[str, SwitchCounters] = {}
    problems = []
    for switch in [only] if only else counter_file.switches(lab.paths.run):
        try:
            found[switch] = counter_file.look(lab.paths.run, switch)
        except UserError as error:
            problems.append(str(error))
    if not found:
        raise UserError(problems[0] if problems else f"no switch of lab {lab.name} counts; vfab status tells why")
    return found, problems


def _once(lab: KnownLab, options: argparse.Namespace, period: float) -> int:
    before, _ = _look(lab, options.switch)
    began = time.monotonic()
    time.sleep(period)  # the rates are those of this time
    after, problems = _look(lab, options.switch)
    rows = rates(before, after, time.monotonic() - began)
    if options.json:
        print_json({"lab": lab.id, "seconds": period, "ports": [row._asdict() for row in rows], "problems": problems})
    else:
        print(shown(rows))
        for problem in problems:
            warn(problem)
    return 0


def _live(lab: KnownLab, only: str | None, keys: int | None) -> int:
    before, _ = _look(lab, only)
    began = time.monotonic()
    while not _quit(keys, _REFRESH):
        after, problems = _look(lab, only)
        now = time.monotonic()
        _show(lab, rates(before, after, now - began), problems, full=keys is not None)
        before, began = after, now
    return 0


def _quit(keys: int | None, period: float) -> bool:
    """Wait; True as soon as q is typed."""
    end = time.monotonic() + period
    while (left := end - time.monotonic()) > 0:
        if keys is None:
            time.sleep(left)  # no keyboard: nothing can come before
        elif select.select([keys], [], [], left)[0] and os.read(keys, 64)[:1] in (b"q", b"Q", b"\x03", b""):
            return True
    return False


def _show(lab: KnownLab, rows: list[PortRate], problems: list[str], full: bool) -> None:
    if not full:
        print(shown(rows), *(f"warning: {problem}" for problem in problems), "", sep="\n", flush=True)
        return
    size = shutil.get_terminal_size()
    fitting = rows[: max(1, size.lines - _ROOM - len(problems))]
    more = f"  {len(rows) - len(fitting)} quieter ports do not fit" if len(fitting) < len(rows) else ""
    lines = [paint(f"{lab.name}  {time.strftime('%H:%M:%S')}  q ends{more}", "bold"), "", *shown(fitting).split("\n")]
    text = "\x1b[K\r\n".join([*lines, *problems])
    print(f"\x1b[H{text}\x1b[K\x1b[J", end="", flush=True)


@contextmanager
def _screen() -> Iterator[int | None]:
    """A screen of its own and keys as they are typed, where somebody looks; else None and plain output."""
    if not (colourful(sys.stdout) or sys.stdout.isatty()) or not sys.stdin.isatty():
        yield None
        return
    import termios
    import tty

    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    print("\x1b[?1049h\x1b[?25l\x1b[?7l", end="", flush=True)  # other screen, no cursor, no wrapping of long lines
    try:
        yield keys
    finally:
        print("\x1b[?7h\x1b[?25h\x1b[?1049l", end="", flush=True)
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
