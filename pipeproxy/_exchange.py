"""One frame to an owner, and its reply: what the owner says meanwhile is heeded.

An exchange that is left in the middle, by whatever exception, closes its line: the next call opens
another, so no call can ever meet another's reply. A call whose deadline passes once it is written
keeps the line; the late reply is known by its id and dropped.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final, Protocol

from . import _deadline
from ._activities import here
from ._door import Route
from ._held import Holdings, idents
from ._lines import Line, Lines
from ._wire import FAREWELL, GIVEN_BACK, UPCALL, WAITING, Frame, header
from .errors import CallTimeout, ProtocolError

#: Frames of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16

_UP: Final = frozenset({UPCALL, GIVEN_BACK, WAITING})

#: The kind and the payload of a reply.
Reply = tuple[int, "bytes | memoryview"]


class Surroundings(Protocol):
    """What an exchange needs of this process."""

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


class Exchange:
    """The exchanges with one owner, of all threads of this process.

    Args:
        route: how to reach it.
        held: what this process holds of it.
        around: this process.
        lines: the channels to it.
    """

    def __init__(self, route: Route, held: Holdings, around: Surroundings, lines: Lines) -> None:
        self.lines = lines
        self._route = route
        self._held = held
        self._around = around

    def line(self, deadline: float | None) -> tuple[Line, int]:
        """Return this thread's line, ready for the call of the ident that is returned with it."""
        server = here.server
        line = self.lines.mine(deadline, None if server is None else server.beside)
        line.busy, line.said = True, False
        ident = line.ident = next(idents)
        return line, ident

    def ask(  # noqa: PLR0913, PLR0917 - the fields of a frame, where it goes and until when
        self,
        line: Line,
        what: int,
        number: int,
        member: int,
        payload: bytes,
        deadline: float | None,
    ) -> Reply:
        """Send a frame on a line and return the kind and the payload of its reply."""
        try:
            head = header(what, len(payload), line.ident, number, member)
            news = None
            if not self._held.is_quiet():
                news, told = self._held.news()
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
            self._held.told(news)
        return reply

    def _exchange(self, line: Line, head: bytes, payload: bytes, deadline: float | None) -> Reply:
        line.said = True
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
            self._around.given_back(self._route, frame)
            return
        if kind == WAITING:
            self._around.waiting(frame)
            return
        with self.lines.deeper():
            what, answer = self._around.answer(self._route, frame)
        if line.pipe.closed:  # the object forked this process
            raise self.lines.hung_up()
        _send(line, header(what, len(answer), ident), answer)

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
        return None


def _send(line: Line, head: bytes, payload: bytes | memoryview) -> None:
    if len(payload) < _JOIN_BELOW:
        line.send(b"".join((head, payload)))
    else:
        line.send(head)
        line.send(payload)
