"""hostd as a process, with real switchd processes: everything that its control socket offers, and its end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Client, Refused
from tests.support.waiting import until

FAREWELL = 10.0


class Daemon:
    """A child with a control socket, as fabricd would start it."""

    def __init__(self, kind: str, name: str, folder: Path, control: str = "") -> None:
        path = folder / (control or f"{name}.ctl")
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        listening.listen()
        words = [sys.executable, "-P", "-m", f"daemons.{kind}", "--name", name, "--lock", str(folder / f"{name}.lock")]
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*words, "--control-fd", str(listening.fileno())],
                pass_fds=(listening.fileno(),),
                stdout=log,
                stderr=log,
            )
        listening.close()
        self.path = str(path)

    def call(self, op: str, **args: Any) -> Any:
        with Client(self.path, timeout=30.0) as client:
            return client.call(op, **args)

    def end(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(FAREWELL)


def port(name: str, mode: str, pvid: int, allowed: str, **more: Any) -> dict[str, Any]:
    common = {"name": name, "mode": mode, "pvid": pvid, "allowed": allowed, "priority": 0, "state": "forwarding"}
    return {**common, "mtu": 9216, "kind": "listen", "peer": "", "allow": [], **more}


class Lab:
    """h1 (VLAN 10) and h2 (VLAN 20) at s1, h3 (10) and h4 (20) at s2, h5 tagging both at s2, a trunk between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        access = [port("p1", "access", 10, "10"), port("p2", "access", 20, "20")]
        up = port("up", "trunk", 0, "10,20")
        dial = {**up, "kind": "dial", "endpoint": f"ipc://{folder}/s1.zmq#up"}
        self.ports = {"s1": [*access, up], "s2": [*access, port("p3", "trunk", 0, "10,20"), dial]}
        self.switches: dict[str, Daemon] = {}
        for name in self.ports:
            self.start_switch(name)
        self.hostd = Daemon("hostd", "hostd", folder)

    def start_switch(self, name: str, epoch: int = 1) -> None:
        self.switches[name] = Daemon("switchd", name, self.folder)
        config = {"name": name, "lab": "test", "epoch": epoch, "ageing_s": 300, "mac_limit": 1000, "vlans": {}}
        listen = [{"endpoint": f"ipc://{self.folder}/{name}.zmq"}]
        self.switches[name].call("configure", config={**config, "listen": listen, "ports": self.ports[name]})

    def host(self, number: int, switch: str, port: str, vlans: tuple[int, ...] = (0,)) -> dict[str, Any]:
        interfaces = [
            {
                "name": f"eth0.{vlan}" if vlan else "eth0",
                "vlan": vlan,
                "priority": vlan // 5,
                "addresses": [f"10.0.{vlan if vlan else 0}.{number}/16", f"fd00::{vlan:x}:{number}/64"],
                "gateway": None,
            }
            for vlan in vlans
        ]
        nic = {"name": "eth0", "mac": f"02:00:00:00:00:0{number}", "key_file": None, "interfaces": interfaces}
        return {"name": f"h{number}", "nics": [{**nic, "endpoint": f"ipc://{self.folder}/{switch}.zmq#{port}"}]}

    def hosts(self) -> list[dict[str, Any]]:
        places = [(1, "s1", "p1"), (2, "s1", "p2"), (3, "s2", "p1"), (4, "s2", "p2")]
        return [*(self.host(*place) for place in places), self.host(5, "s2", "p3", (10, 20))]

    def configure(self, hosts: list[dict[str, Any]], epoch: int = 1) -> Any:
        return self.hostd.call("configure", config={"lab": "test", "epoch": epoch, "hosts": hosts})

    def nics(self) -> dict[str, dict[str, Any]]:
        return {host["name"]: host["nics"][0] for host in self.hostd.call("status")["hosts"]}

    def wait_for_carrier(self) -> None:
        until(lambda: all(nic["carrier"] for nic in self.nics().values()), what="carrier at every host")
        until(
            lambda: all(
                {port["name"]: port["carrier"] for port in switch.call("status")["ports"]}["up"]
                for switch in self.switches.values()
            ),
            what="the trunk",
        )


