from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypedDict

from netvirt.dataplane.fdb import MacTable
from netvirt.dataplane.queue import Queue

STATES: Final[tuple[str, ...]]
FLOODED: Final[tuple[str, ...]]
PRIORITY_TAGS: Final[tuple[str, ...]]
ON_LIMIT: Final[tuple[str, ...]]

class PortStatistics(TypedDict):
    rx_frames: int
    rx_bytes: int
    rx_multicast: int
    rx_broadcast: int
    tx_frames: int
    tx_bytes: int
    waiting_frames: int
    waiting_bytes: int
    drops: dict[str, int]

class Plane:
    @property
    def macs(self) -> MacTable: ...
    def __init__(
        self,
        mac_limit: int = 16384,
        ageing: int = 300,
        identity_base: int = 1,
        counters: Callable[[int], Any] | None = None,
        seed: int = 0,
    ) -> None: ...
    def add_port(self, queue_bytes: int = ..., epoch: int = 0) -> int: ...
    def remove_port(self, number: int) -> None: ...
    def set_port(
        self,
        number: int,
        *,
        state: str,
        pvid: int,
        member: Iterable[int],
        untagged: Iterable[int],
        takes_tagged: bool,
        takes_untagged: bool = True,
        admit: Iterable[int] | None = None,
        priority: int = 0,
        mtu: int = 9216,
        tpid: int = 0x8100,
        dot1q_tunnel: bool = False,
        customer: Iterable[int] = (),
        priority_tags: str = "never",
        translate: Iterable[tuple[int, int]] = (),
        flood: Iterable[str] = ...,
        storm: Iterable[tuple[str, int, str]] = (),
        protected: bool = False,
        mac_limit: int = 0,
        on_limit: str = "flood",
        sticky: bool = False,
        peer: Iterable[int] = (),
        tunnel: Iterable[int] = ...,
    ) -> None: ...
    def set_offload(self, number: int, takes: int) -> None: ...
    def violations(self) -> list[int]: ...
    def shut(self, number: int) -> None: ...
    def recover(self, number: int) -> None: ...
    def set_vlans(
        self, fids: Mapping[int, int], remote: Iterable[int] = (), limits: Iterable[tuple[int, int]] = ()
    ) -> None: ...
    def fid(self, vid: int) -> int: ...
    def set_mirrors(self, mirrors: Iterable[tuple[Sequence[int], Sequence[int], Iterable[int], int, int]]) -> None: ...
    def set_mac_limit(self, limit: int) -> None: ...
    def storm_levels(self, number: int) -> list[tuple[int, int]]: ...
    def set_storm_levels(self, number: int, levels: Sequence[Sequence[int]]) -> None: ...
    def queue(self, number: int) -> Queue: ...
    def set_carrier(self, number: int, up: bool) -> int: ...
    def count_waiting(self) -> None: ...
    def forward(self, number: int, message: bytes | bytearray | memoryview, now_ns: int, wall_ns: int) -> int: ...
    def trace(
        self, number: int, frame: bytes | bytearray | memoryview, now_ns: int, wall_ns: int
    ) -> list[tuple[int, int, int]]: ...
    def pending(self) -> list[int]: ...
    def pending_captures(self) -> list[int]: ...
    def add_capture(
        self, numbers: Iterable[int], queue_bytes: int = ..., epoch: int = 0
    ) -> tuple[int, Queue] | None: ...
    def remove_capture(self, session: int) -> None: ...
    def statistics(self, number: int) -> PortStatistics: ...
