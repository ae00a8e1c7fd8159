"""The negotiation: one table of dialogues, each whole, byte by byte, and with what does not belong to it behind it."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storvirt.nbd.export import ExportInfo
from storvirt.nbd.handshake import MAX_DATA, Handshake
from storvirt.nbd.wire import ExportFlag, Option, Reply
from tests.support.nbd_frames import FIXED, HELLO, OptionReply, info, meta, option, option_replies, string

EXAMPLES = 20_000 if os.environ.get("VFAB_LONG") else 300
SIZE = 64 << 20
EXPORTS = {
    "v0": ExportInfo("v0", SIZE, "a volume"),
    "röhre": ExportInfo("röhre", 4096, read_only=True),
}
PLAIN = 0x1 | 0x4 | 0x8 | 0x20 | 0x40 | 0x100  # HAS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN
DF = 0x80
CONTEXT = b"base:allocation"


def handshake() -> Handshake:
    made = Handshake(EXPORTS, default="v0")
    assert made.greeting() == b"NBDMAGICIHAVEOPT\0\3"
    return made


def talk(said: bytes, chunk: int = 0) -> tuple[Handshake, bytes]:
    """All of it at once, or `chunk` bytes at a time; what comes after the end is left over."""
    made, answer = handshake(), b""
    for at in range(0, len(said), chunk or len(said)):
        if made.state in ("transmission", "closed"):
            return made, answer
        answer += made.receive(said[at : at + (chunk or len(said))])
    return made, answer


def info_export(flags: int, size: int = SIZE) -> OptionReply:
    return OptionReply(7, Reply.INFO, struct.pack(">HQH", 0, size, flags))


# name: (what the client says behind its flags, what it hears, the state afterwards)
DIALOGUES: dict[str, tuple[bytes, list[OptionReply], str]] = {
    "list": (
        option(3),
        [
            OptionReply(3, Reply.SERVER, string("v0") + b"a volume"),
            OptionReply(3, Reply.SERVER, string("röhre")),
            OptionReply(3, Reply.ACK, b""),
        ],
        "option",
    ),
    "go": (option(7, info("v0")), [info_export(PLAIN), OptionReply(7, Reply.ACK, b"")], "transmission"),
    "go for the default": (option(7, info("")), [info_export(PLAIN), OptionReply(7, Reply.ACK, b"")], "transmission"),
    "go with everything": (
        option(8) + option(7, info("v0", 3, 2, 1, 0, 99)),
        [
            OptionReply(8, Reply.ACK, b""),
            info_export(PLAIN | DF),
            OptionReply(7, Reply.INFO, b"\0\1v0"),
            OptionReply(7, Reply.INFO, b"\0\2a volume"),
            OptionReply(7, Reply.INFO, struct.pack(">HIII", 3, 1, 4096, 32 << 20)),
            OptionReply(7, Reply.ACK, b""),
        ],
        "transmission",
    ),
    "go, read-only": (
        option(7, info("röhre", 2)),
        [info_export(0x1 | 0x2 | 0x4 | 0x8 | 0x100, 4096), OptionReply(7, Reply.ACK, b"")],
        "transmission",
    ),
    "info": (
        option(6, info("v0")),
        [
            OptionReply(6, Reply.INFO, struct.pack(">HQH", 0, SIZE, PLAIN)),
            OptionReply(6, Reply.ACK, b""),
        ],
        "option",
    ),
    "abort": (option(2), [OptionReply(2, Reply.ACK, b"")], "closed"),
    "list of contexts": (
        option(8) + option(9, meta("v0")) + option(9, meta("v0", "base:")) + option(9, meta("v0", "x-other:1")),
        [
            OptionReply(8, Reply.ACK, b""),
            OptionReply(9, Reply.META_CONTEXT, bytes(4) + CONTEXT),
            OptionReply(9, Reply.ACK, b""),
            OptionReply(9, Reply.META_CONTEXT, bytes(4) + CONTEXT),
            OptionReply(9, Reply.ACK, b""),
            OptionReply(9, Reply.ACK, b""),
        ],
        "option",
    ),
    "set context": (
        option(8) + option(10, meta("v0", "qemu:dirty", "base:allocation")),
        [
            OptionReply(8, Reply.ACK, b""),
            OptionReply(10, Reply.META_CONTEXT, b"\0\0\0\1" + CONTEXT),
            OptionReply(10, Reply.ACK, b""),
        ],
        "option",
    ),
}
ERRORS: dict[str, tuple[bytes, int]] = {
    "starttls": (option(5), Reply.ERR_UNSUP),
    "extended headers": (option(11), Reply.ERR_UNSUP),
    "unknown": (option(4711, b"whatever"), Reply.ERR_UNSUP),
    "unknown export": (option(7, info("nobody")), Reply.ERR_UNKNOWN),
    "list with data": (option(3, b"x"), Reply.ERR_INVALID),
    "structured with data": (option(8, b"x"), Reply.ERR_INVALID),
    "structured twice": (option(8) + option(8), Reply.ERR_INVALID),
    "meta before structured": (option(10, meta("v0", "base:allocation")), Reply.ERR_INVALID),
    "meta for nobody": (option(8) + option(10, meta("nobody", "base:allocation")), Reply.ERR_UNKNOWN),
    "meta with a hostile count": (option(8) + option(9, string("v0") + b"\xff\xff\xff\xff"), Reply.ERR_INVALID),
    "info, empty": (option(6), Reply.ERR_INVALID),
    "info, name past the end": (option(6, b"\0\0\0\x10v0\0\0"), Reply.ERR_INVALID),
    "info, more requests than there are": (option(6, string("v0") + b"\0\2\0\0"), Reply.ERR_INVALID),
    "info, something behind": (option(6, info("v0") + b"x"), Reply.ERR_INVALID),
    "info, name too long": (option(6, info("v" * 5000)), Reply.ERR_INVALID),
    "info, no utf-8": (option(6, info(b"\xff\xfe")), Reply.ERR_INVALID),
    "too big": (option(6, bytes(MAX_DATA + 1)), Reply.ERR_TOO_BIG),
    "unknown and too big": (option(99, bytes(3 * MAX_DATA)), Reply.ERR_TOO_BIG),
}
HOSTILE: dict[str, tuple[bytes, str]] = {
    "client flags": (struct.pack(">I", 7), "client-flags"),
    "high client flags": (struct.pack(">I", 0x80000003), "client-flags"),
    "magic": (HELLO + b"GET / HTTP/1.1\r\n", "magic"),
    "unknown export name": (HELLO + option(1, b"nobody"), "unknown-export"),
    "endless export name": (HELLO + b"IHAVEOPT" + struct.pack(">II", 1, 0xFFFFFFFF), "bad-name"),
    "export name, no utf-8": (HELLO + option(1, b"\xff"), "bad-name"),
    "options without fixed newstyle": (bytes(4) + option(3), "not-fixed-newstyle"),
}


@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogues(name: str, chunk: int) -> None:
    said, heard, state = DIALOGUES[name]
    made, answer = talk(HELLO + said, chunk)
    assert option_replies(answer) == heard
    assert made.state == state
    assert made.reason == ("abort" if state == "closed" else "")


@pytest.mark.parametrize("chunk", [0, 1, 1000])
@pytest.mark.parametrize("name", ERRORS)
def test_errors_keep_both_ends_in_step(name: str, chunk: int) -> None:
    said, error = ERRORS[name]
    made, answer = talk(HELLO + said + option(2), chunk)
    *_, refused, aborted = option_replies(answer)
    assert refused.type == error
    assert refused.data.decode()  # a sentence for people
    assert (aborted.option, aborted.type, made.state) == (2, Reply.ACK, "closed")


@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.parametrize("name", HOSTILE)
def test_strangers_are_dropped_with_a_reason(name: str, chunk: int) -> None:
    said, reason = HOSTILE[name]
    made, answer = talk(said, chunk)
    assert (made.state, made.reason, answer) == ("closed", reason, b"")


def test_export_name_has_its_own_answer() -> None:
    made, answer = talk(HELLO + option(1, b"v0"))
    assert answer == struct.pack(">QH", SIZE, PLAIN)
    assert made.state == "transmission"
    made, answer = talk(struct.pack(">I", FIXED) + option(1))
    assert answer == struct.pack(">QH", SIZE, PLAIN) + bytes(124)
    made, answer = talk(bytes(4) + option(1, b"v0"))
    assert len(answer) == 134
    assert made.state == "transmission"


def test_the_empty_name_means_nothing_without_a_default() -> None:
    made = Handshake(EXPORTS)
    (refused,) = option_replies(made.receive(HELLO + option(7, info(""))))
    assert refused.type == Reply.ERR_UNKNOWN
    made.receive(option(1))
    assert (made.state, made.reason) == ("closed", "unknown-export")


def test_what_comes_behind_is_left_over() -> None:
    behind = bytes(range(100))
    made, _ = talk(HELLO + option(8) + option(7, info("v0")) + behind)
    assert made.state == "transmission"
    assert made.leftover == behind
    assert (made.export, made.structured, made.meta) == (EXPORTS["v0"], True, False)


def test_contexts_belong_to_the_export_they_were_set_for() -> None:
    setting = option(8) + option(10, meta("v0", "base:allocation"))
    cases = {
        setting + option(7, info("v0")): True,
        setting + option(7, info("")): True,
        setting + option(7, info("röhre")): False,
        setting + option(10, meta("v0")) + option(7, info("v0")): False,
        setting + option(10, b"junk") + option(7, info("v0")): False,
        setting + option(6, info("röhre")) + option(1, b"v0"): True,
    }
    for said, meant in cases.items():
        made, _ = talk(HELLO + said)
        assert (made.state, made.meta) == ("transmission", meant)


def test_a_huge_option_is_stepped_over_in_little_memory() -> None:
    made, answer = handshake(), b""
    made.receive(HELLO + b"IHAVEOPT" + struct.pack(">II", 6, 50 << 20))
    for _ in range(50):
        answer += made.receive(bytes(1 << 20))
        assert len(made._held) == 0
    assert [reply.type for reply in option_replies(answer)] == [Reply.ERR_TOO_BIG]
    assert option_replies(made.receive(option(2)))[0].type == Reply.ACK


def test_fast_zero_only_where_it_is_meant() -> None:
    quick = ExportInfo("q", 512, fast_zero=True)
    assert quick.flags(False) & ExportFlag.SEND_FAST_ZERO
    assert not quick._replace(read_only=True).flags(False) & ExportFlag.SEND_FAST_ZERO
    assert not EXPORTS["v0"].flags(True) & ExportFlag.SEND_FAST_ZERO


options = st.builds(
    option,
    st.one_of(st.sampled_from([*Option]), st.integers(0, 2**32 - 1)),
    st.one_of(
        st.binary(max_size=40),
        st.builds(info, st.sampled_from(["v0", "", "nobody", "röhre"]), st.integers(0, 5)),
        st.builds(meta, st.sampled_from(["v0", "nobody"]), st.sampled_from(["base:allocation", "base:", "", "x"])),
    ),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.one_of(st.just(HELLO), st.binary(min_size=4, max_size=4)),
    st.lists(st.one_of(options, st.binary(max_size=30)), max_size=6),
    st.integers(1, 64),
)
def test_any_bytes_in_any_pieces_give_the_same(flags: bytes, said: list[bytes], chunk: int) -> None:
    text = flags + b"".join(said)
    whole, answer = talk(text)
    pieces, answer_in_pieces = talk(text, chunk)
    assert answer == answer_in_pieces
    assert (whole.state, whole.reason, whole.export, whole.meta) == (
        pieces.state, pieces.reason, pieces.export, pieces.meta,
    )  # fmt: skip
    if whole.state == "closed":
        assert whole.reason
