"""Calls in flight: frames that a thread sends without waiting for what is said to them.

They go down the thread's own line, so all its calls keep their order, whatever verbs it mixes. As
long as some are in flight the *courier* reads the line, a thread that no signal handler interrupts;
it and the thread itself write, see `_outbox`.

A signal handler may raise between any two steps of the thread: one that was left half done is done
again by whoever comes next.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final, NoReturn, Protocol

from .._channels._wire import CANCEL, FAREWELL, KEPT, UP_FAILURE, Frame, header
from .._proxies._gathering import gathering
from .._system import _life
from .._system._bell import Bell
from ..codecs.pickle import encode_failure
from ..errors import CallLost
from ._asking import Pending, tell
from ._held import Holdings
from ._lines import Line, Lines
from ._outbox import Outbox

#: Calls of one line that may be in flight: more wait until some of them are answered.
MOST_CALLS: Final = 2048
#: Of those, as many as a `batch` keeps back: the others can be answered meanwhile.
_MOST_KEPT: Final = 1024
#: Frames above this many bytes are waited for until they are written.
_LARGE: Final = 1 << 16
#: Frames that are gathered before the thread itself writes them: the courier may be slow to come.
_WORTH_A_WRITE: Final = 32
#: Seconds that the courier waits for who writes.
_PATIENCE: Final = 0.002
#: Seconds after which what was gathered is sent, if nothing was answered before; and what is kept
#: back for a `batch`: somebody may wait for it.
_GATHERING: Final = 0.0003
_LONGEST_BATCH: Final = 1.0
#: Seconds between two looks whether whoever answers an upcall still does.
_LOOK_EVERY: Final = 0.05


class Carrier(Protocol):
    """What carries the frames of flights when their own threads do something else."""

    def take(self, flight: Flight, moment: float) -> None:
        """Look after a flight until nothing of it is in flight any more, and at that moment.

        What is to be carried is in the flight already.
        """


class Flight(Outbox):
    """What one thread has in flight on its line.

    Args:
        line: which nothing else is under way on.
        lines: those of this process to the same owner.
        held: what this process holds of that, which is told of it with the calls.
        hear: called with what the owner says beside replies.
        carrier: see there.

    Attributes:
        thread: the number of the thread whose line it is.
        asking: calls of the thread that wait just now, the latest last.
        upcalls: what the owner asked and was not answered yet, by ident: each with the call whose
            thread answers it, None if it is answered apart.
        lost: makes the error of what was in flight when the line ended, and of what comes later;
            None as long as it has not.
        room: rung whenever something was answered.
        alert: called then as well, while the thread serves others as it waits for that.
    """

    def __init__(
        self,
        line: Line,
        lines: Lines,
        held: Holdings,
        hear: Callable[[Flight, Frame], object],
        carrier: Carrier,
    ) -> None:
        super().__init__(line, held)
        self._lines = lines
        self._hear = hear
        self.thread = _life.thread()
        self.asking: list[weakref.ref[Pending]] = []
        self.upcalls: dict[int, weakref.ref[Pending] | None] = {}
        self.lost: Callable[[], BaseException] | None = None
        #: The very `kept` by which the carrier will come, as it was told so.
        self._awaited: float | None = None
        self._carrier = carrier
        self._is_heavy = self._is_timed = False
        self.room = Bell()
        self.alert: Callable[[], object] | None = None

    # -- sending ----------------------------------------------------------------------------------

    def put(self, frame: bytes, pending: Pending | None, gather: bool = False) -> bool:
        """Let a frame be sent, after all that were before it; any thread may.

        Args:
            pending: who wants the reply, if there will be one.
            gather: it may be kept back for the end of a `batch`.

        Returns:
            False if the flight has ended with nothing in it, and this was not put into it.
        """
        waiting = self.waiting
        batched = gathering.block is not None and gathering.is_on()
        if batched and gather and self not in gathering.flights:
            self.hurry()  # what was before the batch
            gathering.flights[self] = None
        waiting.append((frame, pending))
        if self.over:  # asked last: who ends it looks at what is waiting after that
            return self._turn_away()
        if len(frame) > _LARGE:
            self._is_heavy = True
        if pending is not None and pending.deadline is not None:
            self._is_timed = True
            self._carrier.take(self, pending.deadline)
        gathers = batched and gather and len(waiting) < _MOST_KEPT
        if not gathers and (batched or not self.pending or not len(waiting) % _WORTH_A_WRITE):
            self.hurry()  # not with each that follows: the courier may be about to write them all
        elif self.kept is None or self.kept is not self._awaited:
            self._keep(_LONGEST_BATCH if gathers else _GATHERING)
        return True

    def _keep(self, seconds: float) -> None:
        """Let the courier write what is not yet written, so many seconds after the first of it."""
        moment = self.kept
        if moment is None:
            moment = self.kept = monotonic() + seconds
        self._carrier.take(self, moment)
        self._awaited = moment

    def hurry(self) -> None:
        """Write all that was kept back, as far as the pipe takes it; the courier does the rest."""
        self.write()
        if self.is_unsent():
            self._carrier.take(self, 0.0)
        elif self.is_under_way():
            self._carrier.take(self, inf)

    def _turn_away(self) -> bool:
        """Refuse what came too late; return False if it can go another way."""
        lost = self.lost
        for _, pending in self._empty():
            if pending is not None and lost is not None:
                pending.fail(lost())
        return lost is not None

    def is_under_way(self) -> bool:
        """Whether something is to be written or to be answered."""
        return bool(self.pending or self.upcalls) or self.is_unsent()

    def is_full(self, most: int = MOST_CALLS) -> bool:
        """Whether nothing more should be sent before something is written, or answered.

        Args:
            most: the calls that may be in flight.
        """
        if self._is_heavy:
            self._is_heavy = self.is_unsent()
        # What is being gathered is in neither of the other two; or in two, which does no harm.
        under_way = len(self.pending) + len(self.waiting) + len(self._state[2])
        return self._is_heavy or under_way >= most

    # -- receiving --------------------------------------------------------------------------------

    def land(self) -> bool:
        """Return whether nothing is in flight any more, and leave the line to its thread then."""
        if self.is_under_way():
            return False
        with self._right:  # the courier has it for no longer than a read takes
            if not self.is_under_way():
                self.over = True
        return self.over

    def receive(self) -> list[Frame]:
        """Read once and return what has come; for the courier only.

        Raises:
            OwnerDied, ListenerClosed, CallLost, ProtocolError: nothing more will come.
        """
        # Its thread may be in the middle of a write: that is waited for, but not when a signal
        # handler that runs in there takes its time.
        if not self._right.acquire(timeout=_PATIENCE):
            return []
        try:
            frames = None if self.over else self.line.receive()
            if frames is None and not self.over:
                self._lines.check(self.line)
        except EOFError:
            raise self._lines.hung_up() from None
        finally:
            self._right.release()
        return frames or []

    def settle(self, frames: list[Frame]) -> None:
        """Give everybody what was said to them.

        Raises:
            ListenerClosed, OwnerDied: it was a farewell.
        """
        told, answered = self._told, self.pending.pop
        for frame in frames:
            kind, ident, _, _, payload = frame
            pending = answered(ident, None)
            if told and ident in told:
                self._held.told(told.pop(ident))
            if pending is not None:
                tell(pending.settle, kind, payload)
            elif kind == FAREWELL:
                self._leave()
            else:
                self._hear(self, frame)
        if not self.is_full(MOST_CALLS // 2):
            self.look_up()

    def _leave(self) -> NoReturn:
        self._lines.leave(self.line)
        raise self._lines.closed()

    def wants(self) -> set[tuple[int, bool]]:
        """Return what the courier waits for, as `wait_for` takes it."""
        if self.over or self.lost is not None:
            return set()
        wants = self._lines.lives() | {(self.line.pipe.reader, False)}
        if self.is_blocked and self.is_unsent():
            wants.add((self.line.pipe.writer, True))
        return wants

    def moment(self) -> float:
        """Return when the courier has to look, if nothing comes before."""
        moment = inf
        if self.lost is not None:
            return 0.0  # it has to be ended, as soon as nobody is in the middle of a write
        if self.is_unsent() and not self.is_blocked:
            moment = self.kept or 0.0
        if self.upcalls:
            moment = min(moment, monotonic() + _LOOK_EVERY)
        if self._is_timed:
            moment = min(moment, *(call.deadline or inf for call in self._all()), inf)
        return moment

    def overdue(self, now: float) -> list[Pending]:
        """Return the calls whose deadline has passed, of which nobody hears any more."""
        if not self._is_timed or not self._right.acquire(timeout=_PATIENCE):
            return []
        try:
            self._is_timed = False  # first: more may be put
            timed = [call for call in self._all() if call.deadline is not None]
            late = [call for call in timed if (call.deadline or inf) <= now]
            for call in late:
                self.forget(call)
            if len(late) < len(timed):
                self._is_timed = True
            return late
        finally:
            self._right.release()

    def answer(self, ident: int, answer: bytes) -> None:
        """Answer an upcall with a frame; a second time does no harm."""
        self.put(answer, None)
        self.upcalls.pop(ident, None)
        self.hurry()

    def excuse(self) -> None:
        """Answer the upcalls that nobody answers any more, as their thread was interrupted."""
        for ident, asking in list(self.upcalls.items()):
            if asking is not None and ((call := asking()) is None or call.gone):
                self.answer(ident, failed_upcall(ident, _given_up()))

    def look_up(self) -> None:
        """Let the thread look again, if it waits until it may send more."""
        self.room.ring()
        alert = self.alert
        if alert is not None:
            alert()

    def give_up(self, pending: Pending) -> None:
        """Let the owner know that a call is not wanted any more, if it knows of the call at all."""
        if pending.sent:
            self.put(header(CANCEL, 0, pending.ident), None)

    # -- ends -------------------------------------------------------------------------------------

    def end(self) -> list[Pending]:
        """Give the line up, which is lost; return whoever will get no reply.

        It is to be tried again while its thread is in the middle of a write.
        """
        if not self._right.acquire(timeout=_PATIENCE):
            return []
        try:
            self.line.busy = True  # its thread will open another
            self.over = True
            self.line.close()
        finally:
            self._right.release()
        self.look_up()
        return self._abandon()


def failed_upcall(ident: int, error: BaseException) -> bytes:
    """Return the answer to an upcall that ends in an exception; what came with it may be kept."""
    failure = encode_failure(error, "a function that was called back", None)
    return header(UP_FAILURE | KEPT, len(failure), ident) + failure


def _given_up() -> CallLost:
    return CallLost("the process that was called back gave its own call up; this one may have run")
