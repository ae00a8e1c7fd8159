"""A virtual NIC for other programs: plugs into a port of a running switch and sends and receives Ethernet frames.

Knows: one link, its own small loop, blocking calls with timeouts.
Refuses to know: IP, VLANs beyond the bytes of a frame.
One thread at a time; the object may be used as a context manager.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from netvirt.addr import mac_bytes, mac_text
from netvirt.burst import Burst, BurstError
from netvirt.dataplane.queue import Queue
from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop
from netvirt.ports.zmq import ZmqDialer

SEND_QUEUE = 1 << 20  # bytes that may wait for a slow switch
RECEIVE_QUEUE = 8 << 20  # bytes of bursts that may wait for a slow reader; then they are dropped and counted
LOOK_EVERY = 0.001  # seconds: who only sends still hears within this time that the switch has gone


class Nic:
    """One plugged-in network card. Make it with `Nic.connect()`."""

    def __init__(self, endpoint: str, *, mac: str | None, name: str, key_file: str | None) -> None:
        self.endpoint = endpoint
        self.name = name
        self.mac = mac_text(mac_bytes(mac)) if mac is not None else _random_mac()
        self.dropped = 0
        self.malformed = 0
        self._closed = False
        self._loop = Loop()
        self._queue = Queue(SEND_QUEUE)
        self._bursts: deque[Burst] = deque()
        self._waiting = 0
        self._frames: deque[bytes] = deque()
        self._looked = 0.0
        self._dialer = ZmqDialer(
            self._loop, endpoint, self._queue, self._arrived, self._carrier, name=name, key_file=key_file
        )

    @classmethod
    def connect(
        cls,
        endpoint: str,
        *,
        mac: str | None = None,
        name: str | None = None,
        key_file: str | None = None,
        timeout: float = 5.0,
    ) -> Nic:
        """Plug in and wait until the switch has said welcome.

        endpoint: what `vfab attach PORT` prints, such as "ipc:///run/.../s1.zmq#eth5"; mac: text, by default a random
        locally administered address; timeout: seconds. Raises PortError or AddrError with one sentence.
        """
        nic = cls(endpoint, mac=mac, name=name or f"nic-{os.getpid()}", key_file=key_file)
        try:
            nic._dialer.open()
            if not nic._until(lambda: nic.carrier, timeout):
                why = nic._dialer.refusal or "nobody listens there; is the lab up?"
                raise PortError(f"can't plug into {endpoint}: {why}")
        except BaseException:
            nic.close()
            raise
        return nic

    @property
    def carrier(self) -> bool:
        """Whether a switch is connected right now. It comes back by itself after a restart of the switch."""
        return self._dialer.carrier

    def _carrier(self, up: bool) -> None:
        self._queue.open = up
        if not up:
            self._queue.clear("link-down")

    def _arrived(self, message: memoryview) -> None:
        if self._waiting + len(message) > RECEIVE_QUEUE:
            self.dropped += int.from_bytes(message[4:8], "little")
            return
        try:
            self._bursts.append(Burst.parse(message))
        except BurstError:
            self.malformed += 1
            return
        self._waiting += len(message)

    def _until(self, ready: object, timeout: float | None) -> bool:
        """Run the loop until `ready()` is true; False after `timeout` seconds (None: never)."""
        assert callable(ready)
        now = time.monotonic()
        if now - self._looked > LOOK_EVERY:
            self._looked = now
            self._loop.run_once(0)
        if ready():
            return True
        deadline = None if timeout is None else now + timeout
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self._loop.run_once(0)
                return bool(ready())
            self._loop.run_once(left)
            if ready():
                return True

    # --- sending

    def send(self, frame: bytes, timeout: float | None = 1.0) -> bool:
        """Send one frame (destination address first, no FCS; 14 to 65,557 bytes). See send_burst()."""
        return self._send(lambda: self._queue.append(frame), timeout)

    def send_burst(self, burst: Burst | Iterable[bytes], timeout: float | None = 1.0) -> bool:
        """Send many frames in one message.

        Waits up to `timeout` seconds (None: for ever, 0: not at all) while the switch is slower than we are.
        False: no switch is connected, or it took nothing in that time, and the frames are dropped. Raises BurstError or
        ValueError for what can't be a frame.
        """
        if not isinstance(burst, Burst):
            frames, burst = burst, Burst()
            for frame in frames:
                burst.append(frame)
        message = burst.message()
        try:
            return self._send(lambda: self._queue.append_burst(message) == len(burst), timeout, len(message))
        finally:
            message.release()

    def _send(self, put: object, timeout: float | None, size: int = 65600) -> bool:
        assert callable(put)
        if not self._until(lambda: self.carrier and self._queue.nbytes + size <= SEND_QUEUE, timeout):
            return False
        if not put():
            return False
        self._dialer.flush()
        return True

    # --- receiving

    def receive_burst(self, timeout: float | None = 1.0) -> Burst | None:
        """The next burst that came in, or None after `timeout` seconds (None: wait for ever)."""
        if not self._bursts and not self._until(lambda: bool(self._bursts), timeout):
            return None
        burst = self._bursts.popleft()
        self._waiting -= burst.nbytes
        return burst

    def receive(self, timeout: float | None = 1.0) -> bytes | None:
        """The next frame, or None after `timeout` seconds (None: wait for ever)."""
        while not self._frames:
            burst = self.receive_burst(timeout)
            if burst is None:
                return None
            self._frames.extend(burst.frames())
        return self._frames.popleft()

    # --- for programs with a loop of their own

    def fileno(self) -> int:
        """Readable when there is something to do: then call receive(0) until it gives None."""
        return self._loop.fileno()

    def statistics(self) -> dict[str, object]:
        """The link's state and counters, frames dropped because nobody read them, messages that were no bursts."""
        return {
            **self._dialer.statistics(),
            "unread-drops": self.dropped,
            "malformed": self.malformed,
            "queue": self._queue.statistics(),
        }

    def close(self) -> None:
        """Unplug: what was sent before is delivered first. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._until(lambda: not len(self._queue), 0.5 if self.carrier else 0)
        self._dialer.close()
        self._until(lambda: self._dialer.closed, 1.0)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _random_mac() -> str:
    # Locally administered, unicast: IEEE 802-2014 clause 8.4.
    return (bytes([0x02]) + os.urandom(5)).hex(":")
