"""What a lab file says of a whole switch -> its VLAN settings, mirrors and static stations, with what is wrong in them.

Knows: which VLANs and ports these name, and what can't be together. Refuses to know: the ports' own settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from netvirt.modes import MIRRORS
from netvirt.settings import Mirror, VlanSettings

from .lab import Station
from .mistake import At, did_you_mean, listed, quoted
from .port_settings import Vlans
from .switch_model import Mirror as FileMirror
from .switch_model import SwitchKeys


class Parts(NamedTuple):
    """`good`: nothing was wrong with the VLANs, so that ports can be held against them."""

    vlans: VlanSettings
    mirrors: tuple[Mirror, ...]
    static: tuple[Station, ...]
    good: bool


def resolve_switch(given: SwitchKeys, ports: Iterable[str], at: At, vlans: Vlans) -> Parts:
    """`ports`: the names of all the switch's ports."""
    noted = vlans.noted()
    names = list(ports)
    remote = vlans.every(given.remote_span, (*at, "remote-span"))
    private = tuple(_private(given, at, vlans))
    limits: dict[int, int] = {}
    for name, limit in given.mac_limits.items():
        vid = vlans.lookup(name, (*at, "mac-limits", str(name)), key=True)
        if vid in limits:
            vlans.note((*at, "mac-limits", str(name)), f"VLAN {vid} has two limits", "keep one of the two", key=True)
        limits[vid] = limit
    limits.pop(0, None)
    for i, item in enumerate(given.remote_span):
        for vid in vlans.every([item], ()) & {vid for vid, _ in _roles(private)} if vlans.noted() == noted else ():
            what = f"VLAN {vid} can't be private and carry mirrored frames, too"
            vlans.note((*at, "remote-span", i), what, "use another VLAN for one of the two")
    whole = VlanSettings(given.shared_learning, private, tuple(sorted(limits.items())), remote)
    good = vlans.noted() == noted
    mirrors = tuple(_mirrors(given.mirrors, names, remote, (*at, "mirrors"), vlans))
    return Parts(whole, mirrors, tuple(_static(given, names, (*at, "static"), vlans)), good)


def _roles(private: Iterable[tuple[int, int, tuple[int, ...]]]) -> Iterator[tuple[int, str]]:
    for primary, isolated, communities in private:
        yield from [(primary, "primary"), *((vid, "community") for vid in communities)]
        if isolated:
            yield isolated, "isolated"


def _private(given: SwitchKeys, at: At, vlans: Vlans) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    taken: set[int] = set()

    def once(vid: int, here: At, key: bool = False) -> int:
        if vid and vid in taken:
            what = f"VLAN {vid} has a part in private-vlans: already"
            vlans.note(here, what, "give each primary, isolated and community VLAN an ID of its own", key)
        taken.add(vid)
        return vid

    for name, part in given.private_vlans.items():
        here: At = (*at, "private-vlans", str(name))
        primary = once(vlans.lookup(name, here, key=True), here, key=True)
        isolated = 0
        if part.isolated is not None:
            isolated = once(vlans.lookup(part.isolated, (*here, "isolated")), (*here, "isolated"))
        communities = set()
        for i, item in enumerate(part.communities):
            for vid in vlans.every([item], (*here, "communities")):
                communities.add(once(vid, (*here, "communities", i)))
        if part.isolated is None and not part.communities:
            vlans.note(
                here, f"VLAN {quoted(name)} is private and has nobody in it", "add isolated: or communities:", True
            )
        if primary:
            yield primary, isolated, tuple(sorted(communities))


def _mirrors(
    given: Mapping[str, FileMirror], ports: list[str], remote: frozenset[int], at: At, vlans: Vlans
) -> Iterator[Mirror]:
    if len(given) > MIRRORS:
        vlans.note(at, f"{len(given)} mirrors are more than the {MIRRORS} that a switch has", "remove some", key=True)
    targets = {mirror.to for mirror in given.values()}
    for name, mirror in given.items():
        here: At = (*at, name)
        for key in ("in", "out", "both"):
            for i, port in enumerate(getattr(mirror, "in_" if key == "in" else key)):
                _known(port, ports, (*here, key, i), vlans)
                if port in targets:
                    what = f"port {port} is the destination of a mirror, and gets nothing else"
                    vlans.note((*here, key, i), what, "copy another port, or send the copies elsewhere")
        if mirror.to is not None:
            _known(mirror.to, ports, (*here, "to"), vlans)
        if (mirror.to is None) == (mirror.to_vlan is None):
            vlans.note(here, "a mirror has one destination", "give one of to: (a port) and to-vlan:", key=True)
        copied = vlans.every(mirror.vlans, (*here, "vlans"))
        if not (mirror.in_ or mirror.out or mirror.both or mirror.vlans):
            vlans.note(here, "this mirror copies nothing", "add in:, out: or both: with ports, or vlans:", key=True)
        to_vlan = 0 if mirror.to_vlan is None else vlans.lookup(mirror.to_vlan, (*here, "to-vlan"))
        if to_vlan and to_vlan not in remote:
            what = f"VLAN {to_vlan} is none that carries mirrored frames"
            vlans.note((*here, "to-vlan"), what, "add it to remote-span: of this switch")
        both = frozenset(mirror.both)
        yield Mirror(name, both | set(mirror.in_), both | set(mirror.out), copied, mirror.to or "", to_vlan)


def _static(given: SwitchKeys, ports: list[str], at: At, vlans: Vlans) -> Iterator[Station]:
    seen: set[tuple[int, str]] = set()
    for i, station in enumerate(given.static):
        vid = vlans.lookup(station.vlan, (*at, i, "vlan"))
        _known(station.port, ports, (*at, i, "port"), vlans)
        if (vid, station.mac) in seen and vid:
            vlans.note((*at, i, "mac"), f"{station.mac} is in VLAN {vid} already", "keep one of the two")
        seen.add((vid, station.mac))
        yield Station(vid, station.mac, station.port)


def _known(port: str, ports: list[str], at: At, vlans: Vlans) -> None:
    if port not in ports:
        fix = did_you_mean(port, ports, f"use one of {listed(ports)}" if ports else "add it to ports:")
        vlans.note(at, f"this switch has no port {quoted(port)}", fix)
