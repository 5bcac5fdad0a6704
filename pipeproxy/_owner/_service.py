"""The owner's loop: wait, see who is there, attend to them.

A turn waits once and then answers every call that has arrived. It never waits to write: what a
client does not take stays in its channel, and while that is more than `MOST_UNSENT` bytes nothing
more is read from this client, so what is held for it is bounded. All others go on.

What is done with each channel is in `_attendance`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from threading import get_ident
from time import monotonic
from typing import Final, TypeVar

from .._chains._activities import Served, here
from .._chains._residence import Residence
from .._channels._door import Door, Route
from .._channels._wire import FAREWELL, header
from .._client._calls import guests
from .._objects._objects import Objects
from .._system import _deadline, _descriptors
from ..transports.pipe import Waiter, wait_for
from ._attendance import Attendance
from ._caller import Caller
from ._published import Publisher
from ._reception import Reception

T = TypeVar("T")

#: Seconds between two looks at what cannot wake the owner by itself.
_LOOK_EVERY: Final = 0.05
#: Calls that wait inside one another on one stack, before no more are begun that nobody waits for.
_DEEPEST: Final = 16


class Service:
    """Answers the calls of all clients of one listener.

    Args:
        route: the listener's identity.
        door: where clients knock.
        objects: what is answered for.
        residence: calls at home that the thread which serves has to run.

    Attributes:
        closed: it serves nobody any more.
        callers: the channels.
        dispatch: what runs the calls.
        batches: those of calls that wait for others.
        upcalls: calls of objects that clients hold.
        waited: seconds spent so far outside of turns, or waiting in them.
        wake: ends a wait of the thread that serves.
        loop_thread: the thread whose event loop serves, if one does; set by whoever knows.
        visit: ``visit(seconds, since)`` takes a turn as a guest, if nobody else does; set by
            whoever knows who serves.
    """

    visit: Callable[[float, float], bool]

    def __init__(
        self,
        route: Route,
        door: Door,
        objects: Objects,
        residence: Residence,
    ) -> None:
        self.closed = False
        self.waited = 0.0
        self.wake = door.wake
        self._door, self._objects = door, objects
        self.residence = residence
        self._publisher = Publisher(route, objects, residence)
        self._attendance = Attendance(
            tuple(route), objects, residence, self.beside, self._alert, self._look
        )
        self._reception = Reception(route, door, objects, self._publisher, self._attendance)
        self.callers = self._attendance.callers
        self.dispatch = self._attendance.dispatch
        self.batches = self.dispatch.errands.batches
        self._retries = self.dispatch.errands.retries
        self.upcalls = self._attendance.upcalls
        self._waiter = Waiter(self.callers.poller, 1, route.spin)
        self._warm = False
        #: What a turn minds beside what its descriptors show, if there is any of it.
        self._minded = (
            *self._attendance.news,
            self._reception.put_off,
            self.dispatch.later,
            self.dispatch.admission.blocked,
            self.batches.waiting,
            self._retries.lines,
            objects.publications,
        )
        self._began = self._since = monotonic()
        self._thread = 0
        self.loop_thread = 0

    # -- a turn -----------------------------------------------------------------------------------

    def take(self, turns: Callable[[], T]) -> T:
        """Return ``turns()``, which takes turns, in this thread; or one, inside of another one."""
        outer, services = (self._thread, here.server, here.serves), here.services
        try:
            self._thread, here.server, here.serves = get_ident(), self._attendance, None
            here.services = services if self in services else [*services, self]
            return turns()
        finally:
            self._thread, here.server, here.serves = outer
            here.services = services
            if self._attendance.has_news() and not self.closed:
                self._door.wake()

    def turn(self, timeout: float | None) -> int:
        """Wait for at most `timeout` seconds and serve what has arrived; return the calls answered.

        It is called by what `take` was given.

        Raises:
            ListenerClosed: this process was forked by a method that it served.
        """
        if self._attendance.in_hand is not None or self.batches.told is not None:
            self._attendance.recover()
        self.dispatch.guest = False  # whatever was interrupted
        if self.dispatch.below or self.dispatch.later:
            self._attendance.take_up(self.dispatch.below)
            self._attendance.take_up(self.dispatch.later)
        return self._turn(timeout)

    def guest_turn(self, timeout: float, since: float) -> int:
        """As `turn`, for a thread that itself waits for a section: see `Dispatch.guest`.

        If it is the one that serves, nobody else may run what others put off. In a call of another
        listener's it serves all after a while, as nobody can otherwise.
        """
        self._attendance.recover()
        if self.residence.is_here():
            if here.services:
                return self.nested_turn(timeout, since)
            self._attendance.take_up(self.dispatch.later, self.dispatch.needed())
        return self._turn_on_top(here.current, True, timeout, since)

    def nested_turn(self, timeout: float, since: float) -> int:
        """As `turn`, in a call that is served; its caller keeps its place meanwhile.

        Args:
            since: when the call began to wait. At first only those are served whom it may wait for,
                so that calls seldom end up inside one another; after `_LOOK_EVERY` all are, as long
                as the stack is not too deep for that.
        """
        self._since = monotonic()  # what has passed until now was no waiting
        attendance, call = self._attendance, here.current
        guest = monotonic() - since < _LOOK_EVERY or len(here.stack.calls) >= _DEEPEST
        if not guest:
            attendance.take_up(self.dispatch.later)
        outer, attendance.in_hand = attendance.in_hand, None
        try:
            if outer is not None:  # else a dead client's, in whose place nobody is
                outer.serving = outer.parked = True
                attendance.balance(outer)
            return self._turn_on_top(call, guest, timeout, since)
        except BaseException:
            attendance.recover()
            raise
        finally:
            attendance.in_hand = outer
            if outer is not None:
                outer.serving = outer.parked = False
                attendance.balance(outer)

    def beside(self, reader: int | None, since: float, deadline: float | None) -> None:
        """Wait for a moment, or until a descriptor is readable; serve others meanwhile.

        It is for a call that is served, and waits itself for a call to another owner.

        Args:
            reader: None if what it waits for wakes this thread as everything that is served does.

        Raises:
            CallTimeout: the deadline passed.
        """
        left = _deadline.left(deadline)
        if left == 0:
            raise _deadline.passed()
        meanwhile(reader, _LOOK_EVERY if left is None else min(left, _LOOK_EVERY), since)

    def _turn_on_top(self, call: Served, guest: bool, timeout: float, since: float) -> int:
        """Take a turn on top of what waits in this thread, since then."""
        outer, stack = self.dispatch.guest, here.stack
        try:
            self.dispatch.guest = guest
            here.stand_on(stack.under(call, since))
            return self.take(partial(self._turn, timeout))
        finally:
            here.stand_on(stack)
            self.dispatch.guest = outer

    def _turn(self, timeout: float | None) -> int:
        attendance = self._attendance
        if any(self._minded):
            timeout = self._at_most(timeout)
        # Only straight after an answer is the next call likely to be a moment away.
        voice = attendance.voice
        warm, voice.is_heard = self._warm or voice.is_heard, False
        events = self._waiter.wait(timeout) if warm else self._waiter.sleep(timeout)
        now = monotonic()
        self.waited += now - self._since
        self._since = now
        answered = 0
        if len(events) == 1 and events[0][0] in self.callers.readers:  # as nearly always
            answered = attendance.attend(self.callers.readers[events[0][0]])
        elif events:
            for caller in self._heed(events):
                answered += attendance.attend(caller)
        if self._reception.is_asked or any(self._minded):
            answered += self._mind(answered)
        self._warm = answered > 0
        self._since = monotonic()
        return answered

    def _heed(self, events: list[tuple[int, int]]) -> list[Caller]:
        """Do what is to be done for these descriptors; return the channels to be attended to."""
        callers, known = [], self.callers
        for number, _ in events:
            if number in known.readers:
                callers.append(known.readers[number])
            elif number in known.watched:  # deaths before all that the dead have written
                known.watched[number]()
            elif number in known.writers:
                callers.append(known.writers[number])
        return callers

    def _mind(self, answered: int) -> int:
        """Do what no descriptor shows, and let in who knocked; return the calls answered.

        Args:
            answered: those of this turn so far.
        """
        if self._retries.lines:
            self._retries.expire()
        more = self._attendance.attend_to_ready()
        if self.dispatch.admission.blocked:
            self.dispatch.admission.unblock()
        if self._reception.is_asked:
            self._answer_door()
        if self.batches.waiting:
            more += self.dispatch.run_batches(len(self.callers.readers))
        if not answered and not more and self._objects.publications:  # else before each reply
            self._publisher.look()
        if self._attendance.ready or (self.dispatch.later and not self.dispatch.guest):
            self._door.wake()
        return more

    def _at_most(self, timeout: float | None) -> float | None:
        """Return the seconds to wait at most, or fewer, as there is something to mind."""
        if self._attendance.has_news() or self._reception.put_off:
            return 0
        due = self.due_in()
        return timeout if due is None or (timeout is not None and timeout < due) else due

    def due_in(self) -> float | None:
        """Return the seconds until a turn is due that no descriptor tells of; None if none is."""
        due = self.dispatch.due_in()
        return due if not self.looks or (due is not None and due < _LOOK_EVERY) else _LOOK_EVERY

    @property
    def ran(self) -> float:
        """Seconds spent in all but waiting, up to the beginning or the end of the latest turn."""
        return self._since - self._began - self.waited

    @property
    def puts_off(self) -> bool:
        """Whether there is something that a guest, which took a turn just now, left to others."""
        return bool(self.dispatch.later or self.batches.waiting or self.residence.calls)

    @property
    def looks(self) -> bool:
        """Whether it has to look, every 50 ms, at what cannot wake it."""
        return bool(self.dispatch.admission.blocked or self._objects.publications)

    def _alert(self, *, between: bool = False) -> bool:
        """Let what is new be seen; return True if this thread takes a turn and sees to it now.

        Args:
            between: it may do so between two turns as well, if its event loop takes them: a task
                may keep the loop from the next one.
        """
        if get_ident() == self._thread or (between and get_ident() == self.loop_thread):
            return True
        self._door.wake()
        return False

    def _look(self) -> None:
        self._reception.look()

    def _answer_door(self) -> None:
        self._reception.answer()
        if self.residence.calls and self.residence.is_here():
            self.residence.serve()

    # -- ends -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Say farewell to all clients and close everything; a second time does nothing."""
        if self.closed:
            return
        with _descriptors.lock:  # see `_workers`
            for caller in list(self.callers.readers.values()):
                caller.send(header(FAREWELL, 0))
            self._publisher.close()
            self._close_copies()
        self.dispatch.errands.close(list(self._objects.clients.values()))
        self._door.close()

    def hang_up(self) -> None:
        """At the end of the process, end all channels although another thread runs a call.

        Else a child that waits for an answer, and its parent that waits for the child, would wait
        for ever. The thread finds other files, at their ends, under the numbers that it uses.
        """
        self._door.close()
        self.callers.hang_up()

    def forked(self) -> None:
        """In a forked child: the loop is the parent's. Close the copies, say and change nothing."""
        guests.clear()
        self._publisher.forked()
        self._close_copies()
        self.dispatch.errands.forked()
        self._door.close_copies()

    def _close_copies(self) -> None:
        self.closed = True
        self.callers.close()
        for client in list(self._objects.clients.values()):
            self.upcalls.bid_farewell(client)
            client.borrowed.clear()
            if client.life is not None:
                client.life.close()


def meanwhile(
    reader: int | None, seconds: float, since: float, guest_of: Service | None = None
) -> None:
    """Wait for a moment, or until a descriptor is readable, and let others be served meanwhile.

    All that this thread serves are, in a turn or between two turns, as nobody else may do it.

    Args:
        seconds: how long at most.
        since: see `Service.nested_turn`.
        guest_of: what it serves as well for once, as nobody does.
    """
    services: list[Service] = here.services
    visited: list[Service] = here.between if guest_of is None else [*here.between, guest_of]
    # What is served is none of this call's business: not in its context.
    if reader is None and len(services) == 1 and not visited:  # as nearly always
        Context().run(services[0].nested_turn, seconds, since)
        return
    served = [*services, *visited]
    numbers = {service.callers.poller.fileno() for service in served}
    if reader is not None:
        numbers.add(reader)
    dues = [due for service in served if (due := service.due_in()) is not None]
    ready = wait_for(*((number, False) for number in numbers), timeout=min([seconds, *dues]))
    if reader not in ready:
        for service in reversed(services):
            Context().run(service.nested_turn, 0, since)
        for service in visited:
            service.visit(0, since)
