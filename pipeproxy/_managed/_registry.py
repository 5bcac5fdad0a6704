"""The registry: the one object that a manager's process shares at first. It makes all others.

Most objects are shared as they are. A type that was registered with a proxy type of the user's, or
with names to expose, is reached through a `Handle`, which calls whatever was exposed by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .._references._values import by_value
from .._specs._options import is_described, proxied
from .._specs._spec import describe
from .._specs._stdlib import stand_for
from .._stands._waits import Stand
from ..errors import SpecError
from ._byname import Refused, show_by_name
from ._desk import Desk

#: Where the classes are whose objects are plain data: found in others, they travel as copies.
_COPIED = frozenset({"builtins", "array", "collections"})
#: The names that `Handle.call` knows beside those that are exposed.
VALUE, TEXT = "#GETVALUE", "__repr__"


class Registration(NamedTuple):
    """What `register` was told of a type.

    Attributes:
        make: what makes an object, None if it is given one.
        exposed: the names that may be called, None for all that are public.
        typeids: for methods whose results are managed objects, the names of their types.
        proxytype: the class of its proxies, None for proxies as all others.
    """

    make: Callable[..., Any] | None
    exposed: tuple[str, ...] | None
    typeids: Mapping[str, str]
    proxytype: Any

    @property
    def is_plain(self) -> bool:
        """Whether its objects are shared as they are."""
        return self.exposed is None and self.proxytype is None and not self.typeids


class Handle:
    """What calls an object by the names of its members.

    Args:
        target: the object.
        exposed: the names that may be called.
        wrap: turns what some of them return into what is returned instead, by name.
        stand: what is called in the place of the object, if anything is.
    """

    def __init__(
        self,
        target: Any,
        exposed: Iterable[str],
        wrap: Mapping[str, Callable[[Any], Any]],
        stand: Any = None,
    ) -> None:
        self._target = target
        self._called = target if stand is None else stand
        self._exposed = frozenset(exposed)
        self._wrap = wrap

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a member of the object.

        Raises:
            Refused: it is not among those that may be called.
        """
        if name in self._exposed:
            result = getattr(self._called, name)(*args, **kwargs)
            return self._wrap[name](result) if name in self._wrap else result
        if name == VALUE:
            return by_value(self._target)
        if name == TEXT:
            return repr(self._target)
        kind = type(self._target).__qualname__
        raise Refused(f"{kind}.{name} is not among the names that were registered as exposed")


class ThreadedHandle(Handle):
    """The same for an object whose calls may wait for each other."""


class HurriedHandle(ThreadedHandle):
    """The same for one that is stood for by what tells when they would."""

    def __init__(
        self,
        target: Any,
        exposed: Iterable[str],
        wrap: Mapping[str, Callable[[Any], Any]],
        stand: Stand,
    ) -> None:
        super().__init__(target, exposed, wrap, stand)
        stand.tried = self
        self.may_go_on = stand.may_go_on


proxied(Handle)
proxied(ThreadedHandle, dispatch="threads")


class Handled(NamedTuple):
    """A handle on its way to become a proxy."""

    typeid: str
    proxytype: Any
    exposed: tuple[str, ...]
    handle: Any


class Registry:
    """Makes objects by the names of their types.

    Args:
        entries: what is registered.
        initializer, initargs: called once, before anything is made.
    """

    def __init__(
        self,
        entries: Mapping[str, Registration],
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        self._entries = entries
        self._desk: Desk | None = None
        if initializer is not None:
            initializer(*initargs)

    def is_plain(self, typeid: str) -> bool:
        """Whether objects of a type are shared as they are."""
        return self._entry(typeid).is_plain

    def create(self, typeid: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
        """Make an object, which travels by reference, now and wherever else it is found."""
        made = self._make(typeid, args, kwargs)
        cls = type(made)
        if cls.__module__ not in _COPIED and not is_described(cls):
            proxied(cls)
        try:
            show_by_name(made)
        except SpecError:
            pass  # no object to share: it travels as it is, or is refused on its way
        return made

    def handle(
        self, typeid: str, args: Iterable[Any], kwargs: Mapping[str, Any], proxytype: bool
    ) -> Handled:
        """Make an object and return a handle of it.

        Args:
            proxytype: whether to tell the class of its proxies, which its user may not know.
        """
        handled = self._handled(typeid, self._make(typeid, args, kwargs))
        return handled if proxytype else handled._replace(proxytype=None)

    def open(self, address: Any, authkey: bytes, reference: bytes) -> Any:
        """Let strangers who know the key have a reference; return the address for them."""
        if self._desk is None:
            self._desk = Desk(address, authkey, reference)
            self._desk.open()
        return self._desk.address

    def _entry(self, typeid: str) -> Registration:
        try:
            return self._entries[typeid]
        except KeyError:
            raise KeyError(f"no type {typeid!r} is registered with the manager's server") from None

    def _make(self, typeid: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
        make = self._entry(typeid).make
        if make is not None:
            return make(*args, **kwargs)
        match tuple(args):
            case (value,) if not kwargs:
                return value
        raise TypeError(f"{typeid!r} is registered without a callable: give it the object itself")

    def _handled(self, typeid: str, target: Any) -> Handled:
        entry = self._entry(typeid)
        exposed = entry.exposed
        if exposed is None:
            exposed = tuple(n for n in dir(target) if n[0] != "_" and callable(getattr(target, n)))
        exposed = (*exposed, *(name for name in entry.typeids if name not in exposed))
        wrap = {
            name: lambda result, inner=inner: self._handled(inner, result)
            for name, inner in entry.typeids.items()
        }
        make = stand_for(type(target))
        stand = None if make is None else make(target)
        handle: Handle
        if isinstance(stand, Stand) and stand.hurries:
            handle = HurriedHandle(target, exposed, wrap, stand)
        elif _may_wait(type(target)):
            handle = ThreadedHandle(target, exposed, wrap, stand)
        else:
            handle = Handle(target, exposed, wrap, stand)
        return Handled(typeid, entry.proxytype, exposed, handle)


def _may_wait(cls: type[Any]) -> bool:
    """Whether calls of an object of this class may wait for others."""
    try:
        conduct = describe(cls).conduct
    except SpecError:
        return False  # proxies as all others could show nothing of it
    return conduct.dispatch == "threads" or bool(conduct.blocking)


proxied(Registry, by_ref=["create"])
