"""Starting a lab's fabricd in the background, and knowing when it answers.

Knows: the pipe on which fabricd says that it is ready, and its log. Refuses to know: what is asked of it afterwards.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence

from daemons.errors import UserError
from daemons.paths import LabPaths

COMMAND = (sys.executable, "-P", "-m", "daemons.fabricd")
_READY_SECONDS = 30.0


def spawn(paths: LabPaths, command: Sequence[str] = COMMAND) -> None:
    """Start fabricd for a lab; it outlives us. Returns when its control socket answers. Raises UserError."""
    paths.create()
    log = paths.log("fabricd")
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        with open(log, "ab") as output:
            subprocess.run(
                [*command, "--lab", paths.id, "--lock", paths.lock("fabricd"), "--ready-fd", str(theirs), "--detach"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs,),
                cwd="/",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                check=False,
            )
        os.close(theirs)
        theirs = -1
        answer = _read(ours)
    except OSError as error:
        raise UserError(f"cannot start the lab's controller with its log in {log}: {error.strerror}") from None
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
    if answer != "ok":
        raise UserError(answer or f"the lab's controller ended at once; its log is {log}")


def _read(fd: int) -> str:
    """What fabricd says before it closes the pipe; "" when it ended or said nothing in time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    said = b""
    while poll.poll(_READY_SECONDS * 1000):
        piece = os.read(fd, 4096)
        if not piece:
            break
        said += piece
    return said.decode(errors="replace")
