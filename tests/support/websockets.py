"""A WebSocket client of few words, independent of the library of the driver: it can also say what is forbidden."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct

KEY = base64.b64encode(b"0123456789abcdef").decode()
ACCEPT = base64.b64encode(hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def request(path: str, *headers: str, host: str = "127.0.0.1") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def message(data: bytes, opcode: int = BINARY, *, final: bool = True, mask: bytes = b"\x12\x34\x56\x78") -> bytes:
    """One WebSocket frame of a client (RFC 6455 clause 5.2)."""
    size = len(data)
    head = bytes([opcode | (128 if final else 0)])
    if size < 126:
        head += bytes([128 | size])
    elif size < 65536:
        head += struct.pack(">BH", 128 | 126, size)
    else:
        head += struct.pack(">BQ", 128 | 127, size)
    whole = int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + whole.to_bytes(size, "big")


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.setblocking(False)
    return client


class Reader:
    """What the server says: the answer's head, then (opcode, payload) pairs."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.data = b""
        self.head = b""
        self.body = b""
        self.ended = False
        self.messages: list[tuple[int, bytes]] = []

    def read(self) -> Reader:
        """What is there now; what was there, if we have hung up."""
        if self.client.fileno() < 0:
            return self
        try:
            while piece := self.client.recv(1 << 18):
                self.data += piece
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.ended = True
        if not self.head and b"\r\n\r\n" in self.data:
            self.head, _, self.data = self.data.partition(b"\r\n\r\n")
        if self.head and not self.head.startswith(b"HTTP/1.1 101"):
            self.body, self.data = self.body + self.data, b""
        if self.head.startswith(b"HTTP/1.1 101"):
            self._parse()
        return self

    def _parse(self) -> None:
        with contextlib.suppress(struct.error, IndexError):
            at = 0
            while True:
                first, size = self.data[at], self.data[at + 1]
                assert first & 128 and size < 128, "whole messages, and no mask, from a server"
                start = at + 2
                if size == 126:
                    (size,), start = struct.unpack_from(">H", self.data, start), start + 2
                elif size == 127:
                    (size,), start = struct.unpack_from(">Q", self.data, start), start + 8
                if len(self.data) < start + size:
                    break
                self.messages.append((first & 15, self.data[start : start + size]))
                at = start + size
        self.data = self.data[at:]

    @property
    def frames(self) -> list[bytes]:
        return [data for opcode, data in self.messages if opcode == BINARY]
