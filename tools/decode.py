"""One line of text per captured frame: time, port, direction, and what is in it, in our words or in scapy's.

Knows: how to load scapy quietly, only when somebody asks for it, and in the command's own process only.
Refuses to know: where frames come from.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from netvirt.burst import Frame
from netvirt.frame import describe

Describe = Callable[[bytes], str]

# scapy keeps caches and settings under these; a command that only looks must not leave files in the user's home.
_SCAPY_FOLDERS: Final = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
_NOWHERE: Final = "/dev/null/nowhere"


def line(frame: Frame, port: str, direction: str, describe: Describe = describe) -> str:
    """`HH:MM:SS.nnnnnnnnn port in|out description`, in local time."""
    seconds, nanoseconds = divmod(frame.time_ns, 1_000_000_000)
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    return f"{clock}.{nanoseconds:09d} {port} {direction:3} {describe(frame.data)}"


@contextmanager
def quiet_scapy() -> Iterator[None]:
    """scapy is imported in here: without a word, without a file in the user's home. Takes a quarter of a second."""
    before = {name: os.environ.get(name) for name in _SCAPY_FOLDERS}
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    os.environ.update(dict.fromkeys(_SCAPY_FOLDERS, _NOWHERE))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def scapy_describe() -> Describe:
    """scapy's one-line summary of a frame."""
    with quiet_scapy():
        # Importing a layer is what teaches scapy to dissect it.
        for layer in ("inet", "inet6", "dhcp", "dhcp6", "dns", "vxlan"):
            importlib.import_module(f"scapy.layers.{layer}")
        from scapy.layers.l2 import Ether

    def summary(data: bytes) -> str:
        try:
            return str(Ether(data).summary())
        except Exception as error:  # whatever a dissector makes of junk: it must not end the capture
            return f"{describe(data)} (scapy: {type(error).__name__})"

    return summary
