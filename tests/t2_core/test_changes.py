"""Changes of a running switch: words -> a wish -> the configuration that follows, and how the difference is said."""

from __future__ import annotations

from typing import Any

import pytest

from daemons import port_keys
from daemons.changes import changed, differences
from daemons.errors import UserError
from daemons.filed import Filed, wanted
from daemons.filed import filed as read_filed
from daemons.state import Desired, SqliteStore
from netvirt.settings import PortSettings

NAMES = {"office": 10, "lab": 20, "guests": 30}


def row(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "kind": "listen", "peer": "", **PortSettings(**settings).to_json()}


def config() -> dict[str, Any]:
    return {
        "name": "s1",
        "listen": [{"endpoint": "ipc:///R/s1.zmq"}],
        "vlans": {str(vid): name for name, vid in NAMES.items()},
        "ports": [
            row("eth1", pvid=10, allowed=frozenset({10})),
            row("eth2", pvid=20, allowed=frozenset({20})),
            row("eth9", mode="trunk", pvid=1, allowed=frozenset({1, 10, 20}), translate=((100, 10),)),
        ],
    }


def after(port: str, **words: str) -> PortSettings:
    wish = port_keys.wish({key.replace("_", "-"): text for key, text in words.items()}, NAMES)
    made = changed("s1", config(), {"ports": {port: wish}})
    return PortSettings.from_json(next(each for each in made["ports"] if each["name"] == port))


def vids(*some: int) -> frozenset[int]:
    return frozenset(some)


def test_of_the_issue() -> None:
    made = after("eth1", mode="trunk", allowed="10,20", native="1")
    assert (made.mode, made.allowed, made.pvid) == ("trunk", vids(1, 10, 20), 1)


