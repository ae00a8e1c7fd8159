"""One pool as a process: its LUNs over NBD, its members looked after; started and configured by fabricd.

Knows: the control operations, the order in which a configuration is applied.
Refuses to know: what happens to a block (storvirt), when background work has its turn (stord_keeper), the lab.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container, Sequence
from typing import Any

from daemons import stord_config, stord_inspect, stord_jobs, stord_report
from daemons.control import Handler, Reply
from daemons.daemon import serve
from daemons.errors import UserError
from daemons.loop import Loop
from daemons.stord_away import is_cut_off
from daemons.stord_config import Config, WantedLun, WantedVolume, Witness
from daemons.stord_faults import Faults
from daemons.stord_gate import Gate
from daemons.stord_keeper import Keeper
from daemons.stord_luns import Luns
from daemons.stord_member_ops import MemberOps
from daemons.stord_members import Watch, keep_spares
from daemons.stord_open import Opened, Unreached, Waits, open_or_create
from daemons.stord_witness import Teller
from daemons.worker import Worker
from storvirt.backing.places import is_elsewhere
from storvirt.block import BlockError
from storvirt.nbd.client import Export
from storvirt.nbd.export import ExportInfo
from storvirt.pool.growth import grow_volume
from storvirt.pool.pool import PoolError, Suspended
from storvirt.pool.serve import Served

LOOK_SECONDS = 1.0
RETRY_SECONDS = 0.5
REACH_SECONDS = 5.0  # in which members elsewhere are waited for: their servers may begin with this one, or after it


class Stord:
    """The process's one object: a Keeper once the pool is open, its LUNs, and the operations."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.config: Config | None = None
        self.keeper: Keeper | None = None
        self.faults: Faults | None = None
        self.waiting = ""  # why the pool, which is there, is not open yet
        self.luns = Luns(loop)
        self.opening: dict[str, str] = {}  # why a listed file was left out, by its path
        self.made = False  # the pool is new: there were no files
        self.problems: list[str] = []  # problems of the configuration
        self.since = time.time()
        self._wanted: Config | None = None  # the newest, also if it was refused
        self._degraded = False
        self._volumes: dict[str, int] = {}  # while it waits: the sizes of the volumes that the pool has
        self._gates: dict[str, Gate] = {}
        self._served: dict[str, Served] = {}
        self._teller = Teller()
        self._ending = False
        self.watch: Watch | None = None
        self._member_ops = MemberOps(self._opened)
        self._first: int | None = None  # when the pool was to be opened for the first time
        self._unanswered: list[Reply] = []
        self._opener: Worker | None = None  # of a pool that waits to be opened
        self._asking = False  # they are asked for the first time, and nobody is let down if the pool is refused
        self._reaching = False  # it waits for members elsewhere, and not because of what they hold
        loop.call_later(LOOK_SECONDS, self._look)

    # --- configuration

    def configure(self, args: dict[str, Any], reply: Reply) -> None:
        wanted = stord_config.check(args.get("config"))
        if self.config is not None and wanted.epoch != self.config.epoch:
            raise UserError(f"{self.name} lives in epoch {self.config.epoch} and can't change to {wanted.epoch}")
        self._wanted = wanted
        if self.keeper is None and not self.waiting:
            if any(map(is_elsewhere, wanted.members)):
                self._ask_for(wanted)
            else:
                self._open(wanted)
        self._become(wanted)
        self._unanswered.append(reply)
        self._answer()

    def _answer(self) -> None:
        """Who configures hears of it when members elsewhere are there, or are not waited for any more."""
        if self.keeper is None and self._reaching and self._patient:
            return
        unanswered, self._unanswered = self._unanswered, []
        for reply in unanswered:
            reply.done()

    @property
    def _patient(self) -> bool:
        """Whether members elsewhere that can't be reached are waited for."""
        return not self._degraded and self.loop.now() - (self._first or 0) < REACH_SECONDS * 1e9

    def _become(self, wanted: Config) -> None:
        """The pool is open, or waits to be."""
        self.config = wanted
        self.problems = []
        if self.keeper is None:
            self.luns.become(self._luns_of(wanted, self._volumes), self._parked)
            return
        for volume in wanted.volumes.values():
            try:
                self._set_volume(self.keeper, volume)
            except (PoolError, BlockError, Suspended) as error:
                self.problems.append(f"volume {volume.name}: {error}")
        self.problems += keep_spares(self.keeper, wanted.spares, wanted.size)
        self.keeper.rate = wanted.repair_rate
        if self.watch is not None:
            self.watch.grace = wanted.spare_after
        there = {row.name for row in self.keeper.pool.volume_rows.values()}
        self.luns.become(self._luns_of(wanted, there), self._export)
        gates, self._gates = self._gates, {}
        for name, gate in gates.items():
            if name in self._served:
                gate.open(self._served[name])

    @staticmethod
    def _luns_of(wanted: Config, volumes: Container[str]) -> dict[str, WantedLun]:
        return {name: lun for name, lun in wanted.luns.items() if lun.volume in volumes}

    def _open(self, wanted: Config) -> None:
        """Raises UserError. When it returns, the pool is open or `waiting`."""
        began = self.loop.now()
        self._take(wanted, self._attempt(wanted)(), began)

    def _ask_for(self, wanted: Config) -> None:
        """Members elsewhere may take their time: what comes of it is heard when they have answered."""
        self._asking, self._reaching = True, True
        self.waiting = f"pool {wanted.pool} waits: the servers of its members are being asked"
        self.config = wanted
        self._try_again()

    def _attempt(self, wanted: Config) -> Callable[[], Opened | Waits | UserError]:
        """What opens the pool when it is called, perhaps in a thread."""
        self._first = self.loop.now() if self._first is None else self._first
        degraded, make, patient = self._degraded, not self.waiting or self._reaching, self._patient

        def attempt() -> Opened | Waits | UserError:
            try:
                return open_or_create(wanted, degraded, make, patient)
            except (Waits, UserError) as error:
                return error

        return attempt

    def _take(self, wanted: Config, answer: Opened | Waits | UserError, began: int) -> None:
        """Raises UserError."""
        if isinstance(answer, Opened):
            self._begin(wanted, answer)
        elif isinstance(answer, Waits):
            self._reaching = isinstance(answer, Unreached)
            if answer.volumes:
                self._volumes = {row.name: row.size for row in answer.volumes}
            self._wait(str(answer), began)
        elif self.waiting and not self._asking:
            self._wait(str(answer), began)  # guests wait already: they are not let down
        else:
            self.problems = [str(answer)]
            raise answer

    def _wait(self, sentence: str, began: int) -> None:
        if sentence != self.waiting:
            self._say(sentence)
        self.waiting = sentence
        took = (self.loop.now() - began) / 1e9  # the whole log is read each time
        self.loop.call_later(max(RETRY_SECONDS, 4 * took), self._try_again)

    def _try_again(self) -> None:
        """In a thread: servers of members elsewhere may hang, and whoever asks how it is going wants an answer."""
        if self._ending or self.keeper is not None or self.config is None:
            return
        wanted, began = self.config, self.loop.now()
        self._opener = self._opener or Worker(self.loop)
        self._opener.run(self._attempt(wanted), lambda answer: self._tried(wanted, answer, began))

    def _tried(self, wanted: Config, answer: Opened | Waits | UserError, began: int) -> None:
        try:
            self._take(wanted, answer, began)
        except UserError as error:
            self.config, self.waiting = None, ""
            unanswered, self._unanswered = self._unanswered, []
            for reply in unanswered:
                reply.fail(str(error))
            return
        finally:
            self._asking = False
        if self.keeper is not None and self.config is not None:
            self._become(self.config)
        self._answer()

    def _begin(self, wanted: Config, opened: Opened) -> None:
        self.opening = opened.problems
        self.made = opened.created
        for sentence in opened.problems.values():
            self._say(sentence)
        self._say(f"pool {wanted.pool} is {'made' if opened.created else 'open'}, {len(opened.paths)} members")
        self.waiting = ""
        self.keeper = Keeper(self.loop, opened.pool, opened.paths)
        self.watch = Watch(self.keeper, opened.wrong)
        self.faults = Faults(self.keeper)
        self._resume_job(opening=True)

    def _let_go(self, keeper: Keeper) -> None:
        """As if killed: whoever is connected connects anew, and waits until the pool can be opened."""
        assert self.config is not None
        self.config = self.config._replace(witness=Witness(*keeper.pool.witness))
        self.keeper = self.watch = self.faults = None
        self.waiting, self._first = keeper.suspended, None
        self._served, self._gates = {}, {}
        self._volumes = {row.name: row.size for row in keeper.pool.volume_rows.values()}
        self.luns.become({}, self._parked)
        self.luns.become(self._luns_of(self.config, self._volumes), self._parked)
        keeper.end(lambda: self._wait(self.waiting, self.loop.now()), checkpoint=False)

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
        served = self._served[lun.name]
        return Export(self._info(lun, disk.size), served, served.forget)

    def _parked(self, lun: WantedLun) -> Export:
        gate = self._gates.setdefault(lun.name, Gate())
        return Export(self._info(lun, self._volumes[lun.volume]), gate, gate.forget)

    def _info(self, lun: WantedLun, size: int) -> ExportInfo:
        return ExportInfo(lun.name, size, f"volume {lun.volume} of pool {self.name}", lun.read_only, True)

    # --- every second

    def _look(self) -> None:
        """What could not be listened at may be free by now; what is to be done by itself is begun; fabricd is told."""
        if self._ending:
            return
        self.loop.call_later(LOOK_SECONDS, self._look)
        self.luns.listen()
        if self.keeper is not None:
            if self.watch is not None:
                self.watch.away.see()
            self._resume_job()
            self._teller.look(self.keeper, self.loop.now())
            if self.keeper.suspended and is_cut_off(self.keeper.pool):
                self._let_go(self.keeper)

    def _resume_job(self, opening: bool = False) -> None:
        """A job that was cut short goes on. One that failed waits for somebody to mend what is wrong."""
        keeper = self.keeper
        assert keeper is not None
        if keeper.task is None or keeper.task.state in ("done", "cancelled"):
            task = stord_jobs.resume(keeper, opening)
            if task is not None:
                keeper.task = task
                self._say(f"{task.kind} {task.what} goes on")
        if self.watch is not None and (keeper.task is None or keeper.task.state != "running"):
            begun = self.watch.look(self.loop.now())
            if begun is not None:
                keeper.task = begun
                self._say(f"{begun.kind} {begun.what} begins by itself")

    def _say(self, sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    # --- operations

    def _opened(self) -> Keeper:
        if self.keeper is None:
            raise UserError(self.waiting or f"pool {self.name} is not open")
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

    def scrub(self, args: dict[str, Any], reply: Reply) -> None:
        """Begin to read everything and mend what is bad; `status` tells how far it is."""
        keeper = self._opened()
        keeper.task = stord_jobs.begin_scrub(keeper)
        reply.done(keeper.task.row())

    def inspect(self, args: dict[str, Any], reply: Reply) -> None:
        """`{volume, offset, without}`: where a byte lies; see storvirt.pool.inspection."""
        reply.done(stord_inspect.answer(self._opened(), args))

    def fault(self, args: dict[str, Any], reply: Reply) -> None:
        """`{member, kind, rate, ms, seed}`: a member fails and lies from now on; see stord_faults."""
        self._opened()
        assert self.faults is not None
        reply.done(self.faults.answer(args))

    def witness(self, args: dict[str, Any], reply: Reply) -> None:
        """`{after}`: answered when the newest durable commit record is another one; see stord_witness."""
        self._teller.ask(args.get("after"), reply, self.loop.now())

    def open(self, args: dict[str, Any], reply: Reply) -> None:
        """`{degraded: true}`: open a pool that was refused, with what there is and as it is: somebody said so."""
        if args.get("degraded") is not True:
            raise UserError("open wants {degraded: true}: without it a pool is opened by configure")
        if self.keeper is not None or self._wanted is None:
            raise UserError(f"pool {self.name} is open" if self.keeper else f"pool {self.name} is not configured yet")
        self._degraded = True
        if not self.waiting:
            self._open(self._wanted)
            self._become(self._wanted)
        reply.done(stord_report.status(self))

    @property
    def handlers(self) -> dict[str, Handler]:
        """The control operations."""
        operations = (
            "configure", "status", "flush", "checkpoint", "scrub", "inspect", "fault", "witness", "open",
            "stop",
        )  # fmt: skip
        return {name: getattr(self, name) for name in operations} | self._member_ops.handlers

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
        if self._opener is not None:
            self._opener.abandon()
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
