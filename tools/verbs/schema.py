"""vfab schema: the JSON Schema of lab files, for editors that complete and check as you type."""

from __future__ import annotations

import argparse

from daemons.lab.schema import text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> int:
    print(text(), end="")
    return 0
