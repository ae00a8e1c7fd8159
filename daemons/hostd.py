"""All userspace hosts of one lab as a process: sockets, clock and signals around netvirt.host; started by fabricd.

Knows: the control operations, the process's beginning and end. Refuses to know: frames, and the lab around its hosts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from daemons.control import Reply
from daemons.daemon import About, farewell, serve
from daemons.errors import UserError
from daemons.hostd_config import NicConfig, parse_config
from daemons.hostd_hosts import CarrierChanged, Dial, HostNic, Hosts, Received
from daemons.hostd_ping import PingAll, ping
from daemons.hostd_traffic import Traffic, Udp
from daemons.loop import Loop
from netvirt.dataplane.queue import Queue
from netvirt.ports.errors import PortError
from netvirt.ports.zmq import ZmqDialer


class Hostd:
    """The process's one object. `dial` makes the driver of a NIC; tests give their own."""

    def __init__(self, loop: Loop, name: str, dial: Dial | None = None) -> None:
        self.loop = loop
        self.name = name
        self.hosts = Hosts(loop, dial or self._dial)
        self._about = About(name, loop)
        self.handlers = {
            "configure": self.configure,
            "status": self.status,
            "ping": lambda args, reply: ping(self.hosts, loop, args, reply),
            "pingall": lambda args, reply: _begin(PingAll, self, args, reply),
            "udp": lambda args, reply: _begin(Udp, self, args, reply),
            "traffic": lambda args, reply: _begin(Traffic, self, args, reply),
            "stop": self.stop,
        }

    def configure(self, args: dict[str, Any], reply: Reply) -> None:
        """{config}: the whole value; what does not change is not disturbed."""
        config = parse_config(args.get("config"))
        try:
            reply.done(self.hosts.configure(config))
        except PortError as error:
            raise UserError(f"{self.name}: {error}") from None

    def status(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done(
            {
                **self._about.row(self.hosts.config),
                "hosts": [
                    {"name": name, "nics": [_nic_status(nic) for nic in host.nics.values()]}
                    for name, host in self.hosts.hosts.items()
                ],
            }
        )

    def stop(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done()
        self.end()

    def end(self) -> None:
        """Goodbye to all switches, then out of run()."""
        self.hosts.close()
        farewell(self.loop, self.hosts.leaving)

    def close(self) -> None:
        """All is closed by end()."""

    def _dial(
        self, nic: NicConfig, name: str, epoch: int, queue: Queue, receive: Received, carrier_changed: CarrierChanged
    ) -> ZmqDialer:
        return ZmqDialer(
            self.loop, nic.endpoint, queue, receive, carrier_changed, name=name, epoch=epoch, key_file=nic.key_file
        )


def _begin(job: type[PingAll] | type[Udp] | type[Traffic], daemon: Hostd, args: dict[str, Any], reply: Reply) -> None:
    """The job lives on in the callbacks that it leaves with the loop and with its hosts."""
    job(daemon.hosts, daemon.loop, args, reply)


def _nic_status(nic: HostNic) -> dict[str, Any]:
    return {
        "name": nic.config.name,
        "mac": nic.config.mac,
        "endpoint": nic.config.endpoint,
        "carrier": nic.port.carrier,
        "refusal": getattr(nic.port, "refusal", ""),
        "interfaces": [
            {
                "name": interface.name,
                "vlan": interface.vlan,
                "priority": interface.priority,
                "addresses": list(interface.addresses),
                "gateway": interface.gateway,
                "mtu": interface.mtu,
            }
            for interface in nic.config.interfaces
        ],
        "statistics": nic.stack.statistics(),
        "queue": nic.queue.statistics(),
        "link": nic.port.statistics(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    return serve("hostd", "group of hosts", Hostd, argv)


if __name__ == "__main__":
    sys.exit(main())
