"""What stands beside Open vSwitch: the compiled switch, and the reference switch, which judges that one elsewhere.

Knows: how a Network is said to each of them, to Open vSwitch too. Refuses to know: which frames are sent, what differs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from netvirt.burst import Burst
from netvirt.settings import Mirror, PortSettings, VlanSettings
from netvirt.switch import Switch
from tests.support.ovs import Ovs
from tests.support.ovs_config import EVERY_RESERVED, Network, bridge, columns
from tests.support.reference_settings import Port, Vlans
from tests.support.reference_switch import SECOND, ReferenceSwitch
from tests.support.switch_traffic import message

REFUSED = {"tagged-not-accepted", "untagged-not-accepted", "vlan-not-allowed", "customer-not-allowed", "bad-vid"}


class Judged(Protocol):
    """A switch of ours. Every frame comes at the same moment, every port has carrier."""

    def __init__(self, network: Network) -> None: ...

    def send(self, port: str, frame: bytes) -> dict[str, list[bytes]]: ...

    def refused(self) -> int:
        """How many frames did not pass the ingress rules for VLANs."""

    def stations(self) -> set[tuple[int, str]]: ...


class Slow:
    def __init__(self, network: Network) -> None:
        self.switch = ReferenceSwitch(ours(network), capacity=network.stations)
        self.switch.change({}, Vlans(remote=network.flood_vlans), network.sessions)
        for vid, mac, port in network.static:
            self.switch.add_station(vid, bytes.fromhex(mac.replace(":", "")), port)

    def send(self, port: str, frame: bytes) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {}
        for name, data in self.switch.process(port, frame, SECOND):
            found.setdefault(name, []).append(data)
        return found

    def refused(self) -> int:
        return sum(count for (_, why), count in self.switch.drops.items() if why in REFUSED)

    def stations(self) -> set[tuple[int, str]]:
        return {(vid, mac.hex(":")) for vid, mac in self.switch.table.entries}


class Fast:
    def __init__(self, network: Network) -> None:
        self.switch = Switch("s1", mac_limit=network.stations)
        self.switch.change(
            {name: PortSettings(**vars(port)) for name, port in ours(network).items()},
            VlanSettings(remote=network.flood_vlans),
            [Mirror(**vars(session)) for session in network.sessions],
        )
        for name in network.ports:
            self.switch.set_carrier(name, True)
        for vid, mac, port in network.static:
            self.switch.add_station(vid, mac, port)

    def send(self, port: str, frame: bytes) -> dict[str, list[bytes]]:
        self.switch.process(self.switch.number(port), message([frame]), SECOND, 1)
        found: dict[str, list[bytes]] = {}
        for number in self.switch.plane.pending():
            name = self.switch.port_name(number)
            queue = self.switch.queue(name)
            while (head := queue.head()) is not None:
                found.setdefault(name, []).extend(Burst.parse(head).frames())
                queue.pop()
        return found

    def refused(self) -> int:
        drops = [self.switch.plane.statistics(self.switch.number(name))["drops"] for name in self.switch.ports]
        return sum(count for each in drops for why, count in each.items() if why in REFUSED)

    def stations(self) -> set[tuple[int, str]]:
        return {(row["vid"], row["mac"]) for row in self.switch.stations(SECOND)}


JUDGED: Final[dict[str, type[Judged]]] = {"compiled": Fast, "reference": Slow}


def ours(network: Network) -> dict[str, Port]:
    tunnel = EVERY_RESERVED if network.forward_bpdu else frozenset({0x21})
    return {name: Port(**{**vars(port), "tunnel": tunnel}) for name, port in network.ports.items()}


def theirs(ovs: Ovs, network: Network) -> None:
    ovs.configure({name: columns(port) for name, port in network.ports.items()}, lambda name: bridge(network, name))
    for vid, mac, port in network.static:
        ovs.add_station(vid, mac, port)


def started() -> Iterator[Ovs]:
    """For a fixture: one Open vSwitch, ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="vf-ovs-", dir="/tmp") as folder:
        switch = Ovs(Path(folder))
        try:
            yield switch
        finally:
            switch.close()
