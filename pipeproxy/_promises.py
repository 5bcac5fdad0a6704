"""Promises: what comes of a call that nobody waits for just now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ._flight import Flight, Pending
from ._lines import Line
from ._members import Plain
from ._pool import Lease
from ._reports import report
from ._wire import BULK, RESULT


class Reader(Protocol):
    """The owner that is called, as a promise needs it."""

    def read(  # noqa: PLR0913, PLR0917 - what was said to which call
        self,
        kind: int,
        answer: bytes | memoryview,
        plain: Plain,
        member: int,
        args: tuple[Any, ...],
        lease: Lease | None,
    ) -> Any:
        """Return the result, or the exception, that an answer holds."""

    def is_left(self, lease: Lease, line: Line, ident: int) -> None:
        """Let memory be had again when the owner replies to a call that nobody waits for."""

    def abandon(self, ident: int, error: BaseException, lent: Any, *, came: bool) -> None:
        """Want nothing of what comes with the reply, and lend nothing, as a call has failed."""


class Promise(Pending):
    """A call in flight for somebody who will ask for what came of it.

    Attributes:
        waits: its thread may wait until there is room for the call.
        flight: what carries the call; None where it needs none.
    """

    waits = True
    flight: Flight | None = None

    def arm(  # noqa: PLR0913, PLR0917 - all that is known of the call
        self,
        ident: int,
        deadline: float | None,
        flight: Flight,
        owner: Reader,
        where: tuple[Plain, int, tuple[Any, ...]],
        lent: Any,
        lease: Lease | None,
    ) -> None:
        """Be the promise of this call, which is about to be put into a flight."""
        self.ident = ident
        self.deadline = deadline
        self.flight = flight
        self._owner = owner
        self._where = where
        self._lent = lent
        self._lease = lease

    def begin(self) -> bool:
        """See `Pending`."""
        if not self.sent:
            self.sent = self.is_wanted()
        return self.sent

    def settle(self, kind: int, payload: bytes | memoryview) -> None:
        """See `Pending`."""
        try:
            value = self._owner.read(kind, payload, *self._where, self._lease)
        except BaseException as error:  # it cannot be rebuilt here
            self._owner.abandon(self.ident, error, None, came=True)
            self.refuse(error)
            return
        finally:
            if self._lease is not None:
                self._lease.end()
        if kind & ~BULK == RESULT:
            self.keep(value)
        else:
            self.refuse(value)

    def fail(self, error: BaseException) -> None:
        """See `Pending`."""
        self._owner.abandon(self.ident, error, None if self.sent else self._lent, came=False)
        if self._lease is not None and self.flight is not None:
            self._owner.is_left(self._lease, self.flight.line, self.ident)
        self.refuse(error)

    def give_up(self) -> None:
        """Want it no more: its owner is told, if it knows of the call."""
        if self.flight is not None:
            self.flight.give_up(self)

    def is_wanted(self) -> bool:
        """Return whether the call is still to be sent; from then on it is not taken back."""
        raise NotImplementedError

    def keep(self, value: Any) -> None:
        """Take what the call returned."""
        raise NotImplementedError

    def refuse(self, error: BaseException) -> None:
        """Take what it raised, or why nothing came of it; nothing, if that is known already."""
        raise NotImplementedError


def fulfil(promise: Promise | None, call: Callable[[], Any], where: object) -> None:
    """Call ``call()`` here and now, for a promise.

    Args:
        promise: None if what it raises is to be reported only.
        where: what that is reported of.
    """
    if promise is not None and not promise.begin():
        return
    try:
        value = call()
    except Exception as error:
        if promise is None:
            report(error, where)
        else:
            promise.refuse(error)
    else:
        if promise is not None:
            promise.keep(value)
