"""The client's channels to one listener: each thread has a line of its own.

A line is opened at the thread's first call: knock at the door, wait for the hello. One that is
found busy is not used again: either an exchange on it was left in the middle, or it is still under
way further down this thread's own stack (a signal handler or a finalizer makes a call).
"""

from __future__ import annotations

import os
import select
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from .._channels import _door
from .._channels._channel import Channel
from .._channels._door import Route
from .._channels._wire import FROM_OWNER, HELLO, Frame, header
from .._system import _deadline, _descriptors, _life
from .._system._descriptors import Descriptor
from ..errors import CallLost, ProtocolError
from ..transports.pipe import Pipe, Waiter, open_pair, wait_for
from ._held import idents
from ._way import Way

#: Seconds after which a client says that nobody answers the door.
_PATIENCE: Final = 5.0
#: Seconds between two tries where the owner refuses, and at a full door; and how often to try.
_RETRY: Final = 0.02
_PAUSE: Final = 0.001
_REFUSALS: Final = 100

#: ``beside(reader, since, deadline)``: see `_service.Service.beside`.
Beside = Callable[["int | None", float, "float | None"], object]


class Line(Channel):
    """The client's end of a channel, and how its thread waits for an answer.

    Attributes:
        busy: an exchange is under way, or was left in the middle.
        ident: the id of the latest call.
        said: some of it may have been written.
        flight: what is in flight on it, see `_flight`; None if nothing is.
        wait: ``wait(seconds)``: what is ready, nothing after so many seconds.
        rest: let the next wait sleep at once.
    """

    __slots__ = ("busy", "flight", "ident", "rest", "said", "wait")

    def __init__(self, pipe: Pipe, life: Descriptor | None, spin: float) -> None:
        super().__init__(pipe, FROM_OWNER)
        self.busy = self.said = False
        self.ident = 0
        self.flight: Any = None
        poller = select.poll()
        poller.register(pipe.reader, select.POLLIN)
        poller.register(pipe.writer, 0)  # tells when nobody reads from it any more
        if life is not None:
            poller.register(life.fileno(), select.POLLIN)
        waiter = Waiter(poller, 1000, spin)
        self.wait, self.rest = waiter.wait, waiter.rest


class _Mine(threading.local):
    """This thread's lines: one for each upcall that it serves, inside one another, and the first.

    Attributes:
        lines: those that are open, or were; None in a place where none was needed.
        depth: the upcalls of the owner's that it serves.
    """

    def __init__(self) -> None:
        self.lines: dict[int, Line] = {}
        self.depth = 0


