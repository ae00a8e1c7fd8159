"""Running hosts: each NIC is a netvirt Host, a queue and a dialer; timers and sockets meet the pure part here.

Knows: which frames go through which NIC, how a new configuration differs from the running one.
Refuses to know: the control protocol, what pings and traffic are for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from daemons.errors import UserError
from daemons.hostd_config import Config, HostConfig, NicConfig
from netvirt.burst import Burst
from netvirt.dataplane.queue import Queue
from netvirt.host import Host, HostError
from netvirt.ports import Loop, Port, Timer

QUEUE_BYTES: Final = 1 << 20  # what may wait per NIC; bounds memory, and the delay at 10 Gbit/s to under a millisecond
Received = Callable[[memoryview], Any]
CarrierChanged = Callable[[bool], Any]


class Dial(Protocol):
    """Makes the driver of a NIC, not yet open. Like its open() it may raise PortError."""

    def __call__(
        self, nic: NicConfig, name: str, epoch: int, queue: Queue, receive: Received, carrier_changed: CarrierChanged
    ) -> Port: ...


class HostNic:
    """One NIC at work. `stack` is its host part; after every call to that, pump() brings out what is to be sent."""

    def __init__(self, loop: Loop, host: str, config: NicConfig, epoch: int, dial: Dial) -> None:
        self.config = config
        self.stack = Host(f"{host}:{config.name}", config.interfaces)
        self.queue = Queue(QUEUE_BYTES, epoch)
        self.closed = False
        self._loop = loop
        self._timer: Timer | None = None
        self._timer_at = 0
        self.port = dial(config, self.stack.name, epoch, self.queue, self._received, self._carrier_changed)
        self._carrier_changed(False)

    def pump(self) -> None:
        """Do what is due, and send what there is."""
        if not self.closed:
            self._send(self.stack.tick(self._loop.now()))

    def close(self, why: str) -> None:
        """Say goodbye; what still waits for an answer gets `why`."""
        self.closed = True
        self.stack.stop_pings(why)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.port.close()

    def _received(self, message: memoryview) -> None:
        self._send(self.stack.receive_burst(Burst.parse(message).frames(), self._loop.now()))

    def _carrier_changed(self, up: bool) -> None:
        self.queue.open = up
        if not up:
            self.queue.clear("link-down")
        elif not self.closed:
            self._send(self.stack.announce(self._loop.now()))

    def _send(self, frames: list[bytes]) -> None:
        for frame in frames:
            self.queue.append(frame)
        if frames:
            self.port.flush()
        self._set_timer()

    def _set_timer(self) -> None:
        deadline = self.stack.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer_at <= deadline:
                return  # it comes early, finds nothing, and is set again: cheaper than a new one for each frame
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self.closed:
            self._timer_at = deadline
            self._timer = self._loop.call_later(max(0, deadline - self._loop.now()) / 1e9, self._due)

    def _due(self) -> None:
        self._timer = None
        self.pump()


class LabHost:
    """One host of the lab, with any number of NICs."""

    def __init__(self, config: HostConfig) -> None:
        self.config = config
        self.nics: dict[str, HostNic] = {}

    def nic_to(self, address: str) -> HostNic:
        """The NIC that leads to `address` best; where none does, the first, which will say so. Raises UserError."""
        best: HostNic | None = None
        best_quality = -1
        mistake: HostError | None = None
        for nic in self.nics.values():
            try:
                quality = nic.stack.route_quality(address)
            except HostError as error:
                mistake = error
                continue
            if best is None or (quality is not None and quality > best_quality):
                best, best_quality = nic, -1 if quality is None else quality
        if best is None:
            raise UserError(f"{self.config.name}: {mistake or 'it has no NIC, so it reaches nobody'}")
        return best

    def quality(self, address: str) -> int:
        """How well `address` is reached, -1 not at all."""
        qualities = [nic.stack.route_quality(address) for nic in self.nics.values()]
        return max((quality for quality in qualities if quality is not None), default=-1)


class Hosts:
    """All hosts of the lab, by name."""

    def __init__(self, loop: Loop, dial: Dial) -> None:
        self.hosts: dict[str, LabHost] = {}
        self.config = Config("", 0, {})
        self._loop = loop
        self._dial = dial
        self.leaving: list[Port] = []

    def configure(self, config: Config) -> dict[str, list[str]]:
        """Make it so; what does not change is not disturbed. Returns names by what happened. Raises UserError."""
        gone = [name for name in self.hosts if name not in config.hosts]
        new = [name for name in config.hosts if name not in self.hosts]
        changed = [name for name, host in self.hosts.items() if config.hosts.get(name, host.config) != host.config]
        self.config = config
        for name in gone:
            self._set_nics(self.hosts.pop(name), HostConfig(name, ()), f"{name} was removed from the lab")
        for name in new:
            self.hosts[name] = LabHost(HostConfig(name, ()))
        for name in (*new, *changed):
            self._set_nics(self.hosts[name], config.hosts[name], f"{name} was changed in the lab")
        return {"added": new, "changed": changed, "removed": gone}

    def host(self, name: object) -> LabHost:
        """Raises UserError."""
        if isinstance(name, str) and name in self.hosts:
            return self.hosts[name]
        known = ", ".join(sorted(self.hosts)[:12]) or "none"
        raise UserError(f"there is no host {name!r:.60} in this lab; its hosts are: {known}")

    def address(self, src: LabHost, dst: object) -> str:
        """`dst` is an address, or a host's name: then that one of its addresses which `src` reaches best."""
        if not isinstance(dst, str):
            raise UserError(f"a destination is a host's name or an address, not {dst!r:.60}")
        if dst not in self.hosts:
            if "." not in dst and ":" not in dst:
                self.host(dst)
            return dst
        addresses = self.hosts[dst].config.addresses()
        if not addresses:
            raise UserError(f"{dst} has no address; give it one in the lab file, or use its link-local address")
        # The first that is on-link, else the first by gateway: prefix lengths of IPv4 and IPv6 do not compare.
        return max(addresses, key=lambda address: min(src.quality(address), 1))

    def owner(self, address: str) -> HostNic | None:
        """The NIC that has this address."""
        for host in self.hosts.values():
            for nic in host.nics.values():
                if nic.stack.owns(address):
                    return nic
        return None

    def close(self) -> None:
        for name in list(self.hosts):
            self._set_nics(self.hosts.pop(name), HostConfig(name, ()), "the lab is going down")

    def _set_nics(self, host: LabHost, wanted: HostConfig, why: str) -> None:
        keep = {nic.name for nic in wanted.nics if nic in host.config.nics and nic.name in host.nics}
        for name in [name for name in host.nics if name not in keep]:
            nic = host.nics.pop(name)
            nic.close(why)
            self.leaving.append(nic.port)
        # What is true at each moment, so that after an error the next configure() goes on from there.
        host.config = HostConfig(wanted.name, tuple(nic for nic in wanted.nics if nic.name in keep))
        for config in wanted.nics:
            if config.name not in keep:
                nic = HostNic(self._loop, wanted.name, config, self.config.epoch, self._dial)
                nic.port.open()
                host.nics[config.name] = nic
        host.config = wanted
        self.leaving = [port for port in self.leaving if not getattr(port, "closed", True)]
