"""One link between two ends: greeting, credits, goodbye, epochs. Sans-io: messages in, values out.

Knows: in which state a link is, what each message means in it, how many bytes may still be sent.
Refuses to know: sockets, clocks, frames (a FRAMES message is only counted).

Laws:
- The dialer speaks first (HELLO) and says whom it is; the listener answers WELCOME or REFUSED. Both carry the HELLO's
  nonce, so an answer from before a reconnect is never taken for a new one.
- FRAMES may flow only while the link is up, and only as far as the other side's window and credits reach.
- Over a network FRAMES may travel compressed (PACKED, netvirt.packing), if both ends said so; credits count what they
  hold, not what is sent, so that a window bounds the receiver's work, too.
- BYE is answered by GONE, and messages stay in order: who has heard GONE knows that all it sent before was received.
- Junk raises LinkError with a reason to count, changes nothing, and is never answered. Only a PACKED message that does
  not unpack has used up its credit: it was work.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from netvirt.burst import (
    HEADER_SIZE,
    KIND_BYE,
    KIND_CREDIT,
    KIND_FRAMES,
    KIND_GONE,
    KIND_HELLO,
    KIND_PACKED,
    KIND_REFUSED,
    KIND_WELCOME,
    BurstError,
    pack_header,
    unpack_header,
)

if TYPE_CHECKING:  # it loads lz4, and most links are on one machine
    from netvirt.packing import Packer

WINDOW = 2 << 20  # bytes: what a peer may have outstanding towards us
MIN_WINDOW = 1 << 20  # the largest message must fit
MAX_WINDOW = 64 << 20
# What a message costs beside its bytes: libzmq's own memory for it. Bounds the number of tiny messages in flight, too.
MESSAGE_COST = 128
MAX_TEXT = 4096  # bytes of JSON in a stranger's greeting
MAX_WELCOME = 1 << 18  # a capture's WELCOME names the switch's ports
MOST_NAMES = 64  # of whom an epoch is remembered at one port
ROLES = ("nic", "trunk", "capture")
_U64 = struct.Struct("<Q")

DOWN, WAITING, UP, LEAVING = "down", "waiting", "up", "leaving"

Message = bytes | memoryview
Packing = Callable[[], "Packer"]


class LinkError(ValueError):
    """A message that does not belong here. `reason` is the name to count it under."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Hello(NamedTuple):
    """port: name on the listener's side; name: who calls; window: bytes that may be outstanding towards the caller.

    lz4: the caller understands compressed FRAMES.
    """

    port: str
    name: str
    epoch: int
    window: int
    role: str
    nonce: int
    lz4: bool = False


class Event(NamedTuple):
    """What a message meant: frames, up, refused, credit, left (the peer says goodbye), gone (it answered ours).

    `answer` is to be sent back; `info` is what came with it; `frames` is the FRAMES message, if it came compressed.
    """

    what: str
    answer: bytes | None = None
    info: Mapping[str, Any] = MappingProxyType({})
    frames: memoryview | None = None


_FRAMES = Event("frames")
_CREDIT = Event("credit")


def _text(kind: int, epoch: int, value: dict[str, Any]) -> bytes:
    return pack_header(kind, 0, epoch) + json.dumps(value, separators=(",", ":")).encode()


def _read(message: Message, limit: int = MAX_TEXT) -> dict[str, Any]:
    if len(message) > HEADER_SIZE + limit:
        raise LinkError("junk", f"a greeting of {len(message)} bytes is too long")
    try:
        value = json.loads(bytes(message[HEADER_SIZE:]))
    except (ValueError, RecursionError):
        raise LinkError("junk", "a greeting that is no JSON") from None
    if not isinstance(value, dict):
        raise LinkError("junk", "a greeting that is no JSON object")
    return value


def _number(value: dict[str, Any], key: str, low: int, high: int) -> int:
    number = value.get(key)
    if type(number) is not int or not low <= number <= high:
        raise LinkError("junk", f"a greeting whose {key} is not a number from {low} to {high}")
    return number


def _name(value: dict[str, Any], key: str) -> str:
    name = value.get(key)
    if not isinstance(name, str) or not 1 <= len(name) <= 80 or not name.isprintable():
        raise LinkError("junk", f"a greeting whose {key} is not a name")
    return name


def _lz4(value: dict[str, Any]) -> bool:
    said = value.get("lz4", False)
    if type(said) is not bool:
        raise LinkError("junk", "a greeting whose lz4 is neither true nor false")
    return said


def parse_hello(message: Message) -> Hello:
    """What a caller says of itself. Raises LinkError."""
    value = _read(message)
    role = value.get("role")
    if role not in ROLES:
        raise LinkError("junk", f"a HELLO whose role is none of {', '.join(ROLES)}")
    return Hello(
        _name(value, "port"),
        _name(value, "name"),
        _number(value, "epoch", 0, 2**63 - 1),
        _number(value, "window", MIN_WINDOW, MAX_WINDOW),
        role,
        _number(value, "nonce", 0, 2**63 - 1),
        _lz4(value),
    )


