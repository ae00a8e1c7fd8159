"""How many members of a soak's pool can't be relied upon, so that nothing beyond the promise is done to it.

Knows: why each member is doubtful, what ends that. Refuses to know: how a member is harmed (soak_harm), the pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LIES = "lies"  # it is told to, now
FAILS = "fails"  # it is told to, now: it may be out at any time
TAINTED = "tainted"  # it has lied: nobody knows which of its content is bad
AWAY = "away"  # its file is elsewhere
LOST = "lost"  # its file is no more what it was
OUT = "out"  # it was called out


class Account:
    """budget: members that may be doubtful at the same time. Members are known by their paths, which are used once."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._why: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._why

    @property
    def doubtful(self) -> dict[str, set[str]]:
        return {path: set(reasons) for path, reasons in self._why.items()}

    def of(self, *reasons: str) -> list[str]:
        """Those with one of these reasons."""
        return [path for path, found in self._why.items() if found & set(reasons)]

    def bears(self, path: str) -> bool:
        """Whether this one may be harmed."""
        return len({*self._why, path}) <= self.budget

    def add(self, path: str, reason: str) -> None:
        assert self.bears(path), f"{path} would be one doubtful member too many beside {self._why}"
        self._why.setdefault(path, set()).add(reason)

    def drop(self, path: str, *reasons: str) -> None:
        found = self._why.get(path)
        if found is not None:
            found -= set(reasons)
            if not found:
                del self._why[path]

    def faults_end(self, path: str) -> None:
        """Nothing is told to fail or lie any more. One that failed may be out, until sync() says that it is in."""
        for before, after in ((LIES, TAINTED), (FAILS, OUT)):
            if before in self._why.get(path, ()):
                self._why[path].add(after)
        self.drop(path, LIES, FAILS)

    def scrubbed(self, paths: Iterable[str]) -> None:
        """A scrub has read and mended all of these that are in."""
        for path in paths:
            if OUT not in self._why.get(path, ()):
                self.drop(path, TAINTED)

    def sync(self, rows: Iterable[Mapping[str, Any]]) -> str:
        """What the pool says of its members: what is wrong with that, "" if nothing is."""
        inside = set()
        for row in rows:
            path, state = row["path"], row["state"]
            inside |= {path} if state != "removed" else set()
            if state == "in":
                self.drop(path, OUT)
            elif state == "out":
                if path not in self._why:
                    return f"member {path} is out, and nobody has done anything to it"
                self._why[path].add(OUT)
        for path in set(self._why) - inside:
            del self._why[path]
        return ""
