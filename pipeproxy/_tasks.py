"""Async methods: their calls run as tasks of the event loop that serves.

The loop waits for the listener's descriptor beside all others and takes a turn, which never waits,
when that is readable. A call of an async method is a task, and its channel is the task's until it
is done, as it would be a worker's (see `_workers`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from . import _deadline
from ._activities import Served, here
from ._callers import Caller, Errand
from ._workers import Reply
from .errors import CallLost, ListenerClosed

if TYPE_CHECKING:
    import asyncio


class Tasks:
    """The calls of async methods that are under way.

    Args:
        reply: returns the reply for what a function returns or raises, as the result of an errand.
        finish: sends it.

    Attributes:
        loop: the event loop that serves; None if none does.
        ended: its future, done when it need not serve any more.
    """

    def __init__(
        self,
        reply: Callable[[Caller, Errand, Callable[[], Any]], Reply],
        finish: Callable[[Caller, Reply], None],
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ended: asyncio.Future[None] | None = None
        self._reply, self._finish = reply, finish
        self._tasks: dict[Caller, asyncio.Task[Any]] = {}

    def check(self, value: Any, where: str) -> None:
        """Pass if what a method returned can be awaited here.

        Raises:
            RuntimeError: no event loop serves.
        """
        if self.loop is None:
            if iscoroutine(value):
                value.close()  # else Python warns that it was never awaited
            raise RuntimeError(
                f"{where} is async, and no event loop serves its owner's listener: "
                f"await listener.serve_async() there"
            )

    def start(self, caller: Caller) -> None:
        """Let a caller's errand run; from here on the channel is its task's."""
        errand = caller.errand
        assert errand is not None
        assert self.loop is not None
        caller.serving = True
        begin = partial(self.loop.create_task, _outcome(errand))
        task = self._tasks[caller] = _deadline.run(errand.deadline, begin)
        task.add_done_callback(partial(self._done, caller, errand))

    def _done(self, caller: Caller, errand: Errand, task: asyncio.Task[Any]) -> None:
        if self._tasks.pop(caller, None) is None:
            self._end_forked()
            return
        self._finish(caller, self._reply(caller, errand, partial(_result, task)))

    def _end_forked(self) -> None:
        if self.ended is not None and not self.ended.done():
            text = "a method forked this process; the listener is its parent's"
            self.ended.set_exception(ListenerClosed(text))

    def left(self, caller: Caller) -> None:
        """Cancel what runs for a channel, which is closed."""
        task = self._tasks.get(caller)
        if task is not None:
            task.cancel()
        elif caller.errand is not None and iscoroutine(caller.errand.awaitable):
            caller.errand.awaitable.close()  # it was not begun, by an interrupt

    def close(self) -> None:
        """End them all: the loop serves no more."""
        for task in list(self._tasks.values()):
            task.cancel()
        self.loop = self.ended = None

    def forked(self) -> None:
        """In a forked child: all that is the parent's, its loop too."""
        self.loop = None
        self._tasks = {}


async def _outcome(errand: Errand) -> tuple[Any, BaseException | None]:
    """Return what an errand's awaitable returns or raises; nothing of that ends the loop."""
    from asyncio import CancelledError

    assert errand.awaitable is not None
    try:
        return await _InTheNameOf(errand.served, errand.awaitable), None
    except CancelledError:
        raise
    except BaseException as error:
        return None, error


def _result(task: asyncio.Task[Any]) -> Any:
    if task.cancelled():
        raise CallLost("the task of this call was cancelled in its owner; it may have begun")
    value, error = task.result()
    if error is not None:
        raise error
    return value


class _InTheNameOf:
    """An awaitable whose every step is noted in `here` as served for somebody."""

    def __init__(self, served: Served, awaitable: Awaitable[Any]) -> None:
        self._served = served
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._awaitable.__await__()
        step: Callable[[], Any] = partial(next, steps)
        while True:
            outer, here.serves = here.serves, self._served
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            finally:
                here.serves = outer
            try:
                sent = yield waits_for
            except BaseException as error:
                step = partial(_throw, steps, error)
            else:
                step = partial(next, steps) if sent is None else partial(_send, steps, sent)


def _throw(steps: Any, error: BaseException) -> Any:
    throw = getattr(steps, "throw", None)
    if throw is None or isinstance(error, GeneratorExit):
        close = getattr(steps, "close", None)
        if close is not None:
            close()
        raise error
    return throw(error)


def _send(steps: Any, value: Any) -> Any:
    return steps.send(value)
