"""A lab file -> what each process should be: the one place where lab files meet fabricd.

Knows: the loader, the planner, where this lab's sockets, TCP ports and keys are. Refuses to know: running processes.
It is imported when a file is to be read and not before: the model and the graph are the heaviest part of the program.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import socket
from typing import NamedTuple

from daemons.admission import refusals
from daemons.errors import UserError
from daemons.lab.lab import Lab, Link
from daemons.lab.loader import load
from daemons.lab.machine_plan import netns_config, vm_config
from daemons.lab.mistake import LabError
from daemons.lab.plan import host_config, switch_configs
from daemons.lab.reach import doubtful_reach, expected_reach
from daemons.lab.storage_plan import pool_configs
from daemons.paths import LabPaths, data_folder, keys_folder, lab_id, state_root
from daemons.reaching import rows
from daemons.state import Desired, StateStore
from netvirt.ports import curve
from netvirt.ports.errors import PortError
from storvirt.nbd.uri import is_uri, parse

# Names of processes and of their sockets in the run folder.
RESERVED = ("fabricd", "hostd", "netnsd", "vmd")
EXAMPLES = os.path.realpath(str(importlib.resources.files("topologies")))
_UNMADE_KEY = "(made by the first up)"


class Blueprint(NamedTuple):
    """`nodes`: what each process should be; `lab`: what is remembered of the file; `warnings`: sentences."""

    nodes: dict[str, Desired]
    lab: dict[str, str]
    warnings: list[str]


class LocalPlaces:
    """The planner's `Places` on this machine. With `dry` nothing is made: no key, no note of a TCP port."""

    def __init__(self, paths: LabPaths, file: str, own: str, store: StateStore | None, dry: bool) -> None:
        self._paths = paths
        self._file = file
        self._own = own
        self._store = store
        self._dry = dry
        self._ports = dict(store.tcp_ports()) if store is not None else {}
        self.warnings: list[str] = []

    def endpoint(self, node: str) -> str:
        return f"ipc://{self._paths.zmq(node)}"

    def qemu_path(self, node: str, port: str) -> str:
        return self._paths.qemu(node, port)

    def run_file(self, name: str) -> str:
        return self._paths.socket(name)

    def file(self, path: str) -> str:
        return self.member(path)

    def console_log(self, machine: str) -> str:
        return self._paths.log(f"{machine}.console")

    def member(self, path: str) -> str:
        """Relative to the lab file; of an example lab, which is a part of the program, to a folder for user data."""
        folder = os.path.dirname(self._file)
        if folder == EXAMPLES and not os.path.isabs(path):
            folder = data_folder(self._own, make=not self._dry)
        if is_uri(path):
            return parse(path, os.path.abspath(folder)).text
        return os.path.normpath(os.path.join(folder, path))

    def nbd_path(self, pool: str, lun: str) -> str:
        return self._paths.nbd(pool, lun)

    def tcp_endpoint(self, link: Link) -> str:
        """A free port of the loopback interface, picked once and kept as long as the lab lives."""
        name = str(link)
        if name not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self._ports[name] = probe.getsockname()[1]
            if self._store is not None and not self._dry:
                self._store.set_tcp_ports(self._ports)
        return f"tcp://127.0.0.1:{self._ports[name]}"

    def public_key(self, name: str) -> str:
        if self._dry and not os.path.exists(self.key_path(name)):
            return _UNMADE_KEY
        return curve.public_key(self._key(name))

    def key_file(self, name: str) -> str:
        return self.key_path(name) if self._dry else self._key(name)

    def key_path(self, name: str) -> str:
        return os.path.join(state_root(), "keys", f"{name}.json")

    def _key(self, name: str) -> str:
        if name != self._own and not os.path.exists(self.key_path(name)):
            self.warnings.append(
                f"made a key pair for lab {name}, to be used when it comes up here;"
                f" if it runs on another machine, say: vfab key import {name} ITS-PUBLIC-KEY"
            )
        return curve.ensure_key(keys_folder(), name)


def draw(file: str, paths: LabPaths, store: StateStore | None, dry: bool = False) -> Blueprint:
    """What the lab file wants. Raises UserError with all mistakes of the file, a sentence each."""
    try:
        loaded = load(file)
    except LabError as error:
        raise UserError(str(error)) from None
    lab = loaded.lab
    if lab_id(lab.name, file) != paths.id:
        raise UserError(
            f"{file} is lab '{lab.name}' now, which is another lab; end the old one with: vfab down -l {paths.id}"
        )
    taken = [name for name in RESERVED if name in lab.switches or name in lab.storage.pools]
    if taken:
        kind = "switch" if taken[0] in lab.switches else "pool"
        raise UserError(
            f"{file}: a {kind} cannot be called {taken[0]}, one of our own processes is; choose another name"
        )
    places = LocalPlaces(paths, os.path.realpath(file), lab.name, store, dry)
    running = store.desired() if store is not None else {}
    refused = refusals(lab, places, {name: want.config for name, want in running.items()})
    if refused:
        raise UserError(f"{file}: {refused[0]}")
    try:
        nodes = _nodes(lab, places)
    except PortError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{file}: {error.filename or 'cannot make the plan'}: {error.strerror or error}") from None
    remembered = {"name": lab.name, "file": str(loaded.path), "reach": json.dumps(rows(expected_reach(lab))),
                  "unsure": json.dumps(rows(doubtful_reach(lab)))}  # fmt: skip
    return Blueprint(nodes, remembered, [*map(str, loaded.warnings), *places.warnings])


def _nodes(lab: Lab, places: LocalPlaces) -> dict[str, Desired]:
    # The epoch belongs to a process, not to the plan: the supervisor puts it in.
    nodes = {name: Desired("switchd", config) for name, config in switch_configs(lab, places, 0).items()}
    if lab.of_kind("host"):
        nodes["hostd"] = Desired("hostd", host_config(lab, places, 0))
    if lab.of_kind("netns", "uplink"):
        nodes["netnsd"] = Desired("netnsd", netns_config(lab, places, 0))
    if lab.of_kind("vm"):
        nodes["vmd"] = Desired("vmd", vm_config(lab, places, 0))
    nodes.update({name: Desired("stord", config) for name, config in pool_configs(lab, places, 0).items()})
    return nodes
