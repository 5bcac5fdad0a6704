"""Objects that call one another, and what processes do with them; loads no pytest."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from pipeproxy import PipeProxyError, blocking, locked, proxied, timeout
from pipeproxy._system._deadline import current


@proxied
class Link:
    """One of a chain: each calls the next."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waited_in = threading.Event()
        self._go_on = threading.Event()
        self.task: Callable[[], Any] | None = None

    def go(self, way: list[Any]) -> str:
        """Go on along a way, and return the names of all that were on it."""
        return self._name + (way[0].go(way[1:]) if way else "")

    def another(self) -> Link:
        return Link(self._name)

    def others_at(self, way: list[Any]) -> str:
        """At the end of a way, come to hold what its last gives, and drop it."""
        if len(way) > 1:
            said: str = way[0].others_at(way[1:])
            return said
        return "".join(way[0].another().another().go([]) for _ in range(3))

    def times(self, way: list[Any]) -> list[float | None]:
        """Return what is left of the time, here and along the way."""
        deadline = current()
        left = None if deadline is None else deadline - monotonic()
        return [left, *(way[0].times(way[1:]) if way else [])]

    def hang_at(self, way: list[Any]) -> None:
        if way:
            way[0].hang_at(way[1:])
        else:
            threading.Event().wait(1)

    def outcome(self, way: list[Any], signal: int) -> str:
        """Kill the last of the way, by a signal, and return how the call of it ends."""
        if not way:
            os.kill(os.getpid(), signal)
        try:
            said: str = way[0].outcome(way[1:], signal)
        except PipeProxyError as error:
            return type(error).__name__
        return said

    def begin(self) -> Any:
        """Do the task of this process, in a call."""
        assert self.task is not None
        return self.task()

    @blocking
    def wait_at(self, way: list[Any]) -> None:
        if way:
            way[0].wait_at(way[1:])
        else:
            self._waited_in.set()
            self._go_on.wait(60)

    @blocking
    def is_waited_in(self) -> bool:
        return self._waited_in.is_set()

    @blocking
    def go_on(self) -> None:
        self._go_on.set()


def begin(link: Any) -> Any:
    return link.begin()


def try_to_go(link: Any) -> str:
    """Return what is said there, or why it was not in a moment."""
    try:
        with timeout(0.2):
            said: str = link.go([])
    except PipeProxyError as error:
        return type(error).__name__
    return said


def lock_and_go(link: Any, way: list[Any]) -> None:
    with locked(link):
        way[0].wait_at(way[1:])


def go_often(link: Any, way: list[Any], times: int) -> int:
    """Return how often it was gone along the way and back."""
    return sum(len(link.go(way)) == 1 + len(way) for _ in range(times))
