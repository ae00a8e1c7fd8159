"""A port as the file says it -> netvirt.settings.PortSettings, with what in it does not fit together.

Knows: which keys belong to which kind of port, what is so where nothing is said, that the role of a private VLAN
makes a port a host or a promiscuous one. Refuses to know: links and peers (`switchports`), what settings do
(netvirt.modes).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from netvirt.modes import tables
from netvirt.settings import C_TAG, KINDS, PortSettings, VlanSettings

from . import vids, words
from .mistake import At, Finding, did_you_mean, listed, quoted
from .port_model import Port as FilePort
from .ways import role

DEFAULT_VID: Final = 1  # where everybody is whom nobody put elsewhere: IEEE 802.1Q-2022, 9.6
# Keys that mean something for some kinds of ports only: (kinds, what to do elsewhere).
BELONGS: Final = {
    "native_tagged": (("trunk",), "add trunk:, or write access: with that VLAN"),
    "untagged": (("trunk",), "add trunk:, or remove it: an access port has one VLAN, and no tags"),
    "translate": (("trunk",), "add trunk:, or remove it: other ports have no tags to translate"),
    "customer": (("tunnel",), "write tunnel: with the VLAN that carries them"),
    "priority_tags": (("access", "trunk"), "remove it: through a tunnel every frame leaves as it came"),
}


class Vlans:
    """The names of VLANs; looks one up and notes what is not there."""

    def __init__(
        self,
        names: dict[str, int],
        gone: frozenset[str],
        findings: list[Finding],
        taken_out: frozenset[At] = frozenset(),
    ) -> None:
        self._names = names
        self._gone = gone
        self._findings = findings
        self._taken_out = taken_out
        self._missed = 0
        owner: dict[int, str] = {}
        for name, vid in names.items():
            if vid in owner:
                what = f"VLANs {quoted(owner[vid])} and {quoted(name)} have the same ID {vid}"
                findings.append(Finding(("vlans", name), what, "give each an ID of its own"))
            owner.setdefault(vid, name)

    def lookup(self, given: int | str, at: At, key: bool = False) -> int:
        """The VID for a name or an ID; 0 where there is none (the reason is noted then)."""
        if isinstance(given, int):
            return given
        if given not in self._names and given not in self._gone:
            known = (
                f"add it to vlans:, or use one of {listed(self._names)}"
                if self._names
                else "add it to vlans: with its ID"
            )
            fix = did_you_mean(given, self._names, known)
            self._findings.append(Finding(at, f"there is no VLAN {quoted(given)}", fix, key))
        vid = self._names.get(given, 0)
        self._missed += not vid
        return vid

    def every(self, given: Iterable[int | str], at: At) -> frozenset[int]:
        """A list of names, IDs and ranges; those that there are not are noted and left out."""
        found: set[int] = set()
        for i, item in enumerate(given):
            several = vids.parse_range(item) if isinstance(item, str) else None
            found |= several if several is not None else {self.lookup(item, (*at, i))} - {0}
        return frozenset(found)

    def note(self, at: At, what: str, fix: str, key: bool = False) -> None:
        if not self._spoilt(at):
            self._findings.append(Finding(at, what, fix, key))

    def _spoilt(self, at: At) -> bool:
        """Whether a value that was wrong by itself, and is gone, may be the cause: then nothing more is said."""
        ports = (*at[:3], "ports")
        scope = at[:5] if at[:4] == ports else at[:4]
        names_port = at[3:4] in (("mirrors",), ("static",))
        return any(
            way[: len(scope)] == scope or (names_port and way[:4] == ports and len(way) == 5) for way in self._taken_out
        )

    def noted(self) -> int:
        """Goes up with everything that is wrong, also with what is not said because the reason is said already."""
        return len(self._findings) + self._missed


def settings(given: FilePort, at: At, to_switch: bool, vlans: Vlans, whole: VlanSettings | None) -> PortSettings:
    """`to_switch`: it is a trunk if nothing is said. `whole`: the switch's VLANs; None where they are wrong already."""
    noted = vlans.noted()
    kind = "tunnel" if given.tunnel is not None else "access" if given.access is not None else "trunk"
    if kind == "trunk" and given.trunk is None and not to_switch:
        kind = "access"
    for key, (kinds, fix) in BELONGS.items():
        if getattr(given, key) is not None and kind not in kinds:
            name = key.replace("_", "-")
            vlans.note(
                (*at, name), f"{name}: belongs to {' or '.join(f'{_a(kind)} port' for kind in kinds)}", fix, True
            )
    made = _everywhere(given)._replace(**_of_kind(given, kind, at, vlans, whole or VlanSettings()))
    if vlans.noted() == noted and whole is not None:
        try:
            tables(made, whole)
        except ValueError as error:
            what, _, fix = str(error).partition("; ")
            vlans.note(at, what, fix or "change or remove one of the two", key=True)
    return made


