"""All that a lab file can say of ports and switches: what becomes of it in the plan, and every mistake in it."""

from __future__ import annotations

from typing import Any

import pytest

from daemons.lab import loader, plan
from daemons.lab.mistake import LabError
from netvirt.settings import Mirror, PortSettings, VlanSettings
from tests.support.labfiles import one_mistake
from tests.t2_core.test_lab_plan import PLACES, ports

HEAD = """name: t
vlans: {office: 10, lab: 20, servers: 100, alone: 101, team: 102, span: 900}
topology:
  nodes:
    s1:
      kind: switch
"""
USUAL = PortSettings(pvid=10, allowed=frozenset({10}))


def config(text: str) -> dict[str, Any]:
    return plan.switch_config(loader.parse(HEAD + text).lab, "s1", PLACES, 0)


def port(keys: str, more: str = "") -> PortSettings:
    return PortSettings.from_json(ports(config(f"      ports: {{e1: {{{keys}}}}}\n{more}"))["e1"])


TRUNK = USUAL._replace(mode="trunk", pvid=0, allowed=frozenset({10, 20}))
PORTS = {
    "access: office": USUAL,
    "trunk: [office, lab]": TRUNK,
    "trunk: [office, lab], native: 1": TRUNK._replace(pvid=1, allowed=frozenset({1, 10, 20})),
    "trunk: [office], native-tagged: lab": TRUNK._replace(mode="native-tagged", pvid=20),
    "trunk: [10, 20], untagged: [10, lab]": TRUNK._replace(untagged=frozenset({10, 20})),
    "trunk: [10, 20], untagged: 10": TRUNK._replace(untagged=frozenset({10})),
    "trunk: [10, 20], translate: {100: office, 200: 20}": TRUNK._replace(translate=((100, 10), (200, 20))),
    "trunk: [10, 20], tpid: 802.1ad": TRUNK._replace(tpid=0x88A8),
    "trunk: [10, 20], tpid: 0x88a8": TRUNK._replace(tpid=0x88A8),
    "trunk: [10, 20], ingress-filter: false": TRUNK._replace(ingress_filter=False),
    "tunnel: office": USUAL._replace(mode="dot1q-tunnel"),
    "tunnel: 10, customer: [untagged, 5, 7-9]": USUAL._replace(
        mode="dot1q-tunnel", customer=frozenset({0, 5, 7, 8, 9})
    ),
    "access: 10, priority: 3, priority-tags: if-nonzero": USUAL._replace(priority=3, priority_tags="if-nonzero"),
    "access: 10, accept: all": USUAL._replace(accept="all"),
    "access: 10, state: disabled": USUAL._replace(state="disabled"),
    "access: 10, mtu: 1500": USUAL._replace(mtu=1500),
    "access: 10, flood: [broadcast]": USUAL._replace(flood=frozenset({"broadcast"})),
    "access: 10, flood: []": USUAL._replace(flood=frozenset()),
    "access: 10, storm: {broadcast: 1000 fps, unicast: 1.5 Mbit/s}": USUAL._replace(
        storm=(("unicast", 1_500_000, "bps"), ("broadcast", 1000, "fps"))
    ),
    "access: 10, protected: true": USUAL._replace(protected=True),
    "access: 10, mac-limit: 5, on-limit: shutdown, sticky: true": USUAL._replace(
        mac_limit=5, on_limit="shutdown", sticky=True
    ),
    "access: 10, reserved: {lacp: tunnel, 0e: peer, mvrp: drop}": USUAL._replace(
        peer=frozenset({14}), tunnel=frozenset({2})
    ),
    "access: 10, reserved: {stp: drop, all: tunnel}": USUAL._replace(tunnel=frozenset({*range(1, 16), 0x21})),
}


@pytest.mark.parametrize("keys", PORTS)
def test_a_port(keys: str) -> None:
    assert port(keys) == PORTS[keys]


PRIVATE = "      private-vlans: {servers: {isolated: alone, communities: [team]}}\n"


def test_the_role_of_a_private_vlan_makes_the_mode() -> None:
    assert port("access: servers", PRIVATE).mode == "promiscuous"
    assert port("access: alone", PRIVATE).mode == port("access: team", PRIVATE).mode == "host"
    assert port("access: lab", PRIVATE).mode == "access"


