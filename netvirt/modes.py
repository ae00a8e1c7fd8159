"""From what people say about a port to what the plane's tables hold. Pure functions; ValueError is one sentence.

Knows: what a mode means for each VLAN (IEEE 802.1Q-2018 clauses 6.9 and 8.6), private VLANs (RFC 5517), FIDs, and which
settings contradict each other. Refuses to know: frames, stations, port numbers, the order of changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from netvirt.addr import check_pcp, check_vid
from netvirt.settings import C_TAG, KINDS, RESERVED_OCTETS, S_TAG, UNITS, Mirror, PortSettings, VlanSettings

STATES: Final = ("disabled", "blocked", "forwarding")
ACCEPT: Final = ("all", "tagged", "untagged")
PRIORITY_TAGS: Final = ("never", "if-nonzero", "always")
ON_LIMIT: Final = ("flood", "drop", "shutdown")
LARGEST_MTU: Final = 65_535  # the largest IP packet; with both tags a longer frame would not fit a burst's frame
LARGEST_RATE: Final = 10**11
LARGEST_LIMIT: Final = 1 << 22
ALL_VIDS: Final = frozenset(range(1, 4095))
MIRRORS: Final = 8


class Mode(NamedTuple):
    """What a mode does by itself. native: "" = a port of one VLAN, else how a trunk's native VLAN leaves."""

    accept: str
    trunk: bool = False
    native: str = ""  # untagged | tagged
    pvid_needed: bool = True


MODES: Final = {
    "access": Mode("untagged"),
    "trunk": Mode("all", trunk=True, native="untagged", pvid_needed=False),
    "native-untagged": Mode("all", trunk=True, native="untagged"),
    "native-tagged": Mode("all", trunk=True, native="tagged"),
    "dot1q-tunnel": Mode("all"),
    "host": Mode("untagged"),
    "promiscuous": Mode("untagged"),
}


def tables(settings: PortSettings, vlans: VlanSettings = VlanSettings()) -> dict[str, Any]:  # noqa: B008 (immutable)
    """The keyword arguments of Plane.set_port(). Raises ValueError for what can't be."""
    _check_words(settings)
    _check_numbers(settings)
    mode = MODES[settings.mode]
    _check_belonging(settings, mode)
    native = frozenset({settings.pvid} - {0})
    if mode.trunk:
        admit = member = settings.allowed | native
        bare = settings.untagged
        if bare is None:
            bare = native if mode.native == "untagged" else frozenset()
        _check_trunk(settings, member, bare)
    else:
        admit = native
        member = bare = _one_vlan(settings, vlans)
    accept = settings.accept or (mode.accept if settings.pvid else "tagged")
    return {
        "state": settings.state,
        "pvid": settings.pvid,
        "takes_tagged": accept != "untagged",
        "takes_untagged": accept != "tagged",
        "admit": admit if settings.ingress_filter else ALL_VIDS,
        "member": member,
        "untagged": bare,
        "priority": settings.priority,
        "mtu": settings.mtu,
        "tpid": settings.tpid,
        "dot1q_tunnel": settings.mode == "dot1q-tunnel",
        "customer": settings.customer,
        "priority_tags": settings.priority_tags,
        "translate": settings.translate,
        "flood": settings.flood,
        "storm": settings.storm,
        "protected": settings.protected,
        "mac_limit": settings.mac_limit,
        "on_limit": settings.on_limit,
        "sticky": settings.sticky,
        "peer": settings.peer,
        "tunnel": settings.tunnel,
    }


def _check_words(settings: PortSettings) -> None:
    for what, value, known in (
        ("port mode", settings.mode, MODES),
        ("port state", settings.state, STATES),
        ("accept", settings.accept, ("", *ACCEPT)),
        ("priority_tags", settings.priority_tags, PRIORITY_TAGS),
        ("on_limit", settings.on_limit, ON_LIMIT),
    ):
        if value not in known:
            raise ValueError(f"unknown {what} {value!r}; there are {', '.join(filter(None, known))}")
    for kind in sorted({*settings.flood, *(kind for kind, _, _ in settings.storm)}):
        if kind not in KINDS:
            raise ValueError(f"there is no {kind!r} to flood; there are {', '.join(KINDS)}")
    for _, _, unit in settings.storm:
        if unit not in UNITS:
            raise ValueError(f"a storm limit is in fps or bps, not {unit!r}")


