"""The address of an export: as it is written, what it means, what it can't be."""

from __future__ import annotations

import pytest

from storvirt.nbd.uri import Address, UriError, is_uri, parse

GOOD = [
    ("nbd://127.0.0.1:10810/lun0", Address("lun0", "", "127.0.0.1", 10810)),
    ("nbd://server", Address("", "", "server", 10809)),
    ("nbd://[::1]:2000/a%20b", Address("a b", "", "::1", 2000)),
    ("nbd+unix:///lun0?socket=/run/x.sock", Address("lun0", "/run/x.sock")),
    ("nbd+unix:///?socket=/run/a b", Address("", "/run/a b")),
    ("nbd+unix:///x?socket=run/x.sock&patience=0.5", Address("x", "/labs/run/x.sock", patience=0.5)),
]
BAD = [
    ("nbds://server/x", "is written nbd://host"),
    ("http://server/x", "is written nbd://host"),
    ("nbd:///x", "wants a host"),
    ("nbd://h:99999/x", "is no address"),
    ("nbd://h/x?socket=/a", "wants a host; for a unix socket"),
    ("nbd+unix:///x", "socket=/path"),
    ("nbd+unix://h/x?socket=/a", "socket=/path"),
    ("nbd+unix:///x?socket=/a&tls=1", "nothing is understood"),
    ("nbd://me@h/x", "nothing is understood"),
    ("nbd://h/x?patience=never", "number of seconds"),
    ("nbd://h/x?patience=nan", "number of seconds"),
    ("nbd+unix:///x?socket=/" + "a" * 107, "at most 107 bytes"),
    ("nbd://h/" + "a" * 5000, "no name of an export"),
    ("nbd://h/%00", "no name of an export"),
]


@pytest.mark.parametrize(("text", "meant"), GOOD)
def test_what_it_means(text: str, meant: Address) -> None:
    assert is_uri(text) and parse(text, "/labs") == meant
    assert parse(meant.text) == meant, "what is written of it means the same"


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_what_it_can_not_be(text: str, sentence: str) -> None:
    assert is_uri(text)
    with pytest.raises(UriError, match=sentence):
        parse(text)


@pytest.mark.parametrize("text", ["a.img", "/data/a.img", "nbd", "nbd:/x", "./nbd://x", "/a://b", "://x", ""])
def test_a_path_is_none(text: str) -> None:
    assert not is_uri(text)
