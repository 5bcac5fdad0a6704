"""Who serves a listener: one thread at a time, whichever takes the right to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ._service import Service
from ._sigint import Deferred

T = TypeVar("T")


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
        self._service = service
        self._wake = wake
        self._lock = threading.Lock()
        self._thread: int | None = None

    def check_free(self) -> None:
        """Pass if this thread may serve now.

        Raises:
            RuntimeError: another one serves, or this one is inside a call that it serves.
        """
        if not self._lock.locked():
            return
        if self._is_mine():
            raise RuntimeError("a method that this listener serves cannot serve it: return first")
        raise RuntimeError("another thread serves this listener; one at a time can")

    def take(self, serve: Callable[[Callable[[], None]], T]) -> T:
        """Call ``serve(check)`` with the right to serve, and return what it returns.

        Ctrl-C is put off while it runs, until it calls `check` or returns.

        Raises:
            RuntimeError: as `check_free`.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        self.check_free()
        # `with` on the lock itself: no handler can come between taking it and being bound to free
        # it, as it can in a context manager that is written in Python.
        with self._lock:
            self._thread = threading.get_ident()
            try:
                with Deferred(self._wake, self._is_mine) as interrupt:
                    return serve(interrupt.check)
            finally:
                if self.closing:
                    self._service.close()

    def close(self, patience: float) -> None:
        """Close the service: now, or when the thread that serves has finished its call.

        Args:
            patience: seconds to wait for that; -1 without end.
        """
        self.closing = True
        self._wake()
        if self._is_mine():
            return  # in a call that this thread serves, or a signal handler: its loop closes it
        if self._lock.acquire(timeout=patience):
            self._thread = threading.get_ident()
            try:
                self._service.close()
            finally:
                self._lock.release()

    def _turn(self, patience: float, check: Callable[[], None]) -> None:
        self._service.turn(patience)

    def _is_mine(self) -> bool:
        # The lock counts: an interrupt may leave the number of a thread that serves no more.
        return self._lock.locked() and self._thread == threading.get_ident()