@pytest.fixture
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="vf-") as folder:
        made = Lab(Path(folder))
        daemons = made.switches
        try:
            made.configure(made.hosts())
            made.wait_for_carrier()
            yield made
            assert made.hostd.process.poll() is not None or made.hostd.call("status")["mistakes"] == 0
        finally:
            for daemon in (made.hostd, *daemons.values()):
                daemon.process.kill()
                daemon.process.wait()
                sys.stderr.write(daemon.log.read_text())


def test_ping_inside_and_across_vlans(lab: Lab) -> None:
    good = lab.hostd.call("ping", src="h1", dst="h3", count=3, interval_ms=1)
    assert (good["sent"], good["received"], good["errors"], good["address"]) == (3, 3, [], "10.0.0.3")
    assert len(good["rtts_ms"]) == 3
    assert lab.hostd.call("ping", src="h4", dst="fd00::2", count=1)["received"] == 1
    bad = lab.hostd.call("ping", src="h1", dst="h4", count=1)
    assert (bad["received"], bad["lost"]) == (0, 1)
    assert bad["errors"] == ["no answer to ARP from 10.0.0.4"]
    events: list[Any] = []
    with Client(lab.hostd.path) as client:
        client.call("ping", src="h1", dst="h3", count=2, interval_ms=1, events=events.append)
    assert [(event["seq"], event["error"]) for event in events] == [(1, ""), (2, "")]


def test_pingall_answers_each_pair_in_order(lab: Lab) -> None:
    names = [f"h{n}" for n in range(1, 6)]
    pairs = [[src, dst] for src in names for dst in names if src != dst]
    answers = lab.hostd.call("pingall", pairs=[*pairs, ["h1", "fd00::3"], ["h1", "nobody"]], timeout_ms=3000)
    assert [[answer["src"], answer["dst"]] for answer in answers] == [*pairs, ["h1", "fd00::3"], ["h1", "nobody"]]
    office, lab_vlan = {"h1", "h3", "h5"}, {"h2", "h4"}
    for answer in answers[: len(pairs)]:
        # h5 is in both VLANs, with another address in each; a name stands for the first of the addresses in reach.
        together = any({answer["src"], answer["dst"]} <= vlan for vlan in (office, lab_vlan))
        if "h5" not in (answer["src"], answer["dst"]):
            assert answer["ok"] == together, answer
            assert bool(answer["error"]) != answer["ok"]
            assert (answer["rtt_ms"] is not None) == answer["ok"]
    assert answers[-2]["ok"]
    assert answers[-1]["error"].startswith("there is no host 'nobody' in this lab; its hosts are: h1, h2")


def test_udp_and_traffic(lab: Lab) -> None:
    answer = lab.hostd.call("udp", src="h1", dst="h3", port=7, text="grüß dich")
    assert (answer["text"], answer["address"]) == ("grüß dich", "10.0.0.3")
    with pytest.raises(Refused, match=r"UDP port 99 of 10\.0\.0\.3 does not answer"):
        lab.hostd.call("udp", src="h1", dst="h3", port=99, text="x")
    with pytest.raises(Refused, match="no answer from UDP port 9 of"):
        lab.hostd.call("udp", src="h1", dst="h3", port=9, text="x", timeout_ms=50)
    for size in (64, 1514):
        result = lab.hostd.call("traffic", src="h1", dst="h3", seconds=0.2, size=size)
        assert result["frames"] > 0
        assert result["bytes"] == result["frames"] * size
        assert result["lost"] == result["sent"] - result["frames"]
    assert lab.nics()["h3"]["statistics"]["discarded_frames"] >= result["frames"]
    with pytest.raises(Refused, match="no answer to ARP"):
        lab.hostd.call("traffic", src="h1", dst="h4", seconds=0.2, size=64)
    with pytest.raises(Refused, match="nobody would count"):
        lab.hostd.call("traffic", src="h1", dst="10.0.9.9", seconds=0.2, size=64)


