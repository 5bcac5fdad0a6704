"""Home: what an object shows in its owner's own process.

There a proxy calls the object directly, in its caller's thread and by the right of its section, and
shows exactly what it shows elsewhere: the same names, the same errors, proxies for shared objects.
A thread that has to wait for a section lets others be served meanwhile: nobody else might do it.
"""

from __future__ import annotations

import os
import weakref
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, Protocol

from . import _deadline
from ._activities import Served, here
from ._bell import Bell
from ._calls import Owner
from ._deadlocks import Wait, waits
from ._door import Route
from ._faces import shareable, travels_alive
from ._held import Known, idents
from ._members import name_of
from ._objects import Objects
from ._outgoing import Outgoing
from ._parcels import Encoded, Parcel
from ._promises import Promise, fulfil
from ._proxy import Proxy, link_of, make_proxy
from ._references import Link, homes, pass_on
from ._residence import Residence
from ._sections import Block, Entering, Entry, Section, stuck
from ._subjects import Shared
from ._values import itself
from ._wire import CLAIM, LENT, UP_FAILURE, UP_RESULT, Frame
from .codecs import pickle as codec
from .codecs.pickle import ATOMS
from .errors import ListenerClosed, Released

#: The kind and the payload of an answer.
Answer = tuple[int, "bytes | Parcel"]


class Waits(Protocol):
    """How a thread of the owner's waits: others are to be served meanwhile."""

    def wait(self, bell: Bell, seconds: float | None, since: float) -> None:
        """Wait for a bell, for at most so long, or less; `since` when it began to wait."""

    def wake(self) -> None:
        """End a wait of whoever serves."""


