"""vfab status: every node with its ports, and whether they are up. Exit code 0 when all of it is."""

from __future__ import annotations

import argparse
from typing import Any

from tools import storage
from tools.labs import choose, overview
from tools.output import duration, print_json, table, warn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ports", action="store_true", help="a line for every port")


def run(options: argparse.Namespace) -> int:
    value = overview(choose(options.lab), "status")
    problems = [*complaints(value), *port_problems(value)]
    if options.json:
        print_json({**value, "problems": problems})
        return 1 if problems else 0
    print(report(value))
    if options.ports:
        print()
        print(ports(value))
    changed = value.get("changed", [])
    if changed:
        print("\nChanged since the file (vfab up takes it back):")
        print("\n".join(f"  {change['text']}" for change in changed))
    for problem in problems:
        warn(problem)
    return 1 if problems else 0


def report(value: dict[str, Any]) -> str:
    """The table of a lab's nodes, with a headline."""
    header = ("NODE", "KIND", "STATE", "PORTS UP", "EPOCH", "RESTARTS", "UPTIME", "PEERS")
    rows: list[tuple[object, ...]] = []
    for name, row in value["nodes"].items():
        ends = row.get("ports", [])
        up = sum(bool(port["carrier"]) for port in ends)
        peers = ", ".join(f"{port['name']}={port['peer']}" for port in ends if port.get("peer") and port["carrier"])
        if "hosts" in row:
            rows += [
                (host["name"], host.get("kind", "host"), *_host(host), row["epoch"], "", "", _addresses(host))
                for host in row["hosts"]
            ]
            continue
        if "machines" in row:
            rows += [
                (each["name"], "vm", each["state"], "", row["epoch"], each["restarts"], "", each.get("problem") or "")
                for each in row["machines"]
            ]
            continue
        if row["kind"] == "stord":
            rows.append((name, "pool", _state(row), "", row["epoch"], row["restarts"], duration(row["uptime_s"]),
                         storage.summary(row)))  # fmt: skip
            continue
        shown = f"{up}/{len(ends)}" if "ports" in row else ""
        kind = "switch" if row["kind"] == "switchd" else row["kind"]
        rows.append((name, kind, _state(row), shown, row["epoch"], row["restarts"], duration(row["uptime_s"]), peers))
    return f"{value['name']}  {value['file']}\n" + table(header, rows)


def _state(row: dict[str, Any]) -> str:
    return "silent" if row["state"] == "up" and "silent" in row else str(row["state"])


def _host(host: dict[str, Any]) -> tuple[str, str]:
    up = sum(bool(nic["carrier"]) for nic in host["nics"])
    return ("up" if up == len(host["nics"]) else "down"), f"{up}/{len(host['nics'])}"


def _addresses(host: dict[str, Any]) -> str:
    """The addresses of a host that its lab file gives, not those that every IPv6 interface has by itself."""
    interfaces = [interface for nic in host["nics"] for interface in nic.get("interfaces", ())]
    found = [address for interface in interfaces for address in interface.get("addresses", ())]
    return ", ".join(address for address in found if not address.lower().startswith("fe80:"))


def ports(value: dict[str, Any]) -> str:
    header = ("PORT", "LINK", "STATE", "MODE", "PVID", "VLANS", "PEER", "RX", "TX", "DROPS")
    rows = [
        (
            f"{name}:{port['name']}",
            "up" if port["carrier"] else "down",
            "shut" if port.get("shut") else port.get("state"),
            port.get("mode"),
            port.get("pvid") or "",
            port.get("allowed"),
            port.get("peer"),
            port.get("rx_frames"),
            port.get("tx_frames"),
            _drops(port.get("drops")),
        )
        for name, row in value["nodes"].items()
        for port in row.get("ports", ())
    ]
    return table(header, rows)


def _drops(drops: Any) -> str:
    """A number, or a number for each reason."""
    if isinstance(drops, dict):
        return ", ".join(f"{reason} {count}" for reason, count in drops.items() if count)
    return str(drops or "")


def complaints(value: dict[str, Any]) -> list[str]:
    """What is wrong with a lab, a sentence each."""
    found = [value["problem"]] if value.get("problem") else []
    for name, row in value["nodes"].items():
        if row["problem"]:
            found.append(f"{name}: {row['problem']}")
        elif row["state"] not in ("up", "alone"):
            found.append(f"{name} is not up but {row['state']}; vfab logs {name} may tell why")
        elif row.get("silent"):
            found.append(f"{name} does not answer: {row['silent']}")
        elif row.get("down"):
            found.append(f"{name}: no link at {', '.join(row['down'])}")
        found += [problem for problem in row.get("problems", ()) if problem not in row["problem"]]
        found += [_of_host(host["name"], what) for host in row.get("hosts", ()) for what in host.get("problems", ())]
    return found


def _of_host(name: str, what: str) -> str:
    return what if what.startswith(f"{name} ") else f"{name}: {what}"


def port_problems(value: dict[str, Any]) -> list[str]:
    """Ports that do not work, a sentence each: the rest of the lab goes on, so `up` only warns of them."""
    return [
        f"{name}:{port['name']}: {port['problem']}"
        for name, row in value["nodes"].items()
        for port in row.get("ports", ())
        if port.get("problem")
    ]
