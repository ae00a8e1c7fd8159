"""`access=10 tap=listen`: a port in the words of a lab file -> the row of one that comes while the lab runs.

Knows: that a port's settings are written as for `vfab port set`, and what is in it as in a lab file: so a lab of one
switch with that port is made, and read as any lab is. Refuses to know: which ports the switch has, processes.
It is imported when a port is added and not before: the lab file's model is the heaviest part of the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from daemons import port_keys
from daemons.blueprint import LocalPlaces
from daemons.changes import settled
from daemons.errors import UserError
from daemons.known import KnownLab
from daemons.lab.mistake import did_you_mean, listed, quoted
from daemons.lab.model import LabFile
from daemons.lab.plan import switch_config
from daemons.lab.port_model import PEERS
from daemons.lab.resolve import resolve
from daemons.lab.sentences import findings
from netvirt.settings import PortSettings, VlanSettings

# A trunk over TCP needs a listener and keys, and which circles it closes cannot be known.
PLUGS: Final = tuple(key for key in PEERS if key != "tcp")
Row = dict[str, Any]


def row(lab: KnownLab, switch: str, name: str, keys: Mapping[str, Any], config: Mapping[str, Any]) -> Row:
    """config: of the switch as it is now. Raises UserError with one sentence."""
    for key in keys:
        if key == "tcp":
            raise UserError("a trunk to another lab cannot come while the lab runs; put it into the file, then vfab up")
        if key not in PLUGS and key not in port_keys.KEYS:
            known = (*port_keys.KEYS, *PLUGS)
            fix = did_you_mean(key, known, f"there are {listed(known, 40)}")
            raise UserError(f"a port has no key {quoted(key)}; {fix}")
    names = {each: int(vid) for vid, each in config.get("vlans", {}).items()}
    said = {key: port_keys.text(value) for key, value in keys.items() if key not in PLUGS}
    plug = {key: value for key, value in keys.items() if key in PLUGS}
    try:
        whole = VlanSettings.from_json(config.get("vlans_settings", {}))
        settings = settled(PortSettings(), port_keys.wish(said, names), whole)
    except ValueError as error:
        raise UserError(f"{switch}:{name}: {error}") from None
    return {**_plugged(lab, switch, name, plug, names), **settings.to_json()}


def _plugged(lab: KnownLab, switch: str, name: str, plug: Row, names: Mapping[str, int]) -> Row:
    # It may carry all VLANs here: what it really carries is said by its settings.
    node = {"kind": "switch", "ports": {name: {"trunk": "all", **plug}}}
    text = {"name": lab.name, "vlans": dict(names), "topology": {"nodes": {switch: node}}}
    try:
        made, wrong = resolve(LabFile.model_validate(text))
    except ValidationError as error:
        wrong = findings(error)
    if wrong:
        raise UserError(f"{switch}:{name}: {wrong[0].what}; {wrong[0].fix}")
    places = LocalPlaces(lab.paths, lab.file, lab.name, None, dry=True)
    (found,) = switch_config(made, switch, places, 0)["ports"]
    return dict(found)
