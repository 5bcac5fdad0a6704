"""Promises: what comes of a call that nobody waits for just now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from .._channels._wire import BARE, RESULT
from .._system._reports import report
from ._asking import Asking, Promised
from ._lines import Line
from ._pool import Lease
from ._requests import Request

#: What an answer that was read is no more needed for.
_OVER: Final[Request] = (0, (), 0, (), None)


class Reader(Protocol):
    """The owner that is called, as a promise needs it."""

    def read(
        self, kind: int, answer: bytes | memoryview, request: Request, lease: Lease | None
    ) -> Any:
        """Return the result, or the exception, that an answer holds."""

    def attend(self, flight: Any, asking: Asking, since: float, deadline: float | None) -> None:
        """Serve others, and answer what the owner asks, until somebody waits no more."""

    def is_left(self, lease: Lease, line: Line, ident: int) -> None:
        """Let memory be had again when the owner replies to a call that nobody waits for."""

    def abandon(self, ident: int, error: BaseException, lent: Any, *, came: bool) -> None:
        """Want nothing of what comes with the reply, and lend nothing, as a call has failed."""


class Promise(Promised):
    """A call in flight for somebody who will ask for what came of it."""

    _lent: Any = None
    _lease: Lease | None = None
    _request: Request

    def arm(  # noqa: PLR0913, PLR0917 - all that is known of the call
        self,
        ident: int,
        owner: Reader,
        request: Request,
        deadline: float | None = None,
        lent: Any = None,
        lease: Lease | None = None,
    ) -> None:
        """Be the promise of this call, which is about to be sent."""
        self.ident, self._owner, self._request = ident, owner, request
        if deadline is not None:
            self.deadline = deadline
        if lent is not None or lease is not None:
            self._lent, self._lease = lent, lease

    def begin(self) -> bool:
        """See `Pending`."""
        if not self.sent:
            self.sent = not self.gone and self.is_wanted()
            if not self.sent:
                self._take_back()
                self._be_over()
        return self.sent

    def settle(self, kind: int, payload: bytes | memoryview) -> None:
        """See `Pending`."""
        request, lease = self._request, self._lease
        self._request, self.flight, self.served = _OVER, None, None  # as `_be_over`
        if self._lent is not None:
            self._lent = None
        try:
            value = self._owner.read(kind, payload, request, lease)
        except BaseException as error:  # it cannot be rebuilt here
            self._owner.abandon(self.ident, error, None, came=True)
            self.refuse(error)
            return
        finally:
            if lease is not None:
                lease.end(kind)
        if kind & BARE == RESULT:
            self.keep(value)
        else:
            self.refuse(value)

    def fail(self, error: BaseException) -> None:
        """See `Pending`."""
        self._let_go(error)
        self.refuse(error)

    def _let_go(self, error: BaseException) -> None:
        """Have back what went with the call, which has failed."""
        self._owner.abandon(self.ident, error, None, came=False)
        if not self.sent:
            self._take_back()
        elif self._lease is not None and self.flight is not None:
            self._owner.is_left(self._lease, self.flight.line, self.ident)
        self._be_over()

    def _take_back(self) -> None:
        """Have back at once what went with the call, which is never sent."""
        if self._lent is not None:
            self._lent.take_back()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.end()

    def _be_over(self) -> None:
        """Keep nothing alive any more: neither the arguments nor the line."""
        self._request, self.flight, self.served = _OVER, None, None
        if self._lent is not None:
            self._lent = None

    def give_up(self) -> None:
        """Want it no more: its owner is told, if it knows of the call."""
        flight = self.flight  # another thread may end it
        if flight is not None:
            flight.give_up(self)

    def is_wanted(self) -> bool:
        """Return whether the call is still to be sent; from then on it is not taken back.

        It is asked a second time if an interrupt came between.
        """
        raise NotImplementedError

    def keep(self, value: Any) -> None:
        """Take what the call returned."""
        raise NotImplementedError

    def refuse(self, error: BaseException) -> None:
        """Take what it raised, or why nothing came of it; nothing, if that is known already."""
        raise NotImplementedError


class Unheard(Promise):
    """A one-way call that lends something: answers are received until it is over, as its caller
    may be called back meanwhile.

    Args:
        where: what it calls, for people.
    """

    def __init__(self, where: str) -> None:
        self._name = where

    def fail(self, error: BaseException) -> None:
        """See `Pending`; nobody asked."""
        self._let_go(error)

    def is_wanted(self) -> bool:
        return True

    def keep(self, value: Any) -> None:
        """Drop it."""

    def refuse(self, error: BaseException) -> None:
        """Tell of it, as its owner would of what another one-way call raised."""
        report(error, self._name)

    def forked(self) -> None:
        """In a forked child: it is the parent's."""


def fulfil(promise: Promise | None, call: Callable[[], Any], where: str) -> None:
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
