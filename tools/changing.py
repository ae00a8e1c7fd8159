"""Changes of a running lab on the command line: `SWITCH:PORT ... KEY=VALUE ...`, and how what was done is shown.

Knows: daemons.lab_client's answers, how words are told apart. Refuses to know: what the keys mean (daemons.port_keys).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tools.errors import BadInput
from tools.output import print_json, warn


def split(words: Iterable[str], known: Iterable[str] | None = None) -> tuple[list[str], dict[str, str]]:
    """(words without `=`, in their order; those with one, by key). `known`: the keys there are. Raises BadInput."""
    plain: list[str] = []
    given: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            plain.append(word)
            continue
        if key in given:
            raise BadInput(f"{key}= stands there twice")
        if known is not None and key not in known:
            raise BadInput(f"{word!r} is none of {', '.join(f'{each}=' for each in known)}")
        given[key] = text
    return plain, given


def show(value: dict[str, Any], as_json: bool) -> int:
    """What was changed, a line each; exit code 1 where a switch is not up to make it so now."""
    waiting: dict[str, str] = value["waiting"]
    if as_json:
        print_json(value)
        return 1 if waiting else 0
    for change in value["changes"]:
        print(change["text"])
    if not value["changes"]:
        print("Nothing to change: it is so already.")
    elif value.get("dry_run"):
        print("Nothing was changed (--dry-run).")
    for switch, why in waiting.items():
        warn(f"{switch} is not up and will be so when it is back: {why}")
    return 1 if waiting else 0
