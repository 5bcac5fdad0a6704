"""Circles of activities that wait for one another's sections, through any number of processes.

Every owner knows who waits in it, and for whom. Who waits is told so, by its owner, on the channel
on which it waits; it passes that on to where somebody may wait for *it*: to the owners of sections
that it is in, and up the chain that it serves. So all that meet in a circle learn of all of it, and
the one where the youngest wait is ends that, by an error.

A thread that serves while a call of its waits runs other calls on top of that one, which cannot go
on until they have ended: whatever it waits for, it waits for them as well.

What is told may be out of date. A circle is believed if all its waits were seen at one moment: the
latest of them had begun before the first of them was looked at. (Moments are those of the system's
monotonic clock, which all processes share.)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from itertools import pairwise
from math import nextafter
from threading import get_ident
from time import monotonic
from typing import Final

from .._system import _life
from .._system._rights import TAKEN, attempt
from ..errors import DeadlockError
from ._activities import Activity, here, stacks
from ._sections import Section

#: Seconds that a wait lasts before anybody is told of it, and between two times.
_PATIENCE: Final = 0.1
_AGAIN: Final = 0.2
#: Seconds after which nothing is believed that was not told again.
_OUTDATED: Final = 2.0
#: Waits that are told at once, so that no message grows without bound.
_MOST: Final = 64

Key = tuple[bytes, int]
#: Who waits and for whom, each a process token and a thread number; when it began, when it was last
#: seen, and what waits, for people.
Edge = tuple[Key, Key, float, float, str]


class Wait:
    """An activity that waits for a section.

    Args:
        activity: who waits.
        section: what for.
        what: the call, for people.
        wake: called when it is to look at `verdict`; any thread may.

    Attributes:
        verdict: the error that ends it, if it closes a circle.
    """

    __slots__ = ("_told", "activity", "section", "since", "verdict", "wake", "what")

    def __init__(
        self, activity: Activity, section: Section, what: str, wake: Callable[[], object]
    ) -> None:
        self.activity = activity
        self.section = section
        self.what = what
        self.wake = wake
        self.since = monotonic()
        self.verdict: DeadlockError | None = None
        self._told = self.since + _PATIENCE - _AGAIN

    def edge(self) -> Edge | None:
        """Return whom it waits for, as is told; None if nobody is in the section now."""
        holder = self.section.holder
        if holder is not None and not holder.gone:
            blocker: Activity | None = holder.activity
        elif self.section.runs_here() or attempt(self.section.right, _nothing) is TAKEN:
            blocker = self.section.runner
        else:
            return None
        if blocker is None or blocker is self.activity:
            return None
        what = f"{self.what} in process {os.getpid()}"
        return _key(self.activity), _key(blocker), self.since, monotonic(), what

    def is_due(self) -> bool:
        """Whether it is time to tell of it; asked again, it is not."""
        if monotonic() - self._told < _AGAIN:
            return False
        self._told = monotonic()
        return True


class Waits:
    """All that wait in this process, and what others told of theirs."""

    def __init__(self) -> None:
        self.forked()
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: those who waited are its parent's."""
        self._waits: dict[Key, Wait] = {}
        self._told: dict[Key, Edge] = {}
        self._right = threading.RLock()

    def begin(self, wait: Wait) -> Wait:
        """Note a wait that has begun."""
        with self._right:
            self._waits[_key(wait.activity)] = wait
        return wait

    def end(self, wait: Wait) -> None:
        """Forget a wait."""
        with self._right:
            if self._waits.get(_key(wait.activity)) is wait:
                del self._waits[_key(wait.activity)]

    def look(self, wait: Wait) -> list[Edge] | None:
        """Look for a circle with this wait; return what is to be told of it, None if nothing."""
        with self._right:
            edges = self._way_from(_key(wait.activity))
            if not edges:
                return None
            if _is_circle(edges):
                self._judge(edges)
                return None if wait.verdict is not None else edges
            return edges if wait.is_due() else None

    def hear(self, edges: list[Edge], *, runs: bool = True) -> list[Edge]:
        """Note what others told of their waits, and look for circles.

        Args:
            runs: they were told to the call that this thread serves, or runs at home; else by it.

        Returns:
            What is to be passed on: these waits, and what is known to follow from them.
        """
        with self._right:
            self._note(edges)
            self._judge_all(runs)
            return self._way_from(edges[0][0], runs) if edges else []

    def way_from(self, activity: Activity) -> list[Edge]:
        """Return what is known of the waits that follow from an activity's."""
        with self._right:
            return self._way_from(_key(activity))

    def _note(self, edges: list[Edge]) -> None:
        old = monotonic() - _OUTDATED
        self._told = {key: edge for key, edge in self._told.items() if edge[3] > old}
        for edge in edges:
            known = self._told.get(edge[0])
            if known is None or known[3] < edge[3]:
                self._told[edge[0]] = edge

    def _judge_all(self, runs: bool) -> None:
        for key in list(self._waits):
            way = self._way_from(key, runs)
            if _is_circle(way):
                self._judge(way)

    def _way_from(self, key: Key, runs: bool = True) -> list[Edge]:
        """Return the waits that follow from one another, up to one that closes a circle."""
        under = self._edges_of_stacks(runs)
        way = self._follow(key, under)
        if under and not _is_circle(way):
            # Who is under others may wait for something else as well.
            other = self._follow(key, {})
            return other if _is_circle(other) else way
        return way

    def _follow(self, key: Key, under: dict[Key, Edge]) -> list[Edge]:
        edges: list[Edge] = []
        seen = {key}
        while len(edges) < _MOST:
            wait, edge = self._waits.get(key), under.get(key)
            if edge is None:
                edge = wait.edge() if wait is not None else self._told.get(key)
            if edge is None:
                break
            edges.append(edge)
            key = edge[1]
            if key in seen:
                break
            seen.add(key)
        return edges

    def _edges_of_stacks(self, runs: bool) -> dict[Key, Edge]:
        """Return whom those wait for who are under others, each where it is uppermost."""
        known = dict(stacks)
        if runs and here.served is not None:
            # What runs on top of them just now.
            known[get_ident()] = here.stack.under(here.served, here.stack.since)
        what = f"a call in process {os.getpid()} under another one"
        edges = {}
        for stack in known.values():
            activities = [call.activity for call in stack.calls]
            for place, (lower, upper) in enumerate(pairwise(activities), 1):
                if lower not in activities[place:]:
                    since = nextafter(stack.since, 0.0)
                    edges[_key(lower)] = _key(lower), _key(upper), since, monotonic(), what
        return edges

    def _judge(self, circle: list[Edge]) -> None:
        """End the youngest wait of a circle, if it is one and if that is here."""
        if min(edge[3] for edge in circle) <= max(edge[2] for edge in circle):
            return  # they may never have waited at one time; it will be told again
        youngest = max(circle, key=lambda edge: (edge[2], edge[0]))
        wait = self._waits.get(youngest[0])
        if wait is not None and wait.verdict is None:
            whats = ", which waits for ".join(edge[4] for edge in (*circle, circle[0]))
            wait.verdict = DeadlockError(
                f"calls wait for one another in a circle: {whats}. {wait.what}, the latest, was "
                f"given up, so that the others go on"
            )
            wait.wake()


def _is_circle(way: list[Edge]) -> bool:
    return bool(way) and way[-1][1] == way[0][0]


def _key(activity: Activity) -> Key:
    return activity.process, activity.thread


def _nothing() -> None:
    """Do nothing, with a right that was free."""


waits = Waits()
