"""The storage in a lab file: what it means, every mistake with its place, what is sent to stord, what stays behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.lab import loader, sizes, storage_model, storage_rules
from daemons.lab.actions import actions
from daemons.lab.lab import Lab
from daemons.lab.mistake import LabError
from daemons.lab.storage import Lun, Pool, Volume
from daemons.lab.storage_plan import pool_config, pool_configs
from daemons.leavings import left_behind
from daemons.state import Desired
from daemons.stord_config import check
from storvirt.pool import assemble, format

LAB = """\
name: t
storage:
  pools:
    p0: {members: [a.img, b.img, /data/c.img], size: 1GiB}
    p1: {members: [d.img, e.img], size: 67108864}
  volumes:
    v0: {pool: p0, raid: raid5, size: 500MiB}
    v1: {pool: p1, raid: raid1, size: 12MiB, grain: 4KiB}
  luns:
    lun0: {volume: v0, nbd: true}
    lun1: {volume: v1, nbd: {path: /tmp/x.sock}, read-only: true}
"""


class Somewhere:
    """Places with answers that are easy to read."""

    def member(self, path: str) -> str:
        return path if path.startswith("/") else f"/labs/{path}"

    def nbd_path(self, pool: str, lun: str) -> str:
        return f"/run/{pool}-{lun}.nbd"


def lab(text: str = LAB) -> Lab:
    return loader.parse(text, "f").lab


def test_what_it_means() -> None:
    storage = lab().storage
    assert storage.pools["p0"] == Pool("p0", ("a.img", "b.img", "/data/c.img"), 1 << 30)
    assert storage.volumes == {
        "v0": Volume("v0", "p0", "raid5", 500 << 20, 32768),
        "v1": Volume("v1", "p1", "raid1", 12 << 20, 4096),
    }
    assert storage.luns["lun0"] == Lun("lun0", "v0", None, None, False)
    assert storage.luns["lun1"] == Lun("lun1", "v1", "/tmp/x.sock", None, True)
    assert loader.parse(LAB).warnings == ()


def test_a_lab_may_have_a_network_and_storage_or_either() -> None:
    network = "topology: {nodes: {s1: {kind: switch, ports: {e1: {}}}}}\n"
    assert set(lab(LAB + network).switches) == {"s1"} and len(lab(LAB + network).storage.pools) == 2
    assert lab().switches == {} and lab().hosts == {}
    assert lab(f"name: t\n{network}").storage.pools == {}
    assert lab("name: t\nstorage: {}\n").storage.pools == {}


def change(old: str, new: str) -> str:
    assert LAB.count(old) == 1, old
    return LAB.replace(old, new)


CASES = {
    "storage is a list": ("name: t\nstorage: ¤[]", "here belongs a mapping"),
    "unknown part": ("name: t\nstorage: {¤pool: {}}", "unknown key 'pool'; did you mean 'pools'"),
    "pool name": (f"{LAB}  ".replace("  volumes:", "    ¤'p 1': {members: [f], size: 1GiB}\n  volumes:"),
                  "'p 1' is no pool name; use a letter"),
    "volume name": (
        LAB.replace("  luns:", "    ¤7: {pool: p0, raid: linear, size: 1MiB}\n  luns:"),
        "'7' is no volume name",
    ),
    "LUN name": (change("    lun1:", "    ¤lun/1:"), "'lun/1' is no LUN name"),
    "no members key": (change("    p1: {members: [d.img, e.img], ", "    ¤p1: {"), "'members' is missing here"),
    "no members": (change("p1: {members: [d.img, e.img]", "p1: ¤{members: []"), "a pool without members; list"),
    "members is text": (change("[d.img, e.img]", "¤d.img"), "here belongs a list"),
    "a member is a number": (change("e.img", "¤7"), "'7' is no path of a file"),
    "a member is a folder": (change("e.img", "¤disks/"), "'disks/' is a folder; name a file in it"),
    "a member is too long": (change("e.img", f"¤{'x' * 300}"), "longer than a path may be"),
    "a member twice": (change("e.img", "¤d.img"), "the file 'd.img' is a member twice; give each member a file"),
    "a member twice, said differently": (change("e.img", "¤./x/../d.img"), "is a member twice"),
    "a member of two pools": (change("e.img", "¤b.img"), r"a member twice \(of pool 'p0' too\)"),
    "no size": (change("    p1: {members: [d.img, e.img], size: 67108864}", "    ¤p1: {members: [d.img, e.img]}"),
                "'size' is missing here; add size:"),
    "size is a word": (change("67108864", "¤large"), "'large' is no size; write it like 512MiB"),
    "size is true": (change("67108864", "¤true"), "'True' is no size"),
    "size of a wrong unit": (change("67108864", "¤64Mib"), "'64Mib' is no size"),
    "size is no multiple": (change("67108864", "¤67108865"), "no multiple of 4 KiB; give 67108864 bytes"),
    "size is negative": (change("67108864", "¤-4096"), "out of range; give one from 4096 bytes to 1 PiB"),
    "size is enormous": (change("67108864", "¤2PiB"), "out of range"),
    "size is too small for a pool": (change("67108864", "¤16MiB"), "members of 16 MiB are too small"),
    "unknown pool": (change("v1: {pool: p1", "v1: {pool: ¤p2"), "there is no pool 'p2'; add it to pools:"),
    "raid": (change("raid: raid1", "raid: ¤raid8"), "'raid8' is no RAID level"),
    "no raid": (change("    v1: {pool: p1, raid: raid1,", "    ¤v1: {pool: p1,"), "'raid' is missing here"),
    "too few members": (change("raid: raid1", "raid: ¤raid5"), "too few members .*needs at least 3 members"),
    "grain": (change("4KiB", "¤12KiB"), "a grain cannot be '12KiB'; give a power of two from 4KiB to 1MiB"),
    "grain is too large": (change("4KiB", "¤2MiB"), "a grain cannot be '2MiB'"),
    "volume size": (change("12MiB", "¤1000"), "out of range"),
    "unknown volume": (change("lun1: {volume: v1", "lun1: {volume: ¤w1"), "there is no volume 'w1'; add it"),
    "nbd is false": (change("nbd: true", "nbd: ¤false"), "a LUN that nobody can reach; write nbd: true"),
    "nbd is a word": (change("nbd: true", "nbd: ¤yes"), "here belongs a mapping"),
    "nbd path": (change("/tmp/x.sock", "¤''"), "no absolute path"),
    "nbd path too long": (change("/tmp/x.sock", f"¤/{'x' * 107}"), "longer than the 107 bytes"),
    "nbd tcp": (change("nbd: true", "nbd: {tcp: ¤localhost}"), "no TCP address; write host:port"),
    "nbd both": (change("nbd: true", "nbd: ¤{tcp: 'a:1', path: /x}"), "reached by one of path: and tcp:"),
    "read-only is a word": (change("read-only: true", "read-only: ¤maybe"), "another value|here belongs"),
    "one address in two pools": (
        LAB.replace("nbd: {path", "nbd: ¤{path").replace("nbd: true", "nbd: {path: /tmp/x.sock}"),
        "lun1 and lun0 are in different pools and cannot share /tmp/x.sock",
    ),
    "a pool called like a switch": (
        LAB.replace("    p1:", "    ¤p1:") + "topology: {nodes: {p1: {kind: switch, ports: {e1: {}}}}}\n",
        "'p1' is a node already",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_mistake(name: str) -> None:
    marked, said = CASES[name]
    before, _, after = marked.partition("¤")
    with pytest.raises(LabError, match=said) as caught:
        loader.parse(before + after, "f")
    (mistake,) = caught.value.mistakes
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    assert (mistake.line, mistake.column) == (line, column), mistake


def test_all_mistakes_at_once_and_nothing_is_said_twice() -> None:
    text = LAB.replace("size: 1GiB", "size: x").replace("raid: raid1", "raid: raid5").replace("volume: v1", "volume: v")
    with pytest.raises(LabError) as caught:
        loader.parse(text + "loops: maybe\n", "f")
    lines = [mistake.line for mistake in caught.value.mistakes]
    assert lines == [4, 8, 11, 12], "the pool that was taken out is not missed by its volume"


ODD = {
    "larger than its pool": (change("size: 12MiB", "size: ¤80MiB"), "larger than its pool"),
    "open to everybody here": (change("nbd: true", 'nbd: {tcp: ¤"127.0.0.1:1"}'), "open to every user of this machine"),
    "open to everybody": (change("nbd: true", 'nbd: {tcp: ¤"*:10809"}'), "open to everybody who reaches this address"),
    "two writers": (LAB + "    lun2: {volume: ¤v0, nbd: true}\n", "lun0 and lun2 both write to volume 'v0'"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_one_warning(name: str) -> None:
    marked, said = ODD[name]
    before, _, after = marked.partition("¤")
    (warning,) = loader.parse(before + after, "f").warnings
    assert said in str(warning)
    assert (warning.line, warning.column) == (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def test_two_readers_of_a_volume_are_no_oddity() -> None:
    assert loader.parse(LAB + "    lun2: {volume: v0, nbd: true, read-only: true}\n").warnings == ()


# --- sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("4096", 4096), ("1KiB", 1024), ("1 GiB", 1 << 30), ("1.5GiB", 3 << 29), ("2TB", 2 * 10**12),
        ("1kB", 1000), ("4G", 4 << 30), ("512B", 512), ("", None), ("GiB", None), ("-1", None), ("1gib", None),
        ("1e9", None), ("0.3", None), ("1.5", None), ("1 2", None), ("0x10", None), ("1GiBs", None),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    assert sizes.parse(text) == size


@given(st.integers(0, 1 << 55))
def test_a_size_as_text_is_the_same_size(size: int) -> None:
    text = sizes.text(size)
    assert sizes.parse(text.replace(" bytes", "")) == size
    assert len(sizes.about(size)) <= 9


# --- what is sent to stord


@pytest.mark.parametrize("level", ["linear", "raid0", "raid1", "raid1c3", "raid4", "raid5"])
def test_levels_by_name(level: str) -> None:
    assert lab(LAB.replace("raid: raid5", f"raid: {level}")).storage.volumes["v0"].raid == level


def test_the_configuration_of_a_pool() -> None:
    assert pool_config(lab(), "p0", Somewhere(), 3) == {
        "name": "p0",
        "lab": "t",
        "epoch": 3,
        "pool": {"name": "p0", "members": ["/labs/a.img", "/labs/b.img", "/data/c.img"], "size": 1 << 30},
        "volumes": [{"name": "v0", "size": 500 << 20, "raid": "raid5", "grain": 32768}],
        "luns": [{"name": "lun0", "volume": "v0", "path": "/run/p0-lun0.nbd", "read_only": False}],
    }
    assert pool_config(lab(change(", nbd: true", "")), "p0", Somewhere(), 3) == pool_config(lab(), "p0", Somewhere(), 3)
    (lun,) = pool_config(lab(change("nbd: true", "nbd: {tcp: 'h:1'}")), "p0", Somewhere(), 3)["luns"]
    assert lun == {"name": "lun0", "volume": "v0", "tcp": "h:1", "read_only": False}


def test_stord_takes_what_the_planner_makes() -> None:
    for name, config in pool_configs(lab(), Somewhere(), 3).items():
        taken = check(config)
        assert (taken.pool, taken.epoch) == (name, 3) and len(taken.volumes) == len(taken.luns) == 1


def desired(text: str) -> dict[str, Any]:
    return pool_configs(lab(text), Somewhere(), 0)


def test_what_is_done_when_the_file_changes() -> None:
    def todo(text: str) -> list[str]:
        return [str(action) for action in actions(desired(text), desired(LAB)) if action.kind != "keep"]

    assert todo(LAB) == []
    assert todo(change("12MiB", "16MiB")) == ["~ configure p1: volume v1 changed"]
    assert todo(LAB + "    l2: {volume: v1, nbd: true, read-only: true}\n") == ["~ configure p1: lun l2 added"]
    assert todo(change("nbd: true", "nbd: {path: /x}")) == ["~ configure p0: lun lun0 changed"]
    assert todo(LAB + "loops: block\n") == []


def test_what_stays_behind_is_said() -> None:
    def said(text: str) -> list[str]:
        wanted = ({name: Desired("stord", config) for name, config in desired(t).items()} for t in (LAB, text))
        return left_behind(*wanted)

    assert said(LAB) == []
    without = LAB.replace("    v1: {pool: p1, raid: raid1, size: 12MiB, grain: 4KiB}\n", "")
    without = without.replace("    lun1: {volume: v1, nbd: {path: /tmp/x.sock}, read-only: true}\n", "")
    assert said(without) == ["volume v1 has left the lab file; it stays in pool p1, with its data"]
    without = without.replace("    p1: {members: [d.img, e.img], size: 67108864}\n", "")
    assert said(without) == ["pool p1 has left the lab; its data stays in /labs/d.img, /labs/e.img"]


def test_the_limits_here_are_the_pools_own() -> None:
    assert storage_model.MOST_MEMBERS == format.MAX_MEMBERS
    assert storage_rules.LEAST_MEMBER == format.EXTENTS_AT + assemble.MIN_EXTENTS * assemble.DEFAULT_EXTENT


def test_a_luns_socket_may_stand_beside_the_lab_file() -> None:
    config = pool_config(lab(LAB.replace("/tmp/x.sock", "x.sock")), "p1", Somewhere(), 1)
    assert config["luns"] == [{"name": "lun1", "volume": "v1", "path": "/labs/x.sock", "read_only": True}]
    with pytest.raises(LabError, match="longer than the 107 bytes"):
        lab(LAB.replace("/tmp/x.sock", "x" * 108))
