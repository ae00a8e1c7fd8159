"""`dst=h3 vlan=10 icmp`: words -> the bytes of one frame. Pure: no lab is asked, no file is read.

Knows: the words, what is filled in when nothing is said. Refuses to know: switches, what happens to the frame. BadInput
has one sentence for whatever is no frame.

What is not said: `src` is who is behind the port, a host with its own tag; `icmp` if an end has an IP address, else a
frame of type 0x88b5 (for experiments: IEEE 802-2014 clause 9.2.4); who has no address is a neighbour of the other end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from daemons.lab.mistake import did_you_mean, listed, quoted
from netvirt.addr import BROADCAST, MAC_SIZE, derived_mac, is_group, mac_bytes
from netvirt.frame import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_SIZE, TPIDS, Ethernet, Tag
from netvirt.hosting import arp
from tools.errors import BadInput
from tools.frame_ends import End, Station, addresses, named, pair, printable, subnet
from tools.packet_words import FEWEST, KINDS, packet

EXPERIMENT: Final = 0x88B5
LARGEST: Final = 65_549  # with two tags it is the longest frame that a burst may carry (netvirt.burst.MAX_FRAME)
_SHORTEST_USUAL: Final = 60  # IEEE 802.3-2018 clause 3.2.8, without FCS
_KEYS: Final = ("dst", "src", "vlan", "pcp", "dei", "tpid", "inner", "type", "size")
_TPIDS: Final = {"0x8100": 0x8100, "802.1q": 0x8100, "0x88a8": 0x88A8, "802.1ad": 0x88A8}
_MOST_WORDS: Final = 32


class Words(NamedTuple):
    """What was said: key -> text, the kind ("" = none), and whom `arp` asks for."""

    given: dict[str, str]
    kind: str = ""
    port: int = 0
    asked: str = ""


class Built(NamedTuple):
    """frame: without FCS. goal: the NIC of a host that it is meant for, `h3:eth0`, or "" for nobody in particular."""

    frame: bytes
    goal: str


class Start(NamedTuple):
    """Where the frame comes in: `s1:eth1`; the NIC there, `h1:eth0`, or ""; else the MAC address last heard, or b""."""

    place: str
    behind: str = ""
    heard: bytes = b""


def build(words: Sequence[str], stations: Sequence[Station], start: Start, vlans: Mapping[str, int]) -> Built:
    """The frame that the words tell of. vlans: names of the lab's VLANs. Raises BadInput."""
    said = read(words)
    sources = _sources(said, stations, start)
    targets = _targets(said, stations)
    source, target = pair(sources, targets, _tag_vid(said, vlans))
    sender = source.station if source.station is not None and source.station.place == start.behind else None
    frame = _frame(said, source, target, _tags(said, vlans, sender))
    return Built(frame, target.station.place if target.station is not None else "")


def read(words: Sequence[str]) -> Words:
    """Sorted out, each once. Raises BadInput."""
    if len(words) > _MOST_WORDS:
        raise BadInput(f"{len(words)} words are too many for one frame")
    given: dict[str, str] = {}
    kinds: list[tuple[str, str]] = []
    asked, rest = "", list(words)
    while rest:
        word = rest.pop(0)
        key, equals, text = word.partition("=")
        if key in KINDS:
            kinds.append((key, text if equals else ""))
        elif word == "who-has" and rest:
            asked = rest.pop(0)
        elif word == "dei":
            given["dei"] = "1"
        elif key not in _KEYS or not text:
            raise BadInput(f"{quoted(word)} says nothing about a frame; {_near(word)}")
        elif key in given:
            raise BadInput(f"{key}= stands there twice")
        else:
            given[key] = text
    return _one_kind(given, kinds, asked)


def _one_kind(given: dict[str, str], kinds: list[tuple[str, str]], asked: str) -> Words:
    if asked and not kinds:
        kinds = [("arp", "")]
    if len(kinds) > 1 or (kinds and "type" in given):
        raise BadInput(f"a frame is one of {', '.join(KINDS)} and type=, not several of them")
    kind, text = kinds[0] if kinds else ("", "")
    if asked and kind != "arp":
        raise BadInput(f"who-has belongs to arp, not to {kind}")
    if text and kind not in ("udp", "tcp"):
        raise BadInput(f"{kind} has no port; leave out ={text[:20]}")
    return Words(given, kind, number(text, kind, 1, 65535) if text else 0, asked)


def _near(word: str) -> str:
    choices = [f"{key}=" for key in _KEYS] + [*KINDS, "who-has"]
    return did_you_mean(word, choices, f"there are {listed(choices, 20)}")


def number(text: str, what: str, lowest: int, highest: int) -> int:
    """Decimal, or hexadecimal after 0x. Raises BadInput."""
    if re.fullmatch(r"[0-9]{1,7}|0[xX][0-9a-fA-F]{1,6}", text):
        value = int(text, 16 if text[:2] in ("0x", "0X") else 10)
        if lowest <= value <= highest:
            return value
    raise BadInput(f"{what}={printable(text)}: not a number from {lowest} to {highest}")


