"""The owner's clients: what it keeps of a process that holds references to its objects.

All that outlives a channel is kept here by process token, because a process may lose a channel,
or have many, and loses nothing else with it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from .._chains._activities import Activity
from .._chains._sections import Section
from .._channels._borrowed import Borrowed
from .._system._descriptors import Descriptor

#: So much of what a client said is remembered; what it overtook comes in the same turn, mostly.
_MOST_REMEMBERED: Final = 1000


class Client:
    """A process that holds references, for as long as it lives.

    Args:
        token: that of the process.

    Attributes:
        borrowed: its memory, for bulk.
        life: its life descriptor; None if it did not send one.
        channels: those of its threads.
        sections: those that it entered, maybe in the name of another's activity.
        holds: locks that it has, each with a `give_back_of`.
        wanted: upcalls that wait until a thread of it waits.
        lender: what this process holds of objects of the client's own, if there are any.
        held: the numbers of the objects that it holds, by the idents by which it does.
        left: the latest numbers of enterings that it left, of which none was met.
        gone: the latest idents by which it wants to hold nothing any more. What it said or asked by
            them may come later: through another channel, or at the end of the call.
        dead: it is dead, and holds nothing.
    """

    __slots__ = (
        "borrowed",
        "channels",
        "dead",
        "gone",
        "held",
        "holds",
        "left",
        "lender",
        "life",
        "sections",
        "token",
        "wanted",
    )

    def __init__(self, token: bytes, life: Descriptor | None = None) -> None:
        self.token = token
        self.life = life
        self.borrowed = Borrowed()
        self.channels: set[Any] = set()
        self.sections: set[Section] = set()
        self.holds: dict[Any, None] = {}
        self.wanted: deque[Any] = deque()
        self.lender: Any = None
        self.held: dict[int, set[int]] = {}
        self.left: dict[int, None] = {}
        self.gone: dict[int, None] = {}
        self.dead = False

    def remember_left(self, number: int) -> None:
        """Note a leaving: its entering comes later, if it was not undone before."""
        _remember(self.left, number)

    def remember_gone(self, ident: int) -> None:
        """Note an ident by which it holds nothing any more, whatever comes later."""
        _remember(self.gone, ident)

    def is_inside(self, activity: Activity) -> bool:
        """Whether it entered a section in the name of an activity, and did not leave it."""
        return any(s.is_held_by(activity) and s.enterings_of(self) for s in list(self.sections))


def _remember(table: dict[int, None], number: int) -> None:
    table[number] = None
    if len(table) > _MOST_REMEMBERED:
        del table[next(iter(table))]
