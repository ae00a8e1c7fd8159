"""The WebSocket port: the contract of all ports, who may come in, junk, pings, and its limits."""

from __future__ import annotations

import contextlib
import socket
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop
from netvirt.ports.websocket import WebSocketPort
from netvirt.ports.websocket_rules import check_origins, parse_listen, port_in, refusal, url
from tests.support.contracts import check_port
from tests.support.links import End, frame, numbers, run_until
from tests.support.websockets import ACCEPT, BINARY, CLOSE, PING, PONG, TEXT, Reader, connect, message, request


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rig:
    """A port and one client of it."""

    def __init__(self, name: str = "eth5", tcp: int = 0, loop: Loop | None = None, **options: Any) -> None:
        self.loop = loop or Loop()
        self.tcp = tcp or free_port()
        self.end = End(self.loop, limit=1 << 20)
        self.queue, self.received, self.carriers = self.end.queue, self.end.frames, self.end.carriers
        self.port = WebSocketPort(
            self.loop, f"127.0.0.1:{self.tcp}", name, self.queue, self.end.receive, self.end.carrier_changed,
            **options,
        )  # fmt: skip
        self.client: socket.socket | None = None
        self.name = name

    def peer_comes(self) -> None:
        self.client = connect(self.tcp)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        self.reader = Reader(self.client)
        self.client.send(request(f"/{self.name}"))

    def peer_sends(self, frames: Sequence[bytes]) -> None:
        self.say(b"".join(message(data) for data in frames))

    def say(self, data: bytes) -> None:
        assert self.client is not None
        while data:
            with contextlib.suppress(BlockingIOError):
                data = data[self.client.send(data) :]
            self.loop.run_once(0)

    def peer_got(self) -> list[bytes]:
        return self.reader.read().frames

    def peer_goes(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None

    def close(self) -> None:
        self.port.close()
        self.peer_goes()
        self.loop.close()

    # --- beyond the contract

    def count(self, name: str) -> int:
        return int(self.port.statistics().get(name, 0))

    def until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        run_until(condition, self.loop, what=what)

    def ask(self, data: bytes) -> Reader:
        """Another client: what it is told."""
        client = connect(self.tcp)
        try:
            reader = Reader(client)
            client.send(data)
            self.until(lambda: reader.read().head and (reader.ended or b" 101 " in reader.head), "an answer")
            return reader
        finally:
            client.close()


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(come: bool = True, **options: Any) -> Rig:
        made.append(Rig(**options))
        made[-1].port.open()
        if come:
            made[-1].peer_comes()
            made[-1].until(lambda: made[-1].port.carrier)
        return made[-1]

    yield make
    assert not any(each.loop.mistakes for each in made)
    for each in made:
        each.close()


def test_contract() -> None:
    check_port(Rig)


def test_the_answer_to_a_handshake_is_the_one_of_the_rfc(rig: Callable[..., Rig]) -> None:
    r = rig()
    r.until(lambda: r.reader.read().head)
    assert f"sec-websocket-accept: {ACCEPT}".lower() in r.reader.head.decode().lower()
    assert b"xtension" not in r.reader.head  # no compression: it would undo every limit


def test_a_frame_behind_the_handshake_in_one_segment(rig: Callable[..., Rig]) -> None:
    r = rig(come=False)
    r.client = connect(r.tcp)
    r.client.send(request("/eth5") + message(frame(1)) + message(frame(2)))
    r.until(lambda: len(r.received) == 2)
    assert r.received == [frame(1), frame(2)]


def test_a_message_in_pieces_and_byte_by_byte(rig: Callable[..., Rig]) -> None:
    r = rig()
    whole = frame(7, 300)
    pieces = message(whole[:100], final=False) + message(b"", 0, final=False) + message(b"x", PING)
    pieces += message(whole[100:], 0)
    for byte in pieces:
        r.say(bytes([byte]))
    r.until(lambda: r.received == [whole])
    r.until(lambda: (PONG, b"x") in r.reader.read().messages)
    longest = bytes(range(256)) * 256 + bytes(21)
    r.say(message(longest))
    r.until(lambda: r.received[1:] == [longest])
    r.end.driver = r.port
    r.end.send(longest)
    r.until(lambda: r.peer_got() == [longest])


@pytest.mark.parametrize(
    ("junk", "reason", "code"),
    [
        (message(b"hello", TEXT), "text", 1003),
        (message(bytes(65558)), "oversize", 1009),
        (message(bytes(40000), final=False) + message(bytes(40000), 0), "oversize", 1009),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + bytes(70000), "oversize", 1009),
        (b"\x82\x05hello", "protocol", 1002),  # no mask
        (b"\xff" * 100, "protocol", 1002),
        (message(b"x", 3), "protocol", 1002),
        (message(b"x", 0), "protocol", 1002),  # goes on with nothing
        (message(b"x" * 126, PING), "protocol", 1002),
        (message(b"\x03\xe8bye", CLOSE), "closed", 1000),
    ],
)
def test_junk_is_cut_off_with_a_reason_and_the_next_client_is_served(
    rig: Callable[..., Rig], junk: bytes, reason: str, code: int
) -> None:
    r = rig()
    r.say(message(frame(1)) + junk)
    r.until(lambda: r.count(f"ended-{reason}") == 1)
    r.reader.read()
    assert r.reader.messages in ([(CLOSE, code.to_bytes(2, "big"))], [])  # [] if unread junk made it a reset
    assert r.received == [frame(1)]
    r.peer_goes()
    r.peer_comes()
    r.until(lambda: r.port.carrier)
    r.say(message(frame(2)))
    r.until(lambda: r.received == [frame(1), frame(2)])
    assert r.carriers == [True, False, True]


