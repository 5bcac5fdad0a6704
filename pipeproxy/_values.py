"""Values that travel as copies although their classes would have them travel by reference."""

from __future__ import annotations

from copy import copy, deepcopy
from copyreg import dispatch_table
from types import FunctionType
from typing import Any, TypeVar, cast

T = TypeVar("T")

#: The class of what `by_value` returns; empty until it is used.
_carriers: tuple[type[Any], ...] = ()


def by_value(value: T, /) -> T:
    """Let a value travel as a copy, where it would travel by reference.

    It stands in an argument, a result, or a part of one: ``bank.add(by_value(account))``. What is
    returned can be used as the value itself.

    Args:
        value: anything that can be pickled.
    """
    return cast(T, value if isinstance(value, _carriers) else _get_carrier()(value))


def copied(value: Any) -> Any:
    """Return how to pickle what `by_value` was said of, as ``__reduce__``; NotImplemented else."""
    return value.__reduce_ex__(5) if type(value) in _carriers else NotImplemented


def itself(value: Any) -> Any:
    """Return what `by_value` was said of, and anything else as it is."""
    return value.__wrapped__ if type(value) in _carriers else value


def _get_carrier() -> type[Any]:
    global _carriers  # noqa: PLW0603 - made once: it needs a library that most never need
    if not _carriers:
        from wrapt import ObjectProxy

        class Copied(ObjectProxy):
            """What travels as a copy; here it is the value in all but its type."""

            def __reduce_ex__(self, protocol: Any) -> Any:
                return _reduced(self.__wrapped__, protocol)

            def __copy__(self) -> Any:
                return by_value(copy(self.__wrapped__))

            def __deepcopy__(self, memo: Any) -> Any:
                return by_value(deepcopy(self.__wrapped__, memo))

        _carriers = (Copied,)
    return _carriers[0]


def _reduced(value: Any, protocol: Any) -> tuple[Any, ...]:
    """Return how pickle writes a value that is asked about by nobody."""
    if isinstance(value, (type, FunctionType)):
        return _unchanged, (value,)
    reduce = dispatch_table.get(type(value))
    reduced = value.__reduce_ex__(protocol) if reduce is None else reduce(value)
    # What is a name can travel in no other way, as classes and functions cannot.
    return (_unchanged, (value,)) if isinstance(reduced, str) else reduced


def _unchanged(value: Any) -> Any:
    return value
