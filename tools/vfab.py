"""The vfab command: finds the verb, loads that one file, and turns whatever happens into words and an exit code.

Knows: the verbs' names, `-l LAB` and `--json`, exit codes. Refuses to know: what a verb does; each is in `verbs/`.

Exit codes: 0 yes, 1 the answer is no (or nobody is there to answer), 2 wrong usage or a wrong lab file, 130 Ctrl-C.
A verb's file has `add_arguments(parser)` and `run(options) -> int`.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import keyword
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

VERBS = {
    "up": "start a lab, or bring a running one to what its file says",
    "down": "end a lab; data stays",
    "run": "a lab that is up while a command runs, for CI and tests",
    "status": "switches, hosts and links, and whether they are up",
    "ps": "the lab's processes",
    "restart": "end a node's process and start it again",
    "logs": "what a node has to say",
    "exec": "run a program in a host of kind netns",
    "vm": "virtual machines: what they do, on, off, reset, shutdown, QMP",
    "console": "a virtual machine's serial console, here in the terminal",
    "ping": "ping from a host of the lab",
    "pingall": "does everybody reach whom they should, and nobody else?",
    "traffic": "how much goes through from a host to another",
    "top": "frames, bits and drops per second at each port, live",
    "port": "ports: settings, carrier, counters with each drop's reason",
    "vlan": "VLANs: their ports and stations",
    "fdb": "the stations that switches know",
    "trace": "a frame's journey: what each switch does with it, and why",
    "graph": "a picture of a lab, in the terminal or as SVG, DOT, Mermaid",
    "shell": "commands for a running lab, as Mininet has them: h1 ping h2",
    "capture": "frames as they pass a port, to a file, a pipe or in words",
    "attach": "how to plug something of yours into a port, or use a LUN",
    "plug": "hand a TAP of a namespace of your own to a port",
    "pool": "pools of files: members, space, a new member for a dead one, scrub",
    "volume": "the volumes in pools",
    "lun": "the LUNs that guests use as disks",
    "labs": "the labs that run, and the examples",
    "validate": "check a lab file",
    "topo": "the lab file of a shape: single,4 or tree,2,3 or leaf-spine,2,4",
    "import": "a lab file from one of containerlab, Kathará or GraphML",
    "schema": "the JSON Schema of lab files, for editors",
    "key": "keys for trunks between labs over TCP",
    "doctor": "what this machine can and cannot do",
    "demo": "a lab coming up, live",
}

USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE ended
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}; {self.prog} --help tells more\n")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()  # whoever read it has seen enough
        return BROKEN_PIPE
    except Exception as error:
        return _explain(error)


def _open_standard_streams() -> None:
    """Those that are closed lead nowhere; or the next file that is opened would be our output."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as we live


def _forget_output() -> None:
    """What is still buffered goes nowhere: the interpreter flushes at exit, and must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    if not sys.platform.startswith("linux"):
        print("vfab: virtfab runs on Linux; on macOS and Windows run it in a Linux VM or in WSL2", file=sys.stderr)
        return USAGE
    lab, verb, rest = _split(arguments)
    asked = bool({"-h", "--help"} & set(arguments))
    if verb is None and (asked or not arguments):
        print(_overview())
        return 0 if asked else USAGE
    if verb not in VERBS:
        what = f"verb {verb!r}{_near(verb)}" if verb is not None else f"verb in {' '.join(arguments)!r}"
        print(f"vfab: there is no {what}; vfab --help lists them", file=sys.stderr)
        return USAGE
    name = f"{verb}_" if keyword.iskeyword(verb) else verb  # PEP 8's way out
    module = importlib.import_module(f"tools.verbs.{name}")
    parser = Parser(prog=f"vfab {verb}", description=f"{VERBS[verb][0].upper()}{VERBS[verb][1:]}.", allow_abbrev=False)
    parser.add_argument("-l", "--lab", metavar="LAB", default=lab, help="the lab: its name, its id or its file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(rest)))


def _split(arguments: list[str]) -> tuple[str | None, str | None, list[str]]:
    """(the lab of a `-l` before the verb, the verb, what follows it)."""
    lab, index = None, 0
    while index < len(arguments) and arguments[index].startswith("-"):
        name, equals, value = arguments[index].partition("=")
        if name == "--version":
            from importlib.metadata import version

            print(f"virtfab {version('virtfab')}")
            raise SystemExit(0)
        if name not in ("-l", "--lab"):
            return lab, None, []
        if not equals:
            index += 1
            value = arguments[index] if index < len(arguments) else ""
        lab = value
        index += 1
    return (lab, arguments[index], arguments[index + 1 :]) if index < len(arguments) else (lab, None, [])


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {what}" for name, what in VERBS.items()]
    return "\n".join(
        [
            "usage: vfab [-l LAB] VERB ...",
            "",
            "Ethernet switches, VLANs, hosts and storage from one file, without root.",
            "",
            *lines,
            "",
            "Begin with: vfab up two-switches; vfab status; vfab pingall; vfab down",
            "vfab VERB --help tells more of each; vfab --version tells the version.",
        ]
    )


def _near(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _explain(error: Exception) -> int:
    """One sentence for an error, never a traceback: that goes into a file when the mistake is ours."""
    from daemons.errors import UserError
    from tools.errors import BadFile, BadInput

    if isinstance(error, UserError):
        print(error if isinstance(error, BadFile) else f"vfab: {error}", file=sys.stderr)
        return USAGE if isinstance(error, BadInput) else 1
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        _forget_output()
        print(f"vfab: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1
    print(f"vfab: internal error ({type(error).__name__}: {error}); {_keep_details()}", file=sys.stderr)
    return 1


def _keep_details() -> str:
    """Write the traceback of the current exception where it can be found; says where that is."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="vfab-error-", suffix=".txt", delete=False) as file:
            file.write(f"vfab {' '.join(sys.argv[1:])}\n{traceback.format_exc()}")
        return f"the details are in {file.name}"
    except OSError as error:
        return f"the details could not be written: {error.strerror}"


if __name__ == "__main__":
    sys.exit(main())
