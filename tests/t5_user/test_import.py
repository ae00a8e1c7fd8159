"""vfab import, as a user types it: the lab file to the output, the report to stderr, and the lab comes up."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from tests.support.rooms import need_namespaces
from tests.support.user import BIN, run, vfab

CLAB = """\
name: pair
topology:
  kinds: {linux: {image: alpine}}
  nodes:
    pc1: {kind: linux, exec: [ip addr add 10.1.0.1/24 dev eth1, apk add curl]}
    pc2: {kind: linux, exec: [ip addr add 10.1.0.2/24 dev eth1]}
    pc3: {kind: linux, exec: [ip addr add 10.1.0.3/24 dev eth1]}
    br: {kind: bridge}
    srl: {kind: nokia_srlinux}
  links:
    - endpoints: ["pc1:eth1", "pc2:eth1"]
    - endpoints: ["pc3:eth1", "br:eth1"]
    - endpoints: ["srl:e1-1", "br:eth2"]
"""


def test_a_containerlab_file_comes_up(work: Path) -> None:
    Path("pair.clab.yml").write_text(CLAB)
    done = vfab("import", "pair.clab.yml", "--hosts", "userspace", "-o", "pair.fab.yml")
    assert done.out == "The lab file is pair.fab.yml.\n"
    assert [line.partition(": ")[0] for line in done.err.splitlines()] == [f"pair.clab.yml:{i}" for i in (3, 5, 9)]
    assert "not carried over: 'apk add curl'" in done.err
    assert "2 switches" in vfab("validate", "pair.fab.yml").out
    vfab("up", "pair.fab.yml")
    told = vfab("pingall", "--json").json
    reached = {(pair["source"], pair["target"]) for pair in told["pairs"] if pair["reached"]}
    assert told["ok"] and reached == {("pc1", "pc2"), ("pc2", "pc1")}, "a wire is nobody else's"


def test_tags_and_lldp_pass_a_wire(work: Path) -> None:
    Path("pair.clab.yml").write_text(CLAB)
    vfab("import", "pair.clab.yml", "--hosts", "userspace", "-o", "pair.fab.yml")
    vfab("up", "pair.fab.yml")
    for words in (["dst=pc2", "vlan=77"], ["dst=01:80:c2:00:00:0e", "type=0x88cc"]):
        told = vfab("trace", "wires:p1", "src=02:00:00:00:00:77", *words, code=None).out
        assert re.search(r"─ p2 \((tagged 77|untagged)\) ─► pc2:eth1", told), told


def test_the_lab_goes_to_the_output(work: Path) -> None:
    Path("pair.clab.yml").write_text(CLAB)
    done = vfab("import", "pair.clab.yml")
    assert done.out.startswith("# Made by vfab import of pair.clab.yml (containerlab).\n") and "kind: netns" in done.out
    value = vfab("import", "pair.clab.yml", "--json").json
    assert value["lab"]["name"] == "pair" and value["notes"][0] == {
        "file": "pair.clab.yml", "line": 3,
        "what": "not carried over: 'image' of linux; no container is run: a machine is a namespace with this computer's"
        " own programs",
    }  # fmt: skip


def test_a_lab_file_of_our_own_is_nothing_to_import(work: Path) -> None:
    Path("pair.fab.yml").write_text(CLAB)
    assert "vfab up pair.fab.yml" in vfab("import", "pair.fab.yml", code=2).sentence
    assert "kind: netns" in vfab("import", "pair.fab.yml", "--format", "containerlab").out


def test_it_reads_a_pipe(work: Path) -> None:
    Path("x").write_text(CLAB)
    told = run("sh", "-c", f"{BIN}/vfab import - < x > pair.fab.yml")
    assert told.err.startswith("-:3: not carried over") and "2 switches" in vfab("validate", "pair.fab.yml").out


def test_a_kathara_folder(work: Path) -> None:
    os.mkdir("lab")
    Path("lab/lab.conf").write_text('a[0]="L"\nb[0]="L"\n')
    Path("lab/a.startup").write_text("ifconfig eth0 10.0.0.1/24 up\nrm -rf /\n")
    Path("lab/b.startup").write_text("ip addr add 10.0.0.2/24 dev eth0\n")
    Path("secret").write_text("top secret\n")
    os.symlink("../secret", "lab/shared.startup")
    os.mkfifo("lab/c.startup")
    done = vfab("import", "lab", "--hosts", "userspace", "-o", "k.fab.yml")
    assert done.err == "a.startup:2: not carried over: 'rm -rf /': only ip, ifconfig, route and sysctl are understood\n"
    vfab("up", "k.fab.yml")
    assert "2 answered, 0 stayed apart" in vfab("pingall").out


def test_a_fifo_is_not_waited_for(work: Path) -> None:
    Path("lab.conf").write_text('a[0]="L"\n')
    os.mkfifo("a.startup")
    assert "a: {kind: netns}" in vfab("import", "lab.conf").out


def test_a_graph(work: Path) -> None:
    Path("g.graphml").write_text(
        '<graphml><graph><node id="x"/><node id="y"/><node id="z"/><edge source="x" target="y"/>'
        '<edge source="y" target="z"/></graph></graphml>'
    )
    vfab("import", "g.graphml", "--hosts", "userspace", "-o", "g.fab.yml")
    vfab("up", "g.fab.yml")
    assert "2 answered, 0 stayed apart" in vfab("pingall").out


def test_nothing_can_be_made_of_it(work: Path) -> None:
    Path("bad.yml").write_text("name: x\n")
    told = vfab("import", "bad.yml", code=1)
    assert told.err == (
        "bad.yml:1: there is no topology: in it, so it is no containerlab file\n"
        "vfab: nothing could be made of bad.yml\n"
    )
    Path("bomb.graphml").write_text('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><graphml>&x;</graphml>')
    assert "a DOCTYPE, or an entity, is refused" in vfab("import", "bomb.graphml", code=1).err
    assert "cannot read 'nothing': No such file" in vfab("import", "nothing", code=2).sentence


def test_mistakes_that_were_there_already_are_told(work: Path) -> None:
    """Two machines with one address: only people know which of them is wrong."""
    Path("d.conf").write_text('a[0]="L"\nb[0]="L"\n')
    for name in "ab":
        Path(f"{name}.startup").write_text("ip addr add 10.0.0.1/24 dev eth0\n")
    told = vfab("import", "d.conf", "-o", "d.fab.yml")
    assert "d.fab.yml:" in told.err and "10.0.0.1" in told.err


ROUTED = """\
name: routed
topology:
  nodes:
    PC1:
      kind: linux
      exec: [ip addr add 192.168.11.2/24 dev eth1, ip route add 192.168.12.0/24 via 192.168.11.1]
    PC2:
      kind: linux
      exec: [ip addr add 192.168.12.2/24 dev eth1, ip route add default via 192.168.12.1]
    R:
      kind: linux
      exec:
        - sysctl -w net.ipv4.ip_forward=1
        - ip addr add 192.168.11.1/24 dev eth1
        - ip addr add 192.168.12.1/24 dev eth2
        - ip link set dev eth2 mtu 1400 address 02:00:00:00:00:77
  links:
    - endpoints: ["PC1:eth1", "R:eth1"]
    - endpoints: ["PC2:eth1", "R:eth2"]
