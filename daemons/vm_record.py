"""What is remembered of a machine in the run folder, so that a vmd that comes back knows it: one small JSON file each.

Knows: the file, and that a record of another boot of the host means nothing. Refuses to know: what is done with it.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from daemons import process as processes
from daemons.process import Process
from daemons.vm_command import PID_OPTION

_PID, _RECORD = ".pid", ".vm.json"


class Record(NamedTuple):
    """on: it should run; up: QEMU has answered; raw: the configuration that it was started with; base: the identity of
    the image below its overlay; log_at: bytes of QEMU's log before it was started; sockets: where it listens;
    restarts: how often it was started again because it had crashed, by whichever vmd.
    """

    on: bool
    up: bool = False
    process: Process | None = None
    accel: str = ""
    raw: dict[str, Any] | None = None
    base: list[Any] | None = None
    log_at: int = 0
    sockets: tuple[str, ...] = ()
    restarts: int = 0


def pid_path(run: str, name: str) -> str:
    """QEMU makes this file, and removes it when it ends well."""
    return os.path.join(run, name + _PID)


def monitor_path(run: str, name: str) -> str:
    """vmd's own monitor; as long as the people's, so that it has room where that has."""
    return os.path.join(run, f"{name}.mon")


def record_path(run: str, name: str) -> str:
    return os.path.join(run, name + _RECORD)


def living(run: str) -> dict[str, Process]:
    """The machines of a lab that run, by name, whoever started them. run: the lab's run folder."""
    found = processes.with_option(PID_OPTION, run + os.sep)
    return {os.path.basename(path).removesuffix(_PID): process for process, path in found}


def load(run: str, name: str) -> Record | None:
    """None when there is none that means anything."""
    try:
        with open(record_path(run, name), encoding="utf-8") as file:
            value: Any = json.load(file)
        if value.pop("boot") != processes.boot_id():
            return None
        pid, raw = value.pop("process"), value.pop("raw")
        if not isinstance(raw, dict | None):
            return None
        paths = tuple(map(str, value.pop("sockets")))
        return Record(process=Process(*map(int, pid)) if pid else None, raw=raw, sockets=paths, **value)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def save(run: str, name: str, record: Record) -> None:
    """A full disk costs the memory, not the machine."""
    path = record_path(run, name)
    try:
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump({"boot": processes.boot_id(), **record._asdict()}, file)
        os.replace(file.name, path)
    except OSError:
        pass


def forget(run: str, name: str) -> None:
    for path in (record_path(run, name), pid_path(run, name)):
        try:
            os.unlink(path)
        except OSError:
            pass
