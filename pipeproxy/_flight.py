"""Calls in flight: frames that a thread sends without waiting for what is said to them.

They go down the thread's own line, so all its calls keep their order, whatever verbs it mixes. As
long as some are in flight the *courier* reads the line, a thread that no signal handler interrupts;
it and the thread itself write. Frames that wait to be written are gathered: few writes for many.

A signal handler may raise between any two steps of the thread. So bytes are written and counted in
one C call, and a step that was left half done is done again by whoever comes next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, Final, NoReturn, Protocol

from . import _life
from ._held import Holdings
from ._lines import Line, Lines
from ._rights import TAKEN, attempt
from ._wire import CANCEL, FAREWELL, Frame, header, pack_batch

#: Calls of one line that may be in flight: more wait until some of them are answered.
MOST_CALLS: Final = 1024
#: Frames above this many bytes are waited for until they are written.
_LARGE: Final = 1 << 16
#: Frames that are gathered before the thread itself writes them: the courier may be slow to come.
_WORTH_A_WRITE: Final = 32
#: Bytes that one batch may have; a single frame may have more.
_LARGEST_BATCH: Final = 1 << 20
#: Seconds after which even what a `batch` has gathered is sent: somebody may wait for it.
LONGEST_BATCH: Final = 1.0


class Pending:
    """A call in flight, and what it will be told.

    Attributes:
        ident: its own.
        deadline: when it is given up, if that is not its thread's business.
        sent: some of it may have been written.
    """

    __slots__ = ("deadline", "ident", "sent")

    def __init__(self, ident: int, deadline: float | None = None) -> None:
        self.ident = ident
        self.deadline = deadline
        self.sent = False

    def begin(self) -> bool:
        """Return whether it is still to be sent; asked just before, and more than once, maybe."""
        self.sent = True
        return True

    def settle(self, kind: int, payload: bytes | memoryview) -> None:
        """Take its reply."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """Learn that none will come."""
        raise NotImplementedError

    def forked(self) -> None:
        """In a forked child: the reply is the parent's."""


