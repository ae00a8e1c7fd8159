from netvirt.ports.vxlan_table import Table

class Receiver:
    """VXLAN datagrams of a socket -> FRAMES messages; what is none of ours is left out and counted."""

    frames: int
    nbytes: int
    unknown_remote: int
    bad_flags: int
    unknown_vni: int
    runts: int
    oversize: int
    inner_tag: int
    finished: int
    large: int
    mtu: int
    def __init__(self, table: Table) -> None: ...
    def read(self, fd: int, now: int) -> memoryview | None: ...
    def rest(self) -> memoryview | None: ...
