"""Two guests that have two ways to each other: for the benchmarks, how much and how fast over each. Ends with JSON.

python -m tests.support.guest.transfer FOLDER SOCKET SOCKET    the sockets are the switch's, where QEMU streams come in

Knows: what is sent and how it is timed. Refuses to know: switches. `tcp`: Gbit/s; `ping`: ms; both by way, a list each.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.guest.guest import Guest, accelerator
from tests.support.guest.image import image
from tests.support.waiting import until

WAYS = {"switch": "10.8.1", "direct": "10.8.2"}  # eth0 and eth1, and their networks
RUNS = 3
SIZE = 32 << 20
PINGS = 200
PORT = 5000


def card(guest: int, number: int, socket: str, server: bool) -> list[str]:
    where = f"stream,id=n{number},server={'on' if server else 'off'},addr.type=unix,addr.path={socket}"
    return ["-netdev", where, "-device", f"virtio-net-pci,netdev=n{number},mac=02:00:00:00:0{number}:0{guest}"]


def serve(guest: Guest) -> None:
    """httpd sends a file without copying it; nc copies a kilobyte at a time, and only that would be measured."""
    guest.must(f"dd if=/dev/zero of=/tmp/file bs=65536 count={SIZE >> 16} 2>/dev/null")
    guest.must(f"httpd -p {PORT} -h /tmp >/dev/null 2>&1")


def tcp(receiver: Guest, address: str) -> float:
    """Gbit/s of a whole file; wget fails where it gets less than all."""
    begin = time.perf_counter()
    receiver.must(f"wget -q -O /dev/null http://{address}:{PORT}/file")
    return SIZE * 8 / (time.perf_counter() - begin) / 1e9


def ping(guest: Guest, address: str) -> float:
    """Milliseconds there and back, the median."""
    output = guest.must(f"ping -c {PINGS} -i 0.005 {address}")
    return statistics.median(map(float, re.findall(r"time=([\d.]+)", output)))


def reaches(guest: Guest, address: str) -> bool:
    return guest.run(f"ping -c1 -W2 {address}").code == 0


def measure(first: Guest, second: Guest) -> dict[str, dict[str, list[float]]]:
    for number, guest in enumerate((first, second), 1):
        for card_number, network in enumerate(WAYS.values()):
            guest.must(f"ip address add {network}.{number}/24 dev eth{card_number}; ip link set eth{card_number} up")
    for network in WAYS.values():
        until(partial(reaches, first, f"{network}.2"), what="the way")
    serve(second)
    found: dict[str, dict[str, list[float]]] = {what: {way: [] for way in WAYS} for what in ("tcp", "ping")}
    for _ in range(RUNS):
        for way, network in WAYS.items():
            found["tcp"][way].append(tcp(first, f"{network}.2"))
            found["ping"][way].append(ping(first, f"{network}.2"))
    return found


def main() -> None:
    folder, *sockets = sys.argv[1:]
    direct = Path(folder, "direct.sock")
    try:
        files = image()
        guests = [
            Guest(files, Path(folder, f"guest{n}.log"), *card(n, 0, at, False), *card(n, 1, str(direct), n == 0))
            for n, at in enumerate(sockets)
        ]
        how = "KVM" if "kvm" in accelerator(files.kernel) else "TCG"
    except pytest.skip.Exception as reason:
        print(json.dumps({"missing": str(reason)}))
        return
    try:
        guests[0].start()
        until(direct.exists, what="the first guest's socket")
        guests[1].start()
        for guest in guests:
            guest.wait()
        found = measure(*guests)
    finally:
        for guest in guests:
            guest.stop()
    print(json.dumps({**found, "accelerator": how}))


if __name__ == "__main__":
    main()
