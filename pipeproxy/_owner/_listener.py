"""The listener: the owner's side of sharing, for whichever loop the owner has."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .._chains._residence import Residence
from .._channels._door import Door, Route
from .._client._courier import courier
from .._objects._objects import Objects
from .._references._direct import Direct
from .._references._home import Home
from .._references._openness import Openness
from .._references._references import owner_at
from .._system import _life
from .._system._deadline import check_wait
from .._system._until import Goal, Until
from ..errors import ListenerClosed
from ..transports.pipe import SPIN
from ._service import Service
from ._turns import Turns

if TYPE_CHECKING:
    from .._proxies._shared import Shared
    from ._stats import Stats

T = TypeVar("T")
U = TypeVar("U")

#: Seconds that the end of the program waits for a listener that is in the middle of a call.
_AT_EXIT = 0.5


class Listener(Generic[T]):
    """Answers for the objects that are shared on it: the owner's loop and all that it serves.

    It is used by one thread at a time, through `poll`, `serve` or `background`; `share` and `close`
    may be called by any. It is closed by `close`, at the end of a ``with`` block or of the program.
    Whoever holds a proxy of it can run code in this process, by pickle: see the README, "Trust".

    Args:
        spin: the longest time, in seconds, that owner and clients look again and again for what
            comes next before they sleep; None for the default of 50 µs, 0 to sleep at once.

    Raises:
        ValueError: `spin` is negative or no number.
        OSError: the process is out of descriptors.
    """

    # Only `share` says what T is: one that is made empty takes objects of any class.
    def __init__(self: Listener[Any], *, spin: float | None = None) -> None:
        spin = SPIN if spin is None else spin
        check_wait(spin, "spin")
        identity, secret = os.urandom(16), os.urandom(16)
        self._life = _life.descriptor()  # now, as forked children inherit it
        self._door = Door(identity, secret)
        process = _life.token()
        self._route = Route(identity, process, os.getpid(), self._door.address, secret, spin)
        self._objects = Objects()
        residence = Residence(self._door.wake)
        self._service = Service(self._route, self._door, self._objects, residence)
        self._turns = Turns(self._service, self._door.wake)
        self._openness = Openness(self._route.pid)
        self._is_awaited = False  # somebody waits until the descriptor is readable
        direct = Direct(self._openness, self._turns, residence)
        self._home = Home(self._route, self._objects, self._openness, direct)
        _life.at_fork(self)
        from multiprocessing.util import Finalize  # here, as only owners pay for it

        # Before multiprocessing waits, at the end of a process, for children that wait for this.
        end = partial(_close_at_exit, weakref.ref(self))
        self._at_exit = Finalize(self, end, exitpriority=100)

    def __repr__(self) -> str:
        state = "closed" if self._openness.closed else f"{len(self._objects)} objects"
        return f"<Listener in process {self._route.pid}: {state}>"

    # -- sharing ----------------------------------------------------------------------------------

    @overload
    def share(self, obj: Shared[U], /) -> U: ...

    @overload
    def share(self, obj: U, /) -> U: ...

    def share(self, obj: Any, /) -> Any:
        """Share one more object on this listener and return its proxy.

        The object stays here for as long as the listener is open. Sharing it again gives another
        proxy of the same object.

        Raises:
            SpecError: the object cannot be shared; the text says why.
            ListenerClosed: this listener is closed.
        """
        self._openness.check()
        return self._home.share(obj)

    # -- serving ----------------------------------------------------------------------------------

    def poll(self, timeout: float = 0.0) -> int:
        """Answer the calls that have arrived, or that arrive within `timeout` seconds.

        Returns:
            How many calls it answered; 0 where none came.

        Raises:
            ListenerClosed: this listener is closed.
            RuntimeError: another thread serves it, or it is called by a method that it serves.
            ValueError: `timeout` is negative, or longer than 2,000,000 s.
        """
        self._openness.check()
        check_wait(timeout, "timeout")
        deadline = monotonic() + timeout
        try:
            return self._turns.take(partial(self._poll, deadline), deadline) or 0
        finally:
            self._remind()

    def _remind(self) -> None:
        """Let the descriptor be readable when something is due that nothing else tells of."""
        try:
            due = self._service.due_in() if self._is_awaited else None
            if due is not None:
                courier.remind(self._door.wake, monotonic() + due)
        except BaseException:
            self._door.wake()
            raise

    def _poll(self, deadline: float, check: Callable[[], None]) -> int:
        self._openness.check()
        while True:
            left = deadline - monotonic()
            answered = self._service.turn(max(0.0, left))
            if answered or left <= 0 or self._openness.closed:
                return answered
            check()

    def serve(self, until: Goal = None) -> None:
        """Answer calls until something has happened, or until the listener is closed.

        Args:
            until: a started process or several of them (also those of an executor or a pool): until
                all have ended and everything that they wrote is served; an event of `threading` or
                `multiprocessing`; a callable, which is asked after each turn and every 50 ms; None:
                until the listener is closed.

        Raises:
            ListenerClosed: this listener was closed before.
            KeyboardInterrupt: Ctrl-C was pressed; the call in hand was finished.
            RuntimeError: another thread serves it, or it is called by a method that it serves.
            TypeError, ValueError: `until` is none of these.
        """
        self._openness.check()
        self._turns.take(partial(self._serve, Until(until)))

    def _serve(self, goal: Until, check: Callable[[], None]) -> None:
        service = self._service
        try:
            for life in goal.lives:
                service.callers.watch(life.fileno(), partial(self._ended, goal, life))
            self._serve_until(goal, check)
        finally:
            for life in goal.lives:
                service.callers.unwatch(life.fileno())

    # Apart from its caller: in Python 3.12 and 3.13 an exception that is raised between two rounds
    # of a loop directly inside a `try` passes by its `finally` (cpython#130279).
    def _serve_until(self, goal: Until, check: Callable[[], None]) -> None:
        service = self._service
        while not self._openness.closed and not goal.reached():
            service.turn(goal.patience)
            check()
        # What the dead wrote last: one turn lets in who knocked, one reads to the end.
        for _ in range(2 if goal.processes else 0):
            if not self._openness.closed:
                service.turn(0)
        while goal.processes and service.batches.waiting and not self._openness.closed:
            service.turn(goal.patience)

    def _ended(self, goal: Until, life: Any) -> None:
        if not _life.is_dead(life):
            return  # an event of this turn was meant for whatever had the number before
        self._service.callers.unwatch(life.fileno())
        goal.dead(life)

    def background(self) -> Background:
        """Serve in a daemon thread, from now until the end of a ``with`` block.

        Beside a main thread that computes in pure Python, it gets one turn in
        `sys.getswitchinterval` (5 ms): poll from the busy loop, or use `spawn`, where that is slow.

        Raises:
            ListenerClosed: this listener is closed.
            RuntimeError: another thread serves it already.
        """
        self._openness.check()
        self._turns.check_free()
        return Background(self)

    async def serve_async(self) -> None:
        """Answer calls in the running event loop, beside all else that it does, until it is closed.

        Async methods of classes that say ``dispatch="asyncio"`` run as tasks of the loop. To cancel
        it ends those, with `CallLost` for their callers, and leaves the listener as it is.

        Raises:
            ListenerClosed: this listener was closed before.
            RuntimeError: it is served by another thread, or by an event loop already.
        """
        self._openness.check()
        from ._loop import serve

        await serve(self._turns, self._service, self._openness)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `poll` has something to do.

        It is for `select`, `asyncio`'s ``add_reader``, `multiprocessing.connection.wait` and others
        that wait; nothing is to be read from it.

        Raises:
            ListenerClosed: this listener is closed.
        """
        self._openness.check()
        if not self._is_awaited:
            self._is_awaited = True
            self._door.wake()  # whatever is to be minded already is seen by the first poll
        return self._service.callers.poller.fileno()

    def stats(self) -> Stats:
        """Return what it has done so far, as a frozen record."""
        from ._stats import collect

        self._home.tidy()
        return collect(self._objects, self._service)

    # -- ends -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Answer no more: calls that are under way or come later raise `ListenerClosed`.

        A second time does nothing. It waits for the call in hand, unless that call closes it; and
        for calls in threads of their own, but for half a second at most.
        """
        self._close(-1)

    def _close(self, patience: float) -> None:
        self._home.close()
        if self._route.pid == os.getpid():
            self._at_exit.cancel()
            self._turns.close(patience)
            if self._service.closed and patience:
                self._service.dispatch.errands.workers.join(_AT_EXIT)
        # else it is a forked child, in which another thread of the parent's may hold the right

    def __del__(self) -> None:
        # Nobody serves what nobody holds. Every write of this is small and never waits.
        if hasattr(self, "_at_exit") and not self._openness.closed:
            self._close(0)

    def __enter__(self) -> Listener[T]:
        self._openness.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def forked(self) -> None:
        """In a forked child: what was at home is now reached through the inherited lobby."""
        self._service.forked()
        if self._openness.closed:
            return
        self._home.move_out(owner_at(self._route, self._door.lobby, self._life))


class Background:
    """A listener that is served by a thread of its own, until `stop` or the end of the block."""

    def __init__(self, listener: Listener[Any]) -> None:
        self._listener = listener
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="pipeproxy", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        goal = Until(lambda: self._stopping)
        goal.patience = None  # `stop` wakes the thread itself
        residence = self._listener._service.residence
        resident = residence.thread
        try:
            self._listener._turns.take(partial(self._listener._serve, goal))
        except (ListenerClosed, RuntimeError):
            pass  # closed, or taken by another thread, before this one came to serve it
        except BaseException:
            self._listener._close(0)  # nobody serves any more: who waits must not wait for ever
            raise
        finally:
            residence.thread = resident  # what is bound to the thread that serves is not to this

    def stop(self) -> None:
        """End the thread, once the call in its hand is finished; a second time does nothing."""
        self._stopping = True
        self._listener._door.wake()
        self._thread.join()

    def __enter__(self) -> None:
        """Serve until the end of the block; the thread runs already."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _close_at_exit(reference: weakref.ref[Listener[Any]]) -> None:
    listener = reference()
    if listener is not None:
        listener._close(_AT_EXIT)
        if not listener._service.closed:
            listener._service.hang_up()


@overload
def share(obj: Shared[T], /, *, spin: float | None = None) -> tuple[T, Listener[T]]: ...


@overload
def share(obj: T, /, *, spin: float | None = None) -> tuple[T, Listener[T]]: ...


def share(obj: Any, /, *, spin: float | None = None) -> tuple[Any, Listener[Any]]:
    """Share an object: return its proxy, and the listener that must be served.

    The object stays in this process; the proxy goes to others, by inheritance or in a pickle of any
    kind, and acts on the object from there. In this process it calls the object directly.

    Args:
        obj: an object, of a class that is decorated with `proxied` or not.
        spin: see `Listener`.

    Raises:
        SpecError: the object cannot be shared; the text says why.
    """
    listener = Listener(spin=spin)
    try:
        return listener.share(obj), listener
    except BaseException:
        listener.close()
        raise
