class Table:
    """VLAN <-> VNI, remotes, and behind which of them a station was seen."""

    table_full: int
    moves: int
    def __init__(
        self,
        remotes: list[bytes],
        vnis: dict[int, int],
        *,
        inner_tags: bool = False,
        ageing: int = 300,
        tpid: int = 0x8100,
    ) -> None: ...
    def stations(self, now: int) -> int: ...
