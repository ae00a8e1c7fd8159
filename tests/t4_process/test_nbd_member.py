"""A member that is somebody else's NBD export: what every member owes, against three servers; and servers that lie."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from storvirt.backing.nbd import open_nbd
from storvirt.nbd import wire as w
from tests.support import contracts_member as contract
from tests.support.nbd_servers import Server, nbdkit, ours, qemu_nbd, scripted
from tests.support.waiting import until

SIZE = contract.SIZE
CHECKS = [check for check in contract.CHECKS if check is not contract.grows_with_zeros_and_shrinks]
MAKERS: dict[str, Callable[[Path], Server]] = {
    "ours": lambda folder: ours(folder, "s", 1),
    "nbdkit": lambda folder: nbdkit(folder, "s", "memory", str(SIZE)),
    "nbdkit-4k": lambda folder: nbdkit(
        folder, "s", "--filter=blocksize-policy", "memory", str(SIZE), "blocksize-minimum=4096",
        "blocksize-preferred=4096", "blocksize-maximum=8192", "blocksize-error-policy=error",
    ),
    "nbdkit-simple": lambda folder: nbdkit(folder, "s", "--no-sr", "memory", str(SIZE)),
    "nbdkit-bare": lambda folder: nbdkit(folder, "s", "--filter=nozero", "--filter=fua", "memory", str(SIZE)),
    "qemu-nbd": lambda folder: qemu_nbd(folder, "s", SIZE, "--discard=unmap"),
}  # fmt: skip


@pytest.fixture
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    made = MAKERS[request.param](folder)
    yield made
    made.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("server", [name for name in MAKERS if name != "ours"], indirect=True)
@pytest.mark.peer("nbdkit", "qemu-nbd")
def test_it_owes_what_every_member_does(server: Server, check: Callable[..., None]) -> None:
    member = open_nbd(server.uri)
    check(member)
    member.close()


@pytest.mark.parametrize("server", MAKERS, indirect=True)
@pytest.mark.peer("nbdkit", "qemu-nbd")
def test_large_requests_and_announced_reads(server: Server) -> None:
    member = open_nbd(server.uri)
    dice = random.Random(4)
    data = dice.randbytes(member.size)
    member.write(0, data)
    assert member.fetch(8192, 8192) and member.fetch(0, 4096)
    until(lambda: member.try_read(8192, 8192) == data[8192:16384], what="the announced read")
    assert member.read(0, 4096) == data[:4096]
    assert member.fetch(16384, 8192)
    member.write(20480, b"newer" * 100)
    assert member.read(16384, 8192)[4096:4600] == (b"newer" * 100 + data[20980:])[:504], "an announced read grew old"
    member.write(20480, data[20480:20980])
    assert member.read(0, member.size) == data
    member.close()


@pytest.mark.parametrize("server", ["ours"], indirect=True)
def test_two_threads_at_once(server: Server) -> None:
    """The pool's thread reads and writes while another one makes things durable."""
    member = open_nbd(server.uri)
    over = threading.Event()
    failed: list[Exception] = []

    def sync() -> None:
        while not over.is_set():
            try:
                member.sync()
            except MemberError as error:
                failed.append(error)
                return

    thread = threading.Thread(target=sync)
    thread.start()
    dice, model = random.Random(5), bytearray(member.size)
    for _ in range(400):
        offset, data = dice.randrange(member.size - 70_000), dice.randbytes(dice.randint(1, 70_000))
        member.write(offset, data)
        model[offset : offset + len(data)] = data
        at = dice.randrange(member.size - 5000)
        member.fetch(at // 4096 * 4096, 4096)
        assert member.read(at, 5000) == model[at : at + 5000]
    over.set()
    thread.join(timeout=30)
    assert not failed and not thread.is_alive()
    member.close()


@pytest.mark.parametrize("server", ["ours"], indirect=True)
def test_killed_and_stopped(server: Server) -> None:
    member = open_nbd(server.uri)
    assert member.check() is None
    server.signal(signal.SIGKILL)
    assert "hung up" in str(until(member.check, what="the end of the server"))
    for call in (lambda: member.read(0, 512), lambda: member.write(0, b"x"), member.sync):
        with pytest.raises(MemberError, match="its NBD server is gone"):
            call()
    member.close()
    server.start()
    with_patience = f"{server.uri}&patience=0.3"
    for call in ("read", "write", "check"):
        member = open_nbd(with_patience)
        server.signal(signal.SIGSTOP)
        if call == "check":
            assert "has not answered for 0.3 seconds" in str(until(member.check, what="its silence"))
        else:
            with pytest.raises(MemberError, match="does not answer"):
                _ = member.read(0, 512) if call == "read" else member.write(0, bytes(900_000))
        member.close()
        server.signal(signal.SIGCONT)
    server.signal(signal.SIGSTOP)
    with pytest.raises(MemberError, match="does not answer"):
        open_nbd(with_patience)
    server.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-r", "memory", "1M"), "the export is read-only"),
        (("--tls=require", "--tls-psk=/dev/null", "memory", "1M"), "TLS"),
    ],
)
@pytest.mark.peer("nbdkit")
def test_a_server_that_does_not_offer_what_is_needed(folder: Path, words: tuple[str, ...], sentence: str) -> None:
    server = nbdkit(folder, "s", *words)
    try:
        with pytest.raises(MemberError, match=sentence):
            open_nbd(server.uri)
    finally:
        server.close()


