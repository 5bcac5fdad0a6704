"""Values of which it is said how they travel.

As copies, although their classes would have them travel by reference; or as views, which are copied
once less.
"""

from __future__ import annotations

from copy import copy, deepcopy
from copyreg import dispatch_table
from types import FunctionType
from typing import Any, TypeVar, cast

from ..codecs._views import Viewed

T = TypeVar("T")

#: The classes of what `by_value` and `by_view` return; empty until one of them is used.
_carriers: tuple[type[Any], ...] = ()


def by_value(value: T, /) -> T:
    """Let a value travel as a copy, where it would travel by reference.

    It stands in an argument, a result, or a part of one: ``bank.add(by_value(account))``. What is
    returned can be used as the value itself.

    Args:
        value: anything that can be pickled.
    """
    kind, _ = _get_carriers()
    return cast(T, value if type(value) is kind else kind(itself(value)))


def by_view(value: T, /) -> T:
    """Let a large array travel as a view: it is copied once, and not by who receives it.

    It stands in an argument, a result, or a part of one: ``return by_view(self.weights)``. What
    arrives is what the array was when it was sent, and can be read only, whatever its size; it may
    be kept for as long as one likes. It is in memory that both processes share, which is used for
    nothing else until it is gone, with all that was derived from it. Where there is no such memory
    to be had it is a copy.

    What is returned can be used as the value itself.

    Args:
        value: an array of NumPy's or anything that is made of such, as those of pandas and Arrow.
            `bytes`, `bytearray` and `array.array` arrive as a `memoryview`. What pickle does not
            write out of band arrives as an ordinary copy.
    """
    _, kind = _get_carriers()
    return cast(T, value if type(value) is kind else kind(itself(value)))


def copied(value: Any) -> Any:
    """Return how to pickle what one was said of, as ``__reduce__``; NotImplemented else."""
    if type(value) not in _carriers:
        return NotImplemented
    if type(value) is _carriers[1]:
        return _unchanged, (Viewed(value.__wrapped__),)
    return value.__reduce_ex__(5)


def itself(value: Any) -> Any:
    """Return what one was said of, and anything else as it is."""
    return value.__wrapped__ if type(value) in _carriers else value


def _get_carriers() -> tuple[type[Any], ...]:
    global _carriers  # noqa: PLW0603 - made once: it needs a library that most never need
    if not _carriers:
        from wrapt import ObjectProxy

        class Copied(ObjectProxy):
            """What travels as a copy; here it is the value in all but its type."""

            def __reduce_ex__(self, protocol: Any) -> Any:
                return _reduced(self.__wrapped__, protocol)

            def __copy__(self) -> Any:
                return type(self)(copy(self.__wrapped__))

            def __deepcopy__(self, memo: Any) -> Any:
                return type(self)(deepcopy(self.__wrapped__, memo))

        class Shown(Copied):
            """What travels as a view."""

        _carriers = (Copied, Shown)
    return _carriers


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
