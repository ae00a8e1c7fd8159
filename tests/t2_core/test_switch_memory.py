"""What a switch costs while nobody uses it: 256 of them share a machine. Private memory of a fresh process."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from netvirt.settings import PortSettings
from netvirt.switch import Switch

def private():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))

warm = Switch("warm")
warm.change({f"p{n}": PortSettings("trunk", 1, frozenset({10, 20})) for n in range(8)})
before = private()
switches = []
for s in range(20):
    switches.append(Switch("s1"))
    switches[-1].change({f"p{n}": PortSettings("trunk", 1, frozenset({10, 20})) for n in range(int(sys.argv[1]))})
print((private() - before) / 20)
"""


def cost(ports: int) -> float:
    """KiB of one switch with that many ports that has never seen a frame."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(ports)], capture_output=True, text=True, timeout=60, check=True
    )
    return float(done.stdout)


def test_an_idle_switch_is_small_and_so_is_each_of_its_ports() -> None:
    eight, forty_eight = cost(8), cost(48)
    assert eight < 100, f"{eight} KiB for a switch of 8 ports"
    # A table of 4096 entries for each port would be 8 KiB or more beyond this.
    assert (forty_eight - eight) / 40 < 8, f"{(forty_eight - eight) / 40} KiB a port"