def test_a_switch() -> None:
    made = config(
        PRIVATE
        + """      shared-learning: true
      mac-table: 1000
      mac-limits: {office: 5}
      remote-span: [span]
      mirrors: {m1: {in: [e1], both: [e2], vlans: [lab], to: e3}, m2: {out: [e1], to-vlan: span}}
      static: [{mac: "02-00-00-00-00-0A", vlan: office, port: e1}]
      ports: {e1: {access: 10}, e2: {access: 20}, e3: {}}
"""
    )
    assert made["mac_limit"] == 1000
    assert VlanSettings.from_json(made["vlans_settings"]) == VlanSettings(
        True, ((100, 101, (102,)),), ((10, 5),), frozenset({900})
    )
    assert [Mirror.from_json(mirror) for mirror in made["mirrors"]] == [
        Mirror("m1", frozenset({"e1", "e2"}), frozenset({"e2"}), frozenset({20}), "e3"),
        Mirror("m2", frozenset(), frozenset({"e1"}), frozenset(), "", 900),
    ]
    assert made["static"] == [{"vid": 10, "mac": "02:00:00:00:00:0a", "port": "e1"}]


PORT = HEAD + "      ports: {e1: {access: 10}, e2: {%s}}\n"
SWITCH = HEAD + "      ports: {e1: {access: 10}, e2: {access: 20}, e9: {access: 10}}\n      %s\n"
# The mistake stands where the ¤ is (it is taken out of the text); the pattern must match `what; what to do`.
CASES = {
    "unknown key": (PORT % "¤ingress_filter: true", "unknown key 'ingress_filter'; did you mean 'ingress-filter'"),
    "tunnel and access": (HEAD + "      ports: {e1: ¤{access: 10, tunnel: 20}}\n", "nor trunk; keep one"),
    "customer of access": (PORT % "access: 10, ¤customer: [5]", "customer: belongs to a tunnel port; write tunnel:"),
    "customer value": (PORT % "tunnel: 10, customer: [5, ¤untaged]", "'untaged' is no customer VLAN; give"),
    "customer list": (PORT % "tunnel: 10, customer: ¤'5,6'", r"is no list; write it as a list: \[5,6\]"),
    "untagged of access": (PORT % "access: 10, ¤untagged: [10]", "untagged: belongs to a trunk port; add trunk:"),
    "untagged stranger": (PORT.replace("e2:", "¤e2:") % "trunk: [10], untagged: [20]", "VLAN 20 .* not"),
    "untagged name": (PORT % "trunk: [10], untagged: [¤ofice]", "no VLAN 'ofice'; did you mean 'office'"),
    "translate of access": (PORT % "access: 10, ¤translate: {5: 10}", "translate: belongs to a trunk port"),
    "translate wire": (PORT % "trunk: [10], translate: {¤x: 10}", "'x' is no VLAN ID on the wire"),
    "translate name": (PORT % "trunk: [10], translate: {5: ¤ofice}", "no VLAN 'ofice'; did you mean 'office'"),
    "translate twice": (PORT.replace("e2:", "¤e2:") % "trunk: [10], translate: {5: 10, 6: 10}", "translated twice"),
    "native twice": (HEAD + "      ports: {e1: ¤{trunk: all, native: 1, native-tagged: 2}}\n", "one native"),
    "native-tagged of access": (PORT % "access: 10, ¤native-tagged: 1", "belongs to a trunk port"),
    "tpid number": (PORT % "access: 10, tpid: ¤0x9100", "'0x9100' is no tag type; use 802.1q, 802.1ad"),
    "tpid": (PORT % "access: 10, tpid: ¤802.1x", "'802.1x' is no tag type; did you mean '802.1q'"),
    "priority-tags": (PORT % "access: 10, priority-tags: ¤sometimes", "use never or if-nonzero or always"),
    "priority-tags of a tunnel": (PORT % "tunnel: 10, ¤priority-tags: always", "an access port or a trunk"),
    "accept": (PORT % "access: 10, accept: ¤taged", "did you mean 'tagged'"),
    "ingress-filter": (PORT % "access: 10, ingress-filter: ¤1", "neither true nor false; write true or false"),
    "state": (PORT % "access: 10, state: ¤block", "did you mean 'blocked'"),
    "mtu": (PORT % "access: 10, mtu: ¤10", "an MTU cannot be '10'; give a whole number from 64"),
    "flood": (PORT % "access: 10, flood: [unicast, ¤broadcasts]", "no kind of flooding; did you mean 'broadcast'"),
    "storm kind": (PORT % "access: 10, storm: {¤brodcast: 1 fps}", "no kind of flooding; did you mean 'broadcast'"),
    "storm rate": (PORT % "access: 10, storm: {broadcast: ¤much}", "'much' is no rate; write it like 1000 fps or"),
    "storm unit": (PORT % "access: 10, storm: {broadcast: ¤5 Mbits}", "no unit of a rate; did you mean 'Mbit/s'"),
    "storm range": (PORT % "access: 10, storm: {broadcast: ¤0 fps}", "out of range; give 1 to"),
    "mac-limit": (PORT % "access: 10, mac-limit: ¤0", "a limit of MAC addresses cannot be '0'"),
    "on-limit": (PORT % "access: 10, on-limit: ¤shut", "did you mean 'shutdown'"),
    "sticky": (PORT % "access: 10, sticky: ¤'yes'", "neither true nor false"),
    "reserved name": (PORT % "access: 10, reserved: {¤ldp: tunnel}", "no reserved address; did you mean 'lldp'"),
    "reserved action": (PORT % "access: 10, reserved: {lldp: ¤forward}", "nothing that can .*; use peer"),
    "accept tagged of a tunnel": (PORT.replace("e2:", "¤e2:") % "tunnel: 10, accept: tagged", "is untagged"),
    "tunnel in a private VLAN": (
        PORT.replace("e2:", "¤e2:") % "tunnel: alone" + PRIVATE, "VLAN 101 is a private VLAN.*; use host or promiscuous"
    ),
    "shared-learning": (SWITCH % "shared-learning: ¤1", "neither true nor false"),
    "mac-table": (SWITCH % "mac-table: ¤0", "MAC table cannot be '0'"),
    "mac-limits name": (SWITCH % "mac-limits: {¤ofice: 5}", "no VLAN 'ofice'; did you mean 'office'"),
    "mac-limits twice": (SWITCH % "mac-limits: {office: 5, ¤10: 6}", "VLAN 10 has two limits; keep"),
    "private twice": (
        SWITCH % "private-vlans: {servers: {isolated: alone, communities: [102, ¤101]}}", "VLAN 101 has a part .*; give"
    ),
    "private of nobody": (SWITCH % "private-vlans: {¤servers: {}}", "nobody in it; add isolated:"),
    "private key": (SWITCH % "private-vlans: {servers: {¤isolate: 101}}", "did you mean 'isolated'"),
    "private and remote": (
        SWITCH % "private-vlans: {100: {isolated: 101}}\n      remote-span: [900, ¤101]", "can't be private and"
    ),
    "remote-span": (SWITCH % "remote-span: [¤spam]", "no VLAN 'spam'; did you mean 'span'"),
    "mirror port": (SWITCH % "mirrors: {m: {in: [¤e3], to: e9}}", "no port 'e3'; use one of e1, e2, e9"),
    "mirror key": (SWITCH % "mirrors: {m: {both: [e1], ¤into: e9}}", "unknown key 'into'; did you mean 'to'"),
    "mirror without destination": (SWITCH % "mirrors: {¤m: {both: [e1]}}", "one destination; give"),
    "mirror with two": (SWITCH % "mirrors: {¤m: {both: [e1], to: e9, to-vlan: 900}}", "one destination; give one"),
    "mirror of nothing": (SWITCH % "mirrors: {¤m: {to: e9}}", "copies nothing; add in:"),
    "mirror to a VLAN": (SWITCH % "mirrors: {m: {both: [e1], to-vlan: ¤lab}}", "mirrored frames; add it"),
    "mirror of a destination": (SWITCH % "mirrors: {m: {both: [e1, ¤e9], to: e9}}", "destination.*; copy"),
    "nine mirrors": (
        SWITCH % f"¤mirrors: {{{', '.join(f'm{i}: {{in: [e1], to: e9}}' for i in range(9))}}}", "9 mirrors are more"
    ),
    "static mac": (SWITCH % "static: [{mac: ¤'03:00:00:00:00:01', vlan: 10, port: e1}]", "must be even"),
    "static port": (SWITCH % "static: [{mac: '02:00:00:00:00:01', vlan: 10, port: ¤x1}]", "no port 'x1'; use one"),
    "static without vlan": (SWITCH % "static: [¤{mac: '02:00:00:00:00:01', port: e1}]", "'vlan' is missing here"),
    "static twice": (
        SWITCH % "static: [{mac: '02:00:00:00:00:01', vlan: 10, port: e1}, "
        "{mac: ¤'02:00:00:00:00:01', vlan: office, port: e2}]",
        "in VLAN 10 already; keep one",
    ),
    "switch key of a host": (
        HEAD + "    h1: {¤mac-table: 5}\n", "mac-table: belongs to a switch, and 'h1' is a host; add kind: switch"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_mistake(case: str) -> None:
    one_mistake(*CASES[case])


def test_every_mistake_in_one_go_and_none_of_what_was_taken_out() -> None:
    text = (
        HEAD
        + """      mac-table: 0
      static: [{mac: "02:00:00:00:00:01", vlan: 10, port: e:1}]
      mirrors: {m: {both: [e1], to: "9"}}
      ports:
        e1: {tunnel: 5000, customer: [5]}
        e2: {access: 10, untagged: [10], storm: {broadcast: much}}
        e3: {access: 10, translate: {5: 10}}
        e4: {access: 10, acept: all, tpid: 1}
"""
    )
    with pytest.raises(LabError) as caught:
        loader.parse(text, "f")
    found = [(mistake.line, mistake.what) for mistake in caught.value.mistakes]
    assert [line for line, _ in found] == [7, 8, 9, 11, 12, 13, 14, 14], found
