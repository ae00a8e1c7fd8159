"""CRC-32C against RFC 3720 appendix B.4 and a bit-by-bit reference, XOR against integers; every path there is here."""

from __future__ import annotations

import random
import sys
import threading

import pytest

from storvirt.raid import kernels

# RFC 3720 appendix B.4 writes the CRC's bytes in the order in which they are sent, the lowest first.
READ_10 = bytes.fromhex(
    "01c00000" + 3 * "00000000" + "14000000" + "00000400" + "00000014" + "00000018" + "28000000" + "00000000"
    "02000000" + "00000000"
)
KNOWN = {
    "32 zeros": (bytes(32), "aa36918a"),
    "32 ones": (b"\xff" * 32, "43aba862"),
    "32 incrementing": (bytes(range(32)), "4e79dd46"),
    "32 decrementing": (bytes(range(31, -1, -1)), "5cdb3f11"),
    "an iSCSI READ(10)": (READ_10, "563a96d9"),
    "nothing": (b"", "00000000"),
}
# Around 8 bytes, 256 folded ones, 3 x 128, 3 x 1360, and a whole block.
EDGES = sorted(
    {edge + step for edge in (384, 512, 768, 1024, 4080, 4096, 8160, 8192) for step in (-9, -8, -1, 0, 1, 8)}
)


