"""What users say of their classes: `proxied` for a class, markers for single members.

Nothing is added to a class that is decorated, so third-party classes and classes written in C
can be described too. What was said is read by `_spec` when an object is first shared.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Literal, NamedTuple, SupportsIndex, TypeVar, get_args, overload

from .errors import SpecError

C = TypeVar("C", bound=type[Any])
M = TypeVar("M")


#: Who runs the calls of an object, and where those of the owner's own process run.
Dispatch = Literal["serial", "threads", "asyncio"]
HomeCalls = Literal["caller", "queue"]


class Options(NamedTuple):
    """What `proxied` was told of one class; None where a base class may say it."""

    expose: tuple[str, ...] | None
    hide: tuple[str, ...]
    readonly: tuple[str, ...]
    by_ref: tuple[str, ...] = ()
    dispatch: Dispatch | None = None
    home: HomeCalls | None = None
    published: tuple[str, ...] = ()


_options: weakref.WeakKeyDictionary[type[Any], Options] = weakref.WeakKeyDictionary()

#: The classes that carry marks round members; empty until the first marker is used.
_carriers: tuple[type[Any], ...] = ()
_making = Lock()


@overload
def proxied(
    cls: C,
    /,
    *,
    expose: Iterable[str] | None = None,
    hide: Iterable[str] = (),
    readonly: Iterable[str] = (),
    by_ref: Iterable[str] = (),
    published: Iterable[str] = (),
    dispatch: Dispatch | None = None,
    home: HomeCalls | None = None,
) -> C: ...


@overload
def proxied(
    *,
    expose: Iterable[str] | None = None,
    hide: Iterable[str] = (),
    readonly: Iterable[str] = (),
    by_ref: Iterable[str] = (),
    published: Iterable[str] = (),
    dispatch: Dispatch | None = None,
    home: HomeCalls | None = None,
) -> Callable[[C], C]: ...


def proxied(  # noqa: PLR0913 - the one place where a class is described
    *classes: Any,
    expose: Iterable[str] | None = None,
    hide: Iterable[str] = (),
    readonly: Iterable[str] = (),
    by_ref: Iterable[str] = (),
    published: Iterable[str] = (),
    dispatch: Dispatch | None = None,
    home: HomeCalls | None = None,
) -> Any:
    """Say how objects of a class are seen through proxies, and return the class itself.

    It stands over a class, bare or with options, or is called with a class of somebody else's:
    ``proxied(queue.SimpleQueue, hide=["empty"])``. A class that is not decorated can be shared
    too; it shows its public members and the special methods that it defines. Subclasses follow.
    An object of a class that is decorated travels by reference: where it is returned, passed or
    found in what is, a proxy of it arrives.

    Args:
        classes: the class, where it does not stand below as decorated.
        expose: the names to show in place of those; ``_private`` names may be among them.
        hide: names not to show. What a base class hides stays hidden.
        readonly: names of attributes that proxies may read but neither set nor delete.
        by_ref: names of methods and attributes whose results travel by reference as well, whatever
            they are: a list, a lock, an open file.
        published: names of attributes that proxies read without a call; see `published`.
        dispatch: who runs calls. "serial", the default: the thread that serves, one at a time.
            "threads": a thread of the owner's for each thread of a client's, so calls may block and
            run at once, and locks that belong to a thread work. "asyncio": as serial, and async
            methods run at once, as tasks of the loop that awaits ``listener.serve_async()``.
        home: where calls run that are made in the owner's own process. "caller", the default: in
            the thread that makes them. "queue": in the thread that serves, as all others, for
            objects that are bound to it.

    Raises:
        SpecError: this is no class, an option is no collection of names or none of these words, or
            the class was described before in other words.
    """
    options = Options(
        None if expose is None else _names("expose", expose),
        _names("hide", hide),
        _names("readonly", readonly),
        _names("by_ref", by_ref),
        _word("dispatch", dispatch, get_args(Dispatch)),
        _word("home", home, get_args(HomeCalls)),
        _names("published", published),
    )
    if not classes:
        return functools.partial(_describe, options=options)
    if len(classes) > 1:
        raise SpecError("proxied takes one class: call it once for each")
    return _describe(classes[0], options=options)


def exposed(member: M, /) -> M:
    """Show this member of a class in proxies, whatever the options of the class say.

    Like every marker it stands outermost, or directly below ``@property``,
    ``@functools.cached_property``, ``@staticmethod`` or ``@classmethod``. (mypy accepts nothing
    above ``@property``.) A method that overrides a marked one is marked as well.

    Raises:
        SpecError: the member is hidden too, or it is nothing that a marker can stand over.
    """
    return mark(member, "exposed")


def hidden(member: M, /) -> M:
    """Do not show this member of a class in proxies, whatever the options of the class say.

    Raises:
        SpecError: the member is exposed too, or it is nothing that a marker can stand over.
    """
    return mark(member, "hidden")


def readonly(member: M, /) -> M:
    """Let proxies read this property of a class but neither set nor delete it.

    A function below it may become a getter, so one that stays a method is refused only when an
    object of the class is shared.

    Raises:
        SpecError: the member is a static or class method, or it is nothing that a marker can
            stand over.
    """
    if issubclass(type(unmarked(member)), (staticmethod, classmethod)):
        raise SpecError(
            f"@readonly stands over properties, and {_label(member)} is a method, which a proxy "
            f"cannot replace anyway: leave the marker out"
        )
    return mark(member, "readonly")


def published(member: M, /) -> M:
    """Let proxies read this property of a class without a call, from memory that they share.

    The owner puts the value there after every call that it serves, before the reply, so a proxy
    that has changed it reads the change; and what the owner itself changes within 50 ms, as long as
    its listener is served. So the property is computed often, and should be quick. Attributes are
    named in ``@proxied(published=["balance"])`` instead.

    It is for numbers, texts and other small values that can be pickled. One that takes more than
    232 bytes, goes by reference or raises is asked for, as any attribute is. Each attribute is
    published by itself: what must agree belongs into one, as a tuple. A read does not wait for
    blocks of `locked`. When the owner has died a read raises `OwnerDied`, as a call does.

    Raises:
        SpecError: the member is a static or class method, or it is nothing that a marker can
            stand over. (One that stays a method is refused when an object of the class is shared.)
    """
    if issubclass(type(unmarked(member)), (staticmethod, classmethod)):
        raise SpecError(
            f"@published stands over properties, and {_label(member)} is a method: what it returns "
            f"depends on its arguments, so make it a property, or leave the marker out"
        )
    return mark(member, "published")


def by_reference(member: M, /) -> M:
    """Let what this method returns, or this property is, travel by reference, whatever it is.

    Raises:
        SpecError: the member is nothing that a marker can stand over.
    """
    return mark(member, "by_reference")


def blocking(member: M, /) -> M:
    """Run calls of this method as those of ``dispatch="threads"``: they may wait, others go on.

    Raises:
        SpecError: the member is nothing that a marker can stand over.
    """
    return mark(member, "blocking")


def oneway(member: M, /) -> M:
    """Let callers of this method not wait for it: a plain call of it is as one by `notify`.

    It returns None at once. What the method returns is dropped, and what it raises is reported in
    the owner, by `sys.unraisablehook`. With `submit` it can be waited for all the same.

    Raises:
        SpecError: the member is nothing that a marker can stand over.
    """
    return mark(member, "oneway")


def options_of(cls: type[Any]) -> Options | None:
    """Return what `proxied` was told of this very class, None if it was told nothing."""
    return _options.get(cls)


def is_described(cls: type[Any]) -> bool:
    """Whether `proxied` was told of a class or of a base of it: its objects are shared alive."""
    known = _described.get(cls)
    if known is None:
        lineage = type.__getattribute__(cls, "__mro__")
        known = _described[cls] = any(base in _options for base in lineage)
    return known


#: What `is_described` answered; forgotten whenever `proxied` is told of one more class.
_described: weakref.WeakKeyDictionary[type[Any], bool] = weakref.WeakKeyDictionary()


def marks_of(member: object) -> frozenset[str]:
    """Return which marks a member of ``vars(cls)`` has, each by the name of its marker."""
    marks: frozenset[str] = frozenset()
    parts: tuple[Any, ...] = (member, function_in(member))
    for part in parts:
        if type(part) in _carriers:
            marks |= part._self_marks
    return marks


def unmarked(member: object) -> Any:
    """Return the member that the markers stand over."""
    return member.__wrapped__ if type(member) in _carriers else member  # type: ignore[attr-defined]


def function_in(member: object) -> Any:
    """Return what a property, a static or class method is made of, with the markers over it.

    Markers may stand over it instead of over the member. None is returned for other members.
    """
    member = unmarked(member)
    kind = type(member)  # isinstance would ask the member itself
    if issubclass(kind, property):
        return member.fget  # type: ignore[attr-defined]
    if issubclass(kind, functools.cached_property):
        return member.func  # type: ignore[attr-defined]
    if issubclass(kind, (staticmethod, classmethod)):
        return member.__func__  # type: ignore[attr-defined]
    return None


def mark(member: M, word: str) -> M:
    """Mark a member of a class with one word more.

    Raises:
        SpecError: it is nothing that can be marked, or not so.
    """
    marks = marks_of(member) | {word}
    inner = unmarked(member)
    if {"exposed", "hidden"} <= marks:
        raise SpecError(f"{_label(inner)} cannot be exposed and hidden at once: keep one marker")
    if issubclass(type(inner), type):
        raise SpecError(
            f"@{word} stands over members of a class, not over the class {_label(inner)}: use "
            f"@proxied for it, or name it in the options of the class that it stands in"
        )
    if not _has(inner, "__get__"):
        raise SpecError(
            f"@{word} stands over methods and properties, and {inner!r} is data: name it in "
            f"@proxied(expose=..., hide=..., readonly=..., published=...) of its class instead"
        )
    plain, calling, data = _get_carriers()
    if _has(inner, "__set__") or _has(inner, "__delete__"):
        carrier = data
    else:
        carrier = calling if callable(inner) else plain
    carried: M = carrier(inner, marks)
    return carried


def _describe(cls: C, options: Options) -> C:
    if not issubclass(type(cls), type):
        raise SpecError(
            f"proxied describes classes, and {cls!r} is none: put @proxied over a class, "
            f"or call proxied(SomeClass)"
        )
    if _options.setdefault(cls, options) != options:
        raise SpecError(
            f"{cls.__qualname__} was described by proxied before, in other words: say all in one "
            f"call, or describe a subclass"
        )
    _described.clear()
    return cls


def _names(option: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise SpecError(f"{option}={names!r} is one text where names are due: say [{names!r}]")
    try:
        listed = tuple(names)
    except TypeError:
        raise SpecError(f"{option}={names!r} is no collection of names: say ['a', 'b']") from None
    for name in listed:
        if not isinstance(name, str):
            raise SpecError(f"{option} holds {name!r}, which is no name: give names as text")
    return listed


def _word(option: str, word: Any, words: tuple[str, ...]) -> Any:
    if word is not None and word not in words:
        raise SpecError(f"{option}={word!r} is none of {', '.join(map(repr, words))}")
    return word


def _label(member: object) -> str:
    return str(getattr(member, "__qualname__", None) or getattr(member, "__name__", repr(member)))


def _has(member: object, name: str) -> bool:
    """Say whether Python finds this special method for `member`, without asking `member`."""
    return any(name in vars(cls) for cls in type(member).__mro__)


def _get_carriers() -> tuple[type[Any], ...]:
    global _carriers  # noqa: PLW0603 - made once, when the first marker needs them
    if not _carriers:
        import wrapt  # noqa: F401 - before the lock: a fork in mid-import would leave it locked

        with _making:
            _carriers = _carriers or _make_carriers()
    return _carriers


def _make_carriers() -> tuple[type[Any], ...]:
    """Make the classes of what a marker puts round a member: transparent but for its marks."""
    from wrapt import CallableObjectProxy, ObjectProxy  # 66 ms, which only who marks pays

    class Marked(ObjectProxy):
        """A method of whatever kind, or a cached property; what it binds to is the member's own."""

        def __init__(self, member: Any, marks: frozenset[str]) -> None:
            super().__init__(member)
            self._self_marks = marks

        def __get__(self, instance: object, owner: type[Any] | None = None) -> Any:
            return self.__wrapped__.__get__(instance, owner)

        def __set_name__(self, owner: type[Any], name: str) -> None:
            if _has(self.__wrapped__, "__set_name__"):
                self.__wrapped__.__set_name__(owner, name)

    class MarkedFunction(Marked, CallableObjectProxy):
        """The same for what can be called: while the class is made, or as a property's getter."""

        # A static method of a class is this very object, and is pickled and copied as functions
        # are: by its name.
        def __reduce_ex__(self, protocol: SupportsIndex) -> str:
            name: str = self.__wrapped__.__qualname__
            return name

        def __copy__(self) -> Any:
            return self

        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            return self

    class MarkedData(Marked):
        """A property, or another descriptor that minds being set."""

        def __set__(self, instance: object, value: Any) -> None:
            self.__wrapped__.__set__(instance, value)

        def __delete__(self, instance: object) -> None:
            self.__wrapped__.__delete__(instance)

        # The marks of a getter hold for the setter that is added to it below.
        def getter(self, function: Callable[..., Any]) -> Any:
            return functools.reduce(mark, self._self_marks, self.__wrapped__.getter(function))

        def setter(self, function: Callable[..., Any]) -> Any:
            return functools.reduce(mark, self._self_marks, self.__wrapped__.setter(function))

        def deleter(self, function: Callable[..., Any]) -> Any:
            return functools.reduce(mark, self._self_marks, self.__wrapped__.deleter(function))

    return Marked, MarkedFunction, MarkedData
