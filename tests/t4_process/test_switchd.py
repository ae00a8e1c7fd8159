"""Real switchd processes: VLANs, a trunk between two, changes under traffic, wrong configurations, slow peers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Refused, Unreachable
from netvirt.burst import FLAG_IN, FLAG_OUT, Burst, Frame
from netvirt.dataplane.queue import Queue
from netvirt.nic import Nic
from netvirt.ports.curve import ensure_key, public_key
from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop
from netvirt.ports.zmq import ZmqDialer
from tests.support.links import frame, numbers, run_until, stranger
from tests.support.switches import Make, Switch, port
from tests.support.waiting import until

A, B, C = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
ALL = b"\xff" * 6


def text(destination: bytes, source: bytes, number: int = 0, size: int = 60) -> bytes:
    return destination + source + frame(number, size)[12:]


def received(nic: Nic, timeout: float = 0.2) -> list[int]:
    got = []
    while (data := nic.receive(timeout)) is not None:
        got.append(data)
    return numbers(got)


def read_until(nic: Nic, got: list[int], count: int) -> None:
    """Read frames into `got` until there are so many."""

    def enough() -> bool:
        got.extend(received(nic, 0.01) if len(got) < count else [])
        return len(got) >= count

    until(enough, what=f"{count} frames")


class Capture:
    """A link with the role capture, on a loop of its own."""

    def __init__(self, endpoint: str, **options: Any) -> None:
        self.loop = Loop()
        self.frames: list[Frame] = []
        self.dialer = ZmqDialer(
            self.loop, endpoint, Queue(), self._receive, lambda up: None, name="capture", role="capture", **options
        )
        self.dialer.open()
        self.until(lambda: self.dialer.carrier or self.dialer.refusal)

    def _receive(self, message: memoryview) -> None:
        self.frames += Burst.parse(message)

    def until(self, condition: Callable[[], object]) -> None:
        run_until(condition, self.loop)

    def close(self) -> None:
        self.dialer.close()
        self.until(lambda: self.dialer.closed)
        self.loop.close()


def test_frames_stay_in_their_vlan(make: Make) -> None:
    s1 = make("s1", port("eth1"), port("eth2"), port("eth3", pvid=20), port("eth4", pvid=20))
    with s1.nic("eth1") as one, s1.nic("eth2") as two, s1.nic("eth3") as three, s1.nic("eth4") as four:
        one.send(text(ALL, A, 1))
        assert two.receive(5) == text(ALL, A, 1)
        three.send(text(ALL, C, 2))
        assert four.receive(5) == text(ALL, C, 2)
        two.send(text(A, B, 3))
        assert one.receive(5) == text(A, B, 3)
        # What would have gone astray went before what comes now, in order, on the same links.
        for nic in (one, two, three, four):
            assert received(nic, 0.05) == []
        assert [(row["vid"], row["mac"], row["port"]) for row in s1.client.call("fdb")["stations"]] == [
            (10, A.hex(":"), "eth1"), (10, B.hex(":"), "eth2"), (20, C.hex(":"), "eth3"),
        ]  # fmt: skip
    statistics = s1.client.call("statistics")["ports"]
    assert (statistics["eth1"]["rx_frames"], statistics["eth1"]["tx_frames"]) == (1, 1)
    assert s1.status()["mistakes"] == 0


def trunk(name: str, **more: Any) -> dict[str, Any]:
    return port(name, mode="trunk", pvid=0, allowed="10,20", **more)


def joined(make: Make) -> tuple[Switch, Switch]:
    one = make("s1", port("eth1"), port("eth2", pvid=20, priority=5), trunk("eth9"))
    two = make("s2", port("eth1"), port("eth2", pvid=20), trunk("eth9", kind="dial", endpoint=f"{one.url}#eth9"))
    one.up("eth9")
    two.up("eth9")
    return one, two


def refused(endpoint: str, **options: Any) -> str:
    capture = Capture(endpoint, **options)
    capture.close()
    return capture.dialer.refusal


def test_frames_on_a_trunk_are_tagged_and_its_ends_are_different_processes(make: Make) -> None:
    s1, s2 = joined(make)
    assert s1.process.pid != s2.process.pid
    assert (s1.port("eth9")["peer"], s2.port("eth9")["peer"]) == ("s2:eth9", "s1")
    capture = Capture(f"{s1.url}#eth9")
    assert list(capture.dialer.welcome["ports"].values()) == ["eth9"]
    number = int(next(iter(capture.dialer.welcome["ports"])))
    with s1.nic("eth1") as a, s1.nic("eth2") as c, s2.nic("eth1") as b, s2.nic("eth2") as d:
        a.send(text(ALL, A, 1))
        assert b.receive(5) == text(ALL, A, 1)
        c.send(text(ALL, C, 2))
        assert d.receive(5) == text(ALL, C, 2)
        b.send(text(A, B, 3))
        assert a.receive(5) == text(A, B, 3)
        capture.until(lambda: len(capture.frames) == 3)
        for nic in (a, b, c, d):
            assert received(nic, 0.05) == []
    tagged = [(f.port, f.flags, f.data[12:16].hex(), f.data) for f in capture.frames]
    assert [row[:3] for row in tagged] == [
        (number, FLAG_OUT, "8100000a"), (number, FLAG_OUT, "8100a014"), (number, FLAG_IN, "8100000a"),
    ]  # fmt: skip
    assert all(f.data[:12] + f.data[16:] == text(f.data[:6], f.data[6:12], n + 1) for n, f in enumerate(capture.frames))
    assert len({f.identity for f in capture.frames}) == 3 and all(f.time_ns for f in capture.frames)
    capture.close()
    until(lambda: not s1.status().get("captures"))


def test_a_capture_of_everything_and_one_of_nothing(make: Make) -> None:
    s1 = make("s1", port("eth1"), port("eth2"))
    assert "no port eth7" in refused(f"{s1.url}#eth7")
    captures = [Capture(f"{s1.url}#*") for _ in range(8)]
    assert "captured" in refused(f"{s1.url}#*")
    captures.pop(3).close()
    captures.append(Capture(f"{s1.url}#*"))
    with s1.nic("eth1") as one, s1.nic("eth2") as two:
        one.send(text(ALL, A, 1))
        assert two.receive(5)
    for capture in captures:
        capture.until(lambda capture=capture: len(capture.frames) == 2)
        assert len({f.identity for f in capture.frames}) == 1
        capture.close()


def test_a_killed_switch_comes_back_with_a_higher_epoch_and_everybody_returns(make: Make) -> None:
    s1, s2 = joined(make)
    with s1.nic("eth1") as a, s2.nic("eth1") as b:
        for epoch in (2, 3):
            s1.signal(signal.SIGKILL)
            s1.wait_for_end()
            until(lambda: not s2.port("eth9")["carrier"])
            s1.client.close()
            s1.start()
            s1.configure(epoch=epoch)
            s2.up("eth9")
            until(lambda: a.receive(0.01) is None and a.carrier)
            a.send(text(ALL, A, epoch))
            assert b.receive(5) == text(ALL, A, epoch)


def test_a_port_moves_to_another_vlan_and_the_others_lose_nothing(make: Make) -> None:
    s1 = make("s1", *(port(f"eth{n}") for n in (1, 2, 3, 4)))
    vlans = [10, 20] * 10
    with s1.nic("eth1") as one, s1.nic("eth2") as two, s1.nic("eth3") as mover, s1.nic("eth4") as four:
        sent = 0
        got: list[int] = []
        for vlan in vlans:
            for _ in range(20):
                assert one.send_burst([text(ALL, A, sent + n) for n in range(10)])
                sent += 10
            s1.configure(ports=[port("eth1"), port("eth2"), port("eth3", pvid=vlan), port("eth4")])
            got += received(two, 0.01)
        read_until(two, got, sent)
        assert got == list(range(sent))
        assert mover.carrier, "its link is not even touched"
        received(mover, 0.05)
        one.send(text(ALL, A, 7))
        assert two.receive(5) == text(ALL, A, 7)
        assert mover.receive(0.1) is None and s1.port("eth3")["pvid"] == 20
        del four


def test_ports_come_and_go_while_others_stay(make: Make) -> None:
    s1 = make("s1", port("eth1"), port("eth2"), port("eth3"))
    with s1.nic("eth1") as one, s1.nic("eth2") as two, s1.nic("eth3") as three:
        s1.configure(ports=[port("eth1"), port("eth2")])
        until(lambda: three.receive(0.01) is None and not three.carrier)
        one.send(text(ALL, A, 1))
        assert two.receive(5) == text(ALL, A, 1)
        s1.configure(ports=[port("eth1"), port("eth2"), port("eth3")])
        until(lambda: three.receive(0.01) is None and three.carrier)
        one.send(text(ALL, A, 2))
        assert three.receive(5) == text(ALL, A, 2)
        s1.configure(listen=[{"endpoint": s1.url}])
        assert one.carrier and two.carrier


WRONG: list[tuple[Any, str]] = [
    (None, "configure needs"), ([], "configure needs"), ({}, "configure needs"), ({"ports": {}}, "configure needs"),
    ({"ports": [1]}, "name"), ({"ports": [{}]}, "name"), ({"ports": [{"name": ["x"]}]}, "name"),
    ({"ports": [{"name": ""}]}, "name"), ({"ports": [{"name": "a\nb"}]}, "name"),
]  # fmt: skip
WRONG_PORT: list[tuple[dict[str, Any], str]] = [
    ({"mode": "hybrid"}, "hybrid"), ({"mode": None}, "None"), ({"mode": []}, "port eth2"), ({"pvid": 4095}, "4095"),
    ({"pvid": -1}, "port eth2"), ({"pvid": "ten"}, "port eth2"), ({"pvid": None}, "port eth2"), ({"pvid": 0}, "VLAN"),
    ({"pvid": 10**30}, "port eth2"), ({"priority": 8}, "priority"), ({"priority": -1}, "port eth2"),
    ({"state": "asleep"}, "asleep"), ({"state": 1}, "port eth2"), ({"mtu": 70_000}, "MTU"), ({"mtu": -1}, "port eth2"),
    ({"kind": "carrier pigeon"}, "carrier pigeon"), ({"kind": "dial"}, "endpoint"), ({"kind": ["x"]}, "port eth2"),
    ({"kind": "dial", "endpoint": "nowhere"}, "no endpoint"), ({"kind": "dial", "endpoint": 5}, "endpoint"),
    ({"kind": "dial", "endpoint": "ipc:///x"}, "which port"),
    ({"kind": "dial", "endpoint": "tcp://127.0.0.1:1#e"}, "CURVE"),
    ({"kind": "qemu"}, "path"), ({"kind": "qemu", "path": "/tmp/x", "role": "sing"}, "sing"),
    ({"allow": ["a" * 40]}, "tcp"), ({"allow": 5}, "allow"), ({"name": "eth1"}, "two ports"),
    ({"mode": "trunk", "allowed": "0-5000"}, "port eth2"), ({"mode": "trunk", "allowed": None}, "port eth2"),
]  # fmt: skip
WRONG_REST: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 2}, "epoch"), ({"epoch": -1}, "epoch"), ({"epoch": "1"}, "epoch"), ({"epoch": 1.5}, "epoch"),
    ({"ageing_s": 0}, "ageing_s"), ({"ageing_s": None}, "ageing_s"), ({"mac_limit": 0}, "mac_limit"),
    ({"mac_limit": 10**12}, "mac_limit"), ({"listen": 5}, "listen"), ({"listen": [5]}, "endpoint"),
    ({"listen": [{"endpoint": "x"}]}, "endpoint"), ({"listen": [{"endpoint": "tcp://127.0.0.1:1"}]}, "CURVE"),
    ({"listen": [{"endpoint": "ipc:///nowhere/at/all.zmq"}]}, "can't listen"),
    ({"listen": [{"endpoint": "ipc://" + "/x" * 60}]}, "120 bytes"),
    ({"listen": [{"endpoint": "tcp://127.0.0.1:1", "key_file": "/nowhere.json"}]}, "over ipc"),
]  # fmt: skip


def test_wrong_configurations_are_one_sentence_each_and_change_nothing(make: Make) -> None:
    s1 = make("s1", port("eth1"), port("eth2"))
    wrong = [*WRONG]
    first = port("eth1", pvid=30)  # a change that must not be made either
    for change, says in WRONG_PORT:
        wrong.append(({**s1.config, "ports": [first, {**port("eth2"), **change}]}, says))
    for change, says in WRONG_REST:
        wrong.append(({**s1.config, "ports": [first, port("eth2")], **change}, says))
    with s1.nic("eth1") as one, s1.nic("eth2") as two:
        before = without_counters(s1.status())
        for config, says in wrong:
            with pytest.raises(Refused) as caught:
                s1.client.call("configure", config=config)
            sentence = str(caught.value)
            assert says in sentence and "\n" not in sentence and "internal" not in sentence, (config, sentence)
        assert without_counters(s1.status()) == before
        one.send(text(ALL, A, 1))
        assert two.receive(5) == text(ALL, A, 1)
    assert "Traceback" not in s1.log.read_text()


def without_counters(status: dict[str, Any]) -> Any:
    keys = ("name", "state", "carrier", "mode", "pvid", "allowed", "priority", "kind", "peer")
    return status["epoch"], sorted(status["listeners"]), [{key: one[key] for key in keys} for one in status["ports"]]


def test_a_key_file_that_is_not_there_changes_nothing(make: Make) -> None:
    s1 = make("s1", port("eth1"))
    listen = [{"endpoint": s1.url}, {"endpoint": "tcp://127.0.0.1:0", "key_file": "/nowhere.json"}]
    with pytest.raises(Refused, match=r"/nowhere\.json"):
        s1.configure(listen=listen)
    assert list(s1.status()["listeners"]) == [s1.url]


def test_a_capture_over_tcp_is_refused_and_costs_nothing(make: Make, home: Path) -> None:
    server, friend = (ensure_key(home / "keys", name) for name in ("server", "friend"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    s1 = make("s1", port("eth1"))
    listen = [{"endpoint": s1.url}, {"endpoint": url, "key_file": server}]
    s1.configure(listen=listen, ports=[port("eth1"), trunk("eth9", allow=[public_key(friend)])])
    for _ in range(9):  # one more than there are sessions
        assert "this machine" in refused(f"{url}?key={public_key(server)}#eth1", key_file=friend)
    assert not s1.status().get("captures")
    with s1.nic("eth1"), Nic.connect(f"{url}?key={public_key(server)}#eth9", key_file=friend) as far:
        assert far.carrier
        with pytest.raises(PortError, match="waits for somebody"):
            s1.nic("eth9", timeout=0.3)
    Capture(f"{s1.url}#eth1").close()


def test_a_second_switchd_with_the_same_lock_does_not_start(make: Make, tmp_path: Path) -> None:
    s1 = make("s1", port("eth1"), port("eth2"))
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "c"))
        control.listen()
        argv = [sys.executable, "-P", "-m", "daemons.switchd", "--name", "s1", "--lock", s1.lock]
        done = subprocess.run(
            [*argv, "--control-fd", str(control.fileno())], pass_fds=(control.fileno(),), capture_output=True,
            text=True, timeout=60, check=False, cwd="/",
        )  # fmt: skip
    assert done.returncode == 1
    assert str(s1.process.pid) in done.stderr and len(done.stderr.splitlines()) == 1
    with s1.nic("eth1") as one, s1.nic("eth2") as two:
        one.send(text(ALL, A, 1))
        assert two.receive(5) == text(ALL, A, 1)


STOPPED = """
import signal, sys
from netvirt import Nic
nic = Nic.connect(sys.argv[1], name="sleeper")
print("up", flush=True)
signal.pause()
"""


def test_a_stopped_process_slows_nobody_and_its_drops_are_counted(make: Make) -> None:
    s1 = make("s1", port("eth1"), port("eth2"), port("eth3"))
    child = subprocess.Popen([sys.executable, "-P", "-c", STOPPED, f"{s1.url}#eth3"], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        s1.up("eth3")
        child.send_signal(signal.SIGSTOP)
        with s1.nic("eth1") as one, s1.nic("eth2") as two:
            sent = 0
            got: list[int] = []
            while s1.port("eth3")["drops"].get("queue-full", 0) < 1000:
                assert sent < 100_000
                for _ in range(10):
                    assert one.send_burst([text(ALL, A, sent + n, 1514) for n in range(100)], timeout=20)
                    sent += 100
                read_until(two, got, sent - 500)
            read_until(two, got, sent)
            assert got == list(range(sent)), "the other port got every frame, in order"
            stopped, other = s1.port("eth3"), s1.port("eth2")
            assert stopped["carrier"] and other["drops"] == {}
            assert stopped["waiting_bytes"] <= 2 << 20
            assert stopped["tx_frames"] + stopped["waiting_frames"] + stopped["drops"]["queue-full"] == sent
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        assert child.stdout is not None
        child.stdout.close()
    until(lambda: not s1.port("eth3")["carrier"])


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop"])
def test_an_orderly_end(make: Make, how: str) -> None:
    s1 = make("s1", port("eth1"), port("eth2"), port("q", kind="qemu", role="listen", path=f"/tmp/vf-{os.getpid()}.q"))
    path = Path(s1.url.removeprefix("ipc://"))
    assert path.is_socket()
    with s1.nic("eth1") as one, s1.nic("eth2") as two:
        one.send_burst([text(ALL, A, n) for n in range(100)])
        until(lambda: s1.port("eth1")["rx_frames"] == 100)
        if how == "stop":
            s1.client.call("stop")
        else:
            s1.signal(getattr(signal, how))
        got: list[int] = []
        while one.carrier or two.carrier:  # both answer its goodbye
            got += received(two, 0.01)
            one.receive(0.01)
        s1.wait_for_end()
        assert got == list(range(100)), "what it had taken, it delivered"
    assert not path.exists() and not Path(f"/tmp/vf-{os.getpid()}.q").exists()
    assert s1.log.read_text() == ""


def test_strangers_on_both_sockets(make: Make) -> None:
    s1 = make("s1", port("eth1"), port("eth2"))
    crowd = [stranger(s1.url) for _ in range(200)]
    for one in crowd:
        one.send(b"junk")
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(s1.client.path)
        raw.sendall(b"\xff{]\n" * 10)
        with s1.nic("eth1") as one_nic, s1.nic("eth2") as two:
            one_nic.send(text(ALL, A, 1))
            assert two.receive(5) == text(ALL, A, 1)
            until(lambda: s1.status()["listeners"][s1.url].get("stranger") == 200)
    for one in crowd:
        one.close()
    with pytest.raises(Refused, match="no operation"):
        s1.client.call("format_disk")
    assert s1.status()["mistakes"] == 0


def test_it_is_gone_when_it_is_gone(make: Make) -> None:
    s1 = make("s1", port("eth1"))
    s1.signal(signal.SIGKILL)
    s1.wait_for_end()
    with pytest.raises(Unreachable):
        s1.client.call("status")
