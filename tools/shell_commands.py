"""What can be said in `vfab shell`: Mininet's words, commands of nodes, and every verb of vfab.

Knows: the words and what they come to. Refuses to know: lines, prompts and history (`shell_input`), what verbs do.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from daemons.errors import UserError
from daemons.filed import filed
from daemons.lab.mistake import did_you_mean, quoted
from daemons.lab_client import Lab
from tools import changing, vfab
from tools.errors import BadInput
from tools.labs import KnownLab, store_of
from tools.output import table
from tools.shell_lab import Node, View, address_of, look
from tools.shell_run import iperf3, outside, verb

Words = list[str]
PINGS = "4"  # where nobody says how many; Mininet's go on until Ctrl-C, which a script has not
NOT_HERE = {"shell": "this is one already", "demo": "leave the shell with exit, and run vfab demo"}
# Kind of node -> a word behind its name -> the verb, which gets the node's name behind it.
OF_NODES: dict[str, dict[str, Words]] = {
    "switch": {
        "ports": ["port", "show"], "fdb": ["fdb", "show"], "vlan": ["vlan", "show"], "logs": ["logs"],
        "restart": ["restart"],
    },
    "host": {"ping": ["ping"], "traffic": ["traffic"], "trace": ["trace"]},
    "netns": {"trace": ["trace"]},
    "uplink": {},
    "vm": {
        "console": ["console"], "on": ["vm", "on"], "off": ["vm", "off"], "reset": ["vm", "reset"],
        "shutdown": ["vm", "shutdown"],
    },
    "external": {},
    "pool": {"logs": ["logs"], "restart": ["restart"]},
}  # fmt: skip
RUNS = ("netns", "uplink")  # kinds that run programs


class Ended(Exception):
    """The user wants to leave."""


class Commands:
    """Runs one line after the other. Each gives an exit code; UserError is for the user to read."""

    def __init__(self, lab: KnownLab) -> None:
        self.lab = lab
        self.own: dict[str, tuple[Callable[[Words], int], str, str]] = {
            "nodes": (self._nodes, "", "the lab's switches and machines"),
            "links": (self._links, "", "which port is cabled to which, and how it is"),
            "net": (self._links, "", "the same"),
            "ports": (lambda words: self._verb("port", ["show", *words]), "[SWITCH[:PORT]]", "settings and counters"),
            "dump": (self._dump, "", "every node with its kind, addresses and cards"),
            "link": (self._link, "A B up|down", "bring the links between two nodes up or down"),
            "iperf": (self._iperf, "H1 H2", "how much goes through from H1 to H2"),
            "sh": (lambda words: outside(["sh", "-c", " ".join(words)]), "COMMAND", "a command of this computer"),
            "help": (self._help, "", "this"),
            "exit": (self._exit, "", "leave; the lab stays up"),
            "quit": (self._exit, "", "the same"),
        }

    def words(self) -> list[str]:
        """What a line can begin with."""
        try:
            nodes = list(look(self.lab).nodes)
        except UserError:  # the lab is down; the rest can still be said
            nodes = []
        return sorted({*self.own, *vfab.VERBS, *nodes} - set(NOT_HERE))

    def run(self, words: Words) -> int:
        """One line, in words. Raises UserError, and Ended."""
        first, rest = words[0], words[1:]
        if first in self.own:
            return self.own[first][0](rest)
        view = look(self.lab) if first not in vfab.VERBS else None
        if view is not None and first in view.nodes:
            return self._node(view, view.nodes[first], rest)
        if first in NOT_HERE:
            raise BadInput(NOT_HERE[first])
        if first in vfab.VERBS:
            return self._verb(first, rest)
        near = did_you_mean(first, self.words(), "help lists what there is, nodes the lab's nodes")
        raise BadInput(f"there is no command and no node {quoted(first)}; {near}")

    def _verb(self, name: str, words: Words) -> int:
        return verb(self.lab.id, name, words)

    # --- about the lab

    def _nodes(self, words: Words) -> int:
        kinds: dict[str, list[str]] = {}
        for node in look(self.lab).nodes.values():
            kinds.setdefault(node.kind, []).append(node.name)
        for kind, names in kinds.items():
            print(f"{kind}: {' '.join(names)}")
        return 0

    def _links(self, words: Words) -> int:
        view = look(self.lab)
        with Lab(self.lab) as lab:
            status = lab.status()["nodes"]
        carriers = {
            (name, port["name"]): port["carrier"] for name, row in status.items() for port in row.get("ports", ())
        }
        for link in view.links:
            ends = [end for end in (link.a, link.b) if end in view.ports]
            states = {str(view.ports[end]["state"]) for end in ends} - {"forwarding"}
            up = all(carriers.get(end) for end in ends)
            print(f"{link}  {', '.join(sorted(states)) or ('up' if up else 'down')}")
        return 0

    def _dump(self, words: Words) -> int:
        view = look(self.lab)
        cards = {name: list(node.nics) for name, node in view.nodes.items()}
        for switch, port in view.ports:
            cards[switch].append(port)
        rows = [
            (node.name, node.kind, ", ".join(node.addresses), ", ".join(cards[node.name]))
            for node in view.nodes.values()
        ]
        print(table(("NODE", "KIND", "ADDRESSES", "PORTS"), rows))
        return 0

    def _help(self, words: Words) -> int:
        rows = [(f"{name} {usage}".strip(), what) for name, (_, usage, what) in self.own.items()]
        rows += [
            ("H1 ping H2", "ping from a host to another, or to an address; pingall: everybody"),
            ("H1 COMMAND ...", "run a program in a host of kind netns; names of nodes become addresses"),
            ("S1 ports|fdb|vlan|logs|restart", "of one switch"),
            ("VERB ...", f"any verb of vfab: {', '.join(name for name in vfab.VERBS if name not in NOT_HERE)}"),
        ]
        width = max(len(usage) for usage, _ in rows)
        print("\n".join(f"  {usage:<{width}}  {what}" for usage, what in rows))
        return 0

    def _exit(self, words: Words) -> int:
        raise Ended

    # --- links

    def _link(self, words: Words) -> int:
        if len(words) != 3 or words[2] not in ("up", "down"):
            raise BadInput("say which two nodes, and what: link s1 h1 down, or link s1 h1 up")
        view = look(self.lab)
        wishes: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
        before = self._by_file() if words[2] == "up" else {}
        for link in view.between(words[0], words[1]):
            for switch, port in (end for end in (link.a, link.b) if end in view.ports):
                now = view.ports[switch, port]["state"]
                state = _after(words[2], now, before.get((switch, port), "forwarding"))
                wishes.setdefault(switch, {}).setdefault("ports", {})[port] = {"state": state}
        with Lab(self.lab) as lab:
            return changing.show(lab.change(wishes), False)

    def _by_file(self) -> dict[tuple[str, str], str]:
        """What the lab file says of ports that were changed since: one that `loops: block` blocked is so again."""
        store = store_of(self.lab)
        try:
            configs = filed(store.lab())
        finally:
            store.close()
        return {(switch, row["name"]): row["state"] for switch, config in configs.items() for row in config["ports"]}

    # --- node first

    def _node(self, view: View, node: Node, words: Words) -> int:
        if not words:
            raise BadInput(f"what should {node.name} do? For example: {_example(node)}")
        known = OF_NODES[node.kind]
        if words[0] in known:
            given = known[words[0]]
            return self._verb(given[0], [*given[1:], node.name, *words[1:]])
        if node.kind in RUNS:
            return self._program(view, node, words)
        said = ", ".join(known) or "nothing here; it is run by somebody else"
        why = "; kind: netns in the lab file runs programs" if node.kind == "host" else ""
        raise BadInput(f"{node.name} ({node.kind}) does not know {quoted(words[0])}; it knows {said}{why}")

    def _program(self, view: View, node: Node, words: Words) -> int:
        """A program in a namespace; names of other nodes become their addresses, as Mininet does it."""
        changed = [words[0], *(_address(view, node, word) for word in words[1:])]
        if words[0] == "ping":
            if shutil.which("ping") is None:
                return self._verb("ping", [node.name, *words[1:]])
            if not any(word.startswith(("-c", "-w")) for word in words):
                changed[1:1] = ["-c", PINGS]
        return self._verb("exec", [node.name, "--", *changed])

    def _iperf(self, words: Words) -> int:
        view = look(self.lab)
        if len(words) != 2:
            raise BadInput("say from where and to where: iperf h1 h2")
        source, target = (view.node(name) for name in words)
        kinds = {source.kind, target.kind}
        if kinds == {"host"}:
            return self._verb("traffic", words)
        if not kinds <= set(RUNS):
            raise BadInput(f"iperf needs two hosts of kind netns, or two userspace hosts, not {' and '.join(kinds)}")
        address = address_of(target, source)
        if address is None:
            raise UserError(f"{target.name} has no address")
        return iperf3(self.lab.id, source.name, target.name, address)


def _after(wanted: str, now: str, by_file: str) -> str:
    """A port's state after `link ... up|down`."""
    if wanted == "down":
        return "disabled"
    if now != "disabled":
        return now
    return by_file if by_file != "disabled" else "forwarding"


def _address(view: View, source: Node, word: str) -> str:
    if word not in view.nodes or word == source.name:
        return word
    return address_of(view.nodes[word], source) or word


def _example(node: Node) -> str:
    known = OF_NODES[node.kind]
    return f"{node.name} {'ping 10.0.0.1' if node.kind in RUNS or 'ping' in known else next(iter(known), '')}".strip()
