"""Fuzz seeds of the frame parser: whatever comes in, one error type or a value that builds the same bytes again."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from netvirt.frame import TPIDS, Ethernet, FrameError, Tag, describe, parse

MACS = st.binary(min_size=6, max_size=6)
TAGS = st.builds(Tag, st.sampled_from(sorted(TPIDS)), st.integers(0, 7), st.booleans(), st.integers(0, 4095))
FRAMES = st.builds(
    Ethernet,
    MACS,
    MACS,
    st.lists(TAGS, max_size=5).map(tuple),
    st.integers(0, 0xFFFF).filter(lambda ethertype: ethertype not in TPIDS),
    st.binary(max_size=80),
)
# Random bytes hardly ever carry a known type, so the interesting ones are put where the parser looks.
TYPED = st.tuples(
    st.binary(min_size=12, max_size=12),
    st.lists(st.sampled_from([b"\x81\x00\x00\x0a", b"\x88\xa8\xff\xff", b"\x81\x00"]), max_size=4).map(b"".join),
    st.sampled_from([b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x00\x26", b""]),
    st.binary(max_size=64),
).map(b"".join)


@settings(deadline=None)
@given(FRAMES)
def test_every_frame_survives_the_round_trip(frame: Ethernet) -> None:
    assert parse(frame.build()) == frame


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=80), TYPED))
@example(b"")
@example(b"\xff" * 12 + b"\x81\x00" * 40)
@example(b"\xff" * 12 + b"\x81\x00\x00\x00" * 16000)
def test_junk_is_one_error_type_and_one_line(junk: bytes) -> None:
    line = describe(junk)
    assert "\n" not in line
    try:
        frame = parse(junk)
    except FrameError:
        assert line.startswith(f"{len(junk)} bytes that are no frame")
    else:
        assert frame.build() == junk