class Lines(Way):
    """The way to one listener, on which each thread of this process has a line of its own."""

    def __init__(self, route: Route, lobby: Any = None, life: Descriptor | None = None) -> None:
        super().__init__(route, lobby, life)
        self._introduced = False
        self._mine = _Mine()
        self._all: list[weakref.ref[Line]] = []
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: the lines were the parent's; the door serves this process too."""
        for reference in self._all:
            line = reference()
            if line is not None:
                line.close()
        self._introduced = False
        self._mine = _Mine()
        self._all = []

    def mine(self, deadline: float | None, beside: Beside | None = None) -> Line:
        """Return this thread's line, with no exchange under way; open one where it has none.

        Args:
            beside: waits for a moment and serves others meanwhile, if this thread can.

        Raises:
            OwnerDied, ListenerClosed, CallTimeout: the owner can or does not answer the door.
            CallLost: it refuses to take one more channel.
            ProtocolError: somebody else answers at its address.
        """
        mine = self._mine
        line = mine.lines.get(mine.depth)
        if line is None or line.busy:
            line = self.renew(deadline, beside)
        return line

    def at_rest(self) -> Line | None:
        """Return this thread's line, if nothing at all is under way on it."""
        mine = self._mine
        line = mine.lines.get(mine.depth)
        if line is None or line.busy or line.flight is not None or line.decoder.missing:
            return None
        return None if line.is_tapped else line

    def flight(self) -> Any:
        """Return what carries calls of this thread that it does not wait for, if something does
        that can carry more.
        """
        mine = self._mine
        line = mine.lines.get(mine.depth)
        if line is None or line.busy or line.unsent:
            return None
        flight = line.flight
        return None if flight is None or flight.over or flight.is_in_hand() else flight

    def renew(self, deadline: float | None, beside: Beside | None = None) -> Line:
        """As `mine`, but of a line that this thread has nothing is asked any more."""
        mine = self._mine
        line = mine.lines[mine.depth] = self._open(deadline, beside)
        return line

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """Let calls of this thread go another way inside: it serves an upcall on its line."""
        mine = self._mine
        outer = mine.depth
        try:
            mine.depth = outer + 1
            yield
        finally:
            mine.depth = outer

    def leave(self, line: Line) -> None:
        """Close this thread's line, on which the owner said farewell: it will answer no more."""
        self._farewell = True
        self._mine.lines.clear()
        line.close()

    def is_calling(self) -> bool:
        """Whether a call of this thread is under way."""
        return any(line.busy for line in list(self._mine.lines.values()))

    def post(self, kind: int, number: int, payload: bytes) -> None:
        """Say something whose reply nobody waits for, and do not wait oneself.

        It goes through this thread's line or, where that is broken, through one of its own that is
        closed at once. It may be lost: where the door is full, or the owner is out of descriptors.

        Raises:
            OwnerDied, ListenerClosed: nobody is there to hear it.
        """
        line = self._mine.lines.get(self._mine.depth)
        if line is not None and not line.busy and not line.unsent:
            line.ident = next(idents)
            frame = header(kind, len(payload), line.ident, number) + payload
            if line.flight is None:
                line.send(frame)
                return
            if not line.flight.is_in_hand():
                line.flight.put(frame, None)
                return
        if self._farewell or _life.is_dead(self._life):
            raise self.closed()
        try:
            door = self.door()
            line = self._try_knock(door, os.urandom(16))
        except (ConnectionError, FileNotFoundError):
            raise self.gone() from None
        if line is not None:
            line.send(header(kind, len(payload), next(idents), number) + payload)
            line.close()

    def offer(self, number: int, memory: Descriptor) -> bool:
        """Offer the owner a segment; return False if its door is full.

        It is for a thread that has a line, by which the owner knows this process.

        Raises:
            OwnerDied, ListenerClosed: nobody is there to take it.
        """
        try:
            return _door.offer(self.door(), self.route, _life.token(), number, memory)
        except (ConnectionError, FileNotFoundError):
            raise self.gone() from None

    def proven_life(self) -> Descriptor | None:
        """Return the owner's life descriptor; it is certain to be the owner's, pids are not.

        It was inherited from the owner, or made from its pid before it answered.

        Raises:
            OwnerDied, ListenerClosed, CallLost, CallTimeout: the owner is dead or does not answer.
        """
        if self._lobby is None and not self._introduced:
            self.mine(_deadline.current())
        if _life.is_dead(self._life):
            raise self.died()
        return self._life

    # -- waiting ----------------------------------------------------------------------------------

    def wait_to_write(self, line: Line, deadline: float | None) -> None:
        """Wait until the pipe takes more, or something is to be read, and write.

        Raises:
            CallTimeout: neither happened before the deadline.
        """
        if not self._wait(deadline, (line.pipe.writer, True), (line.pipe.reader, False)):
            raise _deadline.passed()
        line.flush()

    def _wait(self, deadline: float | None, *wants: tuple[int, bool]) -> set[int]:
        """Sleep until one of `wants` is ready or the owner is dead."""
        return wait_for(*wants, *self.lives(), timeout=_deadline.left(deadline))

    # -- opening ----------------------------------------------------------------------------------

    def _open(self, deadline: float | None, beside: Beside | None) -> Line:
        if self._farewell:
            raise self.closed()
        self.watch()
        for _ in range(_REFUSALS):
            line, nonce = self._knock(deadline)
            if self._is_accepted(line, nonce, deadline, beside):
                self._introduced = True
                return line
            # It hung up. If it dies, the next knock tells; else it is out of descriptors, and
            # somebody may give some back.
            wait_for(timeout=_RETRY)
        raise CallLost(
            f"process {self.route.pid}, which holds the object, takes no more channels: it is out "
            f"of descriptors (raise its ulimit -n), or it does not trust the user of this process"
        )

    def _knock(self, deadline: float | None) -> tuple[Line, bytes]:
        """Send the owner its ends of new pipes; wait where its door is full."""
        nonce = os.urandom(16)
        try:
            door = self.door()
            while True:
                line = self._try_knock(door, nonce)
                if line is not None:
                    return line, nonce
                if not self._wait(deadline, (door.fileno(), True)):
                    raise _deadline.passed()
                if _life.is_dead(self._life):
                    raise self.died()
                wait_for(timeout=_PAUSE)  # too many descriptors on their way: it seems writable
        except (ConnectionError, FileNotFoundError):
            raise self.gone() from None

    def _try_knock(self, door: Any, nonce: bytes) -> Line | None:
        # One lock round it all: a child forked in between would keep the owner's ends open.
        with _descriptors.lock:
            own, theirs = open_pair()
            line = Line(own, self._life, self.route.spin)
            # Not a WeakSet: what a signal handler raises in its Python callback would be lost.
            self._all = [known for known in self._all if known() is not None]
            self._all.append(weakref.ref(line))
            ends = [theirs.writer, theirs.reader]
            if not self._introduced:
                ends.append(_life.descriptor().fileno())
            who = _life.token(), _life.thread()
            sent = _door.knock(door, self.route, who, nonce, ends)
            theirs.close()
        return line if sent else None

    def _is_accepted(
        self, line: Line, nonce: bytes, deadline: float | None, beside: Beside | None
    ) -> bool:
        """Wait for the hello; False if the owner hung up instead."""
        since = monotonic()
        complain_at: float | None = since + _PATIENCE
        while True:
            if beside is not None:  # the owner may knock here and wait for this thread, too
                beside(line.pipe.reader, since, deadline)
                waits = complain_at is None or monotonic() < complain_at
            else:
                until = _earliest(deadline, complain_at)
                waits = bool(self._wait(until, (line.pipe.reader, False)))
            if not waits:
                if _deadline.is_over(deadline):
                    raise _deadline.passed()
                _complain(self.route.pid)
                complain_at = None
                continue
            try:
                frames = line.receive()
            except EOFError:
                return False
            if frames:
                _check_hello(self.route, nonce, frames[0])
                if frames[1:]:  # a farewell: there was no call yet to reply to
                    self.leave(line)
                    raise self.closed()
                return True
            self.check(line)


def _check_hello(route: Route, nonce: bytes, frame: Frame) -> None:
    kind, _, _, _, payload = frame
    if kind != HELLO:
        raise ProtocolError("the owner's first word was no hello")
    _door.check_hello(route, nonce, payload)


def _earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _complain(pid: int) -> None:
    """Say the one thing that helps with the most common mistake."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(
            f"pipeproxy: process {os.getpid()} waits for process {pid}, which holds the object, "
            f"and has had no answer for {_PATIENCE:.0f} s: is its listener served? (A bare "
            f"p.join() serves nobody: use listener.serve(until=p), or listener.background().)\n"
        )
    except (OSError, ValueError):
        pass  # nobody listens to it
