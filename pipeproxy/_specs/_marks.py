"""What users say of single members of their classes: markers.

A marker puts something round the member that is transparent but for its marks. They are read by
`_survey` when an object of the class is first shared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import Lock
from typing import Any, SupportsIndex, TypeVar

from ..errors import SpecError

M = TypeVar("M")

#: The classes that carry marks round members; empty until the first marker is used.
_carriers: tuple[type[Any], ...] = ()
_making = Lock()


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
