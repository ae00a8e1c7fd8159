"""Log: one line of text for each call, with its time and how it ended. Knows: the line. Refuses to know: where it goes.

12.000345 write 4096 at 8192 fua: 41 us
12.000391 read 512 at 0: 8 us, [Errno 5] m2: the device below reports an I/O error
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from storvirt.block import Block, Extent
from storvirt.wrappers.through import Through

T = TypeVar("T")


class Log(Through):
    """`now()` gives nanoseconds, `emit(line)` takes a line without its end."""

    def __init__(self, block: Block, now: Callable[[], int], emit: Callable[[str], None]) -> None:
        super().__init__(block)
        self.now = now
        self.emit = emit

    def _logged(self, what: str, call: Callable[[], T]) -> T:
        begin = self.now()
        ending = ", it did not return"
        try:
            value = call()
            ending = ""
        except OSError as error:
            ending = f", {error}"
            raise
        finally:
            self.emit(f"{begin // 1000 / 1e6:.6f} {what}: {(self.now() - begin) // 1000} us{ending}")
        return value

    def read(self, offset: int, length: int) -> bytes:
        return self._logged(f"read {length} at {offset}", lambda: self.block.read(offset, length))

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        what = f"write {memoryview(data).nbytes} at {offset}{' fua' * fua}"
        self._logged(what, lambda: self.block.write(offset, data, fua))

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        what = f"zero {length} at {offset}{' keep' * (not may_trim)}{' fua' * fua}"
        self._logged(what, lambda: self.block.zero(offset, length, may_trim, fua))

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self._logged(f"trim {length} at {offset}{' fua' * fua}", lambda: self.block.trim(offset, length, fua))

    def flush(self) -> None:
        self._logged("flush", self.block.flush)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Logged with the time that all of them take."""
        return iter(self._logged(f"extents {length} at {offset}", lambda: list(self.block.extents(offset, length))))

    def close(self) -> None:
        self._logged("close", self.block.close)
