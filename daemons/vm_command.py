"""QEMU's command line for one machine. Pure.

Knows: QEMU's options and how their values are written. Refuses to know: files, processes, whether KVM works.

QEMU 7.2 or newer: `-netdev stream` as a server takes a new caller after the switch has been started again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from daemons.vm_config import MIB, DiskConfig, MachineConfig, NicConfig

# `down`, and a vmd that comes back, find a machine's process by this option (teardown.py); QEMU locks the file.
PID_OPTION = "-pidfile"
# Longer than stord takes to be started again: until then the guest's requests wait instead of failing.
RECONNECT_SECONDS = 60
# The pool may be started beside the machine: so long QEMU waits for it before it gives up.
OPEN_SECONDS = 5
_USUAL_MTU = 1500
# virtio-blk takes no more (VIRTIO_BLK_ID_BYTES); the guest has /dev/disk/by-id/virtio-<serial> then.
_SERIAL_BYTES = 20


class Places(NamedTuple):
    """Absolute paths. monitor: vmd's own QMP socket; image: what is opened as the machine's own disk."""

    pid: str
    monitor: str
    image: str | None
    image_format: str


_HAS_ROM = re.compile(r"virtio-net-pci.*|e1000.*|rtl8139|pcnet|ne2k_pci|vmxnet3|igb|i825.*")
# The KVM machine has the processor's own features. TCG's `max` has all that it can emulate: systems built for
# x86-64-v2 and v3 do not start on qemu64. Without la57 the guest's page tables have four levels instead of five.
_CPU = {"kvm": "host", "tcg": "max"}
_X86_CPU = {"kvm": "host", "tcg": "max,la57=off"}
# TCG keeps what it has translated, by default up to 1 GiB for each machine, whatever its memory is.
_ACCEL = {"kvm": "kvm", "tcg": "tcg,thread=multi,tb-size=256"}


def command(qemu: str, machine: MachineConfig, accel: str, places: Places) -> list[str]:
    """The argument vector. qemu: the program's path; accel: kvm or tcg."""
    cpu = (_X86_CPU if "x86_64" in qemu or "i386" in qemu else _CPU)[accel]
    words = [qemu, "-name", f"guest={escape(machine.name)}", PID_OPTION, places.pid]
    words += ["-machine", machine.machine, "-accel", _ACCEL[accel], "-cpu", cpu]
    words += ["-m", f"{-(-machine.memory // MIB)}M", "-smp", str(machine.cpus)]
    words += ["-nodefaults", "-no-user-config", "-display", "none"]
    words += _sockets(machine, places)
    if machine.kernel is not None:
        words += ["-kernel", machine.kernel]
        words += ["-initrd", machine.initrd] if machine.initrd is not None else []
        words += ["-append", machine.append] if machine.append else []
    boots = machine.kernel is not None or places.image is not None or bool(machine.disks)
    for nic in machine.nics:
        words += _nic(nic, boots)
    # Behind the cards, so that eth0 stays where it is when disks are added.
    words += _image(machine, places)
    for number, disk in enumerate(machine.disks):
        words += _disk(number, disk, first=machine.kernel is None and places.image is None and number == 0)
    return [*words, *machine.args]


def escape(value: str) -> str:
    """In an option's value a comma ends it unless it is doubled."""
    return value.replace(",", ",,")


def sockets(machine: MachineConfig, places: Places) -> list[str]:
    """All unix sockets on which QEMU listens."""
    monitors = [nic.qmp for nic in machine.nics if nic.qmp is not None]
    return [machine.console, machine.qmp, places.monitor, *(nic.path for nic in machine.nics), *monitors]


def _sockets(machine: MachineConfig, places: Places) -> Iterator[str]:
    log = f"logfile={escape(machine.log)},logappend=on"
    yield from ("-chardev", f"socket,id=console,path={escape(machine.console)},server=on,wait=off,{log}")
    yield from ("-serial", "chardev:console")
    # A monitor serves one client at a time: vmd, the people and each switch have their own.
    switches = [nic.qmp for nic in machine.nics if nic.qmp is not None]
    for number, path in enumerate((places.monitor, machine.qmp, *switches)):
        yield from ("-chardev", f"socket,id=monitor{number},path={escape(path)},server=on,wait=off")
        yield from ("-mon", f"chardev=monitor{number},mode=control")


def _nic(nic: NicConfig, boots: bool) -> Iterator[str]:
    yield from ("-netdev", f"stream,id={nic.name},server=on,addr.type=unix,addr.path={escape(nic.path)}")
    device = f"{nic.model},netdev={nic.name},mac={nic.mac}"
    if nic.mtu != _USUAL_MTU and nic.model.startswith("virtio-net"):
        device += f",host_mtu={nic.mtu}"
    # A machine that starts from elsewhere needs no boot ROM in its card: it is up sooner, and the ROM's file may lack.
    yield from ("-device", f"{device},romfile=" if boots and _HAS_ROM.fullmatch(nic.model) else device)


def _image(machine: MachineConfig, places: Places) -> list[str]:
    if places.image is None:
        return []
    # What goes with the lab anyway need not survive the host's power cut: the guest's flushes cost nothing then.
    flush = "" if machine.writable else ",cache.no-flush=on"
    node = f"driver={places.image_format},node-name=image,discard=unmap{flush}"
    file = f"file.driver=file,file.filename={escape(places.image)},file.discard=unmap"
    boot = "" if machine.kernel is not None else ",bootindex=1"
    return ["-blockdev", f"{node},{file}", "-device", f"virtio-blk-pci,drive=image,id=image-disk{boot}"]


def _disk(number: int, disk: DiskConfig, first: bool) -> Iterator[str]:
    if disk.path is not None:
        server = f"server.type=unix,server.path={escape(disk.path)}"
    else:
        host, _, port = (disk.tcp or "").rpartition(":")
        host = "127.0.0.1" if host == "*" else host.strip("[]")
        server = f"server.type=inet,server.host={escape(host)},server.port={port}"
    # Without discard=unmap QEMU swallows what the guest trims, and the volume never gets thin again.
    node = f"driver=nbd,node-name=lun{number},{server},export={escape(disk.export)},discard=unmap"
    node += f",reconnect-delay={RECONNECT_SECONDS},open-timeout={OPEN_SECONDS}"
    yield from ("-blockdev", f"{node},read-only=on" if disk.read_only else node)
    serial = re.sub(r"[^A-Za-z0-9._-]", "-", disk.lun)[:_SERIAL_BYTES]
    boot = ",bootindex=1" if first else ""
    yield from ("-device", f"virtio-blk-pci,drive=lun{number},id=disk{number},serial={serial}{boot}")
