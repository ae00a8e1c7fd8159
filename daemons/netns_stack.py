"""One network namespace that we hold: made, changed step by step, let go.

Knows: how each item (netns_items) is made and taken away, and what the kernel says when it can't be. Refuses to know:
what is wanted (netns_hosts compares), who is plugged in where.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from daemons.netns_calls import inside, own_netns
from daemons.netns_items import Address, Item, Mac, Mtu, Nic, Route, Steps, Sysctl, Up, Vlan
from daemons.netns_users import Users
from daemons.netns_wire import Answer, add_vlan, address, delete_link, forget_neighbour, parse_answer, route, set_link
from netvirt.ports.errors import PortError
from netvirt.ports.linkwatch import parse, question
from netvirt.ports.tap import SPEED_MBIT
from netvirt.ports.tuntap import open_tap, set_carrier
from netvirt.ports.tuntap import set_link as set_speed

SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
LAST_GROUP: Final = 0x7FFF_FFFF  # include/net/ping.h: GID_T_MAX
_ENOUGH: Final = 1 << 16
_NO_VLANS: Final = "this kernel makes no VLAN interfaces; it needs its module 8021q (as root: modprobe 8021q)"
T = TypeVar("T")


class Namespace:
    """A network namespace with its lo up. `fd` stands for it. All that can't be done is a sentence in `problems`."""

    def __init__(self, users: Users) -> None:
        """Makes it. Raises OSError."""
        self.users = users
        self.taps: dict[str, int] = {}
        self._has: list[Item] = []
        self._wrong: dict[Item, str] = {}
        self._before: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self.fd, self._netlink = inside(None, self._make)

    @property
    def has(self) -> list[Item]:
        """What was made and not taken away again."""
        return list(self._has)

    @property
    def problems(self) -> list[str]:
        return list(self._wrong.values())

    def inside(self, work: Callable[[], T]) -> T:
        """What `work` returns when a thread of ours calls it in here: a socket that it makes is of this namespace."""
        return inside(self.fd, work)

    def change(self, steps: Steps) -> None:
        """Takes away, then makes; what fails is a problem, and is tried again by the next change."""
        self._wrong.clear()
        for item in steps.gone:
            self._has.remove(item)
            with contextlib.suppress(OSError):  # gone already is good as well: a program in there may be root
                self._undo(item)
        lost = {item.dev for item in steps.gone if isinstance(item, Nic | Vlan)}
        again = set(steps.new)
        self._has = [each for each in self._has if each not in again and getattr(each, "dev", "") not in lost]
        broken: set[str] = set()
        for item in steps.new:
            if getattr(item, "dev", "") in broken or getattr(item, "over", "") in broken:
                continue  # one sentence for an interface is enough
            try:
                self._do(item)
            except OSError as error:
                self._wrong[item] = _sentence(item, error)
                if isinstance(item, Nic | Vlan):
                    broken.add(item.dev)
            else:
                self._has.append(item)

    def forget_neighbour(self, dev: str, packed: bytes) -> None:
        """The kernel asks again whose MAC address that is, when it wants to know."""
        with contextlib.suppress(OSError):
            self._ask(forget_neighbour(self._number(dev), packed))

    def close(self) -> None:
        """Lets it go; programs that run in it keep it, without its NICs."""
        for fd in (*self.taps.values(), self.fd):
            os.close(fd)
        self.taps.clear()
        self.fd = -1  # the number is given out again, and who still asks for this host must not land elsewhere
        self._netlink.close()

    # --- making it

    def _make(self) -> tuple[int, socket.socket]:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            with contextlib.suppress(OSError):
                netlink.setsockopt(SOL_NETLINK, option, 1)
        netlink.setblocking(False)  # the kernel answers within send()
        for key, value in self._defaults():
            with contextlib.suppress(OSError):  # a kernel without IPv6, a /proc that may not be written to
                _write_sysctl(key, value)
        self._tell(netlink, set_link(1, up=True))  # lo is number 1 of every namespace
        return own_netns(), netlink

    def _defaults(self) -> Iterable[tuple[str, str]]:
        """What a host needs to be usable at once, and by everybody in it; the file's own sysctls come later."""
        yield "net.ipv4.ping_group_range", f"0 {min(self.users.ids - 1, LAST_GROUP)}"
        # Nobody else has these addresses, and a second's wait for that (RFC 4862 5.4) is long in a test.
        yield "net.ipv6.conf.all.accept_dad", "0"
        yield "net.ipv6.conf.default.accept_dad", "0"
        # Who knows the old MAC address is told the new one.
        yield "net.ipv4.conf.all.arp_notify", "1"
        yield "net.ipv6.conf.all.ndisc_notify", "1"
        # Or the first address of a network that goes takes all others with it.
        yield "net.ipv4.conf.all.promote_secondaries", "1"

    # --- items

    def _do(self, item: Item) -> None:
        match item:
            case Nic():
                self.taps[item.dev] = self.inside(lambda: _open(item.dev))
            case Vlan():
                self._ask(add_vlan(item.dev, self._number(item.over), item.vid, item.pcp))
            case Mac():
                self._ask(set_link(self._number(item.dev), mac=item.mac))
            case Mtu():
                self._ask(set_link(self._number(item.dev), mtu=item.mtu))
            case Up():
                self._ask(set_link(self._number(item.dev), up=True))
            case Sysctl():
                before = self.inside(lambda: _write_sysctl(item.key, item.value))
                self._before.setdefault(item.key, before)
            case Address():
                self._ask(address(self._number(item.dev), item.packed, item.prefix))
            case Route():
                number = self._number(item.dev) if item.dev else 0
                self._ask(route(item.to, item.prefix, item.via, number, item.metric))

    def _undo(self, item: Item) -> None:
        match item:
            case Nic():
                # The switch has the same TAP: it goes when both have closed it, and that may take a moment.
                os.close(self.taps.pop(item.dev))
                self._ask(delete_link(self._number(item.dev)))
            case Vlan():
                self._ask(delete_link(self._number(item.dev)))
            case Sysctl() if item.key in self._before:
                before = self._before.pop(item.key)
                self.inside(lambda: _write_sysctl(item.key, before))
            case Address():
                self._ask(address(self._number(item.dev), item.packed, item.prefix, delete=True))
            case Route():
                number = self._number(item.dev) if item.dev else 0
                self._ask(route(item.to, item.prefix, item.via, number, item.metric, delete=True))
            case _:
                pass  # Mac, Mtu, Up: what comes in their place overwrites them, or their interface goes

    def _number(self, dev: str) -> int:
        """The interface's index: asked each time, because programs in there may delete and make some. OSError."""
        self._netlink.send(question(dev))
        for message in parse(self._netlink.recv(_ENOUGH)):
            if message.name == dev and message.state is not None:
                return message.number
        raise OSError(errno.ENODEV, f"there is no interface {dev}")

    def _ask(self, message: bytes) -> None:
        self._tell(self._netlink, message)

    @staticmethod
    def _tell(netlink: socket.socket, message: bytes) -> None:
        """Raises OSError, with the kernel's words where it has some."""
        netlink.send(message)
        answer = parse_answer(netlink.recv(_ENOUGH)) or Answer(errno.EPROTO, "")
        if answer.error:
            raise OSError(answer.error, answer.words or os.strerror(answer.error))


