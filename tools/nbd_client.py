"""The smallest NBD client that the demo needs: one connection, one request at a time, simple replies.

Knows: the fixed newstyle greeting with NBD_OPT_GO, READ, WRITE, FLUSH.
Refuses to know: TLS, structured replies, reconnecting.
"""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self

from daemons.errors import UserError
from storvirt.nbd.wire import Command

_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_GO, _ACK, _INFO = 7, 1, 3
_REQUEST_MAGIC = 0x25609513


class NbdClient:
    """Reads and writes of one export on a unix socket. Raises UserError."""

    def __init__(self, path: str, export: str, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
            self._greet(export.encode())
        except OSError as error:
            self._socket.close()
            raise UserError(f"can't reach the LUN at {path}: {error.strerror or error}") from None
        self._cookie = 0

    def _greet(self, name: bytes) -> None:
        _GREETING.unpack(self._take(_GREETING.size))
        self._socket.sendall(struct.pack(">I", 3))  # fixed newstyle, no zeroes
        go = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        self._socket.sendall(_OPTION.pack(b"IHAVEOPT", _GO, len(go)) + go)
        while True:
            _magic, _option, kind, length = _OPTION_REPLY.unpack(self._take(_OPTION_REPLY.size))
            data = self._take(length)
            if kind == _ACK:
                return
            if kind != _INFO:
                raise UserError(f"the server refuses the export {name.decode()!r}: {data.decode(errors='replace')}")

    def _take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise UserError("the NBD server has hung up")
            data += piece
        return bytes(data)

    def _call(self, kind: int, offset: int, length: int, payload: bytes = b"") -> bytes:
        self._cookie += 1
        self._socket.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, kind, self._cookie, offset, length) + payload)
        _magic, error, _cookie = _REPLY.unpack(self._take(_REPLY.size))
        if error:
            raise UserError(f"the LUN answers error {error} at byte {offset}")
        return self._take(length) if kind == Command.READ else b""

    def read(self, offset: int, length: int) -> bytes:
        return self._call(Command.READ, offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._call(Command.WRITE, offset, len(data), data)

    def flush(self) -> None:
        self._call(Command.FLUSH, 0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
