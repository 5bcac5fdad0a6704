"""Ctrl-C while an owner serves: noted when it comes, raised where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import final

from . import _life


@final
class Deferred:
    """Inside the block, the first Ctrl-C is noted; `check` raises it, and so does leaving.

    A second one is raised at once, wherever the program is: a method that hangs can be left. It
    takes over only from Python's own handler and only in the main thread, as `asyncio.Runner` does;
    whoever has a handler of his own is asked by nobody.

    Args:
        wake: called when it is noted, to end a wait.
        is_inside: whether this thread is inside the block: some other handler may have raised in
            the moment in which it was to be left.
    """

    __slots__ = ("_outer", "is_inside", "noted", "wake")

    def __init__(self, wake: Callable[[], None], is_inside: Callable[[], bool]) -> None:
        self.wake = wake
        self.is_inside = is_inside
        self.noted = False
        self._outer: Deferred | None = None

    def __enter__(self) -> Deferred:
        global _current  # noqa: PLW0603
        if threading.current_thread() is threading.main_thread() and signal.getsignal(
            signal.SIGINT
        ) in (signal.default_int_handler, _note):
            # One that was left by an exception, in the moment of its end, may have stayed behind.
            if _current is not None and _current.is_inside != self.is_inside:
                self._outer = _current if _current.is_inside() else None
            _current = self
            signal.signal(signal.SIGINT, _note)
        return self

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was noted.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self.noted:
            self.noted = False
            raise KeyboardInterrupt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _current  # noqa: PLW0603
        if _current is self:
            if self._outer is None:
                _give_back()  # first, and until then it is noted: else Ctrl-C could skip this
            _current = self._outer  # a method that is served may serve another listener
        if error is None or isinstance(error, Exception):
            self.check()


class _Handler:
    """The handler, in the moment of a fork. It lives as long as the module: whatever is registered
    for one block only would be thrown away by Python code, in which some handler may raise.
    """

    def forked(self) -> None:
        """In a forked child: the loop is the parent's, and so was the handler."""
        _give_back()


_current: Deferred | None = None
_handler = _Handler()
_life.at_fork(_handler)


def _give_back() -> None:
    if signal.getsignal(signal.SIGINT) is _note:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _note(number: int, frame: FrameType | None) -> None:
    if _current is None or _current.noted or not _current.is_inside():
        signal.default_int_handler(number, frame)
    else:
        _current.noted = True
        _current.wake()
