"""CURVE keys and the ZAP handler: who may connect over TCP.

Knows: key files (`{"public": z85, "secret": z85}`, mode 0600) and which public keys are let in. CURVE without an
allow-list authenticates nobody (RFC 27/ZAP), so a server always has one.
Refuses to know: ports and VLANs; that a key may use *this* port is for the listener to say.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils import z85

from netvirt.ports import Loop
from netvirt.ports.endpoint import Z85
from netvirt.ports.errors import PortError

Z85_KEY = re.compile(Z85 + "{40}")
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"virtfab"


def is_key(text: str) -> bool:
    """Whether this can be a CURVE key in Z85 (RFC 32): 40 characters."""
    return Z85_KEY.fullmatch(text) is not None


def ensure_key(folder: str | os.PathLike[str], name: str) -> str:
    """The path of the key file `name`, made at the first call. The folder is made 0700, the file 0600."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, f"{name}.json")
    if os.path.exists(path):
        return path
    public, secret = (key.decode() for key in zmq.curve_keypair())
    fresh = f"{path}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"public": public, "secret": secret}, file)
    try:
        # link() and not rename(): when two processes make the same key, both use the first one's.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(fresh)
    return path


def read_key(path: str) -> tuple[str, str | None]:
    """(public, secret or None) of a key file. Raises PortError."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        public, secret = value["public"], value.get("secret")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PortError(f"the key file {path} can't be read ({error}); remove it to have a new one made") from None
    if not all(isinstance(key, str) and is_key(key) for key in (public, secret) if key is not None or key is public):
        raise PortError(f"the key file {path} holds no CURVE key; remove it to have a new one made")
    return public, secret


def public_key(path: str) -> str:
    """The public half of a key file, 40 characters of Z85."""
    return read_key(path)[0]


def secret_key(path: str) -> tuple[str, str]:
    """Both halves. Raises PortError when the file has the public one only."""
    public, secret = read_key(path)
    if secret is None:
        raise PortError(f"the key file {path} has no secret half; it is somebody else's key")
    return public, secret


class Gatekeeper:
    """Answers libzmq's question "may this key connect?" (ZAP, RFC 27) in our own loop, one per context.

    allowed: a function that gives the public keys that are let in now.
    """

    def __init__(self, loop: Loop, context: zmq.Context[Any], allowed: Callable[[], set[str]]) -> None:
        self._loop = loop
        self._allowed = allowed
        self.refused = 0
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(ZAP_ENDPOINT)
        loop.zmq(self._socket, self._readable)

    def _readable(self) -> None:
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            answer = self._answer(parts)
            if answer is not None:
                self._socket.send_multipart(answer, zmq.NOBLOCK)

    def _answer(self, parts: list[bytes]) -> list[bytes] | None:
        # identity, empty, version, request id, domain, address, routing id, mechanism, credentials...
        if len(parts) < 8 or parts[2] != b"1.0":
            return None
        key = z85.encode(parts[8]).decode() if parts[7] == b"CURVE" and len(parts) == 9 else ""
        welcome = bool(key) and key in self._allowed()
        self.refused += not welcome
        status, text = (b"200", b"OK") if welcome else (b"400", b"this key may not connect")
        return [*parts[:2], b"1.0", parts[3], status, text, key.encode() if welcome else b"", b""]

    def close(self) -> None:
        self._loop.zmq(self._socket, None)
        self._socket.unbind(ZAP_ENDPOINT)  # close() does so later, in another thread: the next one could not bind
        self._socket.close()
