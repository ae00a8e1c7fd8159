"""What people say about a switch: its ports, its VLANs, its mirrors. Values, and the same values as JSON.

Knows: names, types and defaults of every setting. Refuses to know: what a setting means for a frame (modes.py, the
dataplane), other ports, whether a setting makes sense beside another.

from_json() raises ValueError with one sentence; to_json() leaves out nothing: a file of settings explains itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from netvirt.addr import format_vid_set, parse_vid_set

C_TAG: Final = 0x8100
S_TAG: Final = 0x88A8
KINDS: Final = ("unicast", "multicast", "broadcast")
UNITS: Final = ("fps", "bps")
LONGEST_WORD: Final = 128
MVRP: Final = 0x21  # 01-80-C2-00-00-21; forwarded by a bridge that does not speak it (802.1Q-2018 clause 8.6.3)
RESERVED_OCTETS: Final = frozenset({*range(0x10), MVRP})


class PortSettings(NamedTuple):
    """What a port does with frames (IEEE 802.1Q-2018 clauses 6.9, 8.6).

    mode: access | trunk | native-untagged | native-tagged | dot1q-tunnel | host | promiscuous.
    pvid: the VLAN of untagged frames; a trunk's native VLAN, 0 = none.
    allowed: VIDs of a trunk; the native one counts as allowed.
    priority: PCP of frames that come untagged. state: forwarding | blocked | disabled.
    mtu: largest payload in bytes, tags not counted.
    ingress_filter: False takes tagged frames of VLANs that the port is no member of.
    accept: all | tagged | untagged, "" = what the mode says.
    priority_tags: never | if-nonzero | always: frames that leave untagged get a tag with VID 0.
    tpid: the one tag type that the port takes and writes.
    customer: VIDs that may enter a dot1q-tunnel port, 0 = untagged ones, empty = all.
    untagged: VIDs that leave a trunk untagged, None = the native one.
    translate: (VID on the wire, VID inside) of a trunk.
    flood: kinds that may be flooded out.
    storm: (kind, rate, fps | bps), the most that may come in and be flooded.
    protected: protected ports do not talk to each other.
    mac_limit: stations learned here at the most, 0 = no limit; on_limit: flood | drop | shutdown.
    sticky: stations learned here stay.
    peer, tunnel: last octets of reserved addresses that are for the switch itself, or forwarded; others are dropped.
    """

    mode: str = "access"
    pvid: int = 1
    allowed: frozenset[int] = frozenset()
    priority: int = 0
    state: str = "forwarding"
    mtu: int = 9216
    ingress_filter: bool = True
    accept: str = ""
    priority_tags: str = "never"
    tpid: int = C_TAG
    customer: frozenset[int] = frozenset()
    untagged: frozenset[int] | None = None
    translate: tuple[tuple[int, int], ...] = ()
    flood: frozenset[str] = frozenset(KINDS)
    storm: tuple[tuple[str, int, str], ...] = ()
    protected: bool = False
    mac_limit: int = 0
    on_limit: str = "flood"
    sticky: bool = False
    peer: frozenset[int] = frozenset()
    tunnel: frozenset[int] = frozenset({MVRP})

    def to_json(self) -> dict[str, Any]:
        return _to_json(self, PORT_KEYS)

    @staticmethod
    def from_json(value: object) -> PortSettings:
        """Missing keys have their defaults, unknown ones are nobody's business here. Raises ValueError."""
        return PortSettings(**_from_json(value, PORT_KEYS))


class VlanSettings(NamedTuple):
    """The VLANs of the whole switch.

    shared: one MAC table for all VLANs (shared learning). private: (primary, isolated or 0, communities). limits: (VID,
    stations known at the most). remote: RSPAN VLANs, which carry mirrored frames: flooded, nothing is learned there.
    """

    shared: bool = False
    private: tuple[tuple[int, int, tuple[int, ...]], ...] = ()
    limits: tuple[tuple[int, int], ...] = ()
    remote: frozenset[int] = frozenset()

    def to_json(self) -> dict[str, Any]:
        return _to_json(self, VLAN_KEYS)

    @staticmethod
    def from_json(value: object) -> VlanSettings:
        """Missing keys have their defaults. Raises ValueError."""
        return VlanSettings(**_from_json(value, VLAN_KEYS))


