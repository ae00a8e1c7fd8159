from collections.abc import Iterator
from typing import Final, NamedTuple

HEADER_SIZE: Final = 16
FRAME_HEADER_SIZE: Final = 24
VNET_SIZE: Final = 12
MIN_FRAME: Final = 14
MAX_FRAME: Final = 65557
MAX_MESSAGE: Final = 1 << 20

KIND_FRAMES: Final = 0
KIND_HELLO: Final = 1
KIND_WELCOME: Final = 2
KIND_REFUSED: Final = 3
KIND_CREDIT: Final = 4
KIND_BYE: Final = 5
KIND_GONE: Final = 6
KIND_PACKED: Final = 7

FLAG_VNET: Final = 1
FLAG_IN: Final = 2
FLAG_OUT: Final = 4

class BurstError(ValueError):
    """A message that is no burst: the sentence says what is wrong and at which byte."""

class Header(NamedTuple):
    kind: int
    frames: int
    epoch: int

class Frame(NamedTuple):
    data: bytes
    time_ns: int
    identity: int
    flags: int
    port: int
    vnet: bytes

def pack_header(kind: int, count: int, epoch: int) -> bytes: ...
def unpack_header(message: bytes | bytearray | memoryview) -> Header: ...

class Burst:
    epoch: int
    def __init__(self, epoch: int = 0, capacity: int = 4096) -> None: ...
    def append(
        self,
        data: bytes | bytearray | memoryview,
        time_ns: int = 0,
        identity: int = 0,
        flags: int = 0,
        port: int = 0,
        vnet: bytes = b"",
    ) -> None: ...
    def clear(self) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def frames(self) -> list[bytes]: ...
    @property
    def nbytes(self) -> int: ...
    def message(self) -> memoryview: ...
    @staticmethod
    def parse(message: bytes | bytearray | memoryview) -> Burst: ...
