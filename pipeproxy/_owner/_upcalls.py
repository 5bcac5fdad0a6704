"""Upcalls: the owner calls objects of its clients, on the channels on which they wait.

A method that was passed a function of its caller's calls it while the caller waits for the method:
the call goes down the same channel and runs in the thread that waits there. One that was kept is
called when a thread of its process waits for any answer; until then it is wanted, and goes down the
channel of the first that calls, ahead of its reply.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator
from math import inf
from time import monotonic
from typing import Any, Final

from .._chains._activities import GROUND, Stack, here
from .._chains._context import context_of
from .._channels._parcels import Encoded, pack
from .._channels._wire import LENT, UPCALL, header, pack_context
from .._client._calls import guests
from .._client._held import idents
from .._objects._clients import Client
from .._objects._objects import Objects
from .._references._outgoing import Outgoing
from .._references._references import PlainRoute
from .._system import _deadline
from .._system._bell import Bell
from .._system._buffers import Segment
from ..errors import CallLost, ClientDied, OwnerDied
from ..transports.pipe import wait_for
from ._caller import Caller
from ._voice import Voice, discard

#: Seconds that a process takes, mostly, to be seen dead after its pipes were closed.
_DYING: Final = 0.02


class Asked:
    """An upcall that is under way, or wanted.

    Args:
        ident: its own.
        say: returns the frames of it.
        ways: what may be used for it: who serves those is woken by the answer anyway.
        segment: the memory that goes with it; None again if the client keeps it.
        stack: the calls that wait for it, if their chain did not come from the client.

    Attributes:
        reply: its kind and payload, once it is there.
        bell: rung then.
    """

    __slots__ = ("_ident", "_say", "_taken", "bell", "reply", "segment", "stack")

    def __init__(
        self,
        ident: int,
        say: Callable[[], bytes],
        ways: Container[Upcalls],
        segment: Segment | None = None,
        stack: Stack = GROUND,
    ) -> None:
        self._ident = ident
        self.segment = segment
        self.stack = stack
        self._say = say
        self._taken: list[Caller] = []
        self.bell = Bell(*(s.wake for s in here.serving if s.upcalls not in ways))
        self.reply: tuple[int, Encoded] | None = None

    @property
    def caller(self) -> Caller | None:
        """The channel that it is sent on; None while it is wanted."""
        return self._taken[0] if self._taken else None

    def take(self, caller: Caller) -> bool:
        """Choose a channel for it; return whether it is this one: another may have been first."""
        self._taken.append(caller)  # threads may do so at once, as they serve different listeners
        return self._taken[0] is caller

    def frames(self) -> bytes:
        """Return what is to be sent on that channel."""
        caller = self._taken[0]
        caller.asked[self._ident] = self
        return self._say()

    def find(self, number: int) -> Segment | None:
        """Return the segment that goes with it, if this is its number."""
        segment = self.segment
        return segment if segment is not None and segment.number == number else None

    def forget(self) -> None:
        """Wait for the answer no more."""
        for caller in self._taken[:1]:
            caller.asked.pop(self._ident, None)


class Upcalls:
    """The upcalls of one listener.

    Args:
        route: the listener's.
        objects: what it answers for.
        voice: sends them.

    Attributes:
        voice: as given.
        wait: ``wait(bell, seconds, since)`` waits, and serves meanwhile if nobody else does; set
            by whoever knows who serves.
        wake: lets whoever serves look at what was put off meanwhile; likewise.
    """

    wait: Callable[[Bell, float | None, float], None]
    wake: Callable[[], None]

    def __init__(self, route: PlainRoute, objects: Objects, voice: Voice) -> None:
        self._route = route
        self._objects = objects
        self.voice = voice

    def way_to(self, caller: Caller) -> Way:
        """Return the way up to who waits on this channel."""
        return Way(self, caller)

    def welcome(self, client: Client) -> None:
        """Let objects of a client be called, through any listener that it is a client of."""
        guest = guests.setdefault(client.token, Guest())
        client.wanted = guest.wanted
        guest.ways[self] = client
        if guest.lender is not None:
            client.lender = guest.lender

    def bid_farewell(self, client: Client) -> None:
        """Call objects of a client no more through this listener."""
        guest = guests.get(client.token)
        if guest is not None and guest.ways.get(self) is client:
            guest.dead |= client.dead
            if client.dead and guest.lender is not None:
                guest.lender.end()
            guest.ways.pop(self, None)
            if not guest.ways:
                guests.pop(client.token, None)

    def outgoing(self, client: Client) -> Outgoing:
        """Return what is asked how the parts of an argument travel to a client."""
        return Outgoing(self._route, self._objects, client, next(idents) | LENT)

    def ask(self, caller: Caller, asked: Asked, deadline: float | None) -> Any:
        """Send an upcall on a channel and return the answer; see `_activities.Up`."""
        since = monotonic()
        try:
            asked.take(caller)
            self.voice.say(caller, asked.frames())
            self._wait_for(asked, caller, deadline, since)
            return asked.reply
        finally:
            asked.forget()
            self.wake()

    def _wait_for(self, asked: Asked, caller: Caller, deadline: float | None, since: float) -> None:
        while asked.reply is None:
            left = _deadline.left(deadline)
            if left == 0:
                raise _deadline.passed()
            if caller.ended or caller.pipe.closed:
                raise _lost(caller.client)
            self.wait(asked.bell, left, since)


class Way:
    """The way up to who waits on a channel, as `_activities.Up`."""

    __slots__ = ("_caller", "_upcalls")

    def __init__(self, upcalls: Upcalls, caller: Caller) -> None:
        self._upcalls = upcalls
        self._caller = caller

    def outgoing(self) -> Outgoing:
        """Return what is asked how the parts of an argument travel there."""
        return self._upcalls.outgoing(self._caller.client)

    def tell(self, frames: bytes) -> None:
        """Send frames that need no answer."""
        self._upcalls.voice.say(self._caller, frames)

    def ask(
        self,
        ident: int,
        target: tuple[bytes, int, int],
        payload: Encoded,
        deadline: float | None,
        before: bytes = b"",
    ) -> Any:
        """Call an object there, or further up."""
        client, cargo = here.cargo or (None, None)
        segment = (
            cargo.lend(payload) if cargo is not None and client is self._caller.client else None
        )

        def say() -> bytes:  # the chain that comes from there goes on there
            left = _deadline.left(deadline)
            context = pack_context(inf if left is None else left, 0, ())
            return before + _upcall(ident, target, context, payload, segment)

        asked = Asked(ident, say, [self._upcalls], segment)
        reply = self._upcalls.ask(self._caller, asked, deadline)
        if cargo is not None and asked.segment is not None:
            cargo.take_back(asked.segment)
        return reply


class Guest:
    """A process that is a client of listeners of this one, and the way to any thread of it.

    Attributes:
        ways: the listeners' upcalls, each with what it knows of the process.
        wanted: upcalls that wait until a thread of it waits.
        lender: what this process holds of objects of its own, if there are any.
        dead: it is.
    """

    __slots__ = ("dead", "lender", "wanted", "ways")

    def __init__(self) -> None:
        self.ways: dict[Upcalls, Client] = {}
        self.wanted: deque[Asked] = deque()
        self.lender: Any = None
        self.dead = False

    def note_lender(self, held: Any) -> None:
        """Let it be told, with the next reply, what it is to take back."""
        self.lender = held
        for client in list(self.ways.values()):
            client.lender = held

    def outgoing(self) -> Outgoing:
        """Return what is asked how the parts of an argument travel there."""
        for upcalls, client in list(self.ways.items()):
            return upcalls.outgoing(client)
        raise gone()

    def tell(self, frames: bytes) -> None:
        """Tell it nothing: what it may have to know goes up the chain that it waits for."""

    def ask(
        self,
        ident: int,
        target: tuple[bytes, int, int],
        payload: Encoded,
        deadline: float | None,
        before: bytes = b"",
    ) -> Any:
        """Call an object there, as soon as a thread of it waits for any answer."""
        served, own = here.served, here.own

        def say() -> bytes:
            left = _deadline.left(deadline)
            if served is not None:  # a chain that did not come from there
                context = context_of(served, deadline)
            else:
                context = pack_context(inf if left is None else left, own.thread, (own.process,))
            return before + _upcall(ident, target, context, payload)

        say()  # what is wrong with it is to be raised here, and not in the thread that sends it
        since = monotonic()
        stack = here.stack.under(here.current, since)
        asked = Asked(ident, say, list(self.ways), stack=stack)
        try:
            self.wanted.append(asked)
            for upcalls, client in list(self.ways.items()):
                upcalls.voice.seek(client)
            self._wait_for(asked, deadline, since)
            return asked.reply
        finally:
            asked.forget()
            discard(self.wanted, asked)
            for upcalls in list(self.ways):
                upcalls.wake()

    def _wait_for(self, asked: Asked, deadline: float | None, since: float) -> None:
        ways = self._take_turns()
        while asked.reply is None:
            left = _deadline.left(deadline)
            if left == 0:
                raise _deadline.passed()
            upcalls = next(ways, None)
            caller = asked.caller
            if self.dead or upcalls is None:
                raise _died() if self.dead else gone()
            if caller is not None and (caller.ended or caller.pipe.closed):
                raise _lost(caller.client)
            upcalls.wait(asked.bell, left, since)

    def _take_turns(self) -> Iterator[Upcalls]:
        while self.ways:
            yield from list(self.ways)


def _upcall(
    ident: int,
    target: tuple[bytes, int, int],
    context: bytes,
    payload: Encoded,
    segment: Segment | None = None,
) -> bytes:
    listener, number, member = target
    kind, record, data = pack(UPCALL, payload, segment, goes=True)
    body = b"".join((record, listener, context, data))
    return header(kind, len(body), ident, number, member) + body


def gone() -> OwnerDied:
    """Return the error of a call to a process that can be called only while it waits."""
    return OwnerDied(
        "the process that holds the object has no listener, and is no client of this process any "
        "more: share the object on a Listener of its own"
    )


def _lost(client: Client) -> Exception:
    """Return the error of an upcall on a channel that has ended."""
    if client.dead:
        return _died()
    # Nobody is served meanwhile: a thread that is interrupted again and again would be served each
    # time inside the call that it left.
    life = client.life
    if life is not None and not life.closed and wait_for((life.fileno(), False), timeout=_DYING):
        return _died()
    return CallLost("the process that was called back gave its own call up; this one may have run")


def _died() -> ClientDied:
    return ClientDied("the process that was called back is dead; the call may have run there")
