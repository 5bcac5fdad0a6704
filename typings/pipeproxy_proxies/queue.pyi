# Made by `python -m pipeproxy stubs`: change the class instead, and make it again.

from typing import Protocol

class QueueProxy[_T](Protocol):
    """Create a queue object with a given maximum size.

    If maxsize is <= 0, the queue size is infinite.
    """

    maxsize: int

    def task_done(self) -> None:
        """Indicate that a formerly enqueued task is complete.

        Used by Queue consumer threads.  For each get() used to fetch a task,
        a subsequent call to task_done() tells the queue that the processing
        on the task is complete.

        If a join() is currently blocking, it will resume when all items
        have been processed (meaning that a task_done() call was received
        for every item that had been put() into the queue).

        Raises a ValueError if called more times than there were items
        placed in the queue.
        """

    def join(self) -> None:
        """Wait until `task_done` was called for every item."""

    def qsize(self) -> int:
        """Return the approximate size of the queue (not reliable!)."""

    def empty(self) -> bool:
        """Return True if the queue is empty, False otherwise (not reliable!).

        This method is likely to be removed at some point.  Use qsize() == 0
        as a direct substitute, but be aware that either approach risks a race
        condition where a queue can grow before the result of empty() or
        qsize() can be used.

        To create code that needs to wait for all queued tasks to be
        completed, the preferred technique is to use the join() method.
        """

    def full(self) -> bool:
        """Return True if the queue is full, False otherwise (not reliable!).

        This method is likely to be removed at some point.  Use qsize() >= n
        as a direct substitute, but be aware that either approach risks a race
        condition where a queue can shrink before the result of full() or
        qsize() can be used.
        """

    def put(self, item: _T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; wait while the queue is full."""

    def get(self, block: bool = True, timeout: float | None = None) -> _T:
        """Take the next item; wait while there is none."""

    def put_nowait(self, item: _T) -> None:
        """Put an item into the queue without blocking.

        Only enqueue the item if a free slot is immediately available.
        Otherwise raise the Full exception.
        """

    def get_nowait(self) -> _T:
        """Take the next item, or raise `queue.Empty`."""
