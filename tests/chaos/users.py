"""What the processes of the table do with what is shared; loads no pytest."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection as ManagersConnection
from pickle import loads
from random import Random
from typing import Any, Final

from pipeproxy import timeout
from pipeproxy._client._pool import Pool
from pipeproxy.transports import pipe
from tests.support import PATIENCE, open_descriptors

from .sides import Echo

# Stopping in the middle --------------------------------------------------------------------------

#: Where a client stops itself by SIGSTOP.
MOMENTS: Final = ("before a call", "while it writes a large call", "while it reads a large reply")
_LARGE: Final = 1 << 16


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


class Stopping:
    """Stops this process once, in the middle of what goes through `read` and `write`."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def write(self, write: Callable[..., int | None], *args: Any) -> int | None:
        """Write a large piece only in part, stop, and go on from there."""
        *number, data = args
        if self.moment != MOMENTS[1] or len(data) <= _LARGE:
            return write(*args)
        self.moment = ""
        written = write(*number, memoryview(data)[:_LARGE])
        _stop()
        return written

    def read(self, read: Callable[..., bytes | None], *args: Any) -> bytes | None:
        """Read the first piece of what is large, stop, and go on from there."""
        data = read(*args)
        if self.moment == MOMENTS[2] and data and len(data) > 4096:
            self.moment = ""
            _stop()
        return data

    def install(self) -> None:
        """From now on, go between this process's channels and the system."""
        first = pipe.Pipe.__init__

        def init(made: pipe.Pipe, reader: Any, writer: Any) -> None:
            first(made, reader, writer)
            plain_read, plain_write = made.read, made.write
            made.read = lambda size: self.read(plain_read, size)
            made.write = lambda data: self.write(plain_write, data)

        pipes: Any = pipe.Pipe
        pipes.__init__ = init
        pools: Any = Pool
        pools.take = lambda *args: None  # it is the pipe that is looked at
        managers: Any = ManagersConnection
        managers._send.__defaults__ = (lambda *args: self.write(os.write, *args),)
        managers._recv.__defaults__ = (lambda *args: self.read(os.read, *args),)


def call_and_stop(proxy: Any, moment: str, seed: int, size: int) -> bool:
    """Stop once, somewhere in one of these calls; return whether each got its own answer."""
    stopping = Stopping(moment)
    stopping.install()
    random = Random(seed)
    tokens = [random.randbytes(8), random.randbytes(size), random.randbytes(8)]
    fine = proxy.echo(tokens[0]) == tokens[0]
    if moment == MOMENTS[0]:
        _stop()
    fine = fine and all(proxy.echo(token) == token for token in tokens)
    return fine and (stopping.moment == "" or moment == MOMENTS[0])


# Large both ways ---------------------------------------------------------------------------------


def echo_large(proxy: Any, size: int, times: int, seed: int) -> bool:
    """Send and get back so many bytes so often, and compare."""
    piece = Random(seed).randbytes(1 << 16)
    for number in range(times):
        data = piece[number:] * (size // len(piece) + 1)
        if proxy.echo(data) != data:
            return False
    return True


class Late(Echo):
    """Answers one of its methods only once it may."""

    def __init__(self) -> None:
        self._may = threading.Event()

    def late(self, size: int) -> bytes:
        self._may.wait(PATIENCE)
        return bytes(size)

    def let(self) -> None:
        """Let `late` answer, from now on."""
        self._may.set()


def give_up(proxy: Any, size: int) -> str:
    """Return how a call ends whose answer is late."""
    try:
        with timeout(0.2):
            proxy.late(size)
    except Exception as error:
        return type(error).__name__
    return ""


# Methods that nobody should write ----------------------------------------------------------------


class Breaker:
    """Does to its own process what breaks it."""

    def __init__(self) -> None:
        self.forked: list[int] = []

    def echo(self, value: Any) -> Any:
        return value

    def close_descriptors(self, seed: int, count: int) -> int:
        """Close some of the process's descriptors, whosever they are."""
        numbers = [number for number in open_descriptors() if number > 2]
        chosen = Random(seed).sample(numbers, min(count, len(numbers)))
        for number in chosen:
            os.close(number)
        return len(chosen)

    def fork_and_exit(self) -> int:
        """Fork; the child ends at once."""
        pid = os.fork()
        if not pid:
            os._exit(0)
        self.forked.append(pid)
        return pid

    def fork_and_return(self) -> int:
        """Fork; the child returns from this method, as its parent does."""
        pid = os.fork()
        if pid:
            self.forked.append(pid)
        return pid

    def fork_and_call(self, pickled: bytes) -> int:
        """Fork; the child calls this object, by a proxy, and ends with 0 if that is right."""
        pid = os.fork()
        if not pid:
            try:
                os._exit(loads(pickled).echo(os.getpid()) - os.getpid())
            finally:
                os._exit(1)
        self.forked.append(pid)
        return pid

    def unfinished(self) -> int:
        """Return how many forked children have not ended yet, or did not end with 0."""
        for pid in list(self.forked):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done and status == 0:
                self.forked.remove(pid)
        return len(self.forked)


WRONG: Final = "another call's answer"


def echo_many(proxy: Any, times: int, seed: int) -> str:
    """Call so often; return what ended that early, if anything did."""
    random = Random(seed)
    for _ in range(times):
        token = random.randbytes(8)
        try:
            found = proxy.echo(token)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if found != token:
            return WRONG
    return ""


def break_it(proxy: Any, seed: int, count: int) -> str:
    """Let the object close descriptors in the middle of many calls."""
    said = echo_many(proxy, 20, seed)
    if said:
        return said
    try:
        proxy.close_descriptors(seed, count)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return echo_many(proxy, 20, seed)
