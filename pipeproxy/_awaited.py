"""Calls that tasks of an event loop await.

The courier receives the answers; it wakes a loop once for all of them that have come together.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Generic, ParamSpec, TypeVar, overload

from ._promises import Promise
from ._verbs import begin

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Awaited(Promise, Generic[T]):
    """The outcome of a call that a task waits for.

    Args:
        loop: the one that runs the task.
    """

    waits = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sent = False
        self._loop = loop
        self._future: asyncio.Future[T] = loop.create_future()
        self._due = _mine.due_in(loop)

    async def outcome(self) -> T:
        """Wait for it; if this is cancelled, the call is given up."""
        try:
            return await self._future
        except asyncio.CancelledError:
            self.give_up()
            raise

    def is_wanted(self) -> bool:
        """Return whether the task still waits."""
        return not self._future.cancelled()

    def keep(self, value: T) -> None:
        """Let it be what the task gets."""
        self._tell(value, None)

    def refuse(self, error: BaseException) -> None:
        """Let it be raised in the task."""
        if isinstance(error, StopIteration):  # which no future may raise
            cause, error = error, RuntimeError("the method raised StopIteration")
            error.__cause__ = cause
        self._tell(None, error)

    def forked(self) -> None:
        """In a forked child: the loop is the parent's, who gets the answer."""

    def _tell(self, value: Any, error: BaseException | None) -> None:
        due = self._due
        due.append((self._future, value, error))
        if len(due) == 1:  # else it is about to look, and finds this as well
            try:
                self._loop.call_soon_threadsafe(_tell_all, due)
            except RuntimeError:
                pass  # the loop is closed, and nobody waits


_Due = deque[tuple["asyncio.Future[Any]", Any, "BaseException | None"]]


class _Mine(threading.local):
    """What the latest loop of this thread is to be told."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.due: _Due = deque()

    def due_in(self, loop: asyncio.AbstractEventLoop) -> _Due:
        """Return what that loop, which runs here, is to be told."""
        if self.loop is not loop:
            self.loop, self.due = loop, deque()
        return self.due


_mine = _Mine()


def _tell_all(due: _Due) -> None:
    while due:
        future, value, error = due.popleft()
        if future.done():
            continue  # its task was cancelled
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


@overload
def aio(method: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


@overload
def aio(method: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


def aio(method: Callable[..., Any], /) -> Callable[..., Any]:
    """Return a method of a proxy as an async function, to be called and awaited.

    It takes no thread for each call. The call begins when it is awaited, or made a task of; calls
    of one thread begin in their order. If the task is cancelled the call is given up, see
    `pipeproxy.cancelled`, and everything else goes on. In the owner's own process the method is
    called in the task.

    Args:
        method: of a proxy; it may be async itself.

    Raises:
        TypeError: when it is awaited: it is no method of a proxy, or got other arguments.
        BaseException: when it is awaited: as of a plain call.
    """

    async def call(*args: Any, **kwargs: Any) -> Any:
        promise: Awaited[Any] = Awaited(asyncio.get_running_loop())
        begin("aio", method, promise, args, kwargs)
        value = await promise.outcome()
        # Only from an object of this very process can one come.
        return await value if type(value) is CoroutineType else value

    return call
