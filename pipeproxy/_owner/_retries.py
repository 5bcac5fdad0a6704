"""Retries: calls that would have to wait are tried again, before they are given to workers.

Mostly whoever has what such a call waits for is about to give it back, by a call that the same
thread serves. To wait for that in another thread would take longer than both calls. So the calls of
one object stand in line, and the first is tried again whenever another call of the object has run.
Those that stand there for long become workers', and all do if nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

from .._channels._wire import Frame
from .._objects._subjects import Shared
from ._caller import Caller

#: Seconds without a call that has run after which a line is given up.
PATIENCE: Final = 0.001
#: Seconds that a call may stand in one that moves. By so much it may wait longer than it is to, if
#: that is said among its arguments.
LONGEST: Final = 0.02


class _Line:
    """The callers whose first frames wait for one object, in order, and until when each does.

    Attributes:
        due: when it is given up.
    """

    def __init__(self, due: float) -> None:
        self.callers: dict[Caller, float] = {}
        self.due = due


class Retries:
    """The calls of one listener's that are tried again.

    Args:
        resume: called with a caller whose first frame is to be tried once more.

    Attributes:
        lines: where they stand, by what they call.
        in_vain: the frame that was just tried, if that was in vain.
    """

    def __init__(self, resume: Callable[[Caller], object]) -> None:
        self.lines: dict[Shared, _Line] = {}
        self.in_vain: Frame | None = None
        self._resume = resume
        #: The first moment at which something may have waited long enough.
        self._due = inf
        #: First frames that were tried in vain, and when they first were. Not their idents: those
        #: of calls that nobody waits for are all the same.
        self._since: dict[Caller, tuple[Frame, float]] = {}

    def came(self, caller: Caller) -> float:
        """Return when the caller's first frame was first tried; now, if it was not."""
        tried, since = self._since.get(caller, (None, 0.0))
        return since if tried is caller.frames[0] else monotonic()

    def tried(self, caller: Caller, *, for_good: bool) -> None:
        """Note that the caller's first frame was tried in vain.

        Args:
            for_good: it always will be.
        """
        first = self.in_vain = caller.frames[0]
        if for_good:
            self._since[caller] = first, monotonic()  # as if it had stood in line

    def line_up(self, caller: Caller, shared: Shared, deadline: float | None) -> bool:
        """Let a call that was tried in vain wait; False if it is to be a worker's.

        Args:
            deadline: that of the call.
        """
        line, first = self.lines.get(shared), caller.frames[0]
        in_vain, self.in_vain = self.in_vain, None
        if line is not None and caller in line.callers:
            return True
        tried, _ = self._since.get(caller, (None, 0.0))
        # It cannot be tried, nobody would hear of it, or it stood in line before.
        if in_vain is not first or caller.ended or tried is first:
            self._since.pop(caller, None)
            return False
        since = monotonic()
        self._since[caller] = first, since
        until = min(since + LONGEST, inf if deadline is None else deadline)
        self._due = min(self._due, since + PATIENCE, until)  # first: an interrupt may come
        if line is None:
            line = self.lines[shared] = _Line(since + PATIENCE)
        line.callers[caller] = until
        return True

    def ran(self, caller: Caller, shared: Shared) -> None:
        """Let whoever is next try again, as a call of the object has run: this caller's."""
        self._since.pop(caller, None)
        line = self.lines.get(shared)
        if line is not None:
            line.callers.pop(caller, None)
            self.moved(shared)

    def moved(self, shared: Shared) -> None:
        """Let whoever is next try again, as a worker's call of the object has run; any thread may.

        The line is not the worker's: its caller may stand there already, with its next call.
        """
        line = self.lines.get(shared)
        if line is None:
            return
        line.due = monotonic() + PATIENCE
        if shared.actor.may_go_on():
            following = next(iter(list(line.callers)), None)  # a worker may change them
            if following is not None:
                self._resume(following)

    def due_in(self) -> float | None:
        """Return the seconds until one may have waited long enough; None if none waits."""
        return max(0.0, self._due - monotonic()) if self.lines else None

    def expire(self) -> None:
        """Let those be workers' who have waited long enough."""
        now = monotonic()
        if now < self._due:
            return
        self._due = now  # until all is seen to: an interrupt may come
        due = inf
        for shared, line in list(self.lines.items()):
            is_over = line.due <= now
            for caller, until in list(line.callers.items()):
                if is_over or until <= now:
                    self._resume(caller)
                    line.callers.pop(caller, None)
            if line.callers:
                due = min(due, line.due, *line.callers.values())
            else:
                self.lines.pop(shared, None)
        self._due = due

    def left(self, caller: Caller) -> None:
        """Do without the caller's first frame; more than once, maybe."""
        self._since.pop(caller, None)
        for line in list(self.lines.values()):
            line.callers.pop(caller, None)
