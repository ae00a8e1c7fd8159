"""vfab demo: a lab comes up, is measured, loses a switch and gets it back - live, with a user's own commands.

Knows: what to show and in which order. Refuses to know: how any of it works; it calls the other verbs.
It has a run folder and a state folder of its own, so that it meets no lab of the user's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from daemons.errors import UserError
from tools import demo_storage
from tools.output import paint

LAB = "two-switches"
VFAB = (sys.executable, "-P", "-m", "tools.vfab")
PATIENCE = 30.0  # seconds for any one command
PINGS, INTERVAL = 60, 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--svg", metavar="FILE", default="demo.svg", help="where the picture goes (demo.svg)")


def run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, frame: _asked.append(number))
    with _own_folders():
        try:
            _show(options.svg)
        finally:
            subprocess.run([*VFAB, "down", "--all"], stdout=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    print(f"\nThat was {time.monotonic() - began:.0f} seconds. What to try next:\n{NEXT}")
    return 0


# Signals that asked for the end. A handler that raised would do so inside of subprocess, too, which then may hang.
_asked: list[int] = []


def _waited(child: subprocess.Popen[bytes]) -> int:
    """The exit code of a command. Raises SystemExit when somebody asks for the end meanwhile: then first it is ended,
    and the lab is taken down; UserError where it takes too long."""
    ends, code = time.monotonic() + PATIENCE, child.poll()
    while code is None and not _asked and time.monotonic() < ends:
        with suppress(subprocess.TimeoutExpired):
            code = child.wait(0.1)
    if code is None:
        child.kill()
        child.wait()
    if _asked:
        raise SystemExit(128 + _asked[0])
    if code is None:
        raise UserError(f"the demo stops: a command took more than {PATIENCE:g} seconds")
    return code


NEXT = """
  vfab up two-switches          the same lab, to keep; vfab down ends it
  vfab capture s1:eth9          frames on the trunk as they pass; --decode explains, -w FILE is for Wireshark
  vfab attach s1:eth5           what to tell QEMU or libvirt so that a virtual machine is in it
  vfab labs                     the other examples; vfab graph NAME draws one
  README.md                     lab files, virtual machines, Python
(vfab is .venv/bin/vfab where `make` built it.)"""


def _show(svg: str) -> None:
    _say("A lab is a file. This one has two switches, two VLANs and a trunk between them:")
    _vfab("graph", LAB)
    _vfab("graph", LAB, "--svg", svg)
    _say("Every switch becomes a process; hosts share one. No root, nothing installed:")
    _vfab("up", LAB)
    _say("Who shares a VLAN is reached, also across the trunk; nobody else is:")
    _vfab("ping", "h1", "h3", "-c", "3")
    _vfab("ping", "h1", "h2", "-c", "1", "-W", "0.5", code=1)
    _vfab("pingall")
    _say("On the trunk the frames carry their VLAN:")
    _tags()
    _say("How much goes through, host to host over both switches:")
    _vfab("traffic", "h1", "h3")
    _say("Now switch s1 is killed (kill -9) while h1 pings h3:")
    _kill()
    _say("The end leaves nothing behind:")
    _vfab("down")
    demo_storage.show(_say, _vfab, _json)


def _say(text: str) -> None:
    print(f"\n{paint('## ' + text, 'bold')}", flush=True)


def _vfab(*args: str, code: int = 0) -> None:
    """Show a command and run it; raises UserError if it does not end with `code`."""
    print(paint(f"$ vfab {' '.join(args)}", "dim"), flush=True)
    done = _waited(subprocess.Popen([*VFAB, *args]))
    if done != code:
        raise UserError(f"the demo stops: `vfab {' '.join(args)}` ended with {done}, not {code}")


def _json(*args: str) -> Any:
    with tempfile.TemporaryFile() as output:
        _waited(subprocess.Popen([*VFAB, *args, "--json"], stdout=output))
        output.seek(0)
        return json.loads(output.read())


def _tags() -> None:
    print(paint("$ vfab capture s1:eth9 -c 4", "dim"), flush=True)
    capture = subprocess.Popen([*VFAB, "capture", "s1:eth9", "-c", "4", "--seconds", "10"])
    try:
        while capture.poll() is None:
            for source, target in (("h1", "h3"), ("h2", "h4")):
                _json("ping", source, target, "-c", "1")
    finally:
        _waited(capture)


def _kill() -> None:
    before = _json("ps")["nodes"]["s1"]
    count = ["ping", "h1", "h3", "-c", str(PINGS), "-i", str(INTERVAL), "-W", "0.2", "--json"]
    with tempfile.TemporaryFile() as output:
        ping = subprocess.Popen([*VFAB, *count], stdout=output)
        time.sleep(1.0)  # let it run a little: this is a show
        os.kill(before["pid"], signal.SIGKILL)
        _waited(ping)
        output.seek(0)
        result = json.loads(output.read())
    after = _json("ps")["nodes"]["s1"]
    lost = result["sent"] - result["received"]
    print(
        f"s1 was pid {before['pid']} and is pid {after['pid']} now; of {result['sent']} pings, one every "
        f"{INTERVAL * 1000:.0f} ms, {lost} got no answer: about {lost * INTERVAL:.2f} s without s1."
    )
    if after["pid"] == before["pid"] or not result["received"]:
        raise UserError("the demo stops: the killed switch did not come back")


@contextmanager
def _own_folders() -> Iterator[None]:
    """XDG folders that are gone afterwards, for this process and those that it starts.

    Their names are short: where a socket's path would be too long, all labs of a user share one folder (daemons.paths).
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="vfd-", dir="/tmp") as folder:
        for name, variable in (("r", "XDG_RUNTIME_DIR"), ("state", "XDG_STATE_HOME"), ("data", "XDG_DATA_HOME")):
            path = os.path.join(folder, name)
            os.mkdir(path, 0o700)
            os.environ[variable] = path
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
