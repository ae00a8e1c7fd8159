"""Which key of a lab file belongs to which kind of node.

Knows: the table. Refuses to know: what a key means, whether its value fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .machine_model import MachineKeys, MtuKey, UplinkShared, VmShared
from .machines import WORDS
from .mistake import NODES, Finding, quoted
from .model import Node
from .switch_model import SwitchKeys

MACHINES: Final = ("host", "netns", "vm", "external", "uplink")
Kinds = tuple[str, ...]
# node key -> the kinds that it belongs to
OWNERS: Final[dict[str, Kinds]] = {
    "ports": ("switch",),
    "ageing": ("switch",),
    **dict.fromkeys(SwitchKeys.model_fields, ("switch",)),
    "addresses": MACHINES,
    "mac": MACHINES,
    "interfaces": MACHINES,
    "gateway": ("host", "netns"),
    **dict.fromkeys(MtuKey.model_fields, ("netns", "vm", "uplink")),
    "sysctls": ("netns",),
    "routes": ("netns",),
    **dict.fromkeys(VmShared.model_fields, ("vm",)),
    "disks": ("vm",),
    **dict.fromkeys(UplinkShared.model_fields, ("uplink",)),
    "range": ("uplink",),
}
assert set(MachineKeys.model_fields) <= set(OWNERS)
# key of an interface -> the kinds that it belongs to
OF_INTERFACES: Final[dict[str, Kinds]] = {
    "gateway": ("host", "netns"),
    "priority": ("host", "netns", "uplink"),
    "mtu": ("netns", "vm", "uplink"),
    "model": ("vm",),
}


def foreign_keys(name: str, node: Node, kind: str) -> Iterator[Finding]:
    """Keys that a node of this kind cannot have."""
    for key, owners in OWNERS.items():
        if key in node.model_fields_set and kind not in owners:
            word = key.replace("_", "-")
            alone = owners[0] if len(owners) == 1 and node.kind is None else ""
            fix = f"add kind: {alone} to the node" if alone else f"remove {word}:"
            yield Finding((*NODES, name, word), _belongs(word, name, owners, kind), fix, key=True)
    for interface, given in node.interfaces.items():
        for key, owners in OF_INTERFACES.items():
            if given is not None and key in given.model_fields_set and kind in MACHINES and kind not in owners:
                at = (*NODES, name, "interfaces", interface, key)
                yield Finding(at, _belongs(key, name, owners, kind), f"remove {key}:", key=True)


def _belongs(word: str, name: str, owners: Kinds, kind: str) -> str:
    said = "a host or another machine" if owners == MACHINES else " or ".join(WORDS[owner] for owner in owners)
    return f"{word}: belongs to {said}, and {quoted(name)} is {WORDS[kind]}"
