"""The one error of the CNI plugin, and the codes that the specification (1.1.0, "Error") has for it.

Knows: codes, how an error is told. Refuses to know: who raises it.
"""

from __future__ import annotations

from typing import Any, Final

VERSION, UNSUPPORTED, NO_CONTAINER, ENVIRONMENT, IO, DECODE, CONFIG, TRY_AGAIN = 1, 2, 3, 4, 5, 6, 7, 11
NOT_AVAILABLE, LIMITED = 50, 51  # of STATUS: no ADD now; and containers that are there may be cut off, too
# From 100 on they are a plugin's own.
FAILED, TAKEN, CHECK_FAILED, OURS = 100, 101, 102, 999

LATEST: Final = "1.1.0"


class CniError(Exception):
    """code: of the list above; msg: one sentence; details: what is known beside it."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details

    def to_json(self, version: str) -> dict[str, Any]:
        more = {"details": self.details} if self.details else {}
        return {"cniVersion": version, "code": self.code, "msg": self.msg, **more}
