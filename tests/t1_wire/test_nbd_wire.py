"""NBD's numbers: the structs against bytes written by hand, and the compiled copies against the table of names."""

from __future__ import annotations

import errno
import re

import pytest

from storvirt.nbd import wire
from tests.support.sources import ROOT

BYTES = {
    "4e42444d41474943 49484156454f5054 0003": wire.GREETING.pack(wire.NBDMAGIC, wire.IHAVEOPT, 3),
    "49484156454f5054 00000007 00000010": wire.OPTION.pack(wire.IHAVEOPT, wire.Option.GO, 16),
    "0003e889045565a9 00000003 00000002 00000008": wire.OPTION_REPLY.pack(
        wire.OPTION_REPLY_MAGIC, wire.Option.LIST, wire.Reply.SERVER, 8
    ),
    "0000000000100000 016d": wire.EXPORT_REPLY.pack(1 << 20, 0x16D),
    "0003 00000001 00001000 02000000": wire.INFO_BLOCK_SIZE.pack(wire.Info.BLOCK_SIZE, 1, 4096, wire.MAX_PAYLOAD),
    "25609513 0001 0001 0102030405060708 0000000000001000 00000200": wire.REQUEST.pack(
        wire.REQUEST_MAGIC, wire.CommandFlag.FUA, wire.Command.WRITE, 0x0102030405060708, 4096, 512
    ),
    "67446698 0000001c 0000000000000007": wire.SIMPLE_REPLY.pack(wire.SIMPLE_REPLY_MAGIC, wire.Error.ENOSPC, 7),
    "668e33ef 0001 8001 0000000000000007 00000006": wire.CHUNK.pack(
        wire.STRUCTURED_REPLY_MAGIC, wire.CHUNK_DONE, wire.Chunk.ERROR, 7, 6
    ),
}


@pytest.mark.parametrize(("text", "packed"), BYTES.items())
def test_structs_look_as_the_document_says(text: str, packed: bytes) -> None:
    assert packed == bytes.fromhex(text)


def compiled(path: str) -> dict[str, int]:
    text = (ROOT / path).read_text()
    return {name: int(value, 0) for name, value in re.findall(r"^    ([A-Z_]+) = (\w+)", text, re.M)}


def test_the_compiled_numbers_are_the_same() -> None:
    ours = compiled("storvirt/nbd/session.pxd")
    wanted = {
        "MAGIC_REQUEST": wire.REQUEST_MAGIC,
        "REQUEST_BYTES": wire.REQUEST.size,
        "LONGEST_PAYLOAD": wire.MAX_PAYLOAD,
        "COMMANDS": len(wire.Command),
        **{f"CMD_{command.name}": command.value for command in wire.Command},
        **{f"FLAG_{flag.name}": flag.value for flag in wire.CommandFlag},
    }
    assert {name: ours.get(name) for name in wanted} == wanted
    ours = compiled("storvirt/nbd/output.pxd")
    wanted = {
        "REPLY_SIMPLE": wire.SIMPLE_REPLY_MAGIC,
        "REPLY_STRUCTURED": wire.STRUCTURED_REPLY_MAGIC,
        "SIMPLE_BYTES": wire.SIMPLE_REPLY.size,
        "CHUNK_BYTES": wire.CHUNK.size,
        "CHUNK_LAST": wire.CHUNK_DONE,
        **{f"CHUNK_{chunk.name}": chunk.value for chunk in wire.Chunk if chunk.name != "ERROR_OFFSET"},
    }
    assert {name: ours.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EROFS, wire.Error.EPERM),
        (errno.EDQUOT, wire.Error.ENOSPC),
        (errno.EFBIG, wire.Error.ENOSPC),
        (errno.EIO, wire.Error.EIO),
        (errno.ENODEV, wire.Error.EIO),
        (errno.ESHUTDOWN, wire.Error.ESHUTDOWN),
        (None, wire.Error.EIO),
    ],
)
def test_errors_of_this_machine_become_the_protocols(number: int | None, error: wire.Error) -> None:
    assert wire.error_of(number) is error
