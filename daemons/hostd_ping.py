"""The operations `ping` and `pingall` of hostd.

Knows: arguments, pairs, pacing, the shape of the answers. Refuses to know: echoes and neighbours (netvirt.host).
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from daemons.control import Reply
from daemons.errors import UserError
from daemons.hostd_args import number
from daemons.hostd_hosts import HostNic, Hosts
from daemons.pairs import PairAnswer, pairs_of
from netvirt.host import HostError, Ping
from netvirt.ports import Loop

MS: Final = 1_000_000
DEFAULT_SIZE: Final = 56  # as ping(8)
# Pairs of `pingall` on the way at once, and started in one round of the loop. Each may begin with a broadcast, which
# the switches copy to everybody: 16 of them at 256 hosts are 4096 frames for this process, some 50 ms of its time.
IN_FLIGHT: Final = 128
PER_ROUND: Final = 16


def ping(hosts: Hosts, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
    """{src, dst, count, interval_ms, timeout_ms, size}; an event for each echo, then the whole."""
    nic, address = _way(hosts, args.get("src"), args.get("dst"))
    count = int(number(args, "count", 4, 1, 65535))
    interval = int(number(args, "interval_ms", 1000, 1, 3_600_000) * MS)
    timeout = int(number(args, "timeout_ms", 2000, 1, 3_600_000) * MS)
    size = int(number(args, "size", DEFAULT_SIZE, 0, 65535))
    running = _start(nic, address, count, interval, timeout, size, loop.now())

    def answered(sequence: int, rtt: int | None, error: str) -> None:
        reply.event({"seq": sequence, "rtt_ms": None if rtt is None else rtt / MS, "error": error})

    def done(result: Ping) -> None:
        reply.done({"src": args["src"], "dst": args["dst"], **_result(result)})

    def gone() -> None:
        running.abort("nobody waits for it any more")
        nic.pump()

    if running.done:
        done(running)
        return
    running.on_answer, running.on_done, reply.on_gone = answered, done, gone
    nic.pump()


class PingAll:
    """One echo for each pair {pairs: [[src, dst], ...], timeout_ms}; answers in the order of the pairs."""

    def __init__(self, hosts: Hosts, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
        self._hosts = hosts
        self._loop = loop
        self._reply = reply
        self._timeout = int(number(args, "timeout_ms", 2000, 1, 600_000) * MS)
        pairs = pairs_of(args)
        self._answers: list[PairAnswer | None] = [None] * len(pairs)
        self._waiting = deque(enumerate(pairs))
        self._in_flight = 0
        self._round()

    def _round(self) -> None:
        """Start some more; those that end make room for the next."""
        if self._reply.gone:
            return
        for _ in range(min(PER_ROUND, IN_FLIGHT - self._in_flight)):
            if self._waiting:
                self._begin(*self._waiting.popleft())
        if self._waiting and self._in_flight < IN_FLIGHT:
            self._loop.call_later(0, self._round)
        elif not self._waiting and not self._in_flight and not self._reply.answered:
            self._reply.done([answer._asdict() for answer in self._answers if answer is not None])

    def _begin(self, place: int, pair: tuple[str, str]) -> None:
        src, dst = pair
        try:
            nic, address = _way(self._hosts, src, dst)
            running = _start(nic, address, 1, MS, self._timeout, DEFAULT_SIZE, self._loop.now())
        except UserError as error:
            self._answers[place] = PairAnswer(src, dst, "", False, None, str(error))
            return

        def done(result: Ping) -> None:
            rtt = result.rtts[0] / MS if result.rtts else None
            error = "" if result.rtts else "; ".join(result.errors)
            self._answers[place] = PairAnswer(src, dst, result.address, bool(result.rtts), rtt, error)

        def done_later(result: Ping) -> None:
            done(result)
            self._in_flight -= 1
            self._loop.call_later(0, self._round)

        if running.done:
            done(running)
            return
        running.on_done = done_later
        self._in_flight += 1
        nic.pump()


def _way(hosts: Hosts, src: object, dst: object) -> tuple[HostNic, str]:
    host = hosts.host(src)
    address = hosts.address(host, dst)
    return host.nic_to(address), address


def _start(nic: HostNic, address: str, count: int, interval: int, timeout: int, size: int, now: int) -> Ping:
    try:
        return nic.stack.start_ping(address, count, interval, timeout, size, now)
    except HostError as error:
        raise UserError(str(error)) from None


def _result(result: Ping) -> dict[str, Any]:
    rtts = [rtt / MS for rtt in result.rtts]
    return {
        "address": result.address,
        "sent": result.sent,
        "received": result.received,
        "lost": result.lost,
        "duplicates": result.duplicates,
        "rtts_ms": rtts,
        "errors": result.errors,
    }
