"""Several calls as one."""

from __future__ import annotations

from contextvars import Token
from itertools import count
from types import TracebackType
from typing import Generic, TypeVar

from . import _activity, _life
from ._members import ENTER
from ._proxy import link_of

T = TypeVar("T")

_numbers = count(1)


class locked(Generic[T]):  # noqa: N801 - reads as the verb that it is: ``with locked(account):``
    """Hold the exclusive right to an object for the length of a block.

    Nobody else's call runs in between, from whatever process or thread, the owner's own included;
    they wait in the order in which they came. The block may call the object and others; it may be
    nested, for the same object too. If this process dies inside, the section is free at once: what
    it had sent is not run any more, and ``__abandoned__(self)`` of the class, if it defines that,
    may repair the object first.

    ``with timeout(...)`` round it bounds the wait to enter.

    Args:
        proxy: a proxy; the block gets it as it is.

    Raises:
        TypeError: it is no proxy.
        CallTimeout: somebody else held the section for too long.
        OwnerDied, ListenerClosed, CallLost: nobody will let this process in.
    """

    __slots__ = ("_entered", "_link", "_proxy")

    def __init__(self, proxy: T, /) -> None:
        self._link = link_of(proxy)
        self._proxy = proxy
        self._entered: list[tuple[bytes, int, Token[int]]] = []

    def __enter__(self) -> T:
        number = next(_numbers)
        self._entered.append((_life.token(), number, _activity.enter()))
        try:
            self._link.call(ENTER, (number,), None)
        except BaseException:
            self._leave()
            raise
        return self._proxy

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        token, number, before = self._entered.pop()
        try:
            # A child that was forked inside inherits the block, but not the right.
            if token == _life.token():
                self._link.leave(number)
        finally:
            _activity.leave(before)
