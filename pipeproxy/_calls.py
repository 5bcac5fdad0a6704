"""The client's memory: its owners, and the call under way to each.

An exchange that is left in the middle, by whatever exception, closes its line: the next call opens
another, so no call can ever meet another's reply. A call whose deadline passes once it is written
keeps the line; the late reply is known by its id and dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from . import _deadline, _life
from ._descriptors import Descriptor
from ._door import Route
from ._held import Holdings, idents
from ._lines import Line, Lines
from ._members import Plain, name_of, parameters_of
from ._wire import (
    CALL,
    ENTER,
    FAREWELL,
    LEAVE,
    RESULT,
    Frame,
    header,
    pack_number,
)
from .codecs import pickle as codec
from .errors import CallLost, CallTimeout, CodecError, ListenerClosed, OwnerDied, ProtocolError

#: Frames of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16

#: A weak reference to what a section was entered for.
Block = Callable[[], object]
Refer = Callable[[object], Any]
Call = Callable[[int, tuple[Any, ...], "dict[str, Any] | None"], Any]


class Owner:
    """A listener of another process, as this process calls it.

    Args:
        route: how to reach it.
        held: what this process holds of it.
        refer: what turns proxies among arguments into references.
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
        refer: Refer,
        lobby: Any = None,
        life: Descriptor | None = None,
    ) -> None:
        self.route = route
        self.held = held
        #: What it is inside of: objects and blocks, by the numbers of the enterings.
        self._inside: dict[int, tuple[int, Block]] = {}
        self.lines = Lines(route, lobby, life)
        self._refer = refer
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
        try:
            payload = codec.encode_call(args, kwargs, self._refer)
        except CodecError:
            culprit = self._culprit(plain, member, args, kwargs)
            raise culprit from culprit.__cause__
        deadline = _deadline.current()
        line, ident = self._line(deadline)
        try:
            kind, answer = self._ask(line, CALL, number, member, payload, deadline)
            if kind == RESULT:
                try:
                    return codec.decode(answer)
                except CodecError:
                    return codec.decode(answer, f"the result of {name_of(plain, member, args)}")
            failure = codec.decode_failure(answer)
        except BaseException:
            self.held.abandon(ident)
            raise
        try:
            raise failure
        finally:
            del failure  # else the frame in its own traceback would keep it alive

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
        if len(payload) < _JOIN_BELOW:
            line.send(head + payload)
        else:
            line.send(head)
            line.send(payload)
        while True:
            if line.unsent:
                self.lines.wait_to_write(line, deadline)
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

    def _own_reply(self, line: Line, frames: list[Frame]) -> tuple[int, bytes | memoryview] | None:
        """Return the latest call's reply, if it is among these frames; drop all earlier ones."""
        ident = line.ident
        for kind, of, _, _, answer in frames:
            if of == ident:
                if frames[-1][0] == FAREWELL:
                    self.lines.leave(line)
                return kind, answer
            if kind == FAREWELL:
                self.lines.leave(line)
                raise self.lines.closed()
            if of > ident:
                raise ProtocolError(f"a reply came to call {of}, which was never made")
        return None

    def _culprit(
        self, plain: Plain, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> CodecError:
        """Find out which argument cannot travel."""
        where, parameters = name_of(plain, member, args), parameters_of(plain, member)
        return codec.explain_call(args, kwargs, self._refer, where, parameters)


def _over() -> None:
    """Stand for a block that is no more."""
