"""A real switchd's WebSocket port: a v86 machine plugs in and answers, while others say junk beside it."""

from __future__ import annotations

import os
import signal
import socket
from functools import partial
from pathlib import Path

import pytest

from netvirt.nic import Nic
from tests.support.browser import ADDRESS, HELLO, machine
from tests.support.links import frame
from tests.support.switches import Switch, port
from tests.support.waiting import until
from tests.support.websockets import TEXT, Reader, connect, message, request


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def to_machine(number: int, size: int = 60) -> bytes:
    return ADDRESS + frame(number, size)[6:]


def echoed(data: bytes) -> bytes:
    """As it comes back: the addresses have changed places."""
    return data[6:12] + data[:6] + data[12:]


def next_of(nic: Nic, kind: bytes) -> bytes:
    """The next frame that carries our EtherType and begins with `kind`; a booting BIOS may have words of its own."""
    while True:
        data = nic.receive(20)
        assert data is not None
        if data.startswith(kind):
            return data


@pytest.mark.peer("node")
def test_a_v86_machine_sends_and_receives(home: Path) -> None:
    tcp = free_port()
    browser = [port(name, kind="websocket", at=f"127.0.0.1:{tcp}", pvid=10) for name in ("eth2", "eth3")]
    switch = Switch(home / "run", "s1", [port("eth1"), *browser])
    try:
        with switch.nic("eth1") as nic, machine(home, f"ws://127.0.0.1:{tcp}/eth2") as process:
            switch.up("eth1", "eth2")
            assert next_of(nic, b"\xff" * 6) == HELLO
            for number, size in enumerate((60, 61, 1514, 100)):
                nic.send(to_machine(number, size))
                assert next_of(nic, nic_address()) == echoed(to_machine(number, size))
            _junk_beside_it(tcp, switch)
            nic.send(to_machine(9))
            assert next_of(nic, nic_address()) == echoed(to_machine(9))
            _stopped_and_going_on(process.pid, switch, nic)
        until(lambda: not switch.port("eth2")["carrier"], what="the end of the machine")
        link = switch.port("eth2")["link"]
        assert (link["ended-eof"], link["connects"], link["runt"]) == (1, 1, 0)
        assert "internal error" not in switch.log.read_text()
    finally:
        switch.close()


def nic_address() -> bytes:
    return frame(0)[6:12]


def _at_the_end(reader: Reader) -> bool:
    return reader.read().ended


def _junk_beside_it(tcp: int, switch: Switch) -> None:
    """At its own address a second client, a page from elsewhere, no handshake; and text at the port beside it."""
    for data, answer in (
        (request("/eth2"), b" 409 "),
        (request("/eth3", "Origin: http://evil.example"), b" 403 "),
        (b"\xff" * 20000, b" 400 "),
        (request("/eth3") + message(b"hello", TEXT), b" 101 "),
    ):
        with connect(tcp) as client:
            client.send(data)
            reader = Reader(client)
            until(partial(_at_the_end, reader), what="the end of a connection")
            assert answer in reader.head
    found = switch.port("eth3")["link"]
    assert (found["refused-origin"], found["ended-text"]) == (1, 1)
    assert switch.port("eth2")["link"]["refused-taken"] == 1


def _stopped_and_going_on(pid: int, switch: Switch, nic: Nic) -> None:
    """A stopped peer costs counted drops of its own; then it takes what waited."""
    os.kill(pid, signal.SIGSTOP)
    try:

        def drops() -> int:
            for number in range(64):
                nic.send(to_machine(number, 1514))
            return int(switch.port("eth2")["drops"].get("queue-full", 0))

        until(drops, what="drops at the port of the stopped machine")
        assert switch.port("eth1")["carrier"]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert next_of(nic, nic_address())[6:12] == ADDRESS
