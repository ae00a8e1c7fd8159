"""dgram, udp and vde ports beyond the contract: peers that come back, strangers, bad paths, clients with nonsense."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netvirt.ports.dgram import DgramPort
from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop
from netvirt.ports.udp import UdpPort, parse_address
from netvirt.ports.vde import VdePort
from netvirt.ports.vde_plug import VdePlugPort
from netvirt.ports.vde_wire import ADDRESS_SIZE, Request, pack_request, parse_request
from netvirt.ports.vde_wire import parse_address as parse_unix
from tests.support.links import End, frame, run_until

QUICK = {"retry_min": 0.005, "retry_max": 0.02}
Make = Callable[..., End]


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    assert made.mistakes == 0
    made.close()


@pytest.fixture
def make(loop: Loop) -> Iterator[Make]:
    """An End with a driver of this class, open; closed at the end of the test."""
    ends: list[End] = []

    def made(driver: Any, *arguments: Any, **options: Any) -> End:
        end = End(loop, limit=1 << 20)
        end.driver = driver(loop, *arguments, end.queue, end.receive, end.carrier_changed, **options)
        ends.append(end)
        end.driver.open()
        return end

    yield made
    for end in ends:
        end.driver.close()


def unix(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(20)
    made.bind(str(path))
    return made


def until(end: End, condition: Callable[[], Any], what: str = "the condition") -> None:
    run_until(condition, end.loop, what=what)


# --- dgram


def test_a_dgram_peer_that_is_started_anew_gets_the_frames_that_waited(folder: Path, make: Make) -> None:
    end = make(DgramPort, f"{folder}/d", f"{folder}/q", **{**QUICK, "retry_max": 60})
    assert stat.S_IMODE(os.stat(folder / "d").st_mode) == 0o600
    with unix(folder / "q"):
        until(end, lambda: end.driver.carrier)
        begin = end.loop.now()
        until(end, lambda: end.loop.now() - begin > QUICK["retry_min"] * 1e9)
        (folder / "q").unlink()
        with unix(folder / "q") as second:
            end.loop.run_once(0)
    (folder / "q").unlink()
    with unix(folder / "q") as second:
        end.send(frame(1), frame(2))
        until(end, lambda: end.count("tx_frames") == 2)
        assert [second.recv(100), second.recv(100)] == [frame(1), frame(2)]
    assert (end.carriers, end.count("ended-restarted")) == ([True], 1)


def test_a_dgram_peer_that_goes_is_noticed_without_a_frame(folder: Path, make: Make) -> None:
    end = make(DgramPort, f"{folder}/d", f"{folder}/q", **QUICK)

    def comes_and_goes(turn: int) -> None:
        with unix(folder / "q"):
            until(end, lambda: end.count("connects") == turn)
        until(end, lambda: not end.driver.carrier)
        (folder / "q").unlink()

    comes_and_goes(1)
    comes_and_goes(2)
    assert end.carriers == [True, False, True, False]


def test_a_dgram_peer_that_speaks_first_is_heard_at_once(folder: Path, make: Make) -> None:
    end = make(DgramPort, f"{folder}/d", f"{folder}/q", retry_min=60, retry_max=60)
    with unix(folder / "q") as peer:
        peer.sendto(frame(1), f"{folder}/d")
        until(end, lambda: end.frames == [frame(1)])
    assert end.driver.carrier


def test_a_stranger_at_a_dgram_port_is_counted_before_and_kept_out_after_the_peer_came(
    folder: Path, make: Make
) -> None:
    end = make(DgramPort, f"{folder}/d", f"{folder}/q", **QUICK)
    with unix(folder / "stranger") as stranger, unix(folder / "other"):
        stranger.sendto(frame(13), f"{folder}/d")
        until(end, lambda: end.count("without-peer") == 1)
        with unix(folder / "q"):
            until(end, lambda: end.driver.carrier)
            with pytest.raises(PermissionError):
                stranger.sendto(frame(13), f"{folder}/d")
    assert end.frames == []


def test_a_dgram_path_in_use_and_one_that_is_stale(folder: Path, make: Make) -> None:
    unix(folder / "d").close()
    end = make(DgramPort, f"{folder}/d", f"{folder}/q")
    with pytest.raises(PortError, match="somebody listens on"):
        make(DgramPort, f"{folder}/d", f"{folder}/q")
    end.driver.close()
    assert not (folder / "d").exists()
    (folder / "file").write_text("mine")
    with pytest.raises(PortError, match="no socket"):
        make(DgramPort, f"{folder}/file", f"{folder}/q")
    assert (folder / "file").read_text() == "mine"
    with pytest.raises(PortError, match="check the folder"):
        make(DgramPort, f"{folder}/nowhere/d", f"{folder}/q")
    with pytest.raises(PortError, match="107"):
        make(DgramPort, f"{folder}/d", f"{folder}/{'q' * 100}")


# --- udp


def free_udp() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_udp_port_that_is_taken_or_forbidden_or_not_there_yet(make: Make) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(PortError, match="somebody uses it already"):
            make(UdpPort, f"127.0.0.1:{other.getsockname()[1]}", "127.0.0.1:9")
    end = make(UdpPort, f"192.0.2.1:{free_udp()}", "192.0.2.2:9", retry=0.01)  # RFC 5737: nobody's address
    assert not end.driver.carrier
    assert "192.0.2.1" in end.driver.statistics()["problem"]
    for _ in range(5):
        end.loop.run_once(0.02)
    assert end.carriers == []


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1", "127.0.0.1:", ":5000", "127.0.0.1:0", "127.0.0.1:65536", "localhost:5000", "::1:5000",
             "[::1]5000", "[127.0.0.1]:5000", "127.0.0.1:５000", "1.2.3:4:5", "127.0.0.1:5000 "],
)  # fmt: skip
def test_what_is_no_udp_address(text: str) -> None:
    with pytest.raises(PortError, match="in numbers"):
        parse_address(text)


def test_udp_addresses_that_do_not_go_together() -> None:
    assert str(parse_address("[::1]:5000")) == "[::1]:5000"
    end = End(Loop())
    for listen, connect in (("127.0.0.1:5", "[::1]:5"), ("127.0.0.1:5", "127.0.0.1:5")):
        with pytest.raises(PortError):
            UdpPort(end.loop, listen, connect, end.queue, end.receive, end.carrier_changed)
    end.loop.close()


# --- vde, as the switch


class Client:
    """What libvdeplug does."""

    def __init__(self, folder: Path, name: str, number: int = 0) -> None:
        self.data = unix(folder / name)
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(20)
        self.control.connect(f"{folder}/v/ctl")
        self.control.send(pack_request(Request(f"{folder}/{name}".encode(), number, "a client")))

    def connect(self) -> None:
        self.data.connect(parse_unix(self.control.recv(ADDRESS_SIZE)))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.control.close()
        self.data.close()


def test_plugs_get_the_first_free_port_or_the_one_they_ask_for(folder: Path, make: Make) -> None:
    four, five = (make(VdePort, f"{folder}/v", number) for number in (4, 5))
    with Client(folder, "a", 5) as asking, Client(folder, "b"):
        until(four, lambda: four.driver.carrier and five.driver.carrier)
        asking.connect()
        assert asking.data.getpeername().startswith(f"{folder}/v/005.")
        with Client(folder, "c") as late, Client(folder, "d", 5) as wrong:
            until(four, lambda: four.count("refused-all-taken") == 1 and four.count("refused-port-taken") == 1)
            assert late.control.recv(1) == wrong.control.recv(1) == b""
        assert five.driver.peer == "a client"
        asking.data.send(frame(1))
        until(five, lambda: five.frames == [frame(1)])
    until(four, lambda: not four.driver.carrier and not five.driver.carrier)
    with Client(folder, "e"):
        until(four, lambda: four.driver.carrier)
    assert not five.driver.carrier


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n" + bytes(200), "bad-request"),
        (b"", "bad-request"),
        (pack_request(Request(b"/nowhere")), "no-data-socket"),
        (pack_request(Request(b"/nowhere"))[:60], "bad-request"),
    ],
)
def test_a_client_that_says_nonsense_is_counted_and_the_next_one_served(
    request_: bytes, reason: str, folder: Path, make: Make
) -> None:
    end = make(VdePort, f"{folder}/v", 1)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{folder}/v/ctl")
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        until(end, lambda: end.count(f"refused-{reason}") == 1)
        client.settimeout(20)
        assert client.recv(1) == b""
    with Client(folder, "a"):
        until(end, lambda: end.driver.carrier)


def test_clients_that_say_nothing_do_not_keep_others_out(folder: Path, make: Make) -> None:
    end = make(VdePort, f"{folder}/v", 1)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    for each in silent:
        each.connect(f"{folder}/v/ctl")
        end.loop.run_once(0)
    until(end, lambda: end.count("refused-slow") >= 20)
    with Client(folder, "a"):
        until(end, lambda: end.driver.carrier)
    for each in silent:
        each.close()


def test_a_data_socket_that_goes_ends_the_plug(folder: Path, make: Make) -> None:
    end = make(VdePort, f"{folder}/v", 1)
    with Client(folder, "a") as client:
        until(end, lambda: end.driver.carrier)
        client.data.close()
        end.queue.append(frame(1))
        end.driver.flush()
        until(end, lambda: not end.driver.carrier)
        assert client.control.recv(1000)[ADDRESS_SIZE:] == b""
    assert not list((folder / "v").glob("001.*"))


def test_a_folder_in_use_and_what_is_left_of_a_killed_client(folder: Path, make: Make, loop: Loop) -> None:
    end = make(VdePort, f"{folder}/v", 1)
    unix(folder / "v" / ".01234-00000").close()
    other = End(Loop())
    with pytest.raises(PortError, match="somebody listens on"):
        VdePort(other.loop, f"{folder}/v", 2, other.queue, other.receive, other.carrier_changed).open()
    other.loop.close()
    end.driver.close()
    assert not (folder / "v").exists()
    with pytest.raises(PortError, match="shorter"):
        make(VdePort, f"{folder}/{'v' * 90}", 1)
    with pytest.raises(PortError, match="parent"):
        make(VdePort, f"{folder}/no/v", 1)


def test_a_folder_of_a_switch_that_was_killed_is_taken_over_and_tidied(folder: Path, make: Make) -> None:
    (folder / "v").mkdir()
    for name in (".01234-00000", "001.17"):
        unix(folder / "v" / name).close()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{folder}/v/ctl")
    with unix(folder / "v" / ".01235-00000"):
        end = make(VdePort, f"{folder}/v", 1)
        assert {path.name for path in (folder / "v").iterdir()} == {"ctl", ".01235-00000"}
    (folder / "v" / ".01235-00000").unlink()
    end.driver.close()
    assert not (folder / "v").exists()


# --- vde, as a plug


def test_a_plug_asks_for_its_port_again_and_again(folder: Path, make: Make) -> None:
    (folder / "v").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/v/ctl")
        listener.listen(4)
        end = make(VdePlugPort, f"{folder}/v", 7, name="s1:eth1", **QUICK)
        for turn, answer in enumerate((b"", b"nonsense" * 20, b"\1"), 1):
            until(end, lambda: select.select([listener], [], [], 0)[0], what="another try")
            control, _ = listener.accept()
            request = parse_request(control.recv(1000))
            assert (request.port, request.description.split()[0]) == (7, "s1:eth1")
            assert request.path.startswith(f"{folder}/v/.".encode())
            control.send(answer) if answer else None
            control.close()
            until(end, partial(_has_ended, end, turn))
        assert end.carriers == []
    assert set(_ends(end)) <= {"refused", "bad-answer", "econnreset", "econnrefused"}


def _ends(end: End) -> dict[str, Any]:
    return {key[6:]: value for key, value in end.driver.statistics().items() if key.startswith("ended-")}


def _has_ended(end: End, times: int) -> bool:
    return sum(_ends(end).values()) >= times
