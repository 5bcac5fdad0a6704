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

from .._chains._activities import here, started_in
from .._proxies._verbs import begin
from ._promises import Promise

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
        return not self._future.done()

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
        self._due.news.append((self._future, value, error))
        self._due.be_told()


class _Due:
    """What a loop is to be told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.news: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._is_told = False  # and is about to look, so it finds all that comes until then

    def be_told(self) -> None:
        """Let the loop look; any thread may ask for it."""
        if self._is_told:
            return
        try:
            self._is_told = True
            self.loop.call_soon_threadsafe(self._look)
        except RuntimeError:
            self._is_told = False
            self.news.clear()  # the loop is closed, and nobody waits
        except BaseException:
            self._is_told = False
            raise

    def _look(self) -> None:
        self._is_told = False  # first: for what comes from here on it has to be told again
        try:
            while self.news:
                future, value, error = self.news.popleft()
                if future.done():
                    continue  # its task was cancelled
                if error is None:
                    future.set_result(value)
                else:
                    future.set_exception(error)
        finally:
            if self.news:  # a signal handler raised
                self.be_told()


class _Mine(threading.local):
    """What the latest loop of this thread is to be told."""

    def __init__(self) -> None:
        self.due: _Due | None = None

    def due_in(self, loop: asyncio.AbstractEventLoop) -> _Due:
        """Return what that loop, which runs here, is to be told."""
        if self.due is None or self.due.loop is not loop:
            self.due = _Due(loop)
        return self.due


_mine = _Mine()


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
        ongoing, outer = started_in.get(), here.serves
        try:
            if ongoing is not None and here.served is None:
                here.serves = ongoing.call()
            begin("aio", method, promise, args, kwargs)
        finally:
            here.serves = outer
        value = await promise.outcome()
        # Only from an object of this very process can one come.
        return await value if type(value) is CoroutineType else value

    return call
