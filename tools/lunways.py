"""How a LUN is told to QEMU, libvirt, the tools of libnbd and the kernel: exactly what to paste.

Knows: their options for NBD over a unix socket and over TCP. Refuses to know: labs, who pastes it.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

# Longer than stord takes to be started again; QEMU holds the guest's requests back for so long instead of failing them.
RECONNECT_SECONDS = 60


def ways(lun: dict[str, Any]) -> dict[str, str]:
    """By program. `lun`: its part of the pool's configuration."""
    return {"qemu": _qemu(lun), "libvirt": _libvirt(lun), "nbd": uri(lun), "kernel": _kernel(lun)}


def _host_port(lun: dict[str, Any]) -> tuple[str, str]:
    host, _, port = lun["tcp"].rpartition(":")
    return ("127.0.0.1" if host == "*" else host.strip("[]")), port


def _node(name: str) -> str:
    """A QEMU node name and a device's id: letters, digits, _ and -, beginning with a letter, 31 at most."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:31]


def _qemu(lun: dict[str, Any]) -> str:
    if lun.get("tcp"):
        host, port = _host_port(lun)
        server = f"server.type=inet,server.host={host},server.port={port}"
    else:
        # A comma ends a QEMU option's value unless it is doubled.
        server = f"server.type=unix,server.path={lun['path'].replace(',', ',,')}"
    node = _node(lun["name"])
    read_only = ",read-only=on" if lun["read_only"] else ""
    # Without discard=unmap QEMU swallows what the guest trims, and the volume never gets thin again.
    blockdev = (
        f"driver=nbd,{server},export={lun['name']},reconnect-delay={RECONNECT_SECONDS},discard=unmap,"
        f"node-name={node}{read_only}"
    )
    return f'-blockdev "{blockdev}" -device virtio-blk-pci,drive={node}'


def _libvirt(lun: dict[str, Any]) -> str:
    if lun.get("tcp"):
        host, port = _host_port(lun)
        where = f"<host name={quoteattr(host)} port='{port}'/>"
    else:
        where = f"<host transport='unix' socket={quoteattr(lun['path'])}/>"
    read_only = "\n  <readonly/>" if lun["read_only"] else ""
    return (
        "<disk type='network' device='disk'>\n"
        "  <driver name='qemu' type='raw' cache='none' discard='unmap'/>\n"
        f"  <source protocol='nbd' name={quoteattr(lun['name'])}>\n"
        f"    {where}\n"
        f"    <reconnect delay='{RECONNECT_SECONDS}'/>\n"
        "  </source>\n"
        f"  <target dev='vda' bus='virtio'/>{read_only}\n"
        "</disk>\n"
        "<!-- QEMU must run as you (qemu:///session) to reach a socket in the run folder. -->"
    )


def uri(lun: dict[str, Any]) -> str:
    """For nbdinfo, nbdcopy, nbdsh, nbdfuse, nbdkit, qemu-img and fio."""
    if lun.get("tcp"):
        host, port = _host_port(lun)
        return f"nbd://{f'[{host}]' if ':' in host else host}:{port}/{quote(lun['name'])}"
    return f"nbd+unix:///{quote(lun['name'])}?socket={quote(lun['path'], safe='/')}"


def _kernel(lun: dict[str, Any]) -> str:
    if lun.get("tcp"):
        host, port = _host_port(lun)
        where = f"{host} {port}"
    else:
        where = f"-unix '{lun['path']}'"
    return f"nbd-client {where} -N {lun['name']} -persist /dev/nbd0   # as root, after modprobe nbd"
