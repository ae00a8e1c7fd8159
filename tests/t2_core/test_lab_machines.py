"""Namespaces, virtual machines, uplinks and external nodes in a lab file: what they mean, and every mistake in them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from daemons import netns_config, switch_config, vm_config
from daemons.lab import loader, machine_plan, machines, picture, plan
from daemons.lab.lab import Lab
from daemons.lab.machines import Netns, Uplink, Vm
from daemons.lab.mistake import LabError
from daemons.uplink_config import WAN
from tests.t2_core.test_lab_plan import Somewhere, ports


class Everywhere(Somewhere):
    """The places of machines, too."""

    def nbd_path(self, pool: str, lun: str) -> str:
        return f"/run/{pool}-{lun}.nbd"

    def file(self, path: str) -> str:
        return path if path.startswith("/") else f"/lab/{path}"

    def console_log(self, machine: str) -> str:
        return f"/state/logs/{machine}.console.log"


PLACES = Everywhere()
STORAGE = """
storage:
  pools: {p: {members: [a.img, b.img], size: 64MiB}}
  volumes: {v: {pool: p, raid: raid1, size: 32MiB}}
  luns: {lun0: {volume: v, nbd: true}, lun1: {volume: v, nbd: {tcp: "127.0.0.1:10809"}, read-only: true}}
"""
EVERY = """
name: t
vlans: {office: 10, lab: 20}
topology:
  kinds:
    netns: {mtu: 1400, sysctls: {net.ipv4.ip_forward: 0, net.ipv6.conf.eth0/20.disable_ipv6: 1}}
    vm: {memory: 512MiB, kernel: vmlinuz, initrd: /boot/initrd, append: console=ttyS0, nic-model: e1000}
    uplink: {lease: 600}
  nodes:
    s1:
      kind: switch
      ports:
        e1: {access: office}
        e2: {trunk: all}
        e5: {access: lab, udp: {listen: "127.0.0.1:5", connect: "127.0.0.1:6"}}
    n1:
      kind: netns
      addresses: [10.0.0.1/24, "fd00::1/64"]
      gateway: 10.0.0.254
      sysctls: {net.ipv4.ip_forward: 1}
      routes:
        - {to: 10.1.0.0/16, via: 10.0.0.253}
        - {to: default, via: "fe80::1", dev: eth0}
        - {to: 10.2.0.0/16, dev: eth0}
    n2:
      kind: netns
      interfaces: {eth0: {mtu: 9000}, eth0.20: {addresses: [10.0.1.1/24], priority: 3}, eth1: {}}
    v1:
      kind: vm
      cpus: 2
      disks: [lun1, lun0]
      image: disks/a.QCOW2
      args: [-device, virtio-rng-pci]
      interfaces: {eth0: {mac: 02-00-00-00-00-01, addresses: [10.0.0.7/24]}, eth1: {model: virtio-net-pci, mtu: 1500}}
    x1: {kind: external}
    o1: {kind: uplink, addresses: [10.0.2.1/24], dns: false, host-loopback: true}
    h1: {addresses: [10.0.0.9/24]}
  links:
    - endpoints: ["s1:e1", "n1:eth0"]
    - endpoints: ["n2:eth0", "s1:e2"]
    - endpoints: ["s1:e3", "v1:eth0"]
    - endpoints: ["s1:e4", "v1:eth1"]
    - endpoints: ["s1:e5", "x1:Gi0-1"]
    - endpoints: ["s1:e6", "o1:eth0"]
    - endpoints: ["s1:e7", "h1:eth0"]
    - endpoints: ["s1:e8", "n2:eth1"]
