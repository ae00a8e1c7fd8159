"""vfab port show: what a port is set to, whether somebody is connected, and all that it has counted.
vfab port set: other settings while it runs. vfab port add, remove: ports that come and go."""

from __future__ import annotations

import argparse
from typing import Any

from daemons import counter_file, port_keys
from daemons.lab import words
from daemons.lab_client import Lab
from daemons.port_keys import KEYS
from netvirt.dataplane.counters import PortCounters
from tools import compression_words
from tools.changing import show, split
from tools.errors import BadInput
from tools.labs import KnownLab, choose
from tools.output import print_json, table, warn
from tools.subverbs import Subverbs
from tools.switches import ask, place

_HEADER = ("PORT", "LINK", "STATE", "MODE", "PVID", "VLANS", "PEER", "RX FRAMES", "RX BYTES", "TX FRAMES", "TX BYTES",
           "DROPS")  # fmt: skip
_RESERVED = {"peer_addresses": "peer", "tunnel_addresses": "tunnel"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Subverbs(parser, "show")
    shown = verbs.add("show", _show, "settings, carrier and counters of ports")
    shown.add_argument("where", metavar="SWITCH[:PORT]", nargs="?", help="a switch, or one port in full")
    change = verbs.add("set", _set, "change settings of ports while they run; the others stay")
    change.add_argument("words", metavar="SWITCH:PORT ... KEY=VALUE", nargs="+", help=f"keys: {', '.join(KEYS)}")
    change.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    new = verbs.add("add", _add, "a new port, in no cable of the lab file; vfab up takes it away again")
    new.add_argument("where", metavar="SWITCH:PORT", help="a name that no other port of the switch has")
    new.add_argument(
        "words",
        metavar="KEY=VALUE",
        nargs="*",
        help="keys of a port in a lab file, such as access=10 tap=listen udp.listen=127.0.0.1:5000",
    )
    gone = verbs.add("remove", _remove, "take away a port that is in no cable of the lab file")
    gone.add_argument("where", metavar="SWITCH:PORT", help="the port; what is plugged in there is cut off")
    for word in (new, gone):
        word.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.set_defaults(where=None)


def run(options: argparse.Namespace) -> int:
    return int(options.subverb(options))


def _show(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    switches, port = place(lab, options.where)
    rows = [row for switch in switches for row in _ports(lab, switch) if port in (None, row["name"])]
    if options.json:
        print_json(rows)
    elif port is not None:
        print("\n".join(_in_full(row) for row in rows))
    else:
        print(_listed(rows))
        for row in rows:
            if row["problem"]:
                warn(f"{row['switch']}:{row['name']}: {row['problem']}")
    return 0


def _set(options: argparse.Namespace) -> int:
    ports, given = split(options.words)
    if not ports or not given:
        raise BadInput("port set needs ports and settings, such as: vfab port set s1:eth3 access=20")
    wishes: dict[str, dict[str, Any]] = {}
    with Lab(choose(options.lab)) as lab:
        wish = port_keys.wish(given, lab.vlans)
        for where in ports:
            lab.port(where).wish(wishes).update(wish)
        return show(lab.change(wishes, options.dry_run), options.json)


def _add(options: argparse.Namespace) -> int:
    plain, given = split(options.words)
    if plain:
        raise BadInput(f"{plain[0]!r} is no KEY=VALUE; write it like: vfab port add s1:pod1 access=10 tap=listen")
    from tools.port_words import keys

    lab = choose(options.lab)
    with Lab(lab) as running:
        code = show(running.port_add(options.where, options.dry_run, **keys(given)), options.json)
    if not options.dry_run and not code:
        switch, _, name = options.where.partition(":")
        rows = ask(lab, switch, "status")["ports"]
        problem = next((row["problem"] for row in rows if row["name"] == name), "")
        if problem:
            warn(f"{options.where}: {problem}")
    return code


def _remove(options: argparse.Namespace) -> int:
    with Lab(choose(options.lab)) as running:
        return show(running.port_remove(options.where, options.dry_run), options.json)


def _ports(lab: KnownLab, switch: str) -> list[dict[str, Any]]:
    """Settings as the switch says them, counters as they stand in its memory."""
    status = ask(lab, switch, "status")["ports"]
    counted = {port.name: port for port in counter_file.look(lab.paths.run, switch).ports}
    return [{"switch": switch, **_port(row, counted.get(row["name"]))} for row in status]


def _port(row: dict[str, Any], counted: PortCounters | None) -> dict[str, Any]:
    counters = {} if counted is None else counted._asdict()
    return {
        "name": row["name"],
        "kind": row["kind"],
        "carrier": row["carrier"],
        "peer": row["peer"],
        "shut": row["shut"],
        "problem": row["problem"],
        "settings": row["settings"],
        "lz4": {key: value for key, value in row["link"].items() if key.startswith("lz4")} or None,
        "counters": {key: value for key, value in counters.items() if key not in ("number", "name", "carrier")},
    }


def _listed(rows: list[dict[str, Any]]) -> str:
    return table(
        _HEADER,
        [
            (
                f"{row['switch']}:{row['name']}",
                "up" if row["carrier"] else "down",
                "shut" if row["shut"] else row["settings"]["state"],
                *(_text(row["settings"].get(key) or "") for key in ("mode", "pvid", "allowed")),
                row["peer"],
                *(row["counters"].get(key) for key in ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes")),
                ", ".join(f"{reason} {count}" for reason, count in row["counters"].get("drops", {}).items()),
            )
            for row in rows
        ],
    )


def _in_full(row: dict[str, Any]) -> str:
    drops = row["counters"].get("drops", {})
    lines = [
        ("port", f"{row['switch']}:{row['name']}"),
        ("link", "up" if row["carrier"] else "down"),
        ("peer", row["peer"]),
        ("kind", row["kind"]),
        *([("problem", row["problem"])] if row["problem"] else []),
        *((key.replace("_", "-"), _word(key, value)) for key, value in row["settings"].items() if key not in _RESERVED),
        *((f"reserved: {name}", what) for name, what in _reserved(row["settings"])),
        *((key, value) for key, value in row["counters"].items() if key != "drops"),
        *compression_words.lines(row["lz4"] or {}),
        *((f"dropped: {reason}", count) for reason, count in drops.items()),
    ]
    return table(("WHAT", "VALUE"), lines)


def _word(key: str, value: Any) -> str:
    """A value as `port set` and lab files take it."""
    if key == "tpid":
        return words.tpid_text(value)
    if key == "storm":
        return ", ".join(f"{kind}: {words.rate_text(rate, unit)}" for kind, rate, unit in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else _text(value)


def _reserved(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Reserved addresses that are not just dropped."""
    return [(words.address_text(octet), what) for key, what in _RESERVED.items() for octet in settings.get(key, ())]


def _text(value: Any) -> str:
    return " ".join(map(_text, value)) if isinstance(value, list) else str(value)
