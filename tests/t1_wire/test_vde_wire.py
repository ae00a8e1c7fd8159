"""VDE's request and address: both ways, cut short, and what is none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvirt.ports.vde_wire import (
    ADDRESS_SIZE,
    LONGEST_REQUEST,
    Request,
    VdeError,
    is_whole,
    pack_address,
    pack_request,
    parse_address,
    parse_request,
)

# What libvdeplug sends: magic, version 3, type 5 << 8, AF_UNIX, the path in 108 bytes, the description.
WIRE = struct.pack("=IIIH108s", 0xFEEDFACE, 3, 5 << 8, 1, b"/tmp/v/.00001-00000") + b"vde_plug: user=me PID=1"
REQUEST = Request(b"/tmp/v/.00001-00000", 5, "vde_plug: user=me PID=1")
OLD = struct.pack("=II6sH108s", 0xFEEDFACE, 5 << 8, b"\2\0\0\0\0\1", 1, REQUEST.path) + b"vde_plug: user=me PID=1"


def test_a_request_both_ways() -> None:
    assert pack_request(REQUEST) == WIRE
    assert parse_request(WIRE) == parse_request(OLD) == REQUEST
    assert parse_request(WIRE[:122]) == REQUEST._replace(description="")


def test_an_address_both_ways() -> None:
    assert len(pack_address(b"/tmp/v/005.7")) == ADDRESS_SIZE
    assert parse_address(pack_address(b"/tmp/v/005.7")) == b"/tmp/v/005.7"
    abstract = b"\0" + b"x".ljust(107, b"\0")
    assert parse_address(pack_address(abstract)) == abstract


def test_a_request_is_whole_when_its_address_is_there() -> None:
    assert next(n for n in range(len(WIRE)) if is_whole(WIRE[:n])) == 122
    assert is_whole(b"GET /")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (WIRE[:11], "11 bytes"),
        (WIRE[:121], "110"),
        (b"\0" + WIRE[1:], "0xfeedface"),
        (WIRE[:4] + b"\2\0\0\0" + WIRE[8:], "version 2"),
        (WIRE[:8] + b"\1\0\0\0" + WIRE[12:], "type 1"),
        (WIRE[:8] + b"\0\xff\xff\xff" + WIRE[12:], "port"),
        (WIRE[:12] + b"\2\0" + WIRE[14:], "family 2"),
        (WIRE[:14] + bytes(108), "without a path"),
        (WIRE[:14] + b"a" * 108, "no room"),
    ],
)
def test_what_is_no_request(data: bytes, words: str) -> None:
    with pytest.raises(VdeError, match=words):
        parse_request(data)


def test_a_description_is_for_people() -> None:
    assert parse_request(WIRE + b"\x1b[31m\xff\0rest").description == REQUEST.description + "[31m�"
    assert len(pack_request(REQUEST._replace(description="x" * 500))) == LONGEST_REQUEST


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_one_error(data: bytes) -> None:
    for text in (data, WIRE[:4] + data, WIRE[:12] + data):
        try:
            assert parse_request(text).path
        except VdeError as error:
            assert str(error)
