"""Calls in flight, as what carries them sees them; and those for whose reply their thread waits."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from .._chains._activities import Served, here
from .._channels._wire import Frame
from .._system import _deadline
from .._system._reports import report


class Pending:
    """A call in flight, and what it will be told.

    Attributes:
        ident: its own.
        deadline: when it is given up, if that is not its thread's business.
        sent: some of it may have been written.
        gone: nobody waits for it any more: it is not sent, if it was not.
        served: the call in which it was made, if that is served, and does not wait for it now.
    """

    ident: int
    served: Served | None = None
    deadline: float | None = None
    sent = gone = False

    def begin(self) -> bool:
        """Return whether it is still to be sent; asked just before, and more than once, maybe."""
        raise NotImplementedError

    def settle(self, kind: int, payload: bytes | memoryview) -> None:
        """Take its reply."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """Learn that none will come; a second time, or after the reply, it does nothing."""
        raise NotImplementedError

    def forked(self) -> None:
        """In a forked child: the reply is the parent's."""


class Promised(Pending):
    """A call in flight that its thread does not wait for.

    Attributes:
        waits: its thread may wait until there is room for it.
        flight: what carries it; None where it needs nothing to.
    """

    waits = True
    flight: Any = None


class Asking(Pending):
    """A call in flight for whose reply its thread waits: it answers upcalls meanwhile.

    Args:
        alert: called whenever something was said.

    Attributes:
        lends: what is lent is called in this thread as well, and not only what it serves.
    """

    lends = True

    def __init__(self, ident: int, alert: Callable[[], object] | None) -> None:
        self.ident = ident
        #: The reply, and upcalls before it, as frames; or an error in their place.
        self._said: SimpleQueue[Frame | BaseException] = SimpleQueue()
        self._alert = alert or _nothing

    def begin(self) -> bool:
        self.sent = self.sent or not self.gone
        return self.sent

    def settle(self, kind: int, payload: bytes | memoryview) -> None:
        self.hear((kind, self.ident, 0, 0, payload))

    def fail(self, error: BaseException) -> None:
        self.hear(error)

    def hear(self, said: Frame | BaseException) -> None:
        """Learn what was said."""
        self._said.put(said)
        self._alert()

    def is_told(self) -> bool:
        """Whether something was said that `take` has not returned."""
        return not self._said.empty()

    def rest(self) -> Frame | None:
        """Return what else was said, as nobody will take it; None if nothing was."""
        try:
            said = self._said.get_nowait()
        except Empty:
            return None
        return None if isinstance(said, BaseException) else said

    def take(self, since: float, deadline: float | None) -> Frame:
        """Wait for what is said next; serve others meanwhile, if this thread does.

        Args:
            since: when it began to wait.

        Raises:
            CallTimeout: the deadline passed first.
            OwnerDied, ListenerClosed, CallLost, ProtocolError: nobody will answer.
        """
        server = here.server
        while server is not None and server.beside and not self.is_told():
            server.beside(None, since, deadline)
        try:
            said = self._said.get(timeout=_deadline.left(deadline))
        except Empty:
            raise _deadline.passed() from None
        if isinstance(said, BaseException):
            raise said
        return said


def tell(what: Callable[..., object], *said: Any) -> None:
    """Tell somebody what came of a call; whatever a callback of theirs raises ends no other."""
    try:
        what(*said)
    except BaseException as error:
        report(error, "a callback of a call in flight")


def _nothing() -> None:
    """Alert nobody: the thread waits for nothing else."""