class Home:
    """The objects of one listener, for its own process.

    Args:
        route: what their references say of the listener.
        objects: where they are kept.
        turns: who serves the listener.
        residence: runs calls of objects that are bound to the thread which serves; None where
            nobody does.

    Attributes:
        closed: the listener answers no more, here neither.
    """

    def __init__(
        self, route: Route, objects: Objects, turns: Waits, residence: Residence | None = None
    ) -> None:
        self.closed = False
        self._residence = residence
        self._turns = turns
        self._route = route
        self._objects = objects
        self._known = Known()
        homes[route.listener] = self

    def share(self, target: object) -> Any:
        """Return a proxy of an object, which is shared from now on if it was not before.

        Raises:
            SpecError: it cannot be shared; the text says why.
        """
        shared = self._objects.of(target) or shareable(target)
        return self._proxy(self._objects.add(shared))

    def lend(self, target: object) -> Any:
        """Return a proxy of an object, which is shared for as long as somebody holds it.

        Raises:
            SpecError: it cannot be shared; the text says why.
        """
        return self._proxy(self._objects.of(target) or shareable(target))

    def target_of(self, number: int) -> Any:
        """Return the object itself, for a reference that came home with a call.

        Raises:
            Released: it is shared no more.
        """
        return self._objects.find(number).target

    def shared_of(self, number: int) -> Shared:
        """Return how an object is shared.

        Raises:
            Released: it is shared no more.
        """
        return self._objects.find(number)

    def proxy_of(self, number: int) -> Any:
        """Return a proxy, for a reference that was unpickled at home.

        Raises:
            Released: it is shared no more.
        """
        return self._proxy(self._objects.find(number))

    def link_to(self, target: object) -> Link | None:
        """Return how to reach an object through a door, if it is shared here."""
        shared = self._objects.of(target) if self._route.address else None
        return None if shared is None else link_of(self._proxy(shared))

    def check_open(self) -> None:
        """Pass if the listener answers in this process.

        Raises:
            ListenerClosed: it was closed, or belongs to the process that this one was forked from.
        """
        if not self.closed:
            return
        if self._route.pid != os.getpid():
            raise ListenerClosed(
                f"this listener belongs to process {self._route.pid}, which serves it; here, in a "
                f"forked child, use the proxies"
            )
        raise ListenerClosed("this listener was closed; share the object again, on a new one")

    def close(self) -> None:
        """Answer no more."""
        self.closed = True
        homes.pop(self._route.listener, None)

    def move_out(self, owner: Owner) -> None:
        """In a forked child: let all proxies call the owner, which is another process now.

        The copies of the objects stay where they are, out of reach: to drop one might run its
        finalizer, which would flush or delete what is the parent's.
        """
        self.close()
        for held, proxy in self._known:
            link_of(proxy).lead_to(owner)
            owner.held.receive(held.number, partial(_same, proxy), 0)

    def _keep(self, number: int) -> None:
        """Hold an object for good: its reference was pickled, and may be on its way."""
        try:
            self._objects.add(self._objects.find(number))
        except Released:
            pass

    def _give_back(self, number: int, proxy: object) -> None:
        """Give up what a proxy of this process holds."""
        held = self._known.let_go(number, proxy)
        if held is not None:
            self._objects.drop(number, held)

    def _proxy(self, shared: Shared) -> Any:
        """Return the proxy of an object, which holds it for as long as it lives."""
        now = object()  # holds it until the proxy does: another thread may drop the last other one
        try:
            shared = self._objects.add(shared, now)
            proxy, held = self._known.find(shared.number, partial(self._make, shared))
            self._objects.add(shared, held)
        finally:
            self._objects.drop(shared.number, now)
        self.tidy()
        return proxy

    def tidy(self) -> None:
        """Give up what proxies of this process held that are no more."""
        for ended in self._known.bury():
            self._objects.drop(ended.number, ended)

    def _make(self, shared: Shared) -> Any:
        plain = shared.members.plain
        link = Link(self._route, shared.number, plain)
        link.call = partial(self._call, shared)
        link.start = partial(self._start, shared)
        link.enter = partial(self._enter, shared)
        link.leave = link.withdraw = partial(self._leave, shared.section)
        link.keep = partial(self._keep, shared.number)
        link.give_back = partial(self._give_back, shared.number)
        link.read = _ask
        return make_proxy(plain, link)

    # -- calls ------------------------------------------------------------------------------------

    def _call(
        self, shared: Shared, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Any:
        """Call the object, which gets what it would get from elsewhere, and gives the same."""
        self.check_open()
        if kwargs:
            kwargs = {name: self._itself(value) for name, value in kwargs.items()}
        args = tuple(map(self._itself, args))
        value = self._run_call(shared, member, args, kwargs)
        if itself(value) is not value:
            return itself(value)
        result = self._objects.of(value)
        if result is None:
            if not travels_alive(value) and not shared.face.is_live(member, args):
                if shared.face.resides and hasattr(type(value), "__next__"):
                    return _Steps(partial(self._run_resident, shared, member), value)
                return value
            if type(value) in ATOMS or issubclass(type(value), Proxy):
                return value
            return self.lend(value)
        return self._proxy(result)

    def _start(
        self,
        shared: Shared,
        member: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        promise: Promise | None,
    ) -> None:
        """As `_call`, for a promise: here and now, or in a thread of its own where it may wait."""
        self.check_open()
        call = partial(self._call, shared, member, args, kwargs)
        where = name_of(shared.members.plain, member, args)
        waits = member in shared.elsewhere
        if shared.face.resides and self._residence is not None:
            waits = waits or not self._residence.is_here()
        if promise is None or not waits:
            fulfil(promise, call, where)
            return
        served = here.served or Served(here.own, (here.own.process,), None)
        run = partial(copy_context().run, fulfil, promise, call, where)
        start_new_thread(_serve_apart, (served, run, promise))

    def _run_call(
        self, shared: Shared, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Any:
        call = partial(shared.call, member, args, kwargs)
        if member in shared.elsewhere:
            return self._run_freely(shared, member, call)
        if not shared.face.resides:
            return self._run(shared, member, call)
        return self._run_resident(shared, member, call)

    def _run_resident(self, shared: Shared, member: int, call: Callable[[], Any]) -> Any:
        """Run a call of an object that is bound to the thread which serves, in that."""
        residence, section = self._residence, shared.section
        if residence is None or residence.is_here():
            return self._run(shared, member, call)
        run = partial(residence.run, partial(section.run, call), self.check_open)
        if self._is_in(section):
            return run()
        return self._run_in_turn(shared, member, run)

    def _run_freely(self, shared: Shared, member: int, call: Callable[[], Any]) -> Any:
        """Run a call that may wait, and keeps nobody out, when nobody else is in the section."""
        section = shared.section
        if (section.holder is not None or section.line) and not self._is_in(section):
            self._run_in_turn(shared, member, _nothing)
        return call()

    def _run(self, shared: Shared, member: int, call: Callable[[], Any]) -> Any:
        """Run a call by the right of its object's section, at once or when its turn has come."""
        section = shared.section
        if not here.waits:
            try:
                with section.right:
                    if section.holder is None and not section.line:
                        outer, section.runner = section.runner, here.activity
                        try:
                            return call()
                        finally:
                            section.runner = outer
            finally:
                if section.line or section.holder is not None:
                    section.settle()
        if self._is_in(section):
            return section.run(call)
        return self._run_in_turn(shared, member, partial(section.run, call))

    def _run_in_turn(self, shared: Shared, member: int, call: Callable[[], Any]) -> Any:
        """Enter the section of an object when its turn has come, call something and leave."""
        stay = _Stay()
        number = next(_stays)
        where = name_of(shared.members.plain, member)
        self._wait_for(shared.section, {(None, number): weakref.ref(stay)}, where)
        try:
            return call()
        finally:
            shared.section.leave(None, number)

    def _is_in(self, section: Section) -> bool:
        """Whether this thread is in the section, by `locked` or as it runs a call of the object.

        Raises:
            DeadlockError: what runs further down its stack is, and waits for what is up here.
        """
        if section.is_held_by(here.activity):
            return True
        if section.runs_here() and section.runner is not here.activity:
            raise stuck()
        return section.runs_here()

    def _enter(self, shared: Shared, entering: int, block: Block) -> None:
        """Enter the section of an object; wait if somebody else is in it."""
        self.check_open()
        section = shared.section
        numbers: dict[Entering, Block] = {(None, entering): block}
        if not self._is_in(section):
            self._wait_for(section, numbers, f"locked({shared.members.class_name})")
        elif section.is_held_by(here.activity):
            assert section.holder is not None
            section.holder.numbers.update(numbers)
        else:  # this thread runs a call of the object, so it has the right
            section.hold(Entry(here.activity, _nothing, {**numbers}))

    def _leave(self, section: Section, entering: int) -> None:
        section.leave(None, entering)

    def _wait_for(self, section: Section, numbers: dict[Entering, Block], what: str) -> None:
        """Wait until a new entry is in a section; others are served meanwhile.

        Args:
            numbers: as of an `Entry`.
            what: the call that waits, for people.

        Raises:
            CallTimeout: the deadline passed first.
            ListenerClosed: the listener was closed.
            DeadlockError: it would wait for ever.
        """
        if any(map(section.is_held_by, here.lower)):
            raise stuck()
        bell = Bell()
        entry = Entry(here.activity, partial(self._tell, bell), {**numbers})
        wait = Wait(here.activity, section, what, partial(self._tell, bell))
        outer = here.waits
        here.waits = [*outer, section]
        try:
            waits.begin(wait)
            section.enter(entry)
            self._stand_in_line(entry, wait, bell)
        except BaseException:
            section.withdraw(entry)
            raise
        finally:
            waits.end(wait)
            here.waits = outer
            self._turns.wake()  # for whatever was put off meanwhile

    # Apart from its caller, as `Listener._serve_until` is.
    def _stand_in_line(self, entry: Entry, wait: Wait, bell: Bell) -> None:
        deadline = _deadline.current()
        while wait.section.holder is not entry:
            if deadline is not None and monotonic() > deadline:
                raise _deadline.not_entered()
            self.check_open()
            self._turns.wait(bell, _deadline.left(deadline), wait.since)
            wait.section.settle()  # what is in it at home may have ended unseen
            pass_on(waits.look(wait))
            if wait.verdict is not None:
                raise wait.verdict

    def _tell(self, bell: Bell) -> None:
        bell.ring()
        self._turns.wake()

    # -- upcalls ----------------------------------------------------------------------------------

    def answer(self, process: bytes, frame: Frame, payload: Encoded) -> Answer:
        """Answer an upcall of another process, for which this thread waits; as a call at home.

        Args:
            process: its token.
            payload: the arguments.
        """
        _, ident, number, member, _ = frame
        client, route = self._objects.client(process), tuple(self._route)
        where = f"object {number}"
        try:
            self.check_open()
            shared = self._objects.find(number)
            where = name_of(shared.members.plain, member)
            args, kwargs = codec.decode_call(payload, where)
            value = self._run_call(shared, member, args, kwargs)
            if self._objects.publications:
                self._objects.publisher.look()
            outgoing = Outgoing(route, self._objects, client, ident)
            return UP_RESULT, outgoing.encode(value, shared, member, args)
        # What is no Exception ends this thread or process, as if the object were called here.
        except Exception as error:
            outgoing = Outgoing(route, self._objects, client, ident)
            return UP_FAILURE, outgoing.encode_failure(error, where)

    def heed(self, process: bytes, what: int, pairs: list[tuple[int, int]]) -> None:
        """Note what another process claims, or gives back."""
        self.tidy()
        client = self._objects.client(process)
        if what == CLAIM:
            self._objects.claim(client, pairs)
        else:
            self._objects.release(client, pairs)

    def lost(self, process: bytes) -> None:
        """Take back what a dead process held that never was a client of this listener."""
        client = self._objects.clients.get(process)
        if client is not None and client.life is None:
            self._objects.forget(process)

    def outgoing(self, process: bytes) -> Outgoing:
        """Return what is asked how the parts of an argument travel to another process."""
        client = self._objects.client(process)
        return Outgoing(tuple(self._route), self._objects, client, next(idents) | LENT)

    # -- arguments --------------------------------------------------------------------------------

    def _itself(self, value: Any) -> Any:
        """Return the object for a proxy of it, and anything else as it is."""
        if issubclass(type(value), Proxy):
            link = link_of(value)
            home = homes.get(link.route.listener)
            if home is not None and (home is self or not link.route.address):
                return home.target_of(link.reference[1])
        return itself(value)


#: Numbers for calls that had to wait, as if they had entered; none is that of an entering.
_stays = count(-(2**64))


class _Steps:
    """An iterator whose items are made by calls of another thread."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any], items: Iterator[Any]) -> None:
        self._run, self._items = run, items

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._run(partial(next, self._items))


class _Stay:
    """What lives for as long as a call that had to wait: the section is given up with it."""

    __slots__ = ("__weakref__",)


def _serve_apart(served: Served, run: Callable[[], object], promise: Promise) -> None:
    """In a thread of its own, run something in the name of another one."""
    here.serves = served
    try:
        run()
    except BaseException as error:  # it would have ended the caller's thread, and is told it
        promise.refuse(error)


def _nothing() -> None:
    """Tell nobody: who is in already does not wait."""


def _same(value: Any) -> Any:
    return value


def _ask(index: int, latest: list[Any]) -> None:
    """Let a published attribute be read by a call, which is one of the object itself."""
    raise AttributeError("it is read of the object itself")
