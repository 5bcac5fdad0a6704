"""The owner's channels, and all else that its loop waits for.

A signal handler may raise between any two steps here. So every change is made in an order in which
the next attempt at it begins where this one ended: a channel speaks before it is known, and is
waited for no more before it is forgotten.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from .._system import _descriptors
from ..transports.pipe import make_poller, open_pair
from ._caller import MOST_UNSENT, Caller


class Callers:
    """The open channels of one listener, by descriptor.

    Attributes:
        poller: what waits for all of them.
        readers: callers by the descriptor that is readable when they said something.
        writers: those that did not take all that was said to them, by the other one.
        watched: what to do when any other descriptor is readable.
        closed: nobody is served any more.
    """

    def __init__(self) -> None:
        self.closed = False
        self.poller = make_poller()
        self.readers: dict[int, Caller] = {}
        self.writers: dict[int, Caller] = {}
        self.watched: dict[int, Callable[[], object]] = {}

    def watch(self, number: int, act: Callable[[], object]) -> None:
        """Call `act` in a turn whenever this descriptor is readable.

        Raises:
            OSError: it leads to something that cannot be waited for.
        """
        try:
            self.watched[number] = act
            self.poller.register(number, select.POLLIN)
        except BaseException:
            # Others may have the file open as well: to close the number would not be enough.
            self.unwatch(number)
            raise

    def unwatch(self, number: int) -> None:
        """Watch this descriptor no more; before it is closed."""
        if number in self.watched:
            self._wait_no_more(number)
            del self.watched[number]

    def open(self, caller: Caller, greeting: bytes) -> None:
        """Say the first word on one more channel, and read from it.

        Raises:
            OSError: it cannot be waited for.
        """
        pipe = caller.pipe
        caller.send(greeting)
        self.poller.register(pipe.reader, select.POLLIN)
        self.readers[pipe.reader] = caller
        caller.client.channels.add(caller)

    def balance(self, caller: Caller) -> None:
        """Wait for what the channel needs now: to be written to, to be read from."""
        writer = caller.pipe.writer
        if caller.writing != bool(caller.unsent):
            caller.writing = not caller.writing
            if caller.writing:
                self.writers[writer] = caller
                self.poller.register(writer, select.POLLOUT)
            else:
                del self.writers[writer]
                self.poller.unregister(writer)
        is_full = caller.unsent > MOST_UNSENT or (caller.parked and caller.is_full())
        if caller.paused != (is_full or caller.is_busy()):
            caller.paused = not caller.paused
            if caller.paused:
                self.poller.unregister(caller.pipe.reader)
            else:
                self.poller.register(caller.pipe.reader, select.POLLIN)

    def drop(self, caller: Caller) -> None:
        """Close a channel; before its descriptors are closed, nobody waits for them any more."""
        caller.ended = True
        if caller.pipe.closed:
            return
        for number, table in (
            (caller.pipe.reader, self.readers),
            (caller.pipe.writer, self.writers),
        ):
            if number in table:
                self._wait_no_more(number)
                del table[number]
        caller.client.channels.discard(caller)
        caller.close()

    def hang_up(self) -> None:
        """Put a closed pipe in the place of every channel's."""
        here, there = open_pair()
        there.close()
        for caller in list(self.readers.values()):
            os.dup2(here.reader, caller.pipe.reader, inheritable=False)
            os.dup2(here.writer, caller.pipe.writer, inheritable=False)
        here.close()

    def _wait_no_more(self, number: int) -> None:
        try:
            self.poller.unregister(number)
        except OSError:
            pass  # it is not waited for: paused, or an earlier attempt came so far; or closed

    def close(self) -> None:
        """Close everything; in a forked child only the copies, as nothing is unregistered."""
        self.closed = True
        with _descriptors.lock:
            self.poller.close()
            for caller in list(self.readers.values()):
                caller.close()
            self.readers.clear()
            self.writers.clear()
            self.watched.clear()
