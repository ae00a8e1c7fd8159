"""Ports that forward nothing, and their peers: whoever can be told that the cable is out is told so.

Knows: which ports are disabled, and which were shut (on-limit: shutdown). Refuses to know: how a driver tells its peer.
"""

from __future__ import annotations

from collections.abc import Mapping

from netvirt.ports import Cabled, Loop, Port, Timer
from netvirt.switch import Switch

# The data path shuts a port by itself, in compiled code that calls nobody: so it is looked at, in switches where it may
# happen to a port with a cable.
LOOK_SECONDS = 1.0


class Cables:
    """`drivers`: the live drivers of a switch by port name."""

    def __init__(self, loop: Loop, drivers: Mapping[str, Port]) -> None:
        self._loop = loop
        self._drivers = drivers
        self._shut: list[str] = []
        self._timer: Timer | None = None

    def tell(self, switch: Switch) -> None:
        """Every cable as its port is now."""
        self._shut = switch.violations()
        watched = False
        for name, settings in switch.ports.items():
            driver = self._drivers.get(name)
            if isinstance(driver, Cabled):
                driver.set_link(settings.state != "disabled" and name not in self._shut)
                watched = watched or settings.on_limit == "shutdown"
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LOOK_SECONDS, lambda: self._look(switch)) if watched else None

    def _look(self, switch: Switch) -> None:
        if switch.violations() != self._shut:
            self.tell(switch)
        else:
            self._timer = self._loop.call_later(LOOK_SECONDS, lambda: self._look(switch))
