"""Activities: whose a call is, through all processes that it goes through; what this thread does.

A call that is made while another is served belongs to the same chain of calls, its *activity*, and
so does what it enters. What a thread serves is looked up in `here` and never handed through.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from contextvars import ContextVar
from typing import Any, Final, Protocol, cast

from .._channels._parcels import Encoded
from .._system import _descriptors, _life


class Activity:
    """One chain of calls, through any number of processes; it begins in a thread of one of them.

    Args:
        process: the token of that process.
        thread: the number of the thread there.

    Attributes:
        sections: those that it is in by `locked`, or by a call for which it had to wait.
    """

    __slots__ = ("__weakref__", "process", "sections", "thread")

    def __init__(self, process: bytes, thread: int) -> None:
        self.process = process
        self.thread = thread
        self.sections: set[Any] = set()


def activity_of(process: bytes, thread: int) -> Activity:
    """Return an activity, the same one for as long as anything in this process depends on it."""
    with _descriptors.lock:  # so that no other thread of a forked child has it
        reference = _activities.get((process, thread))
        known = None if reference is None else reference()
        if known is None:
            for ended in list(_ended):
                if _activities.get(ended.key) is ended:
                    del _activities[ended.key]
                _ended.remove(ended)
            known = Activity(process, thread)
            reference = _activities[process, thread] = _Known(known, _ended.append)
            reference.key = process, thread
    return known


class _Known(weakref.ref[Activity]):
    """Not of a WeakValueDictionary: what a handler raises in its Python callback would be lost."""

    key: tuple[bytes, int] | None = None


_activities: dict[tuple[bytes, int] | None, _Known] = {}
_ended: deque[_Known] = deque()


class Up(Protocol):
    """The way back to a process that waits for an answer: it can be called meanwhile."""

    def ask(
        self,
        ident: int,
        target: tuple[bytes, int, int],
        payload: Encoded,
        deadline: float | None,
        before: bytes = b"",
    ) -> tuple[int, Encoded]:
        """Call an object of that process, or of one that waits for it in turn.

        Args:
            target: the identity of the object's home, its number there, and the member.
            payload: the arguments.
            before: frames to send first.

        Returns:
            The kind and the payload of its answer.
        """

    def tell(self, frames: bytes) -> None:
        """Send frames that need no answer."""

    def outgoing(self) -> Any:
        """Return what is asked how the parts of an argument travel there."""


class Served:
    """A call that is served: to which chain it belongs, and where that came through.

    Args:
        activity: the chain.
        path: the tokens of the processes that it came through, the latest last.
        up: the way back to that one, if there is one other than its door.
        client: that one, as a client of this process, if it is one.
        call: what is asked whether the call was given up, if it can be.
    """

    __slots__ = ("activity", "call", "client", "path", "up")

    def __init__(
        self,
        activity: Activity,
        path: tuple[bytes, ...],
        up: Up | None,
        client: Any = None,
        call: Any = None,
    ) -> None:
        self.activity = activity
        self.path = path
        self.up = up
        self.client = client
        self.call = call


class Ongoing:
    """A call of an async method, for the tasks that this starts; they belong to it while it lasts.

    Attributes:
        served: the call; None when it has ended.
    """

    __slots__ = ("process", "served")

    def __init__(self, served: Served) -> None:
        self.process = _life.token()
        self.served: Served | None = served

    def call(self) -> Served | None:
        """Return the call, if it is under way, and in this process."""
        return self.served if self.process == _life.token() else None


started_in: ContextVar[Ongoing | None] = ContextVar("pipeproxy: started in", default=None)


class Stack:
    """The calls that wait in one thread, each under the next, while it runs others on top of them.

    Args:
        calls: those, the uppermost last.
        since: when each of them began to wait.
    """

    __slots__ = ("calls", "since")

    def __init__(self, calls: tuple[Served, ...] = (), since: tuple[float, ...] = ()) -> None:
        self.calls = calls
        self.since = since

    def under(self, call: Served, since: float) -> Stack:
        """Return this one with one more call, which began to wait then."""
        return Stack((*self.calls, call), (*self.since, since))

    def holds(self, activity: Activity) -> bool:
        """Whether a call of an activity is among them."""
        return any(call.activity is activity for call in self.calls)


#: That of a thread which runs nothing on top of anything.
GROUND: Final = Stack()


class Here(threading.local):
    """This thread.

    Attributes:
        own: its own activity.
        serves: the call that it serves just now, if that is noted here; else see `server`.
        server: what lets it serve: its attribute `served` is that call, and `in_hand` who is
            served. Its method `beside` serves others while the thread waits, and `listen` hears
            what the client says meanwhile; each is None if another thread does so, or nobody.
        services: those in whose turns it is, which nobody else serves meanwhile; the latest last.
        stack: the calls that wait further down its stack while it serves others.
        tries: the object of which it runs a call that must not wait; see `_waits`.
        cargo: what came with the call that it runs, and with which client's; see `_borrowed`.
        waits: the sections that it waits for, each with its place there, one for each level. A call
            that it runs may wait at home, and what it serves meanwhile, one level up, may not enter
            what that call is in.
    """

    serves: Served | None = None
    server: Any = None
    tries: Any = None
    cargo: tuple[Any, Any] | None = None

    def __init__(self) -> None:
        self.own = activity_of(_life.token(), _life.thread())
        self.services: list[Any] = []
        self._known: list[weakref.ref[Any]] = []
        self.stack = GROUND
        self.waits: list[tuple[Any, Any]] = []

    def forked(self) -> None:
        """In a forked child: what the thread served is its parent's."""
        self.__init__()  # type: ignore[misc]
        self.serves = self.server = self.tries = self.cargo = None
        stacks.clear()

    def note_service(self, service: Any) -> None:
        """Note what this thread served last, or has made: nobody else serves it, maybe."""
        others = [known for known in self._known if known() not in (None, service)]
        self._known = [*others, weakref.ref(service)]

    def stand_on(self, stack: Stack) -> None:
        """Note what waits further down the stack of this thread."""
        self.stack = stack
        if stack.calls:
            stacks[threading.get_ident()] = stack
        else:
            stacks.pop(threading.get_ident(), None)

    @property
    def served(self) -> Served | None:
        """The call that it serves just now."""
        if self.serves is not None or self.server is None:
            return self.serves
        return cast("Served | None", self.server.served)

    @property
    def current(self) -> Served:
        """That, or what this thread does of its own."""
        return self.served or Served(self.own, (self.own.process,), None)

    @property
    def serving(self) -> list[Any]:
        """The services that nobody else serves meanwhile, but for guests: in a turn or between."""
        return [*self.services, *self.between]

    @property
    def between(self) -> list[Any]:
        """Those of them in whose turns it is not."""
        others = [known() for known in self._known if known() not in self.services]
        return [
            service
            for service in others
            if service is not None and service.residence.is_here() and not service.closed
        ]

    @property
    def level(self) -> int:
        """How many waits deep it serves."""
        return len(self.waits)

    @property
    def activity(self) -> Activity:
        """The one that what it does belongs to."""
        served = self.served
        return self.own if served is None else served.activity


#: What waits in the threads of this process, by their numbers.
stacks: dict[int, Stack] = {}
here = Here()
_life.at_fork(here)


class MustWait(BaseException):
    """A call that is tried by the thread that serves would have to wait; nothing was changed."""


class MustGo(MustWait):
    """It would whenever it is tried: a worker has to run it."""
