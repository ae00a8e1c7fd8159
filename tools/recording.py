"""Where captured frames go: a pcapng file or pipe, or lines of text.

Knows: which interfaces a file has, and what was counted on each. Refuses to know: links, loops, when a capture ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from io import RawIOBase
from typing import Literal, NamedTuple, Protocol, TextIO

from netvirt.burst import Frame
from netvirt.capture import pcapng
from netvirt.frame import describe as our_words
from tools import decode

Direction = Literal["in", "out"]


class Seen(NamedTuple):
    """One frame: the port that it was seen on, and which way it went there (from the switch's point of view)."""

    port: str
    direction: Direction
    frame: Frame


class Sink(Protocol):
    """Takes what was seen. OSError: it cannot take any more (BrokenPipeError: nobody wants any more)."""

    def ports(self, names: Iterable[str]) -> None:
        """The ports that are captured; called again when the switch came back and has others."""
        ...

    def burst(self, frames: Iterable[Seen]) -> None:
        """Frames in their order; all of them are out when this returns."""
        ...

    def close(self) -> None:
        """The capture has ended."""
        ...


class PcapngSink:
    """One pcapng section: an interface per port, statistics at the end."""

    def __init__(self, file: RawIOBase, switch: str) -> None:
        self._file = file
        self._switch = switch
        self._numbers: dict[str, int] = {}
        self._received: list[int] = []
        self._start = time.time_ns()
        uname = os.uname()
        head = pcapng.section_header(
            application=f"virtfab {_version()}", hardware=uname.machine, system=f"{uname.sysname} {uname.release}"
        )
        self._blocks = [head]

    def ports(self, names: Iterable[str]) -> None:
        for name in names:
            self._number(name)
        self._write()

    def burst(self, frames: Iterable[Seen]) -> None:
        for port, direction, frame in frames:
            number = self._number(port)
            self._received[number] += 1
            block = pcapng.packet_block(
                number, frame.time_ns, frame.data, direction=direction, identity=frame.identity or None
            )
            self._blocks.append(block)
        self._write()

    def close(self) -> None:
        now = time.time_ns()
        self._blocks += [
            pcapng.statistics_block(number, now, received=received, start_ns=self._start, end_ns=now)
            for number, received in enumerate(self._received)
        ]
        self._write()

    def _write(self) -> None:
        data = memoryview(b"".join(self._blocks))
        self._blocks.clear()
        while data:
            data = data[self._file.write(data) or 0 :]

    def _number(self, port: str) -> int:
        number = self._numbers.get(port)
        if number is None:
            number = self._numbers[port] = len(self._numbers)
            self._received.append(0)
            name = f"{self._switch}:{port}"
            self._blocks.append(pcapng.interface_block(name, f"port {port} of switch {self._switch}"))
        return number


class TextSink:
    """One line per frame."""

    def __init__(self, out: TextIO, describe: decode.Describe | None = None) -> None:
        self._out = out
        self._describe = describe or our_words

    def ports(self, names: Iterable[str]) -> None:
        self._width = max(map(len, names), default=0)

    def burst(self, frames: Iterable[Seen]) -> None:
        for port, direction, frame in frames:
            self._out.write(decode.line(frame, port.ljust(self._width), direction, self._describe) + "\n")
        self._out.flush()

    def close(self) -> None:
        self._out.flush()


class JsonSink:
    """One JSON object per line and frame."""

    def __init__(self, out: TextIO, describe: decode.Describe | None = None) -> None:
        self._out = out
        self._describe = describe or our_words

    def ports(self, names: Iterable[str]) -> None:
        pass

    def burst(self, frames: Iterable[Seen]) -> None:
        for port, direction, frame in frames:
            value = {
                "time_ns": frame.time_ns,
                "port": port,
                "direction": direction,
                "identity": frame.identity,
                "bytes": len(frame.data),
                "frame": self._describe(frame.data),
            }
            self._out.write(json.dumps(value, ensure_ascii=False) + "\n")
        self._out.flush()

    def close(self) -> None:
        self._out.flush()


def forget_stdout() -> None:
    """Nobody reads stdout any more: what is still buffered for it must not become an error when the command ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _version() -> str:
    try:
        return version("virtfab")
    except PackageNotFoundError:
        return ""
