"""Upcalls: the owner calls objects of its clients, on the channels on which they wait.

A method that was passed a function of its caller's calls it while the caller waits for the method:
the call goes down the same channel and runs in the thread that waits there. One that was kept is
called when its process waits for any answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

from . import _deadline
from ._callers import Caller
from ._calls import context_of
from ._held import idents
from ._objects import Client, Objects
from ._outgoing import Outgoing
from ._references import PlainRoute
from ._sections import here
from ._wire import LENT, UPCALL, header, pack_context
from .errors import CallLost, ClientDied
from .transports.pipe import wait_for

#: Seconds between two looks at what need not be noticed at once.
_LOOK_EVERY: Final = 0.05
#: Seconds that a process takes, at most, to be seen dead after its pipes were closed.
_DYING: Final = 0.2


class Answer:
    """What an upcall waits for; `reply` is its kind and payload once it is there."""

    __slots__ = ("event", "reply")

    def __init__(self) -> None:
        self.event = threading.Event()
        self.reply: tuple[int, bytes | memoryview] | None = None


class Upcalls:
    """The upcalls of one listener.

    Args:
        route: the listener's.
        objects: what it answers for.
        say: ``say(caller, data)`` sends frames, from whichever thread.

    Attributes:
        say: as given.
        wait: ``wait(event, seconds, since)`` waits, and serves meanwhile if nobody else does; set
            by whoever knows who serves.
    """

    wait: Callable[[threading.Event, float | None, float], None]

    def __init__(
        self, route: PlainRoute, objects: Objects, say: Callable[[Caller, bytes], object]
    ) -> None:
        self._route = route
        self._objects = objects
        self.say = say

    def way_to(self, caller: Caller) -> Way:
        """Return the way up to who waits on this channel."""
        return Way(self, caller.client, caller)

    def way_to_any(self, client: Client) -> Way:
        """Return the way up to whatever thread of a process waits."""
        return Way(self, client, None)

    def outgoing(self, client: Client) -> Outgoing:
        """Return what is asked how the parts of an argument travel to a client."""
        return Outgoing(self._route, self._objects, client, next(idents) | LENT)

    def ask(  # noqa: PLR0913, PLR0917 - the fields of a frame, where it goes and until when
        self,
        caller: Caller,
        context: bytes,
        ident: int,
        target: tuple[bytes, int, int],
        payload: bytes | memoryview,
        deadline: float | None,
        before: bytes,
    ) -> tuple[int, bytes | memoryview]:
        """Call an object on a channel and return the answer; see `pipeproxy._sections.Up`."""
        listener, number, member = target
        body = b"".join((listener, context, payload))
        answer = caller.asked[ident] = Answer()
        since = monotonic()
        try:
            self.say(caller, before + header(UPCALL, len(body), ident, number, member) + body)
            while answer.reply is None:
                left = _deadline.left(deadline)
                if left == 0:
                    raise _deadline.passed()
                if caller.ended or caller.pipe.closed:
                    raise lost(caller.client)
                self.wait(answer.event, left, since)
            return answer.reply
        finally:
            caller.asked.pop(ident, None)

    def find_waiting(self, client: Client, deadline: float | None) -> Caller:
        """Wait until a thread of a process waits for an answer, and return its channel."""
        since, never = monotonic(), threading.Event()
        while True:
            if client.dead:
                raise lost(client)
            channels: list[Caller] = list(client.channels)
            for caller in channels:
                if caller.is_waited_for() and not caller.ended:
                    return caller
            left = _deadline.left(deadline)
            if left == 0:
                raise _deadline.passed()
            self.wait(never, _LOOK_EVERY if left is None else min(left, _LOOK_EVERY), since)


class Way:
    """The way to a process that waits, as `pipeproxy._sections.Up`."""

    __slots__ = ("_caller", "_upcalls", "client")

    def __init__(self, upcalls: Upcalls, client: Client, caller: Caller | None) -> None:
        self._upcalls = upcalls
        self.client = client
        self._caller = caller

    def outgoing(self) -> Outgoing:
        """Return what is asked how the parts of an argument travel there."""
        return self._upcalls.outgoing(self.client)

    def tell(self, frames: bytes) -> None:
        """Send frames that need no answer."""
        if self._caller is not None:
            self._upcalls.say(self._caller, frames)

    def ask(
        self,
        ident: int,
        target: tuple[bytes, int, int],
        payload: bytes | memoryview,
        deadline: float | None,
        before: bytes = b"",
    ) -> tuple[int, bytes | memoryview]:
        """Call an object there, or further up."""
        caller = self._caller
        left = _deadline.left(deadline)
        if caller is not None:  # the chain that comes from there goes on there
            context = pack_context(inf if left is None else left, 0, ())
        else:
            caller = self._upcalls.find_waiting(self.client, deadline)
            context = chained(deadline)
        return self._upcalls.ask(caller, context, ident, target, payload, deadline, before)


def chained(deadline: float | None) -> bytes:
    """Return the context of a call to a process that the chain of this thread did not come from."""
    served = here.served
    if served is not None:
        return context_of(served, deadline)
    left = _deadline.left(deadline)
    own = here.own
    return pack_context(inf if left is None else left, own.thread, (own.process,))


def lost(client: Client) -> Exception:
    """Return the error of an upcall on a channel that has ended."""
    life = client.life
    if client.dead or (life is not None and wait_for((life.fileno(), False), timeout=_DYING)):
        return ClientDied("the process that was called back is dead; the call may have run there")
    return CallLost("the process that was called back gave its own call up; this one may have run")
