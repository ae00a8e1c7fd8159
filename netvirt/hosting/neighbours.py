"""Which MAC address an IP address has: what ARP and neighbour discovery keep between messages. All bounded.

Knows: known and awaited neighbours, ageing, retries, packets that wait. Refuses to know: how a neighbour is asked.
Ageing needs no timer: an entry is looked at when it is used. So an idle host has no deadline.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NamedTuple

AGE_NS: Final = 60_000_000_000
# RFC 4861 and RFC 1122 wait a second between tries. A lab's round trip is under 10 ms, and `pingall` waits for every
# neighbour that must not answer: 3 x 0.3 s says "no answer" in 0.9 s, and a lost request costs 0.3 s.
RETRY_NS: Final = 300_000_000
TRIES: Final = 3
LIMIT: Final = 1024  # known; an ARP flood ends here
PENDING_LIMIT: Final = 1024  # awaited
WAITING_LIMIT: Final = 64  # packets per awaited neighbour

Failed = Callable[[], None]


class Known(NamedTuple):
    mac: bytes
    since: int


class _Pending:
    __slots__ = ("next_try", "tries", "waiting")

    def __init__(self) -> None:
        self.tries = 0
        self.next_try = 0
        self.waiting: deque[tuple[bytes, Failed | None]] = deque()


class Neighbours:
    """`ask(ip)` sends one request; `deliver(mac, packet)` sends one packet; `drops` counts by reason."""

    def __init__(
        self,
        ask: Callable[[bytes], None],
        deliver: Callable[[bytes, bytes], None],
        drops: Counter[str],
        limit: int = LIMIT,
    ) -> None:
        self._ask = ask
        self._deliver = deliver
        self._drops = drops
        self._limit = limit
        self._known: dict[bytes, Known] = {}  # oldest first
        self._pending: dict[bytes, _Pending] = {}

    def __len__(self) -> int:
        return len(self._known)

    def lookup(self, ip: bytes, now: int) -> bytes | None:
        """The MAC address of `ip`, if it was heard of in the last minute."""
        known = self._known.get(ip)
        if known is None:
            return None
        if now - known.since >= AGE_NS:
            del self._known[ip]
            return None
        return known.mac

    def send(self, ip: bytes, packet: bytes | None, now: int, failed: Failed | None = None) -> None:
        """Send `packet` to `ip` (None: only find its MAC address), now or when it has answered; else call `failed`."""
        mac = self.lookup(ip, now)
        if mac is not None:
            if packet is not None:
                self._deliver(mac, packet)
            return
        pending = self._pending.get(ip)
        if pending is None:
            if len(self._pending) >= PENDING_LIMIT:
                self._give_up("neighbour-limit", failed)
                return
            pending = self._pending[ip] = _Pending()
            self._try(ip, pending, now)
        if packet is None:
            return
        if len(pending.waiting) >= WAITING_LIMIT:
            self._give_up("neighbour-queue", failed)
            return
        pending.waiting.append((packet, failed))

    def learn(self, ip: bytes, mac: bytes, now: int, create: bool) -> None:
        """`ip` was seen at `mac`. A stranger is entered only with `create`, and only while there is room."""
        pending = self._pending.pop(ip, None)
        if pending is None and ip not in self._known:
            if not create:
                return
            if not self._make_room(now):
                self._drops["neighbour-limit"] += 1
                return
        elif pending is not None and ip not in self._known and not self._make_room(now):
            # Whom we asked for ourselves is worth more than whoever introduced himself long ago.
            del self._known[next(iter(self._known))]
        self._known.pop(ip, None)
        self._known[ip] = Known(mac, now)
        if pending is not None:
            for packet, _failed in pending.waiting:
                self._deliver(mac, packet)

    def next_deadline(self) -> int | None:
        if not self._pending:
            return None
        return min(pending.next_try for pending in self._pending.values())

    def tick(self, now: int) -> None:
        due = [(ip, pending) for ip, pending in self._pending.items() if pending.next_try <= now]
        for ip, pending in due:
            if pending.tries < TRIES:
                self._try(ip, pending, now)
                continue
            del self._pending[ip]
            for _packet, failed in pending.waiting:
                self._give_up("neighbour-silent", failed)

    def _try(self, ip: bytes, pending: _Pending, now: int) -> None:
        pending.tries += 1
        pending.next_try = now + RETRY_NS
        self._ask(ip)

    def _give_up(self, reason: str, failed: Failed | None) -> None:
        self._drops[reason] += 1
        if failed is not None:
            failed()

    def _make_room(self, now: int) -> bool:
        while len(self._known) >= self._limit:
            oldest = next(iter(self._known))
            if now - self._known[oldest].since < AGE_NS:
                return False
            del self._known[oldest]
        return True
