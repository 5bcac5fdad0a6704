"""What a thread keeps back inside of `batch` blocks, to be sent together."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class Hurried(Protocol):
    """What something is kept back of."""

    def hurry(self) -> None:
        """Send it."""


class Gathering(threading.local):
    """What this thread keeps back inside of `batch` blocks.

    Attributes:
        block: a weak reference to the outermost; if a signal handler raises before its end has
            begun, that it is over is found out by this.
        flights: those that something is kept back of.
    """

    block: Callable[[], object] | None = None

    def __init__(self) -> None:
        self.flights: dict[Hurried, None] = {}

    def is_on(self) -> bool:
        return self.block is not None and self.block() is not None


gathering = Gathering()


def begin_batch(block: object) -> None:
    """Keep back what this thread sends without waiting, until this block ends."""
    if not gathering.is_on():
        gathering.block = weakref.ref(block)


def end_batch(block: object) -> None:
    """Send what was kept back, if this is the outermost block."""
    if gathering.block is None or gathering.block() is not block:
        return
    gathering.block = None
    while gathering.flights:
        flight = next(iter(gathering.flights))
        flight.hurry()
        gathering.flights.pop(flight, None)
