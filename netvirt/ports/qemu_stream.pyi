class Decoder:
    """Socket bytes -> FRAMES messages. `ended` is empty until the stream is over, then one word that says why."""

    ended: str
    frames: int
    nbytes: int
    too_short: int
    too_long: int
    def __init__(self) -> None: ...
    def reset(self) -> None: ...
    def read(self, fd: int) -> memoryview | None: ...

class Encoder:
    """FRAMES messages -> socket bytes. Keeps the position inside a message that the peer took only in part."""

    frames: int
    nbytes: int
    offload_unsupported: int
    def __init__(self) -> None: ...
    def reset(self) -> None: ...
    def write(self, fd: int, message: bytes | bytearray | memoryview) -> bool: ...
