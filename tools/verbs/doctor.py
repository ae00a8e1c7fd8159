"""vfab doctor: what this machine can and cannot do, one line for each thing that a lab may need."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from tools.checks import CHECKS, Finding
from tools.output import print_json, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> int:
    findings = [(name, finding) for name, check in CHECKS.items() for finding in _found(check)]
    broken = any(finding.level == "no" for _, finding in findings)
    if options.json:
        print_json([{"what": name, "level": finding.level, "says": finding.sentence} for name, finding in findings])
    else:
        print(table(("WHAT", "", "SAYS"), [(name, finding.level, finding.sentence) for name, finding in findings]))
    return 1 if broken else 0


def _found(check: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield check()
    except Exception as error:  # a machine odd enough to break a check must still get all the others
        yield Finding("warn", f"cannot be found out: {type(error).__name__}: {error}")
