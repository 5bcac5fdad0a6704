"""Home: what an object shows in its owner's own process.

There a proxy calls the object directly, in its caller's thread and by the right of its section, and
shows exactly what it shows elsewhere: the same names, the same errors, proxies for shared objects.
"""

from __future__ import annotations

from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any

from .._chains._activities import Served, here
from .._channels._door import Route
from .._channels._parcels import Encoded, Parcel
from .._channels._wire import CLAIM, LENT, UP_FAILURE, UP_RESULT, Frame
from .._client._calls import Owner
from .._client._held import Known, idents
from .._client._promises import Promise, fulfil
from .._objects._faces import shareable, travels_alive
from .._objects._objects import Objects
from .._objects._subjects import Shared
from .._proxies._proxy import Proxy, link_of, make_proxy
from .._specs._members import name_of
from ..codecs import pickle as codec
from ..codecs.pickle import ATOMS
from ..errors import Released
from ._direct import Direct, leave
from ._openness import Openness
from ._outgoing import Outgoing
from ._references import Link, homes
from ._values import itself

#: The kind and the payload of an answer.
Answer = tuple[int, "bytes | Parcel"]


class Home:
    """The objects of one listener, for its own process.

    Args:
        route: what their references say of the listener.
        objects: where they are kept.
        openness: whether the listener answers.
        direct: runs their calls.
    """

    def __init__(self, route: Route, objects: Objects, openness: Openness, direct: Direct) -> None:
        self._route = route
        self._objects = objects
        self._openness = openness
        self._direct = direct
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

    def close(self) -> None:
        """Answer no more."""
        self._openness.closed = True
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
        link.enter = partial(self._direct.enter, shared)
        link.leave = link.withdraw = partial(leave, shared.section)
        link.keep = partial(self._keep, shared.number)
        link.give_back = partial(self._give_back, shared.number)
        link.read = _ask
        return make_proxy(plain, link)

    # -- calls ------------------------------------------------------------------------------------

    def _call(
        self, shared: Shared, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Any:
        """Call the object, which gets what it would get from elsewhere, and gives the same."""
        self._openness.check()
        if kwargs:
            kwargs = {name: self._itself(value) for name, value in kwargs.items()}
        args = tuple(map(self._itself, args))
        value = self._direct.run(shared, member, args, kwargs)
        if itself(value) is not value:
            return itself(value)
        result = self._objects.of(value)
        if result is None:
            if not travels_alive(value) and not shared.face.is_live(member, args):
                if shared.face.resides and hasattr(type(value), "__next__"):
                    return _Steps(partial(self._direct.run_resident, shared, member), value)
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
        self._openness.check()
        call = partial(self._call, shared, member, args, kwargs)
        where = name_of(shared.members.plain, member, args)
        if promise is None or not self._direct.may_wait(shared, member):
            fulfil(promise, call, where)
            return
        run = partial(copy_context().run, fulfil, promise, call, where)
        start_new_thread(_serve_apart, (here.current, run, promise))

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
            self._openness.check()
            shared = self._objects.find(number)
            where = name_of(shared.members.plain, member)
            args, kwargs = codec.decode_call(payload, where)
            value = self._direct.run(shared, member, args, kwargs)
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
                return home.target_of(link.reference[1])  # one that was released refuses that
        return itself(value)


class _Steps:
    """An iterator whose items are made by calls of another thread."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any], items: Iterator[Any]) -> None:
        self._run, self._items = run, items

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._run(partial(next, self._items))


def _serve_apart(served: Served, run: Callable[[], object], promise: Promise) -> None:
    """In a thread of its own, run something in the name of another one."""
    here.serves = served
    try:
        run()
    except BaseException as error:  # it would have ended the caller's thread, and is told it
        promise.refuse(error)


def _same(value: Any) -> Any:
    return value


def _ask(index: int, latest: list[Any]) -> None:
    """Let a published attribute be read by a call, which is one of the object itself."""
    raise AttributeError("it is read of the object itself")
