"""The client's memory: its owners, and the call under way to each.

An exchange that is left in the middle, by whatever exception, closes its line: the next call opens
another, so no call can ever meet another's reply. A call whose deadline passes once it is written
keeps the line; the late reply is known by its id and dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final, Protocol, cast

from . import _deadline, _life
from ._descriptors import Descriptor
from ._door import Route
from ._held import Holdings, idents
from ._lines import Line, Lines
from ._members import Plain, name_of, parameters_of
from ._sections import Block, Served, Up, here
from ._wire import (
    CALL,
    CALL_WITHIN,
    ENTER,
    FAREWELL,
    GIVEN_BACK,
    LEAVE,
    RESULT,
    UP,
    UP_RESULT,
    UPCALL,
    WAITING,
    WAITS,
    Frame,
    header,
    pack_context,
    pack_number,
)
from .codecs import pickle as codec
from .errors import CallLost, CallTimeout, CodecError, ListenerClosed, OwnerDied, ProtocolError

#: Frames of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16

Call = Callable[[int, tuple[Any, ...], "dict[str, Any] | None"], Any]

_RESULTS: Final = frozenset({RESULT, UP_RESULT})
_UP: Final = frozenset({UPCALL, GIVEN_BACK, WAITING})

#: The ways to processes that have no door: they are clients of a listener of this one.
guests: dict[bytes, Any] = {}


class Surroundings(Protocol):
    """What an `Owner` needs of this process."""

    def outgoing(self, route: Route) -> Any:
        """Return what is asked how the parts of an argument travel to a listener."""

    def answer(self, route: Route, frame: Frame) -> tuple[int, bytes | memoryview]:
        """Answer an upcall of a listener: return the kind and the payload."""

    def given_back(self, route: Route, frame: Frame) -> None:
        """Heed that a listener holds something no more."""

    def waiting(self, frame: Frame) -> None:
        """Heed whom this thread waits for, and whom those wait for."""

    def lost(self, route: Route) -> None:
        """Heed that the process of a listener is dead."""


class Owner:
    """A listener of another process, as this process calls it.

    Args:
        route: how to reach it.
        held: what this process holds of it.
        here: this process.
        lobby: the inherited door, in a forked child.
        life: the inherited life descriptor, in a forked child.

    Attributes:
        lines: the channels to it.
        held: as given.
    """

    def __init__(
        self,
        route: Route,
        held: Holdings,
        here: Surroundings,
        lobby: Any = None,
        life: Descriptor | None = None,
    ) -> None:
        self.route = route
        self.held = held
        #: What it is inside of: objects and blocks, by the numbers of the enterings.
        self._inside: dict[int, tuple[int, Block]] = {}
        self.lines = Lines(route, lobby, life)
        self._here = here
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: what it holds it has to claim, and it is inside of nothing."""
        self.held.forked()
        self._inside = {}

    def call(
        self,
        number: int,
        plain: Plain,
        member: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
    ) -> Any:
        """Call a member of an object and return what it returns.

        Raises:
            CallTimeout: the deadline passed.
            OwnerDied, ListenerClosed, CallLost: nobody will answer.
            CodecError: an argument or the result cannot travel.
            BaseException: whatever the method raised.
        """
        if self._inside:
            self._leave_forgotten()
        up = self._way_up()
        outgoing = None
        payload = codec.encode_atoms(args, kwargs)
        if payload is None:
            outgoing = self._here.outgoing(self.route) if up is None else up.outgoing()
            payload = self._encode(plain, member, args, kwargs, outgoing)
        deadline = _deadline.current()
        line, ident = self._line(deadline) if up is None else (None, next(idents) | UP)
        kind = 0
        try:
            if up is not None:
                kind, answer = self._ask_up(up, ident, number, member, payload, deadline)
            else:
                assert line is not None
                kind, answer = self._call(line, number, member, payload, deadline)
            value = self._read(kind, answer, plain, member, args)
        except BaseException as error:
            self._abandon(ident, error, outgoing if line is None or line.unsent else None, kind)
            raise
        if kind in _RESULTS:
            return value
        try:
            raise value
        finally:
            del value  # else the frame in its own traceback would keep it alive

    def _encode(
        self,
        plain: Plain,
        member: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        outgoing: Any,
    ) -> bytes:
        try:
            return codec.encode_call(args, kwargs, outgoing.refer)
        except CodecError as error:
            where, parameters = name_of(plain, member, args), parameters_of(plain, member)
            culprit = codec.explain_call(args, kwargs, outgoing.refer, where, parameters)
            outgoing.take_back()
            raise culprit from culprit.__cause__ or error

    def _read(
        self,
        kind: int,
        answer: bytes | memoryview,
        plain: Plain,
        member: int,
        args: tuple[Any, ...],
    ) -> Any:
        """Return the result, or the exception, that an answer holds."""
        if kind not in _RESULTS:
            return codec.decode_failure(answer)
        try:
            return codec.decode(answer)
        except CodecError:
            return codec.decode(answer, f"the result of {name_of(plain, member, args)}")

    def _abandon(self, ident: int, error: BaseException, outgoing: Any, kind: int) -> None:
        """Want nothing of what comes with the reply, and lend nothing, as a call has failed."""
        if not isinstance(error, (OwnerDied, ListenerClosed)):  # else there is nobody to tell
            self.held.abandon(ident, came=kind != 0)
        if outgoing is not None:
            outgoing.take_back()
        if isinstance(error, OwnerDied):
            self._here.lost(self.route)

    def _way_up(self) -> Up | None:
        """Return how to reach the owner without a line of its own."""
        served = here.served
        if served is not None and self.route.process in served.path and served.up is not None:
            return served.up
        if self.route.address:
            return None
        guest = guests.get(self.route.process)
        if guest is None:
            raise OwnerDied(
                f"process {self.route.pid}, which holds the object, has no listener, and is no "
                f"client of this process any more: share the object on a Listener of its own"
            )
        return cast(Up, guest)

    def _ask_up(  # noqa: PLR0913, PLR0917 - the fields of a frame, where it goes and until when
        self,
        up: Up,
        ident: int,
        number: int,
        member: int,
        payload: bytes,
        deadline: float | None,
    ) -> tuple[int, bytes | memoryview]:
        news, told = self.held.news_for(self.route.listener)
        target = self.route.listener, number, member
        reply = up.ask(ident, target, payload, deadline, told)
        self.held.told(news)
        return reply

    def _call(
        self, line: Line, number: int, member: int, payload: bytes, deadline: float | None
    ) -> tuple[int, bytes | memoryview]:
        chain = here.served
        if chain is None and deadline is None:
            return self._ask(line, CALL, number, member, payload, deadline)
        payload = context_of(chain, deadline) + payload
        return self._ask(line, CALL_WITHIN, number, member, payload, deadline)

    def enter(self, number: int, entering: int, block: Block) -> None:
        """Enter the section of one of its objects; wait until nobody else is in it.

        Args:
            entering: a number for `leave`, never used twice in this process.
            block: a weak reference; when it is dead, the section is left with the next call.

        Whoever calls it calls `withdraw` if it raises, or anything does before `leave` is certain.

        Raises:
            CallTimeout: the deadline passed first.
            OwnerDied, ListenerClosed, CallLost, Released: it cannot be entered.
        """
        if self._inside:
            self._leave_forgotten()
        asked = pack_number(entering)
        if here.served is not None:
            asked += context_of(here.served, None)
        self._inside[entering] = number, block
        try:
            deadline = _deadline.current()
            line, _ = self._line(deadline)
            kind, answer = self._ask(line, ENTER, number, 0, asked, deadline)
        except CallTimeout:
            raise _deadline.not_entered() from None
        if kind != RESULT:
            raise codec.decode_failure(answer)

    def leave(self, number: int, entering: int) -> None:
        """Leave a section, even if the channel is cut meanwhile, or the object is gone."""
        while True:
            try:
                self._tell_left(number, entering, None)
                return
            except CallLost:
                pass  # it may have been heard, or not: a second time does no harm
            except (OwnerDied, ListenerClosed):
                self._inside.pop(entering, None)
                return  # there is no section any more
            except BaseException:
                self.withdraw(number, entering)
                raise

    def withdraw(self, number: int, entering: int) -> None:
        """Leave, or do not enter after all, whatever state this thread's line is in; at once."""
        self._inside[entering] = number, _over
        payload = pack_number(entering)
        try:
            self.lines.post(LEAVE, number, payload)
        except (OwnerDied, ListenerClosed):
            self._inside.pop(entering, None)

    def tell_waits(self, payload: bytes) -> None:
        """Tell the owner who waits for whom, if this process is in a section of its."""
        if self._inside and self.route.process != _life.token():
            try:
                self.lines.post(WAITS, 0, payload)
            except (OwnerDied, ListenerClosed):
                pass  # then nobody waits for that section

    def _leave_forgotten(self) -> None:
        """Leave, and be sure of it, what was entered for blocks that are no more."""
        for entering, (number, block) in list(self._inside.items()):
            if block() is None:
                self._tell_left(number, entering, _deadline.current())

    def _tell_left(self, number: int, entering: int, deadline: float | None) -> None:
        line, _ = self._line(deadline)
        self._ask(line, LEAVE, number, 0, pack_number(entering), deadline)
        self._inside.pop(entering, None)

    def _line(self, deadline: float | None) -> tuple[Line, int]:
        """Return this thread's line, ready for the call of the ident that is returned with it."""
        line = self.lines.mine(deadline)
        line.busy = True
        ident = line.ident = next(idents)
        return line, ident

    def _ask(  # noqa: PLR0913, PLR0917 - the fields of a frame, where it goes and until when
        self,
        line: Line,
        what: int,
        number: int,
        member: int,
        payload: bytes,
        deadline: float | None,
    ) -> tuple[int, bytes | memoryview]:
        """Send a frame on a line and return the kind and the payload of its reply."""
        try:
            head = header(what, len(payload), line.ident, number, member)
            news = None
            if not self.held.is_quiet():
                news, told = self.held.news()
                head = told + head
            reply = self._exchange(line, head, payload, deadline)
        except BaseException as error:
            if isinstance(error, CallTimeout) and not line.unsent:
                line.busy = False
            else:
                line.close()
            raise
        line.busy = False
        if news:
            self.held.told(news)
        return reply

    def _exchange(
        self, line: Line, head: bytes, payload: bytes, deadline: float | None
    ) -> tuple[int, bytes | memoryview]:
        _send(line, head, payload)
        server = here.server
        beside = None if server is None else server.beside
        since = monotonic() if beside else 0.0
        while True:
            if line.unsent:
                self.lines.wait_to_write(line, deadline)
            elif beside:
                # The longer it waits the more it lets be served: see `Service.beside`.
                beside(line.pipe.reader, since, deadline)
            elif not line.wait(None if deadline is None else _deadline.left(deadline)):
                raise _deadline.passed()
            try:
                frames = line.receive()
            except EOFError:
                raise self.lines.hung_up() from None
            if frames:
                reply = self._own_reply(line, frames)
                if reply is not None:
                    return reply
            else:
                self.lines.check(line)

    def _serve(self, line: Line, frame: Frame) -> None:
        """Heed what the owner says to this thread while it waits for an answer."""
        kind, ident = frame[:2]
        if kind == GIVEN_BACK:
            self._here.given_back(self.route, frame)
            return
        if kind == WAITING:
            self._here.waiting(frame)
            return
        with self.lines.deeper():
            what, answer = self._here.answer(self.route, frame)
        if line.pipe.closed:  # the object forked this process
            raise self.lines.hung_up()
        _send(line, header(what, len(answer), ident), answer)

    def _own_reply(self, line: Line, frames: list[Frame]) -> tuple[int, bytes | memoryview] | None:
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
        return None


def _send(line: Line, head: bytes, payload: bytes | memoryview) -> None:
    if len(payload) < _JOIN_BELOW:
        line.send(b"".join((head, payload)))
    else:
        line.send(head)
        line.send(payload)


def context_of(served: Served | None, deadline: float | None) -> bytes:
    """Return the context of a call that is made now, as it travels.

    Args:
        served: what this thread serves.
    """
    left = _deadline.left(deadline)
    seconds = inf if left is None else left
    if served is None:
        return pack_context(seconds, 0, ())
    return pack_context(seconds, served.activity.thread, served.path)


def _over() -> None:
    """Stand for a block that is no more."""
