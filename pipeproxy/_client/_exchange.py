"""One frame to an owner, and its reply: what the owner says meanwhile is heeded.

An exchange that is left in the middle, by whatever exception, closes its line: the next call opens
another, so no call can ever meet another's reply. A call whose deadline passes once it is written
keeps the line; the late reply is known by its id and dropped. While calls are in flight on a line,
an exchange is one of them, for whose reply its thread waits (see `_flight`).
"""

from __future__ import annotations

import weakref
from _thread import start_new_thread
from time import monotonic
from typing import Any, Final, Protocol

from .._chains._activities import Served, activity_of, here
from .._channels._door import Route
from .._channels._parcels import Encoded, Place, answered, pack, unpack
from .._channels._wire import (
    BULK,
    CALL,
    CANCEL,
    FAREWELL,
    GIVEN_BACK,
    HEADER_SIZE,
    IDENTITY,
    KEPT,
    LIMIT,
    RESULT,
    TAKEN,
    UNHEARD,
    UPCALL,
    WAITING,
    Frame,
    header,
    oversized,
    pack_header,
    unpack_header,
    unpack_number,
)
from .._system import _deadline, _life
from ..errors import CallTimeout, ProtocolError
from ..transports.pipe import READ_SIZE
from ._asking import Asking, Pending, Promised
from ._courier import courier
from ._flight import Flight, failed_upcall
from ._held import Holdings, idents
from ._lines import Line, Lines
from ._pool import Lease, Pool

#: Frames of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16

_UP: Final = frozenset({UPCALL, UPCALL | BULK, GIVEN_BACK, WAITING, TAKEN, TAKEN | KEPT})

#: The kind and the payload of a reply.
Reply = tuple[int, "bytes | memoryview"]


class Surroundings(Protocol):
    """What an exchange needs of this process."""

    def outgoing(self, route: Route) -> Any:
        """Return what is asked how the parts of an argument travel to a listener."""

    def answer(
        self, route: Route, frame: Frame, place: Place | None, *, apart: bool
    ) -> tuple[int, Encoded]:
        """Answer an upcall of a listener: return the kind and the payload.

        Args:
            place: where its arguments are, if they are not in the frame.
            apart: nothing waits in this thread meanwhile.
        """

    def given_back(self, route: Route, frame: Frame) -> None:
        """Heed that a listener holds something no more."""

    def waiting(self, route: Route, frame: Frame, chains: list[Served]) -> None:
        """Heed whom this thread waits for, and whom those wait for.

        Args:
            chains: calls that are served, and have others under way beside what this thread does.
        """

    def lost(self, route: Route) -> None:
        """Heed that the process of a listener is dead."""


