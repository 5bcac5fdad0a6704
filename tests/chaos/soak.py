"""Clients that come, call, hang, crash and go.

``python -m tests.chaos.soak [--minutes N] [--seed N]``

The owner is this process. It ends with 1 if an answer was another's, a client hung or was not
answered as it should have been, or if descriptors, threads, processes or memory were left at the
end: descriptors, threads and processes as many as before the first client, memory at most
`GROWTH` and `SLACK` more than after the first minute, or the first fifth of a shorter run.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from random import Random
from time import monotonic
from typing import Any

from pipeproxy import CallLost, Listener, OwnerDied, locked, share, timeout
from pipeproxy._channels._wire import CALL, header
from pipeproxy._proxies._proxy import link_of
from pipeproxy._references._references import owner_at
from pipeproxy.errors import CallTimeout
from tests.support import PATIENCE, fork, open_descriptors

#: Clients at once, and seconds between two lines.
CROWD = 12
LINE = 10.0

#: The exit codes of clients that were answered wrongly, and of those that leave in mid-call.
WRONG, LEFT = 3, 4

SIZES = [10, 10, 10, 1_000, 100_000, 3_000_000]

#: How much more memory the owner may take at the end: 5 % of it, and three of the largest answers,
#: as a few of them may be there when it is measured, or none.
GROWTH = 0.05
SLACK = 3 * max(SIZES)


class Desk:
    """What is called."""

    def __init__(self) -> None:
        self._till = [0, 0]

    def echo(self, token: bytes, size: int) -> tuple[bytes, bytes]:
        return token, token[:1] * size

    def nap(self, seconds: float) -> float:
        threading.Event().wait(seconds)
        return seconds

    def put(self, place: int, amount: int) -> None:
        self._till[place] = amount

    def look(self, place: int) -> int:
        return self._till[place]

    def __iter__(self) -> Iterator[int]:
        return iter(range(10_000))

    def __pipeproxy_abandoned__(self) -> None:
        self._till[1] = self._till[0]


# Clients ------------------------------------------------------------------------------------------


class Wrong(Exception):
    """An answer was not what was asked for."""


def ask(desk: Any, random: Random, times: int = 1) -> None:
    """Call with a token, and compare the answer."""
    for _ in range(times):
        token, size = random.randbytes(16), random.choice(SIZES)
        if desk.echo(token, size) != (token, token[:1] * size):
            raise Wrong(f"asked for {size} bytes of {token!r}")


def come_and_go(desk: Any, random: Random) -> None:
    ask(desk, random, random.randrange(1, 50))


def call_in_threads(desk: Any, random: Random) -> None:
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            ask(desk, Random(seed), 20)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(random.random(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def call_on(desk: Any, random: Random) -> None:
    """Be killed, or stopped and then killed, at a random moment."""
    while True:
        ask(desk, random)


def sit(desk: Any, random: Random) -> None:
    for _ in range(3):
        seconds = random.uniform(0, 0.02)
        if desk.nap(seconds) != seconds:
            raise Wrong("a nap of another length")
        ask(desk, random)


def give_up(desk: Any, random: Random) -> None:
    """Have no time to wait for an answer, and go on."""
    for _ in range(10):
        try:
            with timeout(random.uniform(1e-4, 2e-3)):
                ask(desk, random)
        except CallTimeout:
            ask(desk, random)


def leave_in_mid_call(desk: Any, random: Random) -> None:
    threading.Thread(target=call_on, args=(desk, random), daemon=True).start()
    threading.Event().wait(random.uniform(0, 0.02))
    os._exit(LEFT)


def write_half(desk: Any, random: Random) -> None:
    """Die, or hang and be killed, in the middle of a frame."""
    ask(desk, random)
    half = header(CALL, 1000, 1 << 20, 1, 1) + bytes(1000)
    _pipe_of(desk).write(half[: random.randrange(1, len(half))])
    if random.random() < 0.5:
        os._exit(LEFT)
    threading.Event().wait()


def write_garbage(desk: Any, random: Random) -> None:
    """Lose the channel, and no more than that."""
    ask(desk, random)
    _pipe_of(desk).write(b"\xff" + random.randbytes(random.randrange(100, 1000)))
    try:
        ask(desk, random)
    except CallLost:
        pass
    ask(desk, random)


def _pipe_of(desk: Any) -> Any:
    return owner_at(link_of(desk).route).lines.mine(None).pipe


def leave_streams(desk: Any, random: Random) -> None:
    """Leave iterators in the owner."""
    streams = [iter(desk) for _ in range(10)]
    if [next(stream) for stream in streams] != [0] * 10:
        raise Wrong("a stream that did not begin with its first item")
    os.kill(os.getpid(), random.choice([signal.SIGKILL, signal.SIGTERM]))


def fork_in_traffic(desk: Any, random: Random) -> None:
    ask(desk, random)
    child = fork(lambda: ask(desk, Random(1), 10))
    ask(desk, random, 10)
    if os.waitpid(child, 0)[1]:
        raise Wrong("in a forked child")


def keep_the_till(desk: Any, random: Random) -> None:
    """Keep both halves alike, in sections; some die inside of one."""
    for _ in range(10):
        with locked(desk) as till:
            before = till.look(0)
            if till.look(1) != before:
                raise Wrong("the till was not mended")
            till.put(0, before + 1)
            if random.random() < 0.02:
                os.kill(os.getpid(), signal.SIGKILL)
            till.put(1, before + 1)
            if till.look(0) != before + 1:
                raise Wrong("somebody else was in the section")


def be_client(desk: Any, way: str, seed: int) -> None:
    """Be one client, of such a way."""
    signal.alarm(int(4 * PATIENCE))  # an orphan ends as well
    try:
        WAYS[way].act(desk, Random(seed))
    except Wrong as error:
        sys.stderr.write(f"{way}: {error}\n")
        os._exit(WRONG)
    except OwnerDied:
        os._exit(LEFT)  # the soak itself was ended


@dataclass(frozen=True)
class Way:
    """What a client does, and what is done to it.

    Attributes:
        ends: the exit codes that it may have.
        killed: it is killed after some time.
        stopped: it is stopped for some time before it goes on, or is killed.
    """

    act: Callable[[Any, Random], None]
    ends: tuple[int, ...] = (0,)
    killed: bool = False
    stopped: bool = False


KILLED = -signal.SIGKILL
WAYS = {
    "come and go": Way(come_and_go),
    "threads": Way(call_in_threads),
    "killed": Way(call_on, (KILLED,), killed=True),
    "stopped": Way(come_and_go, stopped=True),
    "stopped and killed": Way(call_on, (KILLED,), killed=True, stopped=True),
    "sits in calls": Way(sit),
    "killed in calls": Way(sit, (0, KILLED), killed=True),
    "gives up": Way(give_up),
    "leaves in mid-call": Way(leave_in_mid_call, (LEFT,)),
    "half a frame": Way(write_half, (LEFT, KILLED), killed=True),
    "garbage": Way(write_garbage),
    "leaves streams": Way(leave_streams, (KILLED, -signal.SIGTERM)),
    "forks": Way(fork_in_traffic),
    "sections": Way(keep_the_till, (0, KILLED)),
}

#: Mostly by fork; the others take ten times as long to start.
METHODS = ["fork"] * 18 + ["spawn", "forkserver"]


# The owner ----------------------------------------------------------------------------------------


class Soak:
    """An owner, its clients, and what is seen of them."""

    def __init__(self, listener: Listener[Any], desk: Any, seed: int) -> None:
        self.listener, self.desk = listener, desk
        self.random = Random(seed)
        self.begun: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._clients: dict[int, tuple[Any, str, float]] = {}
        #: When to send which signal to which of them.
        self._due: list[tuple[float, int, int]] = []

    def step(self, *, more: bool) -> None:
        """Do what is due; let one more client come if there is room."""
        now = monotonic()
        while self._due and self._due[0][0] <= now:
            _, sentinel, number = heappop(self._due)
            if sentinel in self._clients:
                os.kill(self._clients[sentinel][0].pid, number)
        if more and len(self._clients) < CROWD:
            self._begin(now)
        patience = 0.0 if more and len(self._clients) < CROWD else 0.005
        for ended in wait(list(self._clients), patience):
            assert isinstance(ended, int)
            self._end(ended)
        for sentinel, (process, way, begun) in list(self._clients.items()):
            if now - begun > PATIENCE:
                self.faults[f"{way}: hung"] += 1
                process.kill()
                self._end(sentinel)

    def _begin(self, now: float) -> None:
        way, method = self.random.choice(list(WAYS)), self.random.choice(METHODS)
        context: Any = multiprocessing.get_context(method)
        process = context.Process(target=be_client, args=(self.desk, way, self.random.random()))
        process.start()
        self._clients[process.sentinel] = (process, way, now)
        self.begun[way] += 1
        moment = monotonic() + self.random.expovariate(20)
        if WAYS[way].stopped:
            heappush(self._due, (moment, process.sentinel, signal.SIGSTOP))
            moment += self.random.expovariate(2)
            if not WAYS[way].killed:
                heappush(self._due, (moment, process.sentinel, signal.SIGCONT))
        if WAYS[way].killed:
            heappush(self._due, (moment, process.sentinel, signal.SIGKILL))

    def _end(self, sentinel: int) -> None:
        process, way, _ = self._clients.pop(sentinel)
        self._due = sorted(due for due in self._due if due[1] != sentinel)
        process.join()
        if process.exitcode not in WAYS[way].ends:
            self.faults[f"{way}: ended with {process.exitcode}"] += 1
        process.close()

    def drain(self) -> None:
        """Wait for all clients."""
        while self._clients:
            self.step(more=False)

    def line(self, seconds: float) -> str:
        """Return what is to be seen now."""
        calls = sum(self.listener.stats().calls.values())
        return (
            f"{seconds:5.0f} s  {sum(self.begun.values()):,} clients, {calls:,} calls, "
            f"{len(open_descriptors())} descriptors, {memory() / 2**20:.1f} MiB, "
            f"{threading.active_count()} threads, {zombies()} zombies, "
            f"{sum(self.faults.values())} faults"
        )


def memory() -> int:
    """Return the bytes that this process takes of the machine's memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def zombies() -> int:
    """Return how many children of this process are dead and were not waited for."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it is gone
        count += state == "Z" and int(parent) == os.getpid()
    return count


def soak(seconds: float, seed: int, say: Callable[[str], None] = print) -> list[str]:
    """Soak for so long, and return what was wrong."""
    resource_tracker.ensure_running()
    forkserver.ensure_running()
    desk, listener = share(Desk())
    with listener, listener.background():
        run = Soak(listener, desk, seed)
        before = (len(open_descriptors()), threading.active_count(), zombies())
        start = monotonic()
        early, next_line = 0, LINE
        while (passed := monotonic() - start) < seconds:
            run.step(more=True)
            if not early and passed >= min(60, seconds / 5):
                early = memory()
            if passed >= next_line:
                say(run.line(passed))
                next_line += LINE
        run.drain()
        end = monotonic() + 5
        while monotonic() < end and (listener.stats().clients or listener.stats().references > 1):
            wait([], 0.01)
        after = (len(open_descriptors()), threading.active_count(), zombies())
        late, stats = memory(), listener.stats()
        say(run.line(monotonic() - start))
    wrong = [f"{count} × {fault}" for fault, count in run.faults.items()]
    for what, was, now in zip(("descriptors", "threads", "zombies"), before, after, strict=True):
        if now != was:
            wrong.append(f"{now} {what}, and {was} before the first client")
    if (stats.clients, stats.references) != (0, 1):
        wrong.append(f"{stats.clients} clients and {stats.references} references are left")
    say(f"memory: {early / 2**20:.1f} MiB early, {late / 2**20:.1f} MiB at the end")
    if late > early * (1 + GROWTH) + SLACK:
        wrong.append("the owner has grown")
    return wrong


def main() -> int:
    """Soak, and tell what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    wrong = soak(60 * options.minutes, options.seed, say)
    say("\n".join(wrong) or "nothing was wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