BAD_CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("ping", {"src": "h9", "dst": "h1"}, "there is no host 'h9'"),
    ("ping", {"src": "h1", "dst": "h9"}, "there is no host 'h9'"),
    ("ping", {"src": "h1", "dst": "1.2.3"}, "not an IPv4 or IPv6 address"),
    ("ping", {"src": "h1", "dst": 7}, "a host's name or an address"),
    ("ping", {"src": None, "dst": "h1"}, "there is no host None"),
    ("ping", {"src": "h1", "dst": "h3", "count": 0}, "'count' must be a number from 1"),
    ("ping", {"src": "h1", "dst": "h3", "timeout_ms": "soon"}, "'timeout_ms' must be a number"),
    ("ping", {"src": "h5", "dst": "fe80::1"}, "could be on any interface"),
    ("pingall", {"pairs": [["h1"]]}, "pingall needs 'pairs'"),
    ("pingall", {}, "pingall needs 'pairs'"),
    ("udp", {"src": "h1", "dst": "h3", "text": 5}, "'text' must be text"),
    ("udp", {"src": "h1", "dst": "h3", "text": "x" * 1473}, "1473 bytes do not fit"),
    ("udp", {"src": "h1", "dst": "h3", "port": 0}, "'port' must be a number from 1 to 65535"),
    ("traffic", {"src": "h1", "dst": "h3", "seconds": 0.1, "size": 1515}, "do not fit into one datagram"),
    ("traffic", {"src": "h1", "dst": "h3", "seconds": -1}, "'seconds' must be a number"),
    ("traffic", {"src": "h1", "dst": "h1", "seconds": 0.1}, "itself"),
    ("configure", {}, "hostd's configuration must be an object"),
    ("configure", {"config": {"lab": "x", "epoch": 1}}, "needs a list of 'hosts'"),
    ("configure", {"config": {"lab": "x", "epoch": True, "hosts": []}}, "needs a 'epoch'"),
]


def test_every_mistake_gets_its_sentence_and_harms_nobody(lab: Lab) -> None:
    before = lab.hostd.call("status")
    for op, args, sentence in BAD_CALLS:
        with pytest.raises(Refused, match=sentence):
            lab.hostd.call(op, **args)
    bad_hosts = [
        ({"mac": "02"}, "host h1, NIC eth0: '02' is not a MAC address"),
        ({"endpoint": "here"}, "host h1, NIC eth0: 'here' is no endpoint"),
        ({"interfaces": [{"name": "e", "vlan": 4095, "priority": 0, "addresses": []}]}, "4095 is not a VLAN ID"),
        ({"interfaces": [{"name": "e", "vlan": 0, "priority": 0, "addresses": ["10.0.0.1"]}]}, "prefix length"),
        ({"name": 5}, "needs a 'name', which is text"),
        ({"key_file": 5}, "'key_file' must be a path or null"),
    ]
    for change, sentence in bad_hosts:
        hosts = json.loads(json.dumps(lab.hosts()))
        hosts[0]["nics"][0].update(change)
        with pytest.raises(Refused, match=sentence):
            lab.configure(hosts)
    with pytest.raises(Refused, match="the name h1 is there twice"):
        lab.configure([lab.hosts()[0], lab.hosts()[0]])
    after = lab.hostd.call("status")
    assert [host["name"] for host in after["hosts"]] == [host["name"] for host in before["hosts"]]
    assert after["mistakes"] == 0
    assert lab.hostd.call("ping", src="h1", dst="h3", count=1)["received"] == 1


