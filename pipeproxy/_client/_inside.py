"""The sections of an owner's that this process is inside of: how they are entered and left.

That one is left must reach the owner whatever happens on the way: it is told at once, again with
certainty before the next call, and by the death of this process.
"""

from __future__ import annotations

from .._chains._activities import here
from .._chains._context import context_of
from .._chains._sections import Block
from .._channels._door import Route
from .._channels._wire import ENTER, LEAVE, RESULT, WAITS, pack_number
from .._system import _deadline, _life
from ..codecs import pickle as codec
from ..errors import CallLost, CallTimeout, ListenerClosed, OwnerDied
from ._exchange import Exchange


class Inside:
    """What this process is inside of, of one owner.

    Args:
        route: the owner's.
        exchange: how it is told.

    Attributes:
        blocks: objects and what they were entered for, by the numbers of the enterings.
    """

    def __init__(self, route: Route, exchange: Exchange) -> None:
        self._route = route
        self._exchange = exchange
        self._lines = exchange.lines
        self.blocks: dict[int, tuple[int, Block]] = {}

    def forked(self) -> None:
        """In a forked child: it is inside of nothing."""
        self.blocks.clear()

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
        self.leave_forgotten()
        asked = pack_number(entering)
        if here.served is not None:
            asked += context_of(here.served, None)
        self.blocks[entering] = number, block
        try:
            deadline = _deadline.current()
            line, ident = self._exchange.line(deadline)
            kind, answer = self._exchange.ask(line, ident, ENTER, number, 0, asked, deadline)
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
                self.blocks.pop(entering, None)
                return  # there is no section any more
            except BaseException:
                self.withdraw(number, entering)
                raise

    def withdraw(self, number: int, entering: int) -> None:
        """Leave, or do not enter after all, whatever state this thread's line is in; at once."""
        self.blocks[entering] = number, _over
        payload = pack_number(entering)
        try:
            self._lines.post(LEAVE, number, payload)
        except (OwnerDied, ListenerClosed):
            self.blocks.pop(entering, None)

    def tell_waits(self, payload: bytes) -> None:
        """Tell the owner who waits for whom, if somebody may wait there for this process.

        It is in a section of its, or in a call that this thread, called back, belongs to.
        """
        if (self.blocks or self._lines.is_calling()) and self._route.process != _life.token():
            try:
                self._lines.post(WAITS, 0, payload)
            except (OwnerDied, ListenerClosed):
                pass  # then nobody waits for that section

    def leave_forgotten(self) -> None:
        """Leave, and be sure of it, what was entered for blocks that are no more."""
        for entering, (number, block) in list(self.blocks.items()):
            if block() is None:
                self._tell_left(number, entering, _deadline.current())

    def _tell_left(self, number: int, entering: int, deadline: float | None) -> None:
        line, ident = self._exchange.line(deadline)
        self._exchange.ask(line, ident, LEAVE, number, 0, pack_number(entering), deadline)
        self.blocks.pop(entering, None)


def _over() -> None:
    """Stand for a block that is no more."""
