"""Slots: values in shared memory, each written by one process and read by any, without a lock.

A slot is 256 bytes, in the byte order of the machine:

    version    u64   odd while the slot is written; it only grows, whatever the slot is used for
    key        u64   what the value is of; 0 where it is of nothing
    size       u32   bytes of the value; `_ASK` where it is not here and has to be asked for
    checksum   u32   of all that is above and of the value
    value

This is a sequence lock. The version is one aligned word, loaded and stored as a whole. The writer
makes it odd, writes the rest and makes it even. A reader copies the rest between two looks at the
version: that they are even and equal means that nobody wrote meanwhile. It is certain where the
processor keeps loads in order, and stores, as x86 does. Python has no barriers for those that do
not, such as ARM: there the checksum, in which the version is, tells what was put together from two
writes.

A slot that was left in the middle of a write, as a signal handler raised or the process died, is
odd until it is written again. A reader that sees nothing else asks instead.
"""

from __future__ import annotations

from binascii import crc32
from struct import Struct
from typing import Any, Final

SIZE: Final = 256
#: How many there are in one memory, and the bytes of all.
COUNT: Final = 1024
TOTAL: Final = SIZE * COUNT

_WORD: Final = 8
_rest = Struct("=QII")
_checked = Struct("=QQI")
#: The largest value that a slot has room for, in bytes.
ROOM: Final = SIZE - _WORD - _rest.size

_ASK: Final = 0xFFFF_FFFF
#: Looks at a slot before a reader takes it that it will not become even.
_PATIENCE: Final = 100


class Slot:
    """One slot, at either end.

    Args:
        memory: all of them.
        place: its number there.

    Attributes:
        word: ``word[()]`` is the version, in one load.
    """

    __slots__ = ("_body", "word")

    def __init__(self, memory: memoryview, place: int) -> None:
        start = place * SIZE
        self.word: Any = memory[start : start + _WORD].cast("Q", ())
        self._body: Any = memory[start + _WORD : start + SIZE]

    def write(self, key: int, value: bytes | None) -> None:
        """Write a value, of at most `ROOM` bytes, or that it has to be asked for."""
        odd = self.word[()] | 1  # it is that already if a write was left in the middle
        if value is None:
            body = _rest.pack(key, _ASK, 0)
        else:
            body = _rest.pack(key, len(value), _checksum(odd + 1, key, value)) + value
        self.word[()] = odd
        self._body[: len(body)] = body
        self.word[()] = odd + 1

    def read(self, key: int) -> tuple[int, bytes | None] | None:
        """Return the version and the value; for the value None where it has to be asked for.

        None is returned where the slot is of something else, or is not to be read.
        """
        for _ in range(_PATIENCE):
            version = self.word[()]
            body = bytes(self._body)
            if version & 1 or self.word[()] != version:
                continue
            found, size, checksum = _rest.unpack_from(body)
            if size == _ASK or found != key:
                return (version, None) if found == key else None
            value = body[_rest.size : _rest.size + size]
            if _checksum(version, key, value) == checksum:
                return version, value
        return None


def key_of(number: int, index: int) -> int:
    """Return the key of an attribute of an object, by their numbers; no other ever has it."""
    return number << 16 | index


def find(memory: memoryview, key: int) -> int | None:
    """Return the place of the slot of a key; what is there has still to be read to be certain."""
    keys = memory.cast("Q")[1 :: SIZE // _WORD].tolist()
    return keys.index(key) if key in keys else None


def _checksum(version: int, key: int, value: bytes) -> int:
    return crc32(value, crc32(_checked.pack(version, key, len(value))))