"""


def lab(text: str = EVERY + STORAGE) -> Lab:
    return loader.parse(text).lab


def test_ports_of_a_switch() -> None:
    config = plan.switch_config(lab(), "s1", PLACES, 1)
    switch_config.check(config)
    made = ports(config)
    keys = ("kind", "peer", "path", "role", "offload", "qmp", "netdev")
    rows = {name: {key: row[key] for key in keys if key in row} for name, row in made.items()}
    assert rows == {
        "e1": {"kind": "tap", "peer": "n1:eth0", "path": "/run/s1-e1.tap", "offload": True},
        "e2": {"kind": "tap", "peer": "n2:eth0", "path": "/run/s1-e2.tap", "offload": True},
        "e3": {"kind": "qemu", "peer": "v1:eth0", "path": "/run/v1-eth0.qemu", "role": "dial",
               "qmp": "/run/v1-eth0.qmp", "netdev": "eth0"},
        "e4": {"kind": "qemu", "peer": "v1:eth1", "path": "/run/v1-eth1.qemu", "role": "dial",
               "qmp": "/run/v1-eth1.qmp", "netdev": "eth1"},
        "e5": {"kind": "udp", "peer": "x1:Gi0-1"},
        "e6": {"kind": "tap", "peer": "o1:eth0", "path": "/run/s1-e6.tap", "offload": True},
        "e7": {"kind": "listen", "peer": "h1:eth0"},
        "e8": {"kind": "tap", "peer": "n2:eth1", "path": "/run/s1-e8.tap", "offload": True},
    }  # fmt: skip
    assert (made["e5"]["listen"], made["e5"]["connect"]) == ("127.0.0.1:5", "127.0.0.1:6")
    assert [host["name"] for host in plan.host_config(lab(), PLACES, 1)["hosts"]] == ["h1"]


def test_what_netnsd_is_told() -> None:
    config = machine_plan.netns_config(lab(), PLACES, 4)
    parsed = netns_config.parse_config(json.loads(json.dumps(config)))
    assert {name: host.kind for name, host in parsed.hosts.items()} == {"n1": "netns", "n2": "netns", "o1": "uplink"}
    assert (config["lab"], config["epoch"]) == ("t", 4)
    first, second = config["hosts"]
    assert first["sysctls"] == {"net.ipv4.ip_forward": "1", "net.ipv6.conf.eth0/20.disable_ipv6": "1"}
    assert first["routes"] == [
        {"to": "10.1.0.0/16", "via": "10.0.0.253", "dev": None},
        {"to": "::/0", "via": "fe80::1", "dev": "eth0"},
        {"to": "10.2.0.0/16", "via": None, "dev": "eth0"},
    ]
    [nic] = first["nics"]
    assert {**nic, "mac": ""} == {
        "name": "eth0", "mac": "", "mtu": 1400, "path": "/run/s1-e1.tap",
        "interfaces": [{"name": "eth0", "vlan": 0, "priority": 0, "addresses": ["10.0.0.1/24", "fd00::1/64"],
                        "gateway": "10.0.0.254"}],
    }  # fmt: skip
    assert [(nic["name"], nic["mtu"]) for nic in second["nics"]] == [("eth0", 9000), ("eth1", 1400)]
    assert [(each["name"], each["vlan"], each["priority"]) for each in second["nics"][0]["interfaces"]] == [
        ("eth0", 0, 0), ("eth0.20", 20, 3),
    ]  # fmt: skip
    [uplink] = config["uplinks"]
    assert uplink["host_loopback"] is True
    assert (uplink["lease_s"], uplink["dns"], uplink["ipv4_range"]) == (600, False, ["10.0.2.100", "10.0.2.200"])
    assert uplink["nics"][0]["mtu"] == 1500


def test_what_vmd_is_told() -> None:
    config = machine_plan.vm_config(lab(), PLACES, 4)
    assert set(vm_config.parse_config(json.loads(json.dumps(config))).machines) == {"v1"}
    [machine] = config["machines"]
    first, second = machine.pop("nics")
    assert machine == {
        "name": "v1", "memory": 512 << 20, "cpus": 2, "accel": "auto", "image": "/lab/disks/a.QCOW2",
        "image_format": "qcow2", "writable": False, "kernel": "/lab/vmlinuz", "initrd": "/boot/initrd",
        "append": "console=ttyS0", "args": ["-device", "virtio-rng-pci"], "qemu": "qemu-system-x86_64",
        "machine": "q35", "console": "/run/v1.console", "qmp": "/run/v1.qmp", "log": "/state/logs/v1.console.log",
        "disks": [
            {"lun": "lun1", "path": None, "tcp": "127.0.0.1:10809", "export": "lun1", "read_only": True},
            {"lun": "lun0", "path": "/run/p-lun0.nbd", "tcp": None, "export": "lun0", "read_only": False},
        ],
    }  # fmt: skip
    assert first == {
        "name": "eth0", "mac": "02:00:00:00:00:01", "model": "e1000", "path": "/run/v1-eth0.qemu", "mtu": 1500,
        "qmp": "/run/v1-eth0.qmp",
        "interfaces": [{"name": "eth0", "vlan": 0, "priority": 0, "addresses": ["10.0.0.7/24"], "gateway": None}],
    }  # fmt: skip
    assert (second["model"], second["path"]) == ("virtio-net-pci", "/run/v1-eth1.qemu")


def test_what_is_left_out() -> None:
    text = """
