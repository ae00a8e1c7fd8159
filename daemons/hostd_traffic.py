"""The operations `udp` and `traffic` of hostd.

Knows: one question and its answer; how to fill a link and count what arrives. Refuses to know: how frames travel.
"""

from __future__ import annotations

from typing import Any, Final

from daemons.control import Reply
from daemons.errors import UserError
from daemons.hostd_args import number
from daemons.hostd_hosts import QUEUE_BYTES, HostNic, Hosts
from netvirt.burst import FRAME_HEADER_SIZE, Burst
from netvirt.host import Datagram, HostError, Ping
from netvirt.ports import Loop, Timer

MS: Final = 1_000_000
DISCARD: Final = 9  # RFC 863
FIRST_PORT, LAST_PORT = 49152, 65535  # dynamic ports, RFC 6335
RESOLVE_TIMEOUT: Final = 2000 * MS
BURST_FRAMES: Final = 256
BURST_BYTES: Final = 1 << 16
BURSTS_PER_ROUND: Final = 8
FULL_WAIT: Final = 0.001  # seconds; the queue holds 0.8 ms of a 10 Gbit/s link
SETTLE_WAIT: Final = 0.02
SETTLE_ROUNDS: Final = 15  # without a frame more: what has not come after 0.3 s will not come
_HEADERS: Final = {False: 14 + 20 + 8, True: 14 + 40 + 8}  # Ethernet, IPv4 or IPv6, UDP