def test_runts_are_counted_and_the_client_stays(rig: Callable[..., Rig]) -> None:
    r = rig()
    r.say(message(b"") + message(bytes(13)) + message(frame(1)))
    r.until(lambda: r.received == [frame(1)])
    assert r.count("runt") == 2
    assert r.port.carrier


def test_one_client_at_a_time(rig: Callable[..., Rig]) -> None:
    r = rig()
    told = r.ask(request("/eth5"))
    assert b" 409 " in told.head
    assert told.body == b"port eth5 has a client already; it serves one at a time\n"
    assert (r.count("refused-taken"), r.carriers) == (1, [True])


def test_ports_that_share_an_address_are_told_apart_by_the_path(rig: Callable[..., Rig]) -> None:
    r = rig(come=False)
    other = Rig("lab/eth 6", r.tcp, r.loop)
    other.port.open()
    told = r.ask(request("/eth7"))
    assert (b" 404 " in told.head, told.body) == (
        True,
        b"there is no port /eth7 here; there are: /eth5, /lab/eth 6\n",
    )
    assert b" 404 " in r.ask(request("/")).head
    with connect(r.tcp) as client:
        client.send(request("/lab%2Feth%206?x=1") + message(frame(6)))
        r.until(lambda: other.received == [frame(6)])
    r.until(lambda: not other.port.carrier)
    r.port.close()
    with connect(r.tcp) as client:  # now there is one, and it needs no name
        client.send(request("/") + message(frame(8)))
        r.until(lambda: other.received == [frame(6), frame(8)])
    other.port.close()
    with pytest.raises(ConnectionRefusedError):
        connect(r.tcp)


def test_pages_from_elsewhere_are_refused(rig: Callable[..., Rig]) -> None:
    r = rig(come=False, origins=["https://Example.org/"])
    for origin in ("http://evil.example", "null", f"http://evil.example:{r.tcp}", "http://127.0.0.1.evil.example"):
        told = r.ask(request("/eth5", f"Origin: {origin}", host=f"evil.example:{r.tcp}"))
        assert b" 403 " in told.head
        assert told.body.decode() == refusal(origin, "127.0.0.1", ()) + "\n"
    assert r.count("refused-origin") == 4
    assert "127.0.0.1.evil.example may not use this port" in str(r.port.statistics()["last-refusal"])
    for origin in ("https://example.org", "http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]"):
        assert b" 101 " in r.ask(request("/eth5", f"Origin: {origin}")).head
        r.until(lambda: not r.port.carrier)


def test_what_is_no_handshake_is_told_so(rig: Callable[..., Rig]) -> None:
    r = rig(come=False)
    told = r.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (b" 400 " in told.head, told.body.decode()) == (
        True, f"this is a WebSocket; connect to ws://127.0.0.1:{r.tcp}/eth5\n",
    )  # fmt: skip
    for junk in (b"\x16\x03\x01\x02\x00" + bytes(200), b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"A" * 20000):
        assert b" 400 " in r.ask(junk).head
    assert r.count("refused-bad-request") == 4
    connect(r.tcp).close()
    r.until(lambda: r.count("refused-gave-up") == 1)


