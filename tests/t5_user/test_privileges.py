"""A lab with ports that its user has no right to: it comes up, says so in a sentence each, and all else works."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.command import Vfab
from tests.support.installed import ALONE, NOBODY
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
LAB = """
name: rights
vlans: {office: 10}
topology:
  nodes:
    s1:
      kind: switch
      ports:
        eth1: {access: office}
        eth2: {access: office}
        eth3: {access: office, packet: lo}
        eth4: {access: office, tap: vf-no-right}
        eth5: {access: office, udp: {listen: "127.0.0.1:TAKEN", connect: "127.0.0.1:1"}}
        eth6: {access: office, qemu: {role: listen, path: /FOLDER/later/s1.qemu}}
    h1: {addresses: [10.0.0.1/24]}
    h2: {addresses: [10.0.0.2/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
"""
PROBLEMS = {
    "s1:eth3": "a packet port needs CAP_NET_RAW",
    "s1:eth4": "cannot open the TAP vf-no-right: |/dev/net/tun: ",  # nobody may not even open the device
    "s1:eth5": "cannot use UDP 127.0.0.1:",
    "s1:eth6": "check the folder",
}


def without_rights() -> tuple[str, ...]:
    """What runs a command without a privilege: root's as nobody, or (a Python that is root's alone) as root in name."""
    if os.geteuid() != 0:
        return ()
    setpriv = peers.need("setpriv")
    again = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'import tools.vfab'])"
    nobody = (setpriv, *ALONE)
    probe = subprocess.run([*nobody, sys.executable, "-c", again], capture_output=True, timeout=20, check=False)
    return nobody if probe.returncode == 0 else (setpriv, *(word for word in ALONE if "cap" in word or "set=" in word))


class Unprivileged(Vfab):
    def __init__(self) -> None:
        super().__init__("")
        self.other = socket.socket(type=socket.SOCK_DGRAM)
        self.other.bind(("127.0.0.1", 0))
        taken = str(self.other.getsockname()[1])
        Path(self.file).write_text(LAB.replace("/FOLDER", str(self.path)).replace("TAKEN", taken))
        self._prefix = without_rights()
        if f"--reuid={NOBODY}" in self._prefix:
            for place in (self.path, *self.path.iterdir()):
                os.chown(place, NOBODY, NOBODY)

    def argv(self, *arguments: str) -> list[str]:
        return [*self._prefix, *super().argv(*arguments)]


@pytest.fixture(scope="module")
def vfab() -> Iterator[Unprivileged]:
    with Unprivileged() as made, made.other:
        yield made


def test_up_warns_of_each_port_and_the_lab_is_up(vfab: Unprivileged) -> None:
    done = vfab.run("up", vfab.file)
    assert done.returncode == 0 and "Lab rights is up" in done.stdout, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == len(PROBLEMS) and "Traceback" not in done.stderr
    for warning, (port, words) in zip(warnings, PROBLEMS.items(), strict=True):
        assert re.match(f"warning: {port}: .*({words})", warning), warning
    assert vfab.run("ping", "h1", "h2", "-c", "1").returncode == 0
    again = vfab.run("up", vfab.file)
    assert again.returncode == 0 and "Nothing to do" in again.stdout and "CAP_NET_RAW" in again.stderr


def test_status_and_port_show_tell_it(vfab: Unprivileged) -> None:
    done = vfab.run("status")
    assert done.returncode == 1, "not all of the lab works"
    shown = vfab.run("port", "show", "s1")
    one = vfab.run("port", "show", "s1:eth3")
    assert shown.returncode == one.returncode == 0 and "CAP_NET_RAW" in one.stdout
    for port, words in PROBLEMS.items():
        for text in (done.stderr, shown.stderr):
            assert re.search(f"^warning: {port}: .*({words})", text, re.MULTILINE)
    rows = {f"{row['switch']}:{row['name']}": row for row in vfab.json("port", "show", "s1")}
    assert {port for port, row in rows.items() if row["problem"]} == set(PROBLEMS)
    assert not any(rows[port]["carrier"] for port in PROBLEMS)


def test_other_changes_are_made_meanwhile(vfab: Unprivileged) -> None:
    vfab("port", "set", "s1:eth3", "state=disabled")
    vfab("port", "set", "s1:eth2", "access=20")
    assert vfab.run("ping", "h1", "h2", "-c", "1").returncode == 1
    vfab("port", "set", "s1:eth2", "access=10")
    vfab("ping", "h1", "h2", "-c", "1")


def test_it_is_tried_again_until_it_can_be(vfab: Unprivileged) -> None:
    folder = vfab.path / "later"
    folder.mkdir()
    os.chown(folder, os.stat(vfab.path).st_uid, -1)
    until(lambda: not vfab.json("port", "show", "s1:eth6")[0]["problem"], what="another try")
    assert (folder / "s1.qemu").is_socket()
    assert "tried again" in vfab("logs", "s1")
