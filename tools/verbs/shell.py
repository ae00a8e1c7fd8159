"""vfab shell: a running lab by short commands, the node first as in Mininet: h1 ping h2, link s1 h1 down, pingall.

Reads a terminal, a pipe, or -c COMMAND; a mistake is one sentence and does not end it. Exit code: the last command's.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable

from daemons.errors import UserError
from daemons.lab.mistake import printable
from tools.errors import BadInput
from tools.labs import choose
from tools.shell_commands import Commands, Ended
from tools.shell_input import lines
from tools.shell_lab import look
from tools.shell_run import Broken
from tools.vfab import BROKEN_PIPE, INTERRUPTED, USAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="LAB", nargs="?", help="the lab: its name, its id or its file (as -l)")
    parser.add_argument(
        "-c", "--command", metavar="COMMAND", action="append", help="run this and leave; may be given several times"
    )


def run(options: argparse.Namespace) -> int:
    lab = choose(options.name or options.lab)
    commands = Commands(lab)
    script = options.command is not None or not sys.stdin.isatty()
    if not script:
        nodes = look(lab).nodes
        print(f"Lab {lab.name}: {len(nodes)} nodes. help tells what can be said, exit leaves; the lab stays up.")
    source = options.command or lines(f"{lab.name}> ", commands.words)
    return follow(commands, source, script)


def follow(commands: Commands, source: Iterable[str], script: bool) -> int:
    """Run all lines; the exit code of the last one. script: nobody sits there and types."""
    code = 0
    for line in source:
        try:
            words = shlex.split(line, comments=True)
            if words:
                code = commands.run(words)
        except Ended:
            break
        except (Broken, BrokenPipeError):
            return BROKEN_PIPE
        except KeyboardInterrupt:
            code = INTERRUPTED
        except ValueError as error:  # shlex: a quote that is not closed
            code = _complain(f"{str(error).lower()} in this line; close it, or put \\ before it", USAGE)
        except UserError as error:
            code = _complain(str(error), USAGE if isinstance(error, BadInput) else 1)
        sys.stdout.flush()
        if script and code == INTERRUPTED:
            break  # Ctrl-C is for all of it
    return code


def _complain(sentence: str, code: int) -> int:
    sys.stdout.flush()
    print(f"vfab: {printable(sentence)}", file=sys.stderr, flush=True)
    return code
