from collections.abc import Iterable
from typing import Final, TypedDict

from netvirt.dataplane.fdb import MacTable
from netvirt.dataplane.queue import Queue

STATES: Final[tuple[str, ...]]

class PortStatistics(TypedDict):
    rx_frames: int
    rx_bytes: int
    tx_frames: int
    tx_bytes: int
    waiting_frames: int
    waiting_bytes: int
    drops: dict[str, int]

class Plane:
    @property
    def macs(self) -> MacTable: ...
    def __init__(self, mac_limit: int = 16384, ageing: int = 300, identity_base: int = 1) -> None: ...
    def add_port(self, queue_bytes: int = ..., epoch: int = 0) -> int: ...
    def remove_port(self, number: int) -> None: ...
    def set_port(
        self,
        number: int,
        *,
        state: str,
        takes_tagged: bool,
        pvid: int,
        member: Iterable[int],
        untagged: Iterable[int],
        priority: int = 0,
        mtu: int = 9216,
    ) -> None: ...
    def set_mac_limit(self, limit: int) -> None: ...
    def queue(self, number: int) -> Queue: ...
    def forward(self, number: int, message: bytes | bytearray | memoryview, now_ns: int, wall_ns: int) -> int: ...
    def pending(self) -> list[int]: ...
    def pending_captures(self) -> list[int]: ...
    def add_capture(
        self, numbers: Iterable[int], queue_bytes: int = ..., epoch: int = 0
    ) -> tuple[int, Queue] | None: ...
    def remove_capture(self, session: int) -> None: ...
    def statistics(self, number: int) -> PortStatistics: ...
