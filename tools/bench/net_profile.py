"""Where a switchd's time goes while it is busy, by perf(1): its own code, the interpreter, ZeroMQ. Rows net/profile/*.

Knows: which shared object belongs to whom. Refuses to know: functions. Without perf there are no rows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

from tools.bench.rig import Child, Folder, SwitchRig
from tools.bench.rows import Row, make_row

PART = "tools.bench.nic_child"
RUNS = 3
SENDING, WATCHED = "4", 2.5  # seconds
LIMIT = 30.0

# What the kernel does here is done for sockets and eventfds of libzmq, and for its threads to wake each other.
SHARES = {
    "virtfab": "our compiled code",
    "python": "the interpreter and the C library under it",
    "zeromq": "libzmq, pyzmq, and the kernel, which does nothing here but libzmq's sockets, eventfds and wake-ups",
}


def _owner(thread: str, shared_object: str) -> str:
    if "kernel" in shared_object or "zmq" in shared_object or thread.startswith("ZMQ"):
        return "zeromq"
    interpreter = shared_object.startswith(("libpython", "python", "libc.", "[vdso]", "_", "select"))
    return "python" if interpreter else "virtfab"


def shares(report: str) -> dict[str, float]:
    """Percent by owner, from lines of `perf report --sort comm,dso`."""
    found = dict.fromkeys(SHARES, 0.0)
    for text in report.splitlines():
        words = text.split()
        if len(words) >= 3 and words[0].endswith("%"):
            found[_owner(words[1], words[-1])] += float(words[0].rstrip("%"))
    return found


def _profile(perf: str, folder: str, rig: SwitchRig, burst: int) -> dict[str, float]:
    receiver = Child(folder, PART, "receive", rig.port(2))
    receiver.wait_for("ready")
    sender = Child(folder, PART, "send", rig.port(1), str(burst), "64", SENDING)
    data = os.path.join(folder, "perf.data")
    command = [perf, "record", "-F", "5000", "-o", data, "-p", str(rig.process.pid)]
    with open(os.path.join(folder, "perf.log"), "wb") as log:
        recorder = subprocess.Popen(command, stdout=log, stderr=log)
        time.sleep(WATCHED)  # the time that perf watches; it ends when it is told to
        recorder.send_signal(signal.SIGINT)
        recorder.wait(LIMIT)
    sender.result()
    receiver.result()
    command = [perf, "report", "-i", data, "--sort", "comm,dso", "--stdio"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=LIMIT, check=True
    )
    return shares(done.stdout)


def rows() -> Iterator[Row]:
    perf = shutil.which("perf")
    if perf is None:
        print("# perf is not installed: no rows net/profile")
        return
    for burst in (32, 256):
        with Folder() as folder, SwitchRig(folder.path, ports=3) as rig:
            runs = [_profile(perf, folder.path, rig, burst) for _ in range(RUNS)]
        for owner, what in SHARES.items():
            settings = f"one switchd between two NIC processes, ipc, all busy; share of its CPU time: {what}"
            name = f"net/profile/switchd/64B/burst{burst}/{owner}"
            yield make_row(name, "%", [run[owner] for run in runs], None, "none", settings)
