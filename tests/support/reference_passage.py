"""One frame's way through the reference switch, rule after rule.

Knows: the order of the rules, who gets a copy, mirrors. Refuses to know: what a tag looks like (reference_ingress,
reference_egress), configuration changes, and everything in netvirt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.support.reference_egress import encode
from tests.support.reference_ingress import Classified, Dropped, classify, read_tag, reserved, takes_customer
from tests.support.reference_settings import Session

if TYPE_CHECKING:
    from tests.support.reference_switch import ReferenceSwitch


class Passage:
    """`run()` once."""

    def __init__(self, switch: ReferenceSwitch, origin: str, data: bytes, now: int) -> None:
        self.switch = switch
        self.tables = switch.now_is
        self.origin = origin
        self.port = switch.now_is.ports[origin]
        self.data = data
        self.now = now
        self.leaving: list[tuple[str, bytes]] = []
        self.copied: set[str] = set()

    def run(self) -> list[tuple[str, bytes]]:
        try:
            frame = self._ingress()
            self._learn(frame)
            for name in self._destinations(frame):
                self._leave(name, frame)
        except Dropped as reason:
            self._count(self.origin, str(reason))
        return self.leaving

    def _count(self, port: str, reason: str) -> None:
        self.switch.drops[port, reason] += 1

    def _ingress(self) -> Classified:
        if len(self.data) < 14:
            raise Dropped("runt")
        if self.tables.state(self.origin) != "forwarding":
            raise Dropped("port-" + self.tables.state(self.origin))
        if self.tables.is_destination(self.origin):
            raise Dropped("mirror-port")
        priority, vid = self._first_sight()
        if vid not in self.tables.vlans.remote:
            self._mirror(lambda session: self.origin in session.ports_in, self.data, priority)
        if self.data[6] % 2 == 1:
            raise Dropped("bad-source")
        if reserved(self.data[0:6]) in self.port.peer:
            raise Dropped("for-switch")
        frame = classify(self.port, self.data)
        if not self.tables.admits(self.origin, frame.vid):
            raise Dropped("vlan-not-allowed")
        if frame.vid not in self.tables.vlans.remote:
            self._mirror(lambda session: frame.vid in session.vlans, self.data, frame.pcp)
        if frame.payload() > self.port.mtu:
            raise Dropped("oversize")
        return frame

    def _first_sight(self) -> tuple[int, int]:
        """Priority and VID on the wire, before any rule: of the frame's tag, if it has one, else the port's."""
        try:
            tag = read_tag(self.port, self.data)
        except Dropped:
            tag = None
        if tag is None:
            return self.port.priority, self.port.pvid
        return tag.pcp, tag.vid or self.port.pvid

    # Learning: clause 8.7.

    def _learn(self, frame: Classified) -> None:
        vlans = self.tables.vlans
        if frame.vid in vlans.remote:
            return
        table = self.switch.table
        verdict = table.learn((vlans.fid(frame.vid), frame.src), frame.vid, self.origin, self.now // 10**9)
        if verdict == "stuck" or (verdict == "limited" and self.port.on_limit != "flood"):
            if self.port.on_limit == "shutdown":
                self.switch.shut(self.origin)
            raise Dropped("security")

    # Forwarding: clauses 8.6.3 (frame filtering), 8.6.4 (egress filtering), 8.8 (filtering database).

    def _destinations(self, frame: Classified) -> list[str]:
        last = reserved(frame.dst)
        if last is not None and last not in self.port.tunnel:
            raise Dropped("reserved-address")
        known = self._known(frame)
        if known is not None:
            if known == self.origin or not self._member(known, frame):
                raise Dropped("no-destination")
            if self.port.protected and self.tables.ports[known].protected:
                raise Dropped("isolated")
            return [known]
        kind = self._kind(frame.dst)
        bucket = self.switch.buckets.get((self.origin, kind))
        if bucket is not None and not bucket.take(len(self.data), self.now):
            raise Dropped("storm")
        names = [name for name in self.tables.ports if self._flooded(name, frame, kind)]
        if not names:
            raise Dropped("no-destination")
        return names

    def _known(self, frame: Classified) -> str | None:
        if frame.dst[0] % 2 == 1 or frame.vid in self.tables.vlans.remote:
            return None
        return self.switch.table.find((self.tables.vlans.fid(frame.vid), frame.dst), self.now // 10**9)

    @staticmethod
    def _kind(dst: bytes) -> str:
        if dst == b"\xff" * 6:
            return "broadcast"
        return "multicast" if dst[0] % 2 == 1 else "unicast"

    def _member(self, name: str, frame: Classified) -> bool:
        """8.6.4: the member set of the frame's VLAN, ports that forward only."""
        belongs = self.tables.forwards(name) and frame.vid in self.tables.carried(name)
        return belongs and takes_customer(self.tables.ports[name], frame.rest)

    def _flooded(self, name: str, frame: Classified, kind: str) -> bool:
        port = self.tables.ports[name]
        if name == self.origin or not self._member(name, frame) or kind not in port.flood:
            return False
        if name not in self.switch.carriers:
            return False
        return not (port.protected and self.port.protected)

    # Egress.

    def _leave(self, name: str, frame: Classified) -> None:
        port = self.tables.ports[name]
        data = encode(port, frame, self.tables.untagged(name, frame.vid))
        if self._send(name, data, frame.payload()) and frame.vid not in self.tables.vlans.remote:
            self._mirror(lambda session: name in session.ports_out, data, frame.pcp)

    def _send(self, name: str, data: bytes, payload: int) -> bool:
        if payload > self.tables.ports[name].mtu:
            self._count(name, "oversize")
            return False
        if name not in self.switch.carriers:
            self._count(name, "link-down")
            return False
        self.leaving.append((name, data))
        return True

    # Mirrors: no clause of 802.1Q; SPAN and RSPAN as switches have them. What comes in an RSPAN VLAN is not mirrored:
    # two switches that mirror the trunk between them would feed each other.

    def _mirror(self, wants: Callable[[Session], bool], data: bytes, pcp: int) -> None:
        for session in self.tables.sessions:
            if session.name not in self.copied and wants(session):
                self.copied.add(session.name)
                self._copy(session, data, pcp)

    def _copy(self, session: Session, data: bytes, pcp: int) -> None:
        """A copy's own tag, of whatever type, is not counted for the MTU, as it is not in the frame itself."""
        tagged = len(data) >= 18 and data[12:14] in {b"\x81\x00", b"\x88\xa8"}
        payload = len(data) - (18 if tagged else 14)
        if session.to_port:
            if self.tables.state(session.to_port) == "forwarding":
                self._send(session.to_port, data, payload)
            return
        frame = Classified(data[0:6], data[6:12], session.to_vlan, pcp, 0, data[12:])
        for name, port in self.tables.ports.items():
            if self._member(name, frame):
                self._send(name, encode(port, frame, self.tables.untagged(name, frame.vid)), payload)
