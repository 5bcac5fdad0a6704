"""Waiting in the name of a caller who may go: what a call of the standard library's may not do.

Such a call is first tried by the thread that serves, and mostly need not wait. If it has to, it
says `MustWait` before it has changed anything, and is run from the beginning: when it is tried
again, or by a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Final

from .._chains._activities import MustGo, MustWait, here
from .._objects._clients import Client
from .._system import _deadline
from ..errors import Cancelled, ClientDied, ListenerClosed

#: Seconds between two looks for who waits.
_SLICE: Final = 0.2
#: What `check_wanted` raises.
UNWANTED: Final = (Cancelled, ClientDied, ListenerClosed)


class Stand:
    """What is called in the place of an object, where a method of that must not be as it is.

    Args:
        target: the object; what is not defined here is its own.

    Attributes:
        hurries: the thread that serves may try a call, which runs no code of users.
        tried: what is shared then: the object, or what calls it in turn.
    """

    hurries = False

    def __init__(self, target: Any) -> None:
        self._target = target
        self.tried: object = target

    def may_go_on(self) -> bool:
        """Whether a call that had to wait may be worth another try."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


class Hurried(Stand):
    """Stands for what tells by itself when a call of it would wait, and when it would not."""

    hurries = True

    def may_go_on(self) -> bool:
        """As the object says."""
        return bool(self._target.may_go_on())


def check_wanted() -> None:
    """Pass if somebody waits for what this thread runs.

    Raises:
        Cancelled, ClientDied, ListenerClosed: nobody does.
    """
    server = here.server
    if server is None:
        return
    if server.closed:
        raise ListenerClosed("the listener was closed while the call waited")
    caller = server.in_hand
    if caller is not None and (caller.ended or caller.client.dead):
        raise ClientDied("the client that called is gone")
    if caller is not None and caller.is_given_up():
        raise Cancelled("the call was given up while it waited")


def cancelled() -> bool:
    """Return whether the caller of the method that this thread or task runs has given it up.

    It has when its deadline passed, when it cancelled what `pipeproxy.submit` or `pipeproxy.aio`
    gave it, when it was interrupted as it waited, and when its process is dead. A method that takes
    long asks now and then, as cheaply as it asks for the time, and returns early: nobody takes its
    result. Calls that it makes itself do not end with it. An async method is cancelled besides, as
    a task is; while it awaits nothing, neither can reach it.

    For a call made in the owner's own process only the deadline of `pipeproxy.timeout` counts, as
    for a function that is called back in its client's. Outside of calls it is False, but for that.
    """
    if _deadline.is_over(_deadline.current()):
        return True
    served, server = here.served, here.server
    if served is None or served.call is None:
        return False
    if server is not None and server.listen is not None:
        server.listen()
    return bool(served.call.is_given_up())


def check_may_wait(tried: object) -> None:
    """Pass if this thread may wait.

    Args:
        tried: as of a `Stand`.

    Raises:
        MustWait: it is the one that serves, which tries the call.
    """
    if here.tries is tried:
        raise MustWait


def check_is_apart(tried: object) -> None:
    """As `check_may_wait`, for what is tried in vain whenever it is.

    Args:
        tried: as of a `Stand`.

    Raises:
        MustGo: it is the one that serves, which tries the call.
    """
    if here.tries is tried:
        raise MustGo


def keep_undo(undo: Callable[[], object]) -> None:
    """Let what this thread took for a client be taken back, if that has nothing of the reply.

    Raises:
        Cancelled, ClientDied, ListenerClosed: nobody wants it any more; it was taken back.
    """
    server = here.server
    if server is None or server.in_hand is None:
        return
    caller = server.in_hand
    caller.keep_undo(undo)  # first: whoever gives it up later takes it back
    try:
        check_wanted()
    except UNWANTED:
        caller.take_back(caller.running)
        raise


def client_here() -> Client | None:
    """Return the process whose call this thread runs; None for a call made at home."""
    server = here.server
    return None if server is None or server.in_hand is None else server.in_hand.client


def is_gone(client: Client) -> bool:
    """Whether a process is dead, or the listener closed for which this thread runs its calls."""
    return client.dead or (here.server is not None and here.server.closed)


def slices(tried: object, timeout: float | None) -> Iterator[float]:
    """Yield seconds to wait at once, again and again, until `timeout` has passed.

    Args:
        tried: as of a `Stand`.

    Raises:
        MustWait: this is the thread that serves, which tries the call.
        CallTimeout: the deadline of the call passed first.
        Cancelled, ClientDied, ListenerClosed: nobody waits for it any more.
    """
    check_may_wait(tried)
    end = None if timeout is None else monotonic() + timeout
    deadline = _deadline.current()
    while True:
        check_wanted()
        now = monotonic()
        if end is not None and now >= end:
            return
        if deadline is not None and now >= deadline:
            raise _deadline.passed()
        left = [moment - now for moment in (end, deadline) if moment is not None]
        yield min([_SLICE, *left])


def interruptible(end: Callable[[], object], call: Callable[[], Any]) -> Any:
    """Return ``call()``, during which `end` is called if nobody waits for it any more."""
    server = here.server
    if not hasattr(server, "interrupt"):
        return call()
    server.interrupt = end
    try:
        check_wanted()
        return call()
    finally:
        server.interrupt = None