class Carrier(Protocol):
    """What carries the frames of flights when their own threads do something else."""

    def take(self, flight: Flight) -> None:
        """Look after a flight from now on, until nothing of it is in flight any more."""


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
        over: nothing is in flight any more, and the line is the thread's alone.
        room: set whenever something was answered.
        alert: called then as well, while the thread serves others as it waits for that.
        gathered: when a `batch` began to keep back what is to be sent; None if none does.
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
        self.asking: list[Any] = []
        self.over = False
        self.gathered: float | None = None
        self._held = held
        self._carrier = carrier
        #: Had by whoever touches the line.
        self._right: Any = threading.RLock()
        #: What is to be written: numbers that grow, frames, and whose they are.
        self._outbox: deque[tuple[int, bytes, Pending | None]] = deque()
        self._numbers = count(1)
        #: What is being written, how much each write took, and the number of its last frame.
        self._chunk: tuple[bytes, list[int | None], int] = (b"", [], 0)
        #: What the owner is told with which call.
        self._told: dict[int, list[tuple[int, int, int]]] = {}
        self._is_heavy = self._is_timed = False
        self.room = threading.Event()
        self.alert: Callable[[], object] | None = None

    # -- sending ----------------------------------------------------------------------------------

    def put(self, frame: bytes, pending: Pending | None, *, gather: bool = False) -> None:
        """Let a frame be sent, after all that were before it; any thread may.

        Args:
            pending: who wants the reply, if there will be one.
            gather: it may be kept back for the end of a `batch`.
        """
        # One C call: the numbers are in order, whichever threads come at once.
        self._outbox.extend(zip(self._numbers, (frame,), (pending,), strict=False))
        self._is_heavy |= len(frame) > _LARGE
        self._is_timed |= pending is not None and pending.deadline is not None
        if gather and _gathering.depth and len(self._outbox) < MOST_CALLS:
            if self.gathered is None:
                self.gathered = monotonic()
                _gathering.flights.append(self)
                self._carrier.take(self)
            return
        self.push()

    def push(self) -> None:
        """Write what is worth it now, and leave the rest to the courier."""
        self.gathered = None
        if not self.pending or len(self._outbox) >= _WORTH_A_WRITE:
            self.write()
        if self.is_under_way():
            self._carrier.take(self)

    def write(self) -> None:
        """Write as much as the pipe takes now, if no other thread does."""
        while self.is_unsent() and not self.is_in_hand():
            if attempt(self._right, self._write_once) is not True:
                return

    def _write_once(self) -> bool:
        """Write once; return whether the pipe may take more."""
        if self.over:
            return False
        data, written, last = self._chunk
        done = sum(filter(None, written))
        if done == len(data):
            data, written, last = self._chunk = self._gather(last)
            done = 0
            while self._outbox and self._outbox[0][0] <= last:
                self._outbox.popleft()
        try:
            rest = memoryview(data)[done:] if done else data
            self.line.write_once(rest, written)
        except OSError:
            # The other end is closed, which whoever reads learns as well.
            self._chunk = b"", [], last
            return False
        return sum(filter(None, written)) == len(data) or self.line.pipe.enlarge()

    def _gather(self, last: int) -> tuple[bytes, list[int | None], int]:
        """Return what is to be written next, after the frame of the number `last`."""
        frames: list[bytes] = []
        size = 0
        wants: Pending | None = None
        for number, frame, pending in list(self._outbox):
            if number <= last:
                continue  # it was gathered before an interrupt
            if frames and size + len(frame) > _LARGEST_BATCH:
                break
            last = number
            if pending is not None:
                self.pending[pending.ident] = pending
                if not pending.begin():
                    self.pending.pop(pending.ident, None)
                    continue
                wants = pending
            frames.append(frame)
            size += len(frame)
        told = b""
        if wants is not None and not self._held.is_quiet():
            self._told[wants.ident], told = self._held.news()
        return told + (pack_batch(frames) if frames else b""), [], last

    def is_unsent(self) -> bool:
        """Whether something waits to be written."""
        data, written, _ = self._chunk
        return bool(self._outbox) or sum(filter(None, written)) != len(data)

    def is_under_way(self) -> bool:
        """Whether something is to be written or to be answered."""
        return bool(self.pending) or self.is_unsent()

    def is_in_hand(self) -> bool:
        """Whether this thread is in the middle of a write, further down its stack."""
        return bool(self._right._is_owned())

    def is_full(self) -> bool:
        """Whether nothing more should be sent before something is written, or answered."""
        if self._is_heavy and not self.is_unsent():
            self._is_heavy = False
        return self._is_heavy or len(self.pending) + len(self._outbox) >= MOST_CALLS

    # -- receiving --------------------------------------------------------------------------------

    def land(self) -> bool:
        """Return whether nothing is in flight any more, and leave the line to its thread then."""
        if self.is_under_way():
            return False
        with self._right:  # the courier has it for no longer than a read takes
            if not self.is_under_way():
                self.over = True
        return self.over

    def receive(self) -> list[Callable[[], object]]:
        """Read once; return what is to be done with what has come, by who has no right here.

        Raises:
            OwnerDied, ListenerClosed, CallLost, ProtocolError: nothing more will come.
        """
        try:
            acts = attempt(self._right, self._receive)
        except EOFError:
            raise self._lines.hung_up() from None
        if acts is TAKEN:
            return []  # its thread writes just now, and what has come can still be seen
        self.look_up()
        return acts

    def _receive(self) -> list[Callable[[], object]]:
        if self.over:
            return []
        frames = self.line.receive()
        if frames is None:
            self._lines.check(self.line)
        return [self._act_for(frame) for frame in frames or ()]

    def _act_for(self, frame: Frame) -> Callable[[], object]:
        kind, ident, _, _, payload = frame
        if kind == FAREWELL:
            return self._leave
        pending = self.pending.pop(ident, None)
        if pending is None:
            return partial(self._hear, self, frame)
        if ident in self._told:
            self._held.told(self._told.pop(ident))
        return partial(pending.settle, kind, payload)

    def _leave(self) -> NoReturn:
        self._lines.leave(self.line)
        raise self._lines.closed()

    def wants(self) -> set[tuple[int, bool]]:
        """Return what the courier waits for, as `wait_for` takes it."""
        wants = self._lines.lives() | {(self.line.pipe.reader, False)}
        if self.is_unsent() and self.gathered is None:
            wants.add((self.line.pipe.writer, True))
        return set() if self.over else wants

    def earliest(self) -> float | None:
        """Return when the first of the calls is to be given up; None if none is."""
        if not self._is_timed:
            return None
        return min((call.deadline for call in self._all() if call.deadline), default=None)

    def overdue(self, now: float) -> list[Pending]:
        """Return the calls whose deadline has passed, of which nobody hears any more."""
        if not self._is_timed:
            return []
        late = [call for call in self._all() if call.deadline and call.deadline <= now]
        for call in late:
            self.forget(call)
        return late

    def _all(self) -> list[Pending]:
        unsent = [call for _, _, call in list(self._outbox) if call is not None]
        return [*list(self.pending.values()), *unsent]

    def look_up(self) -> None:
        """Let the thread look again, if it waits until it may send more."""
        self.room.set()
        alert = self.alert
        if alert is not None:
            alert()

    def give_up(self, pending: Pending) -> None:
        """Let the owner know that a call is not wanted any more, if it knows of the call at all."""
        if pending.sent:
            self.put(header(CANCEL, 0, pending.ident), None)

    def forget(self, pending: Pending) -> None:
        """Want no reply any more to a call; it may run all the same, if it was sent."""
        self.pending.pop(pending.ident, None)

    # -- ends -------------------------------------------------------------------------------------

    def end(self) -> list[Pending]:
        """Give the line up; return whoever will get no reply."""
        with self._right:
            self.over = True
            self.line.busy = True  # its thread will open another
            self.line.close()
        self.look_up()
        lost = self._all()
        self._outbox.clear()
        self.pending.clear()
        return lost

    def forked(self) -> None:
        """In a forked child: all that is in flight is the parent's."""
        self.over = True
        for pending in self._all():
            pending.forked()


class _Gathering(threading.local):
    """What this thread keeps back inside of `batch` blocks.

    Attributes:
        depth: how many blocks it is in.
        flights: those that something is kept back of.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.flights: list[Flight] = []


_gathering = _Gathering()


def begin_batch() -> None:
    """Keep back what this thread sends without waiting, from now on."""
    _gathering.depth += 1


def end_batch() -> None:
    """Send what was kept back, if this was the outermost block."""
    _gathering.depth -= 1
    while not _gathering.depth and _gathering.flights:
        _gathering.flights[-1].push()
        _gathering.flights.pop()
