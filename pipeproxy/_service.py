"""The owner's loop: wait, look up, run, reply.

A turn waits once and then answers every call that has arrived. It never waits to write: what a
client does not take stays in its channel, and while that is more than `MOST_UNSENT` bytes nothing
more is read from this client, so what is held for it is bounded. All others go on.

The channel that a turn has in its hand is noted. If the turn is left by an exception — a signal
handler raised — it is cut by the next one: its caller gets `CallLost`, and nobody else notices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final

from ._callers import MOST_UNSENT, Caller, Callers
from ._dispatch import Dispatch
from ._door import Door, Knock, Route, hello
from ._objects import Client, Objects
from ._wire import FAREWELL, HELLO, RELEASE, header, unpack_numbers
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
        waited, ran: seconds spent so far outside of turns or waiting in them, and in all else.
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
        self._rested = monotonic()
        self._in_hand: Caller | None = None
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
        # Only straight after an answer is the next call likely to be a moment away.
        ready = self._waiter.wait(timeout) if self._warm else self._waiter.sleep(timeout)
        woke = monotonic()
        answered = 0
        others = []
        readers = self.callers.readers
        for number, _ in ready:
            caller = readers.get(number)
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
        self._warm = answered > 0
        self.waited += woke - self._rested
        self._rested = monotonic()
        self.ran += self._rested - woke
        return answered

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
        return True

    def _serve(self, caller: Caller) -> int:
        """Answer the frames of a caller until it has too much to take; return how many calls."""
        frames = caller.frames
        replies: list[bytes] = []
        size = answered = 0
        while frames and caller.unsent <= MOST_UNSENT:
            frame = frames.popleft()
            if frame[0] == RELEASE:
                self._release(caller, frame[-1])
                continue
            kind, answer = self.dispatch.answer(caller.client, frame)
            if self.closed:
                raise ListenerClosed("a method forked this process; the listener is its parent's")
            answered += 1
            if caller.ended:
                continue
            reply = header(kind, len(answer), frame[1])
            if not frames and not replies and len(answer) <= _JOIN_BELOW:
                caller.send(reply + answer)  # the only one, as nearly always
                break
            replies += (reply, answer)
            size += len(answer)
            if size > _JOIN_BELOW:
                for part in replies:
                    caller.send(part)
                replies, size = [], 0
        if replies:
            caller.send(b"".join(replies))
        return answered

    def _release(self, caller: Caller, payload: bytes | memoryview) -> None:
        try:
            self._objects.release(caller.client, unpack_numbers(payload))
        except ProtocolError:
            caller.ended = True
            caller.frames.clear()

    # -- channels ---------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Open a channel for everybody who knocked."""
        for knock in self._door.read():
            try:
                self._let_in(knock)
            except OSError:
                pass  # it sent what nobody can wait for; all it sent closes itself

    def _let_in(self, knock: Knock) -> None:
        client = self._introduce(knock)
        answer = hello(self._route.secret, knock.nonce)
        greeting = header(HELLO, len(answer)) + answer
        self.callers.open(Pipe(knock.reader, knock.writer), client, greeting)

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
        """Serve what a dead process still wrote, then give up all that was its."""
        for caller in list(client.channels):
            assert isinstance(caller, Caller)
            while self._read(caller):
                pass
            caller.ended = True
            self._attend(caller)
        self._objects.forget(token)
        if client.life is not None:
            self.callers.unwatch(client.life.fileno())
            client.life.close()

    # -- ends -------------------------------------------------------------------------------------

    def _drop(self, caller: Caller) -> None:
        self.callers.drop(caller)
        self._in_hand = None

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
