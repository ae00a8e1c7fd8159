"""What the lab file said of switches and pools that were changed since; so that `status` tells, and `up` takes it back.

Knows: where that is remembered (beside the lab's name, in the state store), how to say the difference. Refuses to know:
how a change is made (`changes`, `pool_changes`), processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from daemons import changes, pool_changes
from daemons.errors import UserError
from daemons.lab.mistake import did_you_mean, listed, quoted
from daemons.state import Desired, StateStore

Desires = Mapping[str, Desired]


class _Kind(NamedTuple):
    """word: for people; key: where it is remembered; how a wish and a difference are worked out."""

    word: str
    key: str
    changed: Callable[[str, dict[str, Any], object], dict[str, Any]]
    differences: Callable[[str, dict[str, Any], dict[str, Any]], Iterable[dict[str, Any]]]


_KINDS: Final = {
    "switchd": _Kind("switch", "filed", changes.changed, changes.differences),
    "stord": _Kind("pool", "filed_pools", pool_changes.changed, pool_changes.differences),
}


class Filed:
    """The configurations by the file, of switches and pools that have another one now."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def note(self, desired: Desires, configs: Mapping[str, Any]) -> None:
        """Before a change: what these are now is what the file says, where nothing is noted yet."""
        lab = self._store.lab()
        notes = {}
        for kind, (_, key, _, _) in _KINDS.items():
            known = _noted(lab, key)
            mine = [node for node in configs if desired[node].kind == kind and node not in known]
            if mine:
                notes[key] = json.dumps({**known, **{node: desired[node].config for node in mine}})
        if notes:
            self._store.set_lab({**lab, **notes})

    def changed(self, desired: Desires) -> list[dict[str, Any]]:
        """How switches and pools differ from what the file says."""
        lab = self._store.lab()
        return [
            row
            for kind, (_, key, _, differences) in _KINDS.items()
            for node, config in _noted(lab, key).items()
            if node in desired and desired[node].kind == kind
            for row in differences(node, config, desired[node].config)
        ]

    def taken_back(self, desired: Desires, plan: Desires) -> list[dict[str, Any]]:
        """What an `up` undoes: changes that the file, as it is now, does not say."""
        mine = dict.fromkeys((row["node"], row["port"], row["what"]) for row in self.changed(desired))
        return [
            row
            for node in dict.fromkeys(node for node, _, _ in mine)
            if node in plan and plan[node].kind == desired[node].kind
            for row in _KINDS[plan[node].kind].differences(node, desired[node].config, plan[node].config)
            if (row["node"], row["port"], row["what"]) in mine
        ]


def filed(lab: Mapping[str, str]) -> dict[str, Any]:
    """Switch -> its configuration by the file, from what the store says of the lab."""
    return _noted(lab, _KINDS["switchd"].key)


def _noted(lab: Mapping[str, str], key: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(lab.get(key, "{}"))
    return value


def wanted(desired: Desires, switches: object, pools: object = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the new configurations by node, all differences), for `{switch: wish}` and `{pool: wish}`. Raises UserError."""
    given = [(kind, wishes) for kind, wishes in (("switchd", switches), ("stord", pools)) if wishes is not None]
    if not given or not all(isinstance(wishes, dict) and wishes for _, wishes in given):
        raise UserError("change needs 'switches' or 'pools': {name: what is to change}; see ARCHITECTURE.md")
    configs: dict[str, Any] = {}
    made: list[dict[str, Any]] = []
    for kind, wishes in given:
        assert isinstance(wishes, dict)
        word, _, changed, differences = _KINDS[kind]
        there = {node: want.config for node, want in desired.items() if want.kind == kind}
        for node, wish in wishes.items():
            if node not in there:
                fix = did_you_mean(node, there, f"there are {listed(there)}" if there else "the lab has none")
                raise UserError(f"there is no {word} {quoted(node)}; {fix}")
            after = changed(node, there[node], wish)
            rows = list(differences(node, there[node], after))
            if rows:
                configs[node] = after
                made += rows
    return configs, made
