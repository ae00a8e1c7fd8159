"""A small container runtime for CNI plugins: containers are network namespaces, plugins are executed as the
specification says, and every answer is held against it.

Knows: CNI 1.1.0 (and 0.4.0, 1.0.0): environment, configuration, results, errors. Refuses to know: which plugin it is.
Written from the specification's text, not from the plugin.
"""

from __future__ import annotations

import copy
import ipaddress
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import peers
from tests.support.rooms import Room, need_namespaces

SECONDS = 60.0
PLUGINS = "/usr/lib/cni"
_WAIT = "import sys; print('ready', flush=True); sys.stdin.read()"
_INTERFACE = {"name", "mac", "sandbox"}
_RESULT = {"cniVersion", "interfaces", "ips", "routes", "dns"}
_ROUTE = {"dst", "gw"}
_NEW_ROUTE = _ROUTE | {"mtu", "advmss", "priority", "table", "scope"}
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_CODES = {1, 2, 3, 4, 5, 6, 7, 11, 50, 51}


class CniFailed(Exception):
    """The plugin answered with an error of the specification's form."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['msg']}")
        self.code: int = error["code"]
        self.msg: str = error["msg"]


class Container:
    """A network namespace that lives until `end`."""

    def __init__(self, inside: tuple[str, ...], name: str) -> None:
        self.id = name
        self._process = subprocess.Popen(
            [*inside, peers.need("unshare"), "-n", sys.executable, "-c", _WAIT], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None and self._process.stdout.readline() == b"ready\n"
        self._inside = inside
        self.netns = f"/proc/{self._process.pid}/ns/net"

    def run(self, *words: str, code: int | None = 0) -> str:
        """A program in there."""
        command = [*self._inside, peers.need("nsenter"), f"--net={self.netns}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert code is None or done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def ip(self, *words: str) -> Any:
        return json.loads(self.run(peers.need("ip"), "-j", *words) or "[]")

    def addresses(self, interface: str = "eth0") -> set[str]:
        rows = self.ip("address", "show", "dev", interface)
        return {f"{row['local']}/{row['prefixlen']}" for row in rows[0]["addr_info"] if row["scope"] == "global"}

    def interfaces(self) -> set[str]:
        return {row["ifname"] for row in self.ip("link", "show")} - {"lo"}

    def knows(self, address: str, interface: str = "eth0") -> bool:
        """Whether somebody answers for this address: a frame there and one back."""
        script = (
            f"ip neigh flush dev {interface}; for n in 1 2 3 4 5 6 7 8; do echo x > /dev/udp/{address}/9; sleep 0.2; "
            f"ip neigh show {address} | grep -q lladdr && exit 0; done; exit 9"
        )
        command = [*self._inside, "nsenter", f"--net={self.netns}", peers.need("bash"), "-c", script]
        return subprocess.run(command, capture_output=True, timeout=SECONDS, check=False).returncode == 0

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(SECONDS)


class Runtime:
    """Executes one plugin. rootless: in a user namespace of its own, as Podman does it for ordinary users."""

    def __init__(self, plugin: Path, *, rootless: bool, path: str = PLUGINS) -> None:
        self.plugin = plugin
        self.path = path
        self._room = Room() if rootless else None
        self._inside = self._room.inside if self._room else ()
        self.containers: list[Container] = []

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for container in self.containers:
            container.end()
        if self._room is not None:
            self._room.__exit__()

    def container(self, name: str) -> Container:
        need_namespaces(tun=True)
        self.containers.append(Container(self._inside, name))
        return self.containers[-1]

    def end(self, container: Container) -> None:
        self.containers.remove(container)
        container.end()

    def execute(self, command: str | None, config: dict[str, Any] | str, **environment: str | None) -> Any:
        """Runs the plugin once; its JSON, or None for nothing. Raises CniFailed."""
        outside = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}
        said = {"CNI_COMMAND": command, "CNI_PATH": self.path, **environment}
        text = config if isinstance(config, str) else json.dumps(config)
        done = subprocess.run(
            [*self._inside, str(self.plugin)], input=text, capture_output=True, text=True, timeout=SECONDS, check=False,
            env=outside | {key: value for key, value in said.items() if value is not None},
        )  # fmt: skip
        told = f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, told
        answer = json.loads(done.stdout) if done.stdout.strip() else None
        if done.returncode:
            assert done.returncode == 1 and answer is not None, told
            check_error(answer)
            raise CniFailed(answer)
        return answer

    def for_one(self, command: str, config: dict[str, Any], container: Container | str, **more: str | None) -> Any:
        """A command about one interface: eth0, if nothing else is said."""
        if isinstance(container, Container):
            more = {"CNI_CONTAINERID": container.id, "CNI_NETNS": container.netns, **more}
        else:
            more = {"CNI_CONTAINERID": container, **more}
        return self.execute(command, config, **{"CNI_IFNAME": "eth0", **more})

    def add(self, config: dict[str, Any], container: Container, **more: str | None) -> dict[str, Any]:
        """The result, which is one of the configuration's version."""
        result = self.for_one("ADD", config, container, **more)
        check_result(config["cniVersion"], result)
        mine = [each for each in result["interfaces"] if each["name"] == more.get("CNI_IFNAME", "eth0")]
        assert [each["sandbox"] for each in mine] == [container.netns], result
        return dict(result)

    def delete(self, config: dict[str, Any], container: Container | str, **more: str | None) -> None:
        assert self.for_one("DEL", config, container, **more) is None

    def check(self, config: dict[str, Any], result: dict[str, Any], container: Container, **more: str | None) -> None:
        assert self.for_one("CHECK", with_result(config, result), container, **more) is None

    def status(self, config: dict[str, Any]) -> None:
        assert self.execute("STATUS", config) is None

    def collect(self, config: dict[str, Any], *valid: tuple[str, str]) -> None:
        rows = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
        assert self.execute("GC", {**config, "cni.dev/valid-attachments": rows}) is None


