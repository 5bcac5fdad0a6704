"""Iterating an object of another process, in chunks.

The owner keeps the iterator, as an object that exists for one client; the client asks it for chunks
that grow, so that ten thousand items take a handful of calls and the first ones come at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any, Final, NoReturn

from .._client._calls import Owner
from .._objects._subjects import Face
from .._specs._members import FIRST_METHOD, Members, Plain
from ..errors import Cancelled

_FIRST_CHUNK: Final = 1
_GROWTH: Final = 4
_LARGEST_CHUNK: Final = 4096
#: Seconds after which the owner sends what it has, so that a slow iterator is not waited for.
_HURRY: Final = 0.01

_ENDED_WITH_ITS_CALL: Final = (
    "a call that took from this stream was cut off, and with it ended the async generator of its "
    "owner's"
)

#: The spec of a `Source`, as it would be described.
_COUNTED: Final = (("count", 0, None, "int"), ("start", 0, None, "int"))
_THROWN: Final = (("error", 0, None, "BaseException"), ("start", 0, None, "int"))
_METHODS: Final = (
    ("take", _COUNTED, None, None),
    ("throw", _THROWN, None, None),
    ("close", (), None, None),
)
_NAMED: Final = __name__, "Source"
_PLAIN: Plain = (*_NAMED, None, (_NAMED,), _METHODS, (), (), True, (), (), ())
FACE: Final = Face(Members(_PLAIN))
ASYNC_FACE: Final = Face(Members(_PLAIN), is_async=True)
_TAKE, _THROW, _CLOSE = range(FIRST_METHOD, FIRST_METHOD + 3)

#: Items, and the return value in a tuple if these are the last; else None.
Chunk = tuple[list[Any], "tuple[Any] | None"]


class Source:
    """The owner's side: an iterator that is taken from in chunks.

    A client that was interrupted, or whose deadline passed, may have missed the latest chunk. It
    asks for it again, so the latest is kept until the next one is asked for.

    Attributes:
        items: the iterator itself.
    """

    __slots__ = ("_items", "_latest", "items")

    def __init__(self, items: Iterator[Any]) -> None:
        self.items = items
        #: What is taken from: the same, until it raised an exception.
        self._items = items
        #: The number of its first item, and the latest chunk; all in one, as they change in one.
        self._latest: tuple[int, Chunk] = (0, ([], None))

    def take(self, count: int, start: int) -> Chunk:
        """Return up to `count` items from the one numbered `start` on.

        Args:
            start: how many items the client got so far.

        Raises:
            RuntimeError: the client, or a process forked from it, got more already.
            BaseException: whatever the iterator raised in place of the item numbered `start`.
        """
        if self._goes_on_to(start):
            self._fill(count)
        return self._latest[1]

    def _goes_on_to(self, start: int) -> bool:
        """Begin a new chunk with this item; return False if it begins the latest."""
        first, (taken, end) = self._latest
        if start == first + len(taken) and end is None:
            # Known before it is filled: what an interrupt leaves of it is not lost.
            self._latest = start, ([], None)
            return True
        if start != first:
            raise RuntimeError("this stream is taken from by two processes: give each its own")
        return False

    def _fill(self, count: int) -> None:
        start, (taken, _) = self._latest
        until = monotonic() + _HURRY
        try:
            while len(taken) < count:
                taken.append(next(self._items))
                if monotonic() > until:
                    break
        except StopIteration as end:
            self._latest = start, (taken, (end.value,))
        except BaseException as error:
            # The items first; the exception is what the next call meets, and every one after it.
            if type(self._items) is not _Raising:
                self._items = _Raising(error)
            if not taken:
                raise

    def throw(self, error: BaseException, start: int) -> Chunk:
        """Raise an exception in the generator; return what it yields next, or how it ends.

        Raises:
            BaseException: whatever it raises in turn; `error` where it is no generator.
        """
        try:
            throw = getattr(self._items, "throw", None)
            if throw is None:
                raise error
            self._latest = start, ([throw(error)], None)
        except StopIteration as end:
            self._latest = start, ([], (end.value,))
        return self._latest[1]

    def close(self) -> None:
        """Close the iterator, if it is one that can be closed."""
        self._latest = self._latest[0], ([], (None,))
        close = getattr(self.items, "close", None)
        if close is not None:
            close()


class AsyncSource(Source):
    """The same for an async iterator, whose items the loop of its owner waits for.

    Calls of one client run at once, and one that was given up may still be under way when the next
    comes; here they take turns.
    """

    __slots__ = ("_turn",)

    def __init__(self, items: Iterator[Any]) -> None:
        from asyncio import Lock  # only who awaits needs it

        super().__init__(items)
        self._turn = Lock()

    async def take(self, count: int, start: int) -> Chunk:  # type: ignore[override]
        """As `Source.take`."""
        async with self._turn:
            if self._goes_on_to(start):
                await self._await(count)
            return self._latest[1]

    async def _await(self, count: int) -> None:
        start, (taken, _) = self._latest
        items: Any = self._items
        until = monotonic() + _HURRY
        try:
            while len(taken) < count:
                taken.append(await items.__anext__())
                if monotonic() > until:
                    break
        except StopAsyncIteration:
            self._latest = start, (taken, (None,))
        except Exception as error:
            if type(items) is not _Raising:
                self._items = _Raising(error)
            if not taken:
                raise
        except BaseException:  # this task is cancelled, as its channel was cut
            self._items = _Raising(Cancelled(_ENDED_WITH_ITS_CALL))
            raise

    async def throw(self, error: BaseException, start: int) -> Chunk:  # type: ignore[override]
        """As `Source.throw`."""
        async with self._turn:
            try:
                throw = getattr(self._items, "athrow", None)
                if throw is None:
                    raise error
                self._latest = start, ([await throw(error)], None)
            except StopAsyncIteration:
                self._latest = start, ([], (None,))
            return self._latest[1]

    async def close(self) -> None:  # type: ignore[override]
        """As `Source.close`."""
        async with self._turn:
            self._latest = self._latest[0], ([], (None,))
            close = getattr(self.items, "aclose", None)
            if close is not None:
                await close()


class _Raising:
    """An iterator that raises an exception instead of every item."""

    def __init__(self, error: BaseException) -> None:
        self._error, self._traceback = error, error.__traceback__

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> NoReturn:
        raise self._error.with_traceback(self._traceback)

    async def __anext__(self) -> NoReturn:
        raise self._error.with_traceback(self._traceback)


class Stream:
    """The client's side: an iterator over what the owner's iterator gives, sync or async.

    Items are computed in the owner as they are asked for, and ahead while they come fast. It ends
    as the iterator does, with what a generator returns as the value of StopIteration. It can be
    gone through by ``for`` and by ``async for``, whichever kind the owner's is.
    """

    __slots__ = ("__weakref__", "_count", "_number", "_owner", "_place", "_route")

    def __init__(self, owner: Owner, number: int, route: tuple[Any, ...]) -> None:
        self._owner = owner
        self._number = number
        self._route = route
        self._count = _FIRST_CHUNK
        #: What is left of the chunk, the number of the item after it, and its end, as in `Chunk`;
        #: all in one, as they change in one.
        self._place: tuple[Iterator[Any], int, tuple[Any] | None] = (iter(()), 0, None)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        while True:
            chunk, start, end = self._place
            for item in chunk:
                return item
            if end is not None:
                self._place = (iter(()), start, (None,))
                raise StopIteration(*end)
            self._fetch(start)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        from asyncio import to_thread  # only who awaits needs it

        while True:
            chunk, start, end = self._place
            for item in chunk:
                return item
            if end is not None:
                raise StopAsyncIteration
            await to_thread(self._fetch, start)

    def _fetch(self, start: int) -> None:
        count = self._count
        chunk = self._call(_TAKE, count, start)
        # What comes slowly is handed over one by one, so that nothing waits for the next.
        self._count = min(count * _GROWTH, _LARGEST_CHUNK) if len(chunk[0]) == count else 1
        self._put(chunk, start)

    def throw(self, error: BaseException, /) -> Any:
        """Raise an exception in the owner's generator, and return what it yields next.

        What it had computed ahead is lost.

        Raises:
            StopIteration: it ended.
            BaseException: whatever it raised in turn.
        """
        _, start, end = self._place
        self._place = (iter(()), start, end and (None,))
        self._put(self._call(_THROW, error, start), start)
        return next(self)

    def close(self) -> None:
        """Close the owner's generator: it gives no more items, here either.

        Dropping the stream does so too, with the next call of this process to the owner.
        """
        _, start, _ = self._place
        self._place = (iter(()), start, (None,))
        self._call(_CLOSE)

    def _put(self, chunk: Chunk, start: int) -> None:
        taken, end = chunk
        self._place = (iter(taken), start + len(taken), end)

    def _call(self, member: int, *args: Any) -> Any:
        return self._owner.call(self._number, _PLAIN, member, args, None)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream is taken from by one process: pass a list of its items instead")
