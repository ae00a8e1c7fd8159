"""The links of a containerlab file, of every type (https://containerlab.dev/manual/topo-def-file/#links).

Knows: the short form `endpoints: ["a:eth1", "b:eth1"]`, the long one with `type:`, and what each type becomes.
Refuses to know: nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ..mistake import quoted
from ..yamltree import Tree
from . import commands
from .building import Builder, Machine
from .fields_of import Fields

MANAGEMENT: Final = "mgmt-net"
HARMLESS: Final = ("vars", "labels")
_VXLAN: Final = "make it {{access: {vid}, vxlan: {{local: OUR-ADDRESS, remotes: [{remote}], vnis: {{{vid}: {vni}}}}}}}"
# A link's type -> what the user may write at the free port in the place of what was there.
ADVICE: Final[dict[str, str]] = {
    "host": "write tap: {name} there to have it in this computer's own network",
    "macvlan": "write packet: {name} there to join it with that interface",
    "vxlan": _VXLAN,
    "vxlan-stitch": _VXLAN,
}


class End(NamedTuple):
    """One end of a link; `mac` where it is said."""

    node: str
    port: str
    line: int
    mac: str | None = None
    far: str = ""
    addresses: tuple[str, ...] = ()


def read(links: list[Tree], builder: Builder) -> None:
    for tree in links:
        line = tree.spot.line
        if not isinstance(tree.value, dict):
            builder.report.say(line, "left out: a link that is no mapping with endpoints:")
            continue
        _link(Fields(tree), line, builder)


def note_host(name: str, line: int, builder: Builder) -> None:
    """A node of kind host."""
    builder.here.add(name)
    builder.report.say(line, f"left out: {quoted(name)} is this computer itself; its links end in free ports")


def _link(fields: Fields, line: int, builder: Builder) -> None:
    kind = fields.text("type") or ""
    ends = [end for tree in fields.items("endpoints") if (end := _end(tree, builder))]
    single = fields.take("endpoint")
    if single is not None and (end := _end(single, builder)):
        ends.append(end)
    mtu = fields.text("mtu")
    for key in HARMLESS:
        fields.take(key)
    if not kind:
        kind, ends = _short(ends, builder)
    make = _TYPES.get(kind)
    if make is None:
        builder.report.say(line, f"left out: a link of type {quoted(kind)}, which is not known here")
    elif len(ends) != (2 if kind == "veth" else 1):
        builder.report.say(line, f"left out: a link of type {kind} with {len(ends)} ends that can be read")
    elif all(_there(end, builder) for end in ends):
        make(ends, kind, fields, line, builder)
        _details(ends, mtu, builder)
    for key, at in fields.rest():
        builder.report.say(at, f"not carried over: {quoted(key)} of a link")


def _end(tree: Tree, builder: Builder) -> End | None:
    """`node:interface`, or {node:, interface:, mac:, ipv4:, ipv6:}."""
    line = tree.spot.line
    if isinstance(tree.value, dict):
        fields = Fields(tree)
        addresses = tuple(text for key in ("ipv4", "ipv6") if (text := fields.text(key)))
        end = End(fields.text("node") or "", fields.text("interface") or "", line, fields.text("mac"), "", addresses)
        for key in HARMLESS:
            fields.take(key)
        for key, at in fields.rest():
            builder.report.say(at, f"not carried over: {quoted(key)} of an endpoint")
    else:
        node, _, port = str(tree.value).partition(":")
        end = End(node, port, line)
    if end.node and end.port:
        return end
    builder.report.say(line, "left out: an endpoint that is not node:interface")
    return None


def _short(ends: list[End], builder: Builder) -> tuple[str, list[End]]:
    """In the short form a name of its own tells the type: `host:veth1`, `mgmt-net:if1`, `macvlan:eth0`, `dummy:x`.

    The end that is left has what stands behind it as its `far`.
    """
    for end, other in ((end, other) for end in ends for other in ends if end is not other):
        if end.node in builder.machines:
            continue
        if end.node in builder.here:
            return "host", [other._replace(far=end.port)]
        if end.node in (MANAGEMENT, "macvlan", "dummy", "vxlan", "vxlan-stitch"):
            return end.node, [other._replace(far=end.port)]
    return "veth", ends


def _there(end: End, builder: Builder) -> bool:
    if end.node in builder.machines:
        return True
    what = "this computer itself" if end.node in builder.here else f"no node {quoted(end.node)}"
    builder.report.say(end.line, f"left out: a link; there is {what} at an end of it")
    return False


def _veth(ends: list[End], kind: str, fields: Fields, line: int, builder: Builder) -> None:
    a, b = (builder.machines[end.node] for end in ends)
    builder.cable(a, ends[0].port, b, ends[1].port, line)


def _management(ends: list[End], kind: str, fields: Fields, line: int, builder: Builder) -> None:
    """All these links end in one network, that of containerlab's management."""
    fields.take("host-interface")
    key = (MANAGEMENT,)  # a node of that name is something else
    switch = builder.machines.get(key)
    if switch is None:
        switch = builder.add(MANAGEMENT, "switch", line, key=key)
        builder.report.say(line, f"the management network is the switch {switch.name}, of links that name it only")
    machine = builder.machines[ends[0].node]
    builder.cable(machine, ends[0].port, switch, "", line)


