"""The plain way to serve a Block: every request in order, in Python. What compiled engines are held against.

Knows: what each command does to a Block and how it is answered. Refuses to know: sockets, what is behind the Block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from storvirt.block import Block, BlockError
from storvirt.nbd import edges
from storvirt.nbd.handshake import CONTEXT_ID
from storvirt.nbd.session import Request, Session
from storvirt.nbd.wire import STATE_HOLE, STATE_ZERO, Command, CommandFlag, Error, error_of

# Bytes of unsent replies with which nothing new is begun; one reply of 32 MiB may come on top.
OUTPUT_LIMIT: Final = 1 << 20
MOST: Final = 256  # requests in one go, so that other clients have their turn
# What an execution says when it stops: it needs more input (or has ended); call it again after the others' turn; it
# will call `kick` when it can go on, or has replies that came later.
HUNGRY: Final = 0
AGAIN: Final = 1
LATER: Final = 2
# Asking for extents costs more than sending this many zeros.
SPARSE_FROM: Final = 32768
# Of a BLOCK_STATUS; "the server MAY return less", and the client asks again from there.
MOST_EXTENTS: Final = 1024


def execute(session: Session, block: Block, limit: int = OUTPUT_LIMIT, most: int = MOST) -> int:
    """Executes what the session holds; the replies are in `session.output`.

    Returns HUNGRY when all was executed, AGAIN when it stopped before that: at `limit` bytes of unsent replies, or
    after `most` requests. Raises NbdError for junk; what came before it is executed and answered.
    """
    output = session.output
    for _ in range(most):
        if output.pending >= limit:
            return AGAIN
        request = session.take()
        if request is None:
            return HUNGRY
        answer(session, block, request)
    return AGAIN


def answer(session: Session, block: Block, request: Request) -> None:
    """Executes one request and puts its reply. A failing Block is answered with its errno and its sentence."""
    if request.type == Command.DISC:
        return
    output = session.output
    refusal = session.check(request)
    if refusal:
        output.error(request.cookie, refusal, _REFUSED[refusal])
        return
    mark = output.pending
    try:
        _ACTIONS[request.type](session, block, request)
    except BlockError as error:
        output.rewind(mark)
        output.error(request.cookie, error_of(error.errno), error.strerror or str(error))


def _read(session: Session, block: Block, request: Request) -> None:
    output = session.output
    offset, length = request.offset, request.length
    whole = not session.structured or request.flags & CommandFlag.DF
    if whole or length < SPARSE_FROM:
        output.data(request.cookie, offset, edges.read(block, offset, length))
        return
    for extent in edges.extents(block, offset, length):
        last = extent.offset + extent.length == offset + length
        if extent.data:
            data = edges.read(block, extent.offset, extent.length)
            output.chunk(request.cookie, extent.offset, data, last)
        else:
            output.hole(request.cookie, extent.offset, extent.length, last)


def _write(session: Session, block: Block, request: Request) -> None:
    assert request.payload is not None
    edges.write(block, request.offset, request.payload, _fua(request))
    session.output.done(request.cookie)


def _flush(session: Session, block: Block, request: Request) -> None:
    block.flush()
    session.output.done(request.cookie)


def _trim(session: Session, block: Block, request: Request) -> None:
    edges.trim(block, request.offset, request.length, _fua(request))
    session.output.done(request.cookie)


def _write_zeroes(session: Session, block: Block, request: Request) -> None:
    may_trim = not request.flags & CommandFlag.NO_HOLE
    edges.zero(block, request.offset, request.length, may_trim, _fua(request))
    session.output.done(request.cookie)


def _block_status(session: Session, block: Block, request: Request) -> None:
    most = 1 if request.flags & CommandFlag.REQ_ONE else MOST_EXTENTS
    found: list[tuple[int, int]] = []
    for extent in edges.extents(block, request.offset, request.length):
        found.append((extent.length, 0 if extent.data else STATE_HOLE | STATE_ZERO))
        if len(found) == most:
            break
    session.output.status(request.cookie, CONTEXT_ID, found)


def _fua(request: Request) -> bool:
    return bool(request.flags & CommandFlag.FUA)


_ACTIONS: Final[dict[int, Callable[[Session, Block, Request], None]]] = {
    Command.READ: _read,
    Command.WRITE: _write,
    Command.FLUSH: _flush,
    Command.TRIM: _trim,
    Command.WRITE_ZEROES: _write_zeroes,
    Command.BLOCK_STATUS: _block_status,
}
_REFUSED: Final[dict[int, str]] = {
    Error.EPERM: "this export is read-only",
    Error.EINVAL: "the export does not support this request, or it lies outside",
    Error.ENOSPC: "the request goes past the end of the export",
    Error.ENOTSUP: "there is no quicker way than writing zeros here",
}
