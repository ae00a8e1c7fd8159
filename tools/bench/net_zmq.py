"""NIC to NIC through one switchd over ZeroMQ, beside plain ZeroMQ. Rows net/zmq/*."""

from __future__ import annotations

from collections.abc import Iterator

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


def _trip(folder: str, rig: SwitchRig, far: SwitchRig | None = None) -> dict[str, float]:
    """Round trips between NICs at one switch, or at two with a trunk between them."""
    other = Child(folder, PART, "echo", (far or rig).port(2))
    other.wait_for("ready")
    try:
        return Child(folder, PART, "ask", rig.port(1), TRIPS).result()
    finally:
        other.end()


def _plain_trip(folder: str, number: int) -> dict[str, float]:
    endpoint = f"ipc://{folder}/plain-{number}"
    other = Child(folder, PART, "zmq-echo", endpoint)
    other.wait_for("ready")
    try:
        return Child(folder, PART, "zmq-ask", endpoint, TRIPS).result()
    finally:
        other.end()


def _relayed_trip(folder: str, number: int) -> dict[str, float]:
    """Round trips of plain messages through a process that hands them on, as a switch does."""
    endpoint = f"ipc://{folder}/relay-{number}"
    relay = Child(folder, PART, "zmq-relay", endpoint)
    relay.wait_for("ready")
    mirror = Child(folder, PART, "zmq-mirror", endpoint)
    mirror.wait_for("ready")
    try:
        return Child(folder, PART, "zmq-ask", endpoint, TRIPS).result()
    finally:
        mirror.end()
        relay.end()


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
