"""The giving half of `_rebuild`: what an exception consists of, and how that is pickled.

Its links and its traceback are not among it: those are told beside it, see `_exceptions`.
"""

from __future__ import annotations

import copyreg
from typing import Any

from ._rebuild import (
    ARGS,
    FIELD_TYPES,
    GROUP,
    Contents,
    Names,
    fill,
    fill_by_setstate,
    make,
    safe_str,
)

#: What is carried otherwise, and the object that every AttributeError would drag along.
_NOT_FIELDS = frozenset({*vars(BaseException), "__weakref__", "obj"})
_OWN_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


def reduce_exception(exc: BaseException) -> tuple[Any, ...]:
    """A reduce tuple that rebuilds `exc` without its links or its class's Python ``__init__``."""
    return make, made_of(exc), contents_of(exc), None, None, fill


def pickles_itself(cls: type) -> bool:
    """Whether somebody said how to pickle instances of this class; see `own_reduce`."""
    return cls in copyreg.dispatch_table or any(_provides(cls, name) for name in _OWN_PICKLING)


def own_reduce(exc: BaseException) -> Any:
    """What the class of `exc` itself has to say about how to pickle it."""
    cls = type(exc)
    if cls in copyreg.dispatch_table:
        return copyreg.dispatch_table[cls](exc)
    if _provides(cls, "__reduce__") or _provides(cls, "__reduce_ex__"):
        return exc.__reduce_ex__(5)
    names, args, fields, state = contents_of(exc)
    if _provides(cls, "__getstate__"):
        state = exc.__getstate__()  # type: ignore[attr-defined,unused-ignore]
    return make, made_of(exc), (names, args, fields, state), None, None, fill_by_setstate


def made_of(exc: BaseException) -> tuple[Names, str, tuple[Any, ...]]:
    """What `make` takes to make such an exception, which has no contents yet."""
    group = (exc.message, exc.exceptions) if isinstance(exc, GROUP) else ()
    return names_of(type(exc)), safe_str(exc), group


def contents_of(exc: BaseException) -> Contents:
    """What `fill` gives it then."""
    return names_of(type(exc)), ARGS.__get__(exc), _fields(exc), exc.__dict__


def names_of(cls: type) -> Names:
    """The names of a class and of its bases, up to the first builtin one: so it is found."""
    names = []
    for base in cls.__mro__:
        names.append((base.__module__, base.__qualname__))
        if base.__module__ == "builtins":
            break
    return tuple(names)


def _fields(exc: BaseException) -> dict[str, Any]:
    fields = {}
    for base in type(exc).__mro__:
        if base is BaseException:
            break
        for name, descriptor in vars(base).items():
            if isinstance(descriptor, FIELD_TYPES) and name not in _NOT_FIELDS:
                try:
                    fields[name] = descriptor.__get__(exc)
                except AttributeError:
                    pass  # not set, and so it shall arrive
    return fields


def _provides(cls: type, name: str) -> bool:
    """Whether the class in the ancestry of `cls` that defines `name` is not a builtin one."""
    for base in cls.__mro__:
        if name in vars(base):
            return base.__module__ != "builtins"
    return False
