"""An object that is called until its owner dies, its clients, and what outlives them both.

No pytest here: started children load this module. What is tried is written once and runs on
pipeproxy and on `multiprocessing.Manager`.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.managers import BaseManager
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any

from pipeproxy import spawn, spawning
from tests.support import PATIENCE, fork

#: Seconds within which everybody is to be told of a death.
SOON = 1.0
#: Seconds of processor time that a client may use while it waits and is told.
IDLE = 0.05


class Refused(Exception):
    """What a constructor raises."""


class Desk:
    """What is called."""

    def __init__(self, refuse: bool = False) -> None:
        if refuse:
            raise Refused("no desk today")
        self.items = range(100_000)

    def __iter__(self) -> Iterator[int]:
        return iter(self.items)

    def arrive(self) -> int:
        return os.getpid()

    def hang(self, tell: int | None = None) -> None:
        if tell is not None:
            os.write(tell, b"x")
        threading.Event().wait()

    def leave(self, code: int) -> None:
        os._exit(code)

    def crash(self) -> None:
        faulthandler.disable()  # pytest's, which would show the crash that is meant
        ctypes.string_at(0)

    def die(self, number: int) -> None:
        os.kill(os.getpid(), number)
        threading.Event().wait()

    def bear(self, way: str) -> int:
        return bear(way)


# What lives on -----------------------------------------------------------------------------------


def _wait_to_be_killed() -> None:
    signal.alarm(2 * int(PATIENCE))  # at the latest
    while True:
        signal.pause()


def _fork() -> int:
    return fork(_wait_to_be_killed)


def _fork_in_c() -> int:
    """As an extension would: none of Python's hooks runs, and every descriptor is kept."""
    pid: int = ctypes.PyDLL(None).fork()
    if not pid:
        _wait_to_be_killed()
    return pid


def _system() -> int:
    with tempfile.NamedTemporaryFile() as told:
        os.system(f"sleep 60 </dev/null >/dev/null 2>&1 & echo $! >{told.name}")
        return int(told.read())


def _posix_spawn() -> int:
    return os.posix_spawnp("sleep", ["sleep", "60"], os.environ)


_programs: list[subprocess.Popen[bytes]] = []


def _popen() -> int:
    _programs.append(subprocess.Popen(["sleep", "60"], close_fds=False))
    return _programs[-1].pid


WAYS: dict[str, Callable[[], int]] = {
    "fork": _fork,
    "os.system": _system,
    "posix_spawn": _posix_spawn,
    "Popen(close_fds=False)": _popen,
    "fork in C": _fork_in_c,
}


def bear(way: str) -> int:
    """Make a process that lives on for a minute, and return its pid."""
    return WAYS[way]()


