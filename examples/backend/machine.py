"""The two backends that a virtual machine needs, in 60 lines: a network card in a switch port, and a disk on a LUN.

The "guest" here counts its boots in sector 0, and answers ARP and ping: python machine.py 10.0.0.9, under `vfab run`.
"""

import os
import socket
import struct
import sys
from urllib.parse import parse_qs, urlsplit

from netvirt import Nic


class Disk:
    """A LUN over NBD (doc/proto.md of the NBD project): the plain handshake, one request at a time."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(parse_qs(parts.query)["socket"][0])
        self._get(18)
        name = parts.path.lstrip("/").encode()
        self.line.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, len(name)) + name)
        self.size = struct.unpack(">QH", self._get(10))[0]

    def _get(self, count: int) -> bytes:
        return self.line.recv(count, socket.MSG_WAITALL)

    def ask(self, kind: int, offset: int, length: int, data: bytes = b"") -> bytes:
        """kind: 0 reads, 1 writes, 3 flushes: what was written before survives a power cut."""
        self.line.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, offset, length) + data)
        error = struct.unpack(">IIQ", self._get(16))[1]
        if error:
            raise OSError(error, os.strerror(error))
        return self._get(length) if kind == 0 else b""


def answer(frame: bytes, mac: bytes, address: bytes) -> bytes | None:
    """The guest's network stack: who has this address, and echo (RFC 826, RFC 792)."""
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == address:
        return frame[6:12] + mac + frame[12:20] + b"\0\2" + mac + address + frame[22:32]
    if frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[34] == 8 and frame[30:34] == address:
        total = (int.from_bytes(frame[36:38], "big") + 0x0800) % 0xFFFF  # the type fell from 8 to 0
        ip = frame[14:26] + address + frame[26:30]
        return frame[6:12] + mac + frame[12:14] + ip + b"\0\0" + total.to_bytes(2, "big") + frame[38:]
    return None


disk = Disk(os.environ["NBD_URI"])
boots = int.from_bytes(disk.ask(0, 0, 512)[:8], "little") + 1
disk.ask(1, 0, 512, boots.to_bytes(512, "little"))
disk.ask(3, 0, 0)
with Nic.connect(os.environ["VFAB_PORT_S1_ETH2"]) as nic:
    print(f"boot {boots}, {disk.size >> 20} MiB, {nic.mac} is {sys.argv[1]}", flush=True)
    while nic.carrier:
        frame = nic.receive(timeout=1.0)
        reply = answer(frame, bytes.fromhex(nic.mac.replace(":", "")), socket.inet_aton(sys.argv[1])) if frame else None
        if reply:
            nic.send(reply)
