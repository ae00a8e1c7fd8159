"""What a switch says of its stations and VLANs when it is asked: values for the control protocol.

Knows: netvirt.switch's tables, the questions `fdb` and `vlans` of ARCHITECTURE.md.
Refuses to know: sockets, drivers, how answers are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from daemons.errors import UserError
from netvirt.addr import check_vid, format_vid_set, mac_bytes, mac_text
from netvirt.modes import tables
from netvirt.switch import SECOND, Switch

PAGE = 4096  # stations in one answer: about 0.4 MiB, and about 10 ms


def stations(switch: Switch, args: Mapping[str, Any], now: int) -> dict[str, Any]:
    """One page of the MAC table: {stations: [{vid, mac, port, age_s, kind}], next: the next page's place, or None}.

    args: vid, port (a name), mac, each or none, and place (0, or the `next` of the page before). now: monotonic ns.
    Raises UserError.
    """
    place = args.get("place", 0)
    if type(place) is not int or not 0 <= place < 1 << 32:
        raise UserError(f"'place' is the 'next' of an earlier answer, not {place!r}")
    rows, following = switch.plane.macs.page(now // SECOND, place, PAGE, **_wanted(switch, args))
    names = {switch.number(name): name for name in switch.ports}
    found = [
        {"vid": vid, "mac": mac_text(mac), "port": names[port], "age_s": age, "kind": kind}
        for vid, mac, port, age, kind in rows
        if port in names
    ]
    return {"stations": sorted(found, key=lambda row: (row["vid"], row["mac"])), "next": following}


def snapshot(switch: Switch, now: int) -> dict[str, Any]:
    """What Switch.restore() takes, with the first page of stations only; `next`: where `fdb` goes on, or None."""
    return switch.snapshot(now, stations=False) | stations(switch, {}, now)


def _wanted(switch: Switch, args: Mapping[str, Any]) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    try:
        if args.get("vid") is not None:
            wanted["vid"] = check_vid(args["vid"])
        if args.get("mac") is not None:
            wanted["mac"] = mac_bytes(str(args["mac"]))
    except ValueError as error:
        raise UserError(str(error)) from None
    if args.get("port") is not None:
        if args["port"] not in switch.ports:
            raise UserError(f"{switch.name} has no port {args['port']}; its ports are: {', '.join(switch.ports)}")
        wanted["port"] = switch.number(args["port"])
    return wanted


class _Ports(NamedTuple):
    untagged: tuple[str, ...]
    tagged: tuple[str, ...]


def vlans(switch: Switch, names: Mapping[str, str], now: int) -> list[dict[str, Any]]:
    """Every VLAN that has a name, a port or a station: {vids, name, untagged, tagged (ports by name), stations}.

    `vids` is text, "10"; or "30-4094" for VLANs without name and stations that have the same ports: a trunk that lets
    everything pass would fill a page otherwise. names: VID as text -> name. now: monotonic ns.
    """
    known = switch.plane.macs.by_vlan(now // SECOND)
    untagged, tagged = _members(switch)
    vids = {*untagged, *tagged, *known, *map(int, names)}
    rows = []
    plain: dict[_Ports, list[int]] = {}
    for vid in sorted(vids):
        ports = _Ports(tuple(untagged.get(vid, ())), tuple(tagged.get(vid, ())))
        if str(vid) in names or vid in known:
            rows.append((vid, _row(str(vid), names.get(str(vid), ""), ports, known.get(vid, 0))))
        else:
            plain.setdefault(ports, []).append(vid)
    rows += [(group[0], _row(format_vid_set(group), "", ports, 0)) for ports, group in plain.items()]
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _members(switch: Switch) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """VID -> the ports it leaves without a tag, and those it leaves with one."""
    untagged: dict[int, list[str]] = {}
    tagged: dict[int, list[str]] = {}
    targets = {mirror.to_port for mirror in switch.mirrors}  # these give out copies and nothing else
    for name, settings in switch.ports.items():
        if name in targets:
            continue
        table = tables(settings, switch.vlans)
        # An isolated port gives out nothing of its own VLAN, and yet it is there that people look for it.
        own = {settings.pvid} if settings.mode == "host" else set()
        for vid in table["member"] | own:
            (untagged if vid in table["untagged"] | own else tagged).setdefault(vid, []).append(name)
    return untagged, tagged


def _row(vids: str, name: str, ports: _Ports, stations: int) -> dict[str, Any]:
    return {"vids": vids, "name": name, "untagged": list(ports.untagged), "tagged": list(ports.tagged),
            "stations": stations}  # fmt: skip
