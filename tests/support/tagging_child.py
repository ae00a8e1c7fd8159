"""A VLAN interface for kernels that have none (no 8021q): a TAP of that name, whose frames pass another with a tag.

python -m tests.support.tagging_child INTERFACE VID    makes INTERFACE.VID, prints "ready", runs until its input ends
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys

from tests.support.tap_child import IFF_NO_PI, IFF_TAP, TUNSETIFF, ip

SOL_PACKET, PACKET_AUXDATA, ETH_P_ALL, PACKET_OUTGOING = 263, 8, 3, 4
TAG_VALID = 0x10  # TP_STATUS_VLAN_VALID
AUXDATA = struct.Struct("=LLLHHHH")  # struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
TPID = b"\x81\x00"


def open_tap(name: str) -> int:
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    ip("link", "set", name, "up")  # one that is down refuses frames
    return tap


def open_raw(name: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.bind((name, ETH_P_ALL))
    raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)  # the kernel takes the tag out of the frame and tells it there
    return raw


def received(raw: socket.socket, vid: int) -> bytes | None:
    """A frame of this VLAN without its tag; None is one of another, or our own."""
    data, extra, _, (_, _, kind, _, _) = raw.recvmsg(1 << 16, 256)
    status, *_, tci, _ = AUXDATA.unpack(extra[0][2][: AUXDATA.size])
    return data if kind != PACKET_OUTGOING and status & TAG_VALID and tci & 0xFFF == vid else None


def main() -> None:
    name, vid = sys.argv[1], int(sys.argv[2])
    tap, raw = open_tap(f"{name}.{vid}"), open_raw(name)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([tap, raw, sys.stdin], [], [])
        if tap in ready:
            data = os.read(tap, 1 << 16)
            raw.send(data[:12] + TPID + vid.to_bytes(2) + data[12:])
        if raw in ready and (frame := received(raw, vid)) is not None:
            os.write(tap, frame)
        if sys.stdin in ready:
            return


if __name__ == "__main__":
    main()
