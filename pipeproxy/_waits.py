"""Waiting in the name of a caller who may go: what a call of the standard library's may not do.

Such a call is first tried by the thread that serves, and mostly need not wait. If it has to, it
says `MustWait` before it has changed anything, and a worker runs it from the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Final

from . import _deadline
from ._activities import MustWait, here
from ._objects import Client
from .errors import ClientDied, ListenerClosed

#: Seconds between two looks for who waits.
_SLICE: Final = 0.2


class Stand:
    """What is called in the place of an object, where a method of that must not be as it is.

    Args:
        target: the object; what is not defined here is its own.

    Attributes:
        hurries: the thread that serves may try a call, which runs no code of users.
    """

    hurries = False

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def check_wanted() -> None:
    """Pass if somebody waits for what this thread runs.

    Raises:
        ClientDied, ListenerClosed: nobody does, and nobody will hear this.
    """
    server = here.server
    if server is None:
        return
    if server.closed:
        raise ListenerClosed("the listener was closed while the call waited")
    caller = server.in_hand
    if caller is not None and (caller.ended or caller.client.dead):
        raise ClientDied("the client that called is gone")


def check_may_wait(stand: Stand) -> None:
    """Pass if this thread may wait.

    Raises:
        MustWait: it is the one that serves, which tries the call.
    """
    if here.tries is stand:
        raise MustWait


def keep_undo(undo: Callable[[], object]) -> None:
    """Let what this thread took for a client be taken back, if that is gone without the reply."""
    server = here.server
    if server is not None and server.in_hand is not None:
        server.in_hand.keep_undo(undo)


def client_here() -> Client | None:
    """Return the process whose call this thread runs; None for a call made at home."""
    server = here.server
    return None if server is None or server.in_hand is None else server.in_hand.client


def slices(stand: Stand, timeout: float | None) -> Iterator[float]:
    """Yield seconds to wait at once, again and again, until `timeout` has passed.

    Raises:
        MustWait: this is the thread that serves, which tries the call.
        CallTimeout: the deadline of the call passed first.
        ClientDied, ListenerClosed: nobody waits for it any more.
    """
    check_may_wait(stand)
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
