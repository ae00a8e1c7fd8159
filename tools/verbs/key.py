"""vfab key: the keys by which labs know each other over TCP. Public keys may be shown to anybody."""

from __future__ import annotations

import argparse
import json
import os
import re

from daemons.errors import UserError
from daemons.paths import keys_folder, state_root
from netvirt.ports import curve
from netvirt.ports.errors import PortError
from tools.errors import BadInput
from tools.output import print_json, table

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="show|import")
    show = what.add_parser("show", help="the public key of a lab (made if it has none), or all of them")
    show.add_argument("name", metavar="LAB", nargs="?")
    # Without options of its own: one key in 85 begins with a dash.
    take = what.add_parser(
        "import", help="remember the public key of a lab on another machine", prefix_chars="\0", add_help=False
    )
    take.add_argument("name", metavar="LAB")
    take.add_argument("key", metavar="KEY", help="40 characters, as vfab key show prints them there")


def run(options: argparse.Namespace) -> int:
    name: str | None = getattr(options, "name", None)
    if name is not None and not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} is no lab's name; use a letter, then up to 30 letters, digits, _ or -")
    try:
        if options.what == "import" and name is not None:
            return _import(name, options.key)
        return _show(name, options.json)
    except PortError as error:
        raise UserError(str(error)) from None


def _show(name: str | None, as_json: bool) -> int:
    if name is not None:
        found = {name: curve.public_key(curve.ensure_key(keys_folder(), name))}
    else:
        found = {each: curve.public_key(_path(each)) for each in _names()}
    if as_json:
        print_json(found)
    elif name is not None:
        print(found[name])
    else:
        print(
            table(("LAB", "PUBLIC KEY"), list(found.items())) if found else "No keys yet; vfab key show LAB makes one."
        )
    return 0


def _names() -> list[str]:
    try:
        entries = os.listdir(os.path.join(state_root(), "keys"))
    except FileNotFoundError:
        return []
    return sorted(entry.removesuffix(".json") for entry in entries if entry.endswith(".json"))


def _path(name: str) -> str:
    return os.path.join(state_root(), "keys", f"{name}.json")


def _import(name: str, key: str) -> int:
    if not curve.is_key(key):
        raise BadInput(f"{key!r} is no public key; it must have 40 characters, as vfab key show prints them")
    path = os.path.join(keys_folder(), f"{name}.json")
    try:
        # Exclusive: a key pair of our own, or a key that was trusted before, is never replaced in silence.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"public": key}, file)
    except FileExistsError:
        if curve.public_key(path) == key:
            return 0
        raise UserError(f"there is another key for {name} already; remove {path} if the new one is right") from None
    print(f"The key of {name} is in {path}.")
    return 0
