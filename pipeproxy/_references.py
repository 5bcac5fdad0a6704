"""References: what stands for a live object wherever it goes.

A reference is a route, a number and a spec, all of builtin types. It becomes a proxy where it
arrives, except at home: there a reference that came with a call is the object itself again, and one
that was unpickled by anybody else is a proxy that calls the object directly.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from ._calls import Call, Owner
from ._descriptors import Descriptor
from ._door import Route
from ._members import Plain
from ._proxy import Proxy, link_of, make_proxy
from ._streams import Stream

PlainRoute = tuple[Any, ...]


class Link:
    """How a proxy reaches its object.

    Args:
        route: the object's listener.
        number: which of the listener's objects it is.
        plain: its spec.
        call: ``call(member, args, kwargs)``; at home it acts on the object, elsewhere it asks the
            owner. A fork replaces it in the child.
    """

    __slots__ = ("__weakref__", "call", "number", "plain", "route")

    def __init__(self, route: Route, number: int, plain: Plain, call: Call) -> None:
        self.route = route
        self.number = number
        self.plain = plain
        self.call = call

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
        """Return how to pickle a proxy of this spec, for whatever way it goes."""
        return rebuild, (tuple(self.route), self.number, plain)


class AtHome(Protocol):
    """What an open listener offers to references that arrive in its own process."""

    def target_of(self, number: int) -> Any:
        """Return the object itself."""

    def proxy_of(self, number: int) -> Any:
        """Return a proxy that calls it directly."""


#: The open listeners of this process, by identity.
homes: weakref.WeakValueDictionary[bytes, AtHome] = weakref.WeakValueDictionary()

#: The listeners of other processes that something in this one refers to.
_owners: weakref.WeakValueDictionary[bytes, Owner] = weakref.WeakValueDictionary()


def owner_at(route: Route, lobby: Any = None, life: Descriptor | None = None) -> Owner:
    """Return the owner that this process knows by this route."""
    owner = _owners.get(route.listener)
    if owner is None:
        owner = _owners.setdefault(route.listener, Owner(route, refer, lobby, life))
    return owner


def refer(value: object) -> Any:
    """Return how a proxy travels inside a call, NotImplemented for anything else."""
    if issubclass(type(value), Proxy):  # isinstance would ask the proxy for the class of its object
        return arrive, link_of(value).reference
    return NotImplemented


def arrive(route: PlainRoute, number: int, plain: Plain) -> Any:
    """Turn a reference that came with a call into what it stands for here."""
    home = homes.get(route[0])
    return rebuild(route, number, plain) if home is None else home.target_of(number)


def rebuild(route: PlainRoute, number: int, plain: Plain) -> Any:
    """Turn a reference into a proxy."""
    home = homes.get(route[0])
    if home is not None:
        return home.proxy_of(number)
    owner = owner_at(Route(*route))
    return make_proxy(plain, Link(owner.route, number, plain, owner.caller(number, plain)))


def open_stream(route: PlainRoute, number: int) -> Stream:
    """Turn what stands for an iterator of the owner's into an iterator."""
    return Stream(owner_at(Route(*route)), number)
