"""The owner's loop: wait, look up, run, reply.

A turn waits once and then answers every call that has arrived. It never waits to write: what a
client does not take stays in its channel, and while that is more than `MOST_UNSENT` bytes nothing
more is read from this client, so what is held for it is bounded. All others go on.

The channel that a turn has in its hand is noted. If the turn is left by an exception — a signal
handler raised — it is cut by the next one: its caller gets `CallLost`, and nobody else notices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final

from ._callers import MOST_UNSENT, Caller, Callers
from ._dispatch import Dispatch
from ._door import Door, Knock, Route, hello
from ._objects import Client, Objects
from ._sections import Taken
from ._wire import CALL, FAREWELL, HELLO, LEAVE, Frame, header, unpack_numbers
from .errors import ListenerClosed, ProtocolError
from .transports.pipe import Pipe, Waiter

#: Replies of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16


class Service:
    """Answers the calls of all clients of one listener.

    Args:
        route: the listener's identity.
        door: where clients knock.
        objects: what is answered for.
        refer: what turns live objects in results into references.

    Attributes:
        closed: it serves nobody any more.
        dispatch: what runs the calls.
        waited, ran: seconds spent so far in waiting, and in all else.
    """

    def __init__(
        self,
        route: Route,
        door: Door,
        objects: Objects,
        refer: Callable[[object], Any],
    ) -> None:
        self.closed = False
        self.waited = self.ran = 0.0
        self._route, self._door, self._objects = route, door, objects
        self.dispatch = Dispatch(objects, refer)
        self.callers = Callers()
        self._waiter = Waiter(self.callers.poller, 1, route.spin)
        self._warm = False
        self._in_hand: Caller | None = None
        self._nested = False
        self._entered: deque[Caller] = deque()
        self._pending: deque[Caller] = deque()
        for number in door.descriptors:
            self.callers.watch(number, self._admit)

    # -- a turn -----------------------------------------------------------------------------------

    def turn(self, timeout: float | None) -> int:
        """Wait for at most `timeout` seconds and serve what has arrived; return the calls answered.

        Raises:
            ListenerClosed: this process was forked by a method that it served.
        """
        if self._in_hand is not None:
            self._drop(self._in_hand)
        began = monotonic()
        # Only straight after an answer is the next call likely to be a moment away.
        ready = self._waiter.wait(timeout) if self._warm else self._waiter.sleep(timeout)
        woke = monotonic()
        answered = 0
        others = []
        for number, _ in ready:
            caller = self.callers.readers.get(number)
            if caller is None:
                others.append(number)
            else:
                answered += self._attend(caller)
        for number in others:
            writer = self.callers.writers.get(number)
            if writer is not None:
                answered += self._attend(writer)
            elif number in self.callers.watched:
                self.callers.watched[number]()
        if self._entered or self._pending:
            answered += self._go_on()
        self._warm = answered > 0
        self.waited += woke - began
        self.ran += monotonic() - woke
        return answered

    def heed(self, timeout: float) -> None:
        """In the middle of a call: read what arrives, and run nothing.

        What clients leave is heeded, and what was the dead's is given up; calls wait for a turn.
        """
        in_hand, self._nested = self._in_hand, True
        try:
            for number, _ in self._waiter.sleep(timeout):
                caller = self.callers.readers.get(number)
                if caller is not None:
                    self._read(caller)
                    self._postpone(caller)
                elif number in self.callers.watched:
                    self.callers.watched[number]()
        finally:
            self._in_hand, self._nested = in_hand, False

    def _postpone(self, caller: Caller) -> None:
        """Leave a caller to the next turn, but heed what wants no answer."""
        self._overtake(caller)
        self._pending.append(caller)
        if caller.ended and not caller.paused:
            self.callers.pause(caller)  # its end would be reported again and again

    def _attend(self, caller: Caller) -> int:
        """Move what can be moved on one channel, both ways, and serve what has arrived."""
        self._in_hand = caller
        if caller.unsent:
            caller.flush()
        if not caller.paused:
            self._read(caller)
        answered = self._serve(caller) if caller.frames else 0
        if caller.ended:
            self._drop(caller)
        elif caller.unsent or caller.writing:
            self.callers.balance(caller)
        self._in_hand = None
        return answered

    def _read(self, caller: Caller) -> bool:
        """Read once; return whether anything had come."""
        try:
            frames = caller.receive()
        except (EOFError, ProtocolError):
            caller.ended = True
            return False
        if frames is None:
            return False
        caller.frames += frames
        if caller.waits is not None:
            self._overtake(caller)
        return True

    def _serve(self, caller: Caller) -> int:
        """Answer the frames of a caller until it has too much to take; return how many calls."""
        frames = caller.frames
        replies: list[bytes] = []
        size = answered = 0
        while frames and caller.waits is None and caller.unsent <= MOST_UNSENT:
            frame = frames.popleft()
            if frame[0] != CALL:
                self._heed(caller, frame)
                continue
            try:
                kind, answer = self.dispatch.answer(caller.client, caller, frame)
            except Taken:
                self._wait_in_line(caller, frame)
                continue
            if self.closed:
                raise ListenerClosed("a method forked this process; the listener is its parent's")
            answered += 1
            if caller.entered is not None:
                if caller.entered.stays:
                    caller.entered = None
                else:
                    self._give_up(caller)
            if caller.ended:
                continue
            replies += (header(kind, len(answer), frame[1]), answer)
            size += len(answer)
            if size > _JOIN_BELOW:
                for part in replies:
                    caller.send(part)
                replies, size = [], 0
        if replies:
            caller.send(b"".join(replies))
        return answered

    def _heed(self, caller: Caller, frame: Frame) -> None:
        """Do what a client says that wants no answer."""
        kind, ident, number, activity, _, payload = frame
        if kind == LEAVE:
            self.dispatch.leave(caller.client, number, activity, ident)
            return
        try:
            self._objects.release(caller.client, unpack_numbers(payload))
        except ProtocolError:
            caller.ended = True
            caller.frames.clear()

    # -- waiting in line --------------------------------------------------------------------------

    def _wait_in_line(self, caller: Caller, frame: Frame) -> None:
        """Keep a call, and all that comes after it on its channel, until it may run."""
        caller.frames.appendleft(frame)
        place = self.dispatch.place(caller.client, caller, frame)
        caller.waits = place
        if place.section.enter(place.holder, place.name, partial(self._resume, caller)):
            self._resume(caller)

    def _resume(self, caller: Caller) -> None:
        """Let a turn go on with a caller that has entered; it may be called by any thread."""
        self._entered.append(caller)
        self._door.wake()

    def _overtake(self, caller: Caller) -> None:
        """Heed at once what a waiting caller leaves, as others may wait for just that."""
        kept = deque(frame for frame in caller.frames if frame[0] == CALL)
        said = [frame for frame in caller.frames if frame[0] != CALL]
        caller.frames = kept
        for frame in said:
            self._heed(caller, frame)
            if caller.waits is not None and caller.waits.name == frame[1] and frame[0] == LEAVE:
                caller.waits = None  # it gave up the entering that it waits for
                kept.popleft()

    def _go_on(self) -> int:
        """Serve the callers whose turn has come."""
        answered = 0
        while self._entered:
            caller = self._entered.popleft()
            caller.entered, caller.waits = caller.waits, None
            if caller.pipe.closed:
                self._give_up(caller)
            else:
                answered += self._attend(caller)
        while self._pending:
            caller = self._pending.popleft()
            if not caller.pipe.closed:
                answered += self._attend(caller)
        return answered

    def _give_up(self, caller: Caller) -> None:
        """Leave the section that a caller waits for, or entered and will not be told of."""
        place = caller.entered or caller.waits
        caller.entered = caller.waits = None
        if place is not None:
            place.section.leave(place.holder, place.name)

    # -- channels ---------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Open a channel for everybody who knocked."""
        for knock in self._door.read():
            try:
                caller = self.callers.open(Pipe(knock.reader, knock.writer), self._introduce(knock))
            except OSError:
                continue  # it sent what nobody can wait for; all it sent closes itself
            answer = hello(self._route.secret, knock.nonce)
            caller.send(header(HELLO, len(answer)) + answer)

    def _introduce(self, knock: Knock) -> Client:
        known = self._objects.clients.get(knock.token)
        if known is not None:
            return known
        client = Client(knock.life)
        if knock.life is not None:
            self.callers.watch(knock.life.fileno(), partial(self._bury, knock.token, client))
        self._objects.clients[knock.token] = client
        return client

    def _bury(self, token: bytes, client: Client) -> None:
        """Give up all that was a dead process's, and serve what it still wrote.

        If it died inside a section nothing of that is served: what it was in the middle of is
        repaired, not finished.
        """
        inside = self.dispatch.abandon(client)
        for caller in list(client.channels):
            assert isinstance(caller, Caller)
            while self._read(caller):
                pass
            if inside or caller.waits is not None:
                caller.frames.clear()
            caller.ended = True
            (self._postpone if self._nested else self._attend)(caller)
        if client.life is not None:
            self.callers.unwatch(client.life.fileno())
            client.life.close()
        self._objects.forget(token)

    # -- ends -------------------------------------------------------------------------------------

    def _drop(self, caller: Caller) -> None:
        self._in_hand = None
        self._give_up(caller)
        self.callers.drop(caller)

    def close(self) -> None:
        """Say farewell to all clients and close everything; a second time does nothing."""
        if self.closed:
            return
        for caller in list(self.callers.readers.values()):
            caller.send(header(FAREWELL, 0))
        self._close_copies()
        self._door.close()

    def forked(self) -> None:
        """In a forked child: the loop is the parent's. Close the copies, say and change nothing."""
        self._close_copies()
        self._door.close_copies()

    def _close_copies(self) -> None:
        self.closed = True
        self.callers.close()
        for client in list(self._objects.clients.values()):
            if client.life is not None:
                client.life.close()