# --- who


def _sources(said: Words, stations: Sequence[Station], start: Start) -> list[End]:
    text = said.given.get("src", start.behind)
    return named("src", text, stations) if text else [End(start.heard or mac_bytes(derived_mac("trace", start.place)))]


def _targets(said: Words, stations: Sequence[Station]) -> list[End]:
    text = said.given.get("dst", "")
    if said.asked:
        mac = named("dst", text, stations)[0].mac if text else BROADCAST
        asked = subnet(said.asked)
        owners = [station for station in stations if asked.ip in {each.ip for each in station.addresses}]
        return [End(mac, asked, station) for station in owners] or [End(mac, asked)]
    if not text:
        wanted = "who-has ADDRESS or dst=HOST" if said.kind == "arp" else "dst=HOST or dst=MAC"
        raise BadInput(f"say where the frame goes: {wanted}")
    ends = named("dst", text, stations)
    return [end._replace(mac=BROADCAST) for end in ends] if said.kind == "arp" else ends


# --- tags


def _vid(text: str, key: str, vlans: Mapping[str, int]) -> int:
    if text in vlans:
        return vlans[text]
    if not re.fullmatch(r"[0-9]+|0[xX].*", text):
        fix = did_you_mean(text, vlans, f"there are {listed(vlans)}" if vlans else "give a number")
        raise BadInput(f"{key}={printable(text)}: there is no such VLAN; {fix}")
    return number(text, key, 0, 4095)


def _tag_vid(said: Words, vlans: Mapping[str, int]) -> int | None:
    text = said.given.get("vlan")
    return None if text is None else 0 if text == "none" else _vid(text, "vlan", vlans)


def _tags(said: Words, vlans: Mapping[str, int], sender: Station | None) -> tuple[Tag, ...]:
    """Outermost first. sender: the host behind the port, if it is who sends: it tags as it always does."""
    given = said.given
    usual = sender is not None and bool(sender.vlan or sender.priority) and "vlan" not in given
    outer = usual or given.get("vlan", "none") != "none" or bool({"pcp", "dei", "tpid"} & given.keys())
    if given.get("vlan") == "none" and {"pcp", "dei", "tpid", "inner"} & given.keys():
        raise BadInput("vlan=none means no tag, and pcp, dei, tpid and inner belong to one")
    if not outer and "inner" in given:
        raise BadInput("inner= is the tag behind the one of vlan=; give both")
    if not outer:
        return ()
    vid = _tag_vid(said, vlans) or 0
    pcp = number(given["pcp"], "pcp", 0, 7) if "pcp" in given else 0
    if usual and sender is not None:
        vid, pcp = sender.vlan, pcp if "pcp" in given else sender.priority
    tpid = _TPIDS.get(given.get("tpid", "0x8100").lower())
    if tpid is None:
        raise BadInput(f"tpid={printable(given['tpid'])}: a tag's type is 0x8100 or 0x88a8")
    tag = Tag(tpid, pcp, given.get("dei", "0") not in ("0", "false", "no"), vid)
    return (tag, Tag(0x8100, 0, False, _vid(given["inner"], "inner", vlans))) if "inner" in given else (tag,)


# --- the frame


def _frame(said: Words, source: End, target: End, tags: tuple[Tag, ...]) -> bytes:
    kind = said.kind or ("" if "type" in said.given or not (source.address or target.address) else "icmp")
    if is_group(target.mac) and not said.kind and target.address is None:
        kind = ""
    size = number(said.given["size"], "size", HEADER_SIZE, LARGEST) if "size" in said.given else 0
    if not kind:
        ethertype = number(said.given["type"], "type", 0, 0xFFFF) if "type" in said.given else EXPERIMENT
        if ethertype in TPIDS:
            raise BadInput(f"type={ethertype:#x} is a tag; write vlan=VID, and tpid= for its type")
        body = bytes((size or _SHORTEST_USUAL) - HEADER_SIZE)
    else:
        ethertype, make, least = _packet(said, kind, source, target)
        extra = size - HEADER_SIZE - least if size else FEWEST[kind]
        if extra < 0:
            raise BadInput(f"size={size} is too small for {kind}, which needs {HEADER_SIZE + least}")
        body = make(extra)
    return Ethernet(target.mac, source.mac, tags, ethertype, body).build()


def _packet(said: Words, kind: str, source: End, target: End) -> tuple[int, Callable[[int], bytes], int]:
    """EtherType, what makes the payload with so many bytes in it, and how long it is with none."""
    ours, theirs = addresses(source, target, kind)
    if kind == "arp":
        message = arp.Arp(arp.REQUEST, source.mac, ours.packed, bytes(MAC_SIZE), theirs.packed)
        return ETHERTYPE_ARP, lambda extra: arp.build(message) + bytes(extra), len(arp.build(message))
    make = packet(kind, ours.packed, theirs.packed, said.port)
    return ETHERTYPE_IPV4 if ours.version == 4 else ETHERTYPE_IPV6, make, len(make(0))
