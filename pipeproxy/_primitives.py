"""The locking types of the standard library, as processes share them.

A wait ends with the client that waits. What a client holds when it dies is given back: of a lock
that belongs to a thread by the worker that holds it, before it ends; of the others in the name of
the client, as many times as it took more than was given back.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final

from . import _deadline
from ._activities import here
from ._objects import Client
from ._waits import (
    UNWANTED,
    Stand,
    check_may_wait,
    check_wanted,
    client_here,
    interruptible,
    keep_undo,
    slices,
)
from .transports.pipe import wait_for

#: Seconds for which a call that has to wait only looks, again and again, twice as long each time,
#: before it is woken by whoever gives back what it waits for. Mostly that one is about to take it
#: again: to wake this one each time, and mostly in vain, costs both more than the wait.
_FIRST_PAUSE: Final = 0.0002
_LAST_PAUSE: Final = 0.002


class _Holdings:
    """Who took what anybody may give back: clients, and None for the owner's own process.

    Args:
        target: what they took.
        most: of a semaphore, how many there were when it was shared. What the dead took is given
            back up to that number: one that only tells others of something tells of no death.
    """

    def __init__(self, target: Any, most: int | None = None) -> None:
        self._target = target
        self._most = most
        self._holders: deque[Client | None] = deque()

    def took(self, *, alone: bool = False) -> None:
        """Note that the caller took it.

        Args:
            alone: nobody else has it now.

        Raises:
            Cancelled, ClientDied, ListenerClosed: nobody wants it any more; it was given back.
        """
        client = client_here()
        if alone:
            self._holders.clear()
        self._holders.append(client)
        if client is not None:
            client.holds[self] = None
            try:
                check_wanted()
            except UNWANTED:
                self._return(client)
                raise
            keep_undo(partial(self._return, client))

    def gave(self) -> None:
        """Note that the caller gives it back: what it took itself, or else who took it first."""
        client = client_here()
        try:
            self._holders.remove(client)
        except ValueError:
            if not self._holders:
                return
            client = self._holders.popleft()
        if client is not None:
            client.holds.pop(self, None)
            if client in self._holders:  # also what another thread of it took just now
                client.holds[self] = None

    def give_back_of(self, client: Client) -> None:
        """Give back all that a client took, which is dead."""
        while client in self._holders:
            self._return(client)

    def _return(self, client: Client) -> None:
        try:
            self._holders.remove(client)
        except ValueError:
            return  # another thread does it
        if self._most is None or self._target._value < self._most:
            _release(self._target)


class Lock(Stand):
    """`threading.Lock`."""

    hurries = True

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._holdings = _Holdings(target)

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take the lock; wait while somebody has it."""
        taken = _take_lock(self, blocking, timeout)
        if taken:
            self._holdings.took(alone=True)
        return taken

    def release(self) -> None:
        """Give the lock back."""
        self._holdings.gave()  # first, as another thread may take it at once
        self._target.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Semaphore(Stand):
    """`threading.Semaphore` and `threading.BoundedSemaphore`."""

    hurries = True

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._holdings = _Holdings(target, target._value)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take one; wait while there is none."""
        acquire = self._target.acquire
        taken = _take(self, timeout) if blocking else bool(acquire(False, timeout))
        if taken:
            self._holdings.took()
        return taken

    def release(self, n: int = 1) -> None:
        """Give back one, or several."""
        for _ in range(n):
            self._holdings.gave()
        self._target.release(n)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class RLock(Stand):
    """`threading.RLock`: it belongs to the worker of the thread that took it."""

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take the lock, once more if this thread has it; wait while another one has it."""
        taken = _take_lock(self, blocking, timeout)
        if taken:
            _held_here()[self] = None
            try:
                check_wanted()
            except UNWANTED:
                self.release()
                raise
        return taken

    def release(self) -> None:
        """Give the lock back, once; it is free when that was done as often as it was taken."""
        self._target.release()
        if not self._is_mine():
            _held_here().pop(self, None)

    def _is_mine(self) -> bool:
        return bool(self._target._is_owned())

    def give_back(self) -> None:
        """Give it back, if this thread has it."""
        while self._is_mine():
            self._target.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Condition(RLock):
    """`threading.Condition`."""

    def give_back(self) -> None:
        """Give its lock back, if this thread has it."""
        if self._belongs_to_a_thread():
            super().give_back()
        else:
            _release(self._target)

    def _is_mine(self) -> bool:
        return self._belongs_to_a_thread() and super()._is_mine()

    def _belongs_to_a_thread(self) -> bool:
        return hasattr(self._target._lock, "_is_owned")  # a plain lock cannot tell who took it

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back, wait to be notified, and take it again."""
        condition = self._target
        if not condition._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        # The condition's own `wait`, called again and again, would lose a notification that comes
        # between two calls. So the lock that is notified is kept over all of them.
        waiter = allocate_lock()
        waiter.acquire()
        condition._waiters.append(waiter)
        held = _held_here()
        held.pop(self, None)
        saved = condition._release_save()
        try:
            told = any(waiter.acquire(True, seconds) for seconds in slices(self, timeout))
            check_wanted()
        except BaseException:
            condition._acquire_restore(saved)
            held[self] = None
            if not _forget(condition, waiter):
                condition.notify()  # whoever waits instead
            raise
        condition._acquire_restore(saved)
        held[self] = None
        return told or not _forget(condition, waiter)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until what `predicate` returns is true, which is asked after each notification."""
        end = None if timeout is None else monotonic() + timeout
        while not (result := predicate()):
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result


def _forget(condition: Any, waiter: Any) -> bool:
    """Do not wait in a condition any more; False if it was notified before."""
    try:
        condition._waiters.remove(waiter)
    except ValueError:
        return False
    return True


class Event(Stand):
    """`threading.Event`."""

    hurries = True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""
        event = self._target
        if event.is_set():
            return True
        check_may_wait(self)
        with event._cond:
            return bool(event.is_set() or Condition(event._cond).wait(timeout))


class Barrier(Stand):
    """`threading.Barrier`: broken if a party dies while it waits."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all have come."""
        # In a thread of its own, as it waits while the barrier's action runs.
        abort = partial(start_new_thread, self._target.abort, ())
        seconds = _deadline.left(_deadline.current())
        if timeout is not None:
            seconds = timeout if seconds is None else min(timeout, seconds)
        number: int = interruptible(abort, lambda: self._target.wait(seconds))
        return number


def _take(stand: Stand, timeout: float | None) -> bool:
    """Take what a stand stands for, within so many seconds."""
    acquire, pause = stand._target.acquire, _FIRST_PAUSE
    if acquire(False):
        return True
    for seconds in slices(stand, timeout):
        if pause > _LAST_PAUSE:
            if acquire(True, seconds):
                return True
        else:
            wait_for(timeout=min(pause, seconds))
            pause *= 2
            if acquire(False):
                return True
    return False


def _take_lock(stand: Stand, blocking: bool, timeout: float | None) -> bool:
    if timeout is None:
        timeout = -1  # as a semaphore understands it
    if blocking and (timeout >= 0 or timeout == -1):
        return _take(stand, None if timeout == -1 else timeout)
    return bool(stand._target.acquire(blocking, timeout))


def _held_here() -> dict[Any, None]:
    """Return what this thread holds for a client; what nobody asks for, if it does for none."""
    held: dict[Any, None] = getattr(here.server, "holds", {})
    return held


def _release(target: Any) -> None:
    try:
        target.release()
    except (RuntimeError, ValueError):
        pass  # the owner itself gave it back, past all proxies
