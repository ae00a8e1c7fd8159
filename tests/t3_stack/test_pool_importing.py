"""import: of any heap of files it says what opening says of them: which pools, who belongs, what opens, two
histories."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from storvirt.pool.assemble import open_pool
from storvirt.pool.importing import Importable, importable
from storvirt.pool.pool import PoolError
from storvirt.pool.survey import survey
from tests.support.poolrig import MEMBER, MIB, Kind, formatted, volume
from tests.support.simfile import SimFile

Files = dict[str, SimFile]


def found(files: Mapping[str, SimFile]) -> tuple[list[Importable], dict[str, str]]:
    pools, foreign = importable(survey(PythonMember(file, name)) for name, file in files.items())
    return pools, {one.path: one.sentence for one in foreign}


def copied(files: Mapping[str, SimFile]) -> list[PythonMember]:
    return [PythonMember(file.copy(), name) for name, file in files.items()]


def written(files: Files, seed: int = 1, degraded: bool = False) -> None:
    """A life of the pool: some checkpoints, closed."""
    dice = random.Random(seed)
    pool = open_pool([PythonMember(file, name) for name, file in files.items()], degraded=degraded)
    for _ in range(3):
        for row in pool.volume_rows.values():
            volume(pool, row.name).write(dice.randrange(64) * 512, dice.randbytes(100_000))
        pool.checkpoint()
    pool.close()


def another(count: int, name: str, ident: bytes) -> Files:
    """A pool of another identity."""
    files = formatted(count, (Kind("raid1", MIB),))
    for number, file in enumerate(files.values()):
        super_ = f.unpack_superblock(file.read(0, 4096))._replace(pool=ident, name=name)
        file.write(0, f.pack_superblock(super_) * 2)
        assert super_.number == number
    return {f"{name} {number}": file for number, file in enumerate(files.values())}


def opens(files: Mapping[str, SimFile]) -> str:
    """What opening says."""
    for degraded, word in ((False, "yes"), (True, "degraded")):
        try:
            open_pool(copied(files), degraded=degraded)
        except PoolError:
            continue
        return word
    return "no"


@pytest.mark.parametrize("raid", ["raid5", "raid6", "raid10", "raid50", "raid0", "raid1"])
def test_of_every_part_of_a_pool_it_says_what_opening_says(raid: str) -> None:
    files = formatted({"raid1": 2, "raid5": 4, "raid50": 6, "raid0": 3}.get(raid, 4), (Kind(raid, MIB),))
    written(files)
    for count in range(1, len(files) + 1):
        for chosen in itertools.combinations(files, count):
            part = {name: files[name] for name in chosen}
            (pool,), foreign = found(part)
            (history,) = pool.histories
            said = opens(part)
            if said == "degraded" and history.opens == "no":
                pytest.fail(f"{chosen}: {history.sentence}")
            assert (history.opens == "yes") == (said == "yes")
            assert history.opens != "degraded" or said == "degraded" or "can't be read" in history.sentence
            assert history.paths == sorted(chosen) and not foreign
            missing = {f"m{row.number}" for row in history.members if not row.path}
            assert missing == files.keys() - set(chosen)
            assert all(name in history.sentence for name in missing), "where it was seen last"


def test_moved_renamed_in_any_order_and_among_others() -> None:
    files, other = formatted(4, (Kind("raid5"),)), another(2, "other", b"another pool....")
    written(files)
    heap = {f"x{number}": file for number, file in enumerate([*files.values(), *other.values()])}
    heap |= {"letter": SimFile(5000), "empty": SimFile(0), "zeros": SimFile(MEMBER)}
    heap["letter"].write(0, b"Dear Sir, ")
    names = list(heap)
    random.Random(2).shuffle(names)
    before = {name: dict(file.pages) for name, file in heap.items()}
    pools, foreign = found({name: heap[name] for name in names})
    assert [pool.name for pool in pools] == ["other", "rig"]
    assert pools[1].histories[0].paths == ["x0", "x1", "x2", "x3"] and pools[1].histories[0].opens == "yes"
    assert pools[1].histories[0].volumes == (("raid5-0", "raid5", 2 * MIB),)
    assert [row.last for row in pools[1].histories[0].members] == ["m0", "m1", "m2", "m3"]
    assert set(foreign) == {"letter", "empty", "zeros"}
    assert all(name in sentence and "member of a pool" in sentence for name, sentence in foreign.items())
    assert {name: file.pages for name, file in heap.items()} == before


def test_copies_old_ones_and_broken_ones() -> None:
    files = formatted(4, (Kind("raid5"),))
    old = files["m1"].copy()
    written(files)
    short, headless = files["m3"].copy(), files["m2"].copy()
    short.resize(MEMBER - 4096)
    headless.write(0, bytes(2 * f.SUPER_SIZE))
    pools, foreign = found({**files, "old": old, "twin": files["m0"].copy(), "short": short, "headless": headless})
    (pool,) = pools
    strange = {one.path: (one.kind, one.sentence) for one in pool.strange}
    assert strange.keys() == {"old", "twin", "short"}
    assert strange["old"][0] == "old copy" and "old is an old copy of member 1" in strange["old"][1]
    assert strange["twin"][0] == "copy" and "twin and m0 are the same member twice" in strange["twin"][1]
    assert strange["short"][0] == "broken" and "cut short" in strange["short"][1]
    assert "both its superblocks are gone" in foreign["headless"]
    assert pool.histories[0].opens == "yes" and pool.histories[0].paths == ["m0", "m1", "m2", "m3"]


def test_the_one_that_is_where_it_was_is_it() -> None:
    """Of equal copies, in whatever order they come."""
    files = formatted(3, (Kind("raid5"),))
    written(files)
    for order in (["a", "m1"], ["m1", "a"]):
        (pool,), _ = found({**dict.fromkeys(order, files["m1"]), "m0": files["m0"], "m2": files["m2"]})
        assert pool.histories[0].paths == ["m0", "m1", "m2"] and [one.path for one in pool.strange] == ["a"]


@pytest.mark.parametrize("first", ["m0", "m1"])
def test_both_histories_are_shown(first: str) -> None:
    files = formatted(2, (Kind("raid1", MIB),))
    written(files)
    common = found(files)[0][0].newest
    second = "m1" if first == "m0" else "m0"
    written({first: files[first]}, 2, degraded=True)
    written({second: files[second]}, 3, degraded=True)
    written({second: files[second]}, 4)
    (pool,), _ = found(files)
    assert [history.paths for history in pool.histories] == [[second], [first]]
    assert pool.histories[0].commit > pool.histories[1].commit and pool.histories[0].apart is None
    assert pool.histories[1].apart in (common, -1)
    assert len({history.digest for history in pool.histories}) == 2
    assert all(history.opens == "yes" for history in pool.histories), "each went on without the other"


def test_a_member_that_is_out_is_said_to_be() -> None:
    files = formatted(4, (Kind("raid5"),))
    written({name: files[name] for name in ("m0", "m1", "m3")}, degraded=True)
    (pool,), _ = found(files)
    (history,) = pool.histories
    assert [row.state for row in history.members] == ["in", "in", "out", "in"]
    assert history.opens == "yes" and history.members[2].newest < history.commit


def test_no_ring_at_all() -> None:
    files = formatted(2, (Kind("raid1", MIB),))
    for file in files.values():
        file.write(f.RING_AT, bytes(f.RING_PLACES * f.RING_PLACE_SIZE))
    (pool,), _ = found(files)
    assert not pool.histories and {one.path for one in pool.strange} == {"m0", "m1"} and pool.newest == -1


@pytest.mark.parametrize("seed", range(40))
def test_junk_raises_nothing(seed: int) -> None:
    dice = random.Random(seed)
    files = {**formatted(4, (Kind("raid5"),)), **another(2, "other", b"another pool....")}
    for _ in range(dice.randint(1, 20)):
        at = dice.choice([0, 4096, f.RING_AT + f.RING_PLACE_SIZE * dice.randrange(16)]) + dice.randrange(500)
        dice.choice(list(files.values())).write(at, dice.randbytes(dice.choice([1, 4, 100])))
    pools, foreign = found(files)
    assert sum(len(history.paths) for pool in pools for history in pool.histories) <= len(files)
    assert all(sentence for sentence in foreign.values())