def _check_numbers(settings: PortSettings) -> None:
    check_pcp(settings.priority)
    for vid in settings.allowed | (settings.untagged or frozenset()) | (settings.customer | {settings.pvid}) - {0}:
        check_vid(vid)
    if not 0 <= settings.mtu <= LARGEST_MTU:
        raise ValueError(f"an MTU is at most {LARGEST_MTU}, not {settings.mtu}")
    if settings.tpid not in (C_TAG, S_TAG):
        raise ValueError(f"a port's tag type is 0x8100 or 0x88a8, not {settings.tpid:#x}")
    if not 0 <= settings.mac_limit <= LARGEST_LIMIT:
        raise ValueError(f"a port's MAC limit is 0 to {LARGEST_LIMIT}, not {settings.mac_limit}")
    for kind, rate, _ in settings.storm:
        if not 1 <= rate <= LARGEST_RATE:
            raise ValueError(f"a storm limit is 1 to {LARGEST_RATE}, not {rate} ({kind})")
    if len({kind for kind, _, _ in settings.storm}) != len(settings.storm):
        raise ValueError("a storm limit is given twice for the same kind")
    for octet in settings.peer | settings.tunnel:
        if octet not in RESERVED_OCTETS:
            raise ValueError(f"01-80-C2-00-00-{octet:02X} is no reserved address; they end in 00 to 0F, or 21")
    for octet in settings.peer & settings.tunnel:
        raise ValueError(f"01-80-C2-00-00-{octet:02X} can't be for the switch itself and be forwarded, too")


def _check_belonging(settings: PortSettings, mode: Mode) -> None:
    """Settings that would have no effect in this mode, or take all its sense away."""
    if mode.pvid_needed and not settings.pvid:
        raise ValueError(f"{_a(settings.mode)} port needs a VLAN (pvid)")
    if not mode.trunk and settings.translate:
        raise ValueError(f"{_a(settings.mode)} port has no tags to translate")
    if not mode.trunk and settings.untagged is not None:
        raise ValueError(f"{_a(settings.mode)} port has one VLAN; 'untagged' is for trunks")
    if settings.mode != "dot1q-tunnel":
        if settings.customer:
            raise ValueError("a list of customer VLANs is for dot1q-tunnel ports")
    elif settings.accept == "tagged" or settings.priority_tags != "never":
        raise ValueError("to a dot1q-tunnel port every frame is untagged, and leaves as it came")


def _check_trunk(settings: PortSettings, member: frozenset[int], bare: frozenset[int]) -> None:
    for vid in sorted(bare - member):
        raise ValueError(f"VLAN {vid} is to leave untagged but is not allowed on this port")
    wires, insides = {wire for wire, _ in settings.translate}, {inside for _, inside in settings.translate}
    for vid in (*wires, *insides):
        check_vid(vid)
    if len(wires) != len(settings.translate) or len(insides) != len(settings.translate):
        raise ValueError("a VLAN is translated twice; VIDs on the wire and inside belong together one to one")
    for vid in sorted(insides - member):
        raise ValueError(f"a tag is translated to VLAN {vid}, which is not allowed on this port")
    for vid in sorted((wires - insides) & (member - bare)):
        raise ValueError(f"VLAN {vid} could not leave: on this port's wire its number stands for another VLAN")


