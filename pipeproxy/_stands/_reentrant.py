"""A re-entrant lock that belongs to a chain of calls, whichever threads of the owner's run them.

`threading.RLock` belongs to a thread: whoever takes it for a client's has to be one that takes it
for no other, and to hand a call over to that one costs more than the call. This lock knows whose it
is by the call. So the thread that serves takes it and gives it back for all, and so can a method
that is called by who has it.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial

from .._chains._activities import Activity, here
from .._objects._clients import Client
from .._specs._options import proxied
from .._system._bell import Bell
from ._takers import take_lock
from ._waits import is_gone, keep_undo


class Taking:
    """One time that a lock is taken, or is to be, by whatever this thread does.

    Attributes:
        activity: the chain of calls that has it.
        client: the process in whose name; None for the owner's own.
        bell: rung when it was waited for, and is taken.
    """

    __slots__ = ("activity", "bell", "client")

    def __init__(self) -> None:
        self.bell: Bell | None = None
        of = here.served
        self.activity: Activity = of.activity if of else here.own
        self.client: Client | None = of.client if of else None


@proxied(expose=("acquire", "release", "__enter__", "__exit__"), dispatch="threads")
class RLock:
    """As `threading.RLock`, but for whose it is; a `threading.Condition` can be made of it."""

    def __init__(self) -> None:
        #: All of one activity; none if the lock is free. What is taken is taken by one step, so
        #: that a signal handler which raises leaves it taken or not, and never in between.
        self._takings: list[Taking] = []
        #: What is waited for, in order: each a taking, or all those that a condition had.
        self._line: deque[list[Taking]] = deque()
        self._right = threading.RLock()

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take the lock, once more if its caller has it; wait while another one has it."""
        return self._acquire(self, blocking, timeout)

    def _acquire(self, tried: object, blocking: bool, timeout: float | None) -> bool:
        taking = Taking()
        try:
            quick = timeout == -1 and self._add([taking])  # as nearly always
            if not quick and not take_lock(tried, partial(self._take, taking), blocking, timeout):
                self._give_back(taking)
                return False
            keep_undo(partial(self._give_back, taking))
        except BaseException:
            self._give_back(taking)
            raise
        return True

    def release(self) -> None:
        """Give the lock back, once; it is free when that was done as often as it was taken."""
        asked = Taking()
        with self._right:
            if not self._is_of(asked):
                raise RuntimeError("cannot release un-acquired lock")
            self._give_back(self._latest_of(asked.client))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def give_back_of(self, client: Client) -> None:
        """Give back all that was taken in the name of a client, which is dead."""
        for taking in list(self._takings):
            if taking.client is client:
                self._give_back(taking)

    def may_go_on(self) -> bool:
        """Whether it is free."""
        return not self._takings

    def _take(self, taking: Taking, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, as `acquire`; but it stays in the line if that is not in time, or sooner."""
        if timeout != -1 and (timeout < 0 or not blocking):
            raise ValueError("a timeout is not negative, and only for who may wait")
        return self._wait([taking], timeout) if blocking else self._add([taking])

    def _wait(self, takings: list[Taking], seconds: float | None) -> bool:
        """Wait in the line for so long, or less, and stay there; return whether it is taken."""
        first = takings[0]
        with self._right:
            if first in self._takings or self._add(takings):
                return True
            bell = first.bell = first.bell or Bell()
            if takings not in self._line:
                self._line.append(takings)
        bell.wait(seconds)
        return first in self._takings

    def _add(self, takings: list[Taking]) -> bool:
        with self._right:
            if self._takings and not self._is_of(takings[0]):
                return False
            self._note(takings)
            self._takings += takings
        return True

    # The loops are apart from their `with`: the jump back that a condition makes in a loop is in no
    # `with` for Python 3.13, so what a signal handler raises there would leave the right taken.

    def _note(self, takings: list[Taking]) -> None:
        for taking in takings:
            if taking.client is not None:
                taking.client.holds[self] = None

    def _latest_of(self, client: Client | None) -> Taking:
        """Return the latest taking of a client's, else that of another process in the chain."""
        own = [taking for taking in self._takings if taking.client is client]
        return (own or self._takings)[-1]

    def _remove(self, takings: list[Taking]) -> None:
        for taking in takings:
            if taking in self._takings:
                self._takings.remove(taking)
                client = taking.client
                if client is not None and not self._is_held_for(client):
                    client.holds.pop(self, None)

    def _is_held_for(self, client: Client) -> bool:
        return any(taking.client is client for taking in self._takings)

    def _is_of(self, other: Taking) -> bool:
        return bool(self._takings) and self._takings[0].activity is other.activity

    def _give_back(self, taking: Taking) -> None:
        self._withdraw([taking])

    def _withdraw(self, takings: list[Taking]) -> None:
        """Undo what was taken, or is waited for; what is neither, or not any more, is left."""
        with self._right:
            if takings in self._line:
                self._line.remove(takings)
            self._remove(takings)
            if not self._takings and self._line:
                self._hand_over()

    def _hand_over(self) -> None:
        """Let the first in the line have it; one that a signal handler loses comes again."""
        takings = self._line.popleft()
        self._add(takings)
        if takings[0].bell is not None:
            takings[0].bell.ring()

    # -- as a condition's -------------------------------------------------------------------------

    def _bury(self) -> None:
        """Give back what was restored for those who are gone."""
        for taking in list(self._takings):
            if taking.client is not None and is_gone(taking.client):
                self._give_back(taking)

    def _is_owned(self) -> bool:
        with self._right:
            return self._is_of(Taking())

    def _release_save(self) -> list[Taking]:
        """Give it back as often as it was taken."""
        with self._right:
            takings = list(self._takings)
            self._withdraw(takings)
        return takings

    def _acquire_restore(self, takings: list[Taking]) -> None:
        try:
            self._wait_until_taken(takings)
        except BaseException:
            self._withdraw(takings)
            raise

    def _wait_until_taken(self, takings: list[Taking]) -> None:
        while not self._wait(takings, None):
            pass  # a bell is waited for in short steps
