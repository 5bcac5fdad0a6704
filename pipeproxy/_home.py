"""Home: what an object shows in its owner's own process.

There a proxy calls the object directly, in its caller's thread and under the object's section, and
shows exactly what it shows elsewhere: the same names, the same errors, proxies for shared objects.
"""

from __future__ import annotations

import os
import weakref
from functools import partial
from types import ModuleType
from typing import Any

from ._calls import Owner
from ._door import Route
from ._members import Members
from ._objects import Objects, Shared
from ._proxy import Proxy, link_of, make_proxy, proxy_class, remember_class
from ._references import Link, arrive, homes, open_stream, refer
from ._streams import Source
from .codecs.pickle import ATOMS
from .errors import ListenerClosed, SpecError


class Home:
    """The objects of one listener, for its own process.

    Args:
        route: what their references say of the listener.
        objects: where they are kept.

    Attributes:
        closed: the listener answers no more, here neither.
    """

    def __init__(self, route: Route, objects: Objects) -> None:
        self.closed = False
        self._route = route
        self._objects = objects
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        homes[route.listener] = self

    def share(self, target: object) -> Any:
        """Return a proxy of an object, which is shared from now on if it was not before.

        Raises:
            SpecError: it cannot be shared; the text says why.
        """
        shared = self._objects.of(target) or self._objects.add(target, _members_of(target))
        return self._proxy(shared)

    def target_of(self, number: int) -> Any:
        """Return the object itself, for a reference that came home with a call.

        Raises:
            Released: it is shared no more.
        """
        return self._objects.find(number).target

    def proxy_of(self, number: int) -> Any:
        """Return a proxy, for a reference that was unpickled at home.

        Raises:
            Released: it is shared no more.
        """
        return self._proxy(self._objects.find(number))

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
        for link in list(self._links):
            link.call = owner.caller(link.number, link.plain)

    def _proxy(self, shared: Shared) -> Any:
        plain = shared.members.plain
        link = Link(self._route, shared.number, plain, partial(self._call, shared))
        self._links.add(link)
        return make_proxy(plain, link)

    def _call(
        self, shared: Shared, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Any:
        """Call the object, which gets what it would get from elsewhere, and gives the same."""
        self.check_open()
        if kwargs:
            kwargs = {name: self._itself(value) for name, value in kwargs.items()}
        value = shared.call(member, tuple(map(self._itself, args)), kwargs)
        result = self._objects.of(value)
        return value if result is None else self._proxy(result)

    def _itself(self, value: Any) -> Any:
        """Return the object for a proxy of it, and anything else as it is."""
        if issubclass(type(value), Proxy) and link_of(value).route.listener == self._route.listener:
            return self.target_of(link_of(value).number)
        return value


def refer_from_home(route: Route, objects: Objects, value: object) -> Any:
    """Return what a result holds in place of a shared object or a proxy.

    It is a tuple as ``__reduce__`` returns it, or NotImplemented for anything else.
    """
    shared = objects.of(value)
    if shared is None:
        return refer(value)
    if type(value) is Source:
        return open_stream, (tuple(route), shared.number)
    return arrive, (tuple(route), shared.number, shared.members.plain)


def _members_of(target: object) -> Members:
    """Return what may be reached of an object.

    Raises:
        SpecError: it cannot be shared.
    """
    if issubclass(type(target), Proxy):
        raise SpecError(f"{target!r} is a proxy already: pass it on as it is")
    if type(target) in ATOMS:
        raise SpecError(f"{target!r} never changes: pass it as it is")
    if isinstance(target, ModuleType):
        raise SpecError(
            f"the module {target.__name__} cannot be shared, as every process can import it; share "
            f"an object of a class"
        )
    if isinstance(target, type):
        raise SpecError(
            f"{target.__qualname__} is a class: share an object of it, or use spawn() to make one "
            f"in a process of its own"
        )
    from ._spec import describe  # here, as only owners pay for it

    plain = describe(type(target)).plain
    remember_class(plain, type(target))
    return proxy_class(plain)._pipeproxy_members
