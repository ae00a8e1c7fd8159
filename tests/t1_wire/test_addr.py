"""MAC, VID and PCP text: one table each, both ways, and every mistake is an AddrError of one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt import addr

MAC = b"\x02\x00\x5e\xa0\x0f\x01"

GOOD_MACS = [
    ("02:00:5e:a0:0f:01", MAC),
    ("02:00:5E:A0:0F:01", MAC),
    ("02-00-5E-A0-0F-01", MAC),
    ("0200.5ea0.0f01", MAC),
    ("ff:ff:ff:ff:ff:ff", addr.BROADCAST),
]
BAD_MACS = ["", "02:00:5e:a0:0f", "02:00:5e:a0:0f:01:02", "02:00-5e:a0:0f:01", "2:0:5e:a0:f:1", "02005ea00f01"]
BAD_MACS += [
    "02:00:5e:a0:0f:0g",
    " 02:00:5e:a0:0f:01",
    "02:00:5e:a0:0f:01\n",
    "0200.5ea0.0f0",
    "x" * 1000,
    "０2:00:5e:a0:0f:01",
]

VID_SETS = [
    ("", ""),
    ("10", "10"),
    ("10,20,30-40", "10,20,30-40"),
    (" 40 - 42 , 1", "1,40-42"),
    ("1,2,3,5", "1-3,5"),
    ("1-4094", "1-4094"),
    ("7,7,7", "7"),
    ("10-20,15-30", "10-30"),
]
BAD_VID_SETS = ["0", "4095", "10,", ",", "-", "1-", "-5", "20-10", "a", "1 2", "0x10", "1--2", "1-2-3", "99999", "１０"]


@pytest.mark.parametrize(("text", "mac"), GOOD_MACS)
def test_macs_are_read_in_every_form_that_people_write(text: str, mac: bytes) -> None:
    assert addr.mac_bytes(text) == mac


@pytest.mark.parametrize("text", BAD_MACS)
def test_what_is_no_mac_is_refused_in_one_short_sentence(text: str) -> None:
    with pytest.raises(addr.AddrError) as caught:
        addr.mac_bytes(text)
    assert "is not a MAC address" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


@settings(deadline=None)
@given(st.binary(min_size=6, max_size=6))
def test_mac_text_is_read_back(mac: bytes) -> None:
    assert addr.mac_bytes(addr.mac_text(mac)) == mac
    assert addr.is_group(mac) == (mac[0] % 2 == 1)


@settings(deadline=None)
@given(st.binary(max_size=12).filter(lambda mac: len(mac) != 6))
def test_mac_text_refuses_other_lengths(mac: bytes) -> None:
    with pytest.raises(addr.AddrError, match="6 bytes"):
        addr.mac_text(mac)


@pytest.mark.parametrize("value", [1, 2, 4094])
def test_good_vids(value: int) -> None:
    assert addr.check_vid(value) == value


@pytest.mark.parametrize("value", [0, 4095, -1, 4096, "10", None, True, 1.0])
def test_bad_vids(value: object) -> None:
    with pytest.raises(addr.AddrError, match="1 to 4094"):
        addr.check_vid(value)


@pytest.mark.parametrize("value", [-1, 8, "3", None, False, 2.0])
def test_bad_priorities(value: object) -> None:
    with pytest.raises(addr.AddrError, match="0 to 7"):
        addr.check_pcp(value)
    assert [addr.check_pcp(good) for good in range(8)] == list(range(8))


@pytest.mark.parametrize(("text", "compact"), VID_SETS)
def test_vid_sets_are_read_and_written_compactly(text: str, compact: str) -> None:
    assert addr.format_vid_set(addr.parse_vid_set(text)) == compact


@pytest.mark.parametrize("text", BAD_VID_SETS)
def test_bad_vid_sets(text: str) -> None:
    with pytest.raises(addr.AddrError):
        addr.parse_vid_set(text)


@settings(deadline=None)
@given(st.frozensets(st.integers(1, 4094), max_size=200))
def test_every_vid_set_survives_the_round_trip(vids: frozenset[int]) -> None:
    assert addr.parse_vid_set(addr.format_vid_set(vids)) == vids


@settings(deadline=None)
@given(st.one_of(st.text(max_size=40), st.none(), st.integers(), st.binary(max_size=10)))
def test_junk_raises_one_error_type_only(junk: object) -> None:
    for function in (addr.mac_bytes, addr.parse_vid_set):
        try:
            function(junk)  # type: ignore[arg-type]  # junk on purpose
        except addr.AddrError:
            pass
