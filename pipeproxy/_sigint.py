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
    """

    __slots__ = ("__weakref__", "_noted", "_ours", "_wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._noted = False
        self._ours = False

    def __enter__(self) -> Deferred:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._note)
            self._ours = True
            _life.at_fork(self)
        return self

    def forked(self) -> None:
        """In a forked child: the loop is the parent's, and so was the handler."""
        if self._ours:
            self._ours = False
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted:
            signal.default_int_handler(number, frame)
        self._noted = True
        self._wake()

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was noted.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self._noted:
            self._noted = False
            raise KeyboardInterrupt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ours:
            if signal.getsignal(signal.SIGINT) == self._note:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            if error is None:
                self.check()
