"""vfab vlan show: the VLANs of each switch: their names, ports and how many stations they have.
vfab vlan add, remove: a VLAN for the lab and for ports, while it runs."""

from __future__ import annotations

import argparse

from daemons import port_keys
from daemons.lab_client import Lab
from tools.changing import show
from tools.errors import BadInput
from tools.labs import choose
from tools.output import print_json, table
from tools.subverbs import Subverbs
from tools.switches import ask, place

_BARE = ":untagged"
_PORTS_HELP = (
    "trunks that let it pass now, too; with :untagged an access port that moves into it, or a trunk whose native VLAN"
    " it becomes"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Subverbs(parser, "show")
    shown = verbs.add("show", _show, "VLANs with their ports and stations")
    shown.add_argument("where", metavar="SWITCH", nargs="?", help="only this switch")
    add = verbs.add("add", _add, "give a VLAN a name, and let ports have it")
    add.add_argument("vlan", metavar="VLAN", help="its ID, or the name that it has")
    add.add_argument("ports", metavar="SWITCH:PORT[:untagged]", nargs="*", help=_PORTS_HELP)
    # argparse gives no words after an option to what stands before it; so --name takes them, too.
    add.add_argument("--name", metavar=("NAME", "SWITCH:PORT"), nargs="+", help="what it is called in the whole lab")
    add.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    remove = verbs.add("remove", _remove, "take a VLAN from trunks, or out of the lab")
    remove.add_argument("vlan", metavar="VLAN", help="its ID or name")
    remove.add_argument("ports", metavar="SWITCH:PORT", nargs="*", help="only from these trunks; it keeps its name")
    remove.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.set_defaults(where=None)


def run(options: argparse.Namespace) -> int:
    return int(options.subverb(options))


def _show(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    switches, port = place(lab, options.where)
    rows = [
        {"switch": switch, **row}
        for switch in switches
        for row in ask(lab, switch, "vlans")
        if port is None or port in row["tagged"] + row["untagged"]
    ]
    if options.json:
        print_json(rows)
        return 0
    keys = ("switch", "vids", "name")
    header = ("SWITCH", "VID", "NAME", "UNTAGGED", "TAGGED", "STATIONS")
    print(
        table(
            header,
            [
                (*(row[key] for key in keys), " ".join(row["untagged"]), " ".join(row["tagged"]), row["stations"])
                for row in rows
            ],
        )
    )
    return 0


def _add(options: argparse.Namespace) -> int:
    name, *more = options.name or [None]
    ports = [*options.ports, *more]
    if name is None and not ports:
        raise BadInput("vlan add needs a --name, or ports, such as: vfab vlan add 30 --name guests s1:eth9")
    tagged = [where for where in ports if not where.endswith(_BARE)]
    untagged = [where.removesuffix(_BARE) for where in ports if where.endswith(_BARE)]
    with Lab(choose(options.lab)) as lab:
        vid = port_keys.vlan(options.vlan, lab.vlans)
        value = lab.vlan_add(vid, name, tagged=tagged, untagged=untagged, dry_run=options.dry_run)
        return show(value, options.json)


def _remove(options: argparse.Namespace) -> int:
    with Lab(choose(options.lab)) as lab:
        vid = port_keys.vlan(options.vlan, lab.vlans)
        return show(lab.vlan_remove(vid, options.ports or None, dry_run=options.dry_run), options.json)
