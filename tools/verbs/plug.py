"""vfab plug PORT: makes a TAP in the network namespace that it runs in, and hands it to a port with `tap: listen`.

The plug is in while the command after `--` (your shell, if there is none) runs. So a namespace of your own needs no
privilege of the switch: unshare -Urn vfab plug --address 10.0.0.5/24 s1:eth1
Knows: that exchange. Refuses to know: what the command does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess

from daemons.errors import UserError
from netvirt.ports.errors import PortError
from netvirt.ports.handover import hand_over
from netvirt.ports.tuntap import check_name, open_tap, set_link
from tools.labs import choose
from tools.verbs.attach import find_port

_NOT_FOUND = 127  # what a shell says of a command that is not there


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT", help="a switch port with tap: listen, such as s1:eth5")
    parser.add_argument("--name", default="tap0", help="the TAP's name in this namespace (tap0)")
    parser.add_argument("--address", action="append", default=[], metavar="ADDRESS/LENGTH", help="give it this address")
    parser.add_argument("--mtu", type=int, default=0, help="its MTU in bytes (1500)")
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="-- COMMAND",
        help="runs while the plug is in; options stand before PORT",
    )


def run(options: argparse.Namespace) -> int:
    _, port = find_port(choose(options.lab), options.port)
    if port["kind"] != "tap" or "path" not in port:
        raise UserError(f"{options.port} takes no TAP that is handed over; give the port tap: listen in the lab file")
    words = [word for number, word in enumerate(options.command) if number or word != "--"]
    try:
        return _plugged(options, str(port["path"]), words or [os.environ.get("SHELL", "/bin/sh")])
    except PortError as error:
        raise UserError(str(error)) from None


def _plugged(options: argparse.Namespace, path: str, words: list[str]) -> int:
    check_name(options.name)
    try:
        fd = open_tap(options.name)
    except BlockingIOError:
        raise UserError(f"{options.name} is in use here already; choose another one with --name") from None
    try:
        with hand_over(path, fd):
            problem = set_link(options.name, options.mtu, 0, True)
            if problem:
                raise UserError(problem)
            for address in options.address:
                _give(options.name, address)
            return _run(words)
    finally:
        os.close(fd)


def _give(name: str, address: str) -> None:
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if ip is None:
        raise UserError("ip (iproute2) is not installed, and --address needs it")
    done = subprocess.run([ip, "address", "add", address, "dev", name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{name} cannot have the address {address}: {done.stderr.strip()}")


def _run(words: list[str]) -> int:
    try:
        return subprocess.run(words, check=False).returncode
    except OSError as error:
        raise UserError(f"cannot run {words[0]}: {error.strerror}") from None
