"""The files of a machine: is its image what it is said to be, and what the guest writes into.

Knows: qcow2's first bytes, qemu-img's arguments. Refuses to know: who runs qemu-img, and when.

An image that is not `writable` is left as it is: the guest writes into an overlay (qcow2) in the lab's state folder.
Its memory of the image is worth nothing when the image has changed meanwhile; `identity` tells.
"""

from __future__ import annotations

import os
import shutil
import stat

from daemons.errors import UserError
from daemons.vm_config import MachineConfig

_MAGIC = b"QFI\xfb"  # QEMU's docs/interop/qcow2
_IMG = "qemu-img"

Identity = list[int | str]


def check_files(machine: MachineConfig) -> None:
    """Raises UserError for what QEMU would stumble over, in words that name the lab file's key."""
    for key, path in (("kernel", machine.kernel), ("initrd", machine.initrd)):
        if path is not None:
            _readable(machine.name, key, path)
    if machine.image is None:
        return
    _readable(machine.name, "image", machine.image)
    if machine.writable and not os.access(machine.image, os.W_OK):
        fix = "leave writable: out, or give yourself the right"
        raise UserError(f"{machine.name}: its image {machine.image} may not be written; {fix}")
    try:
        with open(machine.image, "rb") as file:
            is_qcow2 = file.read(4) == _MAGIC
    except OSError as error:
        raise UserError(f"{machine.name}: its image {machine.image} cannot be read: {error.strerror}") from None
    said = image_format(machine)
    if is_qcow2 != (said == "qcow2"):
        found = "is a qcow2 image" if is_qcow2 else "is no qcow2 image"
        other = "qcow2" if is_qcow2 else "raw"
        raise UserError(f"{machine.name}: {machine.image} {found}, but its format is {said}; write format: {other}")


def _readable(name: str, key: str, path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UserError(f"{name}: its {key} {path} cannot be used: {error.strerror}") from None
    if not (stat.S_ISREG(mode) or (key == "image" and stat.S_ISBLK(mode))):
        raise UserError(f"{name}: its {key} {path} is no file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{name}: its {key} {path} cannot be read; give yourself the right")


def image_format(machine: MachineConfig) -> str:
    """What is said; else by the name, never by the content: a guest could write another one's first bytes."""
    if machine.image_format is not None:
        return machine.image_format
    return "qcow2" if (machine.image or "").endswith(".qcow2") else "raw"


def overlay_path(machine: MachineConfig) -> str:
    return overlay_at(machine.name, machine.log)


def overlay_at(name: str, log: str) -> str:
    """In the state folder, beside the folder of logs: the run folder may be memory."""
    return os.path.join(os.path.dirname(os.path.dirname(log)), "overlays", f"{name}.qcow2")


def identity(machine: MachineConfig) -> Identity | None:
    """Of the image below the overlay; None without one. Raises OSError."""
    if machine.image is None or machine.writable:
        return None
    found = os.stat(machine.image)
    return [machine.image, image_format(machine), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]


def overlay_command(machine: MachineConfig) -> list[str]:
    """Makes the overlay anew. Raises UserError."""
    program = shutil.which(_IMG)
    if program is None:
        raise UserError(
            f"{machine.name}: {_IMG} is not installed (Debian: qemu-utils), it makes what the guest writes into"
        )
    assert machine.image is not None
    base = ["-b", machine.image, "-F", image_format(machine)]
    return [program, "create", "-q", "-f", "qcow2", *base, overlay_path(machine)]
