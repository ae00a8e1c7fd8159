"""What fabricd remembers of its lab: the file, what each node should be, which process is which, epochs, TCP ports,
witnesses of pools.

Knows: one SQLite file per lab, readable by others while fabricd writes. Refuses to know: how any of it comes true.
`StateStore` is the seam behind which a replicated store may stand later.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from daemons.errors import UserError
from daemons.process import Process, boot_id

VERSION = 2
_BUSY_SECONDS = 5.0

_SCHEMA = f"""
CREATE TABLE lab (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE desired (node TEXT PRIMARY KEY, kind TEXT NOT NULL, config TEXT NOT NULL);
CREATE TABLE processes (node TEXT PRIMARY KEY, kind TEXT NOT NULL, pid INTEGER NOT NULL, start_time INTEGER NOT NULL,
                        boot TEXT NOT NULL, epoch INTEGER NOT NULL, control TEXT NOT NULL);
CREATE TABLE epochs (node TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE witnesses (node TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE tcp_ports (name TEXT PRIMARY KEY, port INTEGER NOT NULL UNIQUE);
PRAGMA user_version = {VERSION};
"""


class StateError(UserError):
    """The state file is damaged, of another version, or cannot be opened."""


class DamagedState(StateError):
    """The state file's content is no good; it can be set aside, and a new one made."""


class Desired(NamedTuple):
    """What a node should be: `kind` names the daemon, `config` is what its `configure` takes, without the epoch."""

    kind: str
    config: dict[str, Any]


class ProcessRow(NamedTuple):
    """A process that fabricd has started."""

    node: str
    kind: str
    process: Process
    epoch: int
    control: str


class StateStore(Protocol):
    """What fabricd needs of a memory. Every write is kept when the call returns, also if the caller is killed then."""

    def lab(self) -> dict[str, str]: ...
    def set_lab(self, values: Mapping[str, str]) -> None: ...
    def desired(self) -> dict[str, Desired]: ...
    def set_desired(self, nodes: Mapping[str, Desired]) -> None: ...
    def processes(self) -> dict[str, ProcessRow]: ...
    def put_process(self, row: ProcessRow) -> None: ...
    def drop_process(self, node: str) -> None: ...
    def next_epoch(self, node: str) -> int: ...
    def witness(self, node: str) -> Any: ...
    def set_witness(self, node: str, value: Any) -> None: ...
    def tcp_ports(self) -> dict[str, int]: ...
    def set_tcp_ports(self, ports: Mapping[str, int]) -> None: ...
    def close(self) -> None: ...


class SqliteStore:
    """StateStore in one SQLite file. Raises StateError, from every method, when the file is no good."""

    def __init__(self, path: str, create: bool = True) -> None:
        self.path = path
        mode = "rwc" if create else "rw"
        try:
            # `?` and `#` in a path would end the URI's path.
            quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
            self._db = sqlite3.connect(
                f"file:{quoted}?mode={mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
            )
        except sqlite3.Error as error:
            raise StateError(f"cannot open the state file {path}: {error}") from None
        # The file must survive kill -9, not a power cut: then all that it describes is gone as well. And a rollback
        # journal, unlike a write-ahead log, works in a home folder on NFS.
        try:
            self._run("PRAGMA synchronous = OFF")
            self._prepare()
        except StateError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        version = self._run("PRAGMA user_version")[0][0]
        if version == 0 and not self._run("SELECT name FROM sqlite_schema"):
            self._script("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
        elif version != VERSION:
            raise StateError(
                f"the state file {self.path} has version {version} and this program knows version {VERSION};"
                " end the lab with the version that started it, or remove the file"
            )
        elif self._run("PRAGMA quick_check")[0][0] != "ok":
            raise self._damaged("its pages do not fit together")

    def _damaged(self, why: object) -> DamagedState:
        return DamagedState(
            f"the state file {self.path} is damaged ({why});"
            " vfab down ends the lab all the same, and vfab up begins a new one"
        )

    def _run(self, statement: str, values: Iterable[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, tuple(values)).fetchall()
        except sqlite3.OperationalError as error:
            raise StateError(f"cannot use the state file {self.path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None

    def _script(self, statements: str) -> None:
        try:
            self._db.executescript(statements)
        except sqlite3.Error as error:
            raise StateError(f"cannot write the state file {self.path}: {error}") from None

    def _replace(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """All rows of a table at once: others see the old ones or the new ones."""
        self._run("BEGIN IMMEDIATE")
        self._run(f"DELETE FROM {table}")
        for row in rows:
            self._run(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
        self._run("COMMIT")

    def lab(self) -> dict[str, str]:
        """`name` and `file` of the lab."""
        return dict(self._run("SELECT key, value FROM lab"))

    def set_lab(self, values: Mapping[str, str]) -> None:
        self._replace("lab", list(values.items()))

    def desired(self) -> dict[str, Desired]:
        rows = self._run("SELECT node, kind, config FROM desired ORDER BY rowid")
        return {node: Desired(kind, json.loads(config)) for node, kind, config in rows}

    def set_desired(self, nodes: Mapping[str, Desired]) -> None:
        self._replace("desired", [(node, want.kind, json.dumps(want.config)) for node, want in nodes.items()])

    def processes(self) -> dict[str, ProcessRow]:
        """The processes of this boot of the machine, whether they still live or not."""
        rows = self._run(
            "SELECT node, kind, pid, start_time, epoch, control FROM processes WHERE boot = ? ORDER BY rowid",
            (boot_id(),),
        )
        return {
            node: ProcessRow(node, kind, Process(pid, start_time), epoch, control)
            for node, kind, pid, start_time, epoch, control in rows
        }

    def put_process(self, row: ProcessRow) -> None:
        values = (
            row.node,
            row.kind,
            row.process.pid,
            row.process.start_time,
            boot_id(),
            row.epoch,
            row.control,
        )
        self._run("INSERT OR REPLACE INTO processes VALUES (?,?,?,?,?,?,?)", values)

    def drop_process(self, node: str) -> None:
        self._run("DELETE FROM processes WHERE node = ?", (node,))

    def next_epoch(self, node: str) -> int:
        """Higher than every epoch that this node had before.

        `down` removes this file, but peers in other labs remember: so the clock's seconds are the least it may be.
        """
        rows = self._run("SELECT epoch FROM epochs WHERE node = ?", (node,))
        epoch = max(rows[0][0] + 1 if rows else 1, int(time.time()))
        self._run("INSERT OR REPLACE INTO epochs VALUES (?, ?)", (node, epoch))
        return epoch

    def witness(self, node: str) -> Any:
        """What a node wanted to be remembered of itself, as it said it last; None if there is nothing."""
        rows = self._run("SELECT value FROM witnesses WHERE node = ?", (node,))
        return json.loads(rows[0][0]) if rows else None

    def set_witness(self, node: str, value: Any) -> None:
        """It outlives the node's processes. value: of JSON; None forgets it."""
        self._run("INSERT OR REPLACE INTO witnesses VALUES (?, ?)", (node, json.dumps(value)))

    def tcp_ports(self) -> dict[str, int]:
        """TCP ports that were picked for links without one, by the planner's names."""
        return dict(self._run("SELECT name, port FROM tcp_ports"))

    def set_tcp_ports(self, ports: Mapping[str, int]) -> None:
        self._replace("tcp_ports", list(ports.items()))

    def close(self) -> None:
        self._db.close()


def set_aside(path: str) -> str:
    """Rename a damaged state file, so that a new one can be made; returns its new name."""
    aside = f"{path}.damaged"
    os.replace(path, aside)
    for suffix in ("-journal", "-wal", "-shm"):
        try:
            os.unlink(path + suffix)
        except FileNotFoundError:
            pass
    return aside
