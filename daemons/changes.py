"""Changes of a running switch's configuration: a wish -> the whole configuration that follows, checked as a whole.

Knows: the switch's value of `configure`, what a wish may hold, what follows from it (a new mode drops what
belongs to the old one), how a difference is said. Refuses to know: processes, lab files, who asks.

A wish is `{"ports": {"eth3": {"mode": "trunk", "allowed": "+30"}}, "vlans": {"30": "guests"}, "vlans_settings": {...},
"mirrors": [...], "static": {"add": [...], "remove": [...]}, "ports_removed": ["eth4"], "ports_added": {"eth5": {row}}}`
and each part may be missing. Keys of ports are those of netvirt.settings.PortSettings; `allowed` may begin with + or -;
a VLAN named None loses its name. Ports that come and go are those of `port_changes`; first they go, then they come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from daemons import port_changes, switch_config
from daemons.errors import UserError
from daemons.lab import words
from daemons.lab.mistake import did_you_mean, listed, quoted
from daemons.lab.ways import role
from netvirt.addr import mac_bytes, mac_text, parse_vid_set
from netvirt.modes import MODES
from netvirt.settings import VLAN_KEYS, PortSettings, VlanSettings

Config = dict[str, Any]
_PARTS: Final = ("ports", "vlans", "vlans_settings", "mirrors", "static", "ports_added", "ports_removed")
_USUAL: Final = PortSettings().to_json()
_PORT_KEYS: Final = tuple(_USUAL)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
# What a port loses when its mode changes to one that has no use for it.
_OF_TRUNKS: Final = ("untagged", "translate")


def changed(node: str, config: Config, wish: object) -> Config:
    """The configuration with the wish in it. Raises UserError for the first thing that can't be."""
    wish = _mapping(wish, f"{node}: a change")
    for key in wish:
        if key not in _PARTS:
            raise UserError(f"{node}: {quoted(key)} cannot be changed; {_near(key, _PARTS)}")
    made = dict(config)
    if "vlans" in wish:
        made["vlans"] = _vlans(node, config.get("vlans", {}), _mapping(wish["vlans"], f"{node}: vlans"))
    if "vlans_settings" in wish:
        given = _mapping(wish["vlans_settings"], f"{node}: vlans_settings")
        for key in given:
            if key not in VLAN_KEYS:
                raise UserError(f"{node}: a switch's VLANs have no {quoted(key)}; {_near(key, VLAN_KEYS)}")
        made["vlans_settings"] = {**VlanSettings().to_json(), **config.get("vlans_settings", {}), **given}
    if "mirrors" in wish:
        made["mirrors"] = wish["mirrors"]
    if "ports_removed" in wish:
        made["ports"] = port_changes.without(node, made["ports"], wish["ports_removed"])
    if "ports_added" in wish:
        given = _mapping(wish["ports_added"], f"{node}: ports_added")
        made["ports"] = port_changes.with_new(node, made["ports"], given)
    if "ports" in wish:
        made["ports"] = _ports(node, made, _mapping(wish["ports"], f"{node}: ports"))
    if "static" in wish:
        made["static"] = _static(node, config.get("static", []), _mapping(wish["static"], f"{node}: static"))
    try:
        switch_config.check(made)
    except UserError as error:
        raise UserError(f"{node}: {error}") from None
    return made


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{what} is keys and values, not {quoted(value)}")
    return value


def _near(key: object, known: Any) -> str:
    return did_you_mean(key, known, f"there are {listed(known, 30)}")


