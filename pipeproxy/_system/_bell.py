"""How one thread wakes another, though a signal handler raises in the middle.

`threading.Event` is no way to: its lock is taken and given back in Python. A handler that raises in
there, on either side, leaves it taken, and from then on all who set the event or wait for it hang.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from typing import Final

#: Seconds that a wait lasts at most: where a handler raised just before a ring, it was none.
_LONGEST: Final = 0.05


class Bell:
    """Wakes the one thread that waits, or will; rung again before that, it has rung once.

    Args:
        wakes: called as well: what else wakes that thread, if it may wait for more than the bell.
    """

    __slots__ = ("_lock", "_wakes")

    def __init__(self, *wakes: Callable[[], object]) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._wakes = wakes

    def ring(self) -> None:
        """Wake the thread that waits; any thread may."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was rung, and nobody has heard it yet
        for wake in self._wakes:
            wake()

    def wait(self, seconds: float | None) -> None:
        """Wait until it is rung, for at most so long, or less: this is one step of a loop."""
        self._lock.acquire(timeout=_LONGEST if seconds is None else min(seconds, _LONGEST))
