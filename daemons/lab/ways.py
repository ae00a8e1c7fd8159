"""What a port takes and gives, by VLAN: its settings as the analysis of a lab needs them.

Knows: netvirt.modes, which is also what the data path follows. Refuses to know: cables, frames, stations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

from netvirt.modes import tables
from netvirt.settings import C_TAG, KINDS, PortSettings, VlanSettings

_PING_PAYLOAD = 128  # bytes that pass everywhere where a small ping passes


class Ways(NamedTuple):
    """admit: VIDs that may come in; member: that go out; bare: that go out untagged; inside: VID on the wire -> VID.

    plain: an access port or a trunk and nothing special, so that whatever goes one way also goes the other.
    doubtful: it may hold back what its VLANs would let pass, by how much there is of it or by who was there first.
    """

    pvid: int = 0
    admit: frozenset[int] = frozenset()
    member: frozenset[int] = frozenset()
    bare: frozenset[int] = frozenset()
    takes_tagged: bool = False
    takes_untagged: bool = False
    tpid: int = C_TAG
    tunnel: bool = False
    customer: frozenset[int] = frozenset()
    translate: tuple[tuple[int, int], ...] = ()
    priority_tag: bool = False
    protected: bool = False
    plain: bool = True
    doubtful: bool = False

    def inside(self, wire: int) -> int:
        """The VLAN of a tag on the wire, 0 if it stands for none here."""
        pairs = dict(self.translate)
        return pairs.get(wire, 0 if wire in pairs.values() else wire)

    def wire(self, inside: int) -> int:
        """The tag of a VLAN on the wire."""
        return next((wire for wire, vid in self.translate if vid == inside), inside)

    def cuts(self) -> list[frozenset[int]]:
        """Sets of VIDs; two VIDs that are in the same of them are treated alike by this port."""
        single = [frozenset({vid}) for vid in {self.pvid, *(vid for pair in self.translate for vid in pair)}]
        return [self.admit, self.member, self.bare, self.customer, *single]


CLOSED: Final = Ways(plain=False)


def ways(settings: PortSettings, whole: VlanSettings, mirrored: bool = False) -> Ways:
    """`mirrored`: the port is the destination of a mirror. Settings that can't be let nothing pass."""
    if mirrored or settings.state != "forwarding":
        return CLOSED
    try:
        table = _tables(settings, whole)
    except ValueError:
        return CLOSED
    return Ways(
        pvid=settings.pvid,
        admit=table["admit"],
        member=table["member"],
        bare=table["untagged"],
        takes_tagged=table["takes_tagged"],
        takes_untagged=table["takes_untagged"],
        tpid=settings.tpid,
        tunnel=table["dot1q_tunnel"],
        customer=settings.customer,
        translate=settings.translate,
        priority_tag=settings.priority_tags == "always",
        protected=settings.protected,
        plain=_plain(settings),
        doubtful=_doubtful(settings, whole),
    )


@lru_cache(maxsize=1024)  # in a lab of many switches most ports are the same
def _tables(settings: PortSettings, whole: VlanSettings) -> dict[str, Any]:
    return tables(settings, whole)


def _plain(settings: PortSettings) -> bool:
    usual = PortSettings()
    same = ("ingress_filter", "accept", "priority_tags", "tpid", "untagged", "translate", "protected")
    return settings.mode in ("access", "trunk") and all(getattr(settings, key) == getattr(usual, key) for key in same)


def _doubtful(settings: PortSettings, whole: VlanSettings) -> bool:
    limited = settings.on_limit != "flood" and bool(settings.mac_limit or whole.limits)
    return limited or bool(settings.storm) or settings.flood != frozenset(KINDS) or settings.mtu < _PING_PAYLOAD


def role(vid: int, whole: VlanSettings) -> str:
    """The mode of a port that has one VLAN, by what this VLAN is: access, promiscuous (primary) or host (secondary)."""
    for primary, isolated, communities in whole.private:
        if vid == primary:
            return "promiscuous"
        if vid in (isolated, *communities):
            return "host"
    return "access"