def refusal(epoch: int, why: str, *, nonce: int, retry: bool) -> bytes:
    """The listener's no: one sentence, and whether asking again soon may help."""
    return _text(KIND_REFUSED, epoch, {"why": why, "retry": retry, "nonce": nonce})


class Link:
    """One end of one link. name, epoch: ours; window: bytes that the peer may have outstanding towards us.

    nonce: a dialer begins to count its HELLOs here, best at random. `packer`: what compresses FRAMES on this
    connection; None on one machine, and where the other end does not understand it.
    """

    __slots__ = (
        "_acked",
        "_got",
        "_heard",
        "_nonce",
        "_packer",
        "_packing",
        "_peer_window",
        "_sent",
        "_told",
        "epoch",
        "name",
        "packer",
        "peer",
        "peer_epoch",
        "state",
        "window",
    )

    def __init__(self, name: str, epoch: int = 0, window: int = WINDOW, nonce: int = 0) -> None:
        self.name = name
        self.epoch = epoch
        self.window = window
        self.state = DOWN
        self.peer = ""
        self.peer_epoch = 0
        self._heard: dict[str, int] = {}  # the highest epoch of each name: it outlives the connection
        self._nonce = nonce
        self._packing: Packing | None = None
        self._packer: Packer | None = None  # with what it has learned and counted, it outlives the connection
        self.packer: Packer | None = None
        self._reset(0)

    def _reset(self, peer_window: int) -> None:
        self._sent = self._acked = self._got = self._told = 0
        self._peer_window = peer_window

    def _agree(self, packing: Packing | None) -> bool:
        """From now on FRAMES may be compressed, or not."""
        if packing is not None and self._packer is None:
            self._packer = packing()
        self.packer = self._packer if packing is not None else None
        return self.packer is not None

    def _meet(self, name: str, epoch: int) -> None:
        """The peer is `name` from now on. Raises LinkError if that name has been heard from a later epoch."""
        heard = self._heard.pop(name, 0)
        self._heard[name] = max(heard, epoch)
        if len(self._heard) > MOST_NAMES:
            del self._heard[next(iter(self._heard))]
        if epoch < heard:
            raise LinkError("stale-epoch", f"{name} speaks from epoch {epoch}, {heard} was heard")
        self.peer, self.peer_epoch = name, epoch

    # --- greeting

    def dial(self, port: str, role: str, packing: Packing | None = None) -> bytes:
        """The transport is up: what to say first. packing: makes a Packer, if compressed FRAMES are understood here."""
        self.state = WAITING
        self._nonce += 1
        self._packing = packing
        hello = Hello(port, self.name, self.epoch, self.window, role, self._nonce, packing is not None)._asdict()
        if packing is None:
            del hello["lz4"]
        return _text(KIND_HELLO, self.epoch, hello)

    def accept(self, hello: Hello, info: dict[str, Any] | None = None, packing: Packing | None = None) -> bytes:
        """The listener's yes. Raises LinkError if the caller is older than one heard before under that name."""
        self._meet(hello.name, hello.epoch)
        self.state = UP
        self._reset(hello.window)
        welcome = {**(info or {}), "name": self.name, "window": self.window, "nonce": hello.nonce}
        if self._agree(packing if hello.lz4 else None):
            welcome["lz4"] = True
        return _text(KIND_WELCOME, self.epoch, welcome)

    def lost(self) -> None:
        """The transport is gone, or the port is taken away."""
        self.state = DOWN

    def leave(self) -> bytes:
        """Our goodbye: send nothing after it, and wait for the event `gone`."""
        self.state = LEAVING
        return pack_header(KIND_BYE, 0, self.epoch)

    # --- messages

    def receive(self, message: Message) -> Event:
        """What a message means. Raises LinkError for one that does not belong here."""
        if self.state == UP and len(message) >= HEADER_SIZE and message[3] == KIND_FRAMES:
            return self._frames(message)
        try:
            header = unpack_header(message)
        except BurstError as error:
            raise LinkError("junk", str(error)) from None
        handler = _HANDLERS.get((self.state, header.kind))
        if handler is None:
            raise LinkError("unexpected", f"a message of kind {header.kind} while the link is {self.state}")
        return handler(self, message, header.epoch)

    def _frames(self, message: Message) -> Event:
        epoch = _U64.unpack_from(message, 8)[0]
        if epoch != self.peer_epoch:
            raise LinkError("stale-epoch", f"frames from epoch {epoch} of {self.peer}, which is at {self.peer_epoch}")
        self._take(len(message))
        return _FRAMES

    def _take(self, size: int) -> None:
        self._got += size + MESSAGE_COST
        if self._got - self._told > self.window:
            self._got -= size + MESSAGE_COST
            raise LinkError("over-credit", f"{self.peer} sends more than its window of {self.window} bytes")

    def _packed(self, message: Message, epoch: int) -> Event:
        if self.packer is None:
            raise LinkError("unexpected", "a compressed message on a link that did not agree to it")
        if epoch != self.peer_epoch:
            raise LinkError("stale-epoch", f"frames from epoch {epoch} of {self.peer}, which is at {self.peer_epoch}")
        self._take(self.packer.size(message))
        return Event("frames", frames=memoryview(self.packer.unpack(message)))

    def _ignored(self, message: Message, epoch: int) -> Event:
        # FRAMES or CREDIT that were under way while the link went down: known, harmless, nobody's mistake.
        raise LinkError("late", "a message from before the link was up or after its end")

    def _welcome(self, message: Message, epoch: int) -> Event:
        value = _read(message, MAX_WELCOME)
        if _number(value, "nonce", 0, 2**63 - 1) != self._nonce:
            raise LinkError("late", "an answer to an earlier HELLO")
        name, window = _name(value, "name"), _number(value, "window", MIN_WINDOW, MAX_WINDOW)
        agreed = _lz4(value)
        self._meet(name, epoch)
        self.state = UP
        self._reset(window)
        self._agree(self._packing if agreed else None)
        return Event("up", None, value)

    def _refused(self, message: Message, epoch: int) -> Event:
        value = _read(message)
        if _number(value, "nonce", 0, 2**63 - 1) != self._nonce:
            raise LinkError("late", "an answer to an earlier HELLO")
        return Event("refused", None, {"why": str(value.get("why", ""))[:500], "retry": value.get("retry") is True})

    def _credit(self, message: Message, epoch: int) -> Event:
        if len(message) != HEADER_SIZE + 8:
            raise LinkError("junk", f"a CREDIT of {len(message)} bytes")
        total = _U64.unpack_from(message, HEADER_SIZE)[0]
        if not self._acked <= total <= self._sent:
            raise LinkError("junk", f"a CREDIT for {total} bytes; {self._sent} were sent")
        self._acked = total
        return _CREDIT

    def _bye(self, message: Message, epoch: int) -> Event:
        self.state = DOWN
        return Event("left", pack_header(KIND_GONE, 0, self.epoch))

    def _bye_too(self, message: Message, epoch: int) -> Event:
        # Both say goodbye at once: each answers, each still waits for its GONE.
        return Event("credit", pack_header(KIND_GONE, 0, self.epoch))

    def _gone(self, message: Message, epoch: int) -> Event:
        self.state = DOWN
        return Event("gone")

    # --- credits (bytes of FRAMES messages as they are before compression, MESSAGE_COST added for each)

    def may_send(self, size: int) -> bool:
        """Whether a message of `size` bytes fits into what the peer still takes."""
        return self.state == UP and self._sent - self._acked + size + MESSAGE_COST <= self._peer_window

    def sent(self, size: int) -> None:
        """A FRAMES message of `size` bytes (packed or not) has been handed to the transport."""
        self._sent += size + MESSAGE_COST

    def consumed(self) -> bytes | None:
        """All frames received so far have been dealt with: the CREDIT message to send, when one is due."""
        if self._got - self._told < self.window // 4:
            return None
        self._told = self._got
        return pack_header(KIND_CREDIT, 0, self.epoch) + _U64.pack(self._got)

    def statistics(self) -> dict[str, int | str]:
        """State, peer, and what compression gained, if there has been any."""
        packed = self._packer.statistics() if self._packer is not None else {}
        return {"state": self.state, "peer": self.peer, **packed}


