"""The files of other programs, read for `vfab import`: the one that is named, and Kathará's .startup files beside it.

Knows: what may be read, and how much of it. Refuses to know: formats (daemons.lab.imports).
"""

from __future__ import annotations

import os
import stat
import sys

from daemons.lab.imports import kathara
from daemons.lab.yamltree import MAX_BYTES
from tools.errors import BadInput

MOST_STARTUP = 1 << 16
MOST_FILES = 500


def read_text(path: str) -> str:
    """A file's text; `-` is the input. Raises BadInput."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise BadInput(f"{path} is larger than {MAX_BYTES >> 20} MiB; that is no lab")
    return data.decode("utf-8-sig", "replace")


def chosen(path: str) -> str:
    """A Kathará lab is a folder; its file is lab.conf."""
    return os.path.join(path, "lab.conf") if os.path.isdir(path) else path


def startups(path: str, text: str) -> dict[str, str]:
    """machine -> the text of its .startup file beside lab.conf; only regular files, and no links out of the folder."""
    folder, found = os.path.dirname(path), {}
    for name in kathara.startup_names(text)[:MOST_FILES]:
        try:
            descriptor = os.open(os.path.join(folder, f"{name}.startup"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError):
            continue
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                found[name] = file.read(MOST_STARTUP).decode("utf-8", "replace")
    return found
