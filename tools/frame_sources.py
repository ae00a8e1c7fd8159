"""One frame as somebody has it already: hex digits, or a packet of a capture file.

Knows: how hex is written, how scapy reads a file (in the command's own process, only when there is one to read).
Refuses to know: what is in the frame. BadInput has one sentence.
"""

from __future__ import annotations

import re
from typing import Any, Final

from netvirt.burst import MAX_FRAME, MIN_FRAME
from tools.decode import quiet_scapy
from tools.errors import BadInput

_ETHERNET: Final = 1  # LINKTYPE_ETHERNET


def from_hex(text: str) -> bytes:
    """`ff ff ff ff ff ff 02:00...`: digits in pairs; blanks, colons, hyphens and dots between them. Raises BadInput."""
    digits = re.sub(r"[\s:.-]|0[xX]", "", text)
    if not re.fullmatch(r"(?:[0-9a-fA-F]{2})+", digits):
        raise BadInput("--hex: these are no pairs of hexadecimal digits")
    return _checked(bytes.fromhex(digits), "--hex")


def from_file(path: str, number: int) -> bytes:
    """Packet `number` (from 1) of a pcap or pcapng file. Raises BadInput."""
    try:
        with quiet_scapy():
            from scapy.utils import RawPcapReader
        # Any file may be given: whatever a reader makes of junk must not end in a traceback.
        with open(path, "rb") as file, RawPcapReader(file) as reader:
            return _checked(_packet(reader, path, number), f"packet {number} of {path}")
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    except Exception as error:
        raise BadInput(f"{path}: no capture file that can be read ({type(error).__name__})") from None


def _packet(reader: Any, path: str, number: int) -> bytes:
    count = 0
    for data, metadata in reader:
        count += 1
        if count == number:
            link = getattr(metadata, "linktype", None)
            if (reader.linktype if link is None else link) != _ETHERNET:
                raise BadInput(f"packet {number} of {path} is not from an Ethernet")
            return bytes(data)
    raise BadInput(f"{path} has {count} packets, and no packet {number}")


def _checked(frame: bytes, what: str) -> bytes:
    if not MIN_FRAME <= len(frame) <= MAX_FRAME:
        raise BadInput(f"{what}: a frame has {MIN_FRAME} to {MAX_FRAME} bytes, not {len(frame)}")
    return frame
