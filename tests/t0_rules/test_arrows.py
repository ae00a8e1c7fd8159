"""Who may know whom: tools -> daemons -> {netvirt, storvirt}; sockets, clocks and dice only in ports and daemons."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.sources import ROOMS, ROOT, Source, imports, sources

# A room and what of ours it may import.
ARROWS = {
    "netvirt": {"netvirt"},
    "storvirt": {"storvirt"},
    "daemons": {"netvirt", "storvirt", "daemons"},
    "tools": {"netvirt", "storvirt", "daemons", "tools", "topologies"},
}
# What has to do with the world outside: descriptors, clocks, randomness, threads, processes.
WORLD = {
    "asyncio", "concurrent", "fcntl", "multiprocessing", "os", "posix", "pty", "random", "resource", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading",
    "time", "uuid", "zmq", "_thread", "libc.time", "_socket", "_random",
}  # fmt: skip
# Text work on paths touches no disk.
HARMLESS = ("os.path", "os.PathLike", "os.fspath")
# Below these the world may be touched.
OUTSIDE = (
    "netvirt/ports/", "netvirt/nic.py", "netvirt/pytest_plugin.py", "storvirt/backing/", "storvirt/nbd/server.py",
    "storvirt/iscsi/server.py", "daemons/", "tools/",
)  # fmt: skip
PURE_ANYWAY = ("daemons/lab/",)

HEAVY = ("asyncio", "ssl", "logging", "dataclasses", "inspect", "pydantic", "ruamel", "scapy", "networkx")


def is_pure_by_rule(source: Source) -> bool:
    return source.path.startswith(PURE_ANYWAY) or not source.path.startswith(OUTSIDE)


def below(name: str, parents: set[str]) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def test_there_is_something_to_look_at() -> None:
    found = {source.path.split("/")[0] for source in sources(".py")}
    assert found == set(ROOMS)
    assert {"netvirt/burst.pyx", "netvirt/dataplane/plane.pyx"} <= {source.path for source in sources(".pyx")}


def test_nobody_imports_what_stands_above_or_beside_him() -> None:
    wrong = [
        f"{source.path} imports {name}"
        for source in sources(".py", ".pyi", ".pyx", ".pxd")
        for name in imports(source)
        if name.split(".")[0] in (*ROOMS, "tests", "topologies")
        and name.split(".")[0] not in ARROWS[source.path.split("/")[0]]
    ]
    assert not wrong


def test_sockets_clocks_and_dice_live_in_ports_and_daemons_only() -> None:
    wrong = [
        f"{source.path} imports {name}"
        for source in sources(".py", ".pyx", ".pxd")
        if is_pure_by_rule(source)
        for name in imports(source)
        if below(name, WORLD) and not name.startswith(HARMLESS)
    ]
    assert not wrong


def test_only_ports_speak_zeromq_in_the_library() -> None:
    users = {source.path for source in sources(".py") if any(below(name, {"zmq"}) for name in imports(source))}
    library = {path for path in users if path.startswith(("netvirt/", "storvirt/"))}
    assert library
    assert all(path.startswith("netvirt/ports/") for path in library)


def test_the_rule_would_notice_a_clock() -> None:
    source = Source("netvirt/clocked.py", "from __future__ import annotations\ndef f():\n    import time\n")
    assert is_pure_by_rule(source)
    assert [name for name in imports(source) if below(name, WORLD)] == ["time"]
    compiled = Source("netvirt/clocked.pyx", "from libc.time cimport time\nimport os, re\n")
    assert [name for name in imports(compiled) if below(name, WORLD)] == ["libc.time", "os"]
    relative = Source("netvirt/ports/x.py", "from . import zmq\nfrom ..nic import Nic\n")
    assert list(imports(relative)) == ["netvirt.ports.zmq", "netvirt.nic.Nic"]


LIGHT = (
    "import daemons.switchd",
    "import daemons.hostd",
    "import daemons.stord",
    "import daemons.netnsd",
    "import daemons.vmd",
    "import netvirt",
    "from netvirt import Nic",
    "import netvirt.switch, netvirt.link, netvirt.ports.qemu, netvirt.capture.pcapng",
)


@pytest.mark.parametrize("statement", LIGHT)
def test_what_runs_by_the_hundred_loads_nothing_heavy(statement: str) -> None:
    program = f"{statement}\nimport sys\nprint(*sorted(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_importing_the_library_does_not_import_zeromq() -> None:
    program = "import netvirt, netvirt.switch, netvirt.link, sys\nassert 'zmq' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", program], timeout=60, check=True)
