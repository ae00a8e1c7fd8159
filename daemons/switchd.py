"""One switch as a process: sockets, clock and signals around netvirt.switch; started and configured by fabricd.

Knows: its drivers, the control operations, the order in which a new configuration is applied.
Refuses to know: what happens to a frame, the lab around it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from daemons import switch_config, switch_report
from daemons.control import Handler, Reply
from daemons.counter_file import SUFFIX, CounterFile
from daemons.daemon import farewell, serve
from daemons.errors import UserError
from daemons.loop import Loop, Timer
from daemons.switch_cables import Cables
from daemons.switch_ports import CapturePort, Wiring, driver_values, make_driver
from daemons.switch_troubles import Troubles
from netvirt.addr import mac_bytes
from netvirt.link import Hello
from netvirt.ports import Port
from netvirt.ports.curve import Gatekeeper
from netvirt.ports.errors import PortError
from netvirt.ports.shortcut import Shortcut
from netvirt.ports.sockets import context
from netvirt.ports.wire import Wire
from netvirt.ports.zmq_listener import ListenPort, ZmqListener
from netvirt.switch import Switch


class Switchd:
    """The process's one object: a Switch, its drivers by port name, and the operations."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.switch = Switch(name)
        self.shortcut = Shortcut(loop.fileno(), self.switch.plane)
        self.folder = ""
        self.counters: CounterFile | None = None
        self.config: dict[str, Any] = {}
        self.drivers: dict[str, Port] = {}
        self.cables = Cables(loop, self.drivers)
        self.troubles = Troubles(loop, self._plug_again)
        self.listeners: dict[str, ZmqListener] = {}
        self._by_number: dict[int, Port] = {}
        self._values: dict[str, tuple[Any, ...]] = {}
        self._static: dict[tuple[int, str], str] = {}
        self._captures: dict[int, CapturePort] = {}
        self._gatekeeper: Gatekeeper | None = None
        self._ticker: Timer | None = None
        self._since = time.time()
        loop.after_round = self._flush

    def settle(self, folder: str) -> None:
        """Files of this process belong there."""
        self.folder = folder

    # --- frames

    def _flush(self) -> None:
        plane = self.switch.plane
        for number in plane.pending():
            driver = self._by_number.get(number)
            if driver is not None:
                driver.flush()
        for session in plane.pending_captures():
            if session in self._captures:
                self._captures[session].flush()
        if self._ticker is None:
            if self.shortcut.moved:
                self.shortcut.moved = False
                self.switch.passed(self.loop.now())
            self._set_ticker()

    def _set_ticker(self) -> None:
        deadline = self.switch.next_deadline()
        if deadline is not None:
            self._ticker = self.loop.call_later(max(0, deadline - self.loop.now()) / 1e9, self._tick)
        self.shortcut.armed = deadline is not None

    def _tick(self) -> None:
        self._ticker = None
        self.switch.tick(self.loop.now())
        self._set_ticker()

    # --- configuration

    def configure(self, args: dict[str, Any], reply: Reply) -> None:
        wanted = switch_config.check(args.get("config"))
        self._set_epoch(wanted.epoch)
        self._set_listeners(wanted.listen)
        self.switch.plane.macs.ageing = wanted.ageing_s
        self.switch.plane.set_mac_limit(wanted.mac_limit)
        gone = [name for name in self.switch.ports if name not in wanted.ports]
        for name in gone:
            self._unplug(name)
            self.troubles.forget(name)
        self.config = args["config"]
        self.switch.change({**dict.fromkeys(gone), **wanted.settings}, wanted.vlans, wanted.mirrors)
        self._set_static(wanted.static)
        if self.counters is not None:
            self.counters.names({self.switch.number(name): name for name in wanted.ports})
        for name, port in wanted.ports.items():
            if driver_values(port) != self._values.get(name):
                self._unplug(name)
                self._plug(name, port)
        self.cables.tell(self.switch)
        reply.done()

    def _set_static(self, wanted: dict[tuple[int, str], str]) -> None:
        for vid, mac in self._static.keys() - wanted.keys():
            self.switch.plane.macs.remove(self.switch.plane.fid(vid), mac_bytes(mac))
        for (vid, mac), port in wanted.items():
            self.switch.add_station(vid, mac, port)
        self._static = wanted

    def _set_epoch(self, epoch: int) -> None:
        if not self.config:
            self._close_counters()
            self.counters = CounterFile(os.path.join(self.folder, self.name + SUFFIX), epoch)
            seed = int.from_bytes(os.urandom(16))  # so that nobody can know which MAC addresses lie in one place
            self.switch = Switch(self.name, epoch=epoch, counters=self.counters.room, seed=seed)
            self.shortcut = Shortcut(self.loop.fileno(), self.switch.plane)
        elif epoch != self.switch.epoch:
            raise UserError(f"{self.name} lives in epoch {self.switch.epoch} and can't change to {epoch}; restart it")

    def _set_listeners(self, wanted: dict[str, dict[str, Any]]) -> None:
        """First the new ones: if one of them can't be, nothing has changed."""
        made: dict[str, ZmqListener] = {}
        try:
            for endpoint in wanted.keys() - self.listeners.keys():
                made[endpoint] = self._listener(endpoint, wanted[endpoint].get("key_file"))
        except PortError as error:
            for listener in made.values():
                listener.close()
            raise UserError(f"switch {self.name}: {error}") from None
        for endpoint in self.listeners.keys() - wanted.keys():
            gone = self.listeners.pop(endpoint)
            for name in list(gone.ports):
                self._unplug(name)
            gone.close()
        self.listeners.update(made)

    def _listener(self, endpoint: str, key_file: str | None) -> ZmqListener:
        if key_file and self._gatekeeper is None:
            self._gatekeeper = Gatekeeper(self.loop, context(), self._allowed_keys)
        return ZmqListener(
            self.loop, endpoint, name=self.name, epoch=self.switch.epoch, admit=self._admit, key_file=key_file
        )

    def _allowed_keys(self) -> set[str]:
        return {key for port in self.config.get("ports", ()) for key in port.get("allow", ())}

    def _plug(self, name: str, port: dict[str, Any]) -> None:
        """A port that cannot be opened has no carrier, and its sentence; the others are not to suffer for it."""
        try:
            self._open(name, port)
        except OSError as error:  # a PortError is one
            self._unplug(name)
            self.troubles.note(name, str(error) if isinstance(error, PortError) else f"{error.strerror}")

    def _plug_again(self, name: str) -> None:
        port = next(port for port in self.config["ports"] if port["name"] == name)
        self._plug(name, port)
        self.cables.tell(self.switch)

    def _open(self, name: str, port: dict[str, Any]) -> None:
        number = self.switch.number(name)

        def receive(message: memoryview) -> None:
            self.switch.process(number, message, time.monotonic_ns(), time.time_ns())

        def carrier_changed(up: bool) -> None:
            # What a peer takes is known when it is there; other ports cut up for it what it does not take.
            self.switch.set_offload(name, getattr(driver, "offload", 0))
            self.switch.set_carrier(name, up)
            self._shorten(number, getattr(driver, "wire", None) if up else None)

        wiring = Wiring(self.loop, self.name, self.switch.epoch, list(self.listeners.values()))
        driver = make_driver(wiring, port, self.switch.queue(name), receive, carrier_changed)
        self.switch.set_offload(name, 0)
        self.drivers[name] = self._by_number[number] = driver
        self._values[name] = driver_values(port)
        driver.open()
        self.troubles.forget(name)

    def _shorten(self, number: int, wire: Wire | None) -> None:
        """Frames between compiled drivers need no interpreter; where there are none, nor does waiting for them."""
        self.shortcut.set(number, wire)
        self.loop.wait_with(self.shortcut.wait if len(self.shortcut) else None)

    def _unplug(self, name: str) -> None:
        driver = self.drivers.pop(name, None)
        if driver is not None:
            driver.close()
            self._by_number.pop(self.switch.number(name), None)
            self._values.pop(name, None)

    # --- captures: a link that is given copies

    def _admit(self, hello: Hello, key: str) -> ListenPort | str:
        if hello.role != "capture":
            known = ", ".join(self.switch.ports) or "none"
            return f"{self.name} has no port {hello.port} that waits for somebody; its ports are: {known}"
        if key:  # a session given to somebody whom the listener then refuses would never end
            return f"{self.name} shows its frames on this machine only, not over TCP"
        ports = self.switch.ports
        names = list(ports) if hello.port == "*" else [hello.port]
        unknown = [name for name in names if name not in ports]
        if unknown:
            return f"{self.name} has no port {unknown[0]}; its ports are: {', '.join(ports)}"
        if not names:
            return f"{self.name} has no ports yet"
        session = self.switch.plane.add_capture([self.switch.number(name) for name in names], epoch=self.switch.epoch)
        if session is None:
            return f"{self.name} is being captured by as many as it can serve; end one of them"
        number, queue = session
        info = {"ports": {str(self.switch.number(name)): name for name in names}}
        port = CapturePort(list(self.listeners.values()), f"capture-{number}", queue, info)
        port.ended = lambda: self._capture_ended(number)
        self._captures[number] = port
        return port

    def _capture_ended(self, session: int) -> None:
        self.switch.plane.remove_capture(session)
        self._captures.pop(session, None)

    # --- questions

    def port_status(self, name: str) -> dict[str, Any]:
        settings, driver = self.switch.ports[name], self.drivers.get(name)
        config: dict[str, Any] = next((port for port in self.config["ports"] if port["name"] == name), {})
        counters = self.switch.plane.statistics(self.switch.number(name))
        link = driver.statistics() if driver is not None else {}
        return {
            "name": name,
            "kind": config.get("kind", ""),
            "carrier": driver is not None and driver.carrier,
            "peer": config.get("peer") or getattr(driver, "peer", ""),
            "state": settings.state,
            "mode": settings.mode,
            "pvid": settings.pvid,
            "allowed": config.get("allowed", ""),
            "priority": settings.priority,
            "settings": settings.to_json(),  # apart: its `peer` are reserved addresses
            "shut": name in self.switch.violations(),
            "problem": self.troubles.sentence(name) or link.get("problem", ""),
            **counters,
            "link": link,
        }

    def status(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done(
            {
                "name": self.name,
                "epoch": self.switch.epoch,
                "uptime_s": round(time.time() - self._since, 1),
                "vlans": self.config.get("vlans", {}),
                "stations": self.switch.plane.macs.statistics(),
                "listeners": {endpoint: listener.counts for endpoint, listener in self.listeners.items()},
                "captures": [capture.status() for capture in self._captures.values()],
                "mistakes": self.loop.mistakes,
                "ports": [self.port_status(name) for name in self.switch.ports],
            }
        )

    def statistics(self, args: dict[str, Any], reply: Reply) -> None:
        plane = self.switch.plane
        ports = {name: plane.statistics(self.switch.number(name)) for name in self.switch.ports}
        reply.done({"ports": ports, "stations": plane.macs.statistics()})

    def fdb(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done(switch_report.stations(self.switch, args, self.loop.now()))

    def vlans(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done(switch_report.vlans(self.switch, self.config.get("vlans", {}), self.loop.now()))

    def snapshot(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done(switch_report.snapshot(self.switch, self.loop.now()))

    def flush(self, args: dict[str, Any], reply: Reply) -> None:
        """`{port, vid, sticky}`: forget what was learned there, in that VLAN, or all; answers how many that were."""
        try:
            count = self.switch.flush_stations(args.get("port"), args.get("vid"), args.get("sticky") is True)
        except (ValueError, TypeError) as error:
            raise UserError(str(error)) from None
        self._set_static(self._static)
        reply.done(count)

    def recover(self, args: dict[str, Any], reply: Reply) -> None:
        """`{ports, dry_run}`: ports that were shut (on-limit) work again; answers which of these ports were."""
        shut = [name for name in self.switch.violations() if name in args.get("ports", ())]
        for name in shut if args.get("dry_run") is not True else ():
            self.switch.recover(name)
        self.cables.tell(self.switch)
        reply.done(shut)

    @property
    def handlers(self) -> dict[str, Handler]:
        """The control operations."""
        return {
            "configure": self.configure,
            "status": self.status,
            "statistics": self.statistics,
            "fdb": self.fdb,
            "vlans": self.vlans,
            "snapshot": self.snapshot,
            "flush": self.flush,
            "recover": self.recover,
            "stop": self.stop,
        }

    # --- the end

    def stop(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done()
        self.end()

    def end(self) -> None:
        """Goodbye to everybody, then out of run()."""
        leaving = [*self.drivers.values(), *self._captures.values()]
        for driver in leaving:
            driver.close()
        farewell(self.loop, leaving)

    def close(self) -> None:
        for listener in self.listeners.values():
            listener.close()
        self._close_counters()

    def _close_counters(self) -> None:
        if self.counters is not None:
            self.counters.close()


def main(argv: Sequence[str] | None = None) -> int:
    return serve("switchd", "switch", Switchd, argv)


if __name__ == "__main__":
    sys.exit(main())
