"""Virtual machines of a user without privileges, from the installed wheel: they meet across a VLAN, outlive vmd, and
are gone with their lab.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from daemons.process import identify
from tests.support.guest.image import image
from tests.support.installed import NOBODY, Nobody
from tests.support.machines import APPEND, Shell, shell_arguments
from tests.support.waiting import until

pytestmark = pytest.mark.peer("qemu-system-x86_64")

LAB = """
name: vms
vlans: {{office: 10, lab: 20}}
topology:
  kinds:
    vm: {{kernel: vmlinuz, initrd: initramfs, append: "{append}", memory: 96MiB}}
  nodes:
    s1: {{kind: switch, ports: {{eth1: {{access: office}}, eth2: {{access: office}}, eth3: {{access: lab}}}}}}
    vm1: {{kind: vm, image: disk.img, disks: [lun0], args: {shells[1]}}}
    vm2: {{kind: vm, args: {shells[2]}}}
    vm3: {{kind: vm, args: {shells[3]}}}
  links:
    - endpoints: ["s1:eth1", "vm1:eth0"]
    - endpoints: ["s1:eth2", "vm2:eth0"]
    - endpoints: ["s1:eth3", "vm3:eth0"]
storage:
  pools: {{p0: {{members: [a.img, b.img, c.img], size: 64MiB}}}}
  volumes: {{v0: {{pool: p0, raid: raid5, size: 32MiB}}}}
  luns: {{lun0: {{volume: v0, nbd: true}}}}
"""


def rows(nobody: Nobody) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in nobody("vm", "list", "--json").json}


def write_lab(folder: Path) -> None:
    files = image()
    shutil.copyfile(files.kernel, folder / "vmlinuz")
    shutil.copyfile(files.initramfs, folder / "initramfs")
    (folder / "disk.img").write_bytes(b"the image" + bytes(1 << 20))
    shells = {number: shell_arguments(str(folder / f"sh{number}")) for number in (1, 2, 3)}
    (folder / "lab.fab.yml").write_text(LAB.format(append=APPEND, shells=shells))
    for path in folder.iterdir():
        os.chown(path, NOBODY, NOBODY)


def test_a_lab_of_machines_without_any_privilege(nobody: Nobody) -> None:
    folder = nobody.work
    write_lab(folder)
    nobody("up", "lab.fab.yml")
    before = {name: row["pid"] for name, row in rows(nobody).items()}
    assert {os.stat(f"/proc/{pid}").st_uid for pid in before.values()} == {NOBODY}
    shells = {number: Shell(str(folder / f"sh{number}")).wait() for number in (1, 2, 3)}
    for number, shell in shells.items():
        shell.must(f"ip addr add 10.0.0.{number}/24 dev eth0; ip link set eth0 up")
    until(lambda: shells[1].run("ping -c1 -W2 10.0.0.2").code == 0, seconds=40, what="vm2, from vm1")
    assert shells[3].run("ping -c1 -W2 10.0.0.2").code != 0
    assert shells[1].must("head -c 9 /dev/vda") == "the image"
    for disk in ("/dev/vda", "/dev/vdb"):  # the image's overlay, and the LUN
        shells[1].must(f"dd if=/dev/zero of={disk} bs=64k count=2 oflag=direct 2>/dev/null")
    assert (folder / "disk.img").read_bytes()[:9] == b"the image"
    shown = nobody("ps", "--json").json
    assert {row["node"]: (row["kind"], row["of"], row["pid"]) for row in shown["children"]} == {
        name: ("qemu", "vmd", pid) for name, pid in before.items()
    }
    assert all(row["uptime_s"] > 0 and row["memory_kib"] for row in shown["children"])
    lines = [line.split()[:4] for line in nobody("ps").out.splitlines()]
    begin = next(place for place, words in enumerate(lines) if words[0] == "vmd") + 1
    assert lines[begin : begin + 3] == [[name, "qemu", str(pid), "up"] for name, pid in before.items()]
    os.kill(shown["nodes"]["vmd"]["pid"], signal.SIGKILL)

    def adopted() -> bool:
        answer = nobody("vm", "list", "--json", code=None)
        return answer.code == 0 and {row["name"]: row["pid"] for row in answer.json} == before

    until(adopted, what="all adopted")
    for shell in shells.values():
        shell.close()
    nobody("down")
    assert not any(map(identify, before.values()))
