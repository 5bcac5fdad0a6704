"""Calls that are submitted, and their futures."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from concurrent.futures import _base
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar, overload

from .._chains._activities import here
from .._channels._wire import RESULT
from .._proxies._verbs import begin
from .._system import _life
from ..errors import CallTimeout
from ._asking import Asking
from ._courier import courier
from ._held import idents
from ._promises import Promise

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: The longest wait, in seconds, that the system can be asked for.
_LONGEST: Final = threading.TIMEOUT_MAX

_PENDING, _RUNNING, _FINISHED = _base.PENDING, _base.RUNNING, _base.FINISHED


class _Lock(_thread.RLock):  # type: ignore[misc]  # it is declared final, and is not
    """What `concurrent.futures` has a condition for; but nobody waits for this one.

    Whoever waits for a future has a lock of its own among the future's waiters, where
    `concurrent.futures.wait` has its. A condition takes its lock in Python: a signal handler that
    raises in there would leave it taken, and the courier waiting for it.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once; the future was waited for."""
        return False

    def notify_all(self) -> None:
        """Wake nobody."""


class _Shared:
    """The lock of all futures, which is had for moments: one for each would cost more."""

    def __init__(self) -> None:
        self.lock = _Lock()
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: another thread of the parent's may have had the lock."""
        self.lock = _Lock()


_shared = _Shared()


class _Waiter:
    """A thread that waits for one future; as `concurrent.futures.wait` has them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()

    def add_result(self, future: object) -> None:
        if self.lock.locked():  # else it was told already
            self.lock.release()

    add_exception = add_cancelled = add_result


class _Server(Asking):
    """The same, of a thread that serves others meanwhile, and is called back for those.

    What is lent is not its business: that may take longer than it wants to wait.
    """

    lends = False

    def add_result(self, future: object) -> None:
        self.settle(RESULT, b"")

    add_exception = add_cancelled = add_result


class Future(futures.Future[T], Promise):
    """The outcome of a call that was submitted.

    It is a `concurrent.futures.Future` in all. A call is running from the moment in which it is
    sent: until then `cancel` makes sure that it never runs; later it returns False and asks the
    owner, who answers with `Cancelled` if the call was not begun, and else tells the method, see
    `pipeproxy.cancelled`.
    """

    _state = _PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _waiting: list[Any] | None = None
    _called_back: list[Any] | None = None
    # What the base class would make here is the class's own, or made when it is first needed:
    # thousands of futures are often made at once, and most of them are only asked for the result.
    __init__ = object.__init__

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        if self._waiting is None:
            self._waiting = []
        return self._waiting

    @property
    def _done_callbacks(self) -> list[Any]:
        if self._called_back is None:
            self._called_back = []
        return self._called_back

    @property
    def _condition(self) -> _Lock:  # type: ignore[override]
        return _shared.lock

    def cancel(self) -> bool:
        """Return whether the call will never run; if it was sent, ask its owner to give it up."""
        if super().cancel():
            for waiter in list(self._waiting or ()):  # a list made here could take another's place
                # The others are told when it would have been sent.
                if isinstance(waiter, (_Waiter, _Server)):
                    waiter.add_result(self)
            return True
        if not self.done():
            self.give_up()
        return False

    def result(self, timeout: float | None = None) -> T:
        """As of `concurrent.futures.Future`; what a `batch` keeps back is sent first."""
        if self._state != _FINISHED:
            self._wait(timeout)
        if self._state == _FINISHED and self._exception is None:
            return self._result  # type: ignore[no-any-return]
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As of `concurrent.futures.Future`; what a `batch` keeps back is sent first."""
        if self._state != _FINISHED:
            self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        flight = self.flight  # another thread may end it
        if flight is not None:
            if courier.is_here():
                raise RuntimeError(
                    "a callback of a future waits for another one, in the thread that receives the "
                    "answers of all: add a callback to that future as well"
                )
            flight.hurry()
        server = here.server
        serves = server is not None and server.beside
        waiter = _Server(next(idents), server.alert) if serves else _Waiter()
        with _shared.lock:
            if self._state not in {_PENDING, _RUNNING}:
                return
            self._waiters.append(waiter)
        if isinstance(waiter, _Server):
            self._serve_until(waiter, timeout)
        else:
            waiter.lock.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), _LONGEST))
        with _shared.lock:
            self._waiters.remove(waiter)

    def _serve_until(self, waiter: _Server, timeout: float | None) -> None:
        since, flight = monotonic(), self.flight
        deadline = None if timeout is None else since + timeout
        try:
            if flight is not None:
                self._owner.attend(flight, waiter, since, deadline)
            else:  # it is made in another thread of this process, or done
                while not self.done():
                    waiter.take(since, deadline)
        except CallTimeout:
            pass  # as it would have been the future's own

    # -- what a call in flight asks of its promise ------------------------------------------------

    def is_wanted(self) -> bool:
        """Let it be running; return False if it was cancelled.

        It is asked again when a signal handler raised before the answer was noted.
        """
        with _shared.lock:
            if self._state == _PENDING:
                self._state = _RUNNING
                return True
        if self._state == _base.CANCELLED:
            self.set_running_or_notify_cancel()
        return self._state == _RUNNING

    def keep(self, value: T) -> None:
        """Let it be the result."""
        with _shared.lock:
            self._result = value
            self._state = _FINISHED
            if self._waiting:
                self._tell_waiters()
        if self._called_back:
            self._invoke_callbacks()  # type: ignore[attr-defined]

    # Apart from its caller, as a loop inside a `with` is in part outside of it.
    def _tell_waiters(self) -> None:
        for waiter in self._waiters:
            waiter.add_result(self)

    def refuse(self, error: BaseException) -> None:
        """Let it be the exception; not if the call was cancelled before it was sent."""
        try:
            self.set_exception(error)
        except futures.InvalidStateError:
            pass

    def forked(self) -> None:
        """In a forked child: its parent gets the answer, and does what is to be done with it."""
        self._waiting = self._called_back = None
        self._exception = futures.CancelledError(
            "this process was forked while the call was under way; its parent gets the answer"
        )
        self._state = _FINISHED


@overload
def submit(
    method: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
) -> futures.Future[R]: ...


@overload
def submit(method: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]: ...


def submit(method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
    """Begin a call and return its future, a `concurrent.futures.Future`.

    Calls of one thread are begun in their order, whatever verbs it uses. At most 2,048 of one
    thread and owner are under way; one more waits until some are answered. Callbacks of futures run
    in a thread that receives the answers of all, so they must be short.

    In the owner's own process the call is made at once, in this thread; where calls may wait
    (``dispatch="threads"``, `blocking`) in a thread of its own.

    Args:
        method: of a proxy.
        args, kwargs: its arguments.

    Raises:
        TypeError: it is no method of a proxy, or these are not its arguments.
        CodecError: an argument cannot travel.
        CallTimeout: the deadline of `timeout` passed before there was room for one more. (If it
            passes later, that is what the future raises.)
        OwnerDied, ListenerClosed, CallLost: nobody will answer.
    """
    future: Future[Any] = Future()
    begin("submit", method, future, args, kwargs)
    return future
