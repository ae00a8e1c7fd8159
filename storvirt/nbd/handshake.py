"""The negotiation (fixed newstyle), sans-io: bytes in, bytes out, until it is `transmission` or `closed`.

Knows: options, what each may be answered with, and how much of a stranger's data may be kept.
Refuses to know: sockets, how long a client may take, what an export does.

Laws: at most MAX_DATA bytes of an option are kept; a longer one is stepped over and answered ERR_TOO_BIG, so that both
ends stay in step. Everything the client may not do either is answered with an error, or ends in `closed` with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from storvirt.nbd.export import ExportInfo
from storvirt.nbd.wire import (
    BASE_ALLOCATION,
    CLIENT_FLAGS,
    EXPORT_NAME_PADDING,
    EXPORT_REPLY,
    GREETING,
    IHAVEOPT,
    MAX_STRING,
    NBDMAGIC,
    OPTION,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    HandshakeFlag,
    Info,
    Option,
    Reply,
)

State = Literal["flags", "option", "data", "skip", "transmission", "closed"]

# One name and eight queries of the longest kind, nbdkit's bound too (MAX_OPTION_LENGTH).
MAX_DATA: Final = 9 * MAX_STRING
CONTEXT_ID: Final = 1  # of base:allocation, in BLOCK_STATUS replies
_SERVER_FLAGS: Final = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES


class Refusal(Exception):
    """This option is answered with an error and nothing else happens. Never leaves this file."""

    def __init__(self, reply: Reply, sentence: str) -> None:
        super().__init__(sentence)
        self.reply = reply


class Handshake:
    """One client's negotiation.

    `exports` may change while it goes on. `default` is the export that the empty name means, if any.
    At the end of it, `state` is "transmission" (then `export`, `structured`, `meta` and `leftover` are meant), or
    "closed" (then `reason` is one word to count by: abort, magic, client-flags, unknown-export, bad-name,
    not-fixed-newstyle).
    """

    def __init__(self, exports: Mapping[str, ExportInfo], default: str | None = None) -> None:
        self.state: State = "flags"
        self.reason = ""
        self.export: ExportInfo | None = None
        self.structured = False
        self.meta = False
        self._exports = exports
        self._default = default
        self._flags = HandshakeFlag(0)
        self._meta_export: str | None = None
        self._option = 0
        self._length = 0
        self._held = bytearray()
        self._out = bytearray()

    def greeting(self) -> bytes:
        """What the server says first."""
        return GREETING.pack(NBDMAGIC, IHAVEOPT, _SERVER_FLAGS)

    def receive(self, data: bytes | bytearray | memoryview) -> bytes:
        """What to send in answer, which is to be sent in the state `closed` too. Not to be called once it is over."""
        assert self.state not in ("transmission", "closed")
        self._held += data
        while (step := _STEPS.get(self.state)) is not None and step(self):
            pass
        answer, self._out = bytes(self._out), bytearray()
        return answer

    @property
    def leftover(self) -> bytes:
        """The first bytes of the transmission phase, where a client did not wait for the last answer."""
        return bytes(self._held) if self.state == "transmission" else b""

    # --- steps: each takes what it needs, and returns False when that is not there yet

    def _take(self, count: int) -> bytes | None:
        if len(self._held) < count:
            return None
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _read_flags(self) -> bool:
        data = self._take(CLIENT_FLAGS.size)
        if data is None:
            return False
        (flags,) = CLIENT_FLAGS.unpack(data)
        if flags & ~int(_SERVER_FLAGS):
            self._close("client-flags")
        else:
            self._flags = HandshakeFlag(flags)
            self.state = "option"
        return True

    def _read_option(self) -> bool:
        data = self._take(OPTION.size)
        if data is None:
            return False
        magic, self._option, self._length = OPTION.unpack(data)
        if magic != IHAVEOPT:
            self._close("magic")
        elif not self._flags & HandshakeFlag.FIXED_NEWSTYLE and self._option != Option.EXPORT_NAME:
            self._close("not-fixed-newstyle")
        elif self._option == Option.EXPORT_NAME and self._length > MAX_STRING:
            self._close("bad-name")
        else:
            self.state = "data" if self._length <= MAX_DATA else "skip"
        return True

    def _read_data(self) -> bool:
        data = self._take(self._length)
        if data is None:
            return False
        self.state = "option"
        answer = _ANSWERS.get(self._option)
        try:
            if answer is None:
                raise Refusal(Reply.ERR_UNSUP, f"option {self._option} is not supported")
            answer(self, data)
        except Refusal as refusal:
            self._reply(refusal.reply, str(refusal).encode()[:MAX_STRING])
        return True

    def _skip_data(self) -> bool:
        step = min(self._length, len(self._held))
        del self._held[:step]
        self._length -= step
        if self._length:
            return False
        self.state = "option"
        self._reply(Reply.ERR_TOO_BIG, f"an option may have {MAX_DATA} bytes of data".encode())
        return True

    def _reply(self, kind: Reply, data: bytes = b"") -> None:
        self._out += OPTION_REPLY.pack(OPTION_REPLY_MAGIC, self._option, kind, len(data)) + data

    def _close(self, reason: str) -> None:
        self.state = "closed"
        self.reason = reason
        self._held.clear()

    # --- options

    def _find(self, name: str) -> ExportInfo:
        export = self._lookup(name)
        if export is None:
            what = f"no export is called {name!r}" if name else "there is no default export: give a name"
            raise Refusal(Reply.ERR_UNKNOWN, what)
        return export

    def _lookup(self, name: str) -> ExportInfo | None:
        if not name and self._default is not None:
            name = self._default
        return self._exports.get(name)

    def _export_name(self, data: bytes) -> None:
        """This option knows no error reply: all that is wrong ends the connection."""
        try:
            export = self._lookup(data.decode())
        except UnicodeDecodeError:
            self._close("bad-name")
            return
        if export is None:
            self._close("unknown-export")
            return
        self._out += EXPORT_REPLY.pack(export.size, export.flags(self.structured))
        if not self._flags & HandshakeFlag.NO_ZEROES:
            self._out += bytes(EXPORT_NAME_PADDING)
        self._begin(export)

    def _begin(self, export: ExportInfo) -> None:
        self.export = export
        # Contexts are set for one export; going for another one leaves none.
        self.meta = self._meta_export == export.name
        self.state = "transmission"

    def _abort(self, data: bytes) -> None:
        self._reply(Reply.ACK)
        self._close("abort")

    def _list(self, data: bytes) -> None:
        _no_data(data)
        for export in self._exports.values():
            name = export.name.encode()
            self._reply(Reply.SERVER, len(name).to_bytes(4, "big") + name + export.description.encode())
        self._reply(Reply.ACK)

    def _info(self, data: bytes) -> None:
        self._describe(data)
        self._reply(Reply.ACK)

    def _go(self, data: bytes) -> None:
        export = self._describe(data)
        self._reply(Reply.ACK)
        self._begin(export)

    def _describe(self, data: bytes) -> ExportInfo:
        name, wanted = _parse_info(data)
        export = self._find(name)
        for kind in (Info.EXPORT, *sorted(wanted - {Info.EXPORT})):
            info = export.info(kind, self.structured)
            if info is not None:
                self._reply(Reply.INFO, info)
        return export

    def _structured_reply(self, data: bytes) -> None:
        _no_data(data)
        if self.structured:
            raise Refusal(Reply.ERR_INVALID, "structured replies are agreed on already")
        self.structured = True
        self._reply(Reply.ACK)

    def _list_meta(self, data: bytes) -> None:
        _, queries = self._meta_request(data)
        # proto.md: no query at all, or the bare namespace, lists all that there is.
        if not queries or {BASE_ALLOCATION, "base:"} & set(queries):
            self._reply(Reply.META_CONTEXT, _context(0))
        self._reply(Reply.ACK)

    def _set_meta(self, data: bytes) -> None:
        self._meta_export = None
        export, queries = self._meta_request(data)
        if BASE_ALLOCATION in queries:
            self._meta_export = export.name
            self._reply(Reply.META_CONTEXT, _context(CONTEXT_ID))
        self._reply(Reply.ACK)

    def _meta_request(self, data: bytes) -> tuple[ExportInfo, list[str]]:
        if not self.structured:
            raise Refusal(Reply.ERR_INVALID, "meta contexts need structured replies: ask for these first")
        name, queries = _parse_meta(data)
        return self._find(name), queries


# --- parsing of option data: every length is checked against what is there


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), "big")

    def string(self) -> str:
        size = self.number(4)
        if size > MAX_STRING:
            raise Refusal(Reply.ERR_INVALID, f"a string of {size} bytes; {MAX_STRING} are allowed")
        try:
            return self._bytes(size).decode()
        except UnicodeDecodeError:
            raise Refusal(Reply.ERR_INVALID, "a string is no UTF-8") from None

    def _bytes(self, size: int) -> bytes:
        if size > len(self._data) - self._place:
            raise Refusal(Reply.ERR_INVALID, "the option's data is shorter than it says")
        self._place += size
        return self._data[self._place - size : self._place]

    def end(self) -> None:
        if self._place != len(self._data):
            raise Refusal(Reply.ERR_INVALID, "the option's data is longer than it says")


class InfoRequest(NamedTuple):
    name: str
    wanted: set[int]


def _parse_info(data: bytes) -> InfoRequest:
    reader = _Reader(data)
    name = reader.string()
    wanted = {reader.number(2) for _ in range(reader.number(2))}
    reader.end()
    return InfoRequest(name, wanted)


def _parse_meta(data: bytes) -> tuple[str, list[str]]:
    reader = _Reader(data)
    name = reader.string()
    # A hostile count ends with the data: a query has 4 bytes at least.
    queries = [reader.string() for _ in range(reader.number(4))]
    reader.end()
    return name, queries


def _no_data(data: bytes) -> None:
    if data:
        raise Refusal(Reply.ERR_INVALID, "this option has no data")


def _context(number: int) -> bytes:
    return number.to_bytes(4, "big") + BASE_ALLOCATION.encode()


_STEPS: Final[dict[State, Callable[[Handshake], bool]]] = {
    "flags": Handshake._read_flags,
    "option": Handshake._read_option,
    "data": Handshake._read_data,
    "skip": Handshake._skip_data,
}
# What is not here is ERR_UNSUP: STARTTLS and EXTENDED_HEADERS too.
_ANSWERS: Final[dict[int, Callable[[Handshake, bytes], None]]] = {
    Option.EXPORT_NAME: Handshake._export_name,
    Option.ABORT: Handshake._abort,
    Option.LIST: Handshake._list,
    Option.INFO: Handshake._info,
    Option.GO: Handshake._go,
    Option.STRUCTURED_REPLY: Handshake._structured_reply,
    Option.LIST_META_CONTEXT: Handshake._list_meta,
    Option.SET_META_CONTEXT: Handshake._set_meta,
}
