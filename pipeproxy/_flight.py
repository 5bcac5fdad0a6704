"""Calls in flight: frames that a thread sends without waiting for what is said to them.

They go down the thread's own line, so all its calls keep their order, whatever verbs it mixes. As
long as some are in flight the *courier* reads the line, a thread that no signal handler interrupts;
it and the thread itself write. Frames that wait to be written are gathered: few writes for many.

A signal handler may raise between any two steps of the thread. So bytes are written and counted in
one C call, and a step that was left half done is done again by whoever comes next.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import repeat, starmap
from math import inf
from time import monotonic
from typing import Any, Final, NoReturn, Protocol

from . import _life
from ._asking import Pending, tell
from ._bell import Bell
from ._gathering import gathering
from ._held import Holdings
from ._lines import Line, Lines
from ._rights import attempt
from ._wire import CANCEL, FAREWELL, KEPT, UP_FAILURE, Frame, header, pack_batch
from .codecs.pickle import encode_failure
from .errors import CallLost

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
#: Bytes that one batch may have; a single frame may have more.
_LARGEST_BATCH: Final = 1 << 20
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


class Flight:
    """What one thread has in flight on its line.

    Args:
        line: which nothing else is under way on.
        lines: those of this process to the same owner.
        held: what this process holds of that, which is told of it with the calls.
        hear: called with what the owner says beside replies.
        carrier: see there.

    Attributes:
        line: as given.
        thread: the number of the thread whose line it is.
        pending: what was sent and not answered, by ident.
        asking: calls of the thread that wait just now, the latest last.
        upcalls: what the owner asked and was not answered yet, by ident: each with the call whose
            thread answers it, None if it is answered apart.
        over: nothing is in flight any more, and the line is the thread's alone; or it is lost.
        lost: makes the error of what was in flight when the line ended, and of what comes later;
            None as long as it has not.
        room: rung whenever something was answered.
        alert: called then as well, while the thread serves others as it waits for that.
        kept: until when what is to be sent may be kept back, to be sent with more; None for no
            longer.
    """

    def __init__(
        self,
        line: Line,
        lines: Lines,
        held: Holdings,
        hear: Callable[[Flight, Frame], object],
        carrier: Carrier,
    ) -> None:
        self.line = line
        self._lines = lines
        self._hear = hear
        self.thread = _life.thread()
        self.pending: dict[int, Pending] = {}
        self.asking: list[weakref.ref[Pending]] = []
        self.upcalls: dict[int, weakref.ref[Pending] | None] = {}
        self.over = False
        self.lost: Callable[[], BaseException] | None = None
        self.kept: float | None = None
        #: The very `kept` by which the carrier will come, as it was told so.
        self._awaited: float | None = None
        self._held = held
        self._carrier = carrier
        #: Had by whoever touches the line.
        self._right: Any = threading.RLock()
        #: What is to be written, each with whoever wants the reply.
        self._outbox: deque[tuple[bytes, Pending | None]] = deque()
        #: What is being written, how much each write took, and what comes next; all in one, as they
        #: change in one.
        self._state: tuple[bytes, list[int | None], list[tuple[bytes, Pending | None]]]
        self._state = b"", [], []
        #: What the owner is told with which call.
        self._told: dict[int, list[tuple[int, int, int]]] = {}
        self._is_heavy = self._is_timed = self.is_blocked = False
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
        outbox = self._outbox
        batched = gathering.block is not None and gathering.is_on()
        if batched and gather and self not in gathering.flights:
            self.hurry()  # what was before the batch
            gathering.flights[self] = None
        outbox.append((frame, pending))
        if self.over:  # asked last: who ends it looks into the outbox after that
            return self._turn_away()
        if len(frame) > _LARGE:
            self._is_heavy = True
        if pending is not None and pending.deadline is not None:
            self._is_timed = True
            self._carrier.take(self, pending.deadline)
        gathers = batched and gather and len(outbox) < _MOST_KEPT
        if not gathers and (batched or not self.pending or not len(outbox) % _WORTH_A_WRITE):
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

    def _empty(self) -> Iterator[tuple[bytes, Pending | None]]:
        while True:  # another thread may do the same
            try:
                yield self._outbox.popleft()
            except IndexError:
                return

    def write(self) -> None:
        """Write as much as the pipe takes now, if no other thread does."""
        self.kept = None  # first: what comes from here on is kept anew
        while self.is_unsent() and not self.is_in_hand():
            if attempt(self._right, self._write_once) is not True:
                return

    def _write_once(self) -> bool:
        """Write once; return whether the pipe may take more."""
        if self.over:
            return False
        data, written, coming = self._state
        done = sum(filter(None, written))
        if done == len(data):
            # One C call, so that nothing is taken out and lost.
            coming.extend(starmap(self._outbox.popleft, repeat((), len(self._outbox))))
            data, written, coming = self._state = self._gather(coming)
            done = 0
        try:
            self.line.write_once(memoryview(data)[done:] if done else data, written)
        except (OSError, ValueError):
            # The other end is closed, or this one: whoever reads learns it as well.
            self._state = b"", [], coming
            return False
        self.is_blocked = sum(filter(None, written)) != len(data) and not self.line.pipe.enlarge()
        return not self.is_blocked

    def _gather(
        self, coming: list[tuple[bytes, Pending | None]]
    ) -> tuple[bytes, list[int | None], list[tuple[bytes, Pending | None]]]:
        """Return what is to be written next, nothing of it written, and what comes after that."""
        frames: list[bytes] = []
        size = taken = 0
        wants: Pending | None = None
        for frame, pending in coming:
            if frames and size + len(frame) > _LARGEST_BATCH:
                break
            taken += 1
            if pending is not None:
                self.pending[pending.ident] = pending  # first: its reply may come at once
                if not pending.begin():
                    del self.pending[pending.ident]
                    continue
                wants = pending
            frames.append(frame)
            size += len(frame)
        told = b""
        if wants is not None and not self._held.is_quiet():
            self._told[wants.ident], told = self._held.news()
        return told + (pack_batch(frames) if frames else b""), [], coming[taken:]

    def is_unsent(self) -> bool:
        """Whether something waits to be written."""
        data, written, coming = self._state
        return bool(self._outbox or coming) or sum(filter(None, written)) != len(data)

    def is_under_way(self) -> bool:
        """Whether something is to be written or to be answered."""
        return bool(self.pending or self.upcalls) or self.is_unsent()

    def is_in_hand(self) -> bool:
        """Whether this thread is in the middle of a write, further down its stack."""
        return bool(self._right._is_owned())

    def is_full(self, most: int = MOST_CALLS) -> bool:
        """Whether nothing more should be sent before something is written, or answered.

        Args:
            most: the calls that may be in flight.
        """
        if self._is_heavy:
            self._is_heavy = self.is_unsent()
        return self._is_heavy or len(self.pending) + len(self._outbox) >= most

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

    def _all(self) -> list[Pending]:
        # In the order in which calls go through them, so that none is missed that moves on.
        unsent = [*list(self._outbox), *self._state[2]]
        return [*(call for _, call in unsent if call is not None), *list(self.pending.values())]

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

    def forget(self, pending: Pending) -> None:
        """Want no reply any more to a call; it is not sent, if it was not yet."""
        with self._right:  # held by whoever sends it
            pending.gone = True
        self.pending.pop(pending.ident, None)

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
        rest = [*self._state[2], *self._empty()]
        calls = [*(call for _, call in rest if call is not None), *list(self.pending.values())]
        self.pending.clear()
        return calls

    def forked(self) -> None:
        """In a forked child: all that is in flight is the parent's."""
        self.over = True
        for pending in self._all():
            pending.forked()
        self._outbox.clear()
        self._state = b"", [], []


def failed_upcall(ident: int, error: BaseException) -> bytes:
    """Return the answer to an upcall that ends in an exception; what came with it may be kept."""
    failure = encode_failure(error, "a function that was called back", None)
    return header(UP_FAILURE | KEPT, len(failure), ident) + failure


def _given_up() -> CallLost:
    return CallLost("the process that was called back gave its own call up; this one may have run")
