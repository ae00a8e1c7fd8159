"""QEMU's command line: what each key of a machine becomes, and that no value can become more than it is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from daemons.vm_command import Places, command, escape, sockets
from daemons.vm_config import MachineConfig, parse_config
from tests.support.machines import machine, nic

RUN = Path("/run/lab")
PLACES = Places("/run/lab/vm1.pid", "/run/lab/vm1.mon", None, "qcow2")
IMAGE = PLACES._replace(image="/state/overlays/vm1.qcow2")
RAW = IMAGE._replace(image_format="raw")


def parsed(**more: Any) -> MachineConfig:
    rows = [machine(RUN, "vm1", **more)]
    return parse_config({"lab": "x", "epoch": 1, "machines": rows}).machines["vm1"]


def line(places: Places = PLACES, accel: str = "tcg", **more: Any) -> list[str]:
    return command("/usr/bin/qemu-system-x86_64", parsed(**more), accel, places)


def values(words: list[str], option: str) -> list[str]:
    return [value for one, value in pairwise(words) if one == option]


def test_a_machine_with_a_kernel() -> None:
    words = line(kernel="/boot/k", initrd="/boot/i", append="console=ttyS0 quiet", memory=96 << 20, cpus=3)
    assert words == [
        "/usr/bin/qemu-system-x86_64", "-name", "guest=vm1", "-pidfile", "/run/lab/vm1.pid",
        "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off", "-m", "96M", "-smp", "3",
        "-nodefaults", "-no-user-config", "-display", "none",
        "-chardev", "socket,id=console,path=/run/lab/vm1.console,server=on,wait=off,"
        "logfile=/run/lab/logs/vm1.console.log,logappend=on",
        "-serial", "chardev:console",
        "-chardev", "socket,id=monitor0,path=/run/lab/vm1.mon,server=on,wait=off",
        "-mon", "chardev=monitor0,mode=control",
        "-chardev", "socket,id=monitor1,path=/run/lab/vm1.qmp,server=on,wait=off",
        "-mon", "chardev=monitor1,mode=control",
        "-kernel", "/boot/k", "-initrd", "/boot/i", "-append", "console=ttyS0 quiet",
    ]  # fmt: skip


def test_kvm_takes_the_hosts_processor() -> None:
    words = line(accel="kvm")
    assert (values(words, "-accel"), values(words, "-cpu")) == (["kvm"], ["host"])


def test_cards_listen_for_their_switch_and_disks_come_behind_them() -> None:
    disks = [
        {"lun": "lun0", "path": "/run/lab/p0-lun0.nbd", "tcp": None, "export": "lun0", "read_only": False},
        {"lun": "a name of more than 20", "path": None, "tcp": "[::1]:10809", "export": "l1", "read_only": True},
    ]
    cards = [
        nic(RUN, "vm1", "eth0", "02:00:00:00:00:01", qmp="/run/lab/vm1-eth0.qmp"),
        nic(RUN, "vm1", "eth1", "02:00:00:00:00:02", mtu=9000),
        nic(RUN, "vm1", "eth2", "02:00:00:00:00:03", model="virtio-net-device"),
    ]
    words = line(nics=cards, disks=disks)
    assert values(words, "-netdev") == [
        f"stream,id=eth{n},server=on,addr.type=unix,addr.path=/run/lab/vm1-eth{n}.qemu" for n in range(3)
    ]
    assert values(words, "-device") == [
        "virtio-net-pci,netdev=eth0,mac=02:00:00:00:00:01,romfile=",
        "virtio-net-pci,netdev=eth1,mac=02:00:00:00:00:02,host_mtu=9000,romfile=",
        "virtio-net-device,netdev=eth2,mac=02:00:00:00:00:03",
        "virtio-blk-pci,drive=lun0,id=disk0,serial=lun0,bootindex=1",
        "virtio-blk-pci,drive=lun1,id=disk1,serial=a-name-of-more-than-",
    ]
    assert values(words, "-blockdev") == [
        "driver=nbd,node-name=lun0,server.type=unix,server.path=/run/lab/p0-lun0.nbd,export=lun0,discard=unmap,"
        "reconnect-delay=60,open-timeout=5",
        "driver=nbd,node-name=lun1,server.type=inet,server.host=::1,server.port=10809,export=l1,discard=unmap,"
        "reconnect-delay=60,open-timeout=5,read-only=on",
    ]
    assert values(words, "-mon")[-1] == "chardev=monitor2,mode=control"
    assert sockets(parsed(nics=cards, disks=disks), PLACES) == [
        "/run/lab/vm1.console", "/run/lab/vm1.qmp", "/run/lab/vm1.mon",
        "/run/lab/vm1-eth0.qemu", "/run/lab/vm1-eth1.qemu", "/run/lab/vm1-eth2.qemu", "/run/lab/vm1-eth0.qmp",
    ]  # fmt: skip


def test_a_card_of_a_machine_without_anything_to_start_from_keeps_its_boot_rom() -> None:
    words = line(nics=[nic(RUN, "vm1", "eth0", "02:00:00:00:00:01")])
    assert values(words, "-device") == ["virtio-net-pci,netdev=eth0,mac=02:00:00:00:00:01"]


@pytest.mark.parametrize(
    ("more", "places", "node", "device"),
    [
        ({}, IMAGE, "driver=qcow2,node-name=image,discard=unmap,cache.no-flush=on", ",bootindex=1"),
        ({"kernel": "/k"}, IMAGE, "driver=qcow2,node-name=image,discard=unmap,cache.no-flush=on", ""),
        ({"writable": True}, RAW, "driver=raw,node-name=image,discard=unmap", ",bootindex=1"),
    ],
    ids=["overlay", "overlay-beside-a-kernel", "writable"],
)
def test_only_what_goes_with_the_lab_is_written_without_flushes(
    more: dict[str, Any], places: Places, node: str, device: str
) -> None:
    words = line(places, image="/data/disk.qcow2", image_format="qcow2", **more)
    file = "file.driver=file,file.filename=/state/overlays/vm1.qcow2,file.discard=unmap"
    assert values(words, "-blockdev") == [f"{node},{file}"]
    assert values(words, "-device") == [f"virtio-blk-pci,drive=image,id=image-disk{device}"]


def test_a_comma_in_a_path_stays_in_it() -> None:
    folder = Path("/run/a,server=off,b")
    cards = [nic(folder, "vm1", "eth0", "02:00:00:00:00:01")]
    disk = {"lun": "l", "path": "/p,q", "tcp": None, "export": "e,tls-creds=x", "read_only": False}
    row = machine(folder, "vm1", image="/i,f=1", image_format="raw", nics=cards, disks=[disk])
    config = parse_config({"lab": "x", "epoch": 1, "machines": [row]}).machines["vm1"]
    words = command("qemu-system-x86_64", config, "tcg", PLACES._replace(image="/i,f=1"))
    doubled = escape(str(folder))
    assert doubled == "/run/a,,server=off,,b"
    assert f"path={doubled}/vm1.console,server=on" in values(words, "-chardev")[0]
    assert values(words, "-netdev")[0].endswith(f"addr.path={doubled}/vm1-eth0.qemu")
    image, disk = values(words, "-blockdev")
    assert "file.filename=/i,,f=1," in image
    assert "server.path=/p,,q,export=e,,tls-creds=x,discard" in disk


def test_the_users_own_words_come_last_so_that_they_win() -> None:
    assert line(args=["-cpu", "qemu64", "-S"])[-3:] == ["-cpu", "qemu64", "-S"]


def test_another_processor_has_no_pages_of_five_levels() -> None:
    words = command("/usr/bin/qemu-system-aarch64", parsed(machine="virt"), "tcg", PLACES)
    assert (values(words, "-cpu"), values(words, "-machine")) == (["max"], ["virt"])
