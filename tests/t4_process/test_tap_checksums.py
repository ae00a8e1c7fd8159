"""What leaves a real switchd for a port without offload: every checksum, as tshark sees it on the wire."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netvirt.ports.handover import hand_over
from tests.support import peers
from tests.support.taps import Stack
from tests.t4_process.test_offload_linux import CHECKED, Wire
from tests.t4_process.test_tap_switch import ALL, FOUR, SIX, Make, plug, stack, talk

SIZE = 600_000


@contextlib.contextmanager
def tapped(path: str, to: Stack, seen: list[bytes]) -> Iterator[None]:
    """Between a port and a stack without virtio-net headers: a cable on which all frames for the stack are seen."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ended, end = os.pipe()

    def carry() -> None:
        while True:
            ready, _, _ = select.select([ours, to.tap, ended], [], [])
            if ended in ready:
                return
            with contextlib.suppress(BlockingIOError):
                if ours in ready:
                    seen.append(ours.recv(1 << 17))
                    os.write(to.tap, seen[-1])
                if to.tap in ready:
                    ours.send(os.read(to.tap, 1 << 17))

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        with hand_over(path, theirs.fileno()):
            yield
    finally:
        os.write(end, b"x")
        thread.join()
        for one in (ours, theirs):
            one.close()
        for fd in (ended, end):
            os.close(fd)


@pytest.mark.peer("tshark")
@pytest.mark.parametrize("to", [FOUR[1], SIX[1]])
def test_tshark_finds_no_bad_checksum(make: Make, home: Path, to: str, tmp_path: Path) -> None:
    tshark = peers.need("tshark")
    switch = make("s1", plug(home, "eth1"), plug(home, "eth2"))
    wire = Wire(0)
    with (
        stack(1, ALL) as a,
        stack(2, None) as b,
        hand_over(f"{home}/run/eth1.tap", a.tap),
        tapped(f"{home}/run/eth2.tap", b, wire.seen),
    ):
        switch.up("eth1", "eth2")
        talk(a, b, to, SIZE)
    assert max(map(len, wire.seen)) == 1514
    command = [tshark, "-r", wire.pcap(tmp_path / "wire.pcap"), "-Y", "tcp", "-T", "fields", "-E", "separator=|"]
    for name in ("ip", "tcp", "udp"):
        command += ["-o", f"{name}.check_checksum:TRUE"]
    for name in CHECKED:
        command += ["-e", name]
    rows = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert len(rows) > SIZE / 1500
    assert set(rows) == {"|1|" if ":" in to else "1|1|"}  # 1: good; IPv6 has none of its own
