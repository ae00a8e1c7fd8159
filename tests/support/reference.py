"""A slow, obvious 802.1Q bridge, written from IEEE Std 802.1Q-2018, to hold the compiled data path against.

Knows: the forwarding process (clause 8.6), learning (8.7), the filtering database (8.8), tags (clause 9), reserved
addresses (table 8-1). Refuses to know: everything in netvirt. It shares no code with it, not even the frame parser, so
that a mistake has to be made twice to go unseen.

Ingress checks come in the order of clauses 8.6.1 to 8.6.3, and the first that fails gives the drop its name:
runt (under 14 bytes), port-disabled, port-blocked, bad-source (group bit set), runt (an 0x8100 tag that ends before
byte 18), bad-vid, untagged-not-accepted or tagged-not-accepted, vlan-not-allowed, oversize.
Then the source is learned; only now come reserved-address (frame filtering, 8.6.3, stands behind learning, so a bridge
knows its neighbour bridges by their BPDUs) and, where nobody is left to send to, no-destination. A copy that is too
large for its egress port is dropped there as oversize, each by itself. Oversize: more than mtu + 14 bytes without tag.

Only the outermost 0x8100 tag is a tag. A frame of type 0x88A8 (802.1ad), and an inner tag, are payload. An entry is too
old when it was last refreshed `ageing_ns` or more ago.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

SECOND = 1_000_000_000


@dataclass
class Port:
    """One port. `pvid` is the access VLAN or a trunk's native VLAN, 0 = none; `allowed` includes the native VLAN."""

    mode: str = "access"  # access | trunk
    pvid: int = 1
    allowed: frozenset[int] = frozenset({1})
    priority: int = 0
    state: str = "forwarding"  # forwarding | blocked | disabled
    mtu: int = 9216

    def is_member(self, vid: int) -> bool:
        if self.mode == "access":
            return vid == self.pvid
        return vid in self.allowed


@dataclass
class Classified:
    """A frame inside the bridge: taken apart, with its VLAN and priority decided."""

    dst: bytes
    src: bytes
    vid: int
    pcp: int
    dei: int
    rest: bytes  # from the type field on, without the tag


@dataclass
class Entry:
    port: str
    seen: int


class Dropped(Exception):
    """The reason is the message."""


@dataclass
class ReferenceSwitch:
    """`process()` one frame at a time. `drops` counts by reason; `table` is (VID, MAC) -> Entry."""

    ports: dict[str, Port]
    ageing_ns: int = 300 * SECOND
    capacity: int = 16384
    table: dict[tuple[int, bytes], Entry] = field(default_factory=dict)
    drops: Counter[str] = field(default_factory=Counter)
    not_learned: int = 0
    moves: int = 0

    def process(self, port: str, data: bytes, now: int) -> list[tuple[str, bytes]]:
        """The frames that leave, in the order of `ports`; `now` in nanoseconds, never running backwards."""
        try:
            frame = self._ingress(self.ports[port], data)
            self._learn(frame, port, now)
            return self._egress(frame, port)
        except Dropped as reason:
            self.drops[str(reason)] += 1
            return []

    def forget_port(self, port: str) -> None:
        """Remove what was learned there, as a bridge does when the port goes down (clause 8.8.3, 17.11)."""
        for key in [key for key, entry in self.table.items() if entry.port == port]:
            del self.table[key]

    # Ingress: clauses 8.6.1 (active topology), 6.9 (tag to VID and priority), 8.6.2 (member set).

    def _ingress(self, port: Port, data: bytes) -> Classified:
        if len(data) < 14:
            raise Dropped("runt")
        if port.state != "forwarding":
            raise Dropped("port-" + port.state)
        if data[6] % 2 == 1:
            raise Dropped("bad-source")
        frame = self._classify(port, data)
        if 12 + len(frame.rest) > port.mtu + 14:
            raise Dropped("oversize")
        return frame

    def _classify(self, port: Port, data: bytes) -> Classified:
        if data[12:14] == b"\x81\x00":
            if len(data) < 18:
                raise Dropped("runt")
            tci = data[14] * 256 + data[15]
            pcp, dei, vid, rest = tci // 8192, tci // 4096 % 2, tci % 4096, data[16:]
        else:
            pcp, dei, vid, rest = port.priority, 0, 0, data[12:]
        if vid == 4095:
            raise Dropped("bad-vid")
        if vid != 0 and port.mode == "access":
            raise Dropped("tagged-not-accepted")
        if vid == 0:
            vid = port.pvid
        if vid == 0:
            raise Dropped("untagged-not-accepted")
        if not port.is_member(vid):
            raise Dropped("vlan-not-allowed")
        return Classified(data[0:6], data[6:12], vid, pcp, dei, rest)

    # Learning: clause 8.7, 8.8.

    def _learn(self, frame: Classified, port: str, now: int) -> None:
        key = (frame.vid, frame.src)
        self._forget_old(now)
        if key in self.table:
            self.moves += self.table[key].port != port
        elif len(self.table) >= self.capacity:
            self.not_learned += 1
            return
        self.table[key] = Entry(port, now)

    def _forget_old(self, now: int) -> None:
        for key in [key for key, entry in self.table.items() if now - entry.seen >= self.ageing_ns]:
            del self.table[key]

    # Forwarding: clauses 8.6.3 (frame filtering), 8.6.4 (member set), 6.9.2 (tag or not).

    def _egress(self, frame: Classified, ingress: str) -> list[tuple[str, bytes]]:
        if frame.dst[0:5] == b"\x01\x80\xc2\x00\x00" and frame.dst[5] <= 0x0F:
            raise Dropped("reserved-address")
        names = [name for name in self.ports if name != ingress and self._may_leave(name, frame.vid)]
        entry = self.table.get((frame.vid, frame.dst))
        if frame.dst[0] % 2 == 0 and entry is not None:
            names = [name for name in names if name == entry.port]
        if not names:
            raise Dropped("no-destination")
        leaving = []
        for name in names:
            if 12 + len(frame.rest) > self.ports[name].mtu + 14:
                self.drops["oversize"] += 1
            else:
                leaving.append((name, self._encode(self.ports[name], frame)))
        return leaving

    def _may_leave(self, name: str, vid: int) -> bool:
        return self.ports[name].state == "forwarding" and self.ports[name].is_member(vid)

    def _encode(self, port: Port, frame: Classified) -> bytes:
        if port.mode == "access" or port.pvid == frame.vid:
            return frame.dst + frame.src + frame.rest
        tci = frame.pcp * 8192 + frame.dei * 4096 + frame.vid
        return frame.dst + frame.src + b"\x81\x00" + bytes([tci // 256, tci % 256]) + frame.rest