def test_nobody_there_and_no_such_export(folder: Path) -> None:
    with pytest.raises(MemberError, match="can't be reached"):
        open_nbd(f"nbd+unix:///x?socket={folder}/none")
    with pytest.raises(MemberError, match="can't be reached"):
        open_nbd("nbd://127.0.0.1:1/x")
    with pytest.raises(MemberError, match="nbd://host"):
        open_nbd("nbds://x")
    server = ours(folder, "s", 1)
    try:
        with pytest.raises(MemberError, match="it has no export of that name"):
            open_nbd(server.uri.replace("///x", "///y"))
    finally:
        server.close()


def test_over_tcp() -> None:
    argv = [sys.executable, "-m", "tests.support.nbd_process", "127.0.0.1:0", "x=1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[1]
        member = open_nbd(f"nbd://127.0.0.1:{port}/x")
        member.write(5000, b"over TCP" * 9000)
        member.sync()
        assert member.read(5000, 72_000) == b"over TCP" * 9000 and member.check() is None
        process.terminate()
        assert "hung up" in str(until(member.check, what="the end of the server"))
        member.close()
        process.communicate(timeout=20)


# --- servers that lie


def negotiate(client: socket.socket, structured: bool = True) -> None:
    """As a good server does, up to the first request."""
    client.sendall(w.GREETING.pack(w.NBDMAGIC, w.IHAVEOPT, 3))
    client.recv(4 + w.OPTION.size, socket.MSG_WAITALL)
    kind = w.Reply.ACK if structured else w.Reply.ERR_UNSUP
    client.sendall(w.OPTION_REPLY.pack(w.OPTION_REPLY_MAGIC, w.Option.STRUCTURED_REPLY, kind, 0))
    _, _, length = w.OPTION.unpack(client.recv(w.OPTION.size, socket.MSG_WAITALL))
    client.recv(length, socket.MSG_WAITALL)
    export = w.INFO_EXPORT.pack(w.Info.EXPORT, SIZE, 1 | w.ExportFlag.SEND_FLUSH)
    client.sendall(w.OPTION_REPLY.pack(w.OPTION_REPLY_MAGIC, w.Option.GO, w.Reply.INFO, len(export)) + export)
    client.sendall(w.OPTION_REPLY.pack(w.OPTION_REPLY_MAGIC, w.Option.GO, w.Reply.ACK, 0))


def chunk(kind: int, body: bytes, cookie: int = 1, flags: int = 1) -> bytes:
    return w.CHUNK.pack(w.STRUCTURED_REPLY_MAGIC, flags, kind, cookie, len(body)) + body


ZERO = (0).to_bytes(8, "big")
LIES = {
    "wrong magic": (True, b"\x12\x34\x56\x78" * 8, "begins with 0x12345678"),
    "wrong cookie": (True, chunk(w.Chunk.NONE, b"", cookie=77), "was never made"),
    "simple though structured": (True, w.SIMPLE_REPLY.pack(w.SIMPLE_REPLY_MAGIC, 0, 1), "agreed on structured ones"),
    "structured though simple": (False, chunk(w.Chunk.NONE, b""), "which is none"),
    "too short": (True, chunk(w.Chunk.OFFSET_DATA, ZERO + bytes(100)), "answered 100 bytes of a read of 512"),
    "nothing": (True, chunk(w.Chunk.NONE, b""), "answered 0 bytes"),
    "too long": (True, chunk(w.Chunk.OFFSET_DATA, ZERO + bytes(1024)), "where nobody had asked"),
    "absurdly long": (True, w.CHUNK.pack(w.STRUCTURED_REPLY_MAGIC, 1, 1, 1, 1 << 31), "which is too long"),
    "elsewhere": (True, chunk(w.Chunk.OFFSET_DATA, b"\xff" * 8 + bytes(512)), "where nobody had asked"),
    "a hole of 4 GiB": (True, chunk(w.Chunk.OFFSET_HOLE, ZERO + b"\xff" * 4), "larger than what was asked"),
    "unknown kind": (True, chunk(77, b"abc"), "which is none"),
    "twice": (True, chunk(w.Chunk.OFFSET_DATA, ZERO + bytes(512), flags=0) * 2 + chunk(0, b""), "answered 1024 bytes"),
    "hangs up in the middle": (True, chunk(w.Chunk.OFFSET_DATA, ZERO + bytes(512))[:200], "hung up"),
}


@pytest.mark.parametrize(("structured", "said", "sentence"), LIES.values(), ids=LIES)
def test_a_server_that_lies_is_out_with_a_sentence(folder: Path, structured: bool, said: bytes, sentence: str) -> None:
    def talk(client: socket.socket) -> None:
        negotiate(client, structured)
        client.recv(w.REQUEST.size, socket.MSG_WAITALL)
        client.sendall(said)

    with scripted(folder / "s", talk) as uri:
        member = open_nbd(uri)
        with pytest.raises(MemberError):
            member.read(0, 512)
        assert sentence in str(member.check())
        with pytest.raises(MemberError):
            member.write(0, b"x" * 512)
        member.close()


GREETING_LIES = {
    "another protocol": (b"220 mail.example.com ESMTP\r\n", "no NBD server"),
    "oldstyle": (w.GREETING.pack(w.NBDMAGIC, 0x00420281861253, 0), "no NBD server"),
    "not fixed": (w.GREETING.pack(w.NBDMAGIC, w.IHAVEOPT, 0), "fixed newstyle"),
    "no answer to the option": (w.GREETING.pack(w.NBDMAGIC, w.IHAVEOPT, 3) + bytes(20), "is none"),
    "an endless answer": (
        w.GREETING.pack(w.NBDMAGIC, w.IHAVEOPT, 3)
        + w.OPTION_REPLY.pack(w.OPTION_REPLY_MAGIC, w.Option.STRUCTURED_REPLY, 1, 1 << 30),
        "too long",
    ),
    "hangs up": (b"NBD", "hung up"),
}


@pytest.mark.parametrize(("said", "sentence"), GREETING_LIES.values(), ids=GREETING_LIES)
def test_a_greeting_that_is_none(folder: Path, said: bytes, sentence: str) -> None:
    with (
        scripted(folder / "s", lambda client: client.sendall(said)) as uri,
        pytest.raises(MemberError, match=sentence),
    ):
        open_nbd(uri)


def test_an_error_of_the_servers_own_is_passed_on_and_the_connection_lives(folder: Path) -> None:
    def talk(client: socket.socket) -> None:
        negotiate(client)
        client.recv(w.REQUEST.size, socket.MSG_WAITALL)
        client.sendall(chunk(w.Chunk.ERROR, b"\0\0\0\x05\0\0"))
        client.recv(w.REQUEST.size, socket.MSG_WAITALL)
        client.sendall(chunk(w.Chunk.OFFSET_DATA, ZERO + b"y" * 512, cookie=2))
        client.recv(1)

    with scripted(folder / "s", talk) as uri:
        member = open_nbd(uri)
        with pytest.raises(MemberError, match="I/O error"):
            member.read(0, 512)
        assert member.read(0, 512) == b"y" * 512
        member.close()


def test_what_a_connection_before_had_asked_for_is_waited_for(folder: Path) -> None:
    """A server that was only stopped may still do it: nobody writes there before it has come to its end."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "s"))
    listener.listen(8)
    listener.settimeout(30)
    uri = f"nbd+unix:///x?socket={folder}/s&patience=0.3"
    clients: list[socket.socket] = []

    def accept(count: int) -> None:
        for _ in range(count):
            clients.append(listener.accept()[0])
            negotiate(clients[-1])

    def opened(read_only: bool = False) -> Member:
        thread = threading.Thread(target=accept, args=(1,))
        thread.start()
        try:
            return open_nbd(uri, read_only)
        finally:
            thread.join(timeout=30)

    try:
        member = opened()
        with pytest.raises(MemberError, match="does not answer"):
            member.write(0, b"x" * 512)
        with pytest.raises(MemberError, match="still does what the connection before had asked for"):
            opened()
        opened(read_only=True).close()  # who does not write is in nobody's way
        data = bytearray()
        while piece := clients[0].recv(4096):  # it wakes up: all that was sent comes, and then the end
            data += piece
        assert data.endswith(b"x" * 512) and len(data) == w.REQUEST.size + 512
        clients[0].close()
        opened().close()
    finally:
        for client in clients:
            client.close()
        listener.close()
