"""Endpoints as text: what is one, what it means, and one sentence for what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvirt.ports.endpoint import MAX_PATH, Endpoint, parse_endpoint
from netvirt.ports.errors import PortError

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # ZeroMQ RFC 32's own example of a key

GOOD = [
    ("ipc:///run/lab/s1.zmq#eth5", Endpoint("ipc", "/run/lab/s1.zmq", None, "eth5")),
    ("tcp://127.0.0.1:7001#eth9", Endpoint("tcp", "127.0.0.1:7001", None, "eth9")),
    ("ipc:///a b/ü.zmq#Gigabit0/1.100", Endpoint("ipc", "/a b/ü.zmq", None, "Gigabit0/1.100")),
    ("ipc:///x#*", Endpoint("ipc", "/x", None, "*")),
    ("tcp://[::1]:7001#p#q", Endpoint("tcp", "[::1]:7001", None, "p#q")),
]


@pytest.mark.parametrize(("text", "meaning"), GOOD)
def test_good_ones(text: str, meaning: Endpoint) -> None:
    assert parse_endpoint(text) == meaning
    assert parse_endpoint(text).url == text.split("#")[0]


@pytest.mark.parametrize("key", [KEY, "#" * 40, "?key=#" + "a" * 34, "a" * 40])
def test_a_key_may_hold_every_character_of_z85(key: str) -> None:
    """Z85 has '#' and '?' among its characters: a key is told from the port by its length."""
    endpoint = parse_endpoint(f"tcp://127.0.0.1:7001?key={key}#eth9")
    assert (endpoint.key, endpoint.port, endpoint.url) == (key, "eth9", "tcp://127.0.0.1:7001")


@pytest.mark.parametrize(
    "text",
    ["", "eth1", "ipc://", "ipc://#eth1", "udp://127.0.0.1:1#eth1", "ipc:///x#", "tcp://1:2?key=short#eth1", "ipc:/x#e",
     "tcp://1:2?key=#e", "inproc://x#e", "http://example.org/", "ipc:///x\n#eth1\n"],
)  # fmt: skip
def test_bad_ones_are_one_sentence(text: str) -> None:
    with pytest.raises(PortError) as caught:
        parse_endpoint(text)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) > 20


def test_a_listener_needs_no_port() -> None:
    assert parse_endpoint("ipc:///x", port_needed=False).port == ""
    with pytest.raises(PortError, match="which port"):
        parse_endpoint("ipc:///x")


def test_the_kernels_limit_counts_bytes() -> None:
    assert MAX_PATH == 107
    parse_endpoint("ipc://" + "/" * 107 + "#p")
    with pytest.raises(PortError, match="108 bytes"):
        parse_endpoint("ipc://" + "/" * 108 + "#p")
    with pytest.raises(PortError, match="108 bytes"):
        parse_endpoint("ipc://" + "ü" * 54 + "#p")


@given(st.text() | st.text().map("ipc://{}".format) | st.text().map("tcp://h:1?key={}#p".format))
def test_any_text_is_an_endpoint_or_a_port_error(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except PortError:
        return
    assert text.startswith(endpoint.url) and text.endswith(endpoint.port)