def test_a_new_configuration_disturbs_only_what_it_changes(lab: Lab) -> None:
    hosts = lab.hosts()
    assert lab.configure(hosts) == {"added": [], "changed": [], "removed": []}
    hosts[0]["nics"][0]["interfaces"][0]["addresses"] = ["10.0.0.77/16"]
    changed = [hosts[0], hosts[2], hosts[3], lab.host(6, "s1", "p2")]
    before = lab.nics()["h3"]["statistics"]["tx_frames"]
    assert lab.configure(changed) == {"added": ["h6"], "changed": ["h1"], "removed": ["h2", "h5"]}
    lab.wait_for_carrier()
    assert lab.nics()["h3"]["statistics"]["tx_frames"] == before, "h3 was not plugged out and announced nothing"
    assert lab.hostd.call("ping", src="h3", dst="h1", count=1)["address"] == "10.0.0.77"
    assert lab.hostd.call("ping", src="h4", dst="h6", count=1)["received"] == 1
    with pytest.raises(Refused, match="there is no host 'h2'"):
        lab.hostd.call("ping", src="h2", dst="h1")


def test_a_nic_that_cannot_be_plugged_in_is_tried_again_by_the_next_configuration(lab: Lab) -> None:
    hosts = [*lab.hosts(), lab.host(6, "s1", "up")]
    nic = hosts[-1]["nics"][0]
    nic.update(endpoint=f"tcp://127.0.0.1:1?key={'k' * 40}#p", key_file=str(lab.folder / "missing.json"))
    for _ in range(2):
        with pytest.raises(Refused, match=r"hostd: .*missing\.json"):
            lab.configure(hosts)
    assert lab.hostd.call("ping", src="h1", dst="h3", count=1)["received"] == 1
    with pytest.raises(Refused, match="h6: it has no NIC, so it reaches nobody"):
        lab.hostd.call("ping", src="h6", dst="h3", count=1)
    nic.update(endpoint=f"ipc://{lab.folder}/s1.zmq#p9", key_file=None)
    assert lab.configure(hosts)["changed"] == ["h6"]
    until(lambda: "p9" in lab.nics()["h6"]["refusal"], what="the switch says that it has no such port")


def test_a_host_that_is_removed_ends_its_pings_with_a_reason(lab: Lab) -> None:
    with Client(lab.hostd.path) as client:
        heard: list[Any] = []

        def remove(event: Any) -> None:
            if not heard:
                lab.configure(lab.hosts()[1:])
            heard.append(event)

        result = client.call("ping", events=remove, src="h1", dst="h3", count=60000, interval_ms=1)
    assert result["errors"] == ["h1 was removed from the lab"]
    assert 0 < result["received"] < 60000


def test_hosts_are_back_after_a_switch_was_killed(lab: Lab) -> None:
    lab.switches["s2"].end(signal.SIGKILL)
    until(lambda: not lab.nics()["h3"]["carrier"], what="h3 sees that its switch is gone")
    assert lab.hostd.call("ping", src="h1", dst="h3", count=1)["received"] == 0
    lab.start_switch("s2", epoch=2)
    lab.wait_for_carrier()
    assert lab.hostd.call("ping", src="h1", dst="h3", count=1)["received"] == 1


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop"])
def test_the_end_is_a_goodbye(lab: Lab, how: str) -> None:
    if how == "stop":
        lab.hostd.call("stop")
        assert lab.hostd.process.wait(FAREWELL) == 0
    else:
        assert lab.hostd.end(getattr(signal, how)) == 0
    ports = {port["name"]: port for port in lab.switches["s1"].call("status")["ports"]}
    assert not ports["p1"]["carrier"]
    assert not ports["p2"]["carrier"]
    assert "Traceback" not in lab.hostd.log.read_text()


def test_two_with_one_lock_do_not_run(lab: Lab) -> None:
    second = Daemon("hostd", "hostd", lab.folder, control="second.ctl")
    assert second.process.wait(FAREWELL) == 1
    assert "hostd runs already" in second.log.read_text()


def test_what_hostd_loads_is_small() -> None:
    heavy = "asyncio ssl logging dataclasses inspect pydantic ruamel scapy networkx"
    code = "import sys; sys.argv = ['x']; import daemons.hostd; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(heavy.split()) & set(run.stdout.split())
