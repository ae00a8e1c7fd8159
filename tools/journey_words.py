"""What a switch did with a frame, in sentences: why a rule said so (with the clause), and what to do about it. Pure.

Knows: the notes of netvirt.dataplane.tracing, the reasons of netvirt.dataplane.drops, the words of `vfab port set`.
Refuses to know: how a frame goes on, how sentences are shown. One table for the rules, one for all reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from netvirt.addr import format_vid_set, mac_text
from netvirt.modes import MODES
from netvirt.settings import KINDS, PortSettings
from netvirt.switch import Step, Switch
from tools.wiring import Wiring


class Line(NamedTuple):
    """One rule's sentence. rule: of tracing.RULES, or left-out: a port that a flood passed by.

    reason: the first part of a key of WHY; clause: of IEEE 802.1Q-2018 unless it says otherwise; advice: what to do.
    """

    rule: str
    port: str
    text: str
    reason: str = ""
    clause: str = ""
    advice: str = ""


class Seen(NamedTuple):
    """What is known about a frame in a switch so far. vid: inside, 0 = not yet; kind: of flooding, "" = none."""

    name: str
    switch: Switch
    origin: str
    frame: bytes
    wiring: Wiring
    vid: int = 0
    kind: str = ""
    found: str = ""
    learned: str = ""

    def after(self, step: Step) -> Seen:
        """With what one more note tells."""
        if step.rule == "vlan":
            return self._replace(vid=int(step.detail.removeprefix("VLAN ")))
        if step.rule == "flood":
            return self._replace(kind=step.detail.removeprefix("unknown "))
        if step.rule == "found":
            return self._replace(found=step.port)
        return self._replace(learned=step.detail) if step.rule == "learn" else self

    def port(self, name: str) -> PortSettings:
        return self.switch.ports[name]

    def tci(self) -> int | None:
        """The outer tag, if its type is that of the port where the frame came in."""
        port = self.port(self.origin)
        kind = int.from_bytes(self.frame[12:14], "big")
        if len(self.frame) < 18 or kind != port.tpid or port.mode == "dot1q-tunnel":
            return None
        return int.from_bytes(self.frame[14:16], "big")

    def customer(self) -> int:
        """The customer's VID: of the C-tag behind a tag that was taken, 0 = none."""
        at = 12 if self.tci() is None else 16
        tagged = len(self.frame) >= at + 6 and self.frame[at : at + 2] == b"\x81\x00"
        return int.from_bytes(self.frame[at + 2 : at + 4], "big") & 0xFFF if tagged else 0

    def served(self, port: str) -> bool:
        """A dot1q-tunnel port with a list of customer VLANs has these only, in and out."""
        wanted = self.port(port).customer
        return not wanted or self.customer() in wanted

    def vlan(self, vid: int = 0) -> str:
        """Its VLAN, or another one, with its name."""
        names = [name for name, known in self.wiring.vlans.items() if known == (vid or self.vid)]
        return f"VLAN {vid or self.vid}" + (f" ({names[0]})" if names else "")

    def who(self, mac: bytes) -> str:
        """An address, and whose it is."""
        owner = next((station.host for station in self.wiring.stations if station.mac == mac), "")
        return f"{owner} ({mac_text(mac)})" if owner else mac_text(mac)


# --- rules


def _tag(step: Step, seen: Seen) -> str:
    tci = seen.tci() or 0
    dei = ", DEI" if tci & 0x1000 else ""
    return f"{f'VID {tci & 0xFFF}' if tci & 0xFFF else 'a priority tag'}, PCP {tci >> 13}{dei}: taken off"


def _untagged(step: Step, seen: Seen) -> str:
    port = seen.port(seen.origin)
    if port.mode == "dot1q-tunnel":
        return "no tag is looked at: all of it is a customer's payload"
    return "none" if seen.frame[12:14] not in (b"\x81\x00", b"\x88\xa8") else "none of this port's type: payload"


def _vlan(step: Step, seen: Seen) -> str:
    wire = (seen.tci() or 0) & 0xFFF
    if wire and wire != seen.vid:
        return f"{seen.vlan()}, which is {wire} on this wire"
    if wire:
        return seen.vlan()
    return f"{seen.vlan()}, the {'native VLAN' if MODES[seen.port(seen.origin).mode].trunk else 'VLAN'} of {step.port}"


