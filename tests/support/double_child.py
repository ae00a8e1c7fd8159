"""A child for tests of supervision: it has switchd's command line and control socket, and no network.

Its configuration may hold `refuse` (a sentence), a VLAN of that name, `die` (end at once), and `dark` (ports without
carrier).
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from typing import Any

from daemons.control import ControlServer, Reply, UserError
from daemons.locks import Lock
from daemons.loop import Loop

parser = argparse.ArgumentParser()
parser.add_argument("--name", required=True)
parser.add_argument("--control-fd", type=int, required=True)
parser.add_argument("--lock", required=True)
options = parser.parse_args()

lock = Lock(options.lock)
if not lock.take():
    sys.exit(f"{options.name} runs already")
loop = Loop()
config: dict[str, Any] = {}


def configure(args: dict[str, Any], reply: Reply) -> None:
    if "refuse" in args["config"]:
        raise UserError(args["config"]["refuse"])
    if "refuse" in args["config"].get("vlans", {}).values():
        raise UserError("a VLAN of this name is refused")
    if args["config"].get("die"):
        print("dying as told", file=sys.stderr, flush=True)
        os._exit(3)
    config.clear()
    config.update(args["config"])
    reply.done()


def status(args: dict[str, Any], reply: Reply) -> None:
    dark = config.get("dark", ())
    ports = [{"name": port["name"], "carrier": port["name"] not in dark} for port in config.get("ports", ())]
    hosts = [
        {"name": host["name"], "nics": [{"name": nic["name"], "carrier": True} for nic in host["nics"]]}
        for host in config.get("hosts", ())
    ]
    reply.done({"epoch": config.get("epoch"), "ports": ports, "hosts": hosts, "text": config.get("text", "")})


server = ControlServer(loop, socket.socket(fileno=options.control_fd), {"configure": configure, "status": status})
loop.on_signal(signal.SIGTERM, loop.stop)
print(f"{options.name} begins", file=sys.stderr, flush=True)
loop.run()
