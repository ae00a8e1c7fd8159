"""What `vfab port show` says about compression."""

from __future__ import annotations

import pytest

from netvirt.packing import Packer
from tools.compression_words import lines


def link(state: str, *numbers: int) -> dict[str, object]:
    keys = ("lz4-bursts", "lz4-raw-bytes", "lz4-sent-bytes", "lz4-unpacked-bytes", "lz4-received-bytes")
    return {"state": "up", "lz4": state, **dict(zip(keys, numbers, strict=True))}


@pytest.mark.parametrize(
    ("statistics", "said"),
    [
        ({}, []),
        ({"state": "up", "peer": "s1"}, []),
        (link("on", 9, 12_300_000, 4_241_379, 0, 0), [("lz4", "2.9x (12.3 MB sent as 4.2 MB)")]),
        (link("off", 1, 2000, 500, 0, 0),
         [("lz4", "4.0x (2.0 kB sent as 500 bytes), now off: it would gain nothing")]),
        (link("off", 0, 0, 0, 0, 0), [("lz4", "off: it would gain nothing")]),
        (link("untried", 0, 0, 0, 3_000_000_000, 999_600),
         [("lz4", "not tried yet: no burst was large enough"),
          ("lz4 received", "3001.2x (3.0 GB came as 1.0 MB)")]),
    ],
)  # fmt: skip
def test_one_line_for_each_direction(statistics: dict[str, object], said: list[tuple[str, str]]) -> None:
    assert lines(statistics) == said


def test_a_drivers_own_numbers_are_understood() -> None:
    packer = Packer()
    assert lines(packer.statistics()) == [("lz4", "not tried yet: no burst was large enough")]
    packer.unpack(packer.pack(bytes(100_000)))
    said = dict(lines(packer.statistics()))
    assert said["lz4"].endswith("sent as 422 bytes)") and said["lz4 received"].startswith(said["lz4"].split(" ")[0])
