"""Who serves a listener: one thread at a time, whichever takes the right to.

A thread that waits for a section at home serves as a *guest* while nobody else does, and gives way
to whoever wants to. It lets clients in and buries them, and moves their frames; their calls are run
by the thread that serves, or served last, and by no other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from math import inf
from threading import get_ident
from time import monotonic
from typing import Any, Final, TypeVar, cast

from .._chains._activities import here
from .._system._bell import Bell
from .._system._rights import TAKEN, attempt
from .._system._sigint import Deferred
from ..transports.pipe import wait_for
from ._service import Service, meanwhile

T = TypeVar("T")

#: Seconds between two looks at what a thread waits for that need not notice it at once.
_LOOK_EVERY: Final = 0.05
#: Seconds for which a guest does not serve when somebody wants to; and how often that one tries.
_GIVE_WAY: Final = 0.1
_PAUSE: Final = 0.001
#: Seconds for which a guest does not serve when it has left something to others.
_LEAVE: Final = 0.01


class Turns:
    """The right to serve.

    Args:
        service: what is served.
        wake: ends a wait of the thread that serves.

    Attributes:
        closing: the service closes when the thread that serves it lets go.
    """

    def __init__(self, service: Service, wake: Callable[[], None]) -> None:
        self.closing = False
        self.wake = wake
        self._service = service
        service.upcalls.wait, service.upcalls.wake = self.wait, self.let_go
        service.visit = self.visit
        here.note_service(service)
        self._right: Any = threading.RLock()
        self._serving = False  # in earnest, not as a guest
        self._wished = 0.0  # when somebody wanted to serve in a guest's place
        self._left = 0.0  # when a guest left something to the thread that serves
        self._loop: Any = None  # an event loop that serves

    def check_free(self) -> None:
        """Pass if this thread may serve now, or in a moment.

        Raises:
            RuntimeError: another one serves, or this one is inside a call that it serves.
        """
        if self._is_mine():
            raise RuntimeError("a method that this listener serves cannot serve it: return first")
        elsewhere = self._loop is not None and not self._is_in_loop()
        if elsewhere or (self._serving and attempt(self._right, _nothing) is TAKEN):
            raise RuntimeError("another thread serves this listener; one at a time can")

    def take(
        self, serve: Callable[[Callable[[], None]], T], deadline: float | None = None
    ) -> T | None:
        """Call ``serve(check)`` with the right to serve, and return what it returns.

        Ctrl-C is put off while it runs, until it calls `check` or returns.

        Args:
            deadline: when to give up, and return None, if a guest is in the middle of a call.

        Raises:
            RuntimeError: as `check_free`.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        self.check_free()
        while (done := attempt(self._right, partial(self._serve, serve))) is TAKEN:
            self._wished = monotonic()  # also for who comes again and never waits
            self.wake()
            # A moment later at the earliest: who is told to poll again at once would be in the way.
            if deadline is not None and monotonic() > deadline + _PAUSE:
                return None
            wait_for(timeout=_PAUSE)
            self.check_free()
        return done

    def wait(self, bell: Bell, seconds: float | None, since: float) -> None:
        """Wait for a bell, for at most so long; serve meanwhile, as a guest, if nobody else does.

        It may be heard later than it is rung, or never: this is one step of a loop.

        Args:
            since: when the loop began.
        """
        seconds = _LOOK_EVERY if seconds is None else min(seconds, _LOOK_EVERY)
        if self._is_mine():
            meanwhile(None, seconds, since)
        elif (serving := here.serving) and serving != [self._service]:
            alone = self._service not in serving and self.visit(0, since)
            meanwhile(None, seconds, since, self._service if alone else None)
        elif not self.visit(seconds, since):
            pause = self._left + _LEAVE - monotonic()
            bell.wait(min(seconds, pause) if pause > 0 else seconds)

    def visit(self, seconds: float, since: float) -> bool:
        """Take a turn and return True, if nobody else serves, or wants to."""
        now = monotonic()
        if self._is_looped() or now - self._wished < _GIVE_WAY:
            return False
        if now - self._left < _LEAVE and not self._service.residence.is_here():
            return False
        if attempt(self._right, partial(self._be_guest, seconds, since)) is TAKEN:
            return False
        if self._service.puts_off and not self._service.residence.is_here():
            # Who may do it sleeps, maybe, until the listener is readable; what made it so is taken.
            self._left = monotonic()
            self.wake()
        return True

    def let_go(self) -> None:
        """Let whoever serves look at what this thread, as a guest, put off."""
        if not self._is_mine():
            self.wake()

    def _serve(self, serve: Callable[[Callable[[], None]], T]) -> T:
        self._serving = True
        if not self._service.residence.is_here():
            self._service.residence.thread = threading.current_thread()
            here.note_service(self._service)
        try:
            with Deferred(self.wake, self._is_mine) as interrupt:
                return self._service.take(partial(serve, interrupt.check))
        finally:
            self._serving = False
            self._close_if_due()

    def _be_guest(self, seconds: float, since: float) -> None:
        try:
            if not self._service.closed:
                with Deferred(self.wake, self._is_mine):
                    # What is served is none of this thread's business: not in its context.
                    Context().run(self._service.guest_turn, seconds, since)
        finally:
            self._close_if_due()

    def _close_if_due(self) -> None:
        if self.closing and self._loop is None:  # else the loop must forget its descriptor first
            self._service.close()

    # -- an event loop ----------------------------------------------------------------------------

    def enter_loop(self, loop: Any) -> None:
        """Let this thread's event loop serve, and no other thread, until `leave_loop`.

        Raises:
            RuntimeError: it is served already.
        """
        self.check_free()
        if self._loop is not None:
            raise RuntimeError("an event loop serves this listener already")
        self._loop, self._service.loop_thread = loop, get_ident()

    def leave_loop(self) -> None:
        """Let others serve again."""
        try:
            if self.closing:
                attempt(self._right, self._service.close)
        finally:
            self._loop, self._service.loop_thread = None, 0

    def _is_in_loop(self) -> bool:
        return self._loop is not None and self._service.loop_thread == get_ident()

    def _is_looped(self) -> bool:
        """Whether an event loop in another thread serves."""
        return self._loop is not None and self._loop.is_running() and not self._is_in_loop()

    # -- ends -------------------------------------------------------------------------------------

    def close(self, patience: float) -> None:
        """Close the service: now, or when the thread that serves has finished its call.

        Args:
            patience: seconds to wait for that; -1 without end.
        """
        self.closing = True
        self.wake()
        if self._is_mine():
            return  # in a call that this thread serves, or a signal handler: its loop closes it
        if self._is_in_loop() and self._loop.is_running():
            return  # it closes it when it ends
        until = inf if patience < 0 else monotonic() + patience
        while self._is_looped() or attempt(self._right, self._close) is TAKEN:
            if monotonic() >= until:
                return
            wait_for(timeout=_PAUSE)

    def _close(self) -> None:
        if self._loop is not None and not self._loop.is_closed():  # it was stopped for ever
            self._loop.remove_reader(self._service.callers.poller.fileno())
        self._service.close()

    def _is_mine(self) -> bool:
        return cast(bool, self._right._is_owned())


def _nothing() -> None:
    """Do nothing, with a right that was free."""
