"""What an owner waits with on systems that have kqueues instead of epoll."""

from __future__ import annotations

import select
import sys

assert sys.platform != "linux"

_FILTERS = {select.POLLIN: select.KQ_FILTER_READ, select.POLLOUT: select.KQ_FILTER_WRITE}


class Kqueue:
    """A `Selector` over a kqueue."""

    def __init__(self) -> None:
        self._queue = select.kqueue()
        self._filters: dict[int, int] = {}

    def register(self, number: int, events: int, /) -> None:
        """Wait for `events` of a descriptor: `select.POLLIN` or `select.POLLOUT`."""
        self._filters[number] = _FILTERS[events]
        self._change(number, select.KQ_EV_ADD)

    def unregister(self, number: int, /) -> None:
        """Wait for nothing of it any more."""
        self._change(number, select.KQ_EV_DELETE)
        del self._filters[number]

    def _change(self, number: int, action: int) -> None:
        self._queue.control([select.kevent(number, self._filters[number], action)], 0)

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Return the descriptors that are ready within `timeout` seconds, without their events."""
        ready = self._queue.control(None, len(self._filters) + 1, timeout)
        return [(event.ident, 0) for event in ready]

    def fileno(self) -> int:
        """Return the descriptor of the kqueue, which is readable when something is ready."""
        return self._queue.fileno()

    def close(self) -> None:
        """Close it; a second time does nothing."""
        self._queue.close()