"""


def test_namespaces_are_what_their_commands_would_have_made(work: Path) -> None:
    """What the file's own commands say is held against what ip finds in the namespaces."""
    need_namespaces(tun=True)
    Path("routed.clab.yml").write_text(ROUTED)
    assert vfab("import", "routed.clab.yml", "-o", "routed.fab.yml").err == ""
    vfab("up", "routed.fab.yml")

    def ip(host: str, *words: str) -> Any:
        return json.loads(vfab("exec", host, "--", "ip", "-4", "-j", *words).out)

    found = {
        f"{row['ifname']} {a['local']}/{a['prefixlen']}" for row in ip("R", "addr") for a in row["addr_info"]
    }  # fmt: skip
    assert found == {"lo 127.0.0.1/8", "eth1 192.168.11.1/24", "eth2 192.168.12.1/24"}
    eth2 = next(row for row in ip("R", "link") if row["ifname"] == "eth2")
    assert (eth2["mtu"], eth2["address"]) == (1400, "02:00:00:00:00:77")
    assert [row["gateway"] for row in ip("PC2", "route") if row["dst"] == "default"] == ["192.168.12.1"]
    assert [row["dst"] for row in ip("PC1", "route") if row.get("gateway") == "192.168.11.1"] == ["192.168.12.0/24"]
    assert vfab("exec", "R", "--", "cat", "/proc/sys/net/ipv4/ip_forward").out == "1\n"
    assert vfab("ping", "PC1", "192.168.12.2", "-c", "2", "--json").json["received"] == 2, "through the router"
