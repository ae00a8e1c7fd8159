"""What a pool says of itself, as plain values. Knows: names for numbers. Refuses to know: how anything came about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storvirt.pool import format as f
from storvirt.pool import states
from storvirt.raid.layout import BY_NUMBER

if TYPE_CHECKING:
    from storvirt.pool.pool import Pool


def status(pool: Pool) -> dict[str, Any]:
    """Members, volumes, space in bytes, the log, counters."""
    return {
        "name": pool.name,
        "commit": pool.number,
        "extent": pool.extent,
        "members": [
            {
                "number": number,
                "name": pool.member_name(number),
                "state": states.state(row, number in pool.joining),
                "condition": states.condition(row, number in pool.joining),
                "leaving": row.successor == f.LEAVING and row.state != f.REMOVED,
                "size": row.size,
                "free": pool.space.free(number) * pool.extent,
                "healed": pool.member_counts.get((number, "healed"), 0),
                "healed_at": pool.member_damage.get(number),
            }
            for number, row in enumerate(pool.rows)
        ],
        "volumes": [
            {"name": row.name, "size": row.size, "grain": row.grain, "raid": BY_NUMBER[row.profile].name}
            for row in pool.volume_rows.values()
        ],
        "log": {"segments": len(pool.segments), "blocks": len(pool.engine.index)},
        "counts": dict(pool.engine.counts),
        "events": list(pool.events[-20:]),
    }
