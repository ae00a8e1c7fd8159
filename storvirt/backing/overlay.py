"""Overlay: a member that is only read, with what is written to it kept in memory. So a pool can be looked at, log
replayed and all, without a byte of its files changing.

Knows: pages of 4096 bytes over a member. Refuses to know: what is in them; durability, because there is none.
"""

from __future__ import annotations

from storvirt.backing.member import Member

_PAGE = 4096


class Overlay:
    """The `inner` of a PythonMember. `below`: read where nothing was written; closed with this."""

    def __init__(self, below: Member) -> None:
        self._below = below
        self._pages: dict[int, bytes] = {}

    @property
    def size(self) -> int:
        return self._below.size

    def read(self, offset: int, length: int) -> bytes:
        first, last = offset // _PAGE, -(-(offset + length) // _PAGE)
        if not any(page in self._pages for page in range(first, last)):
            return self._below.read(offset, length)
        whole = b"".join(self._page(page) for page in range(first, last))
        return whole[offset - first * _PAGE : offset - first * _PAGE + length]

    def write(self, offset: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            page, inside = divmod(offset + done, _PAGE)
            piece = data[done : done + _PAGE - inside]
            old = self._page(page)
            self._pages[page] = old[:inside] + piece + old[inside + len(piece) :]
            done += len(piece)

    def close(self) -> None:
        self._below.close()

    def _page(self, number: int) -> bytes:
        found = self._pages.get(number)
        if found is not None:
            return found
        at = number * _PAGE
        return self._below.read(at, min(_PAGE, self.size - at))
