"""What users say of their classes: `proxied`, and its options.

Nothing is added to a class that is decorated, so third-party classes and classes written in C
can be described too. What was said is read by `_spec` when an object is first shared.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeVar, get_args, overload

from ..errors import SpecError

C = TypeVar("C", bound=type[Any])

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
