"""The golden images of every format version: whatever the pool becomes, it opens them and finds every byte."""

from __future__ import annotations

import hashlib
import itertools
import json
import lzma
from collections.abc import Iterable
from pathlib import Path

import pytest

from storvirt.backing.memory import MemoryMember
from storvirt.pool.assemble import open_pool
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Scrub
from storvirt.volume.volume import Volume

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = sorted(folder.name for folder in GOLDEN.glob("pool-v*"))


def load(version: str, without: Iterable[int] = ()) -> list[MemoryMember]:
    members = []
    for number, path in enumerate(sorted((GOLDEN / version).glob("m*.xz"))):
        if number not in without:
            data = lzma.decompress(path.read_bytes())
            members.append(MemoryMember(len(data), path.stem))
            members[-1].write(0, data)
    return members


def content(pool: Pool) -> dict[str, dict[str, object]]:
    found = {}
    for row in pool.volume_rows.values():
        data = Volume(pool, pool.disk(row.name)).read(0, row.size)
        found[row.name] = {"size": row.size, "sha256": hashlib.sha256(data).hexdigest()}
    return found


def test_there_is_one_of_each_version() -> None:
    assert VERSIONS == ["pool-v1", "pool-v1-levels"]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_opens_with_every_byte_also_without_any_one_member(version: str) -> None:
    expected = json.loads((GOLDEN / version / "content.json").read_text())
    for lost in ((), (0,), (1,), (2,), (3,)):
        pool = open_pool(load(version, lost), degraded=bool(lost))
        assert pool.name == expected["name"] and content(pool) == expected["volumes"], lost


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_written_and_opened_again(version: str) -> None:
    members = load(version)
    pool = open_pool(members)
    expected = content(pool)
    pool.checkpoint()
    scrub = Scrub(pool)
    while scrub.step():
        pass
    assert not scrub.found
    for order in itertools.islice(itertools.permutations(members), 4):
        assert content(open_pool(order)) == expected
