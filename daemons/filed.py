"""What the lab file said of the switches that were changed since; so that `status` can tell, and `up` takes it back.

Knows: where that is remembered (beside the lab's name, in the state store), how to say the difference. Refuses to know:
how a change is made (`changes`), processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from daemons.changes import changed, differences
from daemons.errors import UserError
from daemons.lab.mistake import did_you_mean, listed, quoted
from daemons.state import Desired, StateStore

KEY = "filed"
Desires = Mapping[str, Desired]


class Filed:
    """The configurations by the file, of switches that have another one now."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def note(self, desired: Desires, configs: Mapping[str, Any]) -> None:
        """Before a change: what these switches are now is what the file says, where nothing is noted yet."""
        lab = self._store.lab()
        known = filed(lab)
        new = {node: desired[node].config for node in configs if node not in known}
        if new:
            self._store.set_lab({**lab, KEY: json.dumps({**known, **new})})

    def changed(self, desired: Desires) -> list[dict[str, Any]]:
        """How the switches differ from what the file says."""
        known = filed(self._store.lab())
        return [
            row
            for node, config in known.items()
            if node in desired
            for row in differences(node, config, desired[node].config)
        ]

    def taken_back(self, desired: Desires, plan: Desires) -> list[dict[str, Any]]:
        """What an `up` undoes: changes that the file, as it is now, does not say."""
        mine = dict.fromkeys((row["node"], row["port"], row["what"]) for row in self.changed(desired))
        return [
            row
            for node in dict.fromkeys(node for node, _, _ in mine)
            if node in plan
            for row in differences(node, desired[node].config, plan[node].config)
            if (row["node"], row["port"], row["what"]) in mine
        ]


def filed(lab: Mapping[str, str]) -> dict[str, Any]:
    """Switch -> its configuration by the file, from what the store says of the lab."""
    value: dict[str, Any] = json.loads(lab.get(KEY, "{}"))
    return value


def wanted(desired: Desires, wishes: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the new configurations by switch, all differences), for `{switch: wish}`. Raises UserError."""
    if not isinstance(wishes, dict) or not wishes:
        raise UserError("change needs 'switches': {name: what is to change}; see ARCHITECTURE.md")
    switches = {node: want.config for node, want in desired.items() if want.kind == "switchd"}
    configs, made = {}, []
    for node, wish in wishes.items():
        if node not in switches:
            fix = did_you_mean(node, switches, f"there are {listed(switches)}" if switches else "the lab has none")
            raise UserError(f"there is no switch {quoted(node)}; {fix}")
        after = changed(node, switches[node], wish)
        rows = list(differences(node, switches[node], after))
        if rows:
            configs[node] = after
            made += rows
    return configs, made
