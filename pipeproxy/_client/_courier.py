"""The courier: one thread of this process that carries what is in flight, for all of its threads.

It is started when it is first needed, sleeps when nothing comes, and is never interrupted: signal
handlers run in the main thread. Waiting for it takes a hop from thread to thread, so plain calls do
without it as long as nothing is in flight on their line.
"""

from __future__ import annotations

import threading
import weakref
from _thread import start_new_thread
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final

from .._system import _deadline, _descriptors, _life
from .._system._descriptors import Descriptor
from .._system._reports import report
from ..errors import CallLost, PipeProxyError
from ..transports.pipe import wait_for
from ._asking import tell
from ._flight import Flight

#: Seconds that the end of a program waits for what is still to be written.
_AT_EXIT: Final = 5.0
_PAUSE: Final = 0.001


class Courier:
    """Carries flights until nothing of them is in flight any more, and tells what time it is."""

    def __init__(self) -> None:
        self._reset()
        _life.at_fork(self)

    def _reset(self) -> None:
        self._flights: dict[Flight, None] = {}
        #: Those that it waits for, each with its descriptors; none while it does not wait.
        self._seen: dict[Flight, set[int]] = {}
        self._watched: dict[weakref.ref[Descriptor], weakref.WeakMethod[Callable[[], object]]] = {}
        #: What is to be called at a moment, once.
        self._reminders: dict[weakref.WeakMethod[Callable[[], object]], float] = {}
        #: A pipe by which its sleep is ended; and whether it was, since it last began to look.
        self._bell: list[Descriptor] = []
        self._is_rung = False
        #: When it will look by itself.
        self._wakes = inf
        #: The threads that were started, only one of which works.
        self._begun: list[int] = []
        self._works = threading.Lock()
        self._thread = 0
        self._at_exit: Any = None

    def forked(self) -> None:
        """In a forked child: what is in flight is the parent's, and so is the thread."""
        flights, bell = list(self._flights), self._bell
        self._reset()
        for end in bell:
            end.close()
        for flight in flights:
            flight.forked()

    def is_here(self) -> bool:
        """Whether this is its thread."""
        return self._thread == threading.get_ident()

    def take(self, flight: Flight, moment: float) -> None:
        """Look after a flight; any thread may ask for it, and more than once.

        Args:
            moment: when to look at the latest, though nothing comes; infinite if never.
        """
        if flight not in self._seen:
            self._flights[flight] = None
            moment = 0.0
        if not self._begun:
            self._start()
        if moment < self._wakes and not self._is_rung:
            self._ring()

    def watch(self, life: Descriptor, act: Callable[[], object]) -> None:
        """Call a method, in its thread, once the process of a life descriptor is dead.

        Neither the descriptor nor the method's object is kept for that.
        """
        self._watched[weakref.ref(life)] = weakref.WeakMethod(act)
        if not self._begun:
            self._start()
        self._ring()

    def remind(self, act: Callable[[], object], moment: float) -> None:
        """Call a method, in its thread, at a moment; if it is asked to again, at the first of them.

        The method's object is not kept for that.
        """
        known = weakref.WeakMethod(act)
        self._reminders[known] = moment = min(moment, self._reminders.get(known, inf))
        if not self._begun:
            self._start()
        if moment < self._wakes and not self._is_rung:
            self._ring()

    def _start(self) -> None:
        if not self._bell:
            self.open_bell()
        # In a thread already: a signal handler, which runs in the main one, might raise in the
        # middle of `Thread.start`. One C call, so that it is known whether one was started.
        self._begun.extend(map(start_new_thread, (self._begin,), ((),)))

    def _ring(self) -> None:
        self._is_rung = True
        try:
            self._bell[1].write(b"!")
        except BaseException:
            self._is_rung = False
            raise

    def open_bell(self) -> None:
        """Make what wakes it, which stays; a second time does nothing."""
        from multiprocessing.util import Finalize  # here, as only who lets calls fly pays for it

        with _descriptors.lock:
            if not self._bell:
                bell: list[Descriptor] = []
                _descriptors.adopt(bell, _descriptors.pipes(1), ("rb", "wb"))
                _descriptors.blocking_off(bell)
                # Before multiprocessing waits, at the end of a process, for its children.
                self._at_exit = Finalize(None, self.drain, exitpriority=100)
                self._bell = bell

    def drain(self) -> None:
        """Wait, at the end of the program, until all that was to be sent is on its way."""
        until = monotonic() + _AT_EXIT
        for flight in list(self._flights):
            while flight.is_unsent() and not flight.over and monotonic() < until:
                flight.hurry()
                wait_for(timeout=_PAUSE)

    # -- its thread -------------------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            threading.Thread(target=self._work, name="pipeproxy courier", daemon=True).start()
        except RuntimeError:  # the program ends, or there are no more threads: this one is it, then
            self._work()

    def _work(self) -> None:
        if not self._works.acquire(False):
            return  # there is one
        self._thread = threading.get_ident()
        while True:
            self._turn()

    def _mourn(self) -> None:
        """Tell of the dead, and forget whom nobody asks for any more."""
        for known, method in list(self._watched.items()):
            life, act = known(), method()
            # A reference gives out what another thread is just about to forget, and has closed.
            if life is None or life.closed or act is None:
                del self._watched[known]
            elif _life.is_dead(life):
                del self._watched[known]
                act()

    def _call_whom_it_reminds(self, now: float) -> None:
        for known, moment in list(self._reminders.items()):
            if moment <= now:
                del self._reminders[known]
                act = known()
                if act is not None:
                    act()

    def _turn(self) -> None:
        self._wakes = inf  # from here on whatever is new has to ring
        seen: dict[Flight, set[int]] = {}
        lives = [known() for known in list(self._watched)]
        wants = {(end.fileno(), False) for end in (self._bell[0], *lives) if end and not end.closed}
        del lives
        moment = min(list(self._reminders.values()), default=inf)
        for flight in list(self._flights):
            own = flight.wants()
            wants |= own
            seen[flight] = {number for number, _ in own}
            moment = min(moment, flight.moment())
        self._seen = seen
        self._wakes = moment
        ready = wait_for(*wants, timeout=_left(moment))
        self._seen = {}
        self._wakes = 0.0
        if self._bell[0].fileno() in ready:
            self._bell[0].read(1 << 10)
            self._is_rung = False  # last: who rings before is seen now, who does after rings again
        now = monotonic()
        for flight in list(self._flights):
            if not ready.isdisjoint(seen.get(flight, ready)) or flight.moment() <= now:
                self._carry(flight)
            elif flight.upcalls:
                flight.excuse()
        self._call_whom_it_reminds(now)
        self._mourn()

    def wait(self, flight: Flight, is_over: Callable[[], bool], deadline: float | None) -> None:
        """In its own thread, in a callback: carry a flight until something is over.

        Raises:
            CallTimeout: the deadline passed first.
        """
        until = inf if deadline is None else deadline
        while not is_over():
            if monotonic() > until:
                raise _deadline.passed()
            wait_for(*flight.wants(), timeout=_left(min(flight.moment(), until)))
            self._carry(flight)

    def _carry(self, flight: Flight) -> None:
        """Move what can be moved of one flight, both ways."""
        now = monotonic()
        if flight.kept is None or now >= flight.kept or flight.is_blocked:
            flight.write()
        if flight.lost is None:
            try:
                flight.settle(flight.receive())
            except PipeProxyError as error:
                flight.lost = partial(type(error), *error.args)
            except BaseException as error:  # no memory, or a fault of ours: nobody waits for ever
                report(error, "the thread that receives answers")
                flight.lost = partial(CallLost, "its answer was lost in this process")
        if flight.lost is not None:
            for pending in flight.end():
                tell(pending.fail, flight.lost())
        for pending in flight.overdue(now):
            tell(pending.fail, _deadline.passed())
        flight.excuse()
        self._flights.pop(flight, None)
        if not flight.over and (flight.is_under_way() or flight.lost):  # last, as it may be new
            self._flights[flight] = None


def _left(moment: float) -> float | None:
    return None if moment == inf else _deadline.left(moment)


courier = Courier()
