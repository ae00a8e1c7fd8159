class Receiver:
    """Datagrams of a socket -> FRAMES messages; what can't be a frame is left out and counted."""

    frames: int
    nbytes: int
    empty: int
    runts: int
    oversize: int
    def __init__(self) -> None: ...
    def read(self, fd: int) -> memoryview | None: ...
    def rest(self) -> memoryview | None: ...

class Sender:
    """FRAMES messages -> datagrams of a connected socket; keeps the position in a message that was taken in part."""

    frames: int
    nbytes: int
    too_long: int
    no_buffers: int
    refused: int
    offload_unsupported: int
    def __init__(self, *, lossy: bool = False) -> None: ...
    def reset(self) -> None: ...
    def write(self, fd: int, message: bytes | bytearray | memoryview) -> bool: ...
