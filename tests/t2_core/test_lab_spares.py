"""Spares and the pace of repairs in a lab file: what they mean, what is sent to stord, every mistake with its place."""

from __future__ import annotations

from typing import Any

import pytest

from daemons.lab import loader
from daemons.lab.mistake import LabError
from daemons.lab.storage_plan import pool_config
from daemons.stord_config import check
from tests.t2_core.test_lab_storage import Somewhere

LAB = """\
name: t
storage:
  pools:
    p0: {members: [a.img, b.img, c.img], size: 1GiB%s}
"""


def config(text: str) -> dict[str, Any]:
    return pool_config(loader.parse(LAB % text, "f").lab, "p0", Somewhere(), 1)


def test_what_is_sent() -> None:
    assert set(config("")["pool"]) == {"name", "members", "size"}
    wanted = check(config(", spares: [d.img, /e.img], repair-rate: 100MiB, spare-after: 0"))
    assert (wanted.spares, wanted.repair_rate, wanted.spare_after) == (("/labs/d.img", "/e.img"), 100 << 20, 0)
    wanted = check(config(""))
    assert (wanted.spares, wanted.repair_rate, wanted.spare_after) == ((), 0, 10)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (", spares: [b.img]", "'b.img' is a member twice"),
        (", spares: [d.img, ./d.img]", "'./d.img' is a member twice"),
        (", repair-rate: fast", "'fast' is no size"),
        (", spare-after: -1", "f:4:67: here belongs another value, not '-1'"),
        (f", spares: [{', '.join(f'{n}.img' for n in range(62))}]", "a pool has at most 64 members, not 65"),
    ],
)
def test_mistakes(text: str, sentence: str) -> None:
    with pytest.raises(LabError) as error:
        loader.parse(LAB % text, "f")
    assert sentence in str(error.value)
