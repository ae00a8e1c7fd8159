"""The operations `ping` and `pingall` of hostd.

Knows: arguments, the shape of the answers. Refuses to know: echoes and neighbours (netvirt.host), how fast a `pingall`
goes (`pairs`).
"""

from __future__ import annotations

from typing import Any

from daemons.control import Reply
from daemons.errors import UserError
from daemons.hostd_args import number
from daemons.hostd_hosts import HostNic, Hosts
from daemons.loop import Loop
from daemons.pairs import DEFAULT_SIZE, MS, Answered, PairAnswer, PairRounds
from netvirt.host import HostError, Ping


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


class PingAll(PairRounds):
    """The operation `pingall`, begun by being made."""

    def __init__(self, hosts: Hosts, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
        super().__init__(loop, args, reply)
        self._hosts = hosts
        self.round()

    def ask(self, src: str, dst: str, answered: Answered) -> None:
        nic, address = _way(self._hosts, src, dst)
        running = _start(nic, address, 1, MS, self.timeout, DEFAULT_SIZE, self.loop.now())

        def done(result: Ping) -> None:
            rtt = result.rtts[0] / MS if result.rtts else None
            error = "" if result.rtts else "; ".join(result.errors)
            answered(PairAnswer(src, dst, result.address, bool(result.rtts), rtt, error))

        if running.done:
            done(running)
            return
        running.on_done = done
        nic.pump()

    def over(self) -> None:
        """Echoes leave nothing behind."""


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
