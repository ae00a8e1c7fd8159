"""The commands of the CNI plugin: ADD, DEL, CHECK, STATUS, GC.

Knows: their order, and what is undone where one fails. Refuses to know: how a port, a namespace, an IPAM plugin is
dealt with; the environment and stdin. Each returns the JSON of its answer, None for none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

from tools import cni_ipam, cni_ports
from tools.cni_config import Attachment, Network, valid_attachments
from tools.cni_errors import CHECK_FAILED, CONFIG, FAILED, CniError
from tools.cni_result import Addressing, network_text, own_part, result
from tools.cni_sandbox import Sandbox

Answer = dict[str, Any] | None


def add(network: Network, attachment: Attachment) -> Answer:
    """All or nothing: whatever was made before something failed is taken back."""
    name = attachment.ifname
    with Sandbox(attachment.netns) as sandbox, ExitStack() as undo:
        temporary = cni_ports.temporary_name(attachment)
        fd = sandbox.make_tap(name, temporary, network.mac, network.mtu)
        undo.callback(os.close, fd)
        port = cni_ports.plug(network, attachment)
        failed = undo.enter_context(ExitStack())
        failed.callback(_quietly, lambda: cni_ports.unplug([port]))
        cni_ports.leave_tap(port, fd)
        sandbox.up(name)
        addressing = Addressing([{"address": address} for address in network.ips])
        if network.ipam:
            addressing = cni_ipam.add(network)
            failed.callback(_quietly, lambda: cni_ipam.tell(network, "DEL"))
        addressing = addressing._replace(dns=addressing.dns or network.dns)
        sandbox.configure(name, addressing)
        problem = cni_ports.await_carrier(port)
        if problem:
            raise CniError(FAILED, f"{port.switch}:{port.row['name']} does not come up: {problem}")
        link = sandbox.interface(name) or {}
        interface = {"name": name, "mac": link.get("address", ""), "mtu": link.get("mtu", 0), "sandbox": sandbox.path}
        answer = result(network.version, interface, addressing, network.previous)
        failed.pop_all()
        return answer


def _quietly(step: Callable[[], None]) -> None:
    """The error that made us undo all this is the one to be told."""
    with suppress(CniError):
        step()


def delete(network: Network, attachment: Attachment) -> Answer:
    """What is not there any more needs nothing; the interface goes with its port. Both parts are done in any case."""
    with ExitStack() as both:
        both.callback(cni_ipam.tell, network, "DEL")
        cni_ports.unplug(cni_ports.ports_of(attachment))
    return None


def check(network: Network, attachment: Attachment) -> Answer:
    """Whether all that ADD made is still there and works."""
    if network.previous is None:
        raise CniError(CONFIG, "CHECK needs prevResult: the result of ADD")
    name = attachment.ifname
    expected, addresses = own_part(network.previous, name, attachment.netns)
    if expected is None:
        raise CniError(CONFIG, f"prevResult has no interface {name} in a sandbox")
    with Sandbox(attachment.netns) as sandbox:
        link = sandbox.interface(name)
        if link is None:
            raise CniError(CHECK_FAILED, f"there is no interface {name} in {sandbox.path}")
        _check_link(link, expected, addresses)
        _check_routes(sandbox, network.previous)
    _check_port(network, attachment)
    cni_ipam.tell(network, "CHECK")
    return None


def _check_link(link: dict[str, Any], expected: dict[str, Any], addresses: list[str]) -> None:
    name = link["ifname"]
    if expected.get("mac") and link.get("address") != expected["mac"]:
        raise CniError(CHECK_FAILED, f"{name} has the MAC address {link.get('address')}, not {expected['mac']}")
    if "UP" not in link.get("flags", ()):
        raise CniError(CHECK_FAILED, f"{name} is down")
    there = {f"{row.get('local')}/{row.get('prefixlen')}" for row in link.get("addr_info", ())}
    missing = [address for address in addresses if address not in there]
    if missing:
        raise CniError(CHECK_FAILED, f"{name} does not have {', '.join(missing)}")


def _check_routes(sandbox: Sandbox, previous: dict[str, Any]) -> None:
    """By whichever interface: a plugin behind us may have moved them."""
    there = sandbox.routes()
    missing = [route["dst"] for route in previous.get("routes") or [] if network_text(route["dst"]) not in there]
    if missing:
        raise CniError(CHECK_FAILED, f"there is no route to {', '.join(missing)} in {sandbox.path}")


def _check_port(network: Network, attachment: Attachment) -> None:
    ports = [port for port in cni_ports.ports_of(attachment) if port.row[cni_ports.KEY]["network"] == network.name]
    if not ports:
        raise CniError(CHECK_FAILED, f"no switch has a port for {attachment}; the lab was started anew, or brought up")
    wanted = cni_ports.settings_of(network, ports[0])
    is_now = {key: ports[0].row.get(key) for key in wanted}
    if ports[0].switch != network.switch or is_now != wanted:
        raise CniError(CHECK_FAILED, f"{ports[0].switch}:{ports[0].row['name']} is not as the network wants it")
    problem = cni_ports.await_carrier(ports[0])
    if problem:
        raise CniError(CHECK_FAILED, f"{ports[0].switch}:{ports[0].row['name']}: {problem}")


def status(network: Network, attachment: Attachment) -> Answer:
    cni_ports.check_running(network)
    cni_ipam.tell(network, "STATUS")
    return None


def collect(network: Network, attachment: Attachment) -> Answer:
    """GC: ports of containers that the runtime does not know any more."""
    valid = valid_attachments(network.raw)
    with ExitStack() as both:
        both.callback(cni_ipam.tell, network, "GC")
        cni_ports.unplug(cni_ports.ports_where(network, lambda *each: each not in valid))
    return None


COMMANDS: Final[dict[str, Callable[[Network, Attachment], Answer]]] = {
    "ADD": add, "DEL": delete, "CHECK": check, "STATUS": status, "GC": collect,
}  # fmt: skip