def _of_kind(given: FilePort, kind: str, at: At, vlans: Vlans, whole: VlanSettings) -> dict[str, Any]:
    if kind == "trunk":
        return _trunk(given, at, vlans)
    if kind == "tunnel":
        vid = vlans.lookup(given.tunnel or 0, (*at, "tunnel"))
        customer = frozenset({0} if 0 in (given.customer or ()) else ())
        customer |= vlans.every([item for item in given.customer or () if item != 0], (*at, "customer"))
        return {"mode": "dot1q-tunnel", "pvid": vid, "allowed": frozenset({vid} - {0}), "customer": customer}
    vid = DEFAULT_VID if given.access is None else vlans.lookup(given.access, (*at, "access"))
    return {"mode": role(vid, whole), "pvid": vid, "allowed": frozenset({vid} - {0})}


def _trunk(given: FilePort, at: At, vlans: Vlans) -> dict[str, Any]:
    if given.trunk is None:
        native, allowed = DEFAULT_VID, vids.ALL
    else:
        native, allowed = 0, vlans.every(given.trunk, (*at, "trunk"))
    if given.native not in (None, "none"):
        native = vlans.lookup(given.native or 0, (*at, "native"))
    if given.native_tagged is not None:
        native = vlans.lookup(given.native_tagged, (*at, "native-tagged"))
    elif given.priority and given.trunk is not None and given.native in (None, "none"):
        what = "priority: is given to untagged frames, and this trunk takes none"
        vlans.note((*at, "priority"), what, "add native:, or remove priority:", key=True)
    made: dict[str, Any] = {
        "mode": "trunk" if given.native_tagged is None else "native-tagged",
        "pvid": native,
        "allowed": vids.ALL if len(allowed | {native} - {0}) == len(vids.ALL) else allowed | {native} - {0},
    }
    if given.untagged is not None:
        made["untagged"] = vlans.every(given.untagged, (*at, "untagged"))
    if given.translate:
        made["translate"] = tuple(
            (wire, inside)
            for wire, name in given.translate.items()
            if (inside := vlans.lookup(name, (*at, "translate", str(wire))))
        )
    return made


def _everywhere(given: FilePort) -> PortSettings:
    """What has nothing to do with the port's VLANs."""
    base = PortSettings()
    limits = given.storm or {}
    storm = tuple((kind, *words.rate(limits[kind])) for kind in KINDS if kind in limits)
    peer, tunnel = words.reserved(given.reserved or {})
    return base._replace(
        priority=given.priority,
        state=given.state or base.state,
        mtu=given.mtu or base.mtu,
        ingress_filter=given.ingress_filter,
        accept=given.accept or "",
        priority_tags=given.priority_tags or base.priority_tags,
        tpid=C_TAG if given.tpid is None else words.tpid(given.tpid),
        flood=base.flood if given.flood is None else frozenset(given.flood),
        storm=storm,
        protected=given.protected,
        mac_limit=given.mac_limit or 0,
        on_limit=given.on_limit or base.on_limit,
        sticky=given.sticky,
        peer=peer,
        tunnel=tunnel,
    )


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
