"""A tiny write-ahead log on one member, correct and broken on purpose: what CrashDisk is tried on.

Knows: appending records, making them durable, finding them again. The broken ones each have one classic mistake.
"""

from __future__ import annotations

import struct
import zlib

from storvirt.backing.member import Member

HEAD = struct.Struct("<IIQ")  # length, crc32 of sequence number and payload, sequence number from 1
SIZE = 65_536


class Log:
    """Records one behind the other, from offset 0."""

    start = 0

    def __init__(self, member: Member) -> None:
        self.member = member
        self.end = self.start
        self.count = 0

    def append(self, payload: bytes) -> None:
        self.count += 1
        crc = zlib.crc32(struct.pack("<Q", self.count) + payload)
        record = HEAD.pack(len(payload), crc, self.count) + payload
        self.member.write(self.end, record)
        self.end += len(record)

    def flush(self) -> None:
        self.member.sync()

    @classmethod
    def recover(cls, member: Member) -> list[bytes]:
        found: list[bytes] = []
        place = cls.start
        while place + HEAD.size <= member.size:
            length, crc, sequence = HEAD.unpack(member.read(place, HEAD.size))
            payload = member.read(place + HEAD.size, length) if place + HEAD.size + length <= member.size else b""
            if sequence != len(found) + 1 or not cls.valid(crc, sequence, payload):
                break
            found.append(payload)
            place += HEAD.size + length
        return found

    @staticmethod
    def valid(crc: int, sequence: int, payload: bytes) -> bool:
        return crc == zlib.crc32(struct.pack("<Q", sequence) + payload)


class TrustsLengths(Log):
    """No checksum: a torn record counts."""

    @staticmethod
    def valid(crc: int, sequence: int, payload: bytes) -> bool:
        return True


class ForgetsSync(Log):
    """Flushed is only said."""

    def flush(self) -> None:
        pass


class KeepsBack(Log):
    """Gathers records in its own memory until it is flushed: right after a loss of power, wrong after kill -9."""

    def __init__(self, member: Member) -> None:
        super().__init__(member)
        self.waiting: list[bytes] = []

    def append(self, payload: bytes) -> None:
        self.waiting.append(payload)

    def flush(self) -> None:
        for payload in self.waiting:
            super().append(payload)
        self.waiting.clear()
        super().flush()


class CountsInPlace(Log):
    """A count at the front says how many records there are, and they are trusted: it may be durable before they are."""

    start = 512

    def append(self, payload: bytes) -> None:
        super().append(payload)
        self.member.write(0, struct.pack("<Q", self.count))

    @classmethod
    def recover(cls, member: Member) -> list[bytes]:
        (count,) = struct.unpack("<Q", member.read(0, 8))
        found: list[bytes] = []
        place = cls.start
        for _ in range(count):
            (length, _, _) = HEAD.unpack(member.read(place, HEAD.size))
            found.append(member.read(place + HEAD.size, length))
            place += HEAD.size + length
        return found


class OverwritesInPlace(Log):
    """One checksum over everything, written anew from the front with each record:
    what was durable is overwritten in place, and may be torn."""

    def __init__(self, member: Member) -> None:
        super().__init__(member)
        self.all = b""

    def append(self, payload: bytes) -> None:
        self.count += 1
        crc = zlib.crc32(struct.pack("<Q", self.count) + payload)
        self.all += HEAD.pack(len(payload), crc, self.count) + payload
        self.member.write(0, struct.pack("<II", len(self.all), zlib.crc32(self.all)) + self.all)

    @classmethod
    def recover(cls, member: Member) -> list[bytes]:
        length, crc = struct.unpack("<II", member.read(0, 8))
        everything = member.read(8, length)
        if zlib.crc32(everything) != crc:
            return []
        found = []
        while everything:
            size, _, _ = HEAD.unpack_from(everything)
            found.append(everything[HEAD.size : HEAD.size + size])
            everything = everything[HEAD.size + size :]
        return found


BROKEN: tuple[type[Log], ...] = (TrustsLengths, ForgetsSync, KeepsBack, CountsInPlace, OverwritesInPlace)
