"""The IPAM plugin that a network names: it is run as we were run, and its answer is ours to use.

Knows: CNI_PATH, delegation as the specification has it (1.1.0, section 4), versions of plugins.
Refuses to know: what is done with the addresses.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Final

from tools.cni_config import SUPPORTED, Network
from tools.cni_errors import DECODE, FAILED, IO, NOT_AVAILABLE, VERSION, CniError
from tools.cni_result import Addressing, read

_SECONDS: Final = 60.0  # a DHCP server may take its time
_NEW: Final = ("STATUS", "GC")  # came with 1.1.0; older plugins are not asked


def add(network: Network) -> Addressing:
    """Its addresses. Where it fails it is told to forget what it may have done."""
    try:
        return read(_call(network, "ADD"))
    except CniError:
        try:
            _call(network, "DEL")
        except CniError:
            pass  # the first error is the one to be told
        raise


def tell(network: Network, command: str) -> None:
    """DEL, CHECK, STATUS, GC. A network without ipam has nobody to tell."""
    if network.ipam:
        _call(network, command)


def _call(network: Network, command: str) -> dict[str, Any]:
    path = _find(network.ipam, NOT_AVAILABLE if command == "STATUS" else IO)
    if command in _NEW and network.version not in _versions(path):
        return {}
    try:
        return _run(path, command, network.raw)
    except CniError as error:
        if error.code != VERSION:
            raise
        # Distributions have plugins that are older than the runtime: what they answer says the same in older words.
        both = [version for version in SUPPORTED if version in _versions(path) and version < network.version]
        if not both:
            raise
        return _run(path, command, _as(network.raw, both[-1]))


def _as(raw: dict[str, Any], version: str) -> dict[str, Any]:
    previous = {"prevResult": {**raw["prevResult"], "cniVersion": version}} if raw.get("prevResult") else {}
    return {**raw, "cniVersion": version, **previous}


def _versions(path: str) -> list[str]:
    found = _run(path, "VERSION", {"cniVersion": SUPPORTED[-1]}).get("supportedVersions")
    return [str(version) for version in found] if isinstance(found, list) else []


def _find(name: str, code: int) -> str:
    folders = [folder for folder in os.environ.get("CNI_PATH", "").split(":") if folder]
    for folder in folders:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise CniError(code, f"the IPAM plugin {name} is in none of CNI_PATH: {':'.join(folders) or 'it is empty'}")


def _run(path: str, command: str, config: dict[str, Any]) -> dict[str, Any]:
    """Its own stderr goes where ours goes."""
    environment = {**os.environ, "CNI_COMMAND": command}
    try:
        done = subprocess.run(
            [path], input=json.dumps(config).encode(), env=environment, stdout=subprocess.PIPE, timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CniError(IO, f"cannot run the IPAM plugin {path}", str(error)) from None
    value = _decoded(path, done.stdout)
    if done.returncode:
        code = value.get("code")
        what = f"the IPAM plugin {os.path.basename(path)} failed: {value.get('msg') or f'exit code {done.returncode}'}"
        raise CniError(code if type(code) is int else FAILED, what, str(value.get("details") or ""))
    return value


def _decoded(path: str, text: bytes) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CniError(DECODE, f"the IPAM plugin {os.path.basename(path)} answers no JSON", repr(text[:200]))
    return value