_LEARNED: Final = {
    "learned": "{src} is at {port}",
    "no room in the table": "the MAC table is full: {src} is not remembered",
    "limit of the port or VLAN": "{src} is a station too many here and is not remembered",
    "static elsewhere": "{src} was given to another port and stays there",
    "sticky elsewhere": "{src} sticks to another port",
}
_FLOODED: Final = {
    "unicast": "{to} is not known: to everybody in {vlan}",
    "multicast": "{dst} is a group: to everybody in {vlan}",
    "broadcast": "to everybody in {vlan}",
}
RULES: Final[dict[str, Callable[[Step, Seen], str]]] = {
    "tag": _tag,
    "untagged": _untagged,
    "vlan": _vlan,
    "learn": lambda step, seen: _LEARNED[step.detail].format(src=seen.who(seen.frame[6:12]), port=step.port),
    "found": lambda step, seen: f"{seen.who(seen.frame[:6])} is known at {step.port}",
    "flood": lambda step, seen: _FLOODED[seen.kind].format(
        to=seen.who(seen.frame[:6]), dst=mac_text(seen.frame[:6]), vlan=seen.vlan()
    ),
}


def said(step: Step, seen: Seen) -> Line:
    """A rule that let the frame pass."""
    return Line(step.rule, step.port, RULES[step.rule](step, seen))


# --- reasons: sentence, clause, advice. The names in braces are those of _facts().


class Because(NamedTuple):
    text: str
    clause: str = ""
    advice: str = ""


SET: Final = "vfab port set {place} "
WHY: Final[dict[str, Because]] = {
    "malformed": Because("it is no frame at all"),
    "runt": Because("it is cut off within its tag", "9.3"),
    "oversize": Because("{payload} bytes of payload are more than {place}'s MTU {mtu}", "", SET + "mtu={payload}"),
    "bad-source": Because("its source {src} is a group's address", "802.3-2018, 3.2.3 b"),
    "bad-vid": Because("VID 4095 is reserved", "table 9-2"),
    "port-blocked": Because("{place} is blocked, or a loop would close; another link has this traffic", "8.4"),
    "port-disabled": Because("{place} is disabled", "8.4", SET + "state=forwarding"),
    "port-disabled/shut": Because("{place} was shut: a station too many had come", "", SET + "mac-limit={more}"),
    "tagged-not-accepted": Because(
        "{place} takes no tagged frames", "6.9", "leave out the tag, or: " + SET + "mode=trunk allowed={wire}"
    ),
    "tagged-not-accepted/trunk": Because("{place} takes no tagged frames", "6.9", SET + "accept=all"),
    "untagged-not-accepted": Because(
        "{place} takes tagged frames only", "6.9", "give it a tag (vlan=VID), or: " + SET + "accept=all"
    ),
    "untagged-not-accepted/native": Because(
        "{place} takes tagged frames only: it has no native VLAN", "6.9",
        "give it a tag (vlan=VID), or: " + SET + "native=VID",
    ),
    "vlan-not-allowed": Because("{place} does not allow VLAN {wire}", "8.6.2", SET + "mode=trunk allowed={wire}"),
    "vlan-not-allowed/trunk": Because("{place} does not allow VLAN {wire}", "8.6.2", SET + "allowed=+{wire}"),
    "vlan-not-allowed/translated": Because("VLAN {wire} is none of {place}'s: it translates {pairs}", "6.9"),
    "reserved-address": Because("{dst} is not for bridges to forward", "table 8-1", SET + "reserved={tunnels}"),
    "for-switch": Because("{dst} is for {switch} itself, where nothing listens", "8.6.3", SET + "reserved={tunnels}"),
    "no-destination": Because("nobody else is in {vlan} at {switch}", "8.6.4"),
    "no-destination/same": Because("{to} is where it came from, behind {origin}", "8.6.1"),
    "no-destination/member": Because("{found} does not allow {vlan}", "8.6.4", "vfab port set {found} allowed=+{vid}"),
    "no-destination/one": Because("{found} is not in {vlan}", "8.6.4", "vfab fdb flush {switch} vlan={vid}"),
    "offload-unsupported": Because("it is in pieces that {place} can't take"),
    "link-down": Because("nobody is connected to {place}"),
    "queue-full": Because("the receiver behind {place} is too slow"),
    "customer-not-allowed": Because(
        "{place} takes the customer's VLANs {customers} only, not {customer}", "15.4",
        SET + "customer={customers},{customer}",
    ),
    "security": Because("{src} is a station too many at {place}, or in {vlan}", "", SET + "mac-limit={more}"),
    "security/sticky": Because("{src} sticks to another port", "", "vfab fdb flush {switch} --sticky"),
    "storm": Because("as much {kind} as storm control at {place} lets in has come", "", SET + "storm=none"),
    "isolated": Because("{origin} and {found} are both protected", "", "vfab port set {found} protected=false"),
    "mirror-port": Because("{place} is where a mirror's copies go, and nothing else"),
    # Ports that a flooded frame was not sent to.
    "not-in-vlan": Because("{place} is in {own}, not in {vlan}", "8.6.4", SET + "access={vid}"),
    "not-in-vlan/trunk": Because("{place} does not allow {vlan}", "8.6.4", SET + "allowed=+{vid}"),
    "not-in-vlan/private": Because("{place} ({mode}, {own}) may not hear {vlan}", "RFC 5517"),
    "no-flooding": Because("{place} is not flooded with {kind}", "", SET + "flood=all"),
}  # fmt: skip


