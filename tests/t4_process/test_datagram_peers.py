"""Real programs and plain sockets at a real switchd's datagram ports: vde_plug, vde_switch, UDP, unix datagrams."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netvirt.nic import Nic
from tests.support.links import frame, numbers
from tests.support.peers import missing, need
from tests.support.switches import Switch, port
from tests.support.waiting import until

FLOOD = bytes.fromhex("02ffffffffff 020000000001 88b5")  # to a station that nobody has seen: everybody gets it


def flooded(number: int, size: int = 60) -> bytes:
    return FLOOD + number.to_bytes(4, "big") + bytes(size - 18)


@contextmanager
def running(folder: Path, *ports: dict[str, Any]) -> Iterator[tuple[Switch, Nic]]:
    """A switch with these ports, and a NIC at its port eth1."""
    switch = Switch(folder, "s1", [port("eth1"), *ports])
    try:
        with switch.nic("eth1") as nic:
            switch.up("eth1")
            yield switch, nic
    finally:
        switch.close()


@contextmanager
def program(folder: Path, *argv: str, **pipes: Any) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / f"{Path(argv[0]).name}.log", "ab") as log:
        process = subprocess.Popen(argv, **{"stdin": subprocess.PIPE, "stdout": log, "stderr": log, **pipes})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.communicate()


def vde(name: str, folder: Path, number: int, role: str = "listen") -> dict[str, Any]:
    return port(name, kind="vde", role=role, folder=f"{folder}/v", number=number)


def plugged(data: bytes) -> bytes:
    """As vde_plug has frames on its standard input and output."""
    return struct.pack(">H", len(data)) + data


def unplugged(stream: bytes) -> list[bytes]:
    found = []
    while len(stream) >= 2 and len(stream) >= 2 + (size := int.from_bytes(stream[:2], "big")):
        found.append(stream[2 : 2 + size])
        stream = stream[2 + size :]
    return found


def free_udp() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rss_kib(switch: Switch) -> int:
    for line in Path(f"/proc/{switch.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.peer("vde_plug")
def test_vde_plug_gets_the_port_that_it_asks_for_and_the_next_one_another(folder: Path) -> None:
    plug = need("vde_plug")
    with running(folder, vde("eth2", folder, 2), vde("eth3", folder, 3)) as (switch, nic):
        pipes = {"stdout": subprocess.PIPE}
        with program(folder, plug, f"{folder}/v[3]", **pipes) as third:
            switch.up("eth3")
            assert not switch.port("eth2")["carrier"]
            with program(folder, plug, f"{folder}/v", **pipes) as any_port:
                switch.up("eth2")
                assert third.stdin and third.stdout and any_port.stdout
                third.stdin.write(plugged(frame(1, 1514)))
                third.stdin.flush()
                assert nic.receive(20) == frame(1, 1514)
                assert any_port.stdout.read(1516) == plugged(frame(1, 1514))
                nic.send(flooded(2))
                assert third.stdout.read(62) == plugged(flooded(2))
                for place, reason in (("[3]", "port-taken"), ("", "all-taken"), ("[9]", "port-taken")):
                    with program(folder, plug, f"{folder}/v{place}") as refused:
                        assert refused.wait(20)
                    assert switch.port("eth2")["link"][f"refused-{reason}"]
            until(lambda: not switch.port("eth2")["carrier"], what="the end of a plug")
            assert switch.port("eth3")["carrier"]
        until(lambda: not switch.port("eth3")["carrier"], what="the end of the other")
    assert not (folder / "v").exists()


@pytest.mark.peer("vde_switch")
def test_a_plug_in_a_vde_switch_comes_back_when_that_is_started_anew(folder: Path) -> None:
    vde_switch, plug = need("vde_switch"), need("vde_plug")
    with running(folder, vde("eth2", folder, 5, role="plug")) as (switch, nic):
        for turn in (1, 2):
            with program(folder, vde_switch, "-s", f"{folder}/v") as process:
                switch.up("eth2")
                with program(folder, plug, f"{folder}/v", stdout=subprocess.PIPE) as other:
                    assert other.stdin and other.stdout
                    # vde_plug is in when its first frame arrives.
                    other.stdin.write(plugged(frame(turn)))
                    other.stdin.flush()
                    assert nic.receive(20) == frame(turn)
                    nic.send(flooded(turn, 1514))
                    assert other.stdout.read(1516) == plugged(flooded(turn, 1514))
                process.kill()
                until(lambda: not switch.port("eth2")["carrier"], what="carrier down")
        assert switch.port("eth2")["link"]["plugs"] == 2


@pytest.mark.peer("vde_plug2tap")
def test_an_interface_behind_vde_plug2tap_answers(folder: Path) -> None:
    """A TAP in a namespace of its own, which any user may make; the kernel behind it is asked by ARP."""
    unshare, plug = need("unshare"), need("vde_plug2tap")
    if subprocess.run([unshare, "-Urn", "true"], capture_output=True, timeout=10, check=False).returncode:
        missing("the right to make a user namespace")
    up = "until ip link show tap0; do sleep 0.05; done; ip address add 10.9.0.5/24 dev tap0; ip link set tap0 up"
    script = f'({up}) & exec "$0" -s "$1" tap0'
    with running(folder, vde("eth3", folder, 3)) as (switch, nic):
        with program(folder, unshare, "-Urn", "sh", "-c", script, plug, f"{folder}/v"):
            switch.up("eth3")
            me, nobody = bytes.fromhex("020000000001"), bytes(6)
            who, i = socket.inet_aton("10.9.0.5"), socket.inet_aton("10.9.0.1")
            request = b"\xff" * 6 + me + bytes.fromhex("0806 0001 0800 0604 0001") + me + i + nobody + who

            def answered() -> bool:
                nic.send(request)
                frames = iter(lambda: nic.receive(0.1), None)
                return any(data[:6] == me and data[20:22] == b"\0\2" and data[28:32] == who for data in frames)

            until(answered, what="an ARP reply of the interface")
        until(lambda: not switch.port("eth3")["carrier"], what="the end of the plug")


def test_a_udp_peer_is_heard_strangers_are_not_and_a_dead_one_is_counted(folder: Path) -> None:
    ours, theirs = free_udp(), free_udp()
    udp = port("eth2", kind="udp", listen=f"127.0.0.1:{ours}", connect=f"127.0.0.1:{theirs}")
    with running(folder, udp) as (switch, nic):
        switch.up("eth2")
        with socket.socket(type=socket.SOCK_DGRAM) as peer, socket.socket(type=socket.SOCK_DGRAM) as stranger:
            peer.bind(("127.0.0.1", theirs))
            peer.settimeout(20)
            stranger.sendto(frame(13), ("127.0.0.1", ours))
            for data in (b"", bytes(13), frame(1), bytes(65_507), frame(2)):
                peer.sendto(data, ("127.0.0.1", ours))
            assert [nic.receive(20), nic.receive(20)] == [frame(1), frame(2)]
            nic.send(flooded(3, 9000))
            assert peer.recv(65536) == flooded(3, 9000)
        link = switch.port("eth2")["link"]
        assert (link["rx_frames"], link["empty"], link["runt"]) == (3, 1, 1)

        def refused() -> int:
            nic.send(flooded(4))
            return int(switch.port("eth2")["link"]["refused"])

        until(refused, what="news that the peer is gone")
        assert switch.port("eth2")["carrier"]


def test_junk_costs_itself_only(folder: Path) -> None:
    """Of 0, 1, 13, 65,558 and 70,000 bytes, in between of frames that arrive all."""
    dgram = port("eth2", kind="dgram", path=f"{folder}/ours", peer_path=f"{folder}/theirs")
    with running(folder, dgram) as (switch, nic), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.bind(f"{folder}/theirs")
        switch.up("eth2")
        junk = (b"", bytes(1), bytes(13), bytes(65_558), bytes(70_000))
        for n in range(200):
            peer.sendto(junk[n % len(junk)], f"{folder}/ours")
            peer.sendto(frame(n), f"{folder}/ours")
        assert numbers(filter(None, (nic.receive(20) for _ in range(200)))) == list(range(200))
        link = switch.port("eth2")["link"]
        assert (link["empty"], link["runt"], link["oversize"], link["rx_frames"]) == (40, 80, 80, 200)
        before = rss_kib(switch)
        for _ in range(2000):  # 140 MB
            peer.sendto(junk[-1], f"{folder}/ours")
        until(lambda: switch.port("eth2")["link"]["oversize"] == 2080, what="all junk counted")
        assert rss_kib(switch) - before < 6 << 10  # 4 MiB of it are the receiver's room
        assert switch.status()["mistakes"] == 0


@pytest.mark.peer("vde_plug")
def test_a_stopped_peer_costs_its_own_frames_and_nobody_elses(folder: Path) -> None:
    """SIGSTOP for a vde_plug, and a dgram peer that never reads, under load: the third port gets every frame."""
    dgram = port("eth4", kind="dgram", path=f"{folder}/ours", peer_path=f"{folder}/theirs")
    with (
        running(folder, port("eth2"), vde("eth3", folder, 3), dgram) as (switch, nic),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf,
        open(folder / "got", "wb") as got,
        program(folder, need("vde_plug"), f"{folder}/v", stdout=got) as plug,
        switch.nic("eth2") as other,
    ):
        deaf.bind(f"{folder}/theirs")
        switch.up("eth2", "eth3", "eth4")
        plug.send_signal(signal.SIGSTOP)
        sizes = list[int]()
        for round_ in range(3):
            for first in range(0, 4000, 100):
                nic.send_burst([flooded(10_000 * round_ + first + i, 1514) for i in range(100)], timeout=20)
                wanted = [10_000 * round_ + first + i for i in range(100)]
                assert numbers(filter(None, (other.receive(20) for _ in wanted))) == wanted
            sizes.append(rss_kib(switch))
        assert sizes[2] - sizes[1] < 2048
        for name in ("eth3", "eth4"):
            assert switch.port(name)["drops"]["queue-full"] > 1000
            assert switch.port(name)["link"]["stalls"] >= 1
        plug.send_signal(signal.SIGCONT)
        until(lambda: switch.port("eth3")["waiting_frames"] == 0, what="the stopped peer reads on")
        nic.send(flooded(99_999))
        until(lambda: 99_999 in numbers(unplugged((folder / "got").read_bytes())[-3:]), what="a new frame at the plug")
        heard = numbers(unplugged((folder / "got").read_bytes()))
        assert heard == sorted(heard) and len(heard) > 500
        assert os.path.exists(f"{folder}/v/003.{_fd(folder)}")


def _fd(folder: Path) -> str:
    [name] = [path.name for path in (folder / "v").glob("003.*")]
    return name.partition(".")[2]
