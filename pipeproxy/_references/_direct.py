"""Direct calls: those that are made at home, and run there by the right of the object's section.

A thread that has to wait for a section lets others be served meanwhile: nobody else might do it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, Final, Protocol

from .._chains._activities import here
from .._chains._deadlocks import Wait, waits
from .._chains._residence import Residence
from .._chains._sections import Block, Entering, Entry, Section, stuck
from .._objects._subjects import Shared
from .._specs._members import name_of
from .._system import _deadline
from .._system._bell import Bell
from ._openness import Openness
from ._references import pass_on

#: Seconds that a call waits for the end of another before it stands in line.
_MOMENT: Final = 0.02


class Waits(Protocol):
    """How a thread of the owner's waits: others are to be served meanwhile."""

    def wait(self, bell: Bell, seconds: float | None, since: float) -> None:
        """Wait for a bell, for at most so long, or less; `since` when it began to wait."""

    def wake(self) -> None:
        """End a wait of whoever serves."""


class Direct:
    """Runs the direct calls of one listener's objects.

    Args:
        openness: whether the listener answers.
        turns: who serves the listener.
        residence: runs calls of objects that are bound to the thread which serves; None where
            nobody does.
    """

    def __init__(
        self, openness: Openness, turns: Waits, residence: Residence | None = None
    ) -> None:
        self._openness = openness
        self._turns = turns
        self._residence = residence
        #: Else calls of others come only to who waits for an answer, as to a handler: at once.
        self._serves = residence is not None

    def run(
        self, shared: Shared, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Any:
        """Run a call of an object, and return what that returns.

        Raises:
            CallTimeout: the deadline passed before its turn had come.
            ListenerClosed: the listener was closed before.
            DeadlockError: its turn would never come.
            BaseException: whatever the object raised.
        """
        call = partial(shared.call, member, args, kwargs)
        if member in shared.elsewhere:
            return self._run_freely(shared, member, call)
        if not shared.face.resides:
            return self._run_by_right(shared, member, call)
        return self.run_resident(shared, member, call)

    def run_resident(self, shared: Shared, member: int, call: Callable[[], Any]) -> Any:
        """Run a call of an object that is bound to the thread which serves, in that."""
        residence, section = self._residence, shared.section
        if residence is None or residence.is_here():
            return self._run_by_right(shared, member, call)
        run = partial(residence.run, partial(section.run, call), self._openness.check)
        if self._is_in(section):
            return run()
        return self._run_in_turn(shared, member, run)

    def may_wait(self, shared: Shared, member: int) -> bool:
        """Whether a call may have to wait once its turn has come."""
        if member in shared.elsewhere:
            return True
        residence = self._residence
        return shared.face.resides and residence is not None and not residence.is_here()

    def enter(self, shared: Shared, entering: int, block: Block) -> None:
        """Enter the section of an object; wait if somebody else is in it."""
        self._openness.check()
        section = shared.section
        numbers: dict[Entering, Block] = {(None, entering): block}
        if not self._is_in(section):
            self._wait_for(section, numbers, f"locked({shared.members.class_name})")
        elif section.is_held_by(here.activity):
            assert section.holder is not None
            section.holder.numbers.update(numbers)
        else:  # this thread runs a call of the object, so it has the right
            section.hold(Entry(here.activity, _nothing, {**numbers}))

    def _run_freely(self, shared: Shared, member: int, call: Callable[[], Any]) -> Any:
        """Run a call that may wait, and keeps nobody out, when nobody else is in the section."""
        section = shared.section
        if (section.holder is not None or section.line) and not self._is_in(section):
            self._run_in_turn(shared, member, _nothing)
        return call()

    def _run_by_right(self, shared: Shared, member: int, call: Callable[[], Any]) -> Any:
        """Run a call by the right of its object's section, at once or when its turn has come."""
        section, right = shared.section, shared.section.right
        if not here.waits:
            owned = right._is_owned()
            if owned and self._serves and section.runs_another():
                raise stuck()
            try:
                if owned or right.acquire(False) or _acquire_soon(right):
                    with right:
                        if not owned:
                            right.release()  # as `attempt` does
                        if section.holder is None and not section.line:
                            outer, section.runner = section.runner, here.activity
                            try:
                                return call()
                            finally:
                                section.runner = outer
            except BaseException:
                if not owned and right._is_owned():
                    right.release()
                raise
            finally:
                if section.line or section.holder is not None:
                    section.settle()
        if self._is_in(section):
            return section.run(call)
        return self._run_in_turn(shared, member, partial(section.run, call))

    def _run_in_turn(self, shared: Shared, member: int, call: Callable[[], Any]) -> Any:
        """Enter the section of an object when its turn has come, call something and leave."""
        stay = _Stay()
        number = next(_stays)
        where = name_of(shared.members.plain, member)
        self._wait_for(shared.section, {(None, number): weakref.ref(stay)}, where, joins=True)
        try:
            return call()
        finally:
            shared.section.leave(None, number)

    def _is_in(self, section: Section) -> bool:
        """Whether this thread is in the section, by `locked` or as it runs a call of the object.

        Raises:
            DeadlockError: what runs further down its stack is, and waits for what is up here.
        """
        if section.is_held_by(here.activity):
            return True
        if section.runs_another():
            raise stuck()
        return section.runs_here()

    def _wait_for(
        self,
        section: Section,
        numbers: dict[Entering, Block],
        what: str,
        *,
        joins: bool = False,
    ) -> None:
        """Wait until a new entry is in a section; others are served meanwhile.

        Args:
            numbers: as of an `Entry`.
            what: the call that waits, for people.
            joins: it is enough that its activity is in the section. Several threads may belong to
                that: those that run what one of them has submitted.

        Raises:
            CallTimeout: the deadline passed first.
            ListenerClosed: the listener was closed.
            DeadlockError: it would wait for ever.
        """
        if section.is_kept_below():
            raise stuck()
        bell = Bell(*{self._turns.wake, *(service.wake for service in here.serving)})
        entry = Entry(here.activity, bell.ring, {**numbers})
        wait = Wait(here.activity, section, what, bell.ring)
        outer = here.waits
        here.waits = [*outer, (section, entry)]
        try:
            waits.begin(wait)
            section.enter(entry)
            self._stand_in_line(entry, wait, bell, joins)
        except BaseException:
            section.withdraw(entry)
            raise
        finally:
            here.waits = outer
            waits.end(wait)
            self._turns.wake()  # for whatever was put off meanwhile

    # Apart from its caller, as `Listener._serve_until` is.
    def _stand_in_line(self, entry: Entry, wait: Wait, bell: Bell, joins: bool) -> None:
        section, deadline = wait.section, _deadline.current()
        while section.holder is not entry and not (joins and section.is_held_by(entry.activity)):
            if deadline is not None and monotonic() > deadline:
                raise _deadline.not_entered()
            self._openness.check()
            section.overtake(entry)
            self._turns.wait(bell, _deadline.left(deadline), wait.since)
            section.settle()  # what is in it at home may have ended unseen
            if entry is not section.holder and entry not in list(section.line):
                section.enter(entry)  # its activity was in by another entry, and is no more
            pass_on(waits.look(wait))
            if wait.verdict is not None:
                raise wait.verdict


def _acquire_soon(right: Any) -> bool:
    """Acquire a right within a moment: who has it for longer may wait for what this thread has."""
    left = _deadline.left(_deadline.current())
    return bool(right.acquire(timeout=_MOMENT if left is None else min(left, _MOMENT)))


def leave(section: Section, entering: int) -> None:
    """Leave a section that was entered here, or do not want to enter it any more."""
    section.leave(None, entering)


#: Numbers for calls that had to wait, as if they had entered; none is that of an entering.
_stays = count(-(2**64))


class _Stay:
    """What lives for as long as a call that had to wait: the section is given up with it."""

    __slots__ = ("__weakref__",)


def _nothing() -> None:
    """Tell nobody: who is in already does not wait."""
