"""A peer at a switch's QEMU stream port that can be stopped, and who sends to it. One process each, JSON at the end.

peer SOCKET               plugs in, says who it is, and reads on and on
load ENDPOINT SECONDS     a NIC that sends bursts to it, at a steady pace
"""

from __future__ import annotations

import socket
import sys
import time

from netvirt import Nic
from netvirt.burst import Burst
from tools.bench.nic_child import TYPE, say

PEER, LOADER = bytes.fromhex("020000000003"), bytes.fromhex("020000000004")
BURST, SIZE, PAUSE = 32, 1514, 0.002  # a load of that many frames a second, not as many as go


def peer(path: str) -> None:
    hello = b"\xff" * 6 + PEER + TYPE + bytes(46)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)
        stream.sendall(len(hello).to_bytes(4) + hello)
        print("ready", flush=True)
        while stream.recv(1 << 18):
            pass


def load(endpoint: str, seconds: float) -> None:
    burst = Burst()
    for _ in range(BURST):
        burst.append(PEER + LOADER + TYPE + bytes(SIZE - 14))
    sent = 0
    with Nic.connect(endpoint) as nic:
        print("ready", flush=True)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            sent += BURST if nic.send_burst(burst) else 0
            time.sleep(PAUSE)
    say(sent=sent, seconds=seconds)


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "peer":
        peer(rest[0])
    else:
        load(rest[0], float(rest[1]))


if __name__ == "__main__":
    main()
