"""What the verbs for virtual machines ask: the lab's vmd, and one machine's row of its status.

Knows: vmd's control socket. Refuses to know: how machines run, how rows are shown.
"""

from __future__ import annotations

from typing import Any

from daemons.client import Client, Unreachable
from daemons.errors import UserError
from daemons.known import KnownLab, desired

VMD = "vmd"
# vmd answers an order when it is done: a guest that is switched on may wait for a trial of KVM and for its pool.
SECONDS = 60.0
_STATUS_SECONDS = 10.0  # that it answers at once

Row = dict[str, Any]


def ask(lab: KnownLab, op: str, *, seconds: float = SECONDS, **args: Any) -> Any:
    """An operation of the lab's vmd. Raises UserError."""
    if VMD not in desired(lab):
        raise UserError(f"lab {lab.name} has no virtual machines")
    try:
        with Client(lab.paths.control(VMD), timeout=seconds) as client:
            return client.call(op, **args)
    except Unreachable as error:
        raise UserError(f"{error}; vfab status tells what is up") from None


def rows(lab: KnownLab) -> list[Row]:
    """All machines of the lab, as vmd's status has them."""
    found: list[Row] = ask(lab, "status", seconds=_STATUS_SECONDS)["machines"]
    return found


def row(lab: KnownLab, name: str) -> Row:
    found = rows(lab)
    for each in found:
        if each["name"] == name:
            return each
    there = ", ".join(each["name"] for each in found) or "none"
    raise UserError(f"there is no virtual machine {name!r} in this lab; there are: {there}")
