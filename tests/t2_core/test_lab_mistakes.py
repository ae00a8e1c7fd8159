"""Every mistake in a lab file: where it is, what it is, what to do; all of them in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemons.lab import loader
from daemons.lab.mistake import MOST_SHOWN, LabError
from tests.support.labfiles import one_mistake

# The mistake stands where the ¤ is (it is taken out of the text); the pattern must match `what; what to do`.
HEAD = "name: t\nvlans: {office: 10, lab: 20}\ntopology:\n"
SWITCH = HEAD + "  nodes:\n    s1: {kind: switch, ports: {eth1: {access: 10}, %s}}\n    h1:\n    h2:\n"
SWITCH += '  links:\n    - endpoints: ["s1:eth1", "h1:eth0"]\n    - endpoints: ["s1:eth2", "h2:eth0"]\n'
HOST = HEAD + "  nodes:\n    s1: {kind: switch}\n    h1: %s\n"
HOST += '  links:\n    - endpoints: ["s1:eth1", "h1:eth0"]\n'
LINK = HEAD + "  nodes: {s1: {kind: switch}, s2: {kind: switch}, h1: , h2: }\n  links:\n"
LINK += '    - endpoints: ["s1:e9", "s2:e9"]\n    - endpoints: ["s1:e1", "h1:eth0"]\n'
LINK += '    - endpoints: ["s1:e2", "h2:eth0"]\n    - %s\n'

CASES = {
    "syntax": ("name: t\ntopology: {nodes: ¤]}", "not YAML: .*check quotes"),
    "control character": ("name: t\ntop¤\x01ology: {}", "cannot stand in YAML"),
    "escape": ('¤name: "\\Uffffffff"', "not YAML"),
    "empty": ("¤", "empty; begin with name:"),
    "only a comment": ("¤# nothing", "empty; begin with name:"),
    "a number": ("¤3", "here belongs a mapping, not '3'"),
    "a list": ("¤- a", "here belongs a mapping, not a list"),
    "two documents": ("name: t\n¤--- \nname: u", "second YAML document"),
    "tag": (HEAD + "  nodes: ¤!!map {s1: {kind: switch}}", "tags such as .* mean nothing here; remove"),
    "key twice": (
        "name: t\n¤name: u\ntopology: {nodes: {}}",
        "'name' stands here twice \\(first in line 1\\); keep one",
    ),
    "list as key": ("name: t\n? ¤[a]\n: b\ntopology: {nodes: {}}", "cannot be a key"),
    "unknown anchor": ("name: ¤*a", "nothing above is called &a"),
    "no name": ("¤topology: {nodes: {}}", "'name' is missing here; add name:"),
    "no topology": ("¤name: t", "'topology' is missing here; add topology:"),
    "no nodes": ("name: t\n¤topology: {links: []}", "'nodes' is missing here; add nodes:"),
    "lab name": ("name: ¤a b\ntopology: {nodes: {}}", "'a b' is no lab name; use a letter"),
    "lab name is a number": ("name: ¤3\ntopology: {nodes: {}}", "lab name must be text, not '3'"),
    "lab name too long": (f"name: ¤{'a' * 32}\ntopology: {{nodes: {{}}}}", "is no lab name"),
    "unknown key": ("name: t\n¤loop: block\ntopology: {nodes: {}}", "unknown key 'loop'; did you mean 'loops'\\?"),
    "key of later": (
        "name: t\n¤weather: {}\ntopology: {nodes: {}}",
        "unknown key 'weather'; remove it; known here: name",
    ),
    "loops": ("name: t\nloops: ¤refused\ntopology: {nodes: {}}", "not known here; did you mean 'refuse'"),
    "vlan id 0": ("name: t\nvlans: {a: ¤0}\ntopology: {nodes: {}}", "VLAN ID '0' is out of range; give a number"),
    "vlan id 4095": ("name: t\nvlans: {a: ¤4095}\ntopology: {nodes: {}}", "out of range"),
    "vlan id text": ("name: t\nvlans: {a: ¤x}\ntopology: {nodes: {}}", "'x' is no VLAN ID"),
    "vlan id true": ("name: t\nvlans: {a: ¤true}\ntopology: {nodes: {}}", "'True' is no VLAN ID"),
    "vlan name": ("name: t\nvlans: {¤10: 10}\ntopology: {nodes: {}}", "'10' is no VLAN name"),
    "vlan called all": ("name: t\nvlans: {¤all: 10}\ntopology: {nodes: {}}", "cannot be called 'all'"),
    "vlan id twice": ("name: t\nvlans: {a: 1, b: ¤1}\ntopology: {nodes: {}}", "'a' and 'b' have the same ID 1"),
    "node name": (HEAD + "  nodes: {¤s 1: {kind: switch}}", "'s 1' is no node name; use a letter"),
    "node name with escapes": (HEAD + '  nodes: {¤"s\\x1b[2J": {kind: switch}}', r"'s\\x1b\[2J' is no node name"),
    "kind": (HEAD + "  nodes: {s1: {kind: ¤swich}}", "did you mean 'switch'"),
    "kind of later": (HEAD + "  nodes: {s1: {kind: ¤router}}", "'router' is not known here; use switch or host"),
    "ports of a host": (HOST % "{¤ports: {}}", "ports: belongs to a switch, and 'h1' is a host; add kind: switch"),
    "addresses of a switch": (HEAD + "  nodes: {s1: {kind: switch, ¤addresses: []}}", "belongs to a host"),
    "port name": (SWITCH % "¤e:1: {}", "'e:1' is no port name"),
    "port name too long": (SWITCH % f"¤{'e' * 16}: {{}}", "is no port name"),
    "access and trunk": (SWITCH % "e3: ¤{access: 10, trunk: all}", "either access or trunk; remove one"),
    "unknown vlan": (SWITCH % "e3: {access: ¤offce}", "no VLAN 'offce'; did you mean 'office'"),
    "unknown vlan in trunk": (
        SWITCH % "e3: {trunk: [lab, ¤x]}",
        "no VLAN 'x'; add it to vlans:, or use one of office, lab",
    ),
    "unknown native": (SWITCH % "e3: {trunk: all, native: ¤x}", "no VLAN 'x'"),
    "access out of range": (SWITCH % "e3: {access: ¤5000}", "VLAN ID '5000' is out of range"),
    "access as text out of range": (SWITCH % "e3: {access: ¤'4095'}", "out of range"),
    "access is a list": (SWITCH % "e3: {access: ¤[10]}", "no VLAN ID"),
    "trunk is a number": (SWITCH % "e3: {trunk: ¤10}", r"'all' or a list, not '10'; write 'all' or \[10\]"),
    "trunk is a text": (SWITCH % "e3: {trunk: ¤'10,20'}", r"is no list; write it as a list: \[10,20\]"),
    "trunk is empty": (SWITCH % "e3: {trunk: ¤[]}", "carries no VLAN; list"),
    "trunk range falls": (SWITCH % "e3: {trunk: [¤20-10]}", "no range of VLAN IDs; write it rising"),
    "trunk range is huge": (SWITCH % "e3: {trunk: [¤1-99999]}", "no range of VLAN IDs"),
    "native of access": (SWITCH % "e3: ¤{access: 10, native: 1}", "native: belongs to a trunk"),
    "priority of no untagged": (SWITCH % "e3: {trunk: all, ¤priority: 3}", "takes none; add native:"),
    "priority": (SWITCH % "e3: {priority: ¤8}", "cannot be '8'; give a whole number from 0 to 7"),
    "ageing": (HEAD + "  nodes: {s1: {kind: switch, ageing: ¤1}}", "ageing time cannot be '1'; give .* from 10"),
    "qemu role": (SWITCH % "e3: {qemu: ¤call}", "use dial or listen"),
    "qemu path": (SWITCH % "e3: {qemu: {path: ¤x.sock}}", "no absolute path; write a path that begins with /"),
    "qemu path too long": (SWITCH % f"e3: {{qemu: {{path: ¤/{'x' * 107}}}}}", "longer than the 107 bytes"),
    "qemu on a linked port": (SWITCH % "eth2: {¤qemu: dial}", "has qemu: and is an end of the link"),
    "qemu and tcp": (SWITCH % "e3: ¤{qemu: dial, tcp: {listen: '*:1', peer: a}}", "one peer"),
    "tcp without peer": (SWITCH % "e3: {¤tcp: {listen: '*:1'}}", "'peer' is missing here"),
    "tcp both ways": (SWITCH % "e3: {tcp: ¤{listen: '*:1', connect: 'a:1', peer: a}}", "listens or connects"),
    "tcp port of listener": (SWITCH % "e3: {tcp: ¤{listen: '*:1', peer: a, port: b}}", "port: belongs to connect:"),
    "tcp address": (SWITCH % "e3: {tcp: {listen: ¤localhost, peer: a}}", "no TCP address; write host:port"),
    "tcp port out of range": (SWITCH % "e3: {tcp: {listen: ¤'*:70000', peer: a}}", "use a port from 1 to 65535"),
    "tcp peer": (SWITCH % "e3: {tcp: {listen: '*:1', peer: ¤'a b'}}", "no peer; give the name of a key"),
    "no prefix": (HOST % "{addresses: [10.0.0.1/24, ¤10.0.0.2]}", "no IP address with a prefix length"),
    "addresses not a list": (HOST % "{addresses: ¤10.0.0.1/24}", "here belongs a list"),
    "network address": (HOST % "{addresses: [¤10.0.0.0/24]}", "network's own"),
    "broadcast address": (HOST % "{addresses: [¤10.0.0.255/24]}", "broadcast"),
    "multicast address": (HOST % "{addresses: [¤224.0.0.1/24]}", "cannot be a host's address"),
    "address twice": (HOST % "{addresses: [10.0.0.1/24, ¤10.0.0.1/24]}", "stands here twice"),
    "gateway": (HOST % "{addresses: [10.0.0.1/24], gateway: ¤10.0.1.1}", "in no network of this host"),
    "gateway is itself": (HOST % "{addresses: [10.0.0.1/24], gateway: ¤10.0.0.1}", "use another address"),
    "gateway text": (HOST % "{addresses: [10.0.0.1/24], gateway: ¤10.0.0.254/24}", "without prefix length"),
    "mac": (HOST % "{mac: ¤02:00:00:00:00}", "no MAC address"),
    "mac of a group": (HOST % "{mac: ¤03:00:00:00:00:01}", "must be even"),
    "vlan interface": (HOST % "{interfaces: {¤eth0.x: {}}}", "neither a NIC nor a VLAN of one"),
    "vlan interface 0": (HOST % "{interfaces: {¤eth0.0: {}}}", "neither a NIC nor a VLAN of one"),
    "mac of a vlan": (
        HOST % "{interfaces: {eth0.7: {¤mac: 02:00:00:00:00:01}}}",
        "MAC address of its NIC; move it to eth0",
    ),
    "priority without tag": (HOST % "{interfaces: {eth0: {¤priority: 5}}}", "needs a tag"),
    "eth0 twice": (HOST % "{¤addresses: [10.0.0.1/24], interfaces: {eth0: {}}}", "keep one of the two"),
    "unlinked nic": (HOST % "{interfaces: {eth0: {}, ¤eth1: {addresses: [10.0.0.1/24]}}}", "no cable goes into 'eth1'"),
    "endpoint": (LINK % 'endpoints: ["s1:e3", ¤"s2"]', "'s2' is no endpoint; write node:port"),
    "one endpoint": (LINK % '¤endpoints: ["s1:e3"]', "two endpoints, not 1"),
    "endpoints missing": (LINK % "¤transport: tcp", "'endpoints' is missing here"),
    "transport": (LINK % 'endpoints: ["s1:e3", "s2:e3"]\n      transport: ¤udp', "not known here"),
    "unknown node": (LINK % 'endpoints: ["s1:e3", ¤"h3:eth0"]', "no node 'h3'; add it to nodes:"),
    "used twice": (LINK % 'endpoints: [¤"s1:e9", "s2:e3"]', "s1:e9 is used twice .*by the link s1:e9 - s2:e9"),
    "host port twice": (LINK % 'endpoints: ["s1:e4", ¤"h1:eth0"]', "h1:eth0 is used twice"),
    "self": (LINK % 'endpoints: ¤["s1:e3", "s1:e4"]', "joins 's1' with itself"),
    "two hosts": (LINK % 'endpoints: ¤["h1:eth1", "h2:eth1"]', "both hosts; put a switch"),
    "cable into a vlan": (LINK % 'endpoints: ["s1:e3", ¤"h1:eth0.7"]', "write h1:eth0"),
    "parallel": (LINK % '¤endpoints: ["s1:e3", "s2:e3"]', "loop in every VLAN: s1 - s2 - s1; .*loops: block"),
    "no link": (HEAD + "  nodes: {s1: {kind: switch, ports: {e1: }}, ¤h1: }", "host 'h1' has no link; add a link"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_mistake(case: str) -> None:
    one_mistake(*CASES[case])


def test_every_mistake_in_one_go() -> None:
    text = """name: two words
