from netvirt.ports.vxlan_table import Table

class Sender:
    """FRAMES messages -> VXLAN datagrams; keeps one batch that a full socket did not take."""

    blocked: int
    frames: int
    nbytes: int
    datagrams: int
    floods: int
    unmapped: int
    inner_tag: int
    too_long: int
    no_buffers: int
    unreachable: int
    offload_unsupported: int
    longest: int
    def __init__(self, table: Table) -> None: ...
    def reset(self) -> None: ...
    def write(self, fds: list[int], message: bytes | bytearray | memoryview, now: int) -> bool: ...
