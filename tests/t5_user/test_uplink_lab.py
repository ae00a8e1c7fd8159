"""A lab with a way out, from its file: two namespaces on one VLAN get leases from the uplink and reach the outside.

The outside is a network namespace of the test's own, in which the whole lab runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

from daemons import process as processes
from tests.support import peers
from tests.support.command import Vfab
from tests.support.uplink_client import digest, pattern
from tests.support.uplink_rig import PYTHON, SCRIPT
from tests.support.uplink_world import ANSWER, OUTSIDE, ROOT, prefix
from tests.support.waiting import until

pytestmark = pytest.mark.peer("pasta")
SIZE = 1_000_000
CLIENTS = ("c1", "c2")
LAB = """
name: way-out
vlans: {office: 10}
topology:
  nodes:
    s1:
      kind: switch
      ports: {eth1: {access: office}, eth2: {access: office}, eth3: {access: office}}
    out: {kind: uplink, addresses: [10.0.2.1/24], lease: 600}
    c1: {kind: netns}
    c2: {kind: netns}
  links:
    - endpoints: ["s1:eth1", "out:eth0"]
    - endpoints: ["s1:eth2", "c1:eth0"]
    - endpoints: ["s1:eth3", "c2:eth0"]
"""


class Outside(Vfab):
    """`vfab` in a world of its own."""

    def __init__(self) -> None:
        super().__init__(LAB)
        world = prefix(self.path, "root", inner=("cat",))
        self.world = subprocess.Popen(world, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.world.stdout is not None
        self.together = str(json.loads(self.world.stdout.readline())[1])
        self.script = self.path / "udhcpc.sh"
        self.script.write_text(SCRIPT)
        self.script.chmod(0o755)

    def __enter__(self) -> Outside:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        super().__exit__(kind, error, tb)
        self.world.communicate(timeout=20)

    def argv(self, *arguments: str) -> list[str]:
        return [peers.need("nsenter"), "-t", str(self.world.pid), "-n", "-m", "--", *super().argv(*arguments)]

    def each(self, command: list[str]) -> dict[str, str]:
        """Runs a program in all clients at the same time ({} becomes its name); what it prints."""
        running = {
            name: self.start("exec", name, "--", *(word.replace("{}", name) for word in command)) for name in CLIENTS
        }
        said = {name: process.communicate(timeout=60) for name, process in running.items()}
        assert all(process.returncode == 0 for process in running.values()), said
        return {name: out.decode() for name, (out, _) in said.items()}

    def leases(self) -> dict[str, str]:
        """Runs udhcpc in both; the addresses that they were given."""
        udhcpc = ["busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-t", "20", "-T", "1", "-s", str(self.script)]
        files = {name: self.path / f"{name}.lease.bound" for name in CLIENTS}
        for file in files.values():
            file.unlink(missing_ok=True)
        self.each(["env", f"LEASE={self.path}/{{}}.lease", *udhcpc])
        rows = {
            name: dict(line.split("=", 1) for line in file.read_text().splitlines()) for name, file in files.items()
        }
        assert all(
            (row["router"], row["dns"], row["lease"]) == ("10.0.2.1", "10.0.2.1", "600") for row in rows.values()
        )
        return {name: row["ip"] for name, row in rows.items()}

    def pastas(self) -> list[int]:
        return [process.pid for process, _ in processes.called(f"{self.path}/")]

    def pid(self, node: str) -> int:
        ps = self.json("ps")
        return int(ps["fabricd"]["pid"] if node == "fabricd" else ps["nodes"][node]["pid"])


@pytest.fixture(scope="module")
def vfab() -> Iterator[Outside]:
    with Outside() as made:
        made("up", made.file)
        yield made


def test_ps_shows_pasta_below_the_process_that_started_it(vfab: Outside) -> None:
    (pasta,) = vfab.pastas()
    (row,) = vfab.json("ps")["children"]
    assert (row["node"], row["kind"], row["of"], row["pid"]) == ("out", "pasta", "netnsd", pasta)
    lines = vfab("ps").splitlines()
    below = next(number for number, line in enumerate(lines) if line.startswith("netnsd")) + 1
    assert lines[below].startswith("  out ") and lines[below].split()[1:3] == ["pasta", str(pasta)]


def test_both_get_out_at_the_same_time_and_keep_their_leases(vfab: Outside) -> None:
    before = vfab.leases()
    assert len(set(before.values())) == 2 and all(address.startswith("10.0.2.1") for address in before.values())
    client = [PYTHON, str(Path(ROOT, "tests/support/uplink_client.py"))]
    said = vfab.each([*client, "tcp", OUTSIDE, vfab.together, "5", str(SIZE)])
    heard = digest(pattern(5, SIZE))
    assert {name: json.loads(text) for name, text in said.items()} == dict.fromkeys(CLIENTS, heard)
    said = vfab.each([*client, "dns", "10.0.2.1", "www.example.org"])
    assert {name: json.loads(text) for name, text in said.items()} == {name: [ANSWER] for name in CLIENTS}

    (pasta,) = vfab.pastas()
    netnsd = vfab.pid("netnsd")
    os.kill(netnsd, signal.SIGKILL)
    until(lambda: vfab.pastas() not in ([], [pasta]) and vfab.pid("netnsd") != netnsd, what="another way out")
    assert vfab.leases() == before
    assert len(vfab.pastas()) == 1


def test_down_leaves_no_pasta_behind_when_all_was_killed(vfab: Outside) -> None:
    (pasta,) = vfab.pastas()
    pids = [vfab.pid(node) for node in ("fabricd", "netnsd", "s1")]
    os.kill(pasta, signal.SIGSTOP)  # nor does one that can't notice anything
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(processes.identify(pid) for pid in pids), what="the end of all")
    assert vfab.pastas() == [pasta]
    vfab("down")
    assert vfab.pastas() == []


def test_down_leaves_no_pasta_behind_when_netnsd_hangs(vfab: Outside) -> None:
    vfab("up", vfab.file)
    (pasta,) = vfab.pastas()
    for pid in (pasta, vfab.pid("netnsd")):
        os.kill(pid, signal.SIGSTOP)
    vfab("down")
    assert vfab.pastas() == []
