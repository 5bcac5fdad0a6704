"""What the processes of a crowd do; loads no pytest, as started children load this module."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pickle import loads
from random import Random
from typing import Any, Final

from tests.children import Child
from tests.support import PATIENCE, fork

from .sides import ends

#: Seconds after which a call that was forked in the middle of counts as one that hangs.
HANGING: Final = 10


class Adder:
    """Adds in one statement, which no other thread of a manager's server can come between."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int = 1, by: int = 0) -> int:
        self.total += amount
        return self.total

    def slow(self, seconds: float) -> float:
        """Take some time."""
        threading.Event().wait(seconds)
        return seconds

    def get(self) -> int:
        return self.total


def adds(proxy: Any, times: int, amount: int = 1) -> bool:
    """Add so often; return whether each answer could be the caller's own: totals only grow."""
    totals = [proxy.add(amount) for _ in range(times)]
    return totals == sorted(set(totals))


class Forked:
    """Children that this process forked by `os.fork`; each ends with 0 if all was well with it."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def fork(self, work: Callable[[], bool]) -> None:
        """Let a child work; one that hangs ends all the same."""
        self._pids.append(fork(lambda: self._work(work)))

    def __len__(self) -> int:
        return len(self._pids)

    def _work(self, work: Callable[[], bool]) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HANGING)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what failed is counted and not shown
        if not work():
            raise AssertionError

    def failed(self) -> int:
        """Wait for all; return how many did not end well."""
        return sum(os.waitpid(pid, 0)[1] != 0 for pid in self._pids)


# os.fork of a client -----------------------------------------------------------------------------


def fork_in_traffic(proxy: Any, forks: int, seed: int) -> tuple[int, int, int]:
    """Fork in two threads while two others call all the time; everybody adds.

    Returns:
        What all of them together have added, how many of them got errors or answers that cannot be
        theirs, and how often it was forked.
    """
    stop = threading.Event()
    added: list[int] = []
    wrong: list[int] = []
    tried: list[int] = []

    def traffic() -> None:
        made = last = 0
        try:
            while not stop.is_set():
                total = proxy.add(1)
                made += 1
                if total <= last:
                    wrong.append(1)
                last = total
        except Exception:
            wrong.append(1)
        added.append(made)

    def forking(number: int) -> None:
        random, forked = Random(seed + number), Forked()
        made = 0
        try:
            for _ in range(forks):
                forked.fork(lambda: adds(proxy, 5))
                times = random.randrange(5)
                if not adds(proxy, times):
                    wrong.append(1)
                made += times
        except Exception:
            wrong.append(1)
        failed = forked.failed()
        wrong.append(failed)
        tried.append(len(forked))
        added.append(made + 5 * (len(forked) - failed))

    threads = [threading.Thread(target=traffic, daemon=True) for _ in range(2)]
    forkers = [threading.Thread(target=forking, args=(n,), daemon=True) for n in range(2)]
    for thread in (*threads, *forkers):
        thread.start()
    for thread in forkers:
        thread.join()
    stop.set()
    for thread in threads:
        thread.join()
    return sum(added), sum(wrong), sum(tried)


class Forking:
    """An argument that forks when it is pickled; the child goes on with the call as well."""

    def __init__(self, amount: int, pids: list[int]) -> None:
        self.amount = amount
        self.pids = pids

    def __reduce__(self) -> Any:
        self.pids.append(os.fork())
        return int, (self.amount,)


def fork_in_pickling(proxy: Any) -> bool:
    """Fork while the arguments of a call are pickled; parent and child both make the call."""
    pids: list[int] = []
    before = proxy.get()
    try:
        fine = proxy.add(Forking(1, pids)) > before
    except BaseException:
        fine = False
    if 0 in pids:
        os._exit(not fine)
    return fine and all(os.waitpid(pid, 0)[1] == 0 for pid in pids)


def fork_in_waiting(proxy: Any, returns: bool) -> bool:
    """Fork in a signal handler while a call is under way.

    Args:
        returns: the child returns from the handler into the call, which is its parent's and must
            end in an error; else it makes calls of its own in the handler.
    """
    pids: list[int] = []

    def handler(number: int, frame: object) -> None:
        pids.append(os.fork())
        if pids[-1]:
            return
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HANGING)
        if not returns:
            os._exit(not _is_fine(proxy))

    proxy.get()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        fine = proxy.slow(0.1) == 0.1
    except Exception:
        fine = 0 not in pids or _is_fine(proxy)
        if 0 in pids:
            os._exit(not fine)
        return False
    if 0 in pids:
        os._exit(1)  # it took what was its parent's
    return fine and len(pids) == 1 and os.waitpid(pids[0], 0)[1] == 0


def _is_fine(proxy: Any) -> bool:
    try:
        return adds(proxy, 3)
    except BaseException:
        return False


# Daemons -----------------------------------------------------------------------------------------


def daemonise(given: Any, used: bool, tells: int, times: int) -> None:
    """Become a daemon, by the book, and add from there; `tells` is closed when it has ended.

    Args:
        given: a proxy, or its pickle, which the daemon loads.
        used: call before that as well.
    """
    if used:
        (loads(given) if isinstance(given, bytes) else given).add(0)
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    for number in range(3):
        os.close(number)
    signal.alarm(HANGING)
    fine = False
    try:
        fine = adds(loads(given) if isinstance(given, bytes) else given, times)
    finally:
        os.write(tells, b"fine" if fine else b"wrong")
        os._exit(0)


# Grandchildren and workers -----------------------------------------------------------------------


def descend(proxy: Any, methods: tuple[str, ...], times: int) -> bool:
    """Add, let a child made by the next of these methods do the same, and add again."""
    fine = adds(proxy, times)
    if methods:
        child = Child(methods[0], descend, proxy, methods[1:], times)
        fine = ends([child], PATIENCE) == [True] and fine
    return fine and adds(proxy, times)


def finalise() -> None:
    """Do what the end of a Python program does with all that multiprocessing knows of."""
    from multiprocessing import util

    util._run_finalizers(0)  # type: ignore[attr-defined]
    util._run_finalizers()  # type: ignore[attr-defined]
