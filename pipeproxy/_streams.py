"""Iterating an object of another process, in chunks.

The owner keeps the iterator, as an object that exists for one client; the client asks it for chunks
that grow, so that ten thousand items take a handful of calls and the first ones come at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import monotonic
from typing import Any, Final

from ._calls import Owner
from ._members import FIRST_METHOD, Members, Plain

_FIRST_CHUNK: Final = 16
_GROWTH: Final = 4
_LARGEST_CHUNK: Final = 4096
#: Seconds after which the owner sends what it has, so that a slow iterator is not waited for.
_HURRY: Final = 0.01

#: The spec of a `Source`, as it would be described.
_TAKE: Final = ("take", (("count", 0, None, "int"),), None, None)
_PLAIN: Plain = (__name__, "Source", None, ((__name__, "Source"),), (_TAKE,), (), (), True, ())
MEMBERS: Final = Members(_PLAIN)


class Source:
    """The owner's side: an iterator that is taken from in chunks."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def take(self, count: int) -> tuple[list[Any], bool]:
        """Return up to `count` further items, and whether there may be more.

        Raises:
            BaseException: whatever the iterator raised, if it had given no item before that.
        """
        taken: list[Any] = []
        until = monotonic() + _HURRY
        try:
            for item in islice(self._items, count):
                taken.append(item)
                if monotonic() > until:
                    break
            else:
                return taken, len(taken) == count
        except BaseException as error:
            if not taken:
                raise
            # The items first; the exception is what the next call meets.
            self._items = _raising(error)
        return taken, True


def _raising(error: BaseException) -> Iterator[Any]:
    raise error
    yield


class Stream:
    """The client's side: an iterator over what the owner's iterator gives."""

    __slots__ = ("_chunk", "_count", "_more", "_number", "_owner")

    def __init__(self, owner: Owner, number: int) -> None:
        self._owner = owner
        self._number = number
        self._chunk: Iterator[Any] = iter(())
        self._count = _FIRST_CHUNK
        self._more = True

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        for item in self._chunk:
            return item
        while self._more:
            call = self._owner.call
            taken, self._more = call(self._number, _PLAIN, FIRST_METHOD, (self._count,), None)
            self._count = min(self._count * _GROWTH, _LARGEST_CHUNK)
            self._chunk = iter(taken)
            for item in self._chunk:
                return item
        raise StopIteration

    def __del__(self) -> None:
        self._owner.dropped.append(self._number)
