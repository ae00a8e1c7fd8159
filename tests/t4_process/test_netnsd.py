"""Network namespaces that a real netnsd holds, joined by a real switchd: with root's rights, and with none."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Refused
from tests.support import peers
from tests.support.netns import POWERLESS, Netnsd, Program, host, interface, nic
from tests.support.rooms import need_namespaces
from tests.support.switches import Switch, port
from tests.support.waiting import until

pytestmark = pytest.mark.peer("unshare")
SERVE = (
    "import socket; s = socket.create_server(('::', 7), family=socket.AF_INET6, dualstack_ipv6=True); "
    "print('ready', flush=True); c, _ = s.accept(); f = c.makefile('rw'); "
    "[(f.write(line), f.flush()) for line in f]"
)
ASK = "import socket, sys; c = socket.create_connection((sys.argv[1], 7), 20); c.sendall(b'abc\\n'); print(c.recv(9))"
TALK = (
    "import socket, sys; f = socket.create_connection((sys.argv[1], 7), 20).makefile('rw')\n"
    "for line in sys.stdin: f.write(line); f.flush(); print(f.readline(), end='', flush=True)"
)
Make = Callable[..., Switch]


@pytest.fixture(params=["root", "powerless"])
def netnsd(request: pytest.FixtureRequest, home: Path) -> Iterator[Netnsd]:
    need_namespaces(tun=True)
    root, inside = os.geteuid() == 0, request.param == "powerless"
    if not root and not inside:
        peers.missing("root")
    if root and inside:
        peers.need("setpriv")
    made = Netnsd(home / "run", inside=POWERLESS if root and inside else ())
    yield made
    made.close()
    assert "internal error" not in made.log.read_text()


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    made: list[Switch] = []

    def one(netnsd: Netnsd, **vlans: int) -> Switch:
        ports = [
            port(name, kind="tap", path=netnsd.path(name), pvid=vlan, allowed=str(vlan)) for name, vlan in vlans.items()
        ]
        made.append(Switch(home / "run", "s1", ports))
        return made[-1]

    yield one
    for switch in made:
        switch.close()
        assert "internal error" not in switch.log.read_text()


def simple(netnsd: Netnsd, number: int, *more: str, **keys: Any) -> dict[str, Any]:
    """h<number> with 10.0.0.<number> and fd00::<number> at port eth<number>."""
    addresses = (f"10.0.0.{number}/24", f"fd00::{number}/64", *more)
    card = nic(netnsd.path(f"eth{number}"), number, interface("eth0", *addresses))
    return host(f"h{number}", card, **keys)


def test_tcp_between_two_and_a_third_that_stays_apart(netnsd: Netnsd, make: Make) -> None:
    make(netnsd, eth1=10, eth2=10, eth3=20)
    hosts = [simple(netnsd, number) for number in (1, 2, 3)]
    assert netnsd.configure(*hosts) == {"added": ["h1", "h2", "h3"], "changed": [], "removed": []}
    netnsd.plugged("h1", "h2", "h3")
    for address in ("10.0.0.2", "fd00::2"):
        with netnsd.program("h2", sys.executable, "-c", SERVE) as server:
            assert server.read() == "ready\n"
            assert netnsd.run("h1", sys.executable, "-c", ASK, address) == "b'abc\\n'\n"
    pairs = [["h1", "h2"], ["h1", "fd00::2"], ["h2", "10.0.0.1"], ["h1", "h3"], ["h3", "fd00::1"], ["h1", "10.9.9.9"]]
    answers = netnsd.client.call("pingall", pairs=[*pairs, ["h9", "h1"], ["h1", "h9"], ["h1", "x.y"]], timeout_ms=1500)
    assert [answer["ok"] for answer in answers] == [True, True, True] + 6 * [False]
    assert answers[0]["address"] == "10.0.0.2" and answers[0]["rtt_ms"] > 0
    assert "Network is unreachable" in answers[5]["error"]
    assert "there is no host 'h9'" in answers[6]["error"] and "no IP address" in answers[8]["error"]
    status = netnsd.status()
    assert status["mistakes"] == 0 and status["problems"] == []
    powerless = os.geteuid() != 0 or bool(netnsd.inside)
    assert (status["users"]["ids"] < 1 << 31) == powerless
    assert [row["problems"] for row in status["hosts"]] == [[], [], []]
    assert all((row["userns"] is not None) == powerless for row in status["hosts"])


def test_ping_counts_and_tells_of_each_echo(netnsd: Netnsd, make: Make) -> None:
    make(netnsd, eth1=10, eth2=10)
    netnsd.configure(simple(netnsd, 1), simple(netnsd, 2))
    netnsd.plugged("h1", "h2")
    events: list[Any] = []
    for dst, size in (("h2", 56), ("fd00::2", 20_000), ("10.0.0.2", 0)):
        asked = {"src": "h1", "dst": dst, "count": 3, "interval_ms": 5, "timeout_ms": 5000, "size": size}
        result = netnsd.client.call("ping", events=events.append, **asked)
        assert (result["sent"], result["received"], result["lost"], result["errors"]) == (3, 3, 0, [])
        assert len(result["rtts_ms"]) == 3 and result["address"] in ("10.0.0.2", "fd00::2")
    assert [event["seq"] for event in events] == [1, 2, 3] * 3
    lonely = netnsd.client.call("ping", src="h1", dst="10.0.0.77", count=1, timeout_ms=20_000)
    assert lonely["received"] == 0 and "No route to host" in lonely["errors"][0]  # the kernel's own word, by ARP
    for wrong, sentence in (({"src": "x"}, "no host 'x'"), ({"src": "h1", "dst": 3}, "name or an address")):
        with pytest.raises(Refused, match=sentence):
            netnsd.client.call("ping", **wrong)
    for pairs in ("x", [["h1"]], [["h1", 2]], None):
        with pytest.raises(Refused, match="needs 'pairs'"):
            netnsd.client.call("pingall", pairs=pairs)
    assert netnsd.client.call("pingall", pairs=[]) == [] and netnsd.status()["mistakes"] == 0


def test_many_pings_leave_the_table_of_neighbours_that_all_share_empty(netnsd: Netnsd, make: Make) -> None:
    make(netnsd, eth1=10, eth2=10)
    netnsd.configure(simple(netnsd, 1), simple(netnsd, 2))
    netnsd.plugged("h1", "h2")
    few, many = ([["h1", "10.0.0.2"], ["h2", "fd00::1"]] * number for number in (1, 150))
    for pairs, left in ((few, True), (many, False)):
        answers = netnsd.client.call("pingall", pairs=pairs, timeout_ms=10_000)
        assert [answer["ok"] for answer in answers] == [True] * len(pairs)
        known = netnsd.run("h1", "ip", "neigh", "show", "to", "10.0.0.2")
        known += netnsd.run("h2", "ip", "neigh", "show", "to", "fd00::1")
        assert (known != "") == left


def router(netnsd: Netnsd, **sysctls: object) -> list[dict[str, Any]]:
    """Two networks, and a router with a NIC in each."""
    first = nic(netnsd.path("eth1"), 1, interface("eth0", "10.1.0.1/24", "fd01::1/64", gateway="10.1.0.254"))
    second = nic(netnsd.path("eth2"), 2, interface("eth0", "10.2.0.1/24", "fd02::1/64"))
    between = (
        nic(netnsd.path("eth3"), 3, interface("eth0", "10.1.0.254/24", "fd01::fe/64")),
        nic(netnsd.path("eth4"), 4, interface("eth1", "10.2.0.254/24", "fd02::fe/64"), name="eth1"),
    )
    six = {"to": "fd02::/64", "via": "fd01::fe", "dev": None}
    back = [{"to": "10.1.0.0/16", "via": "10.2.0.254", "dev": "eth0"}, {"to": "default", "via": "fd02::fe"}]
    return [
        host("h1", first, routes=[six]),
        host("h2", second, routes=back),
        host("r", *between, sysctls={"net.ipv6.conf.all.forwarding": 1, **sysctls}),
    ]


def test_a_router_of_sysctls_and_routes(netnsd: Netnsd, make: Make) -> None:
    make(netnsd, eth1=10, eth3=10, eth2=20, eth4=20)
    netnsd.configure(*router(netnsd, **{"net.ipv4.ip_forward": "1"}))
    netnsd.plugged("h1", "h2", "r")
    assert [row["problems"] for row in netnsd.status()["hosts"]] == [[], [], []]
    assert netnsd.reaches("h1", "10.2.0.1") and netnsd.reaches("h2", "10.1.0.1") and netnsd.reaches("h1", "fd02::1")
    before = netnsd.identity("r")
    assert netnsd.configure(*router(netnsd)) == {"added": [], "changed": ["r"], "removed": []}
    assert not netnsd.reaches("h1", "10.2.0.1", 300)  # what the kernel had before came back
    assert netnsd.reaches("h1", "fd02::1") and netnsd.identity("r") == before
    hosts = router(netnsd, **{"net.ipv4.ip_forward": "1"})
    hosts[0]["nics"][0]["interfaces"][0]["gateway"] = None
    netnsd.configure(*hosts)
    assert "default" not in netnsd.run("h1", "ip", "route") and not netnsd.reaches("h1", "10.2.0.1", 300)


def test_what_a_host_needs_is_there_at_once(netnsd: Netnsd, make: Make) -> None:
    make(netnsd, eth1=10)
    card = nic(netnsd.path("eth1"), 1, interface("eth0", "10.0.0.1/31", "fd00::1/64"), mtu=9000)
    netnsd.configure(host("h1", card, sysctls={"net.ipv4.conf.eth0.arp_ignore": 1}))
    shown = netnsd.run("h1", "ip", "address")
    assert "tentative" not in shown and "mtu 9000" in shown and "02:00:00:00:01:01" in shown
    assert "10.0.0.1/31 scope" in shown  # no broadcast address (RFC 3021)
    assert re.search(r"lo: <LOOPBACK,UP", shown)
    assert netnsd.run("h1", "cat", "/proc/sys/net/ipv4/conf/eth0/arp_ignore") == "1\n"
    assert netnsd.reaches("h1", "127.0.0.1") and netnsd.reaches("h1", "::1")
    netnsd.plugged("h1")
    until(lambda: "LOWER_UP" in netnsd.run("h1", "ip", "link", "show", "eth0"), what="the carrier")
    assert "tentative" not in netnsd.run("h1", "ip", "address")


def test_a_switch_that_comes_later_goes_and_comes_back(netnsd: Netnsd, make: Make) -> None:
    netnsd.configure(simple(netnsd, 1), simple(netnsd, 2))
    assert "No such file" in netnsd.host("h1")["nics"][0]["problem"]
    assert "NO-CARRIER" in netnsd.run("h1", "ip", "link", "show", "eth0")
    switch = make(netnsd, eth1=10, eth2=10)
    netnsd.plugged("h1", "h2")
    assert netnsd.reaches("h1", "10.0.0.2")
    before = netnsd.identity("h1")
    switch.signal(signal.SIGKILL)
    switch.wait_for_end()
    switch.client.close()
    until(lambda: "NO-CARRIER" in netnsd.run("h1", "ip", "link", "show", "eth0"), what="the end of the carrier")
    switch.start()
    switch.configure()
    netnsd.plugged("h1", "h2")
    assert netnsd.reaches("h1", "fd00::2") and netnsd.identity("h1") == before
    assert [row["nics"][0]["plugs"] for row in netnsd.status()["hosts"]] == [2, 2]
    switch.configure(ports=[row for row in switch.config["ports"] if row["name"] != "eth2"])
    until(lambda: not netnsd.host("h2")["nics"][0]["carrier"], what="h2 out of its port")
    assert netnsd.host("h1")["nics"][0]["carrier"]


def test_the_successor_of_a_killed_one_makes_all_anew(netnsd: Netnsd, make: Make) -> None:
    make(netnsd, eth1=10, eth2=10)
    netnsd.configure(simple(netnsd, 1), simple(netnsd, 2))
    netnsd.plugged("h1", "h2")
    with netnsd.program("h2", "sh", "-c", "while read line; do grep -c eth0 /proc/net/dev; done") as old:
        assert old.ask("now") == "1\n"
        before = netnsd.identity("h2")
        netnsd.kill_and_start()
        netnsd.configure(simple(netnsd, 1), simple(netnsd, 2))
        netnsd.plugged("h1", "h2")
        assert netnsd.reaches("h1", "10.0.0.2") and netnsd.identity("h2") != before
        until(lambda: old.ask("now") == "0\n", what="a namespace without a NIC")


def _change_beside(netnsd: Netnsd, one: dict[str, Any], client: Program) -> None:
    """Much of h2, while `client` in h1 talks to it over a connection that stays."""
    assert client.ask("still there") == "still there\n"
    changed = simple(netnsd, 2, "10.6.0.2/24", sysctls={"net.ipv4.ip_forward": "1"})
    changed["nics"][0]["mtu"] = 1400
    changed["nics"].append(nic(netnsd.path("eth3"), 3, interface("eth1", "10.7.0.1/24"), name="eth1"))
    assert netnsd.configure(one, changed, simple(netnsd, 3)) == {"added": ["h3"], "changed": ["h2"], "removed": []}
    assert client.ask("and now") == "and now\n"
    shown = netnsd.run("h2", "ip", "address")
    assert "10.6.0.2/24" in shown and "10.5.0.2" not in shown and "mtu 1400" in shown and "10.7.0.1/24" in shown
    changed["nics"].pop()
    assert netnsd.configure(one, changed)["removed"] == ["h3"]
    assert "eth1" not in netnsd.run("h2", "ip", "link")
    assert client.ask("at last") == "at last\n"


def test_a_change_touches_only_what_changed(netnsd: Netnsd, make: Make) -> None:
    make(netnsd, eth1=10, eth2=10, eth3=10)
    one, two = simple(netnsd, 1), simple(netnsd, 2, "10.5.0.2/24")
    netnsd.configure(one, two)
    netnsd.plugged("h1", "h2")
    identities = [netnsd.identity(name) for name in ("h1", "h2")]
    with netnsd.program("h2", sys.executable, "-c", SERVE) as server:
        assert server.read() == "ready\n"
        with netnsd.program("h1", sys.executable, "-c", TALK, "10.0.0.2") as client:
            _change_beside(netnsd, one, client)
    assert [netnsd.identity(name) for name in ("h1", "h2")] == identities
    assert [netnsd.host(name)["nics"][0]["plugs"] for name in ("h1", "h2")] == [1, 1]
    moved = simple(netnsd, 2)
    moved["nics"][0]["mac"] = "02:00:00:00:02:02"
    netnsd.configure(one, moved)
    for address in ("10.0.0.2", "fd00::2"):  # who knew the old one is told, which takes a moment
        until(functools.partial(netnsd.reaches, "h1", address, 300), what=f"{address} by its new MAC address")
    moved = simple(netnsd, 2)
    moved["nics"][0] |= {"path": netnsd.path("eth3"), "mac": "02:00:00:00:02:02"}
    netnsd.configure(one, moved)
    until(lambda: netnsd.host("h2")["nics"][0]["carrier"], what="h2 in its new port")
    until(lambda: netnsd.reaches("h1", "10.0.0.2", 300), what="h2 by its new port")
    assert "02:00:00:00:02:02" in netnsd.run("h2", "ip", "link")
    assert netnsd.identity("h2") == identities[1]
    assert netnsd.configure()["removed"] == ["h1", "h2"] and netnsd.status()["hosts"] == []


def test_what_can_not_be_done_is_a_sentence_and_holds_up_nobody(netnsd: Netnsd, make: Make) -> None:
    make(netnsd, eth1=10, eth2=10)
    wrong = simple(netnsd, 1, sysctls={"net.ipv4.no_such": 1, "net.ipv4.ip_forward": "x"})
    wrong["routes"] = [{"to": "10.8.0.0/16", "via": "10.99.0.1"}, {"to": "10.9.0.0/16", "via": None, "dev": "eth7"}]
    wrong["nics"][0]["interfaces"].append(interface("eth0.7", "10.77.0.1/24", vlan=7, priority=3))
    netnsd.configure(wrong, simple(netnsd, 2))
    netnsd.plugged("h1", "h2")
    problems = netnsd.host("h1")["problems"]
    expected = ["there is no sysctl net.ipv4.no_such", "ip_forward can't be 'x'", "10.8.0.0/16", "no interface eth7"]
    vlans = "eth0.7" in netnsd.run("h1", "ip", "link")
    if not vlans:
        expected.insert(0, "eth0.7 was not made: this kernel makes no VLAN interfaces; it needs its module 8021q")
    assert len(problems) == len(expected)
    assert all(part in problem for part, problem in zip(expected, problems, strict=True)), problems
    if vlans:
        assert "10.77.0.1/24" in netnsd.run("h1", "ip", "address")
        assert "EGRESS" in netnsd.run("h1", "ip", "-d", "link", "show", "eth0.7").upper()
    assert netnsd.host("h2")["problems"] == [] and netnsd.reaches("h1", "10.0.0.2")
    netnsd.configure(simple(netnsd, 1), simple(netnsd, 2))
    assert netnsd.host("h1")["problems"] == [] and "10.77" not in netnsd.run("h1", "ip", "address")


def test_programs_end_with_their_host_and_with_the_lab(netnsd: Netnsd) -> None:
    netnsd.configure(*(simple(netnsd, number) for number in (1, 2, 3)))
    deaf = "trap '' TERM; echo ready; while :; do read line; done"
    with (
        netnsd.program("h1", "sh", "-c", "echo ready; exec sleep 600") as first,
        netnsd.program("h2", "sh", "-c", "echo ready; exec sleep 600") as second,
        netnsd.program("h3", "sh", "-c", deaf) as third,
    ):
        assert (first.read(), second.read(), third.read()) == 3 * ("ready\n",)
        netnsd.configure(simple(netnsd, 2), simple(netnsd, 3))
        assert first.wait() == -signal.SIGTERM
        assert second.running() and third.running()
        netnsd.client.call("stop")
        netnsd.wait_for_end()
        assert (second.wait(), third.wait()) == (-signal.SIGTERM, -signal.SIGKILL)


def broken(**keys: Any) -> dict[str, Any]:
    return host("h1", nic("/run/x", 1, interface("eth0", "10.0.0.1/24")) | keys)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "must be an object"),
        ({"lab": "x", "epoch": 1}, "list of 'hosts'"),
        ({"lab": "x", "epoch": "1", "hosts": []}, "'epoch', which is a whole number"),
        ({"lab": "x", "epoch": 1, "hosts": [], "uplinks": 3}, "list of 'uplinks'"),
        ({"hosts": [7]}, "a host of kind netns must be an object"),
        ({"hosts": [host("a"), host("a")]}, "the name a is there twice"),
        ({"hosts": [broken(mac="zz")]}, "not a MAC address"),
        ({"hosts": [broken(mac="01:00:00:00:00:01")]}, "group address"),
        ({"hosts": [broken(name="a/b")]}, "no name for an interface"),
        ({"hosts": [broken(path="/" + 200 * "x")]}, "the socket path"),
        ({"hosts": [broken(mtu=3)]}, "'mtu' is a number from 68"),
        ({"hosts": [broken(interfaces=[interface("eth0", "10.0.0.1/33")])]}, "no prefix length from 0 to 32"),
        ({"hosts": [broken(interfaces=[interface("eth0", "ten")])]}, "no IP address"),
        ({"hosts": [broken(interfaces=[interface("eth0", gateway="\0")])]}, "no IP address"),
        ({"hosts": [broken(interfaces=[interface("eth1")])]}, "has its NIC's name"),
        ({"hosts": [broken(interfaces=[interface("e.7", vlan=5000)])]}, "'vlan' is a number from 0"),
        ({"hosts": [broken(interfaces=[interface("eth0", priority=3)])]}, "a priority into the tag"),
        ({"hosts": [host("h", sysctls={"kernel.hostname": "x"})]}, "no sysctl of a network namespace"),
        ({"hosts": [host("h", sysctls={"net.//.//.kernel.hostname": "x"})]}, "no sysctl of a network namespace"),
        ({"hosts": [host("h", sysctls={"net.ipv4.ip_forward": True})]}, "text or a whole number"),
        ({"hosts": [host("h", routes=[{"to": "default", "dev": "eth0"}])]}, "needs 'via'"),
        ({"hosts": [host("h", routes=[{"to": "10.0.0.0/8"}])]}, "needs 'via'.* or 'dev'"),
        ({"hosts": [host("h", routes=[{"to": 5}])]}, "needs a 'to'"),
    ],
)
def test_junk_is_refused_with_a_sentence(home: Path, value: Any, sentence: str) -> None:
    from daemons.errors import UserError
    from daemons.netns_config import parse_config

    with pytest.raises(UserError, match=sentence):
        parse_config({"lab": "x", "epoch": 1, **value} if isinstance(value, dict) and "hosts" in value else value)


def test_a_newuidmap_that_hangs_leaves_one_user(home: Path) -> None:
    """It asks directory services at times; a netnsd that gave up there would be started again and again."""
    need_namespaces()
    for name in ("newuidmap", "newgidmap"):
        (home / name).write_text("#!/bin/sh\nsleep 600\n")
        (home / name).chmod(0o755)
    script = (
        "from daemons import netns_users as n; n._MAP_SECONDS = 0.3; n._granted = lambda file, uid: (100000, 65536); "
        "print(n.become_able().ids)"
    )
    prefix = POWERLESS if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*prefix, sys.executable, "-P", "-c", script], env={**os.environ, "PATH": f"{home}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1\n", "")
