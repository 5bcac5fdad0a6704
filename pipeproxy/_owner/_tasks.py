"""Async methods: their calls run as tasks of the event loop that serves.

The loop waits for the listener's descriptor beside all others and takes a turn, which never waits,
when that is readable. A call of an async method becomes a task there, and the channel that it came
on is read and served on: those that come on one channel run at once too, begun in the order in
which they came, and each is replied to when it is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from .._chains._activities import Ongoing, Served, here, started_in
from .._system import _deadline
from ..errors import CallLost, Cancelled, ListenerClosed
from ._caller import Caller, Errand, Reply

if TYPE_CHECKING:
    import asyncio


class Tasks:
    """The calls of async methods that are under way.

    Args:
        reply: returns the reply for what a function returns or raises, as the result of an errand.
        finish: sends it.
        resume: called with a caller that the thread that serves has to look after again.

    Attributes:
        loop: the event loop that serves; None if none does.
        ended: its future, done when it need not serve any more.
    """

    def __init__(
        self,
        reply: Callable[[Errand, Callable[[], Any]], Reply],
        finish: Callable[[Errand, Reply], None],
        resume: Callable[[Caller], object],
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ended: asyncio.Future[None] | None = None
        self._reply, self._finish, self._resume = reply, finish, resume
        self._tasks: dict[object, asyncio.Task[Any]] = {}
        self._forked = False

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

    def start(self, errand: Errand, awaitable: Awaitable[Any]) -> None:
        """Let what a call returned be awaited in a task of its own."""
        errand.served.call = errand
        errand.caller.tasks[errand.key] = errand
        done = partial(self._reply_to, errand)
        self.begin(errand, errand.served, errand.deadline, awaitable, done)

    def _reply_to(self, errand: Errand, result: Callable[[], Any]) -> None:
        try:
            self._finish(errand, self._reply(errand, partial(_own, errand, result)))
        except BaseException:
            errand.caller.ended = True  # its client must not wait for ever
            self._resume(errand.caller)
            raise

    def begin(
        self,
        what: object,
        served: Served,
        deadline: float | None,
        awaitable: Awaitable[Any],
        done: Callable[[Callable[[], Any]], None],
    ) -> None:
        """Let something be awaited in a task, for a call or several.

        Args:
            what: those.
            done: called with what returns the result, or raises it.
        """
        assert self.loop is not None
        outcome = _outcome(served, awaitable)
        try:
            task = _deadline.run(deadline, partial(self.loop.create_task, outcome))
            self._tasks[what] = task
            task.add_done_callback(partial(self._done, what, awaitable, done))
        except BaseException:
            for coroutine in (outcome, awaitable):
                if what not in self._tasks and iscoroutine(coroutine):
                    coroutine.close()  # else Python warns that it was never awaited
            raise

    def _done(
        self,
        what: object,
        awaitable: Awaitable[Any],
        done: Callable[[Callable[[], Any]], None],
        task: asyncio.Task[Any],
    ) -> None:
        if self._forked:
            self._end_forked()
            return
        self._tasks.pop(what, None)
        if iscoroutine(awaitable):
            awaitable.close()  # it was not begun, if the task was cancelled at once
        done(partial(_result, task))

    def _end_forked(self) -> None:
        if self.ended is not None and not self.ended.done():
            text = "a method forked this process; the listener is its parent's"
            self.ended.set_exception(ListenerClosed(text))

    def cancel(self, errand: Errand) -> None:
        """Cancel a task, whose caller has given it up; what it does then is its own business."""
        task = self._tasks.get(errand)
        if task is not None:
            task.cancel()

    def left(self, caller: Caller) -> None:
        """Cancel what somebody waited for on a channel that is closed."""
        for errand in list(caller.tasks.values()):
            if errand.ident:
                self.cancel(errand)

    def close(self) -> None:
        """End them all: the loop serves no more."""
        for task in list(self._tasks.values()):
            task.cancel()
        self.loop = self.ended = None

    def forked(self) -> None:
        """In a forked child: all that is the parent's, its loop too."""
        self._forked = True
        self.loop = None


async def _outcome(served: Served, awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Return what is awaited for somebody, or what that raises; nothing of it ends the loop."""
    from asyncio import CancelledError

    ongoing = Ongoing(served)
    started_in.set(ongoing)  # for the tasks that it starts
    try:
        return await _InTheNameOf(served, awaitable), None
    except CancelledError:
        raise
    except BaseException as error:
        return None, error
    finally:
        ongoing.served = None


def _result(task: asyncio.Task[Any]) -> Any:
    if task.cancelled():
        raise CallLost("the task of this call was cancelled in its owner; it may have begun")
    value, error = task.result()
    if error is not None:
        raise error
    return value


def _own(errand: Errand, result: Callable[[], Any]) -> Any:
    """Return the result of a call that has a task of its own, or raise it."""
    try:
        return result()
    except CallLost:
        if errand.given_up:
            raise Cancelled("the call was given up, and its task was cancelled") from None
        raise


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
