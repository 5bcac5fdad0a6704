"""Futures of calls that are in flight."""

from __future__ import annotations

import threading
from concurrent import futures
from typing import TypeVar

from ._courier import courier
from ._flight import Flight, Pending

T = TypeVar("T")


class Future(futures.Future[T]):
    """The outcome of a call that was submitted.

    It is a `concurrent.futures.Future` in all. A call is running from the moment in which it is
    sent: until then `cancel` makes sure that it never runs; later it returns False and asks the
    owner, who answers with `Cancelled` if the call was not begun, and else tells the method, see
    `pipeproxy.cancelled`.
    """

    waits = True

    def __init__(self) -> None:
        super().__init__()
        self.call: tuple[Flight, Pending] | None = None

    def cancel(self) -> bool:
        """Return whether the call will never run; if it was sent, ask its owner to give it up."""
        if super().cancel():
            return True
        if self.call is not None and not self.done():
            self.call[0].give_up(self.call[1])
        return False

    def result(self, timeout: float | None = None) -> T:
        """As of `concurrent.futures.Future`; what a `batch` keeps back is sent first."""
        self._hurry()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As of `concurrent.futures.Future`; what a `batch` keeps back is sent first."""
        self._hurry()
        return super().exception(timeout)

    def _hurry(self) -> None:
        if self.call is None or self.done():
            return
        if courier.is_here():
            raise RuntimeError(
                "a callback of a future waits for another one: the thread that it runs in is the "
                "one that receives the answers; add a callback to that future as well"
            )
        self.call[0].push()

    # -- what a call in flight asks of its promise ------------------------------------------------

    def begin(self) -> bool:
        """Let it be running; return False if it was cancelled."""
        return self.set_running_or_notify_cancel()

    def keep(self, value: T) -> None:
        """Let it be the result."""
        self.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Let it be the exception; not if the call was cancelled before it was sent."""
        try:
            self.set_exception(error)
        except futures.InvalidStateError:
            pass

    def forked(self) -> None:
        """In a forked child: its parent gets the answer."""
        # Another thread of the parent's may have had it.
        self._condition = threading.Condition()
        self.fail(
            futures.CancelledError(
                "this process was forked while the call was under way; its parent gets the answer"
            )
        )
