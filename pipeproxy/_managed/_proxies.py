"""Proxies that call by name, for types that are registered with a proxy type or exposed names.

They are what users derive proxy types of their own from, as they did from those of
`multiprocessing.managers`. All other objects have the proxies that `share` makes.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from .._specs._members import FORWARDED
from ._containers import shown
from ._registry import TEXT, VALUE, Handled

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class BaseProxy:
    """A proxy whose methods call those of its object by name.

    A class derived from it names what it calls, and calls it by `_callmethod`::

        class CounterProxy(BaseProxy):
            _exposed_ = ("increment", "__getattribute__")

            def increment(self):
                return self._callmethod("increment")

            @property
            def total(self):
                return self._callmethod("__getattribute__", ("total",))
    """

    _exposed_: tuple[str, ...] | None = None
    _method_to_typeid_: Mapping[str, str] | None = None

    _handle: Any
    _typeid: str

    def __init__(self, handle: Any, typeid: str = "") -> None:
        # Past whatever a class derived from it does with attributes.
        object.__setattr__(self, "_handle", handle)
        object.__setattr__(self, "_typeid", typeid)

    def _callmethod(
        self, methodname: str, args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a method of the object and return what it returns."""
        result = self._handle.call(methodname, *args, **(kwds or {}))
        return proxy_of(result) if type(result) is Handled else result

    def _getvalue(self) -> Any:
        """Return a copy of the object."""
        return self._handle.call(VALUE)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._handle, self._typeid)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, typeid {self._typeid!r} at {id(self):#x}>"

    def __str__(self) -> str:
        """Return the `repr` of the object."""
        text: str = self._handle.call(TEXT)
        return text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseProxy):
            return NotImplemented
        return bool(self._handle == other._handle)

    def __hash__(self) -> int:
        return hash(self._handle)


def _rebuild(cls: Callable[[Any, str], T], handle: Any, typeid: str) -> T:
    return cls(handle, typeid)


def MakeProxyType(name: str, exposed: Iterable[str]) -> type[BaseProxy]:  # noqa: N802
    """Return a class of proxies with these methods."""
    exposed = tuple(exposed)
    members: dict[str, Any] = {method: _method(method) for method in exposed}
    # Where its objects find it when they are unpickled.
    members |= {"_exposed_": exposed, "__module__": sys._getframe(1).f_globals.get("__name__")}
    return type(name, (BaseProxy,), members)


def _method(name: str) -> Callable[..., Any]:
    in_place = name.startswith("__i") and name.replace("i", "", 1) in FORWARDED

    def call(self: BaseProxy, /, *args: Any, **kwargs: Any) -> Any:
        result = self._callmethod(name, args, kwargs)
        return self if in_place else result

    call.__name__ = name
    return call


class _Auto(BaseProxy):
    """A proxy with the methods that were registered as exposed."""

    _names: tuple[str, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _auto, (self._handle, self._typeid, self._names)


@lru_cache(maxsize=256)
def _auto_class(typeid: str, exposed: tuple[str, ...]) -> Any:
    methods = {name: _method(name) for name in exposed}
    return type(f"AutoProxy[{typeid}]", (_Auto,), {**methods, "_names": exposed})


def _auto(handle: Any, typeid: str, exposed: tuple[str, ...]) -> Any:
    return _auto_class(typeid, exposed)(handle, typeid)


def proxy_of(handled: Handled, proxytype: Any = None) -> Any:
    """Return the proxy for a handle that came from a registry.

    Args:
        proxytype: the class, if the registry's is not the one to use.
    """
    proxytype = proxytype or handled.proxytype
    if proxytype is None:
        return _auto(handled.handle, handled.typeid, handled.exposed)
    return proxytype(handled.handle, handled.typeid)


class IteratorProxy(BaseProxy):
    """A proxy of an iterator or a generator."""

    _exposed_ = ("__next__", "send", "throw", "close")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self._callmethod("__next__")

    def send(self, value: Any) -> Any:
        """Send a value into the generator."""
        return self._callmethod("send", (value,))

    def throw(self, *error: Any) -> Any:
        """Raise an exception in the generator."""
        return self._callmethod("throw", error)

    def close(self) -> None:
        """Close the generator."""
        self._callmethod("close")


class AcquirerProxy(BaseProxy):
    """A proxy of a lock or a semaphore."""

    _exposed_: tuple[str, ...] = ("acquire", "release")

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire it; return False if that was not possible in time."""
        args = (blocking,) if timeout is None else (blocking, timeout)
        acquired: bool = self._callmethod("acquire", args)
        return acquired

    def release(self) -> None:
        """Release it."""
        self._callmethod("release")

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *details: object) -> None:
        self.release()


class ConditionProxy(AcquirerProxy):
    """A proxy of a condition; what `wait_for` waits for is asked here, in its caller's process."""

    _exposed_ = ("acquire", "release", "wait", "notify", "notify_all")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified; return False if that was not in time."""
        notified: bool = self._callmethod("wait", (timeout,))
        return notified

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until ``predicate()`` is true, and return it; in time or not."""
        until = None if timeout is None else monotonic() + timeout
        while not (result := predicate()):
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        """Let the first `n` of those who wait go on."""
        self._callmethod("notify", (n,))

    def notify_all(self) -> None:
        """Let all who wait go on."""
        self._callmethod("notify_all")


class NamespaceProxy(BaseProxy):
    """A proxy whose public attributes are those of its object; to derive others from."""

    _exposed_: tuple[str, ...] = ("__getattribute__", "__setattr__", "__delattr__")

    def __getattr__(self, key: str) -> Any:
        if key[0] == "_":
            return object.__getattribute__(self, key)
        return self._callmethod("__getattribute__", (key,))

    def __setattr__(self, key: str, value: Any) -> None:
        if key[0] == "_":
            object.__setattr__(self, key, value)
        else:
            self._callmethod("__setattr__", (key, value))

    def __delattr__(self, key: str) -> None:
        if key[0] == "_":
            object.__delattr__(self, key)
        else:
            self._callmethod("__delattr__", (key,))


AutoProxy: type[BaseProxy] = MakeProxyType("AutoProxy", ())
ListProxy: type[BaseProxy] = MakeProxyType("ListProxy", shown(list))
DictProxy: type[BaseProxy] = MakeProxyType("DictProxy", shown(dict))
ArrayProxy: type[BaseProxy] = MakeProxyType("ArrayProxy", shown(array))
ValueProxy: type[BaseProxy] = MakeProxyType("ValueProxy", ("get", "set"))
EventProxy: type[BaseProxy] = MakeProxyType("EventProxy", ("is_set", "set", "clear", "wait"))

#: Proxy types of the standard manager that show no more than proxies as all others do.
STANDARD = (AutoProxy, ListProxy, DictProxy, ArrayProxy, ValueProxy, EventProxy, AcquirerProxy)
