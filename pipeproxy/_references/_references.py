"""References: what stands for a live object wherever it goes.

A reference is a route, a number and a spec, all of builtin types. It becomes a proxy where it
arrives, except at home: there a reference that came with a call is the object itself again, and one
that was unpickled by anybody else is a proxy that calls the object directly.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from types import GeneratorType
from typing import Any, NoReturn, Protocol

from .._chains._activities import Served, Stack, activity_of, here
from .._chains._deadlocks import Edge, key_of, waits
from .._chains._sections import Block
from .._channels._door import Route
from .._channels._parcels import Encoded, Parcel, Place
from .._channels._wire import (
    GIVEN_BACK,
    IDENTITY,
    UP,
    UP_FAILURE,
    WAITING,
    Frame,
    header,
    unpack_context,
    unpack_pairs,
)
from .._client._calls import Call, Owner, Start, guests
from .._client._held import Holdings, idents
from .._objects._faces import travels_alive
from .._objects._subjects import Shared
from .._proxies._proxy import Proxy, link_of, make_proxy, unread
from .._specs._members import Plain
from .._system import _deadline
from .._system._descriptors import Descriptor
from ..codecs import pickle as codec
from ..errors import Released
from ._streams import Stream
from ._values import copied

PlainRoute = tuple[Any, ...]
#: The kind and the payload of an answer.
Answer = tuple[int, "bytes | Parcel"]


class Link:
    """How a proxy reaches its object.

    Args:
        route: the object's listener.
        number: which of the listener's objects it is.
        plain: its spec.

    Attributes:
        call: ``call(member, args, kwargs)``; at home it acts on the object, elsewhere it asks the
            owner. A fork replaces it in the child.
        start: ``start(member, args, kwargs, promise)``; as `call`, and waits for nothing. Likewise.
        enter, leave, withdraw: enter the object's section, leave it, or do not want to any more;
            they take the number of the entering, and the first a reference to the block that is
            entered: if that is no more, the section is left. Likewise.
        keep: let the object live for as long as this process. Likewise.
        read, latest: how published attributes are read without a call; see `_readings`. Likewise.
        give_back: give back what a proxy holds of the object, which is not to be used. Likewise.
        is_released: it leads nowhere any more.
    """

    __slots__ = (
        "__weakref__",
        "call",
        "enter",
        "give_back",
        "keep",
        "latest",
        "leave",
        "number",
        "plain",
        "read",
        "route",
        "start",
        "withdraw",
    )

    call: Call
    start: Start
    enter: Callable[[int, Block], None]
    leave: Callable[[int], None]
    withdraw: Callable[[int], None]
    keep: Callable[[], None]
    read: Callable[[int, list[Any]], Any]
    give_back: Callable[[object], None]
    is_released = False

    def __init__(self, route: Route, number: int, plain: Plain) -> None:
        self.route = route
        self.number = number
        self.plain = plain
        self.latest = unread(plain)

    def lead_to(self, owner: Owner) -> Link:
        """Reach the object through its owner, which is another process."""
        self.call = partial(owner.call, self.number, self.plain)
        self.start = partial(owner.start, self.number, self.plain)
        self.enter = partial(owner.inside.enter, self.number)
        self.leave = partial(owner.inside.leave, self.number)
        self.withdraw = partial(owner.inside.withdraw, self.number)
        self.keep = partial(owner.held.keep, self.number)
        self.give_back = partial(owner.give_back, self.number)
        self.read = partial(owner.read_published, self.number)
        return self

    @property
    def key(self) -> tuple[bytes, int]:
        """The object's identity, in every process."""
        return self.route.listener, self.number

    @property
    def place(self) -> str:
        return f"process {self.route.pid}"

    @property
    def reference(self) -> tuple[PlainRoute, int, Plain]:
        """What travels in place of the object: nothing but builtin types."""
        return tuple(self.route), self.number, self.plain

    def reduce(self, plain: Plain) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return how to pickle a proxy of this spec, for whatever way it goes.

        Nobody knows when it will be unpickled, so the object is held for as long as this process
        lives, or its owner.
        """
        self.keep()
        return rebuild, (tuple(self.route), self.number, plain)

    def release(self, proxy: object) -> None:
        """Lead nowhere from now on, and give back what the proxy holds; once more does nothing.

        But what an interrupt left half done is done to its end.
        """
        self.__class__ = _Cut  # first: what is given back nobody uses
        self.call = self.start = self.enter = self.keep = self.read = _refuse
        self.latest = unread(self.plain)
        self.give_back(proxy)


class _Cut(Link):
    """The link of a proxy that was released."""

    __slots__ = ()
    is_released = True

    @property
    def place(self) -> str:
        return f"process {self.route.pid}, released"

    @property
    def reference(self) -> NoReturn:
        _refuse()

    def reduce(self, plain: Plain) -> NoReturn:
        _refuse()


def _refuse(*args: object, promise: object = None) -> NoReturn:
    raise Released("this proxy was given back, by release(); ask for the object again")


class AtHome(Protocol):
    """What an open listener offers to references that arrive in its own process."""

    def target_of(self, number: int) -> Any:
        """Return the object itself."""

    def shared_of(self, number: int) -> Shared:
        """Return how it is shared."""

    def proxy_of(self, number: int) -> Any:
        """Return a proxy that calls it directly."""

    def link_to(self, target: object) -> Link | None:
        """Return how to reach an object through a door, if it is shared here."""

    def answer(self, process: bytes, frame: Frame, payload: Encoded) -> Answer:
        """Answer an upcall of another process."""

    def heed(self, process: bytes, what: int, pairs: list[tuple[int, int]]) -> None:
        """Note what another process claims, or gives back."""

    def lost(self, process: bytes) -> None:
        """Take back what a dead process held."""


#: The open listeners of this process, by identity.
homes: weakref.WeakValueDictionary[bytes, AtHome] = weakref.WeakValueDictionary()

#: The listeners of other processes that something in this one refers to.
_owners: weakref.WeakValueDictionary[bytes, Owner] = weakref.WeakValueDictionary()


#: What this process holds of them: also of those that nothing refers to any more, and that may
#: never have been told so. If one is met again, it is.
_holdings: dict[bytes, Holdings] = {}


def owner_at(route: Route, lobby: Any = None, life: Descriptor | None = None) -> Owner:
    """Return the owner that this process knows by this route."""
    owner = _owners.get(route.listener)
    if owner is None:
        for listener, held in list(_holdings.items()):
            if held.is_empty():
                _holdings.pop(listener, None)
        held = _holdings.setdefault(route.listener, Holdings())
        new = Owner(route, held, _surroundings, lobby, life)
        owner = _owners.setdefault(route.listener, new)
    return owner


class Passing:
    """The arguments of a call, asked for each part of them how it travels to a listener."""

    __slots__ = ("_lending", "_route")

    def __init__(self, route: Route) -> None:
        self._route = route
        self._lending: Any = None

    def refer(self, value: Any) -> Any:
        """Return a tuple as ``__reduce__`` does, or NotImplemented for what pickle travels by.

        A proxy that comes home arrives while this process waits. Of any other nobody knows for how
        long it is on its way, so its object is held for as long as this process lives, or its
        owner. Objects of this process's own are lent.
        """
        if issubclass(type(value), Proxy):  # isinstance would ask the proxy for another class
            link = link_of(value)
            if link.route.process == self._route.process:
                return arrive, link.reference
            if link.route.address:
                link.keep()
                return arrive, link.reference
            return self._lent().refer(value)
        if travels_alive(value) or type(value) is GeneratorType:
            for home in list(homes.values()):  # it may be shared already, by a door of its own
                link = home.link_to(value)
                if link is not None:
                    link.keep()
                    return arrive, link.reference
            return self._lent().refer(value)
        return copied(value)

    @property
    def lends(self) -> bool:
        """Whether anything was lent."""
        return self._lending is not None

    def _lent(self) -> Any:
        if self._lending is None:
            from ._lent import lending  # only who lends needs a home

            self._lending = lending().outgoing(self._route.process)
        return self._lending

    def take_back(self) -> None:
        """Take back what was lent: it did not travel."""
        if self._lending is not None:
            self._lending.take_back()


class _ThisProcess:
    """What an `Owner` needs of this process; see `_calls.Surroundings`."""

    def outgoing(self, route: Route) -> Passing:
        return Passing(route)

    def answer(self, route: Route, frame: Frame, place: Place | None, *, apart: bool) -> Answer:
        _, _, number, member, payload = frame
        listener = bytes(payload[:IDENTITY])
        (seconds, thread, path), rest = unpack_context(payload[IDENTITY:])
        encoded = rest if place is None else place.read(rest)
        deadline = None if seconds == inf else monotonic() + seconds
        home = homes.get(listener)
        served = here.served
        if home is not None:
            outer, stack = here.serves, here.stack
            try:
                if path:  # of a chain that did not come through this thread
                    if not apart:
                        here.stand_on(stack.under(here.current, monotonic()))
                    activity = activity_of(path[0], thread)
                    here.serves = Served(activity, (*path, route.process), None)
                call = partial(home.answer, route.process, frame, encoded)
                return _deadline.run(deadline, call)
            finally:
                here.serves = outer
                if path:
                    here.stand_on(stack)
        if served is not None and served.up is not None:
            own = next(idents) | UP  # those of another process could be taken for this one's
            return _up(served.up.ask(own, (listener, number, member), encoded, deadline))
        error = Released(f"object {number} is at home in no process that this call came through")
        return UP_FAILURE, codec.encode_failure(error, f"object {number}", None)

    def given_back(self, route: Route, frame: Frame) -> None:
        _, _, _, what, payload = frame
        home = homes.get(bytes(payload[:IDENTITY]))
        served = here.served
        if home is not None:
            home.heed(route.process, what, unpack_pairs(payload[IDENTITY:]))
        elif served is not None and served.up is not None:
            told = header(GIVEN_BACK, len(payload), member=what)
            served.up.tell(told + bytes(payload))

    def waiting(self, route: Route, frame: Frame, chains: list[Served]) -> None:
        told = codec.decode(frame[4])
        edges = waits.hear(told)
        news = {edge[:3] for edge in edges} - {edge[:3] for edge in told}
        pass_on(edges, None if news else route)
        for served in chains:
            if edges and edges[0][0] == key_of(served.activity):
                _tell(served, edges)

    def lost(self, route: Route) -> None:
        for home in list(homes.values()):
            home.lost(route.process)


def _up(answer: tuple[int, Encoded]) -> Answer:
    """Pass an answer on, as the answer to the upcall that was passed on."""
    kind, payload = answer
    return kind, payload if type(payload) is Parcel else bytes(payload)


_surroundings = _ThisProcess()


def pass_on(edges: list[Edge] | None, but: Route | None = None) -> None:
    """Tell of waits of what this thread does, wherever that may be waited for.

    Who waits for what is further down its stack, under that, is to know of them too.

    Args:
        but: a listener that knows of them.
    """
    if edges:
        _tell(here.served, edges, but)
        pass_up(here.stack)


def pass_up(stack: Stack, *, runs: bool = True) -> None:
    """Tell of what calls wait for, each wherever that may be waited for.

    Args:
        runs: see `Waits.hear`.
    """
    for call in stack.calls:
        _tell(call, waits.way_from(call.activity, runs=runs))


def _tell(served: Served | None, edges: list[Edge], but: Route | None = None) -> None:
    """Tell of waits wherever this process, or a call that it serves, may be waited for."""
    payload = codec.encode(edges)
    if served is not None and served.up is not None:
        served.up.tell(header(WAITING, len(payload)) + payload)
    for owner in list(_owners.values()):
        if but is None or owner.route.listener != but.listener:
            owner.inside.tell_waits(payload)


def arrive(route: PlainRoute, number: int, plain: Plain, ident: int = 0) -> Any:
    """Turn a reference that came with a call into what it stands for here.

    Args:
        ident: the call whose reply it came with, if the owner noted by it who holds the object.
    """
    home = homes.get(route[0])
    return _receive(route, number, plain, ident) if home is None else home.target_of(number)


def rebuild(route: PlainRoute, number: int, plain: Plain) -> Any:
    """Turn a reference that was pickled into a proxy."""
    home = homes.get(route[0])
    return _receive(route, number, plain, 0) if home is None else home.proxy_of(number)


def _receive(route: PlainRoute, number: int, plain: Plain, ident: int) -> Any:
    owner = owner_at(Route(*route))
    if not owner.route.address:
        _note_lender(owner)

    def make() -> Any:
        return make_proxy(plain, Link(owner.route, number, plain).lead_to(owner))

    return owner.held.receive(number, make, ident)


def _note_lender(owner: Owner) -> None:
    """Let a process that has no door be told, with the next reply, what it is to take back."""
    guest = guests.get(owner.route.process)
    if guest is not None:
        guest.note_lender(owner.held)
    else:  # it is dead, or the chain that came from it goes on here: there is no way to tell it
        owner.held.end()


def open_stream(route: PlainRoute, number: int, ident: int) -> Any:
    """Turn what stands for an iterator of the owner's into an iterator."""
    home = homes.get(route[0])
    if home is not None:
        return home.target_of(number).items
    owner = owner_at(Route(*route))
    if not owner.route.address:
        _note_lender(owner)
    return owner.held.receive(number, partial(Stream, owner, number, route), ident)
