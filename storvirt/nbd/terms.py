"""The client's half of the negotiation: bytes in, bytes out, until the export's terms are known.

Knows: fixed newstyle with GO, structured replies where the server has them, block sizes. Refuses to know: sockets,
TLS, what the export is used for. A server that breaks the protocol is a ServerError with one sentence.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from storvirt.nbd.wire import (
    CLIENT_FLAGS,
    GREETING,
    IHAVEOPT,
    INFO_BLOCK_SIZE,
    INFO_EXPORT,
    MAX_PAYLOAD,
    MAX_STRING,
    NBDMAGIC,
    OPTION,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    ExportFlag,
    HandshakeFlag,
    Info,
    Option,
    Reply,
)  # fmt: skip

# proto.md, "Block size constraints": who was told nothing should ask for whole sectors, and at most 32 MiB of them.
_UNTOLD_MINIMUM: Final = 512
_LARGEST_MINIMUM: Final = 65536
_MOST_INFOS: Final = 64
_WHY: Final = {
    Reply.ERR_UNSUP: "it is too old: it does not know NBD_OPT_GO",
    Reply.ERR_POLICY: "it does not allow this",
    Reply.ERR_TLS_REQD: "it wants TLS, which is not spoken here",
    Reply.ERR_UNKNOWN: "it has no export of that name",
    Reply.ERR_SHUTDOWN: "it is shutting down",
}


class ServerError(Exception):
    """The server broke the protocol, or refuses; nothing more can be had of this connection."""


class Terms(NamedTuple):
    """size: bytes of the export; minimum, maximum: bytes of one request; structured: how replies look."""

    size: int
    flags: ExportFlag
    minimum: int
    maximum: int
    structured: bool


class Greeting:
    """receive(bytes) gives what to send next; `terms` is set at the end, when `leftover` holds no byte of it."""

    def __init__(self, export: str) -> None:
        self.terms: Terms | None = None
        self._export = export.encode()
        self._data = bytearray()
        self._state = self._greeted
        self._structured = False
        self._size: tuple[int, int] | None = None
        self._blocks = (_UNTOLD_MINIMUM, MAX_PAYLOAD)
        self._infos = 0

    def receive(self, data: bytes) -> bytes:
        """What to answer; may be nothing yet. Raises ServerError."""
        self._data += data
        out = b""
        while self.terms is None:
            said = self._state()
            if said is None:
                return out
            out += said
        if self._data:
            raise ServerError("it sent bytes that nobody asked for")
        return out

    def _take(self, count: int) -> bytes | None:
        if len(self._data) < count:
            return None
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    def _greeted(self) -> bytes | None:
        head = self._take(GREETING.size)
        if head is None:
            return None
        magic, option, flags = GREETING.unpack(head)
        if magic != NBDMAGIC or option != IHAVEOPT:
            raise ServerError("it is no NBD server, or one of the old kind without options")
        if not flags & HandshakeFlag.FIXED_NEWSTYLE:
            raise ServerError("it does not speak the fixed newstyle of NBD")
        self._state = self._structured_reply
        answer = CLIENT_FLAGS.pack(flags & (HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES))
        return answer + OPTION.pack(IHAVEOPT, Option.STRUCTURED_REPLY, 0)

    def _reply(self, option: Option) -> tuple[int, bytes] | None:
        if len(self._data) < OPTION_REPLY.size:
            return None
        magic, answered, kind, length = OPTION_REPLY.unpack_from(self._data)
        if magic != OPTION_REPLY_MAGIC or answered != option:
            raise ServerError("its answer to an option is none")
        if length > MAX_STRING + 64:
            raise ServerError(f"its answer to an option has {length} bytes, which is too long")
        whole = self._take(OPTION_REPLY.size + length)
        return None if whole is None else (kind, whole[OPTION_REPLY.size :])

    def _structured_reply(self) -> bytes | None:
        answer = self._reply(Option.STRUCTURED_REPLY)
        if answer is None:
            return None
        self._structured = answer[0] == Reply.ACK
        self._state = self._gone
        asked = struct.pack(">I", len(self._export)) + self._export + struct.pack(">HH", 1, Info.BLOCK_SIZE)
        return OPTION.pack(IHAVEOPT, Option.GO, len(asked)) + asked

    def _gone(self) -> bytes | None:
        answer = self._reply(Option.GO)
        if answer is None:
            return None
        kind, data = answer
        if kind == Reply.INFO:
            self._info(data)
        elif kind == Reply.ACK:
            self._agreed()
        elif kind >> 31:
            why = _WHY.get(Reply(kind)) if kind in Reply._value2member_map_ else None
            said = "".join(c for c in data.decode(errors="replace") if c.isprintable())[:200]
            raise ServerError(why or f"it refuses: {said or f'error {kind - (1 << 31)}'}")
        else:
            raise ServerError("its answer to an option is none")
        return b""

    def _info(self, data: bytes) -> None:
        self._infos += 1
        if self._infos > _MOST_INFOS or len(data) < 2:
            raise ServerError("what it says of its export is none")
        kind = int.from_bytes(data[:2], "big")
        shape = {Info.EXPORT: INFO_EXPORT, Info.BLOCK_SIZE: INFO_BLOCK_SIZE}.get(Info(kind) if kind < 4 else Info.NAME)
        if shape is None:
            return
        if len(data) != shape.size:
            raise ServerError("what it says of its export is none")
        if kind == Info.EXPORT:
            _, size, flags = shape.unpack(data)
            self._size = size, flags
        else:
            _, minimum, _preferred, maximum = shape.unpack(data)
            self._blocks = minimum, maximum

    def _agreed(self) -> None:
        if self._size is None:
            raise ServerError("it does not say how large its export is")
        size, flags = self._size
        minimum, maximum = self._blocks
        if not 1 <= minimum <= _LARGEST_MINIMUM or minimum & (minimum - 1) or maximum < minimum or size >> 63:
            raise ServerError(f"its block sizes ({minimum} to {maximum}) or its size ({size}) can't be true")
        most = min(maximum, MAX_PAYLOAD) // minimum * minimum
        self.terms = Terms(size, ExportFlag(flags), minimum, most, self._structured)