class Udp:
    """{src, dst, port, text, timeout_ms}: send one datagram and wait for its answer."""

    _last_port = LAST_PORT

    def __init__(self, hosts: Hosts, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
        host = hosts.host(args.get("src"))
        text = args.get("text", "")
        if not isinstance(text, str):
            raise UserError("'text' must be text")
        self._address = hosts.address(host, args.get("dst"))
        self._nic = host.nic_to(self._address)
        self._loop = loop
        self._reply = reply
        self._port = int(number(args, "port", 7, 1, 65535))
        self._milliseconds = number(args, "timeout_ms", 2000, 1, 600_000)
        self._head = {"src": args["src"], "dst": args["dst"], "address": self._address, "port": self._port}
        Udp._last_port = Udp._last_port + 1 if Udp._last_port < LAST_PORT else FIRST_PORT
        self._own_port = Udp._last_port
        self._timer: Timer | None = None
        self._ask(text.encode("utf-8", "surrogatepass"))

    def _ask(self, payload: bytes) -> None:
        stack, self._began = self._nic.stack, self._loop.now()
        try:
            stack.listen_udp(self._own_port, self._answered)
        except HostError as error:
            raise UserError(f"{error}; too many questions are open") from None
        try:
            stack.send_udp(self._address, self._port, self._own_port, payload, self._began)
        except HostError as error:
            stack.listen_udp(self._own_port, None)
            raise UserError(f"{self._head['src']}: {error}") from None
        self._reply.on_gone = self._close
        self._timer = self._loop.call_later(self._milliseconds / 1000, self._too_late)
        self._nic.pump()

    def _answered(self, datagram: Datagram) -> None:
        self._close()
        if datagram.error:
            self._reply.fail(datagram.error)
            return
        rtt = (self._loop.now() - self._began) / MS
        self._reply.done({**self._head, "text": datagram.payload.decode("utf-8", "replace"), "rtt_ms": rtt})

    def _too_late(self) -> None:
        self._close()
        self._reply.fail(f"no answer from UDP port {self._port} of {self._address} in {self._milliseconds:g} ms")

    def _close(self) -> None:
        self._nic.stack.listen_udp(self._own_port, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Traffic:
    """{src, dst, seconds, size}: fill the link with one frame of `size` bytes (no tag, no FCS), count what comes."""

    _counting: Final[set[HostNic]] = set()

    def __init__(self, hosts: Hosts, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
        self._loop = loop
        self._reply = reply
        self._seconds = number(args, "seconds", 2, 0.01, 3600)
        self._size = int(number(args, "size", 1514, 42, 65535))
        host = hosts.host(args.get("src"))
        self._address = hosts.address(host, args.get("dst"))
        self._source = host.nic_to(self._address)
        self._target = self._find_target(hosts)
        self._head = {"src": args["src"], "dst": args["dst"], "address": self._address, "size": self._size}
        self._counting.add(self._target)
        reply.on_gone = self._close
        self._sent = self._idle_rounds = 0
        self._resolve()

    def _find_target(self, hosts: Hosts) -> HostNic:
        try:
            target = hosts.owner(self._address)
        except HostError as error:
            raise UserError(str(error)) from None
        if target is None:
            raise UserError(f"{self._address} is no host of this lab, so nobody would count; name a host")
        if target in self._counting:
            raise UserError(f"{self._address} is counting other traffic; wait for its end")
        return target

    def _resolve(self) -> None:
        """One echo finds the way, and says whether there is one."""
        try:
            echo = self._source.stack.start_ping(self._address, 1, MS, RESOLVE_TIMEOUT, 0, self._loop.now())
        except HostError as error:
            self._close()
            raise UserError(str(error)) from None
        if echo.done:
            self._begin(echo)
            return
        echo.on_done = self._begin
        self._source.pump()

    def _begin(self, echo: Ping) -> None:
        if not echo.received:
            self._fail("; ".join(echo.errors))
            return
        try:
            payload = bytes(max(0, self._size - _HEADERS[":" in self._address]))
            template = self._source.stack.udp_frame(self._address, DISCARD, payload, self._loop.now())
        except HostError as error:
            self._fail(str(error))
            return
        if template is None:
            self._fail(f"{self._address} answered, but its MAC address was forgotten since; try again")
            return
        burst = Burst()
        count = max(1, min(BURST_FRAMES, BURST_BYTES // (len(template) + FRAME_HEADER_SIZE)))
        for _ in range(count):
            burst.append(template)
        self._burst, self._burst_frames, self._message = burst, count, bytes(burst.message())
        stack = self._target.stack
        self._frames_before, self._bytes_before = stack.discarded_frames, stack.discarded_bytes
        self._began = self._progress_at = self._loop.now()
        self._until = self._began + int(self._seconds * 1e9)
        self._last_count = 0
        self._fill()

    def _fill(self) -> None:
        """As much as the queue takes, a little at a time: the receiver's frames come through this same loop."""
        if self._is_over():
            return
        self._note_progress()
        if self._loop.now() >= self._until:
            self._loop.call_later(SETTLE_WAIT, self._settle)
            return
        queue = self._source.queue
        room = (QUEUE_BYTES - queue.nbytes) // len(self._message)
        for _ in range(min(room, BURSTS_PER_ROUND)):
            self._sent += queue.append_burst(self._message)
        self._source.port.flush()
        self._loop.call_later(0 if room else FULL_WAIT, self._fill)

    def _settle(self) -> None:
        """Wait for what is still on its way."""
        if self._is_over():
            return
        if self._note_progress():
            self._idle_rounds = 0
        else:
            self._idle_rounds += 1
        if self._last_count < self._sent and self._idle_rounds < SETTLE_ROUNDS:
            self._loop.call_later(SETTLE_WAIT, self._settle)
            return
        self._finish()

    def _finish(self) -> None:
        seconds = max(self._progress_at - self._began, 1) / 1e9
        total = self._target.stack.discarded_bytes - self._bytes_before
        self._close()
        self._reply.done(
            {
                **self._head,
                "sent": self._sent,
                "frames": self._last_count,
                "bytes": total,
                "seconds": seconds,
                "frames_per_second": self._last_count / seconds,
                "bits_per_second": 8 * total / seconds,
                "lost": self._sent - self._last_count,
            }
        )

    def _note_progress(self) -> bool:
        count = self._target.stack.discarded_frames - self._frames_before
        if count == self._last_count:
            return False
        self._last_count, self._progress_at = count, self._loop.now()
        return True

    def _is_over(self) -> bool:
        """Has the client hung up, or was an end of it removed?"""
        if self._reply.gone:
            self._close()
            return True
        if self._source.closed or self._target.closed:
            self._fail("the lab was changed, and one end of the traffic is gone")
            return True
        return False

    def _fail(self, sentence: str) -> None:
        self._close()
        self._reply.fail(sentence)

    def _close(self) -> None:
        self._counting.discard(self._target)
