"""Which slab is filled next: whole ones first, then the fullest, so that others become empty and can be given back.

Knows: slabs with free slots by kind, and the order in which they are filled. Refuses to know: how new ones are cut,
when slots come back, what they are for.

The choice has to be cheap: where slots came back here and there, a slab is chosen for every few grains. Only a slab
that is being filled moves in that order, and towards its beginning; anything else that changes it (slots that come
back, slabs and members that come or go) is told by slab.Changes, and then the slabs are sorted again. So the choice is
between the first of them and the few that are being filled.
"""

from __future__ import annotations

from collections.abc import Callable

from storvirt.pool.engine import Engine
from storvirt.pool.format import DATA
from storvirt.pool.slab import Slab

Kind = tuple[int, int, int]  # use, profile (of pages: copies), grain


class Shelf:
    """The slabs of one pool."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._order: dict[Kind, list[Slab]] = {}  # the first one is last
        self._filling: dict[Kind, list[Slab]] = {}
        self.avoids: Callable[[Slab], bool] = _none
        self._may_relent = False

    def avoid(self, avoids: Callable[[Slab], bool] | None = None, *, if_possible: bool = False) -> None:
        """Slabs that are being emptied: they are not filled from now on. None: all may be filled again. if_possible:
        they may be, too, when there is no other room."""
        self.avoids = avoids or _none
        self._may_relent = if_possible
        self._engine.changes.any = True
        self._engine.forget_current_slabs()

    def relent(self) -> bool:
        """There is no other room: whether slabs may be filled now that were avoided."""
        relented = self._may_relent
        if relented:
            self.avoid()
        return relented

    def choose(self, use: int, profile: int, grain: int, beyond: int = 0) -> Slab | None:
        """The slab to fill; None where not more than `beyond` slots are free in all slabs of the kind together.

        profile: of data; of pages the least number of copies, whatever the slab is.
        """
        kind = (use, profile, grain)
        order = self._sorted(kind)
        while order and not order[-1].free_slots:
            order.pop()
        if not _has_more(order, beyond):
            return None
        filling = [slab for slab in self._filling[kind] if slab.free_slots]
        best = min([order[-1], *filling], key=_rank)
        if best not in filling:
            filling.append(best)
        self._filling[kind] = filling
        return best

    def _sorted(self, kind: Kind) -> list[Slab]:
        engine = self._engine
        if engine.changes.any:
            engine.changes.any = False
            self._order.clear()
        order = self._order.get(kind)
        if order is None:
            usable = (slab for slab in engine.all_slabs() if slab.free_slots and slab.tolerance >= 0)
            order = [slab for slab in usable if _is(slab, kind) and not self.avoids(slab)]
            order.sort(key=_rank, reverse=True)
            self._order[kind] = order
            fits = set(order)
            self._filling[kind] = [slab for slab in engine.current_slabs() if slab in fits]
        return order


def _none(slab: Slab) -> bool:
    return False


def _is(slab: Slab, kind: Kind) -> bool:
    use, profile, grain = kind
    fits = slab.profile == profile if use == DATA else slab.width >= profile
    return slab.use == use and slab.grain == grain and fits


def _rank(slab: Slab) -> tuple[int, int, int]:
    """The least one is filled first."""
    return slab.missing.bit_count(), slab.free_slots, slab.number


def _has_more(slabs: list[Slab], than: int) -> bool:
    total = 0
    for slab in reversed(slabs):
        total += slab.free_slots
        if total > than:
            return True
    return False
