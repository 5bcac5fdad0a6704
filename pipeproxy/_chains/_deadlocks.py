"""Circles of activities that wait for one another's sections, through any number of processes.

Every owner knows who waits in it, and for whom. Who waits is told so, by its owner, on the channel
on which it waits; it passes that on to where somebody may wait for *it*: to the owners of sections
that it is in, and up the chain that it serves. So all that meet in a circle learn of all of it, and
the one where the youngest wait is ends that, by an error.

A thread that serves while a call of its waits runs other calls on top of that one, which cannot go
on until they have ended: whatever it waits for, it waits for them as well.

Who waits may do so for several others, and needs all of them: one that lies further down a stack
waits for what is on top, and for what it waited for before; and one chain may have several calls
under way. So no circle ends by itself. The wait that began last ends it, of each circle that it is
in.

What is told may be out of date. A circle is believed if all its waits were seen at one moment: each
of them after the latest had begun. (Moments are those of the system's monotonic clock, which all
processes share.)
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from math import inf, nextafter
from threading import get_ident
from time import monotonic
from typing import Final

from .._system import _life
from .._system._rights import TAKEN, attempt
from ..errors import DeadlockError, ProtocolError
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
_PARTS: Final = (tuple, tuple, float, float, str)


def edges_in(value: object) -> list[Edge]:
    """Return the waits that were told, if it is such.

    Raises:
        ProtocolError: it is something else.
    """
    if type(value) is list and len(value) <= _MOST and all(map(_is_edge, value)):
        return value
    raise ProtocolError("who waits for whom was told in a way that says nothing")


def _is_edge(value: object) -> bool:
    return (
        type(value) is tuple and tuple(map(type, value)) == _PARTS and all(map(_is_key, value[:2]))
    )


def _is_key(value: tuple[object, ...]) -> bool:
    return tuple(map(type, value)) == (bytes, int)


class Wait:
    """An activity that waits for a section.

    Args:
        activity: who waits.
        section: what for.
        what: the call, for people.
        wake: called when it is to look at `verdict`; any thread may.

    Attributes:
        since: when it began.
        verdict: the error that ends it, if it closes a circle.
    """

    __slots__ = (
        "_blocked",
        "_blocker",
        "_told",
        "activity",
        "section",
        "since",
        "verdict",
        "wake",
        "what",
    )

    def __init__(
        self, activity: Activity, section: Section, what: str, wake: Callable[[], object]
    ) -> None:
        self.activity = activity
        self.section = section
        self.what = what
        self.wake = wake
        self.since = self._blocked = monotonic()
        self.verdict: DeadlockError | None = None
        self._blocker: Activity | None = None
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
        self.meet(blocker)
        what = f"{self.what} in process {os.getpid()}"
        return key_of(self.activity), key_of(blocker), self._blocked, monotonic(), what

    def meet(self, blocker: Activity | None) -> None:
        """Note who is in the way; the wait for another one begins now, for all that is known."""
        if blocker is not self._blocker:
            self._blocker, self._blocked = blocker, monotonic()

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
        self._waits: dict[Key, list[Wait]] = {}
        self._told: dict[Key, dict[tuple[Key, float], Edge]] = {}
        self._tidied = 0.0
        self._right = threading.RLock()

    def begin(self, wait: Wait) -> Wait:
        """Note a wait that has begun, or that somebody needs by now; a second time does nothing."""
        with self._right:
            known = self._waits.setdefault(key_of(wait.activity), [])
            if wait not in known:
                known.append(wait)
                wait.meet(None)
                wait.edge()
        return wait

    def end(self, wait: Wait) -> None:
        """Forget a wait."""
        with self._right:
            known = self._waits.get(key_of(wait.activity), [])
            if wait in known:
                known.remove(wait)
            if not known:
                self._waits.pop(key_of(wait.activity), None)

    def look(self, wait: Wait, graph: Graph | None = None) -> list[Edge] | None:
        """Look for a circle with this wait; return what is to be told of it, None if nothing.

        Args:
            graph: what is known, if somebody has just asked for it.
        """
        with self._right:
            edge, graph = wait.edge(), graph or self.graph()
            if edge is None:
                return None
            reached = graph.reach(edge[0])
            circular = any(other[1] == edge[0] for other in reached)
            if circular:
                self._judge_all(reached, graph)
            return reached if wait.verdict is None and (circular or wait.is_due()) else None

    def graph(self, *, runs: bool = True) -> Graph:
        """Return who waits for whom, as is known just now.

        Args:
            runs: also for what this thread runs just now, on top of others.
        """
        return Graph(self, runs)

    def hear(self, edges: list[Edge], *, runs: bool = True) -> list[Edge]:
        """Note what others told of their waits, and look for circles.

        Args:
            runs: they were told to the call that this thread serves, or runs at home; else by it.

        Returns:
            What is to be passed on: these waits, and what is known to follow from them.
        """
        with self._right:
            self._note(edges)
            graph = self.graph(runs=runs)
            reached = graph.reach(edges[0][0]) if edges else []
            self._judge_all(reached, graph)
            return reached

    def way_from(self, activity: Activity, *, runs: bool = True) -> list[Edge]:
        """Return what is known of the waits of an activity, and of all that follow from them.

        Args:
            runs: see `hear`.
        """
        with self._right:
            return self.graph(runs=runs).reach(key_of(activity))

    def edges_of(self, key: Key) -> Iterable[Edge]:
        """Return the waits of an activity: here, and as was told."""
        edges = dict(self._told.get(key, {}))
        for wait in self._waits.get(key, ()):
            edge = wait.edge()
            if edge is not None:
                edges[edge[1:3]] = edge
        return edges.values()

    def _tidy(self) -> None:
        """Forget what was not told again for long."""
        self._tidied = monotonic()
        old = self._tidied - _OUTDATED
        for key, told in list(self._told.items()):
            fresh = {which: edge for which, edge in told.items() if edge[3] > old}
            if fresh:
                self._told[key] = fresh
            else:
                del self._told[key]

    def _note(self, edges: list[Edge]) -> None:
        if monotonic() - self._tidied > _AGAIN:
            self._tidy()
        for edge in edges:
            told = self._told.setdefault(edge[0], {})
            known = told.get(edge[1:3])
            if known is None or known[3] < edge[3]:
                told[edge[1:3]] = edge

    def _judge_all(self, reached: list[Edge], graph: Graph) -> None:
        for key in {edge[0] for edge in reached}:
            for wait in self._waits.get(key, ()):
                self._judge(wait, graph)

    def _judge(self, wait: Wait, graph: Graph) -> None:
        """End a wait that is the youngest of a circle."""
        edge = wait.edge() if wait.verdict is None else None
        others = None if edge is None else graph.rest_of_circle(edge)
        if edge is not None and others is not None:
            whats = ", which waits for ".join(each[4] for each in (edge, *others, edge))
            wait.verdict = DeadlockError(
                f"calls wait for one another in a circle: {whats}. {wait.what}, the latest, was "
                f"given up, so that the others go on"
            )
            wait.wake()


class Graph:
    """Who waits for whom, as is known at a moment."""

    def __init__(self, waits: Waits, runs: bool) -> None:
        self._waits = waits
        self._under = _edges_of_stacks(runs)
        self._known: dict[Key, list[Edge]] = {}

    def _from(self, key: Key) -> list[Edge]:
        known = self._known.get(key)
        if known is None:
            known = [*self._under.get(key, ()), *self._waits.edges_of(key)]
            self._known[key] = known
        return known

    def reach(self, key: Key) -> list[Edge]:
        """Return the waits of an activity, and all that follow from them, the nearest first."""
        edges: list[Edge] = []
        seen, due = {key}, deque([key])
        while due:
            for edge in self._from(due.popleft()):
                if len(edges) == _MOST:
                    return edges
                edges.append(edge)
                if edge[1] not in seen:
                    seen.add(edge[1])
                    due.append(edge[1])
        return edges

    def rest_of_circle(self, last: Edge) -> list[Edge] | None:
        """Return the other waits of a circle that one closes as the last; None if it does not.

        All of them had begun before, and were seen since.
        """
        ways: dict[Key, list[Edge]] = {last[1]: []}
        due = deque(ways)
        while due:
            key = due.popleft()
            for edge in self._from(key):
                is_older = (edge[2], edge[0]) < (last[2], last[0]) and edge[3] > last[2]
                if is_older and edge[1] not in ways:
                    ways[edge[1]] = [*ways[key], edge]
                    due.append(edge[1])
        return ways.get(last[0])


def _edges_of_stacks(runs: bool) -> dict[Key, list[Edge]]:
    """Return whom those wait for who are under others.

    Args:
        runs: see `Waits.graph`.
    """
    known = dict(stacks)
    if runs and here.served is not None:
        known[get_ident()] = here.stack.under(here.served, inf)
    what = f"a call in process {os.getpid()} under another one"
    edges: dict[Key, list[Edge]] = {}
    for stack in known.values():
        activities = [call.activity for call in stack.calls]
        for place, (lower, upper) in enumerate(pairwise(activities)):
            if lower not in activities[place + 1 :]:
                since = nextafter(stack.since[place], -inf)  # it is never the latest in a circle
                edge = key_of(lower), key_of(upper), since, monotonic(), what
                edges.setdefault(edge[0], []).append(edge)
    return edges


def key_of(activity: Activity) -> Key:
    """Return an activity as it is told of."""
    return activity.process, activity.thread


def _nothing() -> None:
    """Do nothing, with a right that was free."""


waits = Waits()
