"""The owner's loop: wait, look up, run, reply.

A turn waits once and then answers every call that has arrived. It never waits to write: what a
client does not take stays in its channel, and while that is more than `MOST_UNSENT` bytes nothing
more is read from this client, so what is held for it is bounded. All others go on.

The channel that a turn has in its hand is noted. If the turn is left by an exception — a signal
handler raised — it is cut by the next one: its caller gets `CallLost`, and nobody else notices.
"""

from __future__ import annotations

from collections import deque
from contextvars import Context
from functools import partial
from threading import get_ident
from time import monotonic
from typing import Final

from . import _deadline, _descriptors, _life
from ._activities import activity_of, here
from ._callers import MOST_UNSENT, Caller, Callers
from ._calls import guests
from ._dispatch import Dispatch
from ._door import Door, Knock, Route, hello
from ._objects import Client, Objects
from ._residence import Residence
from ._upcalls import Upcalls
from ._wire import (
    CALL,
    CALL_WITHIN,
    FAREWELL,
    HELLO,
    LEAVE,
    UP_FAILURE,
    UP_RESULT,
    Frame,
    header,
)
from .errors import ListenerClosed, ProtocolError
from .transports.pipe import Pipe, Waiter, wait_for

_CALLS: Final = frozenset({CALL, CALL_WITHIN})
_ANSWERS: Final = frozenset({UP_RESULT, UP_FAILURE})

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
        residence: calls at home that the thread which serves has to run.

    Attributes:
        closed: it serves nobody any more.
        in_hand: the caller that is served just now.
        upcalls: calls of objects that clients hold.
        dispatch: what runs the calls.
        waited, ran: seconds spent so far outside of turns or waiting in them, and in all else.
    """

    def __init__(
        self,
        route: Route,
        door: Door,
        objects: Objects,
        residence: Residence,
    ) -> None:
        self.closed = False
        self.waited = self.ran = 0.0
        self._route, self._door, self._objects = route, door, objects
        self.residence = residence
        self.dispatch = Dispatch(objects, tuple(route), residence, self.resume, self.say)
        self.upcalls = Upcalls(tuple(route), objects, self)
        self._said: deque[tuple[Caller, bytes]] = deque()
        self._sought: deque[Client] = deque()
        self.callers = Callers()
        self._waiter = Waiter(self.callers.poller, 1, route.spin)
        self._warm = False
        self._since = monotonic()
        self.in_hand: Caller | None = None
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
        if self.in_hand is not None:
            self._cut(self.in_hand)
        self._take_up(self.dispatch.below)
        self._take_up(self.dispatch.later)
        return self._turn(timeout)

    def guest_turn(self, timeout: float) -> int:
        """As `turn`, for a thread that itself waits for a section: see `Dispatch.guest`."""
        if self.in_hand is not None:
            self._cut(self.in_hand)
        return self._turn_as(True, timeout)

    def nested_turn(self, timeout: float, since: float) -> int:
        """As `turn`, in a call that is served; its caller keeps its place meanwhile.

        Args:
            since: when the call began to wait. At first only those are served whom it may wait for,
                so that calls seldom end up inside one another; after `_LOOK_EVERY` all are.
        """
        self._count_running()
        dispatch = self.dispatch
        guest = monotonic() - since < _LOOK_EVERY
        if not guest:
            self._take_up(dispatch.later)
        lower = here.lower
        deeper = [*lower, here.activity]
        outer, self.in_hand = self.in_hand, None
        try:
            here.lower = deeper
            if outer is not None:  # else a dead client's, in whose place nobody is
                outer.serving = outer.parked = True
                self._balance(outer)
            return self._turn_as(guest, timeout)
        except BaseException:
            if self.in_hand is not None:
                self._cut(self.in_hand)
            raise
        finally:
            self.in_hand = outer
            here.lower = lower
            if outer is not None:
                outer.serving = outer.parked = False
                self._balance(outer)

    def beside(self, reader: int, since: float, deadline: float | None) -> None:
        """Wait for a moment, or until a descriptor is readable; serve others meanwhile.

        It is for a call that is served, and waits itself for a call to another owner.

        Raises:
            CallTimeout: the deadline passed.
        """
        left = _deadline.left(deadline)
        if left == 0:
            raise _deadline.passed()
        seconds = _LOOK_EVERY if left is None else min(left, _LOOK_EVERY)
        poller = self.callers.poller.fileno()
        if reader not in wait_for((reader, False), (poller, False), timeout=seconds):
            Context().run(self.nested_turn, 0, since)

    def _take_up(self, callers: deque[Caller]) -> None:
        while callers:
            self._ready.append(callers[0])
            callers.popleft()

    def _turn_as(self, guest: bool, timeout: float) -> int:
        outer = self.dispatch.guest
        try:
            self.dispatch.guest = guest
            return self._turn(timeout)
        finally:
            self.dispatch.guest = outer

    def _turn(self, timeout: float | None) -> int:
        outer = self._thread, here.server, here.serves
        try:
            self._thread, here.server, here.serves = get_ident(), self, None
            return self._take_turn(timeout)
        finally:
            self._thread, here.server, here.serves = outer

    def _take_turn(self, timeout: float | None) -> int:
        if self._ready or self._said or self._sought:
            timeout = 0
        elif self.dispatch.blocked and (timeout is None or timeout > _LOOK_EVERY):
            timeout = _LOOK_EVERY
        # Only straight after an answer is the next call likely to be a moment away.
        events = self._waiter.wait(timeout) if self._warm else self._waiter.sleep(timeout)
        now = monotonic()
        self.waited += now - self._since
        self._since = now
        answered = 0
        callers = []
        readers = self.callers.readers
        for number, _ in events:
            caller = readers.get(number)
            if caller is not None:
                callers.append(caller)
            elif number in self.callers.watched:  # deaths before all that the dead have written
                self.callers.watched[number]()
            elif number in self.callers.writers:
                callers.append(self.callers.writers[number])
        if self._said or self._sought:
            self._speak()
        for caller in callers:
            answered += self._attend(caller)
        for caller in list(self._ready):
            answered += self._attend(caller)
            # Only now, for an interrupt; and a turn inside a call may have done it already.
            if caller in self._ready:
                self._ready.remove(caller)
        if self.dispatch.blocked:
            self.dispatch.unblock()
        if self._ready or (self.dispatch.later and not self.dispatch.guest):
            self._door.wake()
        self._warm = answered > 0
        self._count_running()
        return answered

    def _count_running(self) -> None:
        now = monotonic()
        self.ran += now - self._since
        self._since = now

    def resume(self, caller: Caller) -> None:
        """Serve, in this turn or the next, a caller that had to wait; any thread may ask for it."""
        self._ready.append(caller)
        if self._thread != get_ident():
            self._door.wake()

    def say(self, caller: Caller, data: bytes) -> None:
        """Send frames to a client; any thread may."""
        self._said.append((caller, data))
        self._be_heard()

    def seek(self, client: Client) -> None:
        """Send what is wanted of a client, if a thread of it waits now; any thread may ask for it.

        Else it is sent on the channel of the first that calls.
        """
        self._sought.append(client)
        self._be_heard()

    def _be_heard(self) -> None:
        if self._thread == get_ident():
            self._speak()
            self._warm = True  # an answer is likely to be a moment away
        else:
            self._door.wake()

    def _speak(self) -> None:
        """Send what was to be said; who was to hear it is cut if that is left in the middle."""
        while self._said:
            caller, data = self._said[0]
            try:
                self._said.popleft()
                with _descriptors.lock:  # see `_workers`
                    if not caller.pipe.closed:
                        caller.send(data)
                        self._balance(caller)
            except BaseException:
                caller.ended = True
                self._ready.append(caller)
                raise
        while self._sought:
            channels: list[Caller] = list(self._sought[0].channels)
            for caller in channels:
                self._hand_up(caller)
                self._balance(caller)
            self._sought.popleft()

    def _hand_up(self, caller: Caller) -> None:
        """Send on this channel what is wanted of its process, if its thread waits."""
        try:
            with _descriptors.lock:  # see `_workers`
                while caller.is_waited_for() and (asked := self.upcalls.next_wanted(caller)):
                    caller.send(asked.frames())
        except BaseException:
            caller.ended = True
            self._ready.append(caller)
            raise

    def _attend(self, caller: Caller) -> int:
        """Move what can be moved on one channel, both ways, and serve what has arrived."""
        if caller.serving and not self._is_over(caller):
            return 0
        self.in_hand = caller
        caller.parked = False
        if not caller.pipe.closed:
            if caller.unsent:
                caller.flush()
            if not caller.paused and not caller.ended:
                self._read(caller)
        answered = self._serve(caller) if caller.frames else 0
        if caller.ended:
            self._drop(caller)
        elif caller.unsent or caller.writing or caller.parked or caller.paused:
            caller.serving = False  # as it is, if nothing was interrupted
            self._balance(caller)
        self.in_hand = None
        return answered

    def _is_over(self, caller: Caller) -> bool:
        """Whether a call that was under way has just ended; else see what its client says to that.

        It may answer what it is asked and, if the call is a worker's, give it up or hang up.
        """
        with _descriptors.lock:  # see `_workers`
            if not caller.serving:
                return True
            works = caller.errand is not None
            hears = works or (caller.asked and not caller.ended)
            if hears and not caller.pipe.closed:
                self.in_hand = caller
                if caller.unsent:
                    caller.flush()
                if not caller.paused and not caller.ended:
                    self._read(caller)
                if works:
                    caller.parked = bool(caller.frames)
                if works and caller.ended:
                    self._drop(caller)
                else:
                    self._balance(caller)
                self.in_hand = None
        return False

    def _drop(self, caller: Caller) -> None:
        self.callers.drop(caller)
        self.dispatch.errands.left(caller)

    def _balance(self, caller: Caller) -> None:
        if caller.pipe.closed:
            return
        try:
            self.callers.balance(caller)
        except OSError:  # a method closed its descriptors
            caller.ended = True
            self._drop(caller)

    def _read(self, caller: Caller) -> bool:
        """Read once; return whether anything had come."""
        try:
            frames = caller.receive()
        except (EOFError, ProtocolError):
            caller.ended = True
            return False
        if frames is None:
            return False
        if caller.asked:
            frames = [frame for frame in frames if not _answers(caller, frame)]
        caller.frames += frames
        if frames and caller.returned:
            caller.returned = []  # it calls again, so it has got what the latest reply held
        if caller.client.wanted:
            self._hand_up(caller)
        return True

    def _serve(self, caller: Caller) -> int:
        """Answer a caller's frames until one has to wait or it has too much to take; count them."""
        frames = caller.frames
        replies: list[bytes] = []
        size = answered = 0
        while frames and caller.unsent <= MOST_UNSENT:
            frame = frames[0]
            serve = self.dispatch.call if frame[0] == CALL else self.dispatch.other
            try:
                reply = serve(caller, frame)
            except ProtocolError:
                caller.ended = True
                frames.clear()
                break
            if self.closed:
                raise ListenerClosed("a method forked this process; the listener is its parent's")
            if reply is None:
                return answered + self._put_off(caller, replies)
            kind, answer = reply
            if kind:
                answered += frame[0] in _CALLS
            if not kind or caller.ended:
                continue
            head = header(kind, len(answer), frame[1])
            if caller.client.lender is not None:
                head = caller.given_back() + head
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

    def _put_off(self, caller: Caller, replies: list[bytes]) -> int:
        """Let the caller's first call wait, or a worker run it; when all before it is answered."""
        if replies:
            caller.send(b"".join(replies))
        if caller.errand is None:
            caller.parked = True
            return 0
        self.dispatch.errands.start(caller)
        return 1

    # -- channels ---------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Open a channel for everybody who knocked."""
        for knock in self._door.read():
            try:
                self._let_in(knock)
            except OSError:
                pass  # it sent what nobody can wait for; all it sent closes itself
        if self.residence.calls and self.residence.is_here():
            self.residence.serve()

    def _let_in(self, knock: Knock) -> None:
        client = self._introduce(knock)
        activity = activity_of(knock.token, knock.thread)
        answer = hello(self._route.secret, knock.nonce)
        greeting = header(HELLO, len(answer)) + answer
        pipe = Pipe(knock.reader, knock.writer)
        self.callers.open(Caller(pipe, client, activity, self.upcalls), greeting)

    def _introduce(self, knock: Knock) -> Client:
        client = self._objects.client(knock.token)
        if client.life is None and knock.life is not None:
            client.life = knock.life
            self._watch_over(knock.token, client)
        self.upcalls.welcome(client)
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
        assert client.life is not None
        if not _life.is_dead(client.life):
            return  # an event of this turn was meant for whatever had the number before
        # First, as what is served may wait, and a guest would meet it again and again.
        self.callers.unwatch(client.life.fileno())
        try:
            for caller in list(client.channels):
                while self._read(caller):
                    pass
                caller.ended = True
                if client.is_inside(caller.activity) or (caller.relays and client.sections):
                    while caller.frames and caller.frames[-1][0] != LEAVE:
                        caller.frames.pop()
                if not caller.frames:
                    self.dispatch.give_up(caller)
                self._attend(caller)
            for section in list(client.sections):
                section.bereave(client)
            self._objects.forget(token)
            self.upcalls.bid_farewell(client)
            self.dispatch.errands.bury(client)
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
        self._drop(caller)
        self.in_hand = None

    def close(self) -> None:
        """Say farewell to all clients and close everything; a second time does nothing."""
        if self.closed:
            return
        with _descriptors.lock:  # see `_workers`
            for caller in list(self.callers.readers.values()):
                caller.send(header(FAREWELL, 0))
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
        self._close_copies()
        self.dispatch.errands.forked()
        self._door.close_copies()

    def _close_copies(self) -> None:
        self.closed = True
        self.callers.close()
        for client in list(self._objects.clients.values()):
            self.upcalls.bid_farewell(client)
            if client.life is not None:
                client.life.close()


def _answers(caller: Caller, frame: Frame) -> bool:
    """Whether a frame answers an upcall; then whoever waits for it is given it."""
    if frame[0] not in _ANSWERS:
        return False
    answer = caller.asked.get(frame[1])
    if answer is not None:  # else nobody waits any more
        answer.reply = frame[0], frame[4]
        answer.event.set()
    return True
