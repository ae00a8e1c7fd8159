"""ZeroMQ sockets as links need them: one context per process, bounded, with heartbeats.

Knows: libzmq's options and monitor events. Refuses to know: what a message says.
"""

from __future__ import annotations

import os
import resource
import struct
from typing import Any

import zmq

from netvirt.burst import MAX_MESSAGE
from netvirt.ports.curve import ZAP_DOMAIN, secret_key
from netvirt.ports.endpoint import Endpoint
from netvirt.ports.errors import PortError

# libzmq's own thread asks every 5 s and cuts a silent peer off after 15 s: no timer of ours, no wake-up of Python.
HEARTBEAT_MS = 5000
HEARTBEAT_TIMEOUT_MS = 15000
# Credits (netvirt.link) bound what is on its way to a few thousand messages; the marks only catch who ignores them.
SEND_MARK = 16384
RECEIVE_MARK = 256
CONNECTED = zmq.Event.HANDSHAKE_SUCCEEDED
DISCONNECTED = zmq.Event.DISCONNECTED
# After these libzmq never dials again (session_base_t::engine_error ends the session); after all others it does.
TURNED_AWAY = zmq.Event.HANDSHAKE_FAILED_AUTH | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
REFUSED = TURNED_AWAY | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL

_context: tuple[int, zmq.Context[Any]] | None = None


def context() -> zmq.Context[Any]:
    """This process's context. A forked child gets its own: libzmq's threads do not survive a fork."""
    global _context
    if _context is None or _context[0] != os.getpid():
        # libzmq aborts the process when accept() meets EMFILE: as many descriptors as we may have.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        fresh: zmq.Context[Any] = zmq.Context()
        fresh.set(zmq.MAX_SOCKETS, 16384)
        _context = (os.getpid(), fresh)
    return _context[1]


def _bounded(socket: zmq.Socket[bytes]) -> None:
    socket.linger = 0  # an orderly end is BYE and GONE; what is left after that has no reader
    socket.set(zmq.MAXMSGSIZE, MAX_MESSAGE)
    socket.set(zmq.SNDHWM, SEND_MARK)
    socket.set(zmq.RCVHWM, RECEIVE_MARK)
    socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.set(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.set(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)


def dialling_socket(endpoint: Endpoint, key_file: str | None) -> zmq.Socket[bytes]:
    """A DEALER for one connection, not yet connected. Raises PortError (TCP without keys)."""
    socket: zmq.Socket[bytes] = context().socket(zmq.DEALER)
    _bounded(socket)
    socket.set(zmq.IMMEDIATE, 1)  # nothing is kept for a connection that is not there: no stale frames after a restart
    socket.set(zmq.RECONNECT_IVL, 50)
    socket.set(zmq.RECONNECT_IVL_MAX, 1000)
    if endpoint.transport == "tcp":
        if endpoint.key is None or key_file is None:
            socket.close()
            raise PortError(
                f"{endpoint.url} is TCP and needs CURVE: the server's key (?key=) and a key file of our own"
            )
        public, secret = secret_key(key_file)
        socket.curve_serverkey = endpoint.key.encode()
        socket.curve_publickey = public.encode()
        socket.curve_secretkey = secret.encode()
    return socket


def listening_socket(endpoint: Endpoint, key_file: str | None) -> zmq.Socket[bytes]:
    """A ROUTER for many connections, bound. Raises PortError (TCP without a key, or the address is taken)."""
    socket: zmq.Socket[bytes] = context().socket(zmq.ROUTER)
    _bounded(socket)
    socket.set(zmq.ROUTER_MANDATORY, 1)  # a message for somebody who left is an error to count, not silence
    socket.set(zmq.BACKLOG, 1024)
    try:
        if endpoint.transport == "tcp":
            if key_file is None:
                raise PortError(f"{endpoint.url} is TCP and needs CURVE: a key file of our own")
            public, secret = secret_key(key_file)
            socket.curve_server = True
            socket.curve_publickey = public.encode()
            socket.curve_secretkey = secret.encode()
            socket.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        socket.bind(endpoint.url)
    except zmq.ZMQError as error:
        socket.close()
        raise PortError(f"can't listen on {endpoint.url}: {zmq.strerror(error.errno or 0)}") from None
    except PortError:
        socket.close()
        raise
    return socket


def monitor_events(monitor: zmq.Socket[bytes]) -> list[int]:
    """The events waiting on a monitor socket, oldest first (zmq_socket_monitor(3): u16 event, u32 value, native)."""
    events: list[int] = []
    while True:
        try:
            parts = monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return events
        events.append(struct.unpack_from("=H", parts[0])[0])
