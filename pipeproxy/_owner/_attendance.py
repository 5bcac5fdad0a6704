"""What is done with one channel: read it, serve what it says, reply, let it be heard.

The channel in hand is noted. If what is done with it is left by an exception — a signal handler
raised — it is cut by the next turn: its caller gets `CallLost`, and nobody else notices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import itemgetter
from time import monotonic
from typing import Final

from .._chains._activities import Served
from .._chains._residence import Residence
from .._channels._parcels import unpack
from .._channels._wire import (
    BARE,
    BULK,
    CALL,
    CALLS,
    CANCEL,
    CROWDED,
    HEADER_SIZE,
    KEPT,
    UP_FAILURE,
    UP_RESULT,
    Frame,
    pack_header,
    unpack_header,
)
from .._objects._clients import Client
from .._objects._objects import Objects
from .._references._references import PlainRoute
from .._system import _descriptors, _life
from ..errors import ListenerClosed, ProtocolError
from ..transports.pipe import READ_SIZE, cores
from ._caller import MOST_UNSENT, Caller
from ._callers import Callers
from ._dispatch import Dispatch
from ._frames import Frames
from ._upcalls import Upcalls
from ._voice import Voice

_ANSWERS: Final = frozenset({UP_RESULT, UP_FAILURE})

#: Seconds between two looks for what a client says while its call runs.
_LISTEN_EVERY: Final = 0.001
_kind_of: Final = itemgetter(0)

#: Replies of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16


class Attendance:
    """Attends to the channels of one listener's clients; as `here.server`, to whom it serves.

    Args:
        route: what references say of the listener.
        objects: what is answered for.
        residence: calls at home that the thread which serves has to run.
        beside: serves others while a call that is served waits.
        alert: lets what is new be seen: returns True if this thread takes a turn just now, and else
            wakes the one that does.
        look: looks who is at the door.

    Attributes:
        callers: the channels.
        voice: what is said on them beside replies.
        dispatch: what runs the calls.
        upcalls: calls of objects that clients hold.
        in_hand: the caller that is served just now.
        ready: callers to be attended to, though nothing of theirs has come.
        news: those, and what else no descriptor shows: there is nothing to do if all are empty.
        beside, alert: as given.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it needs of those above it
        self,
        route: PlainRoute,
        objects: Objects,
        residence: Residence,
        beside: Callable[[int | None, float, float | None], None],
        alert: Callable[..., bool],
        look: Callable[[], object],
    ) -> None:
        self._objects = objects
        self.callers = Callers()
        self.ready: deque[Caller] = deque()
        self.voice = Voice(alert, self.ready, self.balance)
        self.dispatch = Dispatch(objects, route, residence, self.resume, self.voice.say)
        self._frames = Frames(objects, self.dispatch, self.resume, self.voice.say, look)
        self.upcalls = Upcalls(route, objects, self.voice)
        self._batches = self.dispatch.errands.batches
        self.in_hand: Caller | None = None
        self._listened = 0.0
        #: Calls answered in the shortest way, and the cores for who waits for the next answers.
        self._answered, self._cores = 0, cores()
        self.beside = beside
        self.alert = alert
        self._publications = objects.publications
        self.news = self.ready, *self.voice.news

    @property
    def served(self) -> Served | None:
        """The call of the caller in hand."""
        return None if self.in_hand is None else self.in_hand.served

    @property
    def closed(self) -> bool:
        """Whether nobody is served any more."""
        return self.callers.closed

    def has_news(self) -> bool:
        """Whether there is something to do that no descriptor shows."""
        return any(self.news)

    def attend_to_ready(self) -> int:
        """Say what is to be said, and attend to who is ready; return the calls answered."""
        answered = 0
        if any(self.voice.news):
            self.voice.speak()
        for caller in list(self.ready):
            # What it said meanwhile is told of by its descriptor.
            answered += self._attend_to_all(caller, reads=not caller.frames)
            # Only now, for an interrupt; and a turn inside a call may have done it already.
            if caller in self.ready:
                self.ready.remove(caller)
        return answered

    def take_up(self, callers: deque[Caller], some: list[Caller] | None = None) -> None:
        """Attend to those again who were put off, or to some of them only."""
        for caller in list(callers) if some is None else some:
            self.ready.append(caller)
            callers.remove(caller)

    def resume(self, caller: Caller) -> None:
        """Serve, in this turn or the next, a caller that had to wait; any thread may ask for it."""
        self.ready.append(caller)
        self.alert()

    def attend(self, caller: Caller) -> int:
        """Move what can be moved on one channel, both ways, and serve what has arrived."""
        if self._publications or self._batches.waiting or not caller.is_at_rest():
            return self._attend_to_all(caller)
        # As nearly always: one call has come, and nothing else is to be minded.
        self.in_hand = caller
        try:
            data = caller.read(READ_SIZE) or b""
        except OSError:
            data = b""  # it is tried again
        if len(data) <= HEADER_SIZE:
            return self._attend_to_all(caller, data)
        size, ident, number, member, kind = unpack_header(data)
        if kind != CALL or not ident or len(data) != HEADER_SIZE + size:
            return self._attend_to_all(caller, data)
        frame = kind, ident, number, member, data[HEADER_SIZE:]
        caller.frames.append(frame)
        caller.running = ident
        reply = self.dispatch.call(caller, frame)
        if reply is None:
            return self._attend_to_all(caller, reads=False)
        if self.callers.closed:
            raise _closed()
        if self._publications:
            self._objects.publisher.look()
        if not caller.ended:
            kind, answer = reply
            self._answered += 1
            others = self._answered - caller.answered - 1
            caller.answered = self._answered
            head = pack_header(len(answer), ident, 0, CROWDED if others > self._cores else 0, kind)
            if caller.client.lender is not None:
                head = caller.given_back() + head
            if len(answer) > _JOIN_BELOW:
                caller.send(head)
                head = b""
            caller.send(head + answer)
        if caller.ended or caller.unsent:
            self._put_down(caller)
        self.in_hand = None
        return 1

    def _attend_to_all(self, caller: Caller, data: bytes = b"", *, reads: bool = True) -> int:
        """As `attend`, whatever there is to be minded.

        Args:
            data: what was read just now.
            reads: it may have said more.
        """
        if caller.serving and not self._is_over(caller):
            return 0
        self.in_hand = caller
        caller.parked = False
        if not (caller.ended or caller.pipe.closed):
            if caller.unsent:
                caller.flush()
            if reads and not caller.paused:
                self.read(caller, data)
        try:
            answered = self._serve(caller) if caller.frames else 0
        except ProtocolError:
            answered, caller.ended = 0, True
            caller.frames.clear()
        self._put_down(caller)
        self.in_hand = None
        return answered

    def _put_down(self, caller: Caller) -> None:
        """Wait for what the channel needs now, or close it if it has ended."""
        if caller.ended and not caller.parked:
            self.drop(caller)
        elif caller.unsent or caller.writing or caller.parked or caller.paused or caller.tasks:
            if caller.errand is None:
                caller.serving = False  # as it is, if nothing was interrupted
            self.balance(caller)

    def _is_over(self, caller: Caller) -> bool:
        """Whether a call that was under way has just ended; else see what its client says to that.

        It may answer what it is asked, give calls up and, if this one is a worker's, hang up.
        """
        with _descriptors.lock:  # see `_workers`
            if not caller.serving:
                return True
            works = caller.errand is not None
            if not caller.pipe.closed:
                self.in_hand = caller
                if caller.unsent:
                    caller.flush()
                if not caller.paused and not caller.ended:
                    self.read(caller)
                self._frames.hear(caller)
                if works:
                    caller.parked = bool(caller.frames)
                if works and caller.ended:
                    self.drop(caller)
                else:
                    self.balance(caller)
                self.in_hand = None
        return False

    def drop(self, caller: Caller) -> None:
        """Close a channel; a second time does nothing."""
        if caller.undo is not None and caller.errand is None:
            caller.undo_unread()
        self.callers.drop(caller)
        self.dispatch.errands.left(caller)
        self.let_go(caller.client.token)

    def let_go(self, token: bytes) -> None:
        """Forget a client that has no channel, if nothing would tell of its death."""
        client = self._objects.clients.get(token)
        if client is not None and client.life is None and not client.channels:
            self.forget(client)

    def forget(self, client: Client) -> None:
        """Give up all that a client has, which is dead."""
        for section in list(client.sections):
            section.bereave(client)
        self._objects.forget(client.token)
        if self._publications and not self._objects.clients:
            self._objects.publisher.rest()
        self.upcalls.bid_farewell(client)
        self.dispatch.errands.bury(client)

    def balance(self, caller: Caller) -> None:
        if caller.pipe.closed:
            return
        try:
            self.callers.balance(caller)
        except OSError:  # a method closed its descriptors
            caller.ended = True
            self.drop(caller)

    def listen(self) -> None:
        """Hear what the client whose call runs says meanwhile, every now and then."""
        caller, now = self.in_hand, monotonic()
        if caller is None or now - self._listened < _LISTEN_EVERY:
            return
        self._listened = now
        try:
            if not caller.is_gone():
                if not caller.is_full():
                    self.read(caller)
                if _life.is_dead(caller.client.life):
                    caller.given_up = caller.running
            self._frames.hear(caller)
        except BaseException:
            caller.ended = True  # what has come may be lost, and the method may catch this
            raise

    def read(self, caller: Caller, data: bytes = b"") -> bool:
        """Read once; return whether anything had come.

        Args:
            data: what was read just now, instead.
        """
        try:
            frames = caller.decoder.feed(data) if data else caller.receive()
        except (EOFError, ProtocolError):
            caller.ended = True
            return False
        if frames is None:
            return False
        if caller.asked:
            try:
                frames = [frame for frame in frames if not _answers(caller, frame)]
            except ProtocolError:
                caller.ended = True
                return False
        caller.frames += frames
        if len(caller.frames) > 1 and CANCEL in map(_kind_of, frames):
            self._frames.hear(caller)  # before what it gives up begins
        if frames and (caller.returned or caller.told):
            caller.heard()
        if caller.client.wanted:
            self.voice.hand_up(caller)
        return True

    def _serve(self, caller: Caller) -> int:
        """Answer a caller's frames until one has to wait or it has too much to take; count them.

        Raises:
            ProtocolError: one of them is not what a client sends.
        """
        frames, batches = caller.frames, self._batches
        replies: list[bytes] = []
        size = answered = 0
        while frames and caller.unsent <= MOST_UNSENT:
            frame = frames[0]
            if batches.waiting and batches.hurry_for(caller, frame):
                return answered + self._put_off(caller, replies)
            caller.running = frame[1]
            reply = self.dispatch.call(caller, frame) if frame[0] == CALL else None
            if reply is None:
                reply = self._frames.serve(caller, frame)
            if self.callers.closed:
                raise _closed()
            if reply is None:
                return answered + self._put_off(caller, replies)
            kind, answer = reply
            if self._publications:
                self._objects.publisher.look()
            if not kind:
                continue
            answered += frame[0] in CALLS
            if caller.ended:
                continue
            head = pack_header(len(answer), frame[1], 0, 0, kind)
            if caller.client.lender is not None:
                head = caller.given_back() + head
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
        works = caller.errand is not None
        if works:
            self.dispatch.errands.workers.start(caller)
        else:
            caller.parked = True
        self._frames.hear(caller)
        return works

    def recover(self) -> None:
        """Close the channel in hand in the middle of whatever was done with it, if there is one."""
        batches = self._batches
        if batches.told is not None:
            self._cut(batches.told.caller)
            batches.told = None
        if self.in_hand is not None:
            self._cut(self.in_hand)
            self.in_hand = None

    def _cut(self, caller: Caller) -> None:
        caller.frames.clear()
        caller.ended, caller.serving = True, False
        self.dispatch.admission.give_up(caller)
        self.drop(caller)


def _closed() -> ListenerClosed:
    return ListenerClosed("a method forked this process; the listener is its parent's")


def _answers(caller: Caller, frame: Frame) -> bool:
    """Whether a frame answers an upcall; then whoever waits for it is given it."""
    if frame[0] & BARE not in _ANSWERS:
        return False
    answer = caller.asked.get(frame[1])
    if answer is not None:  # else nobody waits any more
        kind, payload = frame[0], frame[4]
        if kind & BULK:
            place, payload = unpack(payload, answer.find)
            payload = place.read(payload)
        if kind & KEPT:
            answer.segment = None
        answer.reply = kind & BARE, payload
        answer.bell.ring()
    return True