def kill(pids: Iterable[int]) -> None:
    """Kill processes, which may be gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def reached(state: Callable[[], bool], seconds: float) -> bool:
    """Look again and again for a state; return False if it is not reached in time."""
    end = monotonic() + seconds
    while not state():
        if monotonic() > end:
            return False
        time.sleep(0.002)
    return True


# The two sides -----------------------------------------------------------------------------------

#: Starts an owner by a context, and gives a proxy of its desk and its process.
Hosting = Callable[[Any], AbstractContextManager[tuple[Any, BaseProcess]]]


@contextmanager
def by_pipeproxy(context: Any) -> Iterator[tuple[Any, BaseProcess]]:
    """Let a process of `spawn` hold a desk."""
    with spawning(context):
        desk, host = spawn(Desk)
    try:
        yield desk, host.process
    except BaseException:
        host.process.kill()
        raise
    finally:
        host.close()


class DeskManager(BaseManager):
    """The manager of the same."""


DeskManager.register("Desk", Desk)


@contextmanager
def by_manager(context: Any) -> Iterator[tuple[Any, BaseProcess]]:
    """Let the server process of a manager hold a desk."""
    manager: Any = DeskManager(ctx=context)
    manager.start()
    process = manager._process
    try:
        yield manager.Desk(), process
    except BaseException:
        process.kill()
        raise
    finally:
        manager.shutdown()


# The death of an owner ---------------------------------------------------------------------------

PENDING, IDLING, NEW = "pending", "idle", "new"


@dataclass(frozen=True)
class End:
    """What came of a client's last call.

    Attributes:
        kind: whether the call was under way when the owner died, or came later, from a client that
            had called before or from a new one.
        error: the name of the exception, "" if there was none.
        text: what it said.
        seconds: from the death, or from the call if that came later.
        used: seconds of processor time between the call and its end.
    """

    kind: str
    error: str
    text: str
    seconds: float
    used: float


def _client(desk: Any, kind: str, tells: Connection, go: Any, again: Any) -> None:
    if kind != NEW:
        desk.arrive()
    tells.send(os.getpid())
    (go if kind == PENDING else again).acquire()
    called, used, error, text = monotonic(), time.process_time(), "", ""
    try:
        desk.hang()
    except Exception as caught:
        error, text = type(caught).__name__, str(caught)
    tells.send((called, monotonic(), kind, error, text, time.process_time() - used))


def kill_owner(
    hosting: Hosting,
    context: Any,
    kinds: list[str],
    ways: Iterable[str] = (),
    *,
    reap: bool = True,
    wait: float = 0.3,
    limit: float = PATIENCE,
) -> list[End]:
    """Kill an owner that has such clients, and return how those ended that did.

    Args:
        kinds: of each client.
        ways: how processes are made, after the clients came, that outlive the owner.
        reap: take note of the owner's end before others call; else it is a zombie then.
        wait: seconds that the calls are pending before.
        limit: seconds in which all clients have ended, or are killed.
    """
    here, there = context.Pipe(duplex=False)
    go, again = context.Semaphore(0), context.Semaphore(0)
    left: list[int] = []
    clients: list[Any] = []
    with hosting(context) as (desk, owner), here:
        try:
            for kind in kinds:
                args = (desk, kind, there, go, again)
                clients.append(context.Process(target=_client, args=args))
                clients[-1].start()
            there.close()
            for _ in kinds:
                assert here.poll(PATIENCE), "a client never came"
                here.recv()
            left += [desk.bear(way) for way in ways]
            for _ in range(kinds.count(PENDING)):
                go.release()
            assert not here.poll(wait), "a call ended before its owner"
            killed = monotonic()
            owner.kill()
            if reap:
                owner.join()
            for _ in kinds:
                again.release()
            ends: list[End] = []
            while len(ends) < len(kinds) and here.poll(max(0.0, killed + limit - monotonic())):
                called, told, kind, error, text, used = here.recv()
                ends.append(End(kind, error, text, told - max(called, killed), used))
            return ends
        finally:
            kill(left)
            for client in clients:
                client.kill()
                client.join()
                client.close()


# The death of a creator --------------------------------------------------------------------------

SPAWNING, CALLING = "spawning", "calling"


def _never(*args: object) -> Desk:
    threading.Event().wait()
    raise AssertionError


class HangingManager(BaseManager):
    """The manager of what is never made."""


HangingManager.register("Desk", _never)

_kept: list[Any] = []


def _create(manager: bool, method: str, moment: str, tells: Connection) -> None:
    context: Any = multiprocessing.get_context(method)
    told, tell = os.pipe()
    made: Any = None
    if manager:
        made = (HangingManager if moment == SPAWNING else DeskManager)(ctx=context)
        made.start()

    def be_busy() -> None:
        if manager:
            desk = made.Desk()
        else:
            with spawning(context):
                desk, host = spawn(_never if moment == SPAWNING else Desk)
            _kept.append(host)
        _kept.append(desk)
        desk.arrive()
        os.write(tell, b"x")
        if moment == CALLING:
            desk.hang()

    threading.Thread(target=be_busy, daemon=True).start()
    if moment != SPAWNING:
        os.read(told, 1)
    while not multiprocessing.active_children():
        time.sleep(0.001)
    tells.send(multiprocessing.active_children()[0].pid)
    _wait_to_be_killed()


def kill_creator(manager: bool, method: str, moment: str, limit: float = PATIENCE) -> bool:
    """Kill what started an owner, at such a moment; return whether the owner ended in time."""
    from pipeproxy._system import _life  # whose pidfds are as good for Manager's process
    from tests.support import is_readable

    context: Any = multiprocessing.get_context(method)
    here, there = context.Pipe(duplex=False)
    creator = context.Process(target=_create, args=(manager, method, moment, there))
    creator.start()
    there.close()
    with here:
        assert here.poll(PATIENCE)
        pid = here.recv()
    life = _life.watch(pid)
    creator.kill()
    creator.join()
    creator.close()
    assert life is not None, f"no pidfds on {sys.platform}"
    ended = is_readable(life.fileno(), limit)
    if not ended:
        kill([pid])
    life.close()
    return ended
