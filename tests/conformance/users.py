"""What the processes of the suite do with what is shared; loads no pytest."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from time import monotonic
from typing import Any

from pipeproxy import Listener, share
from tests.support import PATIENCE


class Counter:
    """Counts, in two steps that nothing may come between."""

    def __init__(self) -> None:
        self.total = 0
        self.by: dict[int, int] = {}

    def add(self, amount: int = 1, by: int = 0) -> int:
        before = self.total
        self.by[by] = self.by.get(by, 0) + amount
        self.total = before + amount
        return self.total

    def kill_caller(self, pid: int) -> None:
        """End the process that makes this call, in the middle of it."""
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def fork(self, proxy: Any) -> int:
        """Fork this process in the middle of a call; the child is a client like any other."""
        proxy = self.proxy if proxy is self else proxy
        pid = os.fork()
        if not pid:
            try:
                code = 7 if proxy.add(5) > 0 else 8
            except BaseException:
                sys.excepthook(*sys.exc_info())
                code = 9
            os._exit(code)
        return pid

    proxy: Any = None


class Blob:
    def __init__(self) -> None:
        self.data = b""

    def put(self, data: bytes) -> int:
        self.data = data
        return len(data)

    def get(self) -> bytes:
        return self.data


def add(counter: Any, times: int = 1, by: int = 0) -> int:
    for _ in range(times):
        counter.add(by=by)
    return os.getpid()


def add_from_queue(queue: Any) -> None:
    counter = queue.get()
    add(counter, 10)


def add_in_grandchild(context: BaseContext, counter: Any) -> int | None:
    counter.add()
    process = context.Process(target=add, args=(counter, 10))
    process.start()
    process.join(PATIENCE)
    return process.exitcode


def add_in_threads(counter: Any, threads: int, times: int, by: int) -> list[bool]:
    """Add from many threads at once; return what went wrong and whether the totals only grew."""
    grew: list[bool] = []
    together = threading.Barrier(threads)

    def work() -> None:
        together.wait(PATIENCE)
        totals = [counter.add(by=by) for _ in range(times)]
        grew.append(totals == sorted(set(totals)))

    all_ = [threading.Thread(target=work) for _ in range(threads)]
    for thread in all_:
        thread.start()
    for thread in all_:
        thread.join(PATIENCE)
    return grew


def echo(blob: Any, size: int) -> bool:
    data = os.urandom(1024) * (size // 1024)
    return blob.put(data) == size and blob.get() == data


def die_in_a_call(counter: Any) -> None:
    counter.kill_caller(os.getpid())


# An owner in a process of its own, which is going to be killed -----------------------------------


class Doomed:
    def __init__(self, signal_to: Connection) -> None:
        self._signal_to = signal_to
        self.calls = 0

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def fork_in_c(self) -> int:
        """Make a copy of this process that Python does not know of, and return its pid.

        It inherits all descriptors, close-on-exec or not, and keeps them open.
        """
        import ctypes

        libc = ctypes.CDLL(None)
        pid: int = libc.fork()
        if not pid:
            libc.alarm(60)  # should the test be killed itself
            while True:
                libc.pause()
        return pid

    def hang(self) -> None:
        """Tell that the call has arrived, and never return."""
        self._signal_to.send("hanging")
        threading.Event().wait()


_kept: list[Listener[Any]] = []


def own(signal_to: Connection) -> bytes:
    """Share an object and return its pickled proxy; `serve_for_ever` serves it."""
    proxy, listener = share(Doomed(signal_to))
    _kept.append(listener)
    return pickle.dumps(proxy)


def serve_for_ever() -> None:
    _kept[0].serve()


def call(pickled: bytes, name: str) -> int:
    """Call an object, whose proxy this process keeps for later."""
    _proxies[pickled] = _proxies.get(pickled) or pickle.loads(pickled)
    result: int = getattr(_proxies[pickled], name)()
    return result


_proxies: dict[bytes, Any] = {}


def meet_death(pickled: bytes, method: str) -> tuple[str, str, float]:
    """Return how a call ends, and when."""
    proxy = _proxies.get(pickled) or pickle.loads(pickled)
    try:
        getattr(proxy, method)()
    except BaseException as error:
        return type(error).__name__, str(error), monotonic()
    return "returned", "", monotonic()
