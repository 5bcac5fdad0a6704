"""The thread that serves, for objects that are bound to it: ``home="queue"``.

What is called of them at home, in whichever thread, is run by the thread that serves, in its turns.
Before anybody has served, that is the thread which made the listener; and between two turns it
stays the one that served last.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic
from typing import Any, Final

from .._system import _deadline
from .._system._bell import Bell
from ..errors import CallLost
from ._activities import here

#: Seconds after which a thread that waits says that nobody serves.
_PATIENCE: Final = 5.0


class Residence:
    """Where such calls are run.

    Args:
        wake: ends a wait of the thread that serves, which then calls `serve`.

    Attributes:
        thread: the one that serves, or served last.
        calls: those that wait to be run, or are.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.thread = threading.current_thread()
        self.calls: deque[_Call] = deque()
        self._wake = wake

    def is_here(self) -> bool:
        """Whether this is the thread that such objects are bound to."""
        return self.thread is threading.current_thread()

    def is_left(self) -> bool:
        """Whether that thread has ended."""
        return not self.thread.is_alive()

    def run(self, function: Callable[[], Any], check_open: Callable[[], None]) -> Any:
        """Let the thread that serves call a function, and return what that returns.

        Args:
            check_open: raises an exception when it never will.

        Raises:
            CallTimeout: the deadline passed first.
            CallLost: the turn in which it ran was interrupted.
        """
        call = _Call(function)
        self.calls.append(call)
        try:
            self._wait_for(call, check_open)
        finally:
            self._forget(call)
        return call.result()

    def _wait_for(self, call: _Call, check_open: Callable[[], None]) -> None:
        deadline, complain_at = _deadline.current(), monotonic() + _PATIENCE
        while not call.done:
            # More than once, as a turn that an interrupt ended may have heard it in vain.
            self._wake()
            left = _deadline.left(deadline)
            if left == 0:
                raise _deadline.passed()
            call.bell.wait(left)
            if not call.done:
                self._check(call, check_open)
                if monotonic() > complain_at and not call.begun:
                    complain_at = float("inf")
                    _complain()

    def _check(self, call: _Call, check_open: Callable[[], None]) -> None:
        check_open()
        if call not in self.calls and not call.done:
            raise CallLost("a signal handler ended the turn in which this call ran, or would have")

    def serve(self) -> None:
        """Run what waits; in the thread that serves, and more than once, one inside another."""
        for call in list(self.calls):
            if not call.begun:
                try:
                    call.run()
                finally:
                    self._forget(call)

    def _forget(self, call: _Call) -> None:
        try:
            self.calls.remove(call)
        except ValueError:
            pass  # the other thread did it


class _Call:
    """One call on its way to the thread that serves.

    Attributes:
        begun: it is run, or was.
        done: it was.
        bell: rung then.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self.begun = False
        self.done = False
        self.bell = Bell()
        self._function = function
        self._context = copy_context()
        self._served = here.current
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run it here, in the context and in the name of the thread that made it."""
        outer = here.serves
        try:
            self.begun = True
            here.serves = self._served
            self._value = self._context.run(self._function)
        except BaseException as error:
            self._error = error
        finally:
            here.serves = outer
            self.done = True
            self.bell.ring()

    def result(self) -> Any:
        """Return what it returned, or raise what it raised."""
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None  # its traceback holds this


def _complain() -> None:
    """Say the one thing that helps with the most common mistake."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(
            f"pipeproxy: a thread of process {os.getpid()} called an object whose calls are run by "
            f"the thread that serves its listener, and nobody has served it for {_PATIENCE:.0f} s: "
            f"use listener.serve(), or poll it.\n"
        )
    except (OSError, ValueError):
        pass  # nobody listens to it