CASES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "access": ("eth1", {"access": "lab"}, {"mode": "access", "pvid": 20, "allowed": vids(20)}),
    "access from trunk": ("eth9", {"access": "10"}, {"mode": "access", "allowed": vids(10), "translate": ()}),
    "trunk has no native VLAN by itself": ("eth1", {"trunk": "10,guests"}, {"pvid": 0, "allowed": vids(10, 30)}),
    "trunk with tagged native": (
        "eth1", {"native-tagged": "lab", "trunk": "10"}, {"mode": "native-tagged", "pvid": 20, "allowed": vids(10, 20)}
    ),
    "all": ("eth1", {"trunk": "all"}, {"allowed": vids(*range(1, 4095))}),
    "one more": ("eth9", {"allowed": "+guests"}, {"allowed": vids(1, 10, 20, 30), "translate": ((100, 10),)}),
    "one less": ("eth9", {"allowed": "-10"}, {"allowed": vids(1, 20), "translate": (), "pvid": 1}),
    "less its native one": ("eth9", {"allowed": "-1"}, {"allowed": vids(10, 20), "pvid": 0}),
    "tunnel": ("eth1", {"tunnel": "30", "customer": "untagged,5-6"}, {"pvid": 30, "customer": vids(0, 5, 6)}),
    "translate": ("eth9", {"translate": "7:lab,8:10"}, {"translate": ((7, 20), (8, 10))}),
    "untagged": ("eth9", {"untagged": "10,20"}, {"untagged": vids(10, 20)}),
    "storm": ("eth1", {"storm": "broadcast:5fps,unicast:1Mbit/s"},
              {"storm": (("unicast", 1_000_000, "bps"), ("broadcast", 5, "fps"))}),
    "reserved": ("eth1", {"reserved": "lldp:tunnel,lacp:peer"}, {"tunnel": vids(14, 33), "peer": vids(2)}),
    "flood": ("eth1", {"flood": "none"}, {"flood": frozenset()}),
    "tpid as a number": ("eth1", {"tpid": str(0x88A8)}, {"tpid": 0x88A8}),
    "much": (
        "eth1",
        {"priority": "5", "protected": "yes", "mac-limit": "3", "on-limit": "drop", "sticky": "true", "mtu": "1500",
         "state": "disabled", "tpid": "802.1ad", "accept": "all", "ingress-filter": "off", "priority-tags": "always"},
        {"priority": 5, "protected": True, "mac_limit": 3, "on_limit": "drop", "sticky": True, "mtu": 1500,
         "state": "disabled", "tpid": 0x88A8, "accept": "all", "ingress_filter": False, "priority_tags": "always"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_port(case: str) -> None:
    port, words, expected = CASES[case]
    made = after(port, **words)
    assert {key: getattr(made, key) for key in expected} == expected


WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "key": ("eth1", {"acces": "10"}, "no setting 'acces'; did you mean 'access'"),
    "vlan": ("eth1", {"access": "ofice"}, "access: there is no VLAN 'ofice'; did you mean 'office'"),
    "vid": ("eth1", {"access": "4095"}, "out of range"),
    "port": ("eth3", {"access": "10"}, "no port 'eth3'; did you mean 'eth"),
    "mode": ("eth1", {"mode": "trunc"}, "no mode of a port; did you mean 'trunk'"),
    "no VLAN": ("eth9", {"pvid": "none", "mode": "access"}, "an access port needs a VLAN"),
    "list of an access port": ("eth1", {"allowed": "+30"}, "has one VLAN"),
    "not together": ("eth1", {"translate": "5:10"}, "no tags to translate"),
    "rate": ("eth1", {"storm": "broadcast:5"}, "is no rate"),
    "pair": ("eth1", {"storm": "broadcast"}, "no colon"),
    "number": ("eth1", {"mac_limit": "many"}, "is no number"),
    "tpid": ("eth1", {"tpid": str(0x9100)}, "'0x9100' is no tag type; use 802.1q, 802.1ad"),
    "no MTU": ("eth1", {"mtu": "many"}, "is no MTU; give a number from 64 to 65535"),
    "yes": ("eth1", {"sticky": "perhaps"}, "neither true nor false"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_one_sentence(case: str) -> None:
    port, words, said = WRONG[case]
    with pytest.raises(UserError) as caught:
        after(port, **words)
    assert said in str(caught.value) and "\n" not in str(caught.value)


JUNK = [
    None, [], 7, {"port": {}}, {"ports": []}, {"ports": {"eth1": 7}}, {"ports": {"eth1": {"no": 1}}}, {"vlans": 7},
    {"ports": {"eth1": {"pvid": "x"}}}, {"ports": {"eth1": {"allowed": 7}}}, {"ports": {"eth1": {"mode": 7}}},
    {"vlans": {"x": "y"}}, {"vlans": {"40": "office"}}, {"vlans": {"40": "all"}}, {"vlans": {"40": 7}}, {"mirrors": 7},
    {"vlans_settings": {"private": 7}}, {"vlans_settings": {"no": 1}}, {"mirrors": [{"name": "m"}]}, {"static": 7},
    {"static": {"add": [7]}}, {"static": {"add": [{}]}}, {"static": {"remove": [{"vid": 10, "mac": "x"}]}},
    {"static": {"add": [{"vid": 10, "mac": "02:00:00:00:00:01", "port": "no"}]}}, {"static": {"add": 7}},
    {"static": {"add": [{"vid": [], "mac": "02:00:00:00:00:01", "port": "eth1"}]}},
]  # fmt: skip


@pytest.mark.parametrize("wish", JUNK, ids=repr)
def test_junk_is_refused(wish: Any) -> None:
    before = config()
    with pytest.raises(UserError):
        changed("s1", before, wish)
    assert before == config()


def test_private_vlans_make_the_mode() -> None:
    before = {**config(), "vlans_settings": {"private": [[10, 20, []]]}}
    before["ports"] = [before["ports"][2], row("eth1", pvid=30), row("eth2", pvid=30)]
    made = changed("s1", before, {"ports": {"eth1": {"pvid": 10}, "eth2": {"pvid": 20, "mode": "access"}}})
    assert [each["mode"] for each in made["ports"]] == ["trunk", "promiscuous", "host"]
    back = changed("s1", made, {"ports": {"eth1": {"pvid": 30}, "eth2": {"pvid": 30}}})
    assert [each["mode"] for each in back["ports"]] == ["trunk", "access", "access"]


def test_differences_are_lines_for_people() -> None:
    wish = {
        "ports": {
            "eth1": {"mode": "trunk", "allowed": "10,20"},
            "eth2": {"pvid": 30, "tpid": 0x88A8, "storm": [["broadcast", 5_000_000, "bps"]], "peer_addresses": [2, 5]},
        },
        "vlans": {"30": None, "40": "voice"},
        "static": {"add": [{"vid": 10, "mac": "02-00-00-00-00-01", "port": "eth1"}]},
        "mirrors": [{"name": "m", "ports_in": ["eth1"], "to_port": "eth9"}],
    }
    made = changed("s1", config(), wish)
    assert [each["text"] for each in differences("s1", config(), made)] == [
        "s1:eth1 mode: access -> trunk",
        "s1:eth1 pvid: 10 -> none",
        "s1:eth1 allowed: 10 -> 10,20",
        "s1:eth2 pvid: 20 -> 30",
        "s1:eth2 tpid: 802.1q -> 802.1ad",
        "s1:eth2 storm: none -> broadcast:5 Mbit/s",
        "s1:eth2 reserved peer: none -> lacp,05",
        "s1 VLAN 30: guests -> none",
        "s1 VLAN 40: none -> voice",
        "s1 mirror m: none -> ports_in=eth1 to_port=eth9",
        "s1 static 02:00:00:00:00:01 in VLAN 10: none -> eth1",
    ]
    assert list(differences("s1", made, made)) == []


def test_differences_are_in_the_words_of_port_set() -> None:
    keys = {"ingress_filter": False, "protected": True, "mac_limit": 5, "priority": 3, "mtu": 1500, "accept": "all"}
    before = changed("s1", config(), {"ports": {"eth1": {"mode": "trunk", "untagged": ""}}})
    made = changed("s1", before, {"ports": {"eth1": {**keys, "untagged": None}}})
    assert [each["text"] for each in differences("s1", before, made)] == [
        "s1:eth1 priority: 0 -> 3",
        "s1:eth1 mtu: 9216 -> 1500",
        "s1:eth1 ingress-filter: yes -> no",
        "s1:eth1 accept: default -> all",
        "s1:eth1 untagged: none -> native",
        "s1:eth1 protected: no -> yes",
        "s1:eth1 mac-limit: none -> 5",
    ]


def test_all_or_nothing_over_several_switches() -> None:
    desired = {name: Desired("switchd", config()) for name in ("s1", "s2")}
    good = {"ports": {"eth1": {"pvid": 20}}}
    configs, rows = wanted(desired, {"s1": good, "s2": good})
    assert set(configs) == {"s1", "s2"} and len(rows) == 2
    for wishes in ({"s1": good, "s2": {"ports": {"eth1": {"pvid": 9999}}}}, {"s3": good}, {}, None, [good]):
        with pytest.raises(UserError):
            wanted(desired, wishes)
    assert wanted(desired, {"s1": {"ports": {"eth1": {"pvid": 10}}}}) == ({}, [])


def test_what_the_file_said_is_remembered_until_the_next_file(tmp_path: Any) -> None:
    store = SqliteStore(str(tmp_path / "state"))
    store.set_lab({"name": "x", "file": "f"})
    filed = Filed(store)
    now = {"s1": Desired("switchd", config())}
    for vid in (20, 30):
        configs, _ = wanted(now, {"s1": {"ports": {"eth1": {"pvid": vid}}}})
        filed.note(now, configs)
        now = {"s1": Desired("switchd", configs["s1"])}
    assert [each["text"] for each in Filed(store).changed(now)] == ["s1:eth1 pvid: 10 -> 30"]
    plan = {"s1": Desired("switchd", changed("s1", config(), {"ports": {"eth2": {"pvid": 30}}}))}
    assert [each["text"] for each in filed.taken_back(now, plan)] == ["s1:eth1 pvid: 30 -> 10"]
    assert filed.taken_back(now, {}) == []
    assert store.lab()["file"] == "f"
    store.set_lab({"name": "x"})
    assert filed.changed(now) == []


def pool(rate: int | None) -> dict[str, Any]:
    return {"pool": {"name": "p0", "members": ["/a"], **({} if rate is None else {"repair_rate": rate})}}


def test_pools_are_changed_beside_switches_and_taken_back(tmp_path: Any) -> None:
    store = SqliteStore(str(tmp_path / "state"))
    store.set_lab({"name": "x", "file": "f"})
    filed = Filed(store)
    now = {"s1": Desired("switchd", config()), "p0": Desired("stord", pool(None))}
    assert wanted(now, None, {"p0": {"repair_rate": 0}}) == ({}, [])
    configs, rows = wanted(now, {"s1": {"ports": {"eth1": {"pvid": 20}}}}, {"p0": {"repair_rate": 1 << 20}})
    assert [each["text"] for each in rows] == ["s1:eth1 pvid: 10 -> 20", "p0 repair-rate: no limit -> 1 MiB/s"]
    assert configs["p0"] == pool(1 << 20)
    filed.note(now, configs)
    changed_now = {name: Desired(want.kind, configs[name]) for name, want in now.items()}
    assert [each["text"] for each in Filed(store).changed(changed_now)] == [each["text"] for each in rows]
    assert list(read_filed(store.lab())) == ["s1"], "who asks for switches is told of switches"
    back = [each["text"] for each in filed.taken_back(changed_now, now)]
    assert back == ["s1:eth1 pvid: 20 -> 10", "p0 repair-rate: 1 MiB/s -> no limit"]
    gone = {"p0": Desired("switchd", config())}
    assert filed.taken_back(changed_now, gone) == [] and Filed(store).changed(gone) == []


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"p1": {"repair_rate": 1}}, "there is no pool 'p1'; there are p0"),
        ({"s1": {"repair_rate": 1}}, "there is no pool 's1'"),
        ({"p0": {"size": 1}}, "p0: 'size' cannot be changed"),
        ({"p0": {"repair_rate": -1}}, "p0: repair_rate is a number of bytes from 0 to"),
        ({"p0": {"repair_rate": True}}, "not 'True'"),
        ({"p0": 7}, "a change is keys and values"),
        ({}, "change needs 'switches' or 'pools'"),
    ],
)
def test_wishes_for_pools_that_cannot_be(wishes: Any, sentence: str) -> None:
    desired = {"s1": Desired("switchd", config()), "p0": Desired("stord", pool(None))}
    with pytest.raises(UserError, match=sentence):
        wanted(desired, None, wishes)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "true"), (5, "5"), ({20, 10}, "10,20"), ([7, "a"], "7,a"), ({}, "none"), (set(), "none"),
     ({"lldp": "tunnel", 5: 6}, "lldp:tunnel,5:6"), ("+30", "+30")],
)  # fmt: skip
def test_values_of_programs(value: object, text: str) -> None:
    assert port_keys.text(value) == text
