"""A line to a lab's fabricd, which is started if there is none.

Knows: how the two of us who start it at once do not get into each other's way. Refuses to know: what is asked of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from daemons.client import Client, Unreachable
from daemons.errors import UserError
from daemons.paths import LabPaths, PathError
from daemons.spawn import spawn

_SILENCE_SECONDS = 60.0
_BEGIN_SECONDS = 10.0
_FOLDER_SECONDS = 0.5
_LOOK_SECONDS = 0.05

Events = Callable[[dict[str, Any]], None]


def apply(paths: LabPaths, file: str, dry: bool, events: Events) -> dict[str, Any]:
    """Make the lab what `file` says; the answer is fabricd's (see Fabricd.apply). Raises UserError."""
    with controller(paths) as client:
        value: dict[str, Any] = client.call("apply", events=events, file=file, dry_run=dry)
        return value


def controller(paths: LabPaths) -> Client:
    """Connected; whoever gets it closes it."""
    began = time.monotonic()
    control = paths.control("fabricd")
    while True:
        try:
            return Client(control, _SILENCE_SECONDS)
        except Unreachable:
            pass
        try:
            spawn(paths)
        except UserError as error:
            # Somebody else may have started one in the same moment, and it does not listen yet; or one is just ending,
            # and takes its folders with it. A folder that cannot be made a moment later never can. Nothing tells of a
            # socket that will be there: we look again.
            patience = _FOLDER_SECONDS if isinstance(error, PathError) else _BEGIN_SECONDS
            if time.monotonic() - began > patience:
                raise
            time.sleep(_LOOK_SECONDS)
