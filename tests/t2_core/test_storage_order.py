"""Pools over the LUNs of other pools: who ends before whom."""

from __future__ import annotations

from typing import Any

import pytest

from daemons.lab.storage_order import tiers


def pool(members: list[str], *luns: str, spares: list[str] | None = None) -> dict[str, Any]:
    rows = [{"path": lun} if lun.startswith("/") else {"tcp": lun} for lun in luns]
    return {"pool": {"members": members, "spares": spares or []}, "luns": rows}


CASES = {
    "none": ({}, []),
    "beside each other": ({"a": pool(["/a"], "/a.sock"), "b": pool(["/b"], "/b.sock")}, [["a", "b"]]),
    "over two": (
        {
            "left": pool(["/l"], "/left.sock"),
            "top": pool(["nbd+unix:///x?socket=/left.sock&patience=1", "nbd://[::1]:10901/y"]),
            "right": pool(["/r"], "127.0.0.1:10901"),
            "other": pool(["/o"], "127.0.0.1:10902"),
        },
        [["top", "other"], ["left", "right"]],
    ),
    "three storeys": (
        {
            "low": pool(["/l"], "/low.sock"),
            "mid": pool(["nbd+unix:///x?socket=/low.sock"], "/mid.sock"),
            "top": pool(["nbd+unix:///x?socket=/mid.sock", "nbd+unix:///x?socket=/low.sock"], "/top.sock"),
        },
        [["top"], ["mid"], ["low"]],
    ),
    "a spare": (
        {"low": pool(["/l"], "/low.sock"), "top": pool(["/t"], spares=["nbd+unix:///x?socket=/low.sock"])},
        [["top"], ["low"]],
    ),
    "a circle below somebody": (
        {
            "a": pool(["nbd+unix:///x?socket=/b.sock"], "/a.sock"),
            "b": pool(["nbd+unix:///x?socket=/a.sock"], "/b.sock"),
            "top": pool(["nbd+unix:///x?socket=/a.sock"]),
        },
        [["top"], ["a", "b"]],
    ),
    "its own": ({"a": pool(["nbd+unix:///x?socket=/a.sock"], "/a.sock")}, [["a"]]),
    "nobody's": ({"a": pool(["nbd://elsewhere:10809/x", "nbd://:/bad"])}, [["a"]]),
}


@pytest.mark.parametrize(("configs", "expected"), CASES.values(), ids=CASES)
def test_who_ends_when(configs: dict[str, Any], expected: list[list[str]]) -> None:
    assert tiers(configs) == expected
