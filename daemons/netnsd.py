"""All hosts of kind netns of one lab, and its uplinks, as a process that holds their namespaces; started by fabricd.

Knows: the control operations, the process's beginning and end. Refuses to know: how a namespace is made and changed.
Programs in a namespace are not its children. They are ended with their host, and with the lab; if this process is
killed they outlive it, but without a NIC: its successor makes all namespaces anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from daemons.control import Reply
from daemons.daemon import About, serve
from daemons.errors import UserError
from daemons.loop import Loop
from daemons.netns_config import NicConfig, parse_config
from daemons.netns_hosts import Hosts, LabHost, Uplink
from daemons.netns_ping import PingAll, ping
from daemons.netns_programs import end_programs
from daemons.netns_stack import Namespace
from daemons.netns_users import ALL_IDS, Users, become_able


class Netnsd:
    """The process's one object."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.hosts = Hosts(loop, self._uplink)
        self._about = About(name, loop)
        self._ending = False
        self.handlers = {
            "configure": self.configure,
            "status": self.status,
            "ping": lambda args, reply: ping(self.hosts, loop, args, reply),
            "pingall": self.pingall,
            "stop": self.stop,
        }
        try:
            self.hosts.users = become_able()
        except UserError as error:
            self.hosts.problem = str(error)

    def configure(self, args: dict[str, Any], reply: Reply) -> None:
        """{config}: the whole value; what does not change is not disturbed."""
        reply.done(self.hosts.configure(parse_config(args.get("config"))))

    def status(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done(
            {
                **self._about.row(self.hosts.config),
                "users": _users(self.hosts.users),
                "hosts": [self._host_status(host) for host in self.hosts.hosts.values()],
                "problems": self.hosts.problems,
            }
        )

    def pingall(self, args: dict[str, Any], reply: Reply) -> None:
        """The job lives on in the callbacks that it leaves with the loop."""
        PingAll(self.hosts, self.loop, args, reply)

    def stop(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done()
        self.end()

    def end(self) -> None:
        """End what runs in the namespaces, then take out all plugs and let the namespaces go."""
        if not self._ending:
            self._ending = True
            spaces = [host.namespace.fd for host in self.hosts.hosts.values()]
            end_programs(self.loop, spaces, self._end)

    def _end(self) -> None:
        self.hosts.close()
        self.loop.stop()

    def close(self) -> None:
        """All is closed by end()."""

    def _uplink(self, config: dict[str, Any], namespace: Namespace) -> Uplink:
        from daemons.uplink import Uplink as WayOut  # most labs have none

        made: Uplink = WayOut(self.loop, config, namespace)
        return made

    def _host_status(self, host: LabHost) -> dict[str, Any]:
        users = host.namespace.users
        return {
            "name": host.name,
            "kind": host.kind,
            "userns": users.fd,
            "netns": host.namespace.fd,
            "pid": os.getpid(),
            "nics": [_nic_status(host, nic) for nic in host.config.nics],
            "nameservers": self.hosts.nameservers(),
            "problems": host.problems,
            **({"uplink": host.way_out.status()} if host.way_out is not None else {}),
        }


def _nic_status(host: LabHost, nic: NicConfig) -> dict[str, Any]:
    plug = host.plugs.get(nic.name)
    return {
        "name": nic.name,
        "mac": nic.mac,
        "carrier": plug is not None and plug.plugged,
        "problem": plug.problem if plug is not None else f"{nic.name} was not made",
        "plugs": plug.plugs if plug is not None else 0,
        "interfaces": [{**interface._asdict(), "addresses": list(interface.addresses)} for interface in nic.interfaces],
    }


def _users(users: Users | None) -> dict[str, Any] | None:
    """Who the programs in the namespaces may be; null: there are none."""
    if users is None:
        return None
    if users.fd is None:
        return {"ids": ALL_IDS, "says": "namespaces of this machine's root; programs may be any user"}
    if users.ids == 1:
        return {"ids": 1, "says": "a user namespace with one user: programs are root in it, and can be nobody else"}
    return {"ids": users.ids, "says": f"a user namespace with {users.ids} users, from /etc/subuid"}


def main(argv: Sequence[str] | None = None) -> int:
    return serve("netnsd", "group of namespaces", Netnsd, argv)


if __name__ == "__main__":
    sys.exit(main())