def reference(crc: int, data: bytes) -> int:
    """A bit at a time: shift right, and take the reflected polynomial off when a one falls out."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.fixture(params=kernels.crc32c_paths())
def crc_path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=kernels.xor_paths())
def xor_path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name: str, crc_path: str) -> None:
    data, wanted = KNOWN[name]
    assert kernels.crc32c(0, data, crc_path).to_bytes(4, "little").hex() == wanted
    assert reference(0, data).to_bytes(4, "little").hex() == wanted


def test_every_length_and_seed_is_as_bit_by_bit(crc_path: str) -> None:
    chance = random.Random(3720)
    data = chance.randbytes(301)
    for length in range(301):
        seed = chance.choice((0, 0xFFFFFFFF, chance.getrandbits(32)))
        assert kernels.crc32c(seed, data[:length], crc_path) == reference(seed, data[:length]), length


def test_lengths_at_the_edges_of_the_streams_unaligned(crc_path: str) -> None:
    chance = random.Random(4)
    data = memoryview(chance.randbytes(9000))
    for length in EDGES:
        start, seed = chance.randrange(64), chance.getrandbits(32)
        piece = data[start : start + length]
        assert kernels.crc32c(seed, piece, crc_path) == reference(seed, bytes(piece)), (start, length)


def test_random_large_pieces_agree_in_all_paths_and_continue_each_other() -> None:
    chance = random.Random(5)
    data = memoryview(chance.randbytes(600_000))
    for _ in range(60):
        start, length, seed = chance.randrange(100), chance.randrange(len(data) - 100), chance.getrandbits(32)
        piece = data[start : start + length]
        answers = {kernels.crc32c(seed, piece, path) for path in kernels.crc32c_paths()}
        cut = chance.randrange(length + 1)
        answers.add(kernels.crc32c(kernels.crc32c(seed, piece[:cut]), piece[cut:]))
        assert len(answers) == 1, (start, length, seed)


def test_one_flipped_bit_is_always_noticed() -> None:
    block = bytearray(random.Random(6).randbytes(4096))
    right = kernels.crc32c(7, block)
    for bit in range(0, 8 * 4096, 61):
        block[bit >> 3] ^= 1 << (bit & 7)
        assert kernels.crc32c(7, block) != right
        block[bit >> 3] ^= 1 << (bit & 7)
    assert kernels.crc32c(7, block) == right


def test_the_fastest_path_is_the_one_that_is_taken() -> None:
    assert kernels.crc32c_path() == kernels.crc32c_paths()[-1]
    assert kernels.xor_path() == kernels.xor_paths()[-1]
    assert kernels.crc32c_paths()[0] == kernels.xor_paths()[0] == "generic"


def cpu_flags() -> set[str]:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        lines = [line for line in file if line.lower().startswith(("flags", "features"))]
    return set(lines[0].split(":")[1].split()) if lines else set()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/cpuinfo")
def test_what_the_processor_has_is_offered() -> None:
    flags = cpu_flags()
    assert ("sse4.2" in kernels.crc32c_paths()) == ("sse4_2" in flags)
    assert ("arm-crc" in kernels.crc32c_paths()) == ("crc32" in flags)
    folding = {"avx512f", "avx512bw", "avx512vl", "pclmulqdq", "vpclmulqdq"}
    assert ("avx512" in kernels.crc32c_paths()) == (folding <= flags)
    assert ("avx2" in kernels.xor_paths()) == ("avx2" in flags)
    assert ("avx512" in kernels.xor_paths()) == ("avx512f" in flags)


def test_a_path_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no path 'mmx'; it has generic"):
        kernels.crc32c(0, b"", "mmx")
    with pytest.raises(ValueError, match="no path 'mmx'; it has generic"):
        kernels.xor_into(bytearray(512), bytes(512), "mmx")


def as_integers(columns: list[bytes]) -> bytes:
    total = 0
    for column in columns:
        total ^= int.from_bytes(column, "little")
    return total.to_bytes(len(columns[0]), "little")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 16, 63])
def test_parity_is_the_xor_of_the_columns(count: int, xor_path: str) -> None:
    chance = random.Random(count)
    for size in (512, 1024, 1536, 11264, 65536):
        whole = [chance.randbytes(size + 64) for _ in range(count)]
        starts = [chance.randrange(64) for _ in range(count)]
        columns = [memoryview(data)[start : start + size] for data, start in zip(whole, starts, strict=True)]
        room = bytearray(b"\xee" * (size + 65))
        start = chance.randrange(1, 64)
        kernels.xor_parity(columns, memoryview(room)[start : start + size], xor_path)
        assert room[start : start + size] == as_integers([bytes(column) for column in columns])
        assert set(room[:start] + room[start + size :]) == {0xEE}


def test_xor_into_changes_dst_only_and_twice_is_nothing(xor_path: str) -> None:
    chance = random.Random(8)
    before, src = chance.randbytes(4096), chance.randbytes(4096)
    dst, kept = bytearray(before), bytes(bytearray(src))
    kernels.xor_into(dst, src, xor_path)
    assert (bytes(dst), src) == (as_integers([before, src]), kept)
    kernels.xor_into(dst, src, xor_path)
    assert dst == before
    kernels.xor_into(dst, dst, xor_path)
    assert dst == bytes(4096)


def test_an_empty_column_is_a_column(xor_path: str) -> None:
    kernels.xor_parity([b"", b""], bytearray(), xor_path)


@pytest.mark.parametrize(
    ("columns", "out", "sentence"),
    [
        ([], 512, "the XOR of 0 columns was asked for"),
        ([bytes(512)] * 256, 512, "the XOR of 256 columns was asked for"),
        ([bytes(512), bytes(1024)], 512, "column 1 has 1024 bytes, and 512 are to be filled"),
        ([bytes(100)], 100, "whole units of 512 bytes, not 100"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: list[bytes], out: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        kernels.xor_parity(columns, bytearray(out))


def test_out_must_be_writable_and_no_buffer_stays_held() -> None:
    with pytest.raises((TypeError, BufferError)):
        kernels.xor_parity([bytes(512)], bytes(512))
    column, out = bytearray(512), bytearray(512)
    with pytest.raises(TypeError):
        kernels.xor_parity([column, "text"], out)  # type: ignore[list-item]  # junk on purpose
    kernels.crc32c(0, column)
    column.clear()
    out.clear()


def test_many_threads_get_the_same_answers() -> None:
    data = random.Random(9).randbytes(1 << 20)
    wanted, wrong = kernels.crc32c(0, data), []

    def work() -> None:
        for _ in range(50):
            out = bytearray(len(data))
            kernels.xor_parity([data, out], out)
            if kernels.crc32c(0, out) != wanted:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
