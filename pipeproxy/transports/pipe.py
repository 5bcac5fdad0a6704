"""The pipe transport: the only room that reads, writes and waits.

A `Pipe` is one end of two one-way pipes as `multiprocessing.Pipe(duplex=False)` makes them, one
each way: they wake a reader in half the time that a socket pair takes. It is used through its
descriptors, never blocking.

A `Waiter` waits for descriptors. Two processes on two cores that both sleep in the kernel take
40 to 60 µs for a round trip, most of it spent in waking a core; looking again and again for a
moment first takes 5 to 7. So a wait spins, for at most `SPIN` seconds of measured time. A spin
that lasted longer, answered or not, is a sign that another process wanted the core: the next 4
waits sleep at once, then 16, and so on to 4,096; a quick answer halves that. Counting misses
instead of time does not do: with two busy processes on two cores it was seen to fall to 250
calls a second, where sleeping gives 14,000 and this rule 23,000 and more.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios
from collections.abc import Callable
from struct import Struct
from time import monotonic
from typing import Any, Final, Protocol

from .._system import _descriptors
from .._system._descriptors import Descriptor

#: Seconds that a wait looks again and again before it sleeps.
SPIN: Final = 50e-6
_MOST_SKIPPED = 4096

READ_SIZE: Final = 1 << 16
_BULK_READ = 1 << 20
#: Bytes that a pipe for bulk may hold, and what asks the system for it (Linux).
_LARGE: Final = 1 << 20
_SET_SIZE: Final[int | None] = getattr(fcntl, "F_SETPIPE_SZ", None)

_int = Struct("i")


class Pipe:
    """One end: what it reads from and what it writes to.

    Attributes:
        read: as `io.RawIOBase.read`: up to n bytes; None where it would wait; b"" at the end.
        write: as `io.RawIOBase.write`: bytes taken; None where it would wait.
    """

    __slots__ = ("_ends", "_is_large", "read", "write")

    def __init__(self, reader: Descriptor, writer: Descriptor) -> None:
        self._ends = (reader, writer)
        self._is_large = False
        self.read: Callable[[int], bytes | None] = reader.read
        self.write: Callable[[Any], int | None] = writer.write

    @property
    def reader(self) -> int:
        """The descriptor that becomes readable, for a poll."""
        return self._ends[0].fileno()

    @property
    def writer(self) -> int:
        """The descriptor that becomes writable, for a poll."""
        return self._ends[1].fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._ends[0].closed

    def enlarge(self) -> bool:
        """Let more bytes be on their way, where the system allows it: fewer wake-ups for bulk.

        Returns:
            Whether more can be written now than before.
        """
        if self._is_large or _SET_SIZE is None:
            return False
        self._is_large = True
        try:
            fcntl.fcntl(self.writer, _SET_SIZE, _LARGE)
        except OSError:
            return False  # this user has as many large pipes as he may have
        return True

    def close(self) -> None:
        """Close both descriptors; a second time does nothing."""
        with _descriptors.lock:
            self._close()

    def _close(self) -> None:
        for end in self._ends:
            try:
                end.close()
            except OSError:
                pass  # somebody closed the number behind its back


def open_pair() -> tuple[Pipe, Pipe]:
    """Make two pipes and return the end for this process, then the one to give away.

    Raises:
        OSError: the process or the system is out of descriptors.
    """
    ends: list[Descriptor] = []
    with _descriptors.lock:
        _descriptors.adopt(ends, _descriptors.pipes(2), ("rb", "wb", "rb", "wb"))
        _descriptors.blocking_off(ends)
        reply_reader, reply_writer, request_reader, request_writer = ends
        return Pipe(reply_reader, request_writer), Pipe(request_reader, reply_writer)


def read_size(missing: int) -> int:
    """How much to read at once when a frame still lacks `missing` bytes."""
    return READ_SIZE if missing <= READ_SIZE else min(missing, _BULK_READ)


class Poller(Protocol):
    """What `select.poll`, `select.epoll` and a kqueue have in common."""

    def poll(self, timeout: float | None = ..., /) -> list[tuple[int, int]]:
        """Return the descriptors that are ready, and their events."""


class Selector(Poller, Protocol):
    """What an owner waits with: a poller that is itself a descriptor."""

    def register(self, number: int, events: int, /) -> None:
        """Wait for `events` of a descriptor."""

    def unregister(self, number: int, /) -> None:
        """Wait for nothing of it any more."""

    def fileno(self) -> int:
        """Return its own descriptor, which is readable when something is ready."""

    def close(self) -> None:
        """Close it; a second time does nothing."""


def make_poller() -> Selector:
    """Return what an owner waits with; its unit of time is the second."""
    if sys.platform == "linux":
        return select.epoll()
    else:  # noqa: RET505 - only so do type checkers leave it out
        from ._kqueue import Kqueue

        return Kqueue()


class Waiter:
    """Waits until a descriptor of a poller is ready: spins where that pays, then sleeps.

    Args:
        poller: what knows the descriptors.
        ticks: its unit of time, in ticks per second.
        spin: the longest spin, in seconds; 0 to sleep at once.
    """

    __slots__ = ("_penalty", "_poll", "_skip", "_spin", "_ticks", "_yields")

    def __init__(self, poller: Poller, ticks: int, spin: float) -> None:
        self._poll = poller.poll
        self._ticks = ticks
        self._spin = spin
        self._skip = 0
        self._penalty = 1
        # On a single core only another process can make anything happen; if that is the peer it
        # does, so to yield first and then to look takes no longer than to sleep. But the peer may
        # be on another core: hence the look.
        self._yields = cores() == 1

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what is ready, after at most `timeout` seconds (None: without end)."""
        if self._skip:
            self._skip -= 1
        elif self._spin and timeout != 0:
            # Look again and again for what is ready, until that has taken too long.
            poll, limit = self._poll, monotonic() + self._spin
            while True:
                if self._yields:
                    os.sched_yield()
                ready = poll(0)
                if monotonic() > limit:
                    self._penalty = min(self._penalty * 4, _MOST_SKIPPED)
                    self._skip = self._penalty
                    break
                if ready:
                    self._penalty = self._penalty // 2 or 1
                    return ready
            if ready:
                return ready
        return self.sleep(timeout)

    def rest(self) -> None:
        """Let the next `wait` not spin: what it waits for is known not to be a moment away."""
        self._skip = self._skip or 1

    def sleep(self, timeout: float | None) -> list[tuple[int, int]]:
        """As `wait`, without spinning."""
        return self._poll(None if timeout is None else timeout * self._ticks)


def cores() -> int:
    """Return on how many cores this process may run; on one, it shares that with its peers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wait_for(*wants: tuple[int, bool], timeout: float | None = None) -> set[int]:
    """Sleep until a descriptor is ready and return those that are.

    Args:
        wants: a descriptor and whether it is wanted for writing.
        timeout: seconds, None without end.
    """
    poller = select.poll()
    for number, writing in wants:
        poller.register(number, select.POLLOUT if writing else select.POLLIN)
    return {number for number, _ in poller.poll(None if timeout is None else timeout * 1000)}


def is_unread(writer: int) -> bool:
    """Whether something that was written here is still in the pipe; False where none can tell."""
    if sys.platform != "linux":
        return False
    (count,) = _int.unpack(fcntl.ioctl(writer, termios.FIONREAD, bytes(_int.size)))
    return bool(count > 0)


def is_broken(writer: int) -> bool:
    """Whether nobody holds the other end of the pipe that this is the writing end of."""
    poller = select.poll()
    poller.register(writer, 0)
    return bool(poller.poll(0))