def test_half_handshakes_make_room_for_others(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    r = rig(come=False)
    silent = []
    for _ in range(20):
        silent.append(connect(r.tcp))
        r.loop.run_once(0.01)
    r.until(lambda: r.count("refused-crowded") == 4)
    assert b" 101 " in r.ask(request("/eth5")).head
    assert r.count("refused-crowded") == 5
    for each in silent:
        each.close()
    r.until(lambda: r.count("refused-gave-up") == 15)
    monkeypatch.setattr("netvirt.ports.websocket_listener._PATIENCE", 0.01)
    with connect(r.tcp) as late:
        late.send(b"GET /eth5 HTTP/1.1\r\n")
        r.until(lambda: r.count("refused-slow") == 1)


def test_pings_and_a_client_that_does_not_answer_them(rig: Callable[..., Rig]) -> None:
    r = rig(ping=0.02)
    answered = 0

    def answers() -> bool:
        nonlocal answered
        pings = [data for opcode, data in r.reader.read().messages if opcode == PING]
        for data in pings[answered:]:
            r.say(message(data, PONG))
        answered = len(pings)
        return answered == 6

    r.until(answers)
    assert r.port.carrier
    r.until(lambda: r.count("ended-silent") == 1)
    assert not r.port.carrier


def test_the_only_timer_ends_with_the_client(rig: Callable[..., Rig]) -> None:
    r = rig()
    r.peer_goes()
    r.until(lambda: not r.port.carrier)
    assert [timer for timer in r.loop._timers if timer.callback is not None] == []


def test_a_flood_is_read_in_turns_and_memory_stays_flat(rig: Callable[..., Rig]) -> None:
    """Pings that nobody reads the answers of, pieces of nothing, and many small frames; another port goes on."""
    r = rig()
    other = Rig("eth6", loop=r.loop)
    other.port.open()
    other.peer_comes()
    r.until(lambda: other.port.carrier)
    pieces = message(frame(1)[:20], final=False) + message(b"", 0, final=False) * 2000
    flood = pieces + message(b"x" * 125, PING) * 2000 + message(frame(1)[20:], 0)
    r.say(flood)  # whatever is made once is made
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for turn in range(5):
            r.say(flood)
            other.say(message(frame(turn)))
        r.until(lambda: len(r.received) == 6 and len(other.received) == 5)
        assert tracemalloc.get_traced_memory()[0] - before < 1 << 19
    finally:
        tracemalloc.stop()
    assert numbers(other.received) == [0, 1, 2, 3, 4]
    assert r.count("ended-protocol") == 0
    pongs = len([1 for opcode, _ in r.reader.read().messages if opcode == PONG])
    assert 0 < pongs < 12000
    assert other.loop.mistakes == 0
    other.port.close()
    other.peer_goes()


def test_a_client_that_goes_with_frames_waiting_leaves_none_to_the_next(rig: Callable[..., Rig]) -> None:
    r = rig()
    r.end.driver = r.port
    while r.count("stalls") == 0 or len(r.queue) < 500:
        r.end.send(*(frame(n, 1500) for n in range(50)))
        r.loop.run_once(0)
    r.peer_goes()
    r.until(lambda: not r.port.carrier)
    assert len(r.queue) == 0
    assert r.count("unsent") > 0
    r.peer_comes()
    r.until(lambda: r.port.carrier)
    r.end.send(frame(77))
    r.until(lambda: r.peer_got())
    assert numbers(r.peer_got()) == [77]


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("0.0.0.0:8080", "can be reached from other machines"),
        ("[::]:8080", "can be reached from other machines"),
        ("192.0.2.1:8080", "public: true"),
        ("8080", "is no address to listen at"),
        ("host:8080", "write it in numbers"),
        ("127.0.0.1:0", "is no address"),
        ("127.0.0.1:70000", "is no address"),
        ("127.0.0.1:", "is no address"),
    ],
)
def test_addresses_that_cannot_be(listen: str, why: str) -> None:
    with pytest.raises(PortError, match=why):
        parse_listen(listen)


def test_addresses_that_can() -> None:
    assert str(parse_listen("localhost:80")) == "127.0.0.1:80"
    assert str(parse_listen("[::1]:80")) == "[::1]:80"
    assert str(parse_listen("0.0.0.0:80", public=True)) == "0.0.0.0:80"
    assert url(parse_listen("[::1]:80"), "a/b c") == "ws://[::1]:80/a%2Fb%20c"
    assert port_in("/a%2Fb%20c?x") == "a/b c"


def test_an_address_that_somebody_has(rig: Callable[..., Rig]) -> None:
    r = rig(come=False)
    with pytest.raises(PortError, match="somebody uses it already"):
        Rig(tcp=r.tcp).port.open()


def test_origins() -> None:
    for wrong in ("example.org", "https://", "https://a/b", "https://u@a", "https://a:99999"):
        with pytest.raises(PortError, match="is no origin"):
            check_origins([wrong])
    assert check_origins(["*", "null", "HTTPS://A.b:1/"]) == ("*", "null", "https://a.b:1")
    assert refusal("http://any.where", "127.0.0.1", ("*",)) == ""
    assert refusal("null", "127.0.0.1", ("null",)) == ""
    assert refusal("http://192.0.2.7:81", "192.0.2.7", ()) == ""
    assert refusal("http://localhost", "192.0.2.7", ()) != ""
    assert refusal("http://[bad", "127.0.0.1", ()) != ""
    assert "\n" not in refusal("http://a\nb" + "c" * 500, "127.0.0.1", ())
    assert refusal(None, "192.0.2.7", ()) == ""


def test_messages_are_what_we_think() -> None:
    assert message(b"Hello", TEXT, mask=b"\x37\xfa\x21\x3d").hex() == "818537fa213d7f9f4d5158"  # RFC 6455 clause 5.7
    assert BINARY == 2
