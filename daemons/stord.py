"""One pool as a process: its LUNs over NBD, its members looked after; started and configured by fabricd.

Knows: the control operations, the order in which a configuration is applied.
Refuses to know: what happens to a block (storvirt), when background work has its turn (stord_keeper), the lab.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from daemons import stord_config, stord_jobs, stord_report
from daemons.control import Handler, Reply
from daemons.daemon import serve
from daemons.errors import UserError
from daemons.loop import Loop
from daemons.stord_config import Config, WantedLun, WantedVolume
from daemons.stord_keeper import Keeper
from daemons.stord_luns import Luns
from daemons.stord_open import open_or_create
from storvirt.block import BlockError
from storvirt.nbd.client import Export
from storvirt.nbd.export import ExportInfo
from storvirt.pool.growth import grow_volume
from storvirt.pool.pool import PoolError, Suspended
from storvirt.pool.serve import Served

LISTEN_SECONDS = 1.0


class Stord:
    """The process's one object: a Keeper once it is configured, its LUNs, and the operations."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.config: Config | None = None
        self.keeper: Keeper | None = None
        self.luns = Luns(loop)
        self.opening: dict[str, str] = {}  # why a listed file was left out, by its path
        self.problems: list[str] = []  # problems of the configuration
        self.since = time.time()
        self._served: dict[str, Served] = {}
        self._ending = False

    # --- configuration

    def configure(self, args: dict[str, Any], reply: Reply) -> None:
        wanted = stord_config.check(args.get("config"))
        if self.config is not None and wanted.epoch != self.config.epoch:
            raise UserError(f"{self.name} lives in epoch {self.config.epoch} and can't change to {wanted.epoch}")
        keeper = self.keeper or self._open(wanted)
        self.config = wanted
        self.problems = []
        for volume in wanted.volumes.values():
            try:
                self._set_volume(keeper, volume)
            except (PoolError, BlockError, Suspended) as error:
                self.problems.append(f"volume {volume.name}: {error}")
        there = {row.name for row in keeper.pool.volume_rows.values()}
        luns = {name: lun for name, lun in wanted.luns.items() if lun.volume in there}
        self.luns.become(luns, self._export)
        reply.done()

    def _open(self, wanted: Config) -> Keeper:
        try:
            opened = open_or_create(wanted.pool, wanted.members, wanted.size)
        except UserError as error:
            self.problems = [str(error)]
            raise
        self.opening = opened.problems
        for sentence in opened.problems.values():
            print(sentence, file=sys.stderr, flush=True)
        made = "made" if opened.created else "open"
        print(f"pool {wanted.pool} is {made}, {len(opened.paths)} members", file=sys.stderr, flush=True)
        self.keeper = Keeper(self.loop, opened.pool, opened.paths)
        self.loop.call_later(LISTEN_SECONDS, self._listen)
        return self.keeper

    def _set_volume(self, keeper: Keeper, wanted: WantedVolume) -> None:
        pool = keeper.pool
        row = next((row for row in pool.volume_rows.values() if row.name == wanted.name), None)
        if row is None:
            pool.create_volume(wanted.name, wanted.size, wanted.raid, wanted.grain)
            return
        self.problems += stord_report.volume_differs(row, wanted)
        if wanted.size > row.size:
            grow_volume(pool, wanted.name, wanted.size)

    def _export(self, lun: WantedLun) -> Export:
        assert self.keeper is not None
        disk = self.keeper.pool.disk(lun.volume)
        if lun.name not in self._served:
            self._served[lun.name] = self.keeper.serve(disk)
        info = ExportInfo(lun.name, disk.size, f"volume {lun.volume} of pool {self.name}", lun.read_only, True)
        return Export(info, self._served[lun.name])

    def _listen(self) -> None:
        """What could not be listened at may be free by now."""
        if not self._ending:
            self.luns.listen()
            self.loop.call_later(LISTEN_SECONDS, self._listen)

    # --- operations

    def _opened(self) -> Keeper:
        if self.keeper is None:
            raise UserError(f"pool {self.name} is not open")
        return self.keeper

    def status(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done(stord_report.status(self))

    def flush(self, args: dict[str, Any], reply: Reply) -> None:
        """Answers when everything that was acknowledged is durable."""

        def done(error: BlockError | None) -> None:
            if error is None:
                reply.done()
            else:
                reply.fail(str(error))

        self._opened().flush(done)

    def checkpoint(self, args: dict[str, Any], reply: Reply) -> None:
        try:
            self._opened().pool.checkpoint()
        except (PoolError, BlockError, Suspended) as error:
            raise UserError(str(error)) from None
        reply.done()

    def replace(self, args: dict[str, Any], reply: Reply) -> None:
        """`{member, path}`: begin to move what the member holds to a new file; `status` tells how far it is."""
        keeper = self._opened()
        listed = self.config.members if self.config is not None else ()
        member, path = str(args.get("member", "")), str(args.get("path", ""))
        keeper.task = stord_jobs.begin_replace(keeper, listed, member, path)
        reply.done(keeper.task.row())

    def scrub(self, args: dict[str, Any], reply: Reply) -> None:
        """Begin to read everything and mend what is bad; `status` tells how far it is."""
        keeper = self._opened()
        keeper.task = stord_jobs.begin_scrub(keeper)
        reply.done(keeper.task.row())

    @property
    def handlers(self) -> dict[str, Handler]:
        """The control operations."""
        operations = ("configure", "status", "flush", "checkpoint", "replace", "scrub", "stop")
        return {name: getattr(self, name) for name in operations}

    # --- the end

    def stop(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done()
        self.end()

    def end(self) -> None:
        """Goodbye to the clients, a checkpoint, then out of run()."""
        if self._ending:
            return
        self._ending = True
        self.luns.close()
        if self.keeper is None:
            self.loop.stop()
        else:
            self.keeper.end(self.loop.stop)

    def close(self) -> None:
        """All is closed by end()."""


def main(argv: Sequence[str] | None = None) -> int:
    return serve("stord", "pool", Stord, argv)


if __name__ == "__main__":
    sys.exit(main())
