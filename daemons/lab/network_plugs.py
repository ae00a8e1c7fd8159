"""WebSocket and VXLAN ports: from the file to a configuration row.

Knows: who must not share an address, names of VLANs -> numbers. Refuses to know: drivers, other kinds (`plugs`).
"""

from __future__ import annotations

from netvirt.ports.vxlan_rules import parse_endpoint
from netvirt.ports.websocket_rules import parse_listen
from netvirt.settings import PortSettings

from .mistake import At, quoted
from .network_models import Vxlan, WebSocket
from .plugs import Plug
from .port_model import Port as FilePort
from .port_settings import Vlans


def network_plug(given: FilePort, made: PortSettings, vlans: Vlans, at: At) -> Plug | None:
    """at: of the port in the file."""
    if given.websocket is not None:
        return _websocket(given.websocket)
    return _vxlan(given.vxlan, made, vlans, (*at, "vxlan")) if given.vxlan is not None else None


def _websocket(given: WebSocket) -> Plug:
    place = str(parse_listen(given.listen, given.public))
    keys = (("at", place), ("origins", list(given.origins)), ("public", given.public))
    return Plug("websocket", "websocket", "a machine in a browser", keys, place, shared=True)


def _vxlan(given: Vxlan, made: PortSettings, vlans: Vlans, at: At) -> Plug:
    pairs = []
    for vlan, vni in given.vnis.items():
        where = (*at, "vnis", str(vlan))
        vid = vlans.lookup(vlan, where, key=True)
        if vid and made.allowed and vid not in made.allowed:
            vlans.note(
                where, f"VLAN {quoted(vlan)} has a VNI, but this port does not carry it", "add it to trunk:", True
            )
        pairs += [[vid, vni]] if vid else []
    keys = (
        ("local", given.local), ("remotes", list(given.remotes)), ("vnis", pairs), ("station_age", given.ageing),
        ("inner_tags", given.inner_tags),
    )  # fmt: skip
    return Plug("vxlan", "vxlan", f"VXLAN {', '.join(given.remotes[:3])}", keys, str(parse_endpoint(given.local)))
