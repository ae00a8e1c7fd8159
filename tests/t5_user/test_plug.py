"""A namespace of one's own in a lab's VLAN, with vfab plug, by somebody without privileges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.rooms import need_namespaces
from tests.support.user import vfab

LAB = """
name: plugged
topology:
  nodes:
    s1:
      kind: switch
      ports: {eth1: {access: 10, tap: listen}, eth2: {access: 10, tap: listen}, eth3: {access: 10}}
    h1: {kind: host, addresses: [10.0.0.1/24]}
  links:
    - endpoints: ["s1:eth3", "h1:eth0"]
"""


@pytest.fixture
def lab(home: Path) -> Iterator[None]:
    need_namespaces(tun=True)
    (home / "plugged.fab.yml").write_text(LAB)
    vfab("up", str(home / "plugged.fab.yml"))
    yield
    vfab("down")


def test_a_namespace_reaches_a_host_of_the_lab(lab: None) -> None:
    namespace = (peers.need("unshare"), "-Urn")
    knows = "ip neigh flush dev tap0; for n in 1 2 3 4 5 6 7 8; do echo x > /dev/udp/10.0.0.1/9; sleep 0.2; "
    knows += "ip neigh show 10.0.0.1 | grep -q lladdr && exit 0; done; exit 9"
    words = ("plug", "--address", "10.0.0.5/24", "s1:eth1", "--", peers.need("bash"), "-c", knows)
    vfab(*words, prefix=namespace)
    assert "unshare -Urn vfab plug" in vfab("attach", "s1:eth1").out
    assert vfab("plug", "s1:eth1", "--", "false", prefix=namespace, code=1).err == ""


def test_what_goes_wrong_is_a_sentence(lab: None) -> None:
    namespace = (peers.need("unshare"), "-Urn")
    assert "takes no TAP that is handed over" in vfab("plug", "s1:eth3", code=1).sentence
    assert "cannot have the address" in vfab("plug", "--address", "x", "s1:eth1", prefix=namespace, code=1).sentence
    assert "cannot run /no/such" in vfab("plug", "s1:eth1", "--", "/no/such", prefix=namespace, code=1).sentence
    assert "no name for an interface" in vfab("plug", "--name", "a/b", "s1:eth1", prefix=namespace, code=1).sentence
    without = (peers.need("unshare"), "-Ur")  # no rights over the network namespace of its parent
    assert "CAP_NET_ADMIN" in vfab("plug", "s1:eth1", prefix=without, code=1).sentence