def with_result(config: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    return {**config, "prevResult": copy.deepcopy(result)}


def check_error(answer: dict[str, Any]) -> None:
    """The specification's section "Error"."""
    assert set(answer) <= {"cniVersion", "code", "msg", "details"}, answer
    assert isinstance(answer["cniVersion"], str) and type(answer["code"]) is int
    assert answer["code"] in _CODES or answer["code"] >= 100, answer
    assert answer["msg"] and "\n" not in answer["msg"], answer


def check_result(version: str, result: dict[str, Any]) -> None:
    """The specification's section "ADD Success" of that version."""
    assert set(result) <= _RESULT and result["cniVersion"] == version, result
    new = version >= "1.1.0"
    for interface in result.get("interfaces", []):
        known = _INTERFACE | {"mtu", "socketPath", "pciID"} if new else _INTERFACE
        assert set(interface) <= known and interface["name"], interface
        assert _MAC.fullmatch(interface["mac"]), interface
        assert type(interface.get("mtu", 0)) is int
    for row in result.get("ips", []):
        address = ipaddress.ip_interface(row["address"])
        assert "/" in row["address"] and set(row) <= {"address", "gateway", "interface", "version"}, row
        assert row.get("version") == (str(address.version) if version == "0.4.0" else None), row
        assert 0 <= row.get("interface", 0) < len(result["interfaces"]), row
        assert "gateway" not in row or ipaddress.ip_address(row["gateway"]).version == address.version
    for route in result.get("routes", []):
        assert set(route) <= (_NEW_ROUTE if new else _ROUTE), route
        ipaddress.ip_network(route["dst"])
        assert "gw" not in route or ipaddress.ip_address(route["gw"])
    assert set(result.get("dns", {})) <= {"nameservers", "domain", "search", "options"}
