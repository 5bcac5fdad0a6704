"""Sections: the exclusive right to an object, for one call or, by `locked`, for several.

Whoever runs a call of an object has its *right* for as long as the call runs. An activity that
entered by `locked` is the *holder*: calls of others wait, in one line with all who want to enter,
until it has left or its process is dead. The holder changes only under the right, so whoever has
the right and finds no other holder may go on.

A signal handler may raise between any two steps. So the right is taken in ways that always give it
back, and a step that was left half done is done again by whoever comes next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from .._system._reports import report
from .._system._rights import attempt
from ..errors import DeadlockError
from ._activities import Activity, here

T = TypeVar("T")

#: A weak reference to what a section was entered for.
Block = Callable[[], object]
#: A client, or None for the owner's own process, with the number of an entering.
Entering = tuple[Any, int]


class Entry:
    """One activity's place in a section, or in the line before it.

    Args:
        activity: whose.
        tell: called when the place in the line became one in the section, or was given up; more
            than once, maybe.
        numbers: the enterings that it is for, or waits for, each a client (None at home) with its
            number; none if it is for one call. Each with a weak reference to its block, if that is
            in this process.

    Attributes:
        gone: nobody waits in this place any more, or needs it.
        died: whoever had it is dead and did not leave.
    """

    __slots__ = ("activity", "died", "gone", "numbers", "tell")

    def __init__(
        self,
        activity: Activity,
        tell: Callable[[], object],
        numbers: dict[Entering, Block | None],
    ) -> None:
        self.activity = activity
        self.tell = tell
        self.numbers = numbers
        self.gone = False
        self.died = False

    def is_forgotten(self) -> bool:
        """Whether all its blocks are no more: a signal handler raised as they were to be left."""
        blocks = list(self.numbers.values())  # at once: another thread may change them
        return bool(blocks) and all(block is not None and block() is None for block in blocks)


class Section:
    """The exclusive right to one object.

    Args:
        repair: called under the right when the holder has died in the section.

    Attributes:
        right: had by whoever runs a call of the object.
        holder: the place of the activity that is in it; None if calls of anybody may run.
        line: those who wait, in order.
        runner: the activity whose call runs, if one does.
        level: that of the thread which runs a call, see `Here`.
    """

    __slots__ = ("_changes", "_repair", "holder", "level", "line", "right", "runner")

    def __init__(self, repair: Callable[[], object] | None = None) -> None:
        self.right: Any = threading.RLock()
        self.holder: Entry | None = None
        self.line: deque[Entry] = deque()
        self.runner: Activity | None = None
        self.level = 0
        self._repair = repair
        self._changes = 0

    def is_held_by(self, activity: Activity) -> bool:
        """Whether this activity is in the section."""
        holder = self.holder
        return holder is not None and holder.activity is activity and not holder.gone

    def is_stuck_with(self, activity: Activity) -> bool:
        """Whether a call of it runs in this thread and waits for what an activity is in."""
        return any(wanted.is_held_by(activity) for wanted, _ in here.waits[self.level :])

    def runs_here(self) -> bool:
        """Whether a call of the object is under way further down this thread's own stack."""
        return cast(bool, self.right._is_owned())

    def runs_another(self) -> bool:
        """Whether such a call is another activity's, which cannot go on before this one has."""
        runner = self.runner
        return self.runs_here() and runner is not None and runner is not here.activity

    def enter(self, entry: Entry) -> bool:
        """Take a free section for an entry and return True, or let it wait in line.

        An activity that is in the section already is so once more.
        """
        if not self.line and not self.runs_here():
            attempt(self.right, partial(self._take, entry))
        if not self.is_held_by(entry.activity):
            self._stand(entry)
            self._changes += 1
            self.settle()
        return self.is_held_by(entry.activity)

    def _stand(self, entry: Entry) -> None:
        """Stand in line: before those who wait further down this thread's stack, else last."""
        for place, other in enumerate(list(self.line)):
            if here.stack.holds(other.activity) and other is not self.holder:
                self.line.insert(place, entry)
                return
        self.line.append(entry)

    def overtake(self, entry: Entry) -> None:
        """Let an entry in before one for which this thread waits further down, in vain so far.

        That one may have got in meanwhile, and cannot go on before what is up here has.
        """
        for section, lower in here.waits:
            if section is self and lower is not entry and self.holder is lower:
                attempt(self.right, partial(self._swap, lower, entry))
                self.settle()

    def _swap(self, lower: Entry, entry: Entry) -> None:
        if self.holder is lower and entry in self.line:
            self.line.remove(entry)
            self.line.extendleft((lower, entry))
            lower.activity.sections.discard(self)
            self.holder = None

    def is_kept_below(self) -> bool:
        """Whether a call further down this thread's stack is in it, and does not just get in."""
        holder = self.holder
        if holder is None or not here.stack.holds(holder.activity):
            return False
        return not (holder.gone or any(holder is lower for _, lower in here.waits))

    def _take(self, entry: Entry) -> None:
        if self.holder is None and not self.line:
            self.hold(entry)

    def hold(self, entry: Entry) -> None:
        """Under the right: make an entry the holder."""
        entry.activity.sections.add(self)
        self.holder = entry

    def leave(self, client: Any, number: int) -> bool:
        """Undo the entering of this number; return False if none such is or waits."""
        for entry in (self.holder, *list(self.line)):
            if entry is not None and (client, number) in entry.numbers:
                if len(entry.numbers) == 1:
                    self.withdraw(entry)
                else:
                    entry.numbers.pop((client, number), None)
                return True
        return False

    def enterings_of(self, client: Any) -> list[int]:
        """Return the numbers by which a client is in the section."""
        holder = self.holder
        return [n for c, n in list(holder.numbers) if c is client] if holder is not None else []

    def bereave(self, client: Any) -> None:
        """Let a client that is dead leave, once no call that it waits for is in the section."""
        for number in self.enterings_of(client):
            if self.holder is not None:
                self.holder.died = True
            self.leave(client, number)

    def withdraw(self, entry: Entry) -> None:
        """Give up a place, in the section or in line."""
        entry.gone = True
        self._changes += 1
        if not self.runs_here():
            attempt(self.right, self._tidy)
            self.settle()

    def _tidy(self) -> None:
        """Under the right: forget the places in line that were given up."""
        for entry in list(self.line):
            if entry.gone and entry is not self.holder:
                self.line.remove(entry)
                entry.tell()

    def run(self, call: Callable[[], T]) -> T:
        """Run a call of the object, for who is in the section or runs one already."""
        with self.right:
            outer = self.runner, self.level
            self.runner, self.level = here.activity, here.level
            try:
                return call()
            finally:
                self.runner, self.level = outer

    def settle(self) -> None:
        """Let in whoever is next, if nobody is in and nobody runs a call.

        It is called by everyone who may be what the others waited for: who leaves, who ran a call,
        who just lined up.
        """
        while (self.line or self.holder is not None) and not self.runs_here():
            changes = self._changes
            more = attempt(self.right, self._admit)
            # While this thread had the right, another may have tried in vain to settle a change.
            if more is not True and changes == self._changes:
                return

    def _admit(self) -> bool:
        """Under the right: do one thing that is due; return whether another may be."""
        holder, line = self.holder, self.line
        if line and line[0] is holder:
            holder.tell()
            line.popleft()
        elif line and line[0].gone:
            line[0].tell()
            line.popleft()
        elif holder is None:
            if not line:
                return False
            self.hold(line[0])
        elif holder.gone or holder.is_forgotten():
            if holder.died:
                holder.died = False
                self._mend()
            holder.activity.sections.discard(self)
            self.holder = None
        else:
            return False
        return True

    def _mend(self) -> None:
        try:
            if self._repair is not None:
                self._repair()
        except BaseException as error:  # as a method's, it does not end the loop
            report(error, self._repair)


def stuck() -> DeadlockError:
    """Return the error of a call that would wait for one further down its thread's stack."""
    return DeadlockError(
        "this call needs an object that is busy with another call, which cannot go on before this "
        "one has ended, as one thread runs both: let the method that waits meanwhile run in a "
        'thread of its own (@blocking, or dispatch="threads")'
    )
