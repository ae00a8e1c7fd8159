"""One host of a Room: does what it is told in its namespace. The descriptor is a unix stream socket, lines of JSON.

python -m tests.support.room_child DESCRIPTOR
"""

from __future__ import annotations

import json
import socket
import sys

from tests.support import tap_child

SOCKETS: dict[str, socket.socket] = {}


def ip(words: list[str]) -> None:
    tap_child.ip(*words)


def raw() -> None:
    """From now on frames of eth0 as they are."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)
    made.bind(("eth0", 3))
    made.settimeout(tap_child.SECONDS)
    made.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the kernel takes the outer tag out and tells it there
    SOCKETS["raw"] = made


def put(frames: list[str]) -> None:
    for text in frames:
        SOCKETS["raw"].send(bytes.fromhex(text))


def get(marker: str) -> list[str]:
    """[the frame that has the marker in it, the tag that stood in it or ""]."""
    while True:
        data, extra, _, (_, _, kind, _, _) = SOCKETS["raw"].recvmsg(1 << 16, 256)
        if bytes.fromhex(marker) in data and kind != 4:  # 4: on its way out
            aux = extra[0][2]  # struct tpacket_auxdata, in the machine's own order
            valid = int.from_bytes(aux[:4], sys.byteorder) & 0x10
            tag = b"".join(int.from_bytes(aux[at : at + 2], sys.byteorder).to_bytes(2) for at in (18, 16))
            return [data.hex(), tag.hex() if valid else ""]


OPS = {**tap_child.OPS, "ip": ip, "raw": raw, "put": put, "get": get}


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.sendall(b"null\n")
    for line in control.makefile("r"):
        request = json.loads(line)
        control.sendall(json.dumps(OPS[request.pop("op")](**request)).encode() + b"\n")


if __name__ == "__main__":
    main()
