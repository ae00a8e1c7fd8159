"""vfab-cni, executed by a runtime of our own as the CNI specification says; without privileges, and as root where we
are. Debian's host-local gives the addresses, or a double that keeps a diary."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.cni import PLUGINS, CniFailed, Container, Runtime, with_result
from tests.support.user import BIN, vfab
from tests.support.waiting import until

LAB = """name: pods
vlans: {office: 10, guests: 20}
topology:
  nodes:
    s1: {kind: switch, ports: {eth1: {access: 10}}}
    s2: {kind: switch}
    h1: {kind: host, addresses: [10.10.0.1/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "s2:eth2"]
"""
ROOT = Path(__file__).parents[2]
VERSIONS = ("0.4.0", "1.0.0", "1.1.0")
# Rootless is the rule; who is root may do without a user namespace.
WAYS = ("rootless", "root") if os.geteuid() == 0 else ("rootless",)
Config = dict[str, Any]


@pytest.fixture
def lab(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    peers.need("ip")
    (home / "pods.fab.yml").write_text(LAB)
    monkeypatch.chdir(home)
    vfab("up", "pods.fab.yml")
    yield home
    vfab("down", "--all")


@pytest.fixture(params=WAYS)
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with Runtime(BIN / "vfab-cni", rootless=request.param == "rootless") as made:
        yield made


@pytest.fixture
def rootless() -> Iterator[Runtime]:
    with Runtime(BIN / "vfab-cni", rootless=True) as made:
        yield made


def network(version: str = "1.1.0", **more: Any) -> Config:
    return {
        "cniVersion": version,
        "name": "office",
        "type": "vfab-cni",
        "lab": "pods",
        "switch": "s1",
        "vlan": 10,
    } | more


def static(*addresses: str, **more: Any) -> Config:
    """A network without IPAM, whose addresses the runtime says."""
    return network(runtimeConfig={"ips": list(addresses)}, **more)


def host_local(home: Path, **more: Any) -> Config:
    if not os.access(f"{PLUGINS}/host-local", os.X_OK):
        peers.missing(f"{PLUGINS}/host-local")
    ranges = [[{"subnet": "10.10.0.0/24", "rangeStart": "10.10.0.100", "gateway": "10.10.0.1"}]]
    ipam = {"type": "host-local", "dataDir": str(home / "ipam"), "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    return network(ipam=ipam, **more)


def ports() -> dict[str, dict[str, Any]]:
    """The containers' ports, by the container's name."""
    rows = vfab("port", "show", "--json", "-l", "pods").json
    return {row["peer"].split()[1]: row for row in rows if row["peer"].startswith("container ")}


def failed(code: int, runtime: Runtime, command: str, config: Any, *where: Any, **more: str | None) -> str:
    with pytest.raises(CniFailed) as caught:
        if where:
            runtime.for_one(command, config, *where, **more)
        else:
            runtime.execute(command, config, **more)
    assert caught.value.code == code, caught.value
    return caught.value.msg


# --- the life of an attachment


@pytest.mark.parametrize("version", VERSIONS)
def test_an_attachment_lives(lab: Path, runtime: Runtime, version: str) -> None:
    config, pod = host_local(lab, cniVersion=version), runtime.container("a1")
    result = runtime.add(config, pod)
    assert [row["address"] for row in result["ips"]] == ["10.10.0.100/24"] and pod.addresses() == {"10.10.0.100/24"}
    assert [row["dst"] for row in result["routes"]] == ["0.0.0.0/0"]
    assert any(row["dst"] == "default" and row["gateway"] == "10.10.0.1" for row in pod.ip("route", "show"))
    assert result["interfaces"][0]["mac"] == pod.ip("link", "show", "dev", "eth0")[0]["address"]
    runtime.check(config, result, pod)
    assert pod.knows("10.10.0.1")
    assert failed(101, runtime, "ADD", config, pod).count("eth0") == 1
    runtime.check(config, result, pod)  # what is there has not suffered
    runtime.delete(with_result(config, result), pod)
    assert pod.interfaces() == set() and ports() == {}
    runtime.delete(config, pod)
    assert runtime.add(config, pod)["ips"][0]["address"] != ""
    runtime.delete(config, pod)


def test_who_is_in_one_vlan_meets_and_others_do_not(lab: Path, runtime: Runtime) -> None:
    a, b, c = (runtime.container(name) for name in ("a", "b", "c"))
    runtime.add(static("10.10.0.11/24"), a)
    runtime.add(static("10.10.0.12/24", switch="s2"), b)
    runtime.add(static("10.10.0.13/24", vlan="guests"), c)
    assert a.knows("10.10.0.12") and b.knows("10.10.0.11") and b.knows("10.10.0.1")
    assert not c.knows("10.10.0.11") and not a.knows("10.10.0.13")
    told = {name: (row["settings"]["pvid"], row["carrier"]) for name, row in ports().items()}
    assert told == {"a": (10, True), "b": (10, True), "c": (20, True)}


def test_two_interfaces_of_one_container(lab: Path, rootless: Runtime) -> None:
    pod = rootless.container("two")
    first = rootless.add(static("10.10.0.5/24", mac="02:00:00:00:00:05", mtu=1400), pod)
    chained = with_result(static("10.20.0.5/24", "fd20::5/64", vlan=20), first)
    both = rootless.add(chained, pod, CNI_IFNAME="net1")
    assert [each["name"] for each in both["interfaces"]] == ["eth0", "net1"]
    assert [(row["address"], row["interface"]) for row in both["ips"]] == [
        ("10.10.0.5/24", 0), ("10.20.0.5/24", 1), ("fd20::5/64", 1)
    ]  # fmt: skip
    assert (first["interfaces"][0]["mac"], first["interfaces"][0]["mtu"]) == ("02:00:00:00:00:05", 1400)
    assert pod.addresses("net1") == {"10.20.0.5/24", "fd20::5/64"}
    rootless.check(static(), both, pod)
    rootless.delete(chained, pod, CNI_IFNAME="net1")
    assert pod.interfaces() == {"eth0"}
    rootless.check(static(), first, pod)


def test_many_at_once(lab: Path, rootless: Runtime) -> None:
    config, pods = host_local(lab), [rootless.container(f"many{number}") for number in range(6)]
    with ThreadPoolExecutor(len(pods)) as pool:
        results = list(pool.map(lambda pod: rootless.add(config, pod), pods))
        assert len({result["ips"][0]["address"] for result in results}) == len(pods) == len(ports())
        list(pool.map(lambda each: rootless.check(config, *each), zip(results, pods, strict=True)))
        list(pool.map(lambda pod: rootless.delete(config, pod), pods))
    assert ports() == {} and all(pod.interfaces() == set() for pod in pods)


def test_what_a_runtime_may_say_in_other_places(lab: Path, rootless: Runtime) -> None:
    pod = rootless.container("args")
    config = network(trunk=["10", 20], native="office", args={"cni": {"ips": ["10.10.0.9/24"]}}) | {"vlan": None}
    config["dns"] = {"nameservers": ["10.10.0.1"], "search": ["lab"]}
    result = rootless.add(config, pod, CNI_ARGS="IgnoreUnknown=1;MAC=02:00:00:00:00:09;K8S_POD_NAME=x")
    assert result["dns"] == config["dns"] and result["interfaces"][0]["mac"] == "02:00:00:00:00:09"
    settings = ports()["args"]["settings"]
    assert (settings["mode"], settings["allowed"], settings["pvid"]) == ("trunk", "10,20", 10)
    rootless.delete(config, pod)


def test_the_network_of_the_readme(lab: Path, rootless: Runtime) -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    conflist = json.loads(block)
    config = {**conflist["plugins"][0], "cniVersion": conflist["cniVersion"], "name": conflist["name"], "lab": "pods"}
    config["ipam"]["dataDir"] = str(lab / "ipam")
    if not os.access(f"{PLUGINS}/host-local", os.X_OK):
        peers.missing(f"{PLUGINS}/host-local")
    pod = rootless.container("readme")
    assert rootless.add(config, pod)["ips"][0]["address"] == "10.0.0.100/24"
    assert ports()["readme"]["settings"]["pvid"] == 10


# --- CHECK


def _no_address(pod: Container) -> None:
    pod.run("ip", "address", "del", "10.10.0.100/24", "dev", "eth0")


TAMPERED = {
    "address": (_no_address, "does not have 10.10.0.100/24"),
    "down": (lambda pod: pod.run("ip", "link", "set", "eth0", "down"), "is down"),
    "mac": (lambda pod: pod.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"), "MAC address"),
    "route": (lambda pod: pod.run("ip", "route", "del", "default"), "no route to 0.0.0.0/0"),
    "interface": (lambda pod: pod.run("ip", "link", "del", "eth0"), "no interface eth0"),
    "vlan": (lambda pod: vfab("port", "set", _where(), "access=20"), "not as the network wants it"),
    "port": (lambda pod: vfab("port", "remove", _where()), "no interface eth0"),
    "up": (lambda pod: vfab("up", "pods.fab.yml"), "no interface eth0"),
    "killed": (lambda pod: _kill("fabricd", "s1"), "no interface eth0"),
    "disabled": (lambda pod: vfab("port", "set", _where(), "state=disabled"), "not as the network wants it"),
}


def _where() -> str:
    (row,) = ports().values()
    return f"{row['switch']}:{row['name']}"


def _kill(*nodes: str) -> None:
    """All at once: nobody is left who could give anything back to the others. `vfab up` brings a new fabricd."""
    ps = vfab("ps", "--json").json
    pids = {"fabricd": ps["fabricd"]["pid"], **{name: row["pid"] for name, row in ps["nodes"].items()}}
    for node in nodes:
        os.kill(pids[node], signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{pids[node]}/exe") for node in nodes))


def test_check_finds_what_is_not_as_it_was(lab: Path, rootless: Runtime) -> None:
    for what, (tamper, said) in TAMPERED.items():
        config, pod = host_local(lab, name=what), rootless.container(what)
        result = rootless.add(config, pod)
        rootless.check(config, result, pod)
        tamper(pod)
        assert said in failed(102, rootless, "CHECK", with_result(config, result), pod)
        rootless.delete(config, pod)
        if what == "killed":
            vfab("up", "pods.fab.yml")
    pod = rootless.container("again")
    rootless.check(config, rootless.add(config, pod), pod)
    assert pod.knows("10.10.0.1"), "nothing of it stayed"
    rootless.delete(config, pod)


def _carriers() -> list[bool]:
    """Of the containers' ports; of none while the switch is not there to say so."""
    answer = vfab("port", "show", "--json", "-l", "pods", code=None)
    rows = answer.json if answer.code == 0 else []
    return [row["carrier"] for row in rows if row["peer"].startswith("container ")]


def test_containers_survive_a_new_switch_and_a_new_controller(lab: Path, runtime: Runtime) -> None:
    config, pods = host_local(lab), [runtime.container(name) for name in ("a", "b")]
    results = [runtime.add(config, pod) for pod in pods]
    for what in ("restart", "kill", "restart"):
        vfab("restart", "s1") if what == "restart" else _kill("s1")
        until(lambda: _carriers() == [True, True], what="both are plugged in again")
        for pod, result in zip(pods, results, strict=True):
            runtime.check(config, result, pod)
        assert pods[0].knows("10.10.0.101")
    _kill("fabricd")
    assert pods[0].knows("10.10.0.101")  # the switch has what fabricd had
    vfab("up", "pods.fab.yml")
    for pod in pods:
        assert pod.interfaces() == set()  # as the file says: nobody's port is in it
        runtime.delete(config, pod)


def test_check_needs_to_know_what_there_was(lab: Path, rootless: Runtime) -> None:
    pod = rootless.container("a1")
    result = rootless.add(static("10.10.0.5/24"), pod)
    assert "prevResult" in failed(7, rootless, "CHECK", static(), pod)
    nothing = {**result, "interfaces": []}
    assert "no interface eth0" in failed(7, rootless, "CHECK", with_result(static(), nothing), pod)


# --- DEL


def test_what_is_gone_needs_no_del(lab: Path, runtime: Runtime) -> None:
    """The namespace first, then the lab; each time DEL has nothing to complain about."""
    config, pod, other = host_local(lab), runtime.container("a1"), runtime.container("b1")
    for each in (pod, other):
        runtime.add(config, each)
    runtime.end(pod)
    until(lambda: not ports()["a1"]["carrier"], what="the port hears that its TAP is gone")
    assert "is gone" in ports()["a1"]["problem"] and ports()["b1"]["carrier"]
    runtime.delete(config, "a1", CNI_NETNS=pod.netns)
    runtime.delete(config, "a1", CNI_NETNS="")
    assert set(ports()) == {"b1"}
    vfab("down")
    runtime.delete(config, other)
    assert other.interfaces() == set()
    assert [path.name for path in (lab / "ipam/office").glob("10.*")] == []


# --- STATUS, GC, VERSION


def test_status(lab: Path, rootless: Runtime) -> None:
    rootless.status(host_local(lab))
    assert "no switch 's9'" in failed(7, rootless, "STATUS", network(switch="s9"))
    assert "1.1.0" in failed(1, rootless, "STATUS", network("1.0.0"))
    vfab("down")
    assert "no lab 'pods' runs" in failed(51, rootless, "STATUS", network())
    pod = rootless.container("a1")
    assert "no lab 'pods' runs" in failed(11, rootless, "ADD", host_local(lab), pod)
    assert pod.interfaces() == set() and not (lab / "ipam/office").exists()


def test_gc_takes_what_the_runtime_does_not_know(lab: Path, runtime: Runtime) -> None:
    config, guests = host_local(lab), static("10.20.0.1/24", name="guests", vlan=20)
    pods = [runtime.container(name) for name in ("a", "b", "c")]
    kept, _ = (runtime.add(config, pod) for pod in pods[:2])
    runtime.add(guests, pods[2])
    runtime.collect(config, ("a", "eth0"), ("b", "eth9"))
    assert set(ports()) == {"a", "c"} and pods[1].interfaces() == set()
    runtime.check(config, kept, pods[0])
    runtime.collect(config, ("a", "eth0"))
    assert "cni.dev/valid-attachments" in failed(7, runtime, "GC", config)
    runtime.collect(config)
    assert set(ports()) == {"c"}
    vfab("down")
    runtime.collect(config)


def test_version(rootless: Runtime) -> None:
    for said in ({"cniVersion": "0.4.0"}, {"cniVersion": "1.1.0"}):
        answer = rootless.execute("VERSION", said)
        assert answer == {**said, "supportedVersions": list(VERSIONS)}
    assert rootless.execute("VERSION", "")["supportedVersions"] == list(VERSIONS)
    assert rootless.execute("VERSION", {"cniVersion": "9.9.9"})["supportedVersions"] == list(VERSIONS)


# --- what is wrong


def test_what_the_lab_does_not_have(lab: Path, rootless: Runtime) -> None:
    pod = rootless.container("a1")
    for config, said in ((network(switch="s9"), "no switch 's9'"), (network(vlan="ofice"), "did you mean 'office'")):
        assert said in failed(7, rootless, "ADD", config, pod)
        assert pod.interfaces() == set() and ports() == {}
    folders = {"environment": {"XDG_STATE_HOME": str(lab / "nowhere")}}
    assert "no lab 'pods' runs" in failed(11, rootless, "ADD", network(**folders), pod)


# --- the IPAM plugin's side

DOUBLE = """#!/bin/sh
# An IPAM plugin that keeps a diary: a line for each command, and what it was given.
here=$(dirname "$0")
input=$(cat)
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME" >> "$here/diary"
printf '%s' "$input" > "$here/$CNI_COMMAND.json"
[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}'
if [ -e "$here/fails-$CNI_COMMAND" ]; then
  echo '{"cniVersion": "1.1.0", "code": 111, "msg": "as the test wants it"}'
  exit 1
fi
if [ "$CNI_COMMAND" = ADD ]; then cat "$here/answer"; fi
exit 0
"""
ANSWER: Config = {
    "cniVersion": "1.1.0",
    "ips": [{"address": "10.10.0.77/24", "gateway": "10.10.0.254"}, {"address": "fd10::77/64", "gateway": "fd10::1"}],
    "routes": [{"dst": "10.30.0.0/16", "mtu": 1300, "priority": 7}, {"dst": "fd30::/64"},
               {"dst": "10.40.0.0/16", "gw": "10.10.0.253"}],
    "dns": {"nameservers": ["10.10.0.253"]},
}  # fmt: skip


class Double:
    """The double, in a folder that is CNI_PATH."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self.folder = folder / "plugins"
        self.folder.mkdir()
        (self.folder / "double").write_text(DOUBLE)
        (self.folder / "double").chmod(0o755)
        self.answer(ANSWER)
        runtime.path = f"/no/such:{self.folder}"
        self.config = network(ipam={"type": "double"}, name="office")

    def answer(self, value: Any) -> None:
        (self.folder / "answer").write_text(value if isinstance(value, str) else json.dumps(value))

    def fails(self, command: str) -> None:
        (self.folder / f"fails-{command}").touch()

    def given(self, command: str) -> Any:
        return json.loads((self.folder / f"{command}.json").read_text())

    @property
    def diary(self) -> list[str]:
        return [line for line in (self.folder / "diary").read_text().splitlines() if not line.startswith("VERSION")]


@pytest.fixture
def double(lab: Path, rootless: Runtime) -> Double:
    return Double(lab, rootless)


def test_all_commands_are_passed_on(double: Double, rootless: Runtime) -> None:
    pod = rootless.container("p1")
    result = rootless.add(double.config, pod)
    assert double.given("ADD") == double.config
    assert pod.addresses() == {"10.10.0.77/24", "fd10::77/64"} and result["dns"] == ANSWER["dns"]
    assert result["routes"] == ANSWER["routes"]
    four = {row["dst"]: row for row in pod.ip("route", "show")}
    assert four["10.30.0.0/16"]["gateway"] == "10.10.0.254" and four["10.30.0.0/16"]["metric"] == 7
    assert four["10.40.0.0/16"]["gateway"] == "10.10.0.253"
    assert {row["dst"]: row.get("gateway") for row in pod.ip("-6", "route", "show")}["fd30::/64"] == "fd10::1"
    rootless.check(double.config, result, pod)
    assert double.given("CHECK") == with_result(double.config, result)
    rootless.status(double.config)
    rootless.collect(double.config, ("p1", "eth0"))
    rootless.delete(double.config, pod)
    assert double.diary == ["ADD p1 eth0", "CHECK p1 eth0", "STATUS  ", "GC  ", "DEL p1 eth0"]


@pytest.mark.parametrize("command", ["DEL", "CHECK", "STATUS", "GC"])
def test_its_errors_are_ours(double: Double, rootless: Runtime, command: str) -> None:
    pod = rootless.container("p1")
    result = rootless.add(double.config, pod)
    double.fails(command)
    config = with_result(double.config, result) | {"cni.dev/valid-attachments": []}
    where = () if command in ("STATUS", "GC") else (pod,)
    assert "as the test wants it" in failed(111, rootless, command, config, *where)
    assert bool(ports()) == (command in ("CHECK", "STATUS"))  # our own part is done all the same


def test_a_failed_add_leaves_nothing(double: Double, rootless: Runtime) -> None:
    pod = rootless.container("p1")
    double.fails("ADD")
    assert "as the test wants it" in failed(111, rootless, "ADD", double.config, pod)
    assert double.diary == ["ADD p1 eth0", "DEL p1 eth0"]
    assert pod.interfaces() == set() and ports() == {}


JUNK = ["[]", "x", '{"ips": [{"address": "x"}]}', '{"ips": [7]}', '{"routes": [{}]}', '{"dns": 7}', '{"ips": 7}']


def test_junk_of_it_leaves_nothing(double: Double, rootless: Runtime) -> None:
    pod = rootless.container("p1")
    for text in JUNK:
        double.answer(text)
        failed(6, rootless, "ADD", double.config, pod)
        assert pod.interfaces() == set() and ports() == {} and double.diary[-1] == "DEL p1 eth0", text
    double.answer("")
    assert rootless.add(double.config, pod)["ips"] == []


def test_a_route_that_cannot_be_leaves_nothing(double: Double, rootless: Runtime) -> None:
    pod = rootless.container("p1")
    double.answer({**ANSWER, "routes": [{"dst": "10.50.0.0/16", "gw": "192.0.2.1"}]})
    assert "route add" in failed(100, rootless, "ADD", double.config, pod)
    assert double.diary == ["ADD p1 eth0", "DEL p1 eth0"] and pod.interfaces() == set() and ports() == {}


def test_one_that_is_not_there(double: Double, rootless: Runtime) -> None:
    pod, config = rootless.container("p1"), {**double.config, "ipam": {"type": "nobody"}}
    assert "is in none of CNI_PATH" in failed(5, rootless, "ADD", config, pod)
    assert "is in none of CNI_PATH" in failed(50, rootless, "STATUS", config)
    assert pod.interfaces() == set() and ports() == {}