def _one_vlan(settings: PortSettings, vlans: VlanSettings) -> frozenset[int]:
    """The VLANs whose frames leave a port that has no tags."""
    vid, mode = settings.pvid, settings.mode
    primaries = {primary: (isolated, communities) for primary, isolated, communities in vlans.private}
    secondaries = dict(_secondaries(vlans))
    if mode == "promiscuous":
        if vid not in primaries:
            raise ValueError(f"a promiscuous port needs a primary private VLAN, and VLAN {vid} is none")
        isolated, communities = primaries[vid]
        return frozenset({vid, isolated, *communities} - {0})
    if mode == "host":
        if vid not in secondaries:
            raise ValueError(f"a host port needs an isolated or community VLAN, and VLAN {vid} is none")
        primary, community = secondaries[vid]
        return frozenset({primary, vid} if community else {primary})
    if vid in primaries or vid in secondaries:
        raise ValueError(f"VLAN {vid} is a private VLAN, which {_a(mode)} port would open; use host or promiscuous")
    return frozenset({vid})


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


# --- the switch's VLANs


def _secondaries(vlans: VlanSettings) -> Iterator[tuple[int, tuple[int, bool]]]:
    """Secondary VID -> (its primary, is it a community?)."""
    for primary, isolated, communities in vlans.private:
        if isolated:
            yield isolated, (primary, False)
        for vid in communities:
            yield vid, (primary, True)


def check_vlans(vlans: VlanSettings) -> None:
    """Raises ValueError for VLANs that can't be."""
    private = [vid for primary, _, _ in vlans.private for vid in (primary,)] + [vid for vid, _ in _secondaries(vlans)]
    for vid in (*private, *vlans.remote, *(vid for vid, _ in vlans.limits)):
        check_vid(vid)
    _once(private, "VLAN {} has two parts in the private VLANs")
    _once([vid for vid, _ in vlans.limits], "VLAN {} has two limits")
    for vid, limit in vlans.limits:
        if not 1 <= limit <= LARGEST_LIMIT:
            raise ValueError(f"the MAC limit of VLAN {vid} is 1 to {LARGEST_LIMIT}, not {limit}")
    for vid in sorted(vlans.remote.intersection(private)):
        raise ValueError(f"VLAN {vid} can't be private and carry mirrored frames, too")


def fids(vlans: VlanSettings) -> dict[int, int]:
    """VID -> FID where they differ (802.1Q-2018 clause 8.8.8); VLANs of one FID know each other's stations."""
    if vlans.shared:
        return dict.fromkeys(range(2, 4095), 1)
    return {vid: primary for vid, (primary, _) in _secondaries(vlans)}


# --- mirrors


def check_mirrors(mirrors: Sequence[Mirror], ports: Mapping[str, PortSettings], vlans: VlanSettings) -> None:
    """Raises ValueError for mirrors that can't be, in a switch with these ports and VLANs."""
    if len(mirrors) > MIRRORS:
        raise ValueError(f"a switch has at most {MIRRORS} mirrors, not {len(mirrors)}")
    _once([mirror.name for mirror in mirrors], "there are two mirrors named {}")
    targets = {mirror.to_port for mirror in mirrors}
    for mirror in mirrors:
        sources = mirror.ports_in | mirror.ports_out
        for port in sorted({*sources, *filter(None, (mirror.to_port,))} - ports.keys()):
            raise ValueError(f"mirror {mirror.name} names port {port}, which there isn't")
        for port in sorted(sources & targets):
            raise ValueError(f"mirror {mirror.name} copies port {port}, which is itself the destination of a mirror")
        for vid in sorted(mirror.vlans):
            check_vid(vid)
        if bool(mirror.to_port) == bool(mirror.to_vlan):
            raise ValueError(f"mirror {mirror.name} needs one destination: a port (to_port) or an RSPAN VLAN (to_vlan)")
        if mirror.to_vlan and mirror.to_vlan not in vlans.remote:
            raise ValueError(f"mirror {mirror.name} goes to VLAN {mirror.to_vlan}, which is no RSPAN VLAN (remote)")


def _once(values: Iterable[Any], sentence: str) -> None:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise ValueError(sentence.format(value))
        seen.add(value)
