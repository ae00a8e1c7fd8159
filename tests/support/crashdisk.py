"""CrashDisk: member files that remember every write and sync, and every state that a crash may leave them in.

After SQLite's crash tests. A workload runs once on `CrashDisk.members`; then, at each boundary between two of its
calls, `crashes()` gives the files as they may be found afterwards:

- *power*: of what was written since each file's last sync, every sector is there or not (simfile.py says how). If there
  are at most `exhaustive_below` such states, all of them; else all sets of whole writes if these are so few, and a
  seeded sample with torn writes in any case.
- *kill*: what was written is there, and the write in progress is cut at any byte. It is not durable yet: a crash of the
  reopened files (`Crash.disk()`) may still lose it.

Knows: boundaries, sampling, faults on demand. Refuses to know: what is stored, and what is right.

    for crash in crashes(workload, {"m0": SIZE, "m1": SIZE}, seed=1):
        with crash:                                # a failure in here names the crash and how to have it again
            for lost in crash.losses(1):
                check(reopen(crash.members(without=lost)), crash.marks)
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from storvirt.backing.member import PythonMember
from tests.support.simfile import SimFile

Files = dict[str, SimFile]
Survivors = dict[str, dict[int, int]]  # file -> sector -> version
KINDS = ("power", "kill")


class Fault:
    """Calls that match are let through `after` times, then fail `times` times (None: for good)."""

    def __init__(
        self, number: int, name: str | None, call: str | None, after: int, times: int | None, part: int
    ) -> None:
        self.number, self.name, self.call, self.part = number, name, call, part
        self.after, self.times = after, times

    def strikes(self, name: str, call: str) -> bool:
        if self.name not in (None, name) or self.call not in (None, call) or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times = self.times - 1 if self.times is not None else None
        return True


class Crash:
    """One state after a crash. `marks`: what the workload had said by then. `key`: for `only`, to have it again."""

    def __init__(self, kind: str, boundary: int, number: int, files: Files, marks: tuple[Any, ...], story: str) -> None:
        self.kind, self.boundary, self.files, self.marks, self.story = kind, boundary, files, marks, story
        self.key = f"{kind}:{boundary}:{number}"

    def members(self, without: Iterable[str] = ()) -> dict[str, PythonMember]:
        """Fresh members each time, over copies; `without` are lost for good."""
        return {name: PythonMember(file.copy(), name) for name, file in self.files.items() if name not in set(without)}

    def disk(self, without: Iterable[str] = ()) -> CrashDisk:
        """The files with a recorder of their own: a crash while recovering from this one."""
        return CrashDisk({name: file for name, file in self.files.items() if name not in set(without)})

    def losses(self, tolerated: int) -> Iterator[tuple[str, ...]]:
        """Every set of at most `tolerated` files, the empty one first."""
        for count in range(tolerated + 1):
            yield from itertools.combinations(self.files, count)

    def __enter__(self) -> Crash:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            error.add_note(self.story)


class Event(NamedTuple):
    name: str  # the file; "" for a mark
    call: str
    args: tuple[Any, ...]

    def __str__(self) -> str:
        if self.call == "write":
            return f"{self.name}: write of {len(self.args[1])} bytes at {self.args[0]}"
        return f"{self.name}: {self.call}{self.args}"


class Recorded:
    """What a PythonMember has inside here: a file that tells the disk of each change."""

    def __init__(self, disk: CrashDisk, name: str, file: SimFile) -> None:
        self.disk, self.name, self.file = disk, name, file

    @property
    def size(self) -> int:
        return self.file.size

    def _do(self, call: str, *args: Any) -> None:
        fault = self.disk.struck(self.name, call)
        if fault is None:
            if call != "sync" or self.name not in self.disk.liars:
                self.disk.record(self.name, call, *args)
            return
        if call == "write" and fault.part:
            self.disk.record(self.name, call, args[0], args[1][: fault.part])
        elif call == "sync":
            self.disk.record(self.name, "fail_sync")
        raise OSError(fault.number, "told to fail")

    def read(self, offset: int, length: int) -> bytes:
        if fault := self.disk.struck(self.name, "read"):
            raise OSError(fault.number, "told to fail")
        return self.file.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._do("write", offset, data)

    def punch(self, offset: int, length: int) -> None:
        self._do("punch", offset, length)

    def resize(self, size: int) -> None:
        self._do("resize", size)

    def sync(self) -> None:
        self._do("sync")


class CrashDisk:
    """`files`: name -> size in bytes of a new file, or a SimFile (copied) to go on with."""

    def __init__(self, files: Mapping[str, int | SimFile], seed: int | str = 1) -> None:
        self.seed = seed
        self._begin = {
            name: file.copy() if isinstance(file, SimFile) else SimFile(file) for name, file in files.items()
        }
        self.files = {name: file.copy() for name, file in self._begin.items()}
        self.members = {name: PythonMember(Recorded(self, name, file), name) for name, file in self.files.items()}
        self.events: list[Event] = []
        self.liars: set[str] = set()
        self._faults: list[Fault] = []

    def mark(self, value: Any) -> None:
        """The workload says what is so from now on ("flushed", 7): crashes from here on have it in `marks`."""
        self.events.append(Event("", "mark", (value,)))

    def fail(
        self,
        number: int,
        name: str | None = None,
        call: str | None = None,
        after: int = 0,
        times: int | None = None,
        part: int = 0,
    ) -> Fault:
        """errno `number` from calls (read, write, sync, punch, resize) of one file or of any.

        A failed write writes its first `part` bytes. Set `times` of the Fault to 0 to end it.
        """
        fault = Fault(number, name, call, after, times, part)
        self._faults.append(fault)
        return fault

    def lie(self, *names: str) -> None:
        """From now on a sync of these files says that all is well and does nothing."""
        self.liars.update(names)

    def struck(self, name: str, call: str) -> Fault | None:
        return next((fault for fault in self._faults if fault.strikes(name, call)), None)

    def record(self, name: str, call: str, *args: Any) -> None:
        getattr(self.files[name], call)(*args)
        self.events.append(Event(name, call, args))

    @property
    def boundaries(self) -> int:
        """How many moments there are to crash in: before each call that was recorded, and at the end."""
        return sum(event.call != "mark" for event in self.events) + 1

    def crashes(
        self,
        kinds: Sequence[str] = KINDS,
        exhaustive_below: int = 64,
        samples: int = 12,
        only: str | None = None,
        at: Container[int] | None = None,
    ) -> Iterator[Crash]:
        """All crashes of what was recorded up to now, in order of time. `samples`: states at each boundary; `at`: only
        these boundaries."""
        files = {name: file.copy() for name, file in self._begin.items()}
        marks: tuple[Any, ...] = ()
        boundary = 0
        for event in [*self.events, None]:
            if event and event.call == "mark":
                marks += event.args
                continue
            for kind in kinds:
                if at is not None and boundary not in at:
                    continue
                if only is None or only.startswith(f"{kind}:{boundary}:"):
                    dice = random.Random(f"{self.seed}/{kind}/{boundary}")
                    states = _power if kind == "power" else _kill
                    for number, (after, words) in enumerate(states(files, event, dice, exhaustive_below, samples)):
                        crash = Crash(kind, boundary, number, after, marks, "")
                        crash.story = self._story(crash, event, words)
                        if only in (None, crash.key):
                            yield crash
            if event:
                getattr(files[event.name], event.call)(*event.args)
                boundary += 1

    def _story(self, crash: Crash, event: Event | None, words: str) -> str:
        marks = f"; the last mark is {crash.marks[-1]!r}" if crash.marks else ""
        return f"crash {crash.key} (seed {self.seed!r}), before {event or 'the end'}: {words}{marks}"


def crashes(
    workload: Callable[[CrashDisk], object], files: Mapping[str, int | SimFile], seed: int | str = 1, **options: Any
) -> Iterator[Crash]:
    """Runs the workload on a new disk and gives its crashes; `options` as for CrashDisk.crashes()."""
    disk = CrashDisk(files, seed)
    workload(disk)
    yield from disk.crashes(**options)


# --- the states that one moment may leave behind ---------------------------------------------------------------------

States = Iterator[tuple[Files, str]]


def _kill(files: Files, event: Event | None, dice: random.Random, exhaustive_below: int, samples: int) -> States:
    whole = {name: file.copy() for name, file in files.items()}
    if event is None or event.call != "write":
        yield whole, "the process ends between two calls"
        return
    offset, data = event.args
    cuts: Sequence[int] = range(len(data) + 1)
    if len(cuts) > exhaustive_below:
        edges = [c for c in (0, 1, 511, 512, 513, 4096 - offset % 4096, len(data) - 1, len(data)) if c in cuts]
        cuts = sorted({*edges, *(dice.randrange(len(data)) for _ in range(samples))})
    for cut in cuts:
        after = dict(whole)
        after[event.name] = whole[event.name].copy()
        after[event.name].write(offset, data[:cut])
        yield after, f"the process ends in this write, after {cut} of its bytes"


def _power(files: Files, event: Event | None, dice: random.Random, exhaustive_below: int, samples: int) -> States:
    choices = [(name, sector, count) for name, file in files.items() for sector, count in file.choices().items()]
    pending = [(name, number) for name, file in files.items() for number in range(len(file.pending))]
    if math.prod(count + 1 for _, _, count in choices) <= exhaustive_below:
        for picks in itertools.product(*(range(count + 1) for _, _, count in choices)):
            survived: Survivors = {}
            for (name, sector, _), version in zip(choices, picks, strict=True):
                survived.setdefault(name, {})[sector] = version
            yield _composed(files, survived, "exhaustive")
        return
    if len(pending) < exhaustive_below.bit_length():
        for kept in itertools.product((False, True), repeat=len(pending)):
            whole = [change for change, keep in zip(pending, kept, strict=True) if keep]
            yield _composed(files, _survivors(files, whole), "all sets of whole writes")
    else:
        for whole in ([], pending):
            yield _composed(files, _survivors(files, whole), "none or all of the writes")
    for number in range(samples):
        yield _composed(files, *SAMPLERS[number % len(SAMPLERS)](files, pending, dice))


def _composed(files: Files, survived: Survivors, words: str) -> tuple[Files, str]:
    after = {name: file.after_power_loss(survived.get(name, {})) for name, file in files.items()}
    kept = "; ".join(f"{name} {_runs(sectors)}" for name, sectors in survived.items() if any(sectors.values()))
    return after, f"the power fails ({words}); sectors that survive: {kept or 'none'}"


def _runs(sectors: Mapping[int, int]) -> str:
    """`3-9 12 14v2`: runs of sectors, with the version if it is not the first (-1 is the file's size)."""
    runs: list[list[int]] = []  # first, last, version
    for sector, version in sorted(sectors.items()):
        if runs and runs[-1][1:] == [sector - 1, version]:
            runs[-1][1] = sector
        elif version:
            runs.append([sector, sector, version])
    return " ".join(
        f"{first}{f'-{last}' if last > first else ''}{f'v{version}' if version > 1 else ''}"
        for first, last, version in runs
    )


Pending = list[tuple[str, int]]


def _survivors(files: Files, kept: Pending, torn: Callable[[], bool] = lambda: False) -> Survivors:
    """The sectors of these writes, in order of time; `torn()` says of each sector whether it is missing."""
    survived: Survivors = {}
    for name, number in kept:
        sectors = survived.setdefault(name, {})
        sectors.update(
            (sector, version) for sector, version in files[name].pending[number].versions.items() if not torn()
        )
    return survived


def _one_lost(files: Files, pending: Pending, dice: random.Random) -> tuple[Survivors, str]:
    lost = dice.choice(pending)
    return _survivors(files, [change for change in pending if change != lost]), "one write is lost"


def _one_torn(files: Files, pending: Pending, dice: random.Random) -> tuple[Survivors, str]:
    """One write in pieces; those before and after it whole, so the torn one is not always the last."""
    torn = dice.choice(pending)
    survived: Survivors = {}
    for change in pending:
        if change == torn:
            piece = _survivors(files, [change], lambda: dice.random() < 0.5)
        elif dice.random() < 0.8:
            piece = _survivors(files, [change])
        else:
            continue
        for name, sectors in piece.items():
            survived.setdefault(name, {}).update(sectors)
    return survived, "one write is torn, a fifth of the others are lost"


def _one_file(files: Files, pending: Pending, dice: random.Random) -> tuple[Survivors, str]:
    name, alone = dice.choice(pending)[0], dice.random() < 0.5
    kept = [change for change in pending if (change[0] == name) == alone]
    return _survivors(files, kept), f"{name}'s writes {'survive, no others' if alone else 'are lost, no others'}"


def _prefix(files: Files, pending: Pending, dice: random.Random) -> tuple[Survivors, str]:
    """Each file up to some write of its own."""
    ends = {name: dice.randint(0, len(file.pending)) for name, file in files.items()}
    return _survivors(
        files, [(name, number) for name, number in pending if number < ends[name]]
    ), "a prefix of each file"


def _any_writes(files: Files, pending: Pending, dice: random.Random) -> tuple[Survivors, str]:
    odds = dice.choice((0.1, 0.5, 0.9))
    return _survivors(files, [change for change in pending if dice.random() < odds]), "any whole writes"


def _any_sectors(files: Files, pending: Pending, dice: random.Random) -> tuple[Survivors, str]:
    odds = dice.choice((0.1, 0.5, 0.9))
    return _survivors(files, pending, lambda: dice.random() > odds), "any sectors"


SAMPLERS = (_one_torn, _one_lost, _any_writes, _one_file, _any_sectors, _prefix)
