"""The client's memory: its owners, and the call under way to each.

An exchange that is left in the middle, by whatever exception, closes its line: the next call opens
another, so no call can ever meet another's reply. A call whose deadline passes once it is written
keeps the line; the late reply is known by its id and dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from . import _deadline, _life
from ._descriptors import Descriptor
from ._door import Route
from ._lines import Line, Lines
from ._members import Plain, name_of, parameters_of
from ._wire import CALL, FAREWELL, RELEASE, RESULT, Frame, header, pack_numbers
from .codecs import pickle as codec
from .errors import CallTimeout, CodecError, ProtocolError

#: Frames of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16

Refer = Callable[[object], Any]
Call = Callable[[int, tuple[Any, ...], "dict[str, Any] | None"], Any]


class Owner:
    """A listener of another process, as this process calls it.

    Args:
        route: how to reach it.
        refer: what turns proxies among arguments into references.
        lobby: the inherited door, in a forked child.
        life: the inherited life descriptor, in a forked child.

    Attributes:
        dropped: numbers of objects that this process needs no more; they ride with the next call,
            so that a finalizer can give an object back without any input or output.
    """

    def __init__(
        self, route: Route, refer: Refer, lobby: Any = None, life: Descriptor | None = None
    ) -> None:
        self.route = route
        self.dropped: deque[int] = deque()
        self._lines = Lines(route, lobby, life)
        self._refer = refer
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: it holds nothing that it could give back."""
        self.dropped = deque()

    def caller(self, number: int, plain: Plain) -> Call:
        """Return what calls the members of one of its objects."""
        return partial(self.call, number, plain)

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
        try:
            payload = codec.encode_call(args, kwargs, self._refer)
        except CodecError:
            culprit = self._culprit(plain, member, args, kwargs)
            raise culprit from culprit.__cause__
        line = self._lines.mine()
        line.busy = True
        try:
            kind, answer = self._exchange(line, number, member, payload)
        except BaseException as error:
            if isinstance(error, CallTimeout) and not line.unsent:
                line.busy = False
            else:
                line.close()
            raise
        line.busy = False
        if kind == RESULT:
            try:
                return codec.decode(answer)
            except CodecError:
                return codec.decode(answer, f"the result of {name_of(plain, member, args)}")
        failure = codec.decode_failure(answer)
        try:
            raise failure
        finally:
            del failure  # else the frame in its own traceback would keep it alive

    def _exchange(
        self, line: Line, number: int, member: int, payload: bytes
    ) -> tuple[int, bytes | memoryview]:
        """Send a call and return the kind and the payload of its own reply."""
        ident = line.ident = line.ident + 1
        head = header(CALL, len(payload), ident, number, member)
        if self.dropped:
            head = self._release() + head
        if len(payload) < _JOIN_BELOW:
            line.send(head + payload)
        else:
            line.send(head)
            line.send(payload)
        deadline = _deadline.current()
        while True:
            if line.unsent:
                self._lines.wait_to_write(line, deadline)
            elif not line.wait(None if deadline is None else _deadline.left(deadline)):
                raise _deadline.passed()
            try:
                frames = line.receive()
            except EOFError:
                raise self._lines.hung_up() from None
            if frames:
                reply = self._own_reply(line, ident, frames)
                if reply is not None:
                    return reply
            elif self._lines.is_over(line):
                raise self._lines.died()

    def _own_reply(
        self, line: Line, ident: int, frames: list[Frame]
    ) -> tuple[int, bytes | memoryview] | None:
        """Return the reply to call `ident`, if it is among these frames; drop all earlier ones."""
        for kind, of, _, _, answer in frames:
            if of == ident:
                if frames[-1][0] == FAREWELL:
                    self._lines.leave(line)
                return kind, answer
            if kind == FAREWELL:
                self._lines.leave(line)
                raise self._lines.closed()
            if of > ident:
                raise ProtocolError(f"a reply came to call {of}, which was never made")
        return None

    def _release(self) -> bytes:
        """Return the frame that gives back what this process needs no more."""
        numbers = []
        while self.dropped:
            numbers.append(self.dropped.popleft())
        payload = pack_numbers(numbers)
        return header(RELEASE, len(payload)) + payload

    def _culprit(
        self, plain: Plain, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> CodecError:
        """Find out which argument cannot travel."""
        where, parameters = name_of(plain, member, args), parameters_of(plain, member)
        return codec.explain_call(args, kwargs, self._refer, where, parameters)
