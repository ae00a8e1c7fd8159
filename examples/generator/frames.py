"""Broadcasts into a port of a lab, ten a second: vfab run ../backend/lab.fab.yml -- python frames.py 50

The port is the first free one that `vfab run` names, or the endpoint (see vfab attach) that is the second word.
"""

import os
import sys
import time

from netvirt import Nic

count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
ports = [value for name, value in sorted(os.environ.items()) if name.startswith("VFAB_PORT_")]
endpoint = sys.argv[2] if len(sys.argv) > 2 else ports[0]
with Nic.connect(endpoint) as nic:
    source = bytes.fromhex(nic.mac.replace(":", ""))
    for number in range(count):
        nic.send(b"\xff" * 6 + source + b"\x88\xb5" + f"frame {number}".encode().ljust(46, b"\0"))
        time.sleep(0.1)  # ten a second
    print(f"{count} frames from {nic.mac}")
