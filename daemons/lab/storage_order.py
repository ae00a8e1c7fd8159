"""In which order pools end whose members are LUNs of other pools: those above before those below, so that what they
still have to write finds somebody who takes it.

Knows: the configurations of stord (ARCHITECTURE.md). Refuses to know: processes; that pools may begin in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storvirt.nbd.uri import UriError, is_uri, parse

Config = Mapping[str, Any]


def tiers(configs: Mapping[str, Config]) -> list[list[str]]:
    """The names, by pools that end at the same time. configs: of stord, by name. Pools in a circle end together."""
    offers = {where: name for name, config in configs.items() for where in _offered(config)}
    below = {name: {offers[where] for where in _wanted(config) if where in offers} for name, config in configs.items()}
    left, found = list(configs), []
    while left:
        used = {lower for name in left for lower in below[name] if lower != name}
        tier = [name for name in left if name not in used] or left
        found.append(tier)
        left = [name for name in left if name not in tier]
    return found


def _offered(config: Config) -> list[str]:
    return [lun.get("path") or _port(lun["tcp"]) for lun in config["luns"]]


def _port(tcp: str) -> str:
    """By the port alone, because an address has many names: a lab has no two LUNs at one port that matter here."""
    return f":{tcp.rpartition(':')[2]}"


def _wanted(config: Config) -> list[str]:
    found = []
    for member in (*config["pool"]["members"], *config["pool"].get("spares", ())):
        if is_uri(member):
            try:
                address = parse(member)
            except UriError:
                continue
            found.append(address.socket or f":{address.port}")
    return found
