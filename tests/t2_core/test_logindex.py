"""The log's index against a dictionary: what matters is deletion, which moves others, and growing."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from storvirt.pool.logindex import LogIndex

Row = tuple[int, int, int, int, int]


def agree(index: LogIndex, model: dict[int, Row]) -> None:
    assert len(index) == len(model)
    for key, row in model.items():
        assert index.entry(key) == row


# Few keys, so that they meet; of several volumes, and far apart.
KEYS = st.builds(lambda volume, block: volume << 44 | block, st.sampled_from([1, 5, 900]), st.integers(0, 30))
CALLS = st.lists(st.tuples(st.sampled_from(["put", "put", "drop"]), KEYS, st.integers(0, 0xFFFFFFFF)), max_size=300)


@given(CALLS)
@settings(deadline=None)
def test_it_is_a_dictionary(calls: list[tuple[str, int, int]]) -> None:
    index, model = LogIndex(), dict[int, Row]()
    for call, key, value in calls:
        if call == "put":
            row = (value << 20, value, value ^ 1, value ^ 2, value % 3)
            index.set_entry(key, *row)
            model[key] = row
        else:
            assert index.forget(key) == (model.pop(key, None) is not None)
        assert index.entry(key) == model.get(key)
    agree(index, model)


def test_it_grows_and_empties() -> None:
    index, model, dice = LogIndex(), dict[int, Row](), random.Random(1)
    for number in range(20_000):
        key = 1 << 44 | dice.randrange(50_000)
        if dice.random() < 0.7:
            model[key] = (number, 1, 2, 3, 0)
            index.set_entry(key, *model[key])
        else:
            assert index.forget(key) == (model.pop(key, None) is not None)
    agree(index, model)
    for key in dice.sample(sorted(model), len(model)):
        assert index.forget(key)
        assert index.entry(key) is None
    assert len(index) == 0


def test_runs_of_neighbours_survive_holes_in_them() -> None:
    """Sequential blocks, as a guest writes them, half full; then every other one goes."""
    index = LogIndex()
    keys = [3 << 44 | block for block in range(511)]
    for key in keys:
        index.set_entry(key, key & 0xFFFF, 1, 2, 3, 0)
    for key in keys[::2]:
        assert index.forget(key) and not index.forget(key)
    assert all(index.entry(key) is None for key in keys[::2])
    assert all(index.entry(key) == (key & 0xFFFF, 1, 2, 3, 0) for key in keys[1::2])
