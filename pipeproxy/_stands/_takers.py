"""What clients took of the owner's that anybody may give back: it is free when they are dead."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from .._objects._clients import Client
from ._waits import check_may_wait, client_here, is_gone, keep_undo, slices

#: Takes something: as the `acquire` of a lock or a semaphore, with the same arguments.
Acquire = Callable[..., bool]


class Takers:
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

    @classmethod
    def of(cls, lock: Any) -> Takers:
        """Return those of a lock, which may be shared by itself and as that of conditions."""
        return _known.setdefault(id(lock), cls(lock))

    def note(self, client: Client | None, *, alone: bool = False) -> None:
        """Note that a client took it.

        Args:
            alone: nobody else has it now.
        """
        if alone:
            self._holders.clear()
        self._holders.append(client)
        if client is not None:
            client.holds[self] = None

    def took(self, *, alone: bool = False) -> None:
        """Note that the caller took it.

        Args:
            alone: as of `note`.

        Raises:
            Cancelled, ClientDied, ListenerClosed: nobody wants it any more; it was given back.
        """
        client = client_here()
        self.note(client, alone=alone)
        if client is not None:
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

    def bury(self) -> None:
        """Give back what was noted for those who were gone by then."""
        for client in set(self._holders):
            if client is not None and is_gone(client):
                self.give_back_of(client)

    def _return(self, client: Client) -> None:
        try:
            self._holders.remove(client)
        except ValueError:
            return  # another thread does it
        if self._most is None or self._target._value < self._most:
            try:
                self._target.release()
            except (RuntimeError, ValueError):
                pass  # the owner itself gave it back, past all proxies


#: Those of locks, by their identities, for as long as somebody uses them.
_known: weakref.WeakValueDictionary[int, Takers] = weakref.WeakValueDictionary()


def take(tried: object, acquire: Acquire, timeout: float | None) -> bool:
    """Take something, within so many seconds.

    Args:
        tried: as of `check_may_wait`.

    Raises:
        MustWait, CallTimeout, Cancelled, ClientDied, ListenerClosed: as of `slices`.
    """
    if acquire(False):
        return True
    check_may_wait(tried)  # `slices` does, but takes longer to say so
    return any(acquire(True, seconds) for seconds in slices(tried, timeout))


def take_lock(tried: object, acquire: Acquire, blocking: bool, timeout: float | None) -> bool:
    """Take a lock, as its `acquire` does; but a timeout of None is that of a semaphore.

    Args, Raises: as of `take`.
    """
    if timeout is None:
        timeout = -1
    if blocking and (timeout >= 0 or timeout == -1):
        return take(tried, acquire, None if timeout == -1 else timeout)
    return acquire(blocking, timeout)