name: t
topology:
  defaults: {kind: netns, mtu: 1300}
  nodes:
    s1: {kind: switch, ports: {e4: {mtu: 1000}}}
    n1:
    v1: {kind: vm, image: a.img}
    v2: {kind: vm, image: b.img, format: qcow2, mtu: 900}
    o1: {kind: uplink, addresses: [10.0.0.1/28]}
  links:
    - endpoints: ["s1:e1", "n1:eth0"]
    - endpoints: ["s1:e4", "v2:eth0"]
    - endpoints: ["s1:e3", "o1:eth0"]
"""
    found = lab(text)
    n1, v1, v2, o1 = (found.hosts[name] for name in ("n1", "v1", "v2", "o1"))
    assert n1.machine == Netns() and not n1.machine.forwards and n1.nics["eth0"].mtu == 1300
    assert isinstance(v1.machine, Vm) and isinstance(v2.machine, Vm) and isinstance(o1.machine, Uplink)
    assert (v1.machine.memory, v1.machine.cpus, v1.machine.accel) == (machines.VM_MEMORY, 1, "auto")
    assert (v1.machine.format, v2.machine.format, v2.nics["eth0"].mtu) == ("raw", "qcow2", 900)
    assert o1.machine == Uplink(3600, True, False, ("10.0.0.8", "10.0.0.14"))
    assert machine_plan.vm_config(found, PLACES, 1)["machines"][0]["nics"] == []  # without a cable
    small = text.replace(", mtu: 1300", "").replace(", mtu: 900", "")
    assert lab(small).hosts["v2"].nics["eth0"].mtu == 1000  # the port's, where nobody says more


HEAD = """
name: t
limits: {vms: 2}
topology:
  nodes:
    s1: {kind: switch, ports: {e2: {mtu: 1000}, e3: {qemu: dial}}}
    m: %s
  links:
    - endpoints: ["s1:e1", "m:eth0"]
