"""The locking types of the standard library, as processes share them.

A wait ends with the client that waits. What a client holds when it dies is given back: of a lock
that belongs to a thread by the worker that holds it, before it ends; of the others in the name of
the client, as many times as it took more than was given back.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol

from .._chains._activities import here
from .._system import _deadline
from . import _reentrant
from ._takers import Takers, take, take_lock
from ._waits import (
    UNWANTED,
    Stand,
    check_is_apart,
    check_may_wait,
    check_wanted,
    client_here,
    interruptible,
    slices,
)

#: The locks that are taken and given back without a word of code of users, by whichever thread.
_QUICK: Final = (LockType, _reentrant.RLock)


class _Lock(Protocol):
    """What a condition is of; in part as `threading.Condition` would have it."""

    def _acquire(self, tried: object, blocking: bool, timeout: float | None) -> bool:
        """As `acquire`, which is called in the place of what is `tried`."""

    def release(self) -> None:
        """Give it back."""

    def _release_save(self) -> Any:
        """Give it back, as often as it was taken."""

    def _acquire_restore(self, saved: Any) -> None:
        """Take it again, as often; whoever is gone meanwhile."""

    def _bury(self) -> None:
        """Give back what was taken again for those who are gone."""

    def may_go_on(self) -> bool:
        """Whether it is free, if that can be told."""


class Lock(Stand):
    """`threading.Lock`."""

    hurries = True

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._takers = Takers.of(target)

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take the lock; wait while somebody has it."""
        return self._acquire(self.tried, blocking, timeout)

    def _acquire(self, tried: object, blocking: bool, timeout: float | None) -> bool:
        taken = take_lock(tried, self._target.acquire, blocking, timeout)
        if taken:
            self._takers.took(alone=True)
        return taken

    def release(self) -> None:
        """Give the lock back."""
        self._takers.gave()  # first, as another thread may take it at once
        self._target.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def may_go_on(self) -> bool:
        """Whether it is free."""
        return not self._target.locked()

    _release_save = release

    def _acquire_restore(self, saved: None) -> None:
        self._target.acquire()
        self._takers.note(client_here(), alone=True)

    def _bury(self) -> None:
        self._takers.bury()


class Semaphore(Stand):
    """`threading.Semaphore` and `threading.BoundedSemaphore`."""

    hurries = True

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._takers = Takers(target, target._value)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take one; wait while there is none."""
        acquire = self._target.acquire
        taken = take(self.tried, acquire, timeout) if blocking else bool(acquire(False, timeout))
        if taken:
            self._takers.took()
        return taken

    def release(self, n: int = 1) -> None:
        """Give back one, or several."""
        for _ in range(n):
            self._takers.gave()
        self._target.release(n)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def may_go_on(self) -> bool:
        """Whether there is one."""
        return bool(self._target._value)


class RLock(Stand):
    """`threading.RLock`: it belongs to the worker of the thread that took it."""

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take the lock, once more if this thread has it; wait while another one has it."""
        return self._acquire(self.tried, blocking, timeout)

    def _acquire(self, tried: object, blocking: bool, timeout: float | None) -> bool:
        taken = take_lock(tried, self._target.acquire, blocking, timeout)
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
        if not self._target._is_owned():
            _held_here().pop(self, None)

    def give_back(self) -> None:
        """Give it back, if this thread has it."""
        while self._target._is_owned():
            self._target.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _release_save(self) -> Any:
        _held_here().pop(self, None)
        return self._target._release_save()

    def _acquire_restore(self, saved: Any) -> None:
        self._target._acquire_restore(saved)
        _held_here()[self] = None

    def _bury(self) -> None:
        """Nothing: the worker does, which ends with who is gone."""


class Condition(Stand):
    """`threading.Condition`."""

    hurries = True

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        lock = target._lock
        self._apart = type(lock) not in _QUICK
        self._lock: _Lock
        if type(lock) is _reentrant.RLock:
            self._lock = lock
        elif hasattr(lock, "_is_owned"):
            self._lock = RLock(target)
        else:  # it cannot tell who took it
            self._lock = Lock(lock)

    def _check_thread(self) -> None:
        if self._apart:
            check_is_apart(self.tried)

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take its lock; wait while somebody else has it."""
        self._check_thread()
        return self._lock._acquire(self.tried, blocking, timeout)

    def release(self) -> None:
        """Give its lock back."""
        self._check_thread()
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def may_go_on(self) -> bool:
        """Whether its lock is free."""
        return self._apart or self._lock.may_go_on()

    def notify(self, n: int = 1) -> None:
        """Let the first `n` of those who wait go on."""
        self._check_thread()
        self._target.notify(n)

    def notify_all(self) -> None:
        """Let all who wait go on."""
        self._check_thread()
        self._target.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back, wait to be notified, and take it again."""
        check_is_apart(self.tried)
        if not self._target._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        lock = self._lock
        try:
            return _wait_in(self._target, lock._release_save, lock._acquire_restore, timeout)
        finally:
            lock._bury()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until what `predicate` returns is true, which is asked after each notification."""
        check_is_apart(self.tried)
        end = None if timeout is None else monotonic() + timeout
        while not (result := predicate()):
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result


def _wait_in(
    condition: Any,
    release: Callable[[], Any],
    restore: Callable[[Any], None],
    timeout: float | None,
) -> bool:
    """Wait to be notified by a condition; whether that was in time.

    Args:
        release: gives its lock back, and returns what `restore` takes it again by.
    """
    # The condition's own `wait`, called again and again, would lose a notification that comes
    # between two calls. So the lock that is notified is kept over all of them.
    waiter = allocate_lock()
    waiter.acquire()
    condition._waiters.append(waiter)
    saved = release()
    try:
        told = any(waiter.acquire(True, seconds) for seconds in slices(condition, timeout))
        check_wanted()
    except BaseException:
        restore(saved)
        if not _forget(condition, waiter):
            condition.notify()  # whoever waits instead
        raise
    restore(saved)
    return told or not _forget(condition, waiter)


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
        check_may_wait(self.tried)
        inner = event._cond
        with inner:
            if event.is_set():
                return True
            return _wait_in(inner, inner._release_save, inner._acquire_restore, timeout)


class Barrier(Stand):
    """`threading.Barrier`: broken if a party dies while it waits."""

    hurries = True

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all have come."""
        check_is_apart(self.tried)
        # In a thread of its own, as it waits while the barrier's action runs.
        abort = partial(start_new_thread, self._target.abort, ())
        seconds = _deadline.left(_deadline.current())
        if timeout is not None:
            seconds = timeout if seconds is None else min(timeout, seconds)
        number: int = interruptible(abort, lambda: self._target.wait(seconds))
        return number

    def reset(self) -> None:
        """Let it be as it was at first; for those who wait it is broken."""
        self._check_action()
        self._target.reset()

    def abort(self) -> None:
        """Break it."""
        self._check_action()
        self._target.abort()

    def _check_action(self) -> None:
        if self._target._action is not None:  # it keeps everybody waiting while it runs
            check_is_apart(self.tried)


def _held_here() -> dict[Any, None]:
    """Return what this thread holds for a client; what nobody asks for, if it does for none."""
    held: dict[Any, None] = getattr(here.server, "holds", {})
    return held
