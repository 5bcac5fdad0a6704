"""From a spec to the class of its proxies, and what every proxy does without a call.

A proxy has one slot, its link, and no attribute else. All that leads to the object goes through
``link.call``: methods (generated, see `_generate`) and attributes. A method returns what its link
returns and touches it no further, so a link of another kind, put under a second proxy with `bind`,
turns the same method into one that only tells what it would have called.
"""

from __future__ import annotations

import itertools
import linecache
import sys
import weakref
from collections.abc import Callable, Hashable
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from .._specs._members import DELETE, GET, SET, Members, Plain
from ._generate import functions, member_name


class Link(Protocol):
    """What a proxy holds in its one slot: the way to the object.

    Attributes:
        key: equal, and of equal hash, for links that lead to the same object.
        place: where the object lives, for people, such as "process 1234".
    """

    @property
    def key(self) -> Hashable: ...

    @property
    def place(self) -> str: ...

    def call(self, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        """Do what `member` of the object does, and return or raise what it did."""

    def start(
        self, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None, promise: Any
    ) -> None:
        """Let it be done, without waiting for it; a `promise`, if it is not None, learns of it."""

    def reduce(self, plain: Plain) -> tuple[Any, ...]:
        """Return what ``__reduce_ex__`` of a proxy with this link and this spec returns."""


class _Telling:
    """A link by which methods call nothing, and return what they would have called."""

    def call(self, *told: Any) -> tuple[Any, ...]:
        """Return the member and its arguments, by position and by name."""
        return told

    def start(self, *told: Any) -> tuple[Any, ...]:
        """As `call`, of a method that is one-way."""
        return told[:3]


class Proxy:
    """The base of every generated class: the one slot, and all that needs no call."""

    __slots__ = ("__weakref__", "_pipeproxy_link")

    if TYPE_CHECKING:
        _pipeproxy_link: Link
        _pipeproxy_members: ClassVar[Members]
        _pipeproxy_functions: ClassVar[frozenset[Any]]
        _pipeproxy_teller: ClassVar[Any]
        _pipeproxy_class: ClassVar[Callable[[], type[Any] | None]]

    #: An array and a proxy are added by one call of ``__radd__``, not by one for each element.
    __array_ufunc__ = None

    def __new__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(f"{cls.__name__} is made by pipeproxy.share, not by calling it")

    # Known attributes are in the class too, but without a getter, so that Python comes here for
    # them: a getter's AttributeError would bring it here a second time, and make a second call.
    # (The getters of published ones make no call.)
    def __getattr__(self, name: str) -> Any:
        self._pipeproxy_members.check_read(name)
        return self._pipeproxy_link.call(GET, (name,), None)

    def __setattr__(self, name: str, value: Any) -> None:
        self._pipeproxy_members.check_write(name)
        self._pipeproxy_link.call(SET, (name, value), None)

    def __delattr__(self, name: str) -> None:
        self._pipeproxy_members.check_write(name)
        self._pipeproxy_link.call(DELETE, (name,), None)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        return _original_class(type(self))

    def __repr__(self) -> str:
        module, qualname = self._pipeproxy_members.plain[:2]
        return f"<proxy of {module}.{qualname} in {self._pipeproxy_link.place}>"

    def __eq__(self, other: object) -> bool:
        if not issubclass(type(other), Proxy):
            return NotImplemented
        return bool(self._pipeproxy_link.key == link_of(other).key)

    def __hash__(self) -> int:
        return hash(self._pipeproxy_link.key)

    def __dir__(self) -> list[str]:
        members = self._pipeproxy_members
        return sorted({*dir(object), *members.numbers, *members.attribute_names()})

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return self._pipeproxy_link.reduce(self._pipeproxy_members.plain)

    def __copy__(self) -> Proxy:
        return self

    def __deepcopy__(self, memo: object) -> Proxy:
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        numpy = import_module("numpy")
        if dtype is not None and numpy.dtype(dtype).kind != "O":
            raise TypeError(f"{self!r} cannot become an array of {dtype}: ask its owner for one")
        array = numpy.empty((), dtype=object)
        array[()] = self
        return array


def proxy_class(plain: Plain) -> type[Proxy]:
    """Return the class of the proxies of what `plain` describes, the same one every time.

    Raises:
        ProtocolError: `plain` is not what a spec yields.
    """
    cls = _classes.get(plain)
    if cls is None:
        cls = _classes.setdefault(plain, _make_class(plain))
    return cls


def bind(cls: type[Proxy], link: Link) -> Any:
    """Return a proxy of the generated class `cls` that reaches its object by `link`."""
    proxy = object.__new__(cls)
    _set_link(proxy, link)
    return proxy


def make_proxy(plain: Plain, link: Link) -> Any:
    """Return a proxy for the object at the end of `link`, which `plain` describes."""
    return bind(proxy_class(plain), link)


def link_of(proxy: object) -> Any:
    """Return the link in the slot of `proxy`, whatever kind of `Link` it was made with.

    Raises:
        TypeError: it is no proxy.
    """
    if not issubclass(type(proxy), Proxy):
        raise TypeError(f"a proxy is needed here, as pipeproxy.share returns it, not {proxy!r}")
    return _get_link(proxy)


def members_of(proxy: object) -> Members:
    """Return the names of what `proxy` stands for.

    Raises:
        TypeError: it is no proxy.
    """
    link_of(proxy)
    members: Members = type(proxy)._pipeproxy_members  # type: ignore[attr-defined]
    return members


def remember_class(plain: Plain, original: type[Any]) -> None:
    """Let proxies in this process, and in children forked from it, say that they are `original`.

    Without it the class is looked for by its name, and a class made in a function is not found.
    It is not kept alive.
    """
    cls = proxy_class(plain)
    cls._pipeproxy_class = weakref.ref(original)
    _kept[original] = cls


# A generated class lives as long as a proxy of it, or the original class, needs it.
_classes: weakref.WeakValueDictionary[Plain, type[Proxy]] = weakref.WeakValueDictionary()
_kept: weakref.WeakKeyDictionary[type[Any], type[Proxy]] = weakref.WeakKeyDictionary()
_numbers = itertools.count(1)
#: Sequences that are added to others of their kind in C, which looks at nothing but the type.
_CONCATENATED = frozenset(
    {("builtins", "list"), ("builtins", "bytearray"), ("collections", "deque")}
)
_get_link = Proxy.__dict__["_pipeproxy_link"].__get__
_set_link = Proxy.__dict__["_pipeproxy_link"].__set__


def _original_class(cls: type[Proxy]) -> type[Any]:
    original = cls._pipeproxy_class()
    if original is not None:
        return original
    for module, qualname in cls._pipeproxy_members.plain[3]:
        found = _loaded_class(module, qualname)
        if found is not None:
            return found
    return cls


def _loaded_class(module: str, qualname: str) -> type[Any] | None:
    # Neither imports nor runs anything: modules may be lazy, and classes have odd metaclasses.
    found: Any = sys.modules.get(module)
    try:
        names = object.__getattribute__(found, "__dict__")
        for part in qualname.split("."):
            found = names[part]
            if not issubclass(type(found), type):
                return None
            names = type.__getattribute__(found, "__dict__")
    except (AttributeError, KeyError, TypeError):
        return None
    original: type[Any] = found
    return original


def unread(plain: Plain) -> list[Any]:
    """Return where a link keeps what was read of its object's published attributes: nothing yet."""
    return [_UNREAD] * len(plain[10])


#: In the place of the word of a slot, a version and a value; this word never is that version.
_UNREAD: tuple[Any, ...] = ({(): None}, 0, None)


def _reader(index: int) -> Callable[[Any], Any]:
    """Return the getter of a published attribute, by its number among them.

    Where its value has to be asked for, AttributeError leads to `Proxy.__getattr__`.
    """

    def read(self: Any) -> Any:
        link = self._pipeproxy_link
        word, version, value = link.latest[index]
        try:
            if word[()] == version:
                return value
        except ValueError:
            pass  # the owner is dead, and the word was let go of
        return link.read(index, link.latest)

    return read


def _concatenated(self: Any, other: Any) -> Any:
    return other + self.copy()


def _make_class(plain: Plain) -> type[Proxy]:
    module, qualname, doc, _, methods, attributes = plain[:6]
    name = qualname.rpartition(".")[2] + "Proxy"
    members = Members(plain)
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__module__": __name__,
        "__doc__": doc,
        "__hash__": Proxy.__hash__,
        "_pipeproxy_members": members,
        "_pipeproxy_class": staticmethod(lambda: None),
    }
    for attribute, text in attributes:
        number = members.published.get(attribute)
        getter = None if number is None else _reader(number)
        namespace[member_name(attribute)] = property(getter, doc=text)
    filename = f"<pipeproxy {name} {next(_numbers)}>"
    made = dict(functions(filename, module, qualname, methods, plain[9]))
    namespace.update(made)
    namespace["_pipeproxy_functions"] = frozenset(made.values())
    if not _CONCATENATED.isdisjoint(plain[3]) and {"__add__", "copy"} <= namespace.keys():
        namespace.setdefault("__radd__", _concatenated)
    cls: Any = type(name, (Proxy,), namespace)
    telling: Any = _Telling()
    cls._pipeproxy_teller = bind(cls, telling)
    weakref.finalize(cls, linecache.cache.pop, filename, None).atexit = False
    return cls  # type: ignore[no-any-return]
