from typing import Final, TypeAlias

from netvirt.dataplane.queue import Queue

CSUM: Final = 0x01
TSO4: Final = 0x02
TSO6: Final = 0x04
ECN: Final = 0x08
USO4: Final = 0x20
USO6: Final = 0x40

_Bytes: TypeAlias = bytes | bytearray | memoryview

class OffloadError(ValueError):
    """A virtio-net header that does not fit its frame, or asks for what nobody here does."""

def put(
    queue: Queue,
    frame: _Bytes,
    vnet: _Bytes,
    takes: int = 0,
    tag: _Bytes = b"",
    strip: bool = False,
    time_ns: int = 0,
    identity: int = 0,
) -> int: ...
def leave(
    frame: _Bytes, vnet: _Bytes, takes: int = 0, tag: _Bytes = b"", strip: bool = False
) -> list[tuple[bytes, bytes]]: ...
def segment(frame: _Bytes, vnet: _Bytes, tag: _Bytes = b"", strip: bool = False) -> list[bytes]: ...
def finish(frame: _Bytes, vnet: _Bytes) -> bytes: ...
def needs(frame: _Bytes, vnet: _Bytes) -> tuple[int, int]: ...
