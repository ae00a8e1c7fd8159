"""Which process pings for a host of the lab, and by which address another node of it is meant.

Knows: kinds of nodes, who of them can be asked to ping. Refuses to know: sockets, echoes.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

from daemons.known import KnownLab
from tools.errors import BadInput
from tools.nodes import Node, nobody

ASKED: Final = ("hostd", "netnsd")


def pinger(lab: KnownLab, known: Mapping[str, Node], name: str) -> str:
    """The process that pings for this host. Raises BadInput; who has userspace hosts only is told by hostd."""
    node = known.get(name)
    if node is None:
        if any(each.daemon != "hostd" for each in known.values()):
            nobody(lab, name, [each.name for each in known.values() if each.daemon in ASKED], "host")
        return "hostd"
    if node.daemon not in ASKED:
        raise BadInput(f"{name} is a virtual machine, so its own ping is what pings from it: vfab console {name}")
    return node.daemon


def target(known: Mapping[str, Node], source: str, name: str) -> str:
    """What its process is told: the name of one of its own, an address of anybody else's. Raises BadInput."""
    there, here = known.get(name), known.get(source)
    if there is None or here is None or there.daemon == here.daemon:
        return name
    if not there.networks:
        raise BadInput(f"{name} has no address in the lab file; give it one there, or say the address to ping")
    return max(there.addresses, key=lambda address: on_link(here, address))


def on_link(node: Node, address: str) -> bool:
    """Is the address in a network of this node's?"""
    wanted = _packed(address)
    for network in node.networks:
        own, _, length = network.partition("/")
        drop = 8 * len(wanted) - int(length)
        if len(_packed(own)) == len(wanted) and _top(_packed(own), drop) == _top(wanted, drop):
            return True
    return False


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _top(packed: bytes, drop: int) -> int:
    return int.from_bytes(packed, "big") >> drop
