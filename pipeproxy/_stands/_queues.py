"""The queues of the standard library, as processes share them.

A wait ends with the client that waits, and what was taken for one that is gone is put back.
"""

from __future__ import annotations

from functools import partial
from heapq import heappush
from queue import Empty, Full
from typing import Any

from ._waits import Stand, check_is_apart, keep_undo, slices


class SimpleQueue(Stand):
    """`queue.SimpleQueue`; it has no front, so what is put back comes last."""

    hurries = True

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next item; wait while there is none."""
        queue = self._target
        if not block or (timeout is not None and timeout < 0):
            return self._keep(queue.get(block, timeout))
        try:
            return self._keep(queue.get(False))
        except Empty:
            pass
        for seconds in slices(self.tried, timeout):
            try:
                return self._keep(queue.get(True, seconds))
            except Empty:
                pass
        raise Empty

    def get_nowait(self) -> Any:
        """Take the next item, or raise `queue.Empty`."""
        return self.get(False)

    def _keep(self, item: Any) -> Any:
        """Return an item that was taken, unless nobody wants it any more."""
        keep_undo(partial(self._put_back, item))
        return item

    def _put_back(self, item: Any) -> None:
        self._target.put(item)


class Queue(SimpleQueue):
    """`queue.Queue`, and the base of its kin."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; wait while the queue is full."""
        queue = self._target
        if not block or (timeout is not None and timeout < 0):
            queue.put(item, block, timeout)
            return
        try:
            queue.put(item, False)
            return
        except Full:
            pass
        for seconds in slices(self.tried, timeout):
            try:
                queue.put(item, True, seconds)
                return
            except Full:
                pass
        raise Full

    def join(self) -> None:
        """Wait until `task_done` was called for every item."""
        queue = self._target
        with queue.all_tasks_done:
            if not queue.unfinished_tasks:
                return
            check_is_apart(self.tried)  # in a line it would keep back who puts and who gets
            for seconds in slices(self.tried, None):
                queue.all_tasks_done.wait(seconds)
                if not queue.unfinished_tasks:
                    return

    def _put_back(self, item: Any) -> None:
        queue = self._target
        with queue.mutex:
            self._return(queue.queue, item)
            queue.not_empty.notify()

    def _return(self, items: Any, item: Any) -> None:
        items.appendleft(item)


class LifoQueue(Queue):
    """`queue.LifoQueue`."""

    def _return(self, items: Any, item: Any) -> None:
        items.append(item)


class PriorityQueue(Queue):
    """`queue.PriorityQueue`; to compare items may take a while, so each call is a worker's."""

    hurries = False

    def _return(self, items: Any, item: Any) -> None:
        heappush(items, item)
