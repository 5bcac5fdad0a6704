"""Iterating an object of another process, in chunks.

The owner keeps the iterator, as an object that exists for one client; the client asks it for chunks
that grow, so that ten thousand items take a handful of calls and the first ones come at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import monotonic
from typing import Any, Final, NoReturn

from ._calls import Owner
from ._members import FIRST_METHOD, Members, Plain

_FIRST_CHUNK: Final = 16
_GROWTH: Final = 4
_LARGEST_CHUNK: Final = 4096
#: Seconds after which the owner sends what it has, so that a slow iterator is not waited for.
_HURRY: Final = 0.01

#: The spec of a `Source`, as it would be described.
_TAKE: Final = ("take", (("count", 0, None, "int"), ("start", 0, None, "int")), None, None)
_PLAIN: Plain = (__name__, "Source", None, ((__name__, "Source"),), (_TAKE,), (), (), True, ())
MEMBERS: Final = Members(_PLAIN)


class Source:
    """The owner's side: an iterator that is taken from in chunks.

    A client that was interrupted, or whose deadline passed, may have missed the latest chunk. It
    asks for it again, so the latest is kept until the next one is asked for.
    """

    __slots__ = ("_chunk", "_items")

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        #: The number of the chunk's first item, the chunk, and whether more may follow it.
        self._chunk: tuple[int, list[Any], bool] = (0, [], True)

    def take(self, count: int, start: int) -> tuple[list[Any], bool]:
        """Return up to `count` items from the one numbered `start` on, and whether more may follow.

        Args:
            start: how many items the client got so far.

        Raises:
            BaseException: whatever the iterator raised in place of the item numbered `start`.
        """
        first, taken, more = self._chunk
        if start == first + len(taken) and more:
            taken, more = self._take(count)
            self._chunk = (start, taken, more)
        return taken, more

    def _take(self, count: int) -> tuple[list[Any], bool]:
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
            # The items first; the exception is what the next call meets, and every one after it.
            if type(self._items) is not _Raising:
                self._items = _Raising(error)
            if not taken:
                raise
        return taken, True


class _Raising:
    """An iterator that raises an exception instead of every item."""

    def __init__(self, error: BaseException) -> None:
        self._error, self._traceback = error, error.__traceback__

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> NoReturn:
        raise self._error.with_traceback(self._traceback)


class Stream:
    """The client's side: an iterator over what the owner's iterator gives."""

    __slots__ = ("_count", "_number", "_owner", "_place")

    def __init__(self, owner: Owner, number: int) -> None:
        self._owner = owner
        self._number = number
        self._count = _FIRST_CHUNK
        #: What is left of the chunk, the number of the item after it, and whether there may be one;
        #: all in one, as they change in one.
        self._place: tuple[Iterator[Any], int, bool] = (iter(()), 0, True)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        while True:
            chunk, start, more = self._place
            for item in chunk:
                return item
            if not more:
                raise StopIteration
            args = (self._count, start)
            taken, more = self._owner.call(self._number, _PLAIN, FIRST_METHOD, args, None)
            self._place = (iter(taken), start + len(taken), more)
            self._count = min(self._count * _GROWTH, _LARGEST_CHUNK)

    def __del__(self) -> None:
        self._owner.dropped.append(self._number)
