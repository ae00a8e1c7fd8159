"""NIC to NIC through one switchd over ZeroMQ, beside plain ZeroMQ. Rows net/zmq/*."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from tools.bench.rig import Child, Folder, SwitchRig
from tools.bench.rows import Row, make_row

PART = "tools.bench.nic_child"
RUNS = 3
TRIP_RUNS = 9
SECONDS = "3"
TRIPS = "4000"


def _rate(folder: str, rig: SwitchRig, burst: int, size: int) -> float:
    """Millions of frames a second that arrive."""
    receiver = Child(folder, PART, "receive", rig.port(2))
    receiver.wait_for("ready")
    sender = Child(folder, PART, "send", rig.port(1), str(burst), str(size), SECONDS)
    sender.result()
    got = receiver.result()
    return float(got["received"]) / float(got["seconds"]) / 1e6


def _asked(folder: str, ask: Sequence[str], *others: Sequence[str]) -> dict[str, float]:
    """Round trips that `ask` makes while the others, which begin before it, answer."""
    with ExitStack() as stack:
        for words in others:
            other = Child(folder, PART, *words)
            stack.callback(other.end)
            other.wait_for("ready")
        return Child(folder, PART, *ask, TRIPS).result()


def _trip(folder: str, rig: SwitchRig, far: SwitchRig | None = None) -> dict[str, float]:
    """Round trips between NICs at one switch, or at two with a trunk between them."""
    return _asked(folder, ("ask", rig.port(1)), ("echo", (far or rig).port(2)))


def _plain_trip(folder: str, number: int) -> dict[str, float]:
    endpoint = f"ipc://{folder}/plain-{number}"
    return _asked(folder, ("zmq-ask", endpoint), ("zmq-echo", endpoint))


def _relayed_trip(folder: str, number: int) -> dict[str, float]:
    """Round trips of plain messages through a process that hands them on, as a switch does."""
    endpoint = f"ipc://{folder}/relay-{number}"
    return _asked(folder, ("zmq-ask", endpoint), ("zmq-relay", endpoint), ("zmq-mirror", endpoint))


def rows() -> Iterator[Row]:
    with Folder() as folder, SwitchRig(folder.path, ports=3) as rig:
        for burst, size in ((32, 64), (256, 64), (256, 1514)):
            runs = [_rate(folder.path, rig, burst, size) for _ in range(RUNS)]
            settings = "one switchd, two NIC processes, ipc, shipped defaults, frames that arrived"
            name = f"net/zmq/nic-to-nic/{size}B/burst{burst}/vs-none"
            yield make_row(name, "Mframes/s", runs, None, "none", settings)
        ours, plain, longer, relayed = [], [], [], []
        with SwitchRig(folder.path, name="s2", behind=rig.port(3)) as far:
            for number in range(TRIP_RUNS):
                plain.append(_plain_trip(folder.path, number))
                relayed.append(_relayed_trip(folder.path, number))
                ours.append(_trip(folder.path, rig))
                longer.append(_trip(folder.path, rig, far))
        settings = (
            "one frame at a time; ours: NIC, switch, NIC and back (4 messages); peer: there and back (2 messages)"
        )
        for percentile in ("p50", "p99"):
            yield make_row(
                f"net/zmq/round-trip-{percentile}/64B/burst1/vs-zmq-echo",
                "us",
                [run[percentile] for run in ours],
                [run[percentile] for run in plain],
                "plain ZeroMQ echo",
                settings,
            )
            yield make_row(
                f"net/zmq/one-way-{percentile}/64B/burst1/vs-zmq-echo",
                "us",
                [run[f"there_{percentile}"] for run in ours],
                [run[percentile] for run in plain],
                "plain ZeroMQ echo",
                "one frame at a time, one way: NIC, switch, NIC (2 messages); peer: there and back (2 messages)",
            )
            yield make_row(
                f"net/zmq/hop-{percentile}/64B/burst1/vs-zmq-relay",
                "us",
                [run[percentile] for run in ours],
                [run[percentile] for run in relayed],
                "plain ZeroMQ relay",
                "one frame at a time, there and back (4 messages each): NIC, switch, NIC; peer: dealer, router, dealer",
            )
            yield make_row(
                f"net/zmq/one-hop-more-{percentile}/64B/burst1/vs-zmq-echo",
                "us",
                [max(0.0, far[percentile] - near[percentile]) for near, far in zip(ours, longer, strict=True)],
                [run[percentile] for run in plain],
                "plain ZeroMQ echo",
                "what a second switch adds to the round trip (2 messages more); peer: a whole round trip (2 messages)",
            )
