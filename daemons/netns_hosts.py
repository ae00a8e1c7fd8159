"""Running hosts of kind netns, and the namespaces of uplinks: each is a namespace and the plugs of its NICs.

Knows: how a new configuration differs from the running one, who is plugged in. Refuses to know: the control protocol,
how things are made in a namespace, what an uplink does in its own.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final, Protocol

from daemons.errors import UserError
from daemons.loop import Loop
from daemons.netns_config import Config, HostConfig, NicConfig
from daemons.netns_items import difference, items
from daemons.netns_programs import end_programs
from daemons.netns_stack import Namespace
from daemons.netns_users import Users
from netvirt.ports.handing import Handing
from netvirt.ports.tuntap import set_carrier

_LIMIT: Final = "this user has as many network namespaces as allowed (as root: sysctl user.max_net_namespaces)"


class Uplink(Protocol):
    """What leads out of an uplink's namespace (daemons.uplink); made when that is set up."""

    @property
    def problems(self) -> list[str]: ...

    def configure(self, config: dict[str, Any]) -> None:
        """A new value for a running one."""
        ...

    def status(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


MakeUplink = Callable[[dict[str, Any], Namespace], Uplink]


class LabHost:
    """One host. `way_out`: of an uplink."""

    def __init__(self, loop: Loop, name: str, kind: str, users: Users) -> None:
        self.name = name
        self.kind = kind
        self.config = HostConfig(name, kind, (), (), (), {})
        self.namespace = Namespace(users)
        self.plugs: dict[str, Handing] = {}
        self.way_out: Uplink | None = None
        self.uplink_problem = ""
        self._loop = loop

    def configure(self, config: HostConfig) -> None:
        """Make it so; what does not change is not disturbed."""
        self.config = config
        nics = {nic.name: nic for nic in config.nics}
        for name, plug in list(self.plugs.items()):
            if name not in nics or plug.path != nics[name].path:
                self._unplug(name)
        self.namespace.change(difference(self.namespace.has, items(config)))
        for nic in config.nics:
            if nic.name not in self.plugs and nic.name in self.namespace.taps:
                self._plug(nic)

    def _plug(self, nic: NicConfig) -> None:
        tap = self.namespace.taps[nic.name]

        def changed(plugged: bool) -> None:
            if not plugged:  # the switch says when there is a carrier, and now there is none to say it
                set_carrier(tap, False)

        self.plugs[nic.name] = Handing(self._loop, nic.path, tap, changed)
        self.plugs[nic.name].open()

    def _unplug(self, name: str) -> None:
        self.plugs.pop(name).close()
        set_carrier(self.namespace.taps[name], False)

    @property
    def problems(self) -> list[str]:
        found = [*self.namespace.problems, *([self.uplink_problem] if self.uplink_problem else [])]
        return [*found, *(self.way_out.problems if self.way_out is not None else [])]

    def addresses(self) -> list[str]:
        """Without prefix lengths, in the order of the lab file."""
        return [text.partition("/")[0] for interface in self.config.interfaces() for text in interface.addresses]

    def close(self) -> None:
        if self.way_out is not None:
            self.way_out.close()
            self.way_out = None
        for plug in self.plugs.values():
            plug.close()
        self.plugs.clear()
        self.namespace.close()


class Hosts:
    """All of them, by name. `problem`: why there can be none on this machine."""

    def __init__(self, loop: Loop, make_uplink: MakeUplink) -> None:
        self.config = Config("", 0, {})
        self.hosts: dict[str, LabHost] = {}
        self.users: Users | None = None
        self.problem = ""
        self._failed: dict[str, str] = {}
        self._loop = loop
        self._make_uplink = make_uplink

    @property
    def problems(self) -> list[str]:
        return [*([self.problem] if self.problem else []), *self._failed.values()]

    def configure(self, config: Config) -> dict[str, list[str]]:
        """Make it so. Returns names by what happened; what a host lacks is said in its status, and the others go on."""
        before = self.hosts
        gone = [name for name, host in before.items() if name not in config.hosts or _kind(config, name) != host.kind]
        changed = [name for name, host in before.items() if name not in gone and host.config != config.hosts[name]]
        new = [name for name in config.hosts if name not in before or name in gone]
        self.config = config
        self._failed.clear()
        if gone:
            end_programs(self._loop, [before[name].namespace.fd for name in gone])
        for name in gone:
            self.hosts.pop(name).close()
        for name in new:
            self._add(config.hosts[name])
        for name, host in self.hosts.items():
            if name in new or name in changed or host.problems:
                host.configure(config.hosts[name])
                self._lead_out(host)
        self.hosts = {name: self.hosts[name] for name in config.hosts if name in self.hosts}
        return {"added": new, "changed": changed, "removed": gone}

    def _add(self, config: HostConfig) -> None:
        if self.users is None:
            return
        try:
            self.hosts[config.name] = LabHost(self._loop, config.name, config.kind, self.users)
        except OSError as error:
            why = _LIMIT if error.errno == errno.ENOSPC else error.strerror
            self._failed[config.name] = f"{config.name} has no namespace: {why}; vfab up tries it again"

    def _lead_out(self, host: LabHost) -> None:
        if host.kind != "uplink":
            return
        value = _uplink_value(host.config)
        try:
            if host.way_out is None:
                host.way_out = self._make_uplink(value, host.namespace)
            else:
                host.way_out.configure(value)
            host.uplink_problem = ""
        except (UserError, OSError) as error:
            host.uplink_problem = str(error)

    def host(self, name: object) -> LabHost:
        """Raises UserError."""
        if isinstance(name, str) and name in self.hosts:
            return self.hosts[name]
        known = ", ".join(sorted(self.hosts)[:12]) or "none"
        raise UserError(f"there is no host {name!r:.60} here; the hosts of kind netns are: {known}")

    def nameservers(self) -> list[str]:
        """The IPv4 addresses of the uplinks with `dns`; they answer whoever has them as a gateway."""
        return [
            address
            for other in self.hosts.values()
            if other.kind == "uplink" and other.config.more.get("dns", True)
            for address in other.addresses()
            if ":" not in address
        ]

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()
        self.hosts.clear()


def _kind(config: Config, name: str) -> str:
    return config.hosts[name].kind


def _uplink_value(config: HostConfig) -> dict[str, Any]:
    """An uplink's part of the configuration, as it came."""
    nics = [
        {**nic._asdict(), "interfaces": [interface._asdict() for interface in nic.interfaces]} for nic in config.nics
    ]
    return {"name": config.name, **config.more, "nics": nics}