def credit_again(link: Link) -> bytes | None:
    """What has been said already about credits: a message that changes nothing, to see whether anybody is there."""
    if link.state not in (UP, LEAVING):
        return None
    return pack_header(KIND_CREDIT, 0, link.epoch) + _U64.pack(link._told)


_HANDLERS = {
    (WAITING, KIND_WELCOME): Link._welcome,
    (WAITING, KIND_REFUSED): Link._refused,
    (WAITING, KIND_FRAMES): Link._ignored,
    (WAITING, KIND_CREDIT): Link._ignored,
    (WAITING, KIND_PACKED): Link._ignored,
    (DOWN, KIND_FRAMES): Link._ignored,
    (DOWN, KIND_PACKED): Link._ignored,
    (DOWN, KIND_CREDIT): Link._ignored,
    (DOWN, KIND_GONE): Link._ignored,
    (UP, KIND_PACKED): Link._packed,
    (UP, KIND_CREDIT): Link._credit,
    (UP, KIND_BYE): Link._bye,
    (LEAVING, KIND_FRAMES): Link._ignored,
    (LEAVING, KIND_PACKED): Link._ignored,
    (LEAVING, KIND_CREDIT): Link._ignored,
    (LEAVING, KIND_BYE): Link._bye_too,
    (LEAVING, KIND_GONE): Link._gone,
}
