"""The owner's loop: wait, look up, run, reply.

A turn waits once and then answers every call that has arrived. It never waits to write: what a
client does not take stays in its channel, and while that is more than `MOST_UNSENT` bytes nothing
more is read from this client, so what is held for it is bounded. All others go on.

The channel that a turn has in its hand is noted. If the turn is left by an exception — a signal
handler raised — it is cut by the next one: its caller gets `CallLost`, and nobody else notices.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from threading import get_ident
from time import monotonic
from typing import Final

from . import _life
from ._callers import MOST_UNSENT, Caller, Callers
from ._dispatch import Dispatch
from ._door import Door, Knock, Route, hello
from ._objects import Client, Objects
from ._wire import CALL, FAREWELL, HELLO, LEAVE, header
from .errors import ListenerClosed, ProtocolError
from .transports.pipe import Pipe, Waiter

#: Replies of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16
#: Seconds between two looks at what cannot wake the owner by itself.
_LOOK_EVERY: Final = 0.05


class Service:
    """Answers the calls of all clients of one listener.

    Args:
        route: the listener's identity.
        door: where clients knock.
        objects: what is answered for.

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
    ) -> None:
        self.closed = False
        self.waited = self.ran = 0.0
        self._route, self._door, self._objects = route, door, objects
        self.dispatch = Dispatch(objects, tuple(route), self.resume)
        self.callers = Callers()
        self._waiter = Waiter(self.callers.poller, 1, route.spin)
        self._warm = False
        self._rested = monotonic()
        self._in_hand: Caller | None = None
        self._ready: deque[Caller] = deque()
        self._thread = 0
        for number in door.descriptors:
            self.callers.watch(number, self._admit)

    # -- a turn -----------------------------------------------------------------------------------

    def turn(self, timeout: float | None) -> int:
        """Wait for at most `timeout` seconds and serve what has arrived; return the calls answered.

        Raises:
            ListenerClosed: this process was forked by a method that it served.
        """
        if self._in_hand is not None:
            self._cut(self._in_hand)
        later = self.dispatch.later
        while later:
            self._ready.append(later[0])
            later.popleft()
        return self._turn(timeout)

    def guest_turn(self, timeout: float) -> int:
        """As `turn`, for a thread that itself waits for a section: see `Dispatch.guest`."""
        if self._in_hand is not None:
            self._cut(self._in_hand)
        return self._turn_as_guest(timeout)

    def nested_turn(self, timeout: float) -> int:
        """As `guest_turn`, in a call that is served; its caller keeps its place meanwhile."""
        outer, self._in_hand = self._in_hand, None
        if outer is None:  # a dead client's, in whose place nobody is
            return self._turn_as_guest(timeout)
        try:
            outer.serving = outer.parked = True
            self._balance(outer)
            return self._turn_as_guest(timeout)
        except BaseException:
            if self._in_hand is not None:
                self._cut(self._in_hand)
            raise
        finally:
            self._in_hand = outer
            outer.serving = outer.parked = False
            self._balance(outer)

    def _turn_as_guest(self, timeout: float) -> int:
        guest = self.dispatch.guest
        try:
            self.dispatch.guest = True
            return self._turn(timeout)
        finally:
            self.dispatch.guest = guest

    def _turn(self, timeout: float | None) -> int:
        if self._ready:
            timeout = 0
        elif self.dispatch.blocked and (timeout is None or timeout > _LOOK_EVERY):
            timeout = _LOOK_EVERY
        # Only straight after an answer is the next call likely to be a moment away.
        events = self._waiter.wait(timeout) if self._warm else self._waiter.sleep(timeout)
        woke = monotonic()
        answered = 0
        callers = []
        readers = self.callers.readers
        self._thread = get_ident()
        try:
            for number, _ in events:
                caller = readers.get(number)
                if caller is not None:
                    callers.append(caller)
                elif number in self.callers.watched:  # deaths before all that the dead have written
                    self.callers.watched[number]()
                elif number in self.callers.writers:
                    callers.append(self.callers.writers[number])
            for caller in callers:
                answered += self._attend(caller)
            for caller in list(self._ready):
                answered += self._attend(caller)
                # Only now, for an interrupt; and a turn inside a call may have done it already.
                if caller in self._ready:
                    self._ready.remove(caller)
            if self.dispatch.blocked:
                self.dispatch.unblock()
        finally:
            self._thread = 0
        if self._ready or (self.dispatch.later and not self.dispatch.guest):
            self._door.wake()
        self._warm = answered > 0
        self.waited += woke - self._rested
        self._rested = monotonic()
        self.ran += self._rested - woke
        return answered

    def resume(self, caller: Caller) -> None:
        """Serve, in this turn or the next, a caller that had to wait; any thread may ask for it."""
        self._ready.append(caller)
        if self._thread != get_ident():
            self._door.wake()

    def _attend(self, caller: Caller) -> int:
        """Move what can be moved on one channel, both ways, and serve what has arrived."""
        if caller.serving:
            return 0
        self._in_hand = caller
        caller.parked = False
        if not caller.pipe.closed:
            if caller.unsent:
                caller.flush()
            if not caller.paused and not caller.ended:
                self._read(caller)
        answered = self._serve(caller) if caller.frames else 0
        if caller.ended:
            self.callers.drop(caller)
        elif caller.unsent or caller.writing or caller.parked or caller.paused:
            self._balance(caller)
        self._in_hand = None
        return answered

    def _balance(self, caller: Caller) -> None:
        if caller.pipe.closed:
            return
        try:
            self.callers.balance(caller)
        except OSError:  # a method closed its descriptors
            caller.ended = True
            self.callers.drop(caller)

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
        """Answer a caller's frames until one has to wait or it has too much to take; count them."""
        frames = caller.frames
        replies: list[bytes] = []
        size = answered = 0
        while frames and caller.unsent <= MOST_UNSENT:
            frame = frames[0]
            if frame[0] == CALL:
                reply = self.dispatch.call(caller, frame)
            else:
                try:
                    reply = self.dispatch.other(caller, frame)
                except ProtocolError:
                    caller.ended = True
                    frames.clear()
                    break
            if self.closed:
                raise ListenerClosed("a method forked this process; the listener is its parent's")
            if reply is None:
                caller.parked = True
                break
            kind, answer = reply
            if kind:
                answered += frame[0] == CALL
            if not kind or caller.ended:
                continue
            head = header(kind, len(answer), frame[1])
            if not frames and not replies and len(answer) <= _JOIN_BELOW:
                caller.send(head + answer)  # the only one, as nearly always
                break
            replies += (head, answer)
            size += len(answer)
            if size > _JOIN_BELOW:
                for part in replies:
                    caller.send(part)
                replies, size = [], 0
        if replies:
            caller.send(b"".join(replies))
        return answered

    # -- channels ---------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Open a channel for everybody who knocked."""
        for knock in self._door.read():
            try:
                self._let_in(knock)
            except OSError:
                pass  # it sent what nobody can wait for; all it sent closes itself

    def _let_in(self, knock: Knock) -> None:
        activity = self._introduce(knock).activity(knock.thread)
        answer = hello(self._route.secret, knock.nonce)
        greeting = header(HELLO, len(answer)) + answer
        self.callers.open(Pipe(knock.reader, knock.writer), activity, greeting)

    def _introduce(self, knock: Knock) -> Client:
        known = self._objects.clients.get(knock.token)
        if known is not None:
            return known
        client = Client(knock.life)
        if knock.life is not None:
            self._watch_over(knock.token, client)
        self._objects.clients[knock.token] = client
        return client

    def _watch_over(self, token: bytes, client: Client) -> None:
        assert client.life is not None
        self.callers.watch(client.life.fileno(), partial(self._bury, token, client))

    def _bury(self, token: bytes, client: Client) -> None:
        """Serve what a dead process still wrote, then give up all that was its.

        Of what a thread wrote that never left a section, nothing is served after its last leaving.
        """
        if client.dead:
            return
        if not _life.is_dead(client.life):
            return  # an event of this turn was meant for whatever had the number before
        assert client.life is not None
        if client.dead:
            return
        if not _life.is_dead(client.life):
            return  # an event of this turn was meant for whatever had the number before
        # First, as what is served may wait, and a guest would meet it again and again.
        self.callers.unwatch(client.life.fileno())
        try:
            for caller in list(client.channels):
                while self._read(caller):
                    pass
                caller.ended = True
                if caller.activity.is_inside():
                    while caller.frames and caller.frames[-1][0] != LEAVE:
                        caller.frames.pop()
                if not caller.frames:
                    self.dispatch.give_up(caller)
                self._attend(caller)
            for activity in client.activities.values():
                activity.die()
            self._objects.forget(token)
        except BaseException:
            self._watch_over(token, client)  # to do the rest with the next turn
            raise
        client.life.close()

    # -- ends -------------------------------------------------------------------------------------

    def _cut(self, caller: Caller) -> None:
        """Close a channel in the middle of whatever was done with it."""
        caller.frames.clear()
        caller.ended, caller.serving = True, False
        self.dispatch.give_up(caller)
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

    def hang_up(self) -> None:
        """At the end of the process, end all channels although another thread runs a call.

        Else a child that waits for an answer, and its parent that waits for the child, would wait
        for ever. The thread finds other files, at their ends, under the numbers that it uses.
        """
        self._door.close()
        self.callers.hang_up()

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