vlans: {office: 10, lab: 9999, tv: 10}
topology:
  nodes:
    s1: {kind: swich, ports: {e1: {access: offce}, e2: {acess: 10}, e3: {access: lab}}}
    h1: {addresses: [10.0.0.1]}
    h2: {interfaces: {eth0.x: }}
  links:
    - endpoints: ["s1:e1", "h1:eth0"]
    - endpoints: ["s1:e1", "h3:eth0"]
    - 7
"""
    with pytest.raises(LabError) as caught:
        loader.parse(text, "f")
    places = [(mistake.line, mistake.what) for mistake in caught.value.mistakes]
    assert [line for line, _ in places] == [1, 2, 2, 5, 5, 5, 6, 7, 10, 10, 11], places
    assert not any("'lab'" in what for line, what in places if line == 5)  # what was taken out is not blamed again


def test_islands_are_found_beside_wrong_names() -> None:
    text = HEAD + "  nodes: {s1: {kind: switch, ports: {e1: {access: nope}}}, h1: }\n"
    with pytest.raises(LabError, match=r"(?s)no VLAN 'nope'.*host 'h1' has no link"):
        loader.parse(text)


def test_a_long_list_is_cut() -> None:
    keys = "\n".join(f"x{i}: 1" for i in range(300))
    with pytest.raises(LabError) as caught:
        loader.parse(f"name: t\ntopology: {{nodes: {{}}}}\n{keys}\n", "f")
    assert len(caught.value.mistakes) == 300
    assert len(str(caught.value).splitlines()) == MOST_SHOWN + 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.fab.yml"
    latin.write_bytes(b"name: t\n# caf\xe9\n")
    big = tmp_path / "big.fab.yml"
    big.write_bytes(b"#" * (5 << 20))
    ring = tmp_path / "ring"
    ring.symlink_to(ring)
    cases = {
        tmp_path / "none.fab.yml": "there is no such file",
        tmp_path: "this is a folder",
        latin: "latin.fab.yml:2:6: this is not UTF-8",
        big: "larger than 4 MiB",
        ring: ";",
        tmp_path / ("x" * 300): ";",
        tmp_path / "a\0b": ";",
    }
    for path, said in cases.items():
        with pytest.raises(LabError, match=said):
            loader.load(path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.fab.yml"
    file.write_text("name: t\n")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(LabError, match="you may not read this file; chmod u\\+r"):
        loader.load(file)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "x.fab.yml"
    file.write_bytes(b"\xef\xbb\xbfname: t\ntopology: {nodes: {}}\n")
    assert loader.load(file).lab.name == "t"


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert loader.find("two-switches").name == "two-switches.fab.yml"
    mine = tmp_path / "two-switches.fab.yml"
    mine.write_text("name: t\n")
    assert loader.find("two-switches").resolve() == mine
    assert loader.find(mine) == mine
    for wrong in ("two-switchs", "no/such", "x" * 5000, "a\0b"):
        with pytest.raises(LabError, match=r"no such example lab; .*examples: .*campus-east, "):
            loader.find(wrong)
    with pytest.raises(LabError, match="did you mean 'two-switches'"):
        loader.find("two-switchs")