"""
# What the node says, with ¤ where the mistake stands; the pattern must match `what; what to do`.
CASES = {
    "a vm's key": ("{¤memory: 1GiB}", "memory: belongs to a virtual machine, and 'm' is a host; add kind: vm"),
    "a namespace's key": ("{kind: vm, kernel: k, ¤sysctls: {}}", "belongs to a namespace, .* a virtual machine"),
    "an uplink's key": ("{kind: netns, ¤lease: 60}", "belongs to an uplink, and 'm' is a namespace"),
    "mtu of a host": ("{¤mtu: 1400}", "belongs to a namespace or a virtual machine or an uplink"),
    "ports of a namespace": ("{kind: netns, ¤ports: {}}", "belongs to a switch, and 'm' is a namespace"),
    "gateway of a vm": ("{kind: vm, kernel: k, ¤gateway: 10.0.0.1}", "belongs to a host or a namespace"),
    "gateway of a vm's interface": (
        "{kind: vm, kernel: k, interfaces: {eth0: {addresses: [10.0.0.1/24], ¤gateway: 10.0.0.2}}}",
        "gateway: belongs to a host or a namespace, and 'm' is a virtual machine",
    ),
    "a card of a namespace": ("{kind: netns, interfaces: {eth0: {¤model: e1000}}}", "model: belongs to a virtual"),
    "kind": ("{kind: ¤nets}", "did you mean 'netns'"),
    "sysctl of the machine": ("{kind: netns, sysctls: {¤kernel.hostname: x}}", "only names that begin with net"),
    "sysctl upwards": ("{kind: netns, sysctls: {¤net.//.kernel: 1}}", "is no name of a sysctl"),
    "sysctl true": ("{kind: netns, sysctls: {net.ipv4.ip_forward: ¤true}}", "write 1 for on"),
    "route to an address": ("{kind: netns, routes: [{to: ¤10.0.0.1/8, via: 10.0.0.1}]}", "the network, 10.0.0.0/8"),
    "route to a word": ("{kind: netns, routes: [{to: ¤home, via: 10.0.0.1}]}", "write it like 10.1.0.0/16, or default"),
    "route nowhere": ("{kind: netns, routes: [¤{to: 10.0.0.0/8}]}", "leads nowhere; add via:"),
    "default without a router": ("{kind: netns, routes: [¤{to: default, dev: eth0}]}", "without a router; add via:"),
    "no such interface": ("{kind: netns, routes: [{to: 10.0.0.0/8, dev: ¤eth7}]}", "no interface 'eth7'; did you mean"),
    "router elsewhere": (
        "{kind: netns, addresses: [10.0.0.1/24], routes: [{to: default, via: ¤10.0.1.1}]}",
        "the router 10.0.1.1 is in none of its networks; use an address in 10.0.0.0/24",
    ),
    "router is itself": (
        "{kind: netns, addresses: [10.0.0.1/24], routes: [{to: default, via: ¤10.0.0.1}]}", "own address",
    ),
    "two kinds of IP": ("{kind: netns, routes: [{to: 10.0.0.0/8, via: ¤'fd00::1'}]}", "are IPv4 and IPv6"),
    "link-local": ("{kind: netns, routes: [{to: '::/0', via: ¤'fe80::1'}]}", "add dev:"),
    "two routes": (
        "{kind: netns, routes: [{to: 10.0.0.0/8, dev: eth0}, {to: ¤10.0.0.0/8, dev: eth0}]}", "routes to 10.0.0.0/8",
    ),
    "route and gateway": (
        "{kind: netns, addresses: [10.0.0.1/24], gateway: 10.0.0.2, routes: [¤{to: default, via: 10.0.0.3}]}",
        "two ways to everywhere",
    ),
    "mtu": ("{kind: netns, mtu: ¤67}", "an MTU cannot be '67'; give a whole number from 68 to 9216"),
    "mtu over the port's": ("{kind: netns, mtu: ¤1001}", "more than the 1000 that port s1:e2 lets pass"),
    "mtu and IPv6": ("{kind: netns, ¤mtu: 900, addresses: ['fd00::1/64']}", "IPv6 needs 1280"),
    "lo": ("{kind: netns, interfaces: {lo: {}}}", "own loopback interface; give it another name"),
    "nothing to start": ("{¤kind: vm}", "nothing to start from; add image:"),
    "initrd alone": ("{kind: vm, image: a, ¤initrd: b}", "initrd: belongs to kernel:, which is not here; add kernel:"),
    "writable alone": ("{kind: vm, kernel: a, ¤writable: true}", "belongs to image:"),
    "image is a folder": ("{kind: vm, image: ¤disks/}", "is a folder; name a file"),
    "memory": ("{kind: vm, kernel: k, memory: ¤lots}", "'lots' is no size; write it like 256MiB"),
    "memory too small": ("{kind: vm, kernel: k, memory: ¤1MiB}", "out of range; give 4 MiB"),
    "memory odd": ("{kind: vm, kernel: k, memory: ¤5000000}", "no whole number of MiB"),
    "cpus": ("{kind: vm, kernel: k, cpus: ¤0}", "a number of CPUs cannot be '0'"),
    "accel": ("{kind: vm, kernel: k, accel: ¤kwm}", "did you mean 'kvm'"),
    "args as text": ("{kind: vm, kernel: k, args: ¤-snapshot}", "write each word as a text"),
    "args take QEMU away": ("{kind: vm, kernel: k, ¤args: [-daemonize]}", "out of the lab's hands"),
    "no such LUN": ("{kind: vm, disks: [¤lun7]}", "no LUN 'lun7'; add it to luns: of storage:"),
    "a LUN twice": ("{kind: vm, disks: [lun7, ¤lun7]}", "a disk of this machine twice"),
    "card": ("{kind: vm, kernel: k, nic-model: ¤'a,b'}", "no network card of QEMU"),
    "uplink without an address": ("{¤kind: uplink}", "uplink 'm' has no IPv4 address; add addresses:"),
    "uplink without room": ("{¤kind: uplink, addresses: [10.0.0.1/30]}", "has no room for leases"),
    "range elsewhere": (
        "{kind: uplink, addresses: [10.0.0.1/24], range: ¤[10.0.1.1, 10.0.1.9]}", "not inside the uplink's network",
    ),
    "range falls": ("{kind: uplink, addresses: [10.0.0.1/24], range: ¤[10.0.0.9, 10.0.0.1]}", "the lower address"),
    "range of one": ("{kind: uplink, addresses: [10.0.0.1/24], range: ¤[10.0.0.9]}", "no range of addresses"),
    "lease": ("{kind: uplink, addresses: [10.0.0.1/24], lease: ¤1}", "a lease in seconds cannot be '1'"),
}  # fmt: skip
# Where the mistake stands at the node's name, or its place is not the value's own.
AT_THE_NODE = {"lo", "nothing to start", "uplink without an address", "uplink without room"}
LINKED = {"mtu over the port's": "e2"}


@pytest.mark.parametrize("case", CASES)
def test_one_mistake(case: str) -> None:
    given, words = CASES[case]
    marked = (HEAD % given).replace('"s1:e1"', f'"s1:{LINKED.get(case, "e1")}"').replace('eth0"]', _nic(case))
    text = marked.replace("¤", "")
    with pytest.raises(LabError) as caught:
        loader.parse(text)
    found = [each for each in caught.value.mistakes if re.search(words, f"{each.what}; {each.fix}")]
    assert found, str(caught.value)
    if case in AT_THE_NODE:
        assert found[0].line == text[: text.index("    m:")].count("\n") + 1
    elif case != "mtu and IPv6":
        before = marked[: marked.index("¤")]
        assert (found[0].line, found[0].column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))


def _nic(case: str) -> str:
    return 'lo"]' if case == "lo" else 'eth0"]'


@pytest.mark.parametrize(
    ("nodes", "link", "words"),
    [
        ("{s1: {kind: switch, ports: {e1: {tap: listen}}}, m: {kind: netns}}", "s1:e1 m:eth0", "has tap: and"),
        ("{s1: {kind: switch, ports: {e1: {qemu: dial}}}, m: {kind: vm, kernel: k}}", "s1:e1 m:eth0", "has qemu: and"),
        ("{s1: {kind: switch}, m: {kind: netns}, n: {kind: vm, kernel: k}}", "m:eth0 n:eth0", "both machines"),
        ("{s1: {kind: switch}, m: {kind: netns}}", "s1:e1 m:eth0.7", "is a VLAN of a NIC"),
        ("{s1: {kind: switch}, m: {kind: uplink}}", f"s1:e1 m:{WAN}", "like the uplink's own way out; give it another"),
        ("{s1: {kind: switch}, m: {kind: external}}", "", "external node 'm' has no link"),
        ("{s1: {kind: switch}, m: {kind: uplink, addresses: [10.0.0.1/24]}}", "", "uplink 'm' has no link"),
    ],
)  # fmt: skip
def test_links(nodes: str, link: str, words: str) -> None:
    ends = ", ".join(f'"{end}"' for end in link.split())
    links = f"links: [{{endpoints: [{ends}]}}]" if link else ""
    with pytest.raises(LabError, match=words):
        loader.parse(f"name: t\ntopology:\n  nodes: {nodes}\n  {links}\n")


def test_tcp_does_not_lead_to_a_machine() -> None:
    text = EVERY.replace('endpoints: ["s1:e1", "n1:eth0"]', '{endpoints: ["s1:e1", "n1:eth0"], transport: tcp}')
    with pytest.raises(LabError, match="transport: tcp joins switches and hosts, and 'n1' is a namespace; remove"):
        loader.parse(text + STORAGE)


def vms(*keys: str, limits: str = "{}") -> str:
    nodes = "".join(f"    v{i}: {{kind: vm, {each}}}\n" for i, each in enumerate(keys))
    return f"name: t\nlimits: {limits}\ntopology:\n  nodes:\n    s1: {{kind: switch}}\n{nodes}"


def test_limits() -> None:
    two = ("kernel: k, memory: 512MiB", "kernel: k, memory: 512MiB")
    assert lab(vms(*two, limits="{vm_memory: 1GiB, vms: 2}")).limits == machines.Limits(1 << 30, 2)
    assert lab(vms(*two)).limits == machines.Limits(None, 64)
    with pytest.raises(LabError, match=r":2:\d+: the virtual machines have 1 GiB together, more"):
        lab(vms(*two, limits="{vm_memory: 1023MiB}"))
    with pytest.raises(LabError, match=r":2:\d+: 2 virtual machines are more than the 1 of limits: vms"):
        lab(vms(*two, limits="{vms: 1}"))
    with pytest.raises(LabError, match="65 virtual machines are more than the 64"):
        lab(vms(*["kernel: k"] * 65))


def test_images_that_are_shared() -> None:
    assert len(lab(vms("image: a.img", "image: a.img")).hosts) == 2
    with pytest.raises(LabError, match=r"v1 writes into '\./a\.img', and v0 uses it, too"):
        lab(vms("image: ./a.img", "image: a.img, writable: true"))
    with pytest.raises(LabError, match="v0 writes into"):
        lab(vms("image: a.img, writable: true", "image: a.img, writable: true"))


@pytest.mark.parametrize(
    ("nodes", "links"),
    [
        ("a: {kind: vm, kernel: k}, a-b: {kind: vm, kernel: k}", ["s:e1 a:b-c", "s:e2 a-b:c"]),
        ("a: {kind: vm, kernel: k}, a-b: {kind: vm, kernel: k}", ["s:e1 a:b"]),
        (
            "a: {kind: switch}, a-b: {kind: switch}, m: {kind: netns}, n: {kind: netns}",
            ["a:b-c m:eth0", "a-b:c n:eth0"],
        ),
        ("a: {kind: switch, ports: {b-c: {qemu: dial}}}, a-b: {kind: vm, kernel: k}", ["s:e1 a-b:c"]),
    ],
)
def test_names_that_would_be_one_file(nodes: str, links: list[str]) -> None:
    ends = "".join('    - endpoints: ["{}", "{}"]\n'.format(*each.split()) for each in links)
    with pytest.raises(LabError, match=r"would both have the socket a-b.*give one of them another name"):
        loader.parse(f"name: t\ntopology:\n  nodes: {{s: {{kind: switch}}, {nodes}}}\n  links:\n{ends}")


def warned(text: str) -> list[str]:
    return [each.what for each in loader.parse(text).warnings]


def test_warnings() -> None:
    leases, writers = (
        "10.0.2.150 of h1:eth0 is one of the addresses that o1 leases",
        "v1 and v2 both write to volume 'v'",
    )
    assert not {leases, writers} & set(warned(EVERY + STORAGE))
    assert leases in warned(EVERY.replace("[10.0.0.9/24]", "[10.0.2.150/24]") + STORAGE)
    assert writers in warned(EVERY.replace("    x1:", "    v2: {kind: vm, disks: [lun0]}\n    x1:") + STORAGE)


def test_pictures() -> None:
    drawn = picture.text(lab(), 120)
    for shown in ("n1 (namespace)", "v1 (virtual machine)", "v1:eth1 (virtual machine)", "┄┄ x1:Gi0-1 (external)",
                  "o1 (uplink)", "h1 "):  # fmt: skip
        assert shown in drawn
    made = picture.svg(lab(), {"v1": False, "n1": True})
    assert all(f">{word}<" in made for word in ("namespace", "virtual machine", "external", "uplink"))
    assert made.count('class="chip open"') == 1


def test_a_kind_that_was_misspelt_hides_nothing_else() -> None:
    text: Any = EVERY + STORAGE
    with pytest.raises(LabError) as caught:
        loader.parse(text.replace("kind: netns\n      addresses", "kind: nets\n      addresses"))
    assert [each.what for each in caught.value.mistakes] == ["'nets' is not known here"]
