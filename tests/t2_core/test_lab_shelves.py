"""The storage of a lab in its pictures: every pool, file, volume and LUN is there, beside the network, in the width."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest

from daemons.lab import loader, picture
from daemons.lab.lab import Lab

SVG = "{http://www.w3.org/2000/svg}"


def many(pools: int, members: int) -> Lab:
    """Long names everywhere; each pool has a volume that nobody offers and one with two LUNs."""
    made = {
        f"pool-number-{p}": {"members": [f"/disks/{p}/<member>-{m}.img" for m in range(members)], "size": "1GiB"}
        for p in range(pools)
    }
    volumes = {f"{word}{p}": {"pool": pool, "raid": "raid0", "size": "1TiB"} for p, pool in enumerate(made)
               for word in ("spare", "used")}  # fmt: skip
    luns = {f"lun{p}{letter}": {"volume": f"used{p}", "nbd": True, "read-only": letter == "b"} for p in range(pools)
            for letter in "ab"}  # fmt: skip
    storage = json.dumps({"pools": made, "volumes": volumes, "luns": luns})
    return loader.parse(f"name: t\nstorage: {storage}\n").lab


def example(name: str) -> Lab:
    return loader.load(loader.find(name)).lab


LABS: dict[str, Callable[[], Lab]] = {
    "datacenter": lambda: example("datacenter"),
    "storage": lambda: example("storage"),
    "one": lambda: many(1, 2),
    "many": lambda: many(5, 40),
}


def shown(lab: Lab) -> list[str]:
    return [*lab.storage.pools, *lab.storage.volumes, *lab.storage.luns]


def words(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")


@pytest.mark.parametrize("name", LABS)
@pytest.mark.parametrize("width", [20, 60, 100])
def test_in_the_terminal(name: str, width: int) -> None:
    lab = LABS[name]()
    drawn = picture.text(lab, width)
    if width >= 60:
        for each in shown(lab):
            assert words(each).search(drawn), each
    assert max(len(line) for line in drawn.splitlines()) <= max(width, 46)


def test_word_for_word_and_with_what_is_up() -> None:
    drawn = picture.text(example("storage"), 100, status={"array": True, "mirror": False})
    assert drawn.splitlines()[2:-1] == [
        "array up  pool, 4 files of 256 MiB: a.img b.img c.img d.img",
        "└─ data  raid5, 500 MiB  ── lun0",
        "mirror down  pool, 2 files of 256 MiB: left.img right.img",
        "└─ boot  raid1, 128 MiB  ── lun1",
    ]


@pytest.mark.parametrize("name", LABS)
def test_as_svg(name: str) -> None:
    lab = LABS[name]()
    drawn = picture.svg(lab, dict.fromkeys(lab.storage.pools, True))
    root = ElementTree.fromstring(drawn)
    texts = [text.strip() for text in root.itertext()]
    for each in shown(lab):
        assert any(words(each).search(text) for text in texts), each
    width, height = (float(root.get(key, "0")) for key in ("width", "height"))
    shelves = [
        rect for rect in root.iter(f"{SVG}rect") if rect.get("class", "").split(" ")[0] in ("shelf", "box", "chip")
    ]
    assert sum(rect.get("class") == "shelf" for rect in shelves) == len(lab.storage.pools)
    places = [tuple(float(rect.get(key, "")) for key in ("x", "y", "width", "height")) for rect in shelves]
    for i, (x, y, wide, tall) in enumerate(places):
        assert min(x, y) >= 0 and x + wide <= width and y + tall <= height
        for x2, y2, wide2, tall2 in places[:i]:
            assert x + wide <= x2 or x2 + wide2 <= x or y + tall <= y2 or y2 + tall2 <= y
    platters = sum(path.get("class") == "disk" for path in root.iter(f"{SVG}path"))
    assert platters == sum(min(8, len(pool.members)) for pool in lab.storage.pools.values())


def test_a_lab_without_storage_is_drawn_as_before() -> None:
    drawn = picture.svg(example("static-vlan"))
    assert not re.search('class="(shelf|disk|drawer)"', drawn)
    assert "pool" not in picture.text(example("static-vlan"))
