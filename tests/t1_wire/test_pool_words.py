"""Members without a successor's number: leaving, ended. They fit into the first format."""

from __future__ import annotations

import pytest

from storvirt.pool import format as f
from storvirt.pool.tables import check

MIB = 1 << 20


def commit(successor: int, state: int = f.IN) -> f.Commit:
    rows = (
        f.MemberRow(b"1" * 16, state, 64 * MIB, 1, successor, "a.img"),
        f.MemberRow(b"2" * 16, f.SPARE, 64 * MIB, 1, f.NOBODY, "b.img"),
    )
    return f.Commit(1, bytes(32), 1, 1, 1, rows, (), (), ())


@pytest.mark.parametrize("successor", sorted(f.WORDS))
@pytest.mark.parametrize("state", [f.IN, f.OUT])
def test_both_ways(successor: int, state: int) -> None:
    there = commit(successor, state)
    again = f.unpack_commit(f.pack_commit(there))
    assert again == there
    check(again, MIB)
    assert f.pack_commit(there)[: f.COMMIT_HEAD][:8] == b"VFCOMMIT" and not f.WORDS & set(range(f.MAX_MEMBERS))


@pytest.mark.parametrize("successor", [0, 2, 64, 252])
def test_what_is_neither_a_member_nor_a_word(successor: int) -> None:
    with pytest.raises(f.FormatError, match=f"member 0 is replaced by member {successor}, which can't be"):
        check(f.unpack_commit(f.pack_commit(commit(successor))), MIB)
