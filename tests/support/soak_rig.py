"""A real stord, guests on all its volumes, and models of what they must see: held together, killed, opened again.

Knows: what is under way when a process dies may have happened or not; what every moment must look like.
Refuses to know: what is done to the pool, and when (soak_events).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from daemons.client import Refused
from daemons.control import encode
from tests.support.pools import Stord, ended
from tests.support.soak_account import LIES, TAINTED, Account
from tests.support.soak_client import FLUSH, FUA, NO_HOLE, READ, TRIM, WRITE, ZEROES, Link, Request, pump
from tests.support.soak_model import Change, Model
from tests.support.soak_plans import MIB, Plan
from tests.support.waiting import until

MEMBER = 136 * MIB  # 32 extents
LINKS = 2  # clients of each volume
_SIZES = (512, 512, 1024, 4096, 4096, 4096, 8192, 12_800, 32_768, 65_536, 100_352, 262_144, MIB)
_KINDS = (WRITE,) * 10 + (READ,) * 4 + (TRIM, ZEROES, FLUSH)
_MOST = 6  # requests of a client in one go
_AT_ONCE = MIB  # bytes of a read when all is compared


class Rig:
    """seed: of all dice. history: what was done, for people; refused: sentences, and how often."""

    def __init__(self, folder: Path, seed: int, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.dice = random.Random(seed)
        self.account = Account(plan.budget)
        self.history: list[str] = []
        self.refused: Counter[str] = Counter()
        self.scrubbing = False  # a scrub that began when nobody lied
        self._files = 0
        self._task: dict[str, Any] | None = None
        self.stord = Stord(folder, plan.members, MEMBER)
        rows = {f"v{number}": disk for number, disk in enumerate(plan.disks)}
        self.stord.config["volumes"] = [{"name": name, **disk._asdict()} for name, disk in rows.items()]
        self.stord.config["luns"] = [
            {"name": name, "volume": name, "path": f"{folder}/{name}.nbd", "read_only": False} for name in rows
        ]
        self.models = {name: Model(f"{folder}/{name}.model", disk.size) for name, disk in rows.items()}
        self.links: dict[str, list[Link]] = {}

    # --- the process

    def up(self) -> None:
        """Begun, configured, with clients. Refused is a mistake: the promise was kept."""
        self.stord.start()
        self.configured()

    def configured(self) -> None:
        self.stord.configure()
        for name in self.models:
            self.links[name] = [Link(f"{self.folder}/{name}.nbd", name) for _ in range(LINKS)]
        self.look()

    def kill(self) -> None:
        self.stord.kill()
        self.gone()

    def stop(self) -> None:
        """Orderly: SIGTERM."""
        self.stord.stop()
        self.gone()

    def gone(self) -> None:
        """The process is: what it had said is heard, what it had not may be done or not."""
        pump(self.all_links, lambda: False)
        self.heard()
        for name, links in self.links.items():
            for link in links:
                self._unanswered(name, link)
        self.links.clear()
        self.scrubbing, self._task = False, None
        for path in self.account.doubtful:
            self.account.faults_end(path)

    def _unanswered(self, name: str, link: Link) -> None:
        for asked in link.waiting.values():
            if change := _change(asked):
                self.models[name].maybe(change)
        link.close()

    def dismiss(self, name: str, link: Link) -> None:
        """Hung up on; when stord has noticed, nothing of it can happen any more."""
        self._unanswered(name, link)
        self.links[name].remove(link)
        left = len(self.links[name])
        until(lambda: self._clients(name) == left, what=f"a client of {name} less")
        self.links[name].append(Link(f"{self.folder}/{name}.nbd", name))

    def _clients(self, name: str) -> int:
        return next(int(row["clients"]) for row in self.look()["luns"] if row["name"] == name)

    def signal(self, signum: signal.Signals) -> None:
        self.stord.signal(signum)

    def close(self) -> None:
        for links in self.links.values():
            for link in links:
                link.close()
        self.links.clear()
        for model in self.models.values():
            model.close()
        if not self.stord.ended:
            with contextlib.suppress(AssertionError):  # it has ended, and nobody was told yet
                self.signal(signal.SIGCONT)
                self.signal(signal.SIGKILL)
            self.stord.client.close()
            self.stord.wait_for_end()
        self.stord.close()

    # --- the clients

    @property
    def all_links(self) -> list[Link]:
        return [link for links in self.links.values() for link in links]

    def ask(self) -> None:
        """New requests of some clients: spans of one volume do not touch, so their order does not matter."""
        for name, links in self.links.items():
            taken: list[range] = []
            for link in links:
                for _ in range(self.dice.randint(0, _MOST)):
                    request = self._request(self.models[name].size, taken)
                    if request is not None:
                        link.put(request)

    def _request(self, size: int, taken: list[range]) -> Request | None:
        dice, kind = self.dice, self.dice.choice(_KINDS)
        if kind == FLUSH:
            return Request(FLUSH)
        length = min(dice.choice(_SIZES) * (4 if kind in (TRIM, ZEROES) else 1), size)
        room = size - length
        offset = dice.randrange(0, min(room, 256 * 1024) + 1 if dice.random() < 0.4 else room + 1, 512)
        if dice.random() < 0.3:
            offset -= offset % length if length <= offset else 0
        if dice.random() < 0.1 and length > 512:  # no sector's bounds
            offset, length = offset + dice.randrange(100), length - 100 - dice.randrange(300)
        sectors = range(offset // 512, -(-(offset + length) // 512))
        if any(sectors.start < other.stop and other.start < sectors.stop for other in taken):
            return None
        taken.append(sectors)
        data = b""
        if kind == WRITE:
            data = dice.randbytes(length) if dice.random() < 0.95 else bytes(length)
        flags = FUA if kind != READ and dice.random() < 0.05 else 0
        flags |= NO_HOLE if kind == ZEROES and dice.random() < 0.5 else 0
        return Request(kind, offset, length, data, flags)

    def ask_one_who_stopped(self) -> None:
        """What fits into the sockets is on its way."""
        self.ask()
        for link in self.all_links:
            link.send()

    def answered(self, share: float) -> None:
        """Go on until so much of what was asked is answered."""
        asked = sum(len(link.waiting) for link in self.all_links)
        left = round(asked * (1 - share))
        pump(self.all_links, lambda: sum(len(link.waiting) for link in self.all_links) <= left)
        self.heard()

    def heard(self) -> None:
        """Answers are what the model says, and none is an error."""
        for name, links in self.links.items():
            for link in links:
                answers, link.answers = link.answers, []
                for asked, error, data in answers:
                    assert not error, f"{name}: {asked} was answered with error {error}"
                    if asked.kind == READ:
                        wrong = self.models[name].judge(asked.offset, data)
                        assert not wrong, f"{name}: {wrong}"
                    elif change := _change(asked):
                        self.models[name].done(change)

    def verify(self) -> None:
        """Every byte of every volume."""
        for name, model in self.models.items():
            for offset in range(0, model.size, _AT_ONCE):
                self.links[name][0].put(Request(READ, offset, min(_AT_ONCE, model.size - offset)))
        self.answered(1.0)
        assert not any(link.lost for link in self.all_links), "stord has hung up"

    # --- the pool

    def call(self, op: str, **args: Any) -> Any:
        """None where it is refused: so many things can't be done now."""
        try:
            return self.stord.call(op, **args)
        except Refused as error:
            self.refused[f"{op}: {_without_names(str(error))}"] += 1
            self.note(f"refused: {error}")
            return None

    def say(self, op: str, **args: Any) -> None:
        """Without waiting for an answer."""
        self.stord.client._socket.sendall(encode({"id": 0, "op": op, "args": args}))

    def look(self) -> dict[str, Any]:
        """The status, in which nothing is that should not be."""
        status = self.stord.status()
        assert status["mistakes"] == 0, f"stord made mistakes: {self.stord.log.read_text()[-3000:]}"
        assert not status["pool"]["suspended"], status["pool"]["suspended"]
        wrong = self.account.sync(status["pool"]["members"])
        assert not wrong, wrong
        self._judge_task(status)
        return status

    def _judge_task(self, status: dict[str, Any]) -> None:
        task = status["task"]
        before, self._task = self._task, task
        if task is None or (before is not None and before["state"] == task["state"] != "running"):
            return
        if task["state"] == "failed":
            self.note(f"{task['kind']} {task['what']} failed: {task['problem']}")
            assert self.account.doubtful or "room" in task["problem"], f"{task['kind']} failed: {task['problem']}"
        if task["kind"] == "scrub":
            assert task["lost"] == 0, f"a scrub has lost {task['lost']} grains"
            if task["state"] == "done" and self.scrubbing:
                self.account.scrubbed([row["path"] for row in status["pool"]["members"] if row["state"] == "in"])
        self.scrubbing = self.scrubbing and task["state"] == "running"

    def scrub(self) -> None:
        told = self.call("scrub")
        self.scrubbing = told is not None and not self.account.of(LIES)
        self._task = told or self._task

    def running(self) -> bool:
        task = self.look()["task"]
        return task is not None and task["state"] == "running"

    def wait(self) -> None:
        """For the job's end."""
        if self.running():
            ended(self.stord)
            self.look()

    def rows(self, *states: str) -> list[str]:
        """Paths of members in one of these states."""
        return [row["path"] for row in self.look()["pool"]["members"] if row["state"] in states]

    def new_file(self) -> str:
        """A path that was never used."""
        self._files += 1
        return f"{self.folder}/n{self._files}.img"

    def note(self, sentence: str) -> None:
        self.history.append(sentence.replace(f"{self.folder}/", ""))

    @property
    def whole(self) -> bool:
        """Whether all members are as they should be."""
        return not self.account.doubtful

    @property
    def tainted(self) -> list[str]:
        return self.account.of(TAINTED)

    def pace(self, rate: int) -> None:
        """Bytes/s that jobs may deal with; 0: no limit."""
        self.stord.configure(pool={**self.stord.config["pool"], "repair_rate": rate})

    def listed(self) -> None:
        """The lab file is brought up to date."""
        spares = self.rows("spare")
        self.stord.config["pool"] = {**self.stord.config["pool"], "members": self.rows("in", "out"), "spares": spares}

    def forget_missing_names(self) -> None:
        """Before a restart: whoever replaces member after member must write one of them into the lab file some time."""
        inside = [path for path in self.rows("in") if path not in self.account]
        named = set(self.stord.config["pool"]["members"])
        if len(named & set(inside)) <= self.plan.budget + 1 or self.dice.random() < 0.4:
            self.listed()


def _change(asked: Request) -> Change | None:
    if asked.kind == WRITE:
        return Change(asked.offset, asked.data)
    return Change(asked.offset, bytes(asked.length)) if asked.kind in (TRIM, ZEROES) else None


def _without_names(sentence: str) -> str:
    return " ".join("FILE" if "/" in word or ".img" in word else word for word in sentence.split())[:100]


def sizes(rig: Rig) -> int:
    """Bytes of the largest member's file."""
    return max(os.path.getsize(path) for path in rig.rows("in") if os.path.exists(path))
