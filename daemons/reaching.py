"""Who must reach whom in a running lab, with the changes made since its file was read; and whether it has loops.

Knows: the state store's notes, how a running switch's configuration is put over the file's. Refuses to know: how reach
is computed (daemons.lab.reach), who asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from daemons.errors import UserError
from daemons.filed import filed
from daemons.known import KnownLab, desired, store_of
from netvirt.settings import Mirror, PortSettings, VlanSettings

if TYPE_CHECKING:
    from daemons.lab.lab import Lab

Configs = Mapping[str, dict[str, Any]]  # by switch
Rows = list[list[Any]]  # [from, to, [addresses of `to`]]


class Expected(NamedTuple):
    """`reach`: who must answer; `unsure`: who may or may not; None: it is not known of anybody. All others must not."""

    reach: Rows
    unsure: Rows | None


def expected(known: KnownLab) -> Expected:
    """Raises StateError."""
    store = store_of(known)
    try:
        lab = store.lab()
    finally:
        store.close()
    now = {name: want.config for name, want in desired(known).items() if want.kind == "switchd"}
    before = filed(lab)
    if any(now.get(name) != config for name, config in before.items()):
        return _changed(lab.get("file", ""), now, before)
    return Expected(json.loads(lab.get("reach", "[]")), json.loads(lab.get("unsure", "[]")))


def _changed(file: str, now: Configs, before: Configs) -> Expected:
    """The file's lab with the switches as they are. A file that is another one by now tells nothing."""
    from daemons.lab.reach import doubtful_reach, expected_reach

    lab = _overlaid(file, now, before)
    if lab is None:
        return Expected([], None)
    return Expected(rows(expected_reach(lab)), rows(doubtful_reach(lab)))


def check_loops(file: str, now: Configs, before: Configs) -> None:
    """Raises UserError if frames would go round in switches that are as in `now`; their cables are the file's.

    before: the switches as the file had them.
    Only where cables make a circle is the file read: for that pydantic and networkx are loaded.
    """
    if not _in_a_circle(now):
        return
    from daemons.lab import graph

    lab = _overlaid(file, now, before)
    if lab is None:
        raise UserError(f"cables make a circle, and {file} does not tell how they go any more; vfab up it first")
    try:
        found = graph.loops(lab)
    except graph.TooMuch:
        raise UserError("there are too many circles of cables and VLANs to be checked for loops") from None
    if found:
        what = f"a loop in {graph.said(lab, found[0].vids)}: {' - '.join(found[0].circle)}"
        raise UserError(f"this would make {what}; leave the VLAN out somewhere, or a port blocked")


def _in_a_circle(now: Configs) -> bool:
    """Whether the links between switches, taken as cables, close a circle."""
    tree = {name: name for name in now}

    def root(name: str) -> str:
        while tree[name] != name:
            name = tree[name]
        return name

    for name, config in now.items():
        for row in config["ports"]:
            peer = str(row.get("peer", "")).partition(":")[0]
            if row.get("kind") != "dial" or peer not in tree:  # each link is dialled from one end
                continue
            if root(name) == root(peer):
                return True
            tree[root(name)] = root(peer)
    return False


def _overlaid(file: str, now: Configs, before: Configs) -> Lab | None:
    """The file's lab with its switches as in `now`; None if the file is another one by now.

    Ports that came since are at no cable, so they are left out: whom they let in is not known.
    """
    from daemons.lab.loader import load
    from daemons.lab.mistake import LabError

    try:
        lab = load(file, check=False).lab
    except LabError:
        return None
    if {name: set(switch.ports) for name, switch in lab.switches.items()} != {
        name: {row["name"] for row in config["ports"]} for name, config in {**now, **before}.items() if name in now
    }:
        return None
    switches = {
        name: switch.with_settings(
            {row["name"]: PortSettings.from_json(row) for row in now[name]["ports"]},
            VlanSettings.from_json(now[name].get("vlans_settings", {})),
            tuple(Mirror.from_json(mirror) for mirror in now[name].get("mirrors", ())),
        )
        for name, switch in lab.switches.items()
    }
    return replace(lab, switches=switches)


def rows(reach: Mapping[tuple[str, str], tuple[str, ...]]) -> Rows:
    """Reach as JSON has it."""
    return [[source, target, list(addresses)] for (source, target), addresses in reach.items()]
