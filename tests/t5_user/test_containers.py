"""Real containers in a lab, by the files of examples/podman and examples/lxc as they stand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.cni import PLUGINS
from tests.support.containers import Podman, Space, root_folder
from tests.support.user import BIN, vfab
from tests.support.waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def space() -> Iterator[Space]:
    with Space() as made:
        yield made


# --- Podman


@pytest.fixture
def podman(home: Path, space: Space) -> Iterator[Podman]:
    if not Path(f"{PLUGINS}/host-local").exists():
        peers.missing(f"{PLUGINS}/host-local")
    networks, plugins = home / "net.d", home / "plugins"
    for folder in (networks, plugins):
        folder.mkdir()
    (plugins / "vfab-cni").symlink_to(BIN / "vfab-cni")
    for path in (EXAMPLES / "podman").glob("*.conflist"):
        # As the README there says for root; and nothing is to stay on this machine.
        text = json.loads(path.read_text())
        text["plugins"][0]["environment"] = {
            "XDG_RUNTIME_DIR": str(home / "run"),
            "XDG_STATE_HOME": str(home / "state"),
        }
        text["plugins"][0]["ipam"]["dataDir"] = str(home / "ipam")
        (networks / path.name).write_text(json.dumps(text))
    made = Podman(space, home, [str(plugins), PLUGINS], networks)
    vfab("up", str(EXAMPLES / "podman/lab.fab.yml"))
    yield made
    made.close()
    vfab("down", "--all")


def container_ports() -> dict[int, int]:
    """PVID -> how many ports with a carrier are containers'."""
    found: dict[int, int] = {}
    for row in vfab("port", "show", "--json", "-l", "pods").json:
        if row["peer"].startswith("container ") and row["carrier"]:
            found[row["settings"]["pvid"]] = found.get(row["settings"]["pvid"], 0) + 1
    return found


def test_podman_puts_containers_into_vlans(podman: Podman) -> None:
    drivers = podman("network", "ls", "--format", "{{.Name}} {{.Driver}}").out.splitlines()
    assert {"office vfab-cni", "guests vfab-cni"} <= set(drivers)
    podman.start("a", "office:ip=10.10.0.150,mac=02:00:00:00:00:aa")
    podman.start("b", "office")
    podman.start("c", "guests")
    assert "02:00:00:00:00:aa" in podman("exec", "a", "ip", "link", "show", "eth0").out
    assert container_ports() == {10: 2, 20: 1}
    assert podman.reaches("b", "10.10.0.150") and podman.reaches("b", "10.10.0.1")
    assert not podman.reaches("c", "10.10.0.150")
    vfab("ping", "h1", "10.10.0.150", "-c", "1")
    vfab("restart", "s1")
    until(lambda: container_ports() == {10: 2, 20: 1}, what="all are plugged in again")
    assert podman.reaches("b", "10.10.0.150")
    vfab("up", str(EXAMPLES / "podman/lab.fab.yml"))  # takes back what is not in the file
    assert container_ports() == {} and not podman.reaches("b", "10.10.0.150")
    podman("network", "reload", "-a")
    assert container_ports() == {10: 2, 20: 1} and podman.reaches("b", "10.10.0.1")
    podman("rm", "-f", "-t", "0", "a", "b", "c")
    assert container_ports() == {} and vfab("status", "--json").json["changed"] == []


# --- LXC


@pytest.mark.parametrize(("port", "name"), [("s1:eth2", "one"), ("s1:eth3", "two")])
def test_lxc_by_the_lines_that_attach_prints(home: Path, space: Space, port: str, name: str) -> None:
    execute = peers.need("lxc-execute")
    lab = home / "lab.fab.yml"
    shutil.copy(EXAMPLES / "lxc/lab.fab.yml", lab)
    state = home / "lxc"
    state.mkdir()
    home.chmod(0o755)
    conf = home / f"{name}.conf"
    text = (EXAMPLES / "lxc" / conf.name).read_text()
    more = f"lxc.uts.name = {name}\nlxc.rootfs.path = dir:{root_folder(home)}\nlxc.mount.auto = proc:mixed sys:ro\n"
    conf.write_text(more + text)
    vfab("up", str(lab), prefix=space.inside)  # where the interfaces are
    try:
        printed = vfab("attach", port, "--for", "lxc").out.split(":\n", 1)[1].strip().splitlines()
        assert set(printed) <= set(text.splitlines())
        for _ in range(2):  # the interface is back for the next one
            tries = "for n in 1 2 3 4 5; do ping -c1 -w1 10.10.0.1 && exit 0; done; exit 7"
            words = ("-P", str(state), "-n", name, "-f", str(conf), "--", "/bin/sh", "-c", tries)
            assert "1 packets received" in space.run(execute, *words).out
            until(lambda: not _carrier(port), what="the port hears that the container has gone")
    finally:
        vfab("down", "--all")


def _carrier(port: str) -> bool:
    switch, _, name = port.partition(":")
    return next(bool(row["carrier"]) for row in vfab("port", "show", switch, "--json").json if row["name"] == name)
