"""The two sides of a row: one object shared by pipeproxy and by `multiprocessing.Manager`.

What is tried is written once and run on both. No pytest here: started children load this module.
"""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.managers import BaseManager
from multiprocessing.util import get_temp_dir
from random import Random
from struct import Struct
from time import monotonic
from typing import Any

from pipeproxy import share, spawn, spawning
from tests.children import Child, poll_until
from tests.support import PATIENCE

#: Makes an object of a class, shares it, serves it in the background, and gives its proxy.
Sharing = Callable[[Callable[[], Any]], AbstractContextManager[Any]]


@contextmanager
def by_pipeproxy(make: Callable[[], Any]) -> Iterator[Any]:
    """Share what `make` returns from this process."""
    proxy, listener = share(make())
    with listener, listener.background():
        yield proxy


@contextmanager
def by_spawn(make: Callable[[], Any]) -> Iterator[Any]:
    """Let a process of its own hold what `make` returns, and kill it at the end."""
    with spawning(multiprocessing.get_context("fork")):
        proxy, host = spawn(make)
    try:
        yield proxy
    finally:
        host.process.kill()
        host.close()


@contextmanager
def by_manager(make: Callable[[], Any], *, kill: bool = False) -> Iterator[Any]:
    """Let the server process of a manager hold what `make` returns.

    Args:
        kill: it may be unable to end by itself.
    """

    class Server(BaseManager):
        """The registry belongs to the class, so each has its own."""

    Server.register("make", make)
    get_temp_dir()  # now, so that a server that is killed leaves nothing behind
    server: Any = Server(ctx=multiprocessing.get_context("fork"))
    with server:
        try:
            yield server.make()
        finally:
            if kill:
                server._process.kill()
                server._process.join()


class Echo:
    """Tells a caller's own answer from every other's."""

    def echo(self, value: Any) -> Any:
        return value

    def blob(self, size: int) -> bytes:
        return bytes(size)


# Children ----------------------------------------------------------------------------------------

HUNG, DIED = "hung", "died"


def ends(children: Iterable[Child], seconds: float = PATIENCE) -> list[Any]:
    """Return what the functions of these children returned, and end them.

    In place of a result stands HUNG or DIED, or the text of what was raised.
    """
    children = list(children)
    until = monotonic() + seconds
    found: list[Any] = []
    for child in children:
        try:
            if child._control.poll(max(0.0, until - monotonic())):
                fine, value = child._control.recv()
                found.append(value if fine else str(value).strip().splitlines()[-1])
                child.end()
            else:
                found.append(HUNG)
                child.kill()
        except (EOFError, ConnectionError):
            found.append(DIED)
            child.kill()
    return found


_count = Struct("<Q")


class Bystander:
    """A client in a process of its own that calls all the time and compares every answer.

    Attributes:
        wrong: answers that were not its own, errors and hangs; known at the end of the block.
        said: the first thing that was wrong.
    """

    def __init__(self, proxy: Any, seed: int = 1) -> None:
        self.wrong = 0
        self.said = ""
        self._made = mmap.mmap(-1, _count.size)  # shared with forked children, without a descriptor
        self._stop, theirs = multiprocessing.Pipe()
        self._child = Child("fork", _call_all_the_time, proxy, self._made, theirs, seed)
        theirs.close()

    @property
    def made(self) -> int:
        """The calls that it has made so far."""
        made: int = _count.unpack(self._made[:])[0]
        return made

    def go_on(self, calls: int = 100) -> None:
        """Wait until it has made so many calls more, or cannot.

        Raises:
            TimeoutError: it makes none any more.
        """
        before = self.made
        poll_until(lambda: self.made >= before + calls or self._stop.poll())

    def __enter__(self) -> Bystander:
        try:
            self.go_on(1)
        except BaseException:
            self._child.kill()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stop.send(None)
        [said] = ends([self._child])
        self._stop.close()
        if said is not None:
            self.wrong = 1
            self.said = f"the bystander: {said}"


def _call_all_the_time(proxy: Any, made: mmap.mmap, until: Connection, seed: int) -> str | None:
    random = Random(seed)
    calls = 0
    try:
        while not until.poll():
            token = random.randbytes(16)
            found = proxy.echo(token)
            if found != token:
                return f"asked for {token!r} and got {found!r}"
            calls += 1
            made[:] = _count.pack(calls)
        return None
    except BaseException:
        until.send("it failed")
        raise
