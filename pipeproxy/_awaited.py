"""Calls that tasks of an event loop await.

The courier receives the answers; it wakes a loop once for all of them that have come together.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, Generic, TypeVar

from ._promises import Promise

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