def _found(seen: Seen, port: str) -> str:
    if not seen.found:
        return ""
    if seen.found == seen.origin:
        return "same"
    return "member" if MODES[seen.port(seen.found).mode].trunk else "one"


def _allowed(seen: Seen, port: str) -> str:
    settings = seen.port(port)
    wire = (seen.tci() or 0) & 0xFFF
    if any(wire == inside for _, inside in settings.translate):
        return "translated"
    return "trunk" if MODES[settings.mode].trunk else ""


def _private(seen: Seen, port: str) -> str:
    mode = seen.port(port).mode
    return "trunk" if MODES[mode].trunk else "private" if mode in ("host", "promiscuous") else ""


_VARIANTS: Final[dict[str, Callable[[Seen, str], str]]] = {
    "port-disabled": lambda seen, port: "shut" if port in seen.switch.violations() else "",
    "tagged-not-accepted": lambda seen, port: "trunk" if MODES[seen.port(port).mode].trunk else "",
    "untagged-not-accepted": lambda seen, port: "" if seen.port(port).pvid else "native",
    "vlan-not-allowed": _allowed,
    "no-destination": _found,
    "security": lambda seen, port: "sticky" if seen.learned.startswith("sticky") else "",
    "not-in-vlan": _private,
}


def because(reason: str, port: str, seen: Seen, rule: str = "drop") -> Line:
    """A reason as a sentence about this port."""
    variant = _VARIANTS[reason](seen, port) if reason in _VARIANTS else ""
    why, facts = WHY[f"{reason}/{variant}" if variant else reason], _facts(port, seen)
    return Line(rule, port, why.text.format(**facts), reason, why.clause, why.advice.format(**facts))


def _facts(port: str, seen: Seen) -> dict[str, Any]:
    settings, tci, frame = seen.port(port), seen.tci(), seen.frame
    bare = "0," if 0 in settings.customer else ""
    return {
        "switch": seen.name,
        "place": f"{seen.name}:{port}",
        "origin": f"{seen.name}:{seen.origin}",
        "found": f"{seen.name}:{seen.found}",
        "src": seen.who(frame[6:12]),
        "dst": mac_text(frame[:6]),
        "to": seen.who(frame[:6]),
        "vid": seen.vid,
        "vlan": seen.vlan(),
        "wire": (tci or 0) & 0xFFF,
        "own": seen.vlan(settings.pvid),
        "mode": settings.mode,
        "mtu": settings.mtu,
        "payload": len(frame) - (14 if tci is None else 18),
        "kind": f"unknown {seen.kind}" if seen.kind == KINDS[0] else seen.kind,
        "more": settings.mac_limit + 1,
        "pairs": ",".join(f"{wire}:{inside}" for wire, inside in settings.translate),
        "customers": bare + format_vid_set(settings.customer - {0}) if settings.customer else "",
        "customer": seen.customer(),
        "tunnels": _tunnels(settings, frame[5]),
    }


def _tunnels(settings: PortSettings, octet: int) -> str:
    """`reserved=` replaces all of it, so what is so now is said again."""
    kept = [f"{other:02x}:peer" for other in sorted(settings.peer - {octet})]
    return ",".join([*kept, *(f"{other:02x}:tunnel" for other in sorted(settings.tunnel | {octet}))])


def dropped(step: Step, seen: Seen) -> Line:
    """A rule that ended the frame, or (rule lost) a mirror's copy of it."""
    if step.rule == "drop" and seen.found and seen.found != seen.origin and not seen.served(seen.found):
        return because("customer-not-allowed", seen.found, seen)._replace(port=step.port, reason=step.detail)
    if step.rule == "drop":
        return because(step.detail, step.port, seen)
    mirror, _, reason = step.detail.rpartition(": ")
    line = because(reason, step.port, seen, "lost")
    return line._replace(text=f"{mirror}: no copy, {line.text}")


def left_out_by(port: str, member: Collection[int], seen: Seen) -> Line:
    """Why a flooded frame was not sent to a port. member: the VLANs that may leave there."""
    settings, switch = seen.port(port), seen.switch
    origin = seen.port(seen.origin)
    reasons = (
        (settings.state == "disabled" or port in switch.violations(), "port-disabled"),
        (settings.state == "blocked", "port-blocked"),
        (any(mirror.to_port == port for mirror in switch.mirrors), "mirror-port"),
        (seen.vid not in member, "not-in-vlan"),
        (not seen.served(port), "customer-not-allowed"),
        (seen.kind not in settings.flood, "no-flooding"),
        (origin.protected and settings.protected, "isolated"),
        (not switch.queue(port).open, "link-down"),
    )
    reason = next((reason for so, reason in reasons if so), "not-in-vlan")
    seen = seen._replace(found=port) if reason == "isolated" else seen
    return because(reason, port, seen, "left-out")
