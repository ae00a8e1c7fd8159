"""What is wanted and what runs -> what to do, as values; `--dry-run` prints them, fabricd carries them out.

Knows: that a daemon takes a whole configuration at once. Refuses to know: what is in one, and how anything is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["stop", "start", "configure", "keep"]
Config = Mapping[str, Any]
# In this order: what stops makes room (sockets, TCP ports) for what starts.
ORDER: tuple[Kind, ...] = ("stop", "start", "configure", "keep")
SIGNS: dict[Kind, str] = {"stop": "-", "start": "+", "configure": "~", "keep": "="}


class Action(NamedTuple):
    kind: Kind
    node: str
    why: str

    def __str__(self) -> str:
        """One line for people: `~ configure s1: port eth2 changed`."""
        return f"{SIGNS[self.kind]} {self.kind} {self.node}: {self.why}"


def actions(desired: Mapping[str, Config], actual: Mapping[str, Config | None]) -> list[Action]:
    """What makes `actual` into `desired`, both node -> configuration; None there: it should run and does not.

    The epoch is not compared: it says who speaks, not what is wanted. Where nothing differs, `keep` is all.
    """
    made = [Action("stop", node, "it is no longer in the lab") for node in actual if node not in desired]
    for node, wanted in desired.items():
        running = actual.get(node)
        if running is None:
            why = "it is not running any more" if node in actual else "it is new"
            made.append(Action("start", node, why))
        else:
            changes = list(_changes(running, wanted))
            made.append(
                Action("configure", node, "; ".join(changes)) if changes else Action("keep", node, "nothing changed")
            )
    return sorted(made, key=lambda action: ORDER.index(action.kind))


def _changes(old: Config, new: Config) -> Iterable[str]:
    for key in dict.fromkeys([*old, *new]):
        if key == "epoch" or old.get(key) == new.get(key):
            continue
        if _named(old.get(key)) and _named(new.get(key)):
            yield from _parts(key.removesuffix("s"), old[key], new[key])
        else:
            yield f"{key} changed"


def _named(value: Any) -> bool:
    """Whether this is a list of things with names: ports, hosts."""
    return isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value)


def _parts(kind: str, old: list[Config], new: list[Config]) -> Iterable[str]:
    before, after = ({item["name"]: item for item in items} for items in (old, new))
    groups = (
        ("added", [name for name in after if name not in before]),
        ("removed", [name for name in before if name not in after]),
        ("changed", [name for name in after if name in before and before[name] != after[name]]),
    )
    some = [(verb, names) for verb, names in groups if names]
    for verb, names in some:
        yield f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)} {verb}"
    if not some:
        yield f"order of {kind}s changed"
