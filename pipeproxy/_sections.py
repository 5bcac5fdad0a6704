"""Sections: the exclusive right to an object, for one call or for several.

Every call takes its object's `lock` while it runs, so that calls run one at a time, in whatever
thread. `locked` takes more: the section, which outlasts a call. While somebody holds it, everybody
else's calls wait in line, in the order in which they came, and enter one after the other when it is
free again. It belongs to its holder and to nobody who merely says so, and ends with its holder.

A holder is whatever compares equal for one activity of one process and for nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

Holder = Hashable
#: What one entering is called: the client's number for a `locked`, or what is waiting itself.
Name = Hashable


class Taken(Exception):
    """Somebody else holds the section, or waits for it: wait in line."""


class _Waiting(NamedTuple):
    holder: Holder
    name: Name
    enter: Callable[[], None]


class Section:
    """The exclusive right to one object.

    Attributes:
        lock: held while a call runs, and while the fields of this object change.
        taken: somebody holds the section or waits for it.
    """

    __slots__ = ("_held", "_holder", "_line", "lock", "taken")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.taken = False
        self._holder: Holder | None = None
        self._held: list[Name] = []
        self._line: deque[_Waiting] = deque()

    def admits(self, holder: Holder) -> bool:
        """Whether a call of this holder may run now; ask with the lock held."""
        return not self.taken or self._holder == holder

    def holds(self, holder: Holder, name: Name) -> bool:
        """Whether this entering took place and was not left."""
        return self._holder == holder and name in self._held

    def try_enter(self, holder: Holder, name: Name) -> bool:
        """Enter if that is possible now; a holder may enter any number of times."""
        with self.lock:
            if not self.admits(holder):
                return False
            self._held.append(name)
            self._holder = holder
            self.taken = True
            return True

    def enter(self, holder: Holder, name: Name, later: Callable[[], None]) -> bool:
        """Enter now, or get in line and let `later` be called, in any thread, when it is entered.

        Returns:
            Whether it was entered now.
        """
        with self.lock:
            if self.try_enter(holder, name):
                return True
            self._line.append(_Waiting(holder, name, later))
            return False

    def leave(self, holder: Holder, name: Name) -> None:
        """Undo one entering, whether it took place or still waits; anything else is no matter."""
        with self.lock:
            if self.holds(holder, name):
                self._held.remove(name)
            else:
                self._line = deque(w for w in self._line if w[:2] != (holder, name))
            self._next()

    def abandon(self, is_dead: Callable[[Any], bool], repair: Callable[[], None]) -> bool:
        """Free the section of a dead holder, after `repair` if it was inside.

        Returns:
            Whether it was inside.
        """
        with self.lock:
            self._line = deque(w for w in self._line if not is_dead(w.holder))
            inside = bool(self._held) and is_dead(self._holder)
            if inside:
                repair()
                self._held.clear()
            self._next()
            return inside

    def _next(self) -> None:
        """Let the first in line enter if nobody is inside."""
        if self._held:
            return
        self._holder = None
        if self._line:
            waiting = self._line.popleft()
            self._holder = waiting.holder
            self._held.append(waiting.name)
            waiting.enter()
        else:
            self.taken = False
