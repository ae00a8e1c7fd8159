"""Which client has which address until when, out of one range; plain values, to be kept over a restart.

Knows: addresses as numbers, clients as bytes, seconds. Refuses to know: DHCP messages, sockets, clocks.
An address goes to the client that had it last, then is one that nobody had, then the one that is free longest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import Any, Final, NamedTuple

from netvirt.addr import AddrError, mac_bytes, mac_text

OFFERED, BOUND, DECLINED = "offered", "bound", "declined"
LARGEST_RANGE: Final = 65536
_NAME: Final = 63  # characters of a host's name that are kept: a DNS label (RFC 1035)
_CLIENT: Final = 255
_OUTDATED: Final = 64


class Lease(NamedTuple):
    """An address of `client` until `expires` (seconds; the same clock as `now`). `name`: what the client calls itself.

    After that it is remembered until somebody else needs the address.
    """

    client: bytes
    mac: bytes
    address: int
    expires: int
    state: str
    name: str = ""


class Leases:
    """The range from `first` to `last`, both included, without `excluded` (the gateway's own address)."""

    def __init__(self, first: int, last: int, excluded: Iterable[int] = ()) -> None:
        assert 0 <= last - first < LARGEST_RANGE
        self._range = range(first, last + 1)
        self._excluded = frozenset(excluded)
        self._by_address: dict[int, Lease] = {}
        self._by_client: dict[bytes, int] = {}
        self._fresh = iter(self._range)
        # (expires, address), the earliest first, with outdated ones among them: a flood must not cost a search each.
        self._ends: list[tuple[int, int]] = []
        self._changed: set[int] = set()  # addresses of which dump() would say something else

    def __contains__(self, address: int) -> bool:
        return address in self._range and address not in self._excluded

    def of_client(self, client: bytes) -> Lease | None:
        """Its lease, expired ones too."""
        address = self._by_client.get(client)
        return None if address is None else self._by_address[address]

    def is_free(self, address: int, now: int) -> bool:
        """Nobody has it: it may be given to anyone."""
        held = self._by_address.get(address)
        return address in self and (held is None or held.expires <= now)

    def find(self, client: bytes, wished: int | None, now: int) -> int | None:
        """The address that `client` may have, its own first (RFC 2131 section 4.3.1); None: the range is exhausted."""
        own = self._by_client.get(client)
        if own is not None:
            return own
        if wished is not None and self.is_free(wished, now):
            return wished
        for address in self._fresh:
            if address in self and address not in self._by_address:
                return address
        return self._longest_free(now)

    def _longest_free(self, now: int) -> int | None:
        while self._ends:
            expires, address = self._ends[0]
            if self._by_address[address].expires == expires:
                return address if expires <= now else None
            heappop(self._ends)
        return None

    def put(self, lease: Lease) -> None:
        """Now it is so; what the client and the address had before is forgotten."""
        before = self._by_client.pop(lease.client, None)
        if before is not None and before != lease.address:
            self._forget(before)
        holder = self._by_address.get(lease.address)
        # Who declined it has another one by now: that one stays his.
        if holder is not None and holder.client != lease.client and holder.state != DECLINED:
            self._by_client.pop(holder.client, None)
        self._store(lease)
        if lease.state != DECLINED:  # somebody unknown uses that one: it is nobody's
            self._by_client[lease.client] = lease.address

    def _forget(self, address: int) -> None:
        """An address that a client left for another: kept as free, so that the search finds it again."""
        self._store(Lease(b"", bytes(6), address, 0, OFFERED))

    def _store(self, lease: Lease) -> None:
        before = self._by_address.get(lease.address)
        if BOUND in (lease.state, before and before.state):
            self._changed.add(lease.address)
        self._by_address[lease.address] = lease
        heappush(self._ends, (lease.expires, lease.address))
        if len(self._ends) > 2 * len(self._by_address) + _OUTDATED:
            self._ends = [(held.expires, address) for address, held in self._by_address.items()]
            heapify(self._ends)

    def release(self, client: bytes, now: int) -> None:
        """It may be given away, but the client gets it again as long as nobody needed it."""
        lease = self.of_client(client)
        if lease is not None:
            self.put(lease._replace(expires=min(lease.expires, now)))

    def withdraw(self, client: bytes, now: int) -> None:
        """The client took another server's offer."""
        lease = self.of_client(client)
        if lease is not None and lease.state == OFFERED:
            self.release(client, now)

    def bound(self) -> list[Lease]:
        """Those that clients took, by address; expired ones too."""
        return [lease for _, lease in sorted(self._by_address.items()) if lease.state == BOUND]

    def dump(self) -> list[dict[str, Any]]:
        """`bound()` as plain data; restore() reads it."""
        return [_row(lease) for lease in self.bound()]

    def changed(self) -> list[dict[str, Any]]:
        """Of the addresses that changed since saved(): the row of dump(), or `{address}` where it has none now."""
        now = [self._by_address[address] for address in sorted(self._changed)]
        return [_row(lease) if lease.state == BOUND else {"address": lease.address} for lease in now]

    def saved(self) -> None:
        """What changed() or dump() said is remembered by somebody."""
        self._changed.clear()

    def restore(self, rows: Iterable[Any]) -> int:
        """Takes what dump() gave; how many rows are none, or lie outside the range as it is now."""
        refused = 0
        for row in rows:
            try:
                self.put(self._lease(row))
            except (AddrError, KeyError, TypeError, ValueError):
                refused += 1
        self.saved()
        return refused

    def _lease(self, row: Mapping[str, Any]) -> Lease:
        client, address, expires = bytes.fromhex(row["client"]), row["address"], row["expires"]
        usable = isinstance(address, int) and isinstance(expires, int) and address in self
        if not usable or not 0 < len(client) <= _CLIENT or address in self._by_address or client in self._by_client:
            raise ValueError("no lease of this range")
        return Lease(client, mac_bytes(row["mac"]), address, expires, BOUND, readable(str(row["name"])))


def _row(lease: Lease) -> dict[str, Any]:
    return {
        "client": lease.client.hex(),
        "mac": mac_text(lease.mac),
        "address": lease.address,
        "expires": lease.expires,
        "name": lease.name,
    }


def readable(name: str) -> str:
    """A name that a stranger chose, fit to be shown."""
    return "".join(c for c in name if c.isprintable())[:_NAME]