class Exchange:
    """The exchanges with one owner, of all threads of this process.

    Args:
        route: how to reach it.
        held: what this process holds of it.
        around: this process.
        lines: the channels to it.
        pool: the memory that goes with calls.
    """

    def __init__(
        self, route: Route, held: Holdings, around: Surroundings, lines: Lines, pool: Pool
    ) -> None:
        self.lines = lines
        self._pool = pool
        self._route = route
        self._held = held
        self._around = around

    def line(self, deadline: float | None) -> tuple[Line, int]:
        """Return this thread's line, ready for the call of the ident that is returned with it."""
        server = here.server
        line = self.lines.mine(deadline, None if server is None else server.beside)
        if line.flight is not None:
            line = self._land(line, deadline)
        line.said = False
        ident = line.ident = next(idents)
        line.busy = line.flight is None
        return line, ident

    def _land(self, line: Line, deadline: float | None) -> Line:
        """Return the line for this thread alone, if nothing is in flight on it any more."""
        if line.flight.is_in_hand():  # this is a signal handler, in the middle of a write
            return self.lines.renew(deadline)
        if line.flight.land():
            line.flight = None
        return line

    def send(
        self, frame: bytes, promise: Promised | None, lease: Lease | None, deadline: float | None
    ) -> None:
        """Let a frame be sent, for a promise or for none; its thread does not wait for a reply.

        Args:
            lease: the memory that goes with it.

        Raises:
            CallTimeout: the deadline passed before there was room for it.
            OwnerDied, ListenerClosed, CallLost: nobody will answer.
        """
        waits = promise is None or promise.waits
        while True:  # once more if a signal handler made a call, and had the line for itself
            flight = self.lines.flight() or self._take_off(deadline)
            if waits and flight.is_full():
                self._make_room(flight, deadline)
            if promise is not None:
                promise.flight = flight
            elif lease is not None:
                self._pool.await_end(lease, flight.line, 0)
            if flight.put(frame, promise, waits):
                return

    def _take_off(self, deadline: float | None) -> Flight:
        """Let calls of this thread be carried that it does not wait for; return by what."""
        server = here.server
        line = self.lines.mine(deadline, None if server is None else server.beside)
        if line.unsent or (line.flight is not None and line.flight.is_in_hand()):
            line = self.lines.renew(deadline)
        flight: Flight | None = line.flight
        if flight is None or flight.over:
            flight = line.flight = Flight(line, self.lines, self._held, self._hear, courier)
        return flight

    def _make_room(self, flight: Flight, deadline: float | None) -> None:
        """Wait until not too much is in flight."""
        if courier.is_here():
            return  # in a callback, and nobody else would make room
        since = monotonic()
        while flight.is_full() and not flight.over:
            flight.hurry()
            self._pause(flight, since, deadline)

    def _pause(self, flight: Flight, since: float, deadline: float | None) -> None:
        server = here.server
        beside = None if server is None else server.beside
        if not beside:
            left = _deadline.left(deadline)
            if left == 0:
                raise _deadline.passed()
            flight.room.wait(left)
            return
        flight.alert = server.alert
        try:
            beside(None, since, deadline)
        finally:
            flight.alert = None

    def trip(self, line: Line, ident: int, number: int, member: int, payload: bytes) -> Reply:
        """As `ask`, as short as can be: a small call, by a line on which nothing is under way."""
        line.ident, line.busy = ident, True
        try:
            line.said = True
            line.send(pack_header(len(payload), ident, number, member, CALL) + payload)
            frames: list[Frame] = []
            if not line.unsent:
                line.wait(None)
                data = line.read(READ_SIZE) or b""
                if len(data) > HEADER_SIZE:
                    size, of, _, crowded, kind = unpack_header(data)
                    if of == ident and kind == RESULT and len(data) == HEADER_SIZE + size:
                        if crowded:
                            line.rest()
                        line.busy = False
                        return kind, data[HEADER_SIZE:]
                frames = line.decoder.feed(data)
            reply = self._await_reply(line, frames, None, 0.0)
        except BaseException:
            line.close()
            raise
        line.busy = False
        return reply

    def ask(  # noqa: PLR0913, PLR0917 - the fields of a frame, where it goes and until when
        self,
        line: Line,
        ident: int,
        what: int,
        number: int,
        member: int,
        payload: bytes,
        deadline: float | None,
    ) -> Reply:
        """Send a frame on a line, by its ident; return the kind and the payload of its reply."""
        if line.flight is not None:
            frame = header(what, len(payload), ident, number, member) + payload
            in_flight = self._ask_in_flight(line, ident, frame, deadline)
            if in_flight is not None:
                return in_flight
        line.ident, line.busy = ident, True
        since = monotonic()  # before anybody can know of the call
        try:
            size, news = len(payload), None
            if size > LIMIT:
                raise oversized(size)
            head = pack_header(size, ident, number, member, what)
            if self._held.ended or self._held.untold:
                news, told = self._held.news()
                head = told + head
            line.said = True
            if size < _JOIN_BELOW:
                line.send(head + payload)
            else:
                line.send(head)
                line.send(payload)
            reply = self._await_reply(line, [], deadline, since)
        except BaseException as error:
            if isinstance(error, CallTimeout) and not line.unsent:
                line.busy = False
                # What the call has taken, or is about to take, is not to stay with this process.
                line.send(header(CANCEL, 0, ident, member=UNHEARD))
            else:
                line.close()
            raise
        line.busy = False
        if news:
            self._held.told(news)
        return reply

    def _await_reply(
        self, line: Line, frames: list[Frame], deadline: float | None, since: float
    ) -> Reply:
        """Return the reply to the latest call, once it has come.

        Args:
            frames: what has come so far.
            since: when it began to wait, if this thread serves.
        """
        server = here.server
        beside = None if server is None else server.beside
        while (reply := self._own_reply(line, frames)) is None:
            if line.unsent:
                self.lines.wait_to_write(line, deadline)
            elif beside:
                # The longer it waits the more it lets be served: see `Service.beside`.
                beside(line.pipe.reader, since, deadline)
            elif not line.wait(None if deadline is None else _deadline.left(deadline)):
                raise _deadline.passed()
            try:
                frames = line.receive() or []
            except EOFError:
                raise self.lines.hung_up() from None
            if not frames:
                self.lines.check(line)
        return reply

    def _serve(self, line: Line, frame: Frame) -> None:
        """Heed what the owner says to this thread while it waits for an answer."""
        if not self._heed(frame):
            with self.lines.deeper():
                head, answer = self._answer(frame)
            if line.pipe.closed:  # the object forked this process
                raise self.lines.hung_up()
            line.send(head)
            line.send(answer)

    def _answer(self, frame: Frame, *, apart: bool = False) -> tuple[bytes, bytes | memoryview]:
        """Return the answer to an upcall: a header, and what follows it."""
        kind, ident, number, member, payload = frame
        place = None
        if kind & BULK:
            place, payload = unpack(payload, self._pool.find)
        frame = kind & ~BULK, ident, number, member, payload
        segment = place and place.segment
        what, answer = self._around.answer(self._route, frame, place, apart=apart)
        what, record, data = pack(what, answer, segment)
        del answer  # it may be part of what came
        what = answered(what, segment)
        return header(what, len(record) + len(data), ident) + record, data

    def _heed(self, frame: Frame) -> bool:
        """Heed what needs no answer; return False for an upcall."""
        if frame[0] == GIVEN_BACK:
            self._around.given_back(self._route, frame)
        elif frame[0] == WAITING:
            self._around.waiting(self._route, frame, [])
        elif frame[0] & ~KEPT == TAKEN:
            self._pool.hear_end(-unpack_number(frame[4]), frame[0])
        return frame[0] & ~BULK != UPCALL

    # -- in flight --------------------------------------------------------------------------------

    def _ask_in_flight(
        self, line: Line, ident: int, frame: bytes, deadline: float | None
    ) -> Reply | None:
        """As `ask`; None if nothing is in flight any more, and nothing was sent."""
        flight: Flight = line.flight
        server = here.server
        asking = Asking(ident, None if server is None else server.alert)
        waits: weakref.ref[Pending] = weakref.ref(asking)
        since = monotonic()
        try:
            flight.asking.append(waits)
            if not flight.put(frame, asking):
                return None
            flight.hurry()
            return self._wait_in_flight(flight, asking, deadline, since)
        except BaseException:
            flight.forget(asking)
            line.said = asking.sent
            if asking.sent:
                flight.put(header(CANCEL, 0, ident, member=UNHEARD), None)
            raise
        finally:
            flight.asking.remove(waits)

    def attend(self, flight: Flight, asking: Asking, since: float, deadline: float | None) -> None:
        """Serve others, and answer what the owner asks, until somebody is told what he waits for.

        Args:
            asking: told so by its own ident.
        """
        waits: weakref.ref[Pending] = weakref.ref(asking)
        try:
            flight.asking.append(waits)
            self._wait_in_flight(flight, asking, deadline, since)
        finally:
            asking.gone = True
            flight.asking.remove(waits)
            self._hand_on(flight, asking)

    def _hand_on(self, flight: Flight, asking: Asking) -> None:
        """Let others take what was said to somebody who waits no more."""
        while (frame := asking.rest()) is not None:
            if frame[1] != asking.ident:
                self._hear(flight, frame)

    def _wait_in_flight(
        self, flight: Flight, asking: Asking, deadline: float | None, since: float
    ) -> Reply:
        while True:
            if courier.is_here():  # in a callback: nobody else would receive the reply
                courier.wait(flight, asking.is_told, deadline)
            frame = asking.take(since, deadline)
            if frame[1] == asking.ident:
                return frame[0], frame[4]
            if not self._heed(frame):
                with self.lines.deeper():
                    answer = b"".join(self._answer(frame))
                flight.answer(frame[1], answer)

    def _hear(self, flight: Flight, frame: Frame) -> None:
        """Take what the owner says that is no reply to a call in flight; mostly in the courier."""
        if frame[0] not in _UP:
            # The late reply to a call that was given up.
            self._pool.hear_end(frame[1], frame[0])
            return
        for reference in flight.asking[::-1]:
            asking: Any = reference()
            if asking is None or asking.gone:
                continue
            if asking.lends or not self._is_for_lent(frame):
                if frame[0] & ~BULK == UPCALL:
                    flight.upcalls[frame[1]] = reference
                asking.hear(frame)
                if asking.gone:  # by now
                    self._hand_on(flight, asking)
                return
        if frame[0] == WAITING:
            pending = list(flight.pending.values())
            chains = [each.served for each in pending if each.served]
            self._around.waiting(self._route, frame, chains)
        elif not self._heed(frame):
            flight.upcalls[frame[1]] = None
            try:
                start_new_thread(self._answer_apart, (flight, frame))
            except RuntimeError as error:  # there are no more threads
                flight.answer(frame[1], failed_upcall(frame[1], error))

    def _is_for_lent(self, frame: Frame) -> bool:
        """Whether it is an upcall of what this process lends without a listener."""
        kind, _, _, _, payload = frame
        if kind & BULK:
            _, payload = unpack(payload, self._pool.find)
        return kind & ~BULK == UPCALL and payload[:IDENTITY] == _life.token()

    def _answer_apart(self, flight: Flight, frame: Frame) -> None:
        """Answer an upcall in a thread of its own, in the name of the one that does not wait."""
        token = _life.token()
        here.serves = Served(activity_of(token, flight.thread), (token,), None)
        try:
            answer = b"".join(self._answer(frame, apart=True))
        except BaseException as error:  # what would have ended the thread if it had waited
            answer = failed_upcall(frame[1], error)
        flight.answer(frame[1], answer)

    def _own_reply(self, line: Line, frames: list[Frame]) -> Reply | None:
        """Return the latest call's reply, if it is among these frames; drop all earlier ones."""
        ident = line.ident
        for frame in frames:
            kind, of, _, _, answer = frame
            if of == ident:
                if frames[-1][0] == FAREWELL:
                    self.lines.leave(line)
                return kind, answer
            if kind == FAREWELL:
                self.lines.leave(line)
                raise self.lines.closed()
            if kind in _UP:
                self._serve(line, frame)
            elif of > ident:
                raise ProtocolError(f"a reply came to call {of}, which was never made")
            else:
                self._pool.hear_end(of, kind)
        return None