def _open(name: str) -> int:
    """In its namespace: a TAP without a carrier, which comes with the plug. Raises OSError."""
    try:
        fd = open_tap(name)
    except BlockingIOError:
        raise PortError(f"{name} is in use in this namespace already") from None
    set_speed(name, 0, SPEED_MBIT, False)
    set_carrier(fd, False)
    return fd


def _write_sysctl(key: str, value: str) -> str:
    """In its namespace; returns what it was. As in sysctl(8) a dot of a name is a slash: net.ipv6.conf.eth0/7.mtu."""
    path = "/proc/sys/" + key.translate(str.maketrans("./", "/."))
    with open(path, "r+") as file:
        before = file.read().strip()
        file.seek(0)
        file.write(value)
    return before


def _sentence(item: Item, error: OSError) -> str:
    why = error.strerror or str(error)
    match item:
        case Nic():
            return str(error)
        case Vlan() if error.errno == errno.EOPNOTSUPP:
            return f"{item.dev} was not made: {_NO_VLANS}"
        case Vlan():
            return f"{item.dev} was not made: {why}"
        case Sysctl() if error.errno == errno.ENOENT:
            return f"there is no sysctl {item.key} in a network namespace of this kernel"
        case Sysctl():
            return f"the sysctl {item.key} can't be {item.value!r:.60}: {why}"
        case Address():
            return f"{item.dev} can't have the address {item.text}: {why}"
        case Route():
            return f"there is no route to {item.text}: {why}"
        case _:
            return f"{item.dev} was taken as it is: {why}"