def _outside(ends: list[End], kind: str, fields: Fields, line: int, builder: Builder) -> None:
    """The far end is in this computer or beyond it: a free port, and what to write there."""
    given = {key: fields.text(key) for key in ("host-interface", "mode", "remote", "vni", "dst-port", "src-port")}
    given["host-interface"] = given["host-interface"] or ends[0].far or None
    told = ", ".join(f"{key}: {value[:40]}" for key, value in given.items() if value)
    where, vid = builder.outside(builder.machines[ends[0].node], ends[0].port, line)
    if not where:
        return
    words = {"name": given["host-interface"] or "NAME", "vni": given["vni"] or "VNI", "vid": str(vid)}
    words["remote"] = given["remote"] or "REMOTE"
    advice = ADVICE[kind].format(**{key: value[:40] for key, value in words.items()})
    said = f" ({told})" if told else ""
    builder.report.say(line, f"a link of type {kind}{said} ends in the free port {where}; {advice}")


def _dummy(ends: list[End], kind: str, fields: Fields, line: int, builder: Builder) -> None:
    machine = builder.machines[ends[0].node]
    if machine.kind == "switch":
        builder.outside(machine, ends[0].port, line)
    else:
        builder.alone(machine, ends[0].port, line)


_TYPES: Final[dict[str, Callable[[list[End], str, Fields, int, Builder], None]]] = {
    "veth": _veth,
    MANAGEMENT: _management,
    "host": _outside,
    "macvlan": _outside,
    "vxlan": _outside,
    "vxlan-stitch": _outside,
    "dummy": _dummy,
}


def _details(ends: list[End], mtu: str | None, builder: Builder) -> None:
    """MAC and IP addresses of endpoints, and the link's MTU, are its interfaces'."""
    for end in ends:
        machine = builder.machines[end.node]
        if machine.kind not in ("netns", "host"):
            continue
        for word, value in (("mac", end.mac), ("mtu", mtu), *(("address", address) for address in end.addresses)):
            if value:
                _detail(machine, end, word, value, builder)


def _detail(machine: Machine, end: End, word: str, value: str, builder: Builder) -> None:
    line = {"mac": "link set {} address {}", "mtu": "link set {} mtu {}", "address": "addr add {1} dev {0}"}[word]
    text = f"ip {line.format(end.port, value)}"
    commands.understand(machine, text, commands.Place(end.line, None), lambda what: builder.report.say(end.line, what))