def _vlans(node: str, names: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    made = dict(names)
    for vid, name in given.items():
        if not vid.isdecimal() or not 1 <= int(vid) <= 4094:
            raise UserError(f"{node}: {quoted(vid)} is no VLAN ID; give a number from 1 to 4094")
        made.pop(vid, None)
        if name is None:
            continue
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in ("all", "none"):
            raise UserError(
                f"{node}: {quoted(name)} is no VLAN name; use a letter, then up to 30 letters, digits, _ or -"
            )
        other = next((other for other, taken in made.items() if taken == name), None)
        if other is not None:
            raise UserError(f"{node}: VLAN {other} is called {name} already; give VLAN {vid} another name")
        made[vid] = name
    return made


# --- ports


def _ports(node: str, config: Config, given: Mapping[str, Any]) -> list[Config]:
    rows = {row["name"]: row for row in config["ports"]}
    whole = _whole(config)
    for name, keys in given.items():
        if name not in rows:
            raise UserError(f"{node} has no port {quoted(name)}; {_near(name, list(rows))}")
        try:
            after = settled(PortSettings.from_json(rows[name]), _mapping(keys, f"port {name}"), whole)
            rows[name] = {**rows[name], **after.to_json()}
        except (ValueError, UserError) as error:
            raise UserError(f"{node}:{name}: {error}") from None
    return list(rows.values())


def _whole(config: Config) -> VlanSettings:
    try:
        return VlanSettings.from_json(config.get("vlans_settings", {}))
    except ValueError as error:
        raise UserError(f"vlans_settings: {error}") from None


def settled(before: PortSettings, keys: Mapping[str, Any], whole: VlanSettings) -> PortSettings:
    """A port's settings with some of them changed, and what follows. Raises ValueError and UserError."""
    for key in keys:
        if key not in _PORT_KEYS:
            raise UserError(f"a port has no {quoted(key)}; {_near(key, _PORT_KEYS)}")
    said = dict(keys)
    allowed = _allowed(before, said)
    after = PortSettings.from_json({**before.to_json(), **said})._replace(allowed=allowed)
    if after.mode not in MODES:
        raise UserError(f"{quoted(after.mode)} is no mode of a port; {_near(after.mode, MODES)}")
    if (
        "mode" not in keys
        and after.pvid != before.pvid
        and not MODES[after.mode].trunk
        and after.mode != "dot1q-tunnel"
    ):
        after = after._replace(mode="access")
    if after.mode == "access":
        after = after._replace(mode=role(after.pvid, whole))
    return _tidy(before, after, keys)


def _allowed(before: PortSettings, said: dict[str, Any]) -> frozenset[int]:
    """The VIDs that a trunk lets pass; what is taken away is not its native VLAN any more either."""
    text = said.get("allowed")
    if text is None:
        return before.allowed
    if not isinstance(text, str) or text[:1] not in ("+", "-"):
        return parse_vid_set(text)
    del said["allowed"]
    vids = parse_vid_set(text[1:])
    mode = said.get("mode", before.mode)
    if mode in MODES and not MODES[mode].trunk:
        raise UserError(f"it is an {mode} port and has one VLAN; change that with pvid, or make it a trunk")
    if text[0] == "+":
        return before.allowed | vids
    if before.pvid in vids:
        said.setdefault("pvid", 0)
    return before.allowed - vids


def _tidy(before: PortSettings, after: PortSettings, keys: Mapping[str, Any]) -> PortSettings:
    """Nothing is left that belongs to another mode or to VLANs that are gone, unless it was said just now."""
    mode = MODES[after.mode]
    if mode.trunk and not MODES[before.mode].trunk and "pvid" not in keys and not mode.pvid_needed:
        after = after._replace(pvid=0)  # as in a lab file: a trunk has a native VLAN only if one is given
    native = frozenset({after.pvid} - {0})
    after = after._replace(allowed=after.allowed | native if mode.trunk else native)
    if not mode.trunk:
        after = after._replace(**{key: PortSettings._field_defaults[key] for key in _OF_TRUNKS if key not in keys})
    if after.mode != "dot1q-tunnel" and "customer" not in keys:
        after = after._replace(customer=frozenset())
    if after.untagged is not None and "untagged" not in keys:
        after = after._replace(untagged=after.untagged & after.allowed)
    if "translate" not in keys:
        after = after._replace(translate=tuple(pair for pair in after.translate if pair[1] in after.allowed))
    return after


def _static(node: str, rows: list[Config], given: Mapping[str, Any]) -> list[Config]:
    made = {(row["vid"], row["mac"]): row for row in rows}
    try:
        for row in given.get("remove", ()):
            place = (row["vid"], mac_text(mac_bytes(row["mac"])))
            if place not in made:
                raise UserError(f"{node} has no static station {place[1]} in VLAN {place[0]}")
            del made[place]
        for row in given.get("add", ()):
            mac = mac_text(mac_bytes(row["mac"]))
            made[row["vid"], mac] = {"vid": row["vid"], "mac": mac, "port": row["port"]}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{node}: a static station is {{vid, mac, port}}") from None
    except ValueError as error:
        raise UserError(f"{node}: {error}") from None
    return list(made.values())


# --- differences


def differences(node: str, before: Config, after: Config) -> Iterator[dict[str, Any]]:
    """What a change changes: `{node, port, what, before, after, text}`; the text is a line for people."""
    for name, one, other in port_changes.come_and_gone(before["ports"], after["ports"]):
        yield _difference(node, name, "port", one, other)
    old = {row["name"]: {**_USUAL, **row} for row in before["ports"]}
    for row in ({**_USUAL, **row} for row in after["ports"]):
        was = old.get(row["name"], row)
        for key in _PORT_KEYS:
            if was[key] != row[key] and not _follows(key, was, row):
                yield _difference(node, row["name"], key, was[key], row[key])
    for what, one, other in _whole_differences(before, after):
        yield _difference(node, "", what, one, other)


def _follows(key: str, was: Config, row: Config) -> bool:
    """What `allowed` is where a port has one VLAN says nothing beside its pvid."""
    return key == "allowed" and not any(MODES[side["mode"]].trunk for side in (was, row))


def _whole_differences(before: Config, after: Config) -> Iterator[tuple[str, Any, Any]]:
    pairs = [
        ({f"VLAN {vid}": name for vid, name in side.get("vlans", {}).items()}
         | {key: side.get("vlans_settings", {}).get(key) for key in VLAN_KEYS}
         | {f"mirror {row['name']}": row for row in side.get("mirrors", ())}
         | {f"static {row['mac']} in VLAN {row['vid']}": row["port"] for row in side.get("static", ())})
        for side in (before, after)
    ]  # fmt: skip
    for what in dict.fromkeys([*pairs[0], *pairs[1]]):
        if pairs[0].get(what) != pairs[1].get(what):
            yield what, pairs[0].get(what), pairs[1].get(what)


def _difference(node: str, port: str, what: str, before: Any, after: Any) -> dict[str, Any]:
    where = f"{node}:{port}" if port else node
    said = _WORDS.get(what, _said)
    key = _NAMES.get(what, what.replace("_", "-") if port else what)
    text = f"{where} {key}: {said(before)} -> {said(after)}"
    return {"node": node, "port": port, "what": what, "before": before, "after": after, "text": text}


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], 0):
        return "none"
    if isinstance(value, list):
        return ",".join(":".join(map(str, each)) if isinstance(each, list) else str(each) for each in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={_said(each)}" for key, each in value.items() if key != "name" and each)
    return str(value)


def _storm(value: Any) -> str:
    return ",".join(f"{kind}:{words.rate_text(rate, unit)}" for kind, rate, unit in value) or "none"


def _octets(value: Any) -> str:
    return ",".join(words.address_text(octet) for octet in value) or "none"


# As `port set` takes them; an untagged "" is no VLAN, and None the native one.
_WORDS: Final[dict[str, Callable[[Any], str]]] = {
    "tpid": words.tpid_text,
    "storm": _storm,
    "peer_addresses": _octets,
    "tunnel_addresses": _octets,
    "priority": str,
    "mtu": str,
    "accept": lambda value: value or "default",
    "customer": lambda value: value or "all",
    "untagged": lambda value: "native" if value is None else value or "none",
}
_NAMES: Final = {"peer_addresses": "reserved peer", "tunnel_addresses": "reserved tunnel"}
