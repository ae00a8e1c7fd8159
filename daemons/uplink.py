"""An uplink: a namespace that serves DHCP to a VLAN and leads its clients to the machine's own network.

Knows: which parts there are, and what changes when the configuration does. Refuses to know: how each works, and who
made the namespace.
A client's packet comes in by the NIC, is masqueraded (uplink_rules) and leaves by pasta (uplink_pasta); its lease and
the answers to its questions come from here (uplink_dhcp, uplink_dns).
"""

from __future__ import annotations

import os
import socket
from typing import Any

from daemons.errors import UserError
from daemons.loop import Loop
from daemons.netns_stack import Namespace
from daemons.uplink_config import WAN, UplinkConfig, parse_uplink
from daemons.uplink_dhcp import DhcpSocket
from daemons.uplink_dns import Dns
from daemons.uplink_pasta import Pasta
from daemons.uplink_rules import load


class Uplink:
    """One of a lab. What it lacks is a sentence in `problems`, and each configure() tries it again."""

    def __init__(self, loop: Loop, config: dict[str, Any], namespace: Namespace) -> None:
        """Raises UserError for a configuration that is none. The interfaces towards the lab are there already."""
        self._loop = loop
        self._namespace = namespace
        self._config = parse_uplink(config)
        self._dhcp: DhcpSocket | None = None
        self._dns: Dns | None = None
        self._pasta: Pasta | None = None
        self._wrong: dict[str, str] = {}
        self._apply()

    def configure(self, config: dict[str, Any]) -> None:
        """Make it so; a way out that does not change is not disturbed, and leases that fit are kept. UserError."""
        self._config = parse_uplink(config)
        self._apply()

    def _apply(self) -> None:
        parts = {"rules": self._load, "dhcp": self._serve, "dns": self._answer, "way": self._lead_out}
        for part, make in parts.items():
            try:
                make(self._config)
                self._wrong.pop(part, None)
            except UserError as error:
                self._wrong[part] = str(error)

    def _load(self, config: UplinkConfig) -> None:
        load(self._namespace, config)

    def _serve(self, config: UplinkConfig) -> None:
        side = config.sides[0]
        if self._dhcp is not None and (self._dhcp.dev, self._dhcp.index) == (side.dev, self._index(side.dev)):
            self._dhcp.change(config.service)
            return
        self._end_dhcp()
        path = os.path.join(config.folder, f"{config.name}.leases")
        try:
            self._dhcp = DhcpSocket(self._loop, self._namespace, side.dev, config.service, path)
        except OSError as error:
            raise UserError(f"{config.name} gives no leases: {side.dev}: {error.strerror}") from None

    def _answer(self, config: UplinkConfig) -> None:
        if self._dns is not None and self._dns.addresses == config.dns:
            return
        self._end_dns()
        try:
            self._dns = Dns(self._loop, self._namespace, config.dns) if config.dns else None
        except OSError as error:
            raise UserError(
                f"{config.name} answers no DNS questions: {', '.join(config.dns)}, port 53: {error.strerror}"
            ) from None

    def _lead_out(self, config: UplinkConfig) -> None:
        if self._pasta is not None and self._pasta.way == config.way and self._pasta.pid is not None:
            return
        self._end_pasta()
        folder = os.path.join(config.folder, f"{config.name}.way")
        pasta = Pasta(self._loop, config.name, self._namespace.fd, folder, config.way)
        pasta.start()
        self._pasta = pasta

    def _index(self, dev: str) -> int:
        """0 where there is no such interface now."""
        try:
            return self._namespace.inside(lambda: socket.if_nametoindex(dev))
        except OSError:
            return 0

    @property
    def problems(self) -> list[str]:
        found = list(self._wrong.values())
        if self._pasta is not None:
            if self._pasta.problem and self._pasta.pid is not None and self._index(WAN):
                self._pasta.settled()
            found.append(self._pasta.problem)
        for part in (self._dhcp, self._dns):
            if part is not None and part.problem:
                found.append(f"{self._config.name}: {part.problem}")
        return [sentence for sentence in found if sentence]

    def status(self) -> dict[str, Any]:
        """connected: pasta has made its interface. host: the address that stands for this machine's loopback, or ""."""
        pasta, way = self._pasta, self._config.way
        return {
            "connected": bool(self._index(WAN)),
            "pid": pasta.pid if pasta is not None else None,
            "starts": pasta.starts if pasta is not None else 0,
            "address": way.own,
            "host": way.host,
            "dns": dict(self._dns.counts) if self._dns is not None else None,
            "dhcp": self._dhcp.status() if self._dhcp is not None else None,
        }

    def _end_dhcp(self) -> None:
        if self._dhcp is not None:
            self._dhcp.close()
            self._dhcp = None

    def _end_dns(self) -> None:
        if self._dns is not None:
            self._dns.close()
            self._dns = None

    def _end_pasta(self) -> None:
        if self._pasta is not None:
            self._pasta.close()
            self._pasta = None

    def close(self) -> None:
        """Ends pasta and closes what was opened; the leases stay in their file, for the next one."""
        self._end_dhcp()
        self._end_dns()
        self._end_pasta()
