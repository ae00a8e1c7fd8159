"""A running lab for programs: what it is now, and changes while it runs.

    from daemons.lab_client import Lab

    with Lab("two-switches") as lab:
        lab.port("s1:eth1").set(access="guests")
        lab.port_add("s1:pod1", access="guests", tap="listen")

Knows: fabricd's `change` and `status`, switchd's questions. Refuses to know: how a change is made, command lines.
Everything blocks until it is so; UserError has one sentence for whatever cannot be. A change that was made survives the
end of this program, of fabricd and of switches, until `vfab up` or `down`.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from daemons import port_keys
from daemons.client import Client
from daemons.errors import UserError
from daemons.known import KnownLab, choose, desired
from daemons.lab.mistake import did_you_mean, listed, quoted
from netvirt.addr import mac_bytes, mac_text

__all__ = ["Lab", "Port", "UserError"]
_SECONDS = 30.0
_STATION_KEYS = ("vid", "port", "mac")  # by which one can ask


class Lab:
    """A lab by its name, its id or its file; nothing said: the only one that runs. UserError if there is none."""

    def __init__(self, name: str | KnownLab | None = None) -> None:
        self.known = name if isinstance(name, KnownLab) else choose(name)
        self._control = Client(self.known.paths.control("fabricd"), timeout=_SECONDS)
        self._switches: dict[str, Client] = {}

    def close(self) -> None:
        for client in (self._control, *self._switches.values()):
            client.close()
        self._switches.clear()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --- what is so

    def status(self) -> dict[str, Any]:
        """What `vfab status --json` prints; `changed`: what differs from the lab file."""
        value: dict[str, Any] = self._control.call("status")
        return value

    @property
    def vlans(self) -> dict[str, int]:
        """Names of VLANs and their IDs."""
        return {name: int(vid) for config in self.configs().values() for vid, name in config.get("vlans", {}).items()}

    def configs(self) -> dict[str, dict[str, Any]]:
        """Every switch's whole configuration, as it was set last."""
        return self.configs_of(self.known)

    @staticmethod
    def configs_of(lab: KnownLab) -> dict[str, dict[str, Any]]:
        """The same without asking anybody: of a lab that may have stopped running. Raises UserError."""
        return {name: want.config for name, want in desired(lab).items() if want.kind == "switchd"}

    def stations(self, switch: str, **only: Any) -> list[dict[str, Any]]:
        """The stations that a switch knows: {vid, mac, port, age_s, kind}; only those with this vid, port or mac."""
        for key in only:
            if key not in _STATION_KEYS:
                raise UserError(f"stations have no {quoted(key)}; {_near(key, _STATION_KEYS)}")
        rows: dict[tuple[int, str], dict[str, Any]] = {}
        place: int | None = 0
        while place is not None:
            answer = self._switch(switch).call("fdb", place=place, **only)
            rows |= {(row["vid"], row["mac"]): row for row in answer["stations"]}
            place = answer["next"]
        return [rows[key] for key in sorted(rows)]

    def _switch(self, name: str) -> Client:
        if name not in self._switches:
            switches = self.configs()
            if name not in switches:
                raise UserError(f"there is no switch {quoted(name)}; {_near(name, switches)}")
            self._switches[name] = Client(self.known.paths.control(name), timeout=_SECONDS)
        return self._switches[name]

    # --- changes

    def set_pool(self, pool: str, **settings: int) -> dict[str, Any]:
        """repair_rate: bytes/s that jobs of a pool may deal with, 0 = no limit. Returns what change() does."""
        value: dict[str, Any] = self._control.call("change", pools={pool: settings})
        return value

    def change(self, switches: dict[str, dict[str, Any]], dry_run: bool = False) -> dict[str, Any]:
        """Several changes at once, all or nothing: {switch: wish}, with wishes as in daemons.changes.

        A port that was shut (on-limit) works again if its settings change, or if `state: forwarding` is said.
        Returns {changes: [{node, port, what, before, after, text}], waiting: {switch that is not up: why}}.
        """
        value: dict[str, Any] = self._control.call("change", switches=switches, dry_run=dry_run)
        for switch, wish in switches.items():
            ports = [name for name, keys in wish.get("ports", {}).items() if keys.get("state") == "forwarding"]
            if ports and switch not in value["waiting"]:
                value["changes"] += self._recovered(switch, ports, dry_run)
        return value

    def _recovered(self, switch: str, ports: list[str], dry_run: bool) -> list[dict[str, Any]]:
        """It is not in the configuration whether a port is shut, so only the switch can tell."""
        try:
            shut = self._switch(switch).call("recover", ports=ports, dry_run=dry_run)
        except UserError:  # it is not up, and a switch that comes up has no port shut
            return []
        row = {"node": switch, "what": "state", "before": "shut", "after": "forwarding"}
        return [{**row, "port": port, "text": f"{switch}:{port} state: shut -> forwarding"} for port in shut]

    def port(self, where: str) -> Port:
        """`s1:eth3`."""
        switch, name, config = self._place(where)
        ports = [row["name"] for row in config["ports"]]
        if name not in ports:
            raise UserError(f"{switch} has no port {quoted(name)}; {_near(name, ports)}")
        return Port(self, switch, name)

    def _place(self, where: str) -> tuple[str, str, dict[str, Any]]:
        """(switch, port, the switch's configuration); whether there is such a port is another question."""
        switch, colon, name = where.partition(":")
        if not (switch and colon and name):
            raise UserError(f"{quoted(where)} is no port; write SWITCH:PORT, such as s1:eth3")
        switches = self.configs()
        if switch not in switches:
            raise UserError(f"there is no switch {quoted(switch)}; {_near(switch, switches)}")
        return switch, name, switches[switch]

    def port_add(self, where: str, dry_run: bool = False, **keys: object) -> dict[str, Any]:
        """A new port: port_add("s1:pod1", access=10, tap="listen"). Returns what change() does.

        Keys are those of a port in a lab file, _ for -; a plug that has keys of its own is a dict: udp={"listen": ...,
        "connect": ...}. Without a plug it waits for a NIC, as every free port does. `vfab up` takes it away again.
        """
        from daemons.added_ports import row

        switch, name, config = self._place(where)
        given = {key.replace("_", "-"): value for key, value in keys.items()}
        return self.change({switch: {"ports_added": {name: row(self.known, switch, name, given, config)}}}, dry_run)

    def port_remove(self, where: str, dry_run: bool = False) -> dict[str, Any]:
        """Takes away a port that is at no cable of the lab file; what is plugged in there is cut off."""
        port = self.port(where)
        return self.change({port.switch: {"ports_removed": [port.name]}}, dry_run)

    def vlan_add(
        self, vid: int, name: str | None = None, *, tagged: Iterable[str] = (), untagged: Iterable[str] = (),
        dry_run: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """A VLAN for the whole lab (its name) and for some ports.

        tagged: trunks that let it pass now, too. untagged: access ports that move into it, trunks whose native VLAN it
        becomes.
        """
        wishes: dict[str, dict[str, Any]] = {}
        if name is not None:
            wishes = {switch: {"vlans": {str(vid): name}} for switch in self.configs()}
        for port in (self.port(where) for where in tagged):
            port.wish(wishes)["allowed"] = f"+{vid}"
        for port in (self.port(where) for where in untagged):
            port.wish(wishes)["pvid"] = vid
        return self.change(wishes, dry_run) if wishes else {"changes": [], "waiting": {}, "dry_run": dry_run}

    def vlan_remove(self, vid: int, ports: Iterable[str] | None = None, *, dry_run: bool = False) -> dict[str, Any]:
        """A VLAN from some trunks; without any from all of them, and its name with it.

        An access port of this VLAN is a UserError: where it belongs then is for you to say.
        """
        wishes: dict[str, dict[str, Any]] = {}
        if ports is not None:
            for port in (self.port(where) for where in ports):
                port.wish(wishes)["allowed"] = f"-{vid}"
        else:
            wishes = self._without(vid)
        return self.change(wishes, dry_run) if wishes else {"changes": [], "waiting": {}, "dry_run": dry_run}

    def _without(self, vid: int) -> dict[str, dict[str, Any]]:
        from netvirt.modes import MODES
        from netvirt.settings import PortSettings

        wishes: dict[str, dict[str, Any]] = {}
        for switch, config in self.configs().items():
            if str(vid) in config.get("vlans", {}):
                wishes.setdefault(switch, {})["vlans"] = {str(vid): None}
            for row in config["ports"]:
                port = PortSettings.from_json(row)
                if not MODES[port.mode].trunk and port.pvid == vid:
                    raise UserError(
                        f"{switch}:{row['name']} is in VLAN {vid}; move it first, with: "
                        f"vfab port set {switch}:{row['name']} pvid=VLAN"
                    )
                if MODES[port.mode].trunk and vid in port.allowed | {port.pvid}:
                    Port(self, switch, row["name"]).wish(wishes)["allowed"] = f"-{vid}"
        return wishes

    def station_add(self, switch: str, mac: str, vid: int, port: str) -> dict[str, Any]:
        """A static station: it is there, whatever is heard of it."""
        return self.change({switch: {"static": {"add": [{"vid": vid, "mac": _mac(mac), "port": port}]}}})

    def station_remove(self, switch: str, mac: str, vid: int) -> dict[str, Any]:
        return self.change({switch: {"static": {"remove": [{"vid": vid, "mac": _mac(mac)}]}}})

    def flush(self, switch: str, port: str | None = None, vid: int | None = None, sticky: bool = False) -> int:
        """Forget what a switch has learned, of a port, a VLAN, or all; returns how many stations that were."""
        return int(self._switch(switch).call("flush", port=port, vid=vid, sticky=sticky))


class Port:
    """A port of a switch in a running lab."""

    def __init__(self, lab: Lab, switch: str, name: str) -> None:
        self._lab = lab
        self.switch = switch
        self.name = name

    def __str__(self) -> str:
        return f"{self.switch}:{self.name}"

    @property
    def settings(self) -> dict[str, Any]:
        """As netvirt.settings.PortSettings.to_json() has them."""
        from netvirt.settings import PortSettings

        rows = self._lab.configs()[self.switch]["ports"]
        return PortSettings.from_json(next(row for row in rows if row["name"] == self.name)).to_json()

    def set(self, dry_run: bool = False, **settings: object) -> dict[str, Any]:
        """Change settings; the others stay: set(mode="trunk", allowed={10, 20}, native=1), set(access="office").

        Keys are those of lab files with _ for -, and mode, pvid, allowed ("+30" and "-30" add and take away).
        """
        given = {key.replace("_", "-"): port_keys.text(value) for key, value in settings.items()}
        wishes = {self.switch: {"ports": {self.name: port_keys.wish(given, self._lab.vlans)}}}
        return self._lab.change(wishes, dry_run)

    def wish(self, wishes: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """This port's part of some wishes, made if need be."""
        part: dict[str, Any] = wishes.setdefault(self.switch, {}).setdefault("ports", {}).setdefault(self.name, {})
        return part


def _mac(text: str) -> str:
    try:
        return mac_text(mac_bytes(text))
    except ValueError as error:
        raise UserError(str(error)) from None


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return did_you_mean(name, names, f"there are {listed(names)}" if names else "there is none")
