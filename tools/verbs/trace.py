"""vfab trace s1:eth1 dst=h3 icmp: a frame's journey through the lab, rule by rule and switch by switch.

The frame is told in words, or is --hex BYTES, or a packet of a capture file (--read FILE --packet N). WHERE is a port,
or a host: the port that it is plugged into. Nothing is sent: the switches are asked for copies of their tables, and the
same compiled rules run on these, in this command. No counter and no MAC table of the lab changes.

Words: dst=, src= (a host, its NIC, an IP or MAC address), vlan=VLAN (the frame has a tag), pcp=5, dei, tpid=0x88a8,
inner=VID (a second tag), icmp, udp=PORT, tcp=PORT, arp who-has ADDRESS, type=0x88b5, size=1514 (bytes without tags).
Exit code: 0 if it reaches the host that dst= names (or anybody, if it names none), 1 if not.
"""

from __future__ import annotations

import argparse
from typing import Any

from daemons.client import Client
from daemons.errors import UserError
from daemons.lab.mistake import did_you_mean, listed, quoted
from netvirt.addr import mac_bytes
from netvirt.switch import Switch
from tools.arguments import whole
from tools.errors import BadInput
from tools.frame_sources import from_file, from_hex
from tools.frame_words import Built, Start, build
from tools.journey import Copy, travel
from tools.journey_end import verdict
from tools.journey_tree import lines, value
from tools.labs import KnownLab, choose, desired
from tools.output import paint, print_json
from tools.wiring import Wiring

_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("where", metavar="WHERE", help="the port where it comes in, such as s1:eth1; or a host")
    parser.add_argument("words", metavar="WORD", nargs="*", help="the frame, such as: dst=h3 vlan=10 icmp")
    parser.add_argument("--hex", metavar="BYTES", help="the frame itself, from its destination on, without FCS")
    parser.add_argument("--read", metavar="FILE", help="a packet of this capture file (pcap or pcapng)")
    parser.add_argument("--packet", metavar="N", type=whole(1, 1 << 40), default=1, help="which one, from 1 (1)")


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    wiring = _wiring(lab)
    (switch, port), start = _where(options.where, wiring)
    copies = Copies(lab)
    copy = copies(switch)
    if isinstance(copy, str):
        raise UserError(copy)
    if port not in copy.switch.ports:
        raise UserError(f"{switch} has no port {port} any more")
    built = _frame(options, wiring, Start(f"{switch}:{port}", start, _heard(copy, port)))
    connected = copy.switch.queue(port).open
    journey = travel(switch, port, built.frame, copies, wiring)
    end = verdict(journey, built.goal)
    if options.json:
        print_json(value(journey, start, built.goal, end) | {"connected": connected})
        return 0 if end.good else 1
    for line in lines(journey):
        print(line)
    if not connected:
        print(paint(f"Nobody is connected to {switch}:{port} now; this is what would happen.", "yellow"))
    print(paint(end.sentence, "green" if end.good else "red"))
    return 0 if end.good else 1


def _wiring(lab: KnownLab) -> Wiring:
    wanted = desired(lab)
    switches = {name: want.config for name, want in wanted.items() if want.kind == "switchd"}
    machines = [want.config for want in wanted.values() if want.kind in ("hostd", "netnsd")]
    hosts = [host for config in machines for host in (*config["hosts"], *config.get("uplinks", ()))]
    return Wiring(switches, hosts)


def _where(text: str, wiring: Wiring) -> tuple[tuple[str, str], str]:
    """((switch, port), the NIC there or "")."""
    node, _, port = text.partition(":")
    nics = [nic for nic in wiring.plugged if text in (nic, nic.partition(":")[0])]
    if len(nics) > 1:
        raise BadInput(f"{node} has several NICs, say which one: {', '.join(nics)}")
    if nics:
        return wiring.plugged[nics[0]], nics[0]
    if node not in wiring.ports:
        names = [*wiring.ports, *dict.fromkeys(nic.partition(":")[0] for nic in wiring.plugged)]
        fix = did_you_mean(node, names, f"there are {listed(names)}")
        raise UserError(f"there is no switch and no host {quoted(node)}; {fix}")
    if port not in wiring.ports[node]:
        what = f"has no port {quoted(port)}; its ports are" if port else "has several ports, say which one"
        raise (UserError if port else BadInput)(f"{node} {what}: {listed(wiring.ports[node], 50)}")
    far = wiring.far(node, port)
    return (node, port), str(far) if far.kind == "host" else ""


def _heard(copy: Copy, port: str) -> bytes:
    """Who spoke last at a port: a guest's address is not in the lab's file."""
    rows = [row for row in copy.switch.stations(copy.now) if row["port"] == port]
    return mac_bytes(min(rows, key=lambda row: row["age_s"])["mac"]) if rows else b""


def _frame(options: argparse.Namespace, wiring: Wiring, start: Start) -> Built:
    given = [bool(options.words), options.hex is not None, options.read is not None]
    if sum(given) != 1:
        raise BadInput("say what the frame is: words such as dst=h3 icmp, or --hex BYTES, or --read FILE; one of them")
    if options.words:
        return build(options.words, wiring.stations, start, wiring.vlans)
    frame = from_hex(options.hex) if options.hex is not None else from_file(options.read, options.packet)
    owner = next((station.place for station in wiring.stations if station.mac == frame[:6]), "")
    return Built(frame, owner)


class Copies:
    """The lab's switches as they are now, each asked once, when a frame gets there."""

    def __init__(self, lab: KnownLab) -> None:
        self._lab = lab
        self._had: dict[str, Copy | str] = {}

    def __call__(self, name: str) -> Copy | str:
        if name not in self._had:
            try:
                self._had[name] = self._ask(name)
            except UserError as error:
                self._had[name] = f"switch {name} can't be asked: {error}"
        return self._had[name]

    def _ask(self, name: str) -> Copy:
        with Client(self._lab.paths.control(name), timeout=_SECONDS) as client:
            snapshot: dict[str, Any] = client.call("snapshot")
            place = snapshot["next"]
            while place is not None:
                page = client.call("fdb", place=place)
                snapshot["stations"] += page["stations"]
                place = page["next"]
        # Between two pages a station may have moved, or its port have gone: the newest counts.
        ports = {port["name"] for port in snapshot["ports"]}
        rows = {(row["vid"], row["mac"]): row for row in snapshot["stations"] if row["port"] in ports}
        return Copy(Switch.restore({**snapshot, "stations": list(rows.values())}), snapshot["now"])