class Mirror(NamedTuple):
    """A SPAN session: copies of what enters ports_in, leaves ports_out or belongs to vlans, to a port or RSPAN VLAN."""

    name: str
    ports_in: frozenset[str] = frozenset()
    ports_out: frozenset[str] = frozenset()
    vlans: frozenset[int] = frozenset()
    to_port: str = ""
    to_vlan: int = 0

    def to_json(self) -> dict[str, Any]:
        return _to_json(self, MIRROR_KEYS)

    @staticmethod
    def from_json(value: object) -> Mirror:
        """All but the name may be missing. Raises ValueError."""
        found = _from_json(value, MIRROR_KEYS)
        if not found.get("name"):
            raise ValueError("a mirror needs a name")
        return Mirror(**found)


# --- JSON. A type of value is (how it is written, how it is read); reading raises ValueError.


class Form(NamedTuple):
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{_shown(value)} is not a number")
    return value


def _switch(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_WORD:
        raise ValueError(f"{_shown(value)} is not a word")
    return value


def _list(value: Any) -> Iterable[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{_shown(value)} is not a list")
    return value


def _tuple(value: Any, *types: Callable[[Any], Any]) -> tuple[Any, ...]:
    parts = tuple(_list(value))
    if len(parts) != len(types):
        raise ValueError(f"{_shown(value)} has not {len(types)} parts")
    return tuple(read(part) for read, part in zip(types, parts, strict=True))


def _write_customer(vids: frozenset[int]) -> str:
    rest = format_vid_set(vids - {0})
    return rest if 0 not in vids else f"0,{rest}".rstrip(",")


def _read_customer(value: Any) -> frozenset[int]:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not a set of VLAN IDs")
    parts = [part.strip() for part in value.split(",")] if value else []
    zero = frozenset({0}) if "0" in parts else frozenset()
    return zero | parse_vid_set(",".join(part for part in parts if part != "0"))


def _read_communities(value: Any) -> tuple[int, ...]:
    return tuple(sorted(_number(vid) for vid in _list(value)))


def _listed(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: tuple(read(part) for part in _list(value))


def _written_list(value: Iterable[Any]) -> list[Any]:
    return [list(part) for part in value]


NUMBER = Form(_same, _number)
SWITCH = Form(_same, _switch)
WORD = Form(_same, _word)
VIDS = Form(format_vid_set, parse_vid_set)
VIDS_OR_NONE = Form(
    lambda vids: None if vids is None else format_vid_set(vids),
    lambda text: None if text is None else parse_vid_set(text),
)
WORDS = Form(sorted, lambda value: frozenset(_word(part) for part in _list(value)))
NUMBERS = Form(sorted, lambda value: frozenset(_number(part) for part in _list(value)))
PAIRS = Form(_written_list, _listed(lambda part: _tuple(part, _number, _number)))
STORM = Form(_written_list, _listed(lambda part: _tuple(part, _word, _number, _word)))
PRIVATE = Form(
    lambda value: [[primary, isolated, list(communities)] for primary, isolated, communities in value],
    _listed(lambda part: _tuple(part, _number, _number, _read_communities)),
)
CUSTOMER = Form(_write_customer, _read_customer)

PORT_KEYS: Final = {
    "mode": WORD, "pvid": NUMBER, "allowed": VIDS, "priority": NUMBER, "state": WORD, "mtu": NUMBER,
    "ingress_filter": SWITCH, "accept": WORD, "priority_tags": WORD, "tpid": NUMBER, "customer": CUSTOMER,
    "untagged": VIDS_OR_NONE, "translate": PAIRS, "flood": WORDS, "storm": STORM, "protected": SWITCH,
    "mac_limit": NUMBER, "on_limit": WORD, "sticky": SWITCH, "peer": NUMBERS, "tunnel": NUMBERS,
}  # fmt: skip
# In a port's configuration `peer` says who is at the other end of the link.
JSON_KEYS: Final = {"peer": "peer_addresses", "tunnel": "tunnel_addresses"}
VLAN_KEYS: Final = {"shared": SWITCH, "private": PRIVATE, "limits": PAIRS, "remote": VIDS}
MIRROR_KEYS: Final = {
    "name": WORD, "ports_in": WORDS, "ports_out": WORDS, "vlans": VIDS, "to_port": WORD, "to_vlan": NUMBER,
}  # fmt: skip


def _to_json(value: Any, keys: dict[str, Form]) -> dict[str, Any]:
    return {JSON_KEYS.get(key, key): form.write(getattr(value, key)) for key, form in keys.items()}


def _from_json(value: object, keys: dict[str, Form]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"settings are keys and values, not {_shown(value)}")
    found = {}
    for key, form in keys.items():
        written = JSON_KEYS.get(key, key)
        if written not in value:
            continue
        try:
            found[key] = form.read(value[written])
        except ValueError as error:
            raise ValueError(f"{written}: {error}") from None
    return found


def _shown(value: object) -> str:
    """A value from outside, short enough for a sentence."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
