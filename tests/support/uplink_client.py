"""What a client of an uplink does, in its own namespace; prints one line of JSON.

python -m tests.support.uplink_client tcp ADDRESS PORT SEED SIZE      -> what it heard: [bytes, SHA-256]
python -m tests.support.uplink_client dns ADDRESS NAME                -> the addresses of the answer
python -m tests.support.uplink_client refused ADDRESS PORT            -> how a connection fails, or "connected"
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

SECONDS = 20.0


def pattern(seed: int, size: int) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(size)


def digest(data: bytes) -> list[Any]:
    return [len(data), hashlib.sha256(data).hexdigest()]


def tcp(address: str, port: str, seed: str, size: str) -> list[Any]:
    with socket.create_connection((address, int(port)), SECONDS) as stream:
        stream.sendall(int(size).to_bytes(8, "big") + pattern(int(seed), int(size)))
        return digest(stream.makefile("rb").read())


def dns(address: str, name: str) -> list[str]:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    question = bytes.fromhex("1234 0100 0001 0000 0000 0000") + labels + bytes.fromhex("00 0001 0001")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(1.0)
        made.connect((address, 53))
        for _ in range(int(SECONDS)):
            made.send(question)
            try:
                answer = made.recv(512)
            except (TimeoutError, ConnectionRefusedError):
                continue
            assert answer[:2] == question[:2]
            return [socket.inet_ntoa(answer[-4:])]
    return []


def refused(address: str, port: str) -> str:
    """What a connection ends with: the name of the error, or "connected"."""
    try:
        socket.create_connection((address, int(port)), 3.0).close()
    except OSError as error:
        return type(error).__name__
    return "connected"


if __name__ == "__main__":
    does: dict[str, Callable[..., Any]] = {"tcp": tcp, "dns": dns, "refused": refused}
    print(json.dumps(does[sys.argv[1]](*sys.argv[2:])))
