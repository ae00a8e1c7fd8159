"""vfab fdb show: the stations that each switch knows: VLAN, address, port, kind (learned or given) and age.
vfab fdb add, remove: static ones; flush: forget those that were learned."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from daemons import port_keys
from daemons.errors import UserError
from daemons.lab_client import Lab
from netvirt.addr import mac_bytes, mac_text
from tools.changing import show, split
from tools.errors import BadInput
from tools.labs import KnownLab, choose
from tools.output import print_json, table
from tools.subverbs import Subverbs
from tools.switches import ask, place, vlan_names

# What may be asked for, `vlan=10`: how the text is read.
FILTERS: dict[str, Callable[[str, port_keys.Names], Any]] = {
    "vlan": port_keys.vlan,
    "port": lambda text, names: text,
    "mac": lambda text, names: mac_text(mac_bytes(text)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Subverbs(parser, "show")
    shown = verbs.add("show", _show, "the stations that switches know")
    shown.add_argument("where", metavar="SWITCH[:PORT]", nargs="?", help="only those of this switch, or port")
    shown.add_argument(
        "filters", metavar="vlan=VLAN, port=PORT, mac=MAC", nargs="*", help="only those; all must be true"
    )
    add = verbs.add("add", _add, "a station that is there, whatever is heard of it")
    add.add_argument(
        "words", metavar="SWITCH MAC vlan=VLAN port=PORT", nargs="+", help="such as s1 02:... vlan=10 port=eth3"
    )
    remove = verbs.add("remove", _remove, "forget a station that was added")
    remove.add_argument("words", metavar="SWITCH MAC vlan=VLAN", nargs="+", help="such as s1 02:00:00:00:00:01 vlan=10")
    flush = verbs.add("flush", _flush, "forget the stations that switches have learned")
    flush.add_argument("words", metavar="SWITCH port=PORT vlan=VLAN", nargs="*", help="only those; all must be true")
    flush.add_argument("--sticky", action="store_true", help="also sticky ones")
    parser.set_defaults(where=None, filters=[])


def run(options: argparse.Namespace) -> int:
    return int(options.subverb(options))


def _show(options: argparse.Namespace) -> int:
    words = [word for word in (options.where, *options.filters) if word is not None]
    where = words.pop(0) if words and "=" not in words[0] else None
    strange = next((word for word in words if "=" not in word), None)
    if strange is not None:
        raise BadInput(f"{strange!r} is none of vlan=VLAN, port=PORT, mac=MAC")
    lab = choose(options.lab)
    wanted = _filters(lab, words)
    switches, port = place(lab, where)
    if port is not None:
        wanted["port"] = port
    rows = [{"switch": switch, **row} for switch in switches for row in stations(lab, switch, wanted)]
    if options.json:
        print_json(rows)
        return 0
    keys = ("switch", "vid", "mac", "port", "kind")
    header = ("SWITCH", "VID", "MAC", "PORT", "KIND", "AGE")
    print(table(header, [(*(row[key] for key in keys), _age(row)) for row in rows]))
    return 0


def _filters(lab: KnownLab, words: list[str]) -> dict[str, Any]:
    """What switchd's `fdb` is asked for. Raises BadInput."""
    _, given = split(map(_vlan_word, words), FILTERS)
    names = vlan_names(lab) if "vlan" in given else {}
    found = {}
    for key, text in given.items():
        try:
            found["vid" if key == "vlan" else key] = FILTERS[key](text, names)
        except (ValueError, UserError) as error:
            raise BadInput(f"{key}={text}: {error}") from None
    return found


def stations(lab: KnownLab, switch: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Page by page, so that a switch that knows a million is not held up; in order."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    place: int | None = 0
    while place is not None:
        answer = ask(lab, switch, "fdb", place=place, **wanted)
        found |= {(row["vid"], row["mac"]): row for row in answer["stations"]}
        place = answer["next"]
    return [found[key] for key in sorted(found)]


def _age(row: dict[str, Any]) -> str:
    return "" if row["kind"] == "static" else f"{row['age_s']}s"


def _add(options: argparse.Namespace) -> int:
    (switch, mac), given = _two(options.words, ("vlan", "port"))
    with Lab(choose(options.lab)) as lab:
        return show(lab.station_add(switch, mac, port_keys.vlan(given["vlan"], lab.vlans), given["port"]), options.json)


def _remove(options: argparse.Namespace) -> int:
    (switch, mac), given = _two(options.words, ("vlan",))
    with Lab(choose(options.lab)) as lab:
        return show(lab.station_remove(switch, mac, port_keys.vlan(given["vlan"], lab.vlans)), options.json)


def _vlan_word(word: str) -> str:
    """`vid=10` is as good as `vlan=10`."""
    return f"vlan={word.removeprefix('vid=')}" if word.startswith("vid=") else word


def _two(words: list[str], keys: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """SWITCH MAC, and all of some keys."""
    plain, given = split(map(_vlan_word, words), keys)
    if len(plain) != 2 or set(given) != set(keys):
        raise BadInput(f"this needs SWITCH MAC {' '.join(f'{key}=...' for key in keys)}")
    return plain, given


def _flush(options: argparse.Namespace) -> int:
    plain, given = split(map(_vlan_word, options.words), ("port", "vlan"))
    if len(plain) > 1 or ("port" in given and not plain):
        raise BadInput("fdb flush takes one SWITCH, or none for all; port= needs one")
    known = choose(options.lab)
    switches, port = place(known, plain[0] if plain else None)
    with Lab(known) as lab:
        vid = port_keys.vlan(given["vlan"], lab.vlans) if "vlan" in given else None
        flushed = {switch: lab.flush(switch, given.get("port", port), vid, options.sticky) for switch in switches}
    if options.json:
        print_json(flushed)
    else:
        print(
            "\n".join(f"{switch}: {count} station{'s' * (count != 1)} forgotten" for switch, count in flushed.items())
        )
    return 0
