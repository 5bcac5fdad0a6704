"""Everything that can wait for everything else, at once: none of it may wait for ever.

Two listeners are served by one thread, which sleeps until one of them is readable, or by one each.
Clients and threads of the owner's own call whatever is shared on both: in sections, in chains from
one object to another, back into the client, in vain. There is no order in which they enter
sections, so circles are to be expected, and are ended by an error.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from multiprocessing import Pipe, connection
from random import Random
from time import monotonic
from typing import Any

import pytest

from pipeproxy import (
    CallTimeout,
    DeadlockError,
    Listener,
    batched,
    by_ref,
    locked,
    notify,
    proxied,
    submit,
    timeout,
)
from tests.children import Child
from tests.support import PATIENCE

from .rows import Tally, run


class Desk:
    def __init__(self) -> None:
        self.count = 0

    def add(self, amount: int) -> int:
        self.count += amount
        return self.count

    def apply(self, function: Callable[[int], int], number: int) -> int:
        return function(number)

    def numbers(self, count: int) -> Iterator[int]:
        yield from range(count)

    def pass_on(self, other: Desk) -> int:
        return other.add(1)


@proxied(home="queue")
class Bound(Desk):
    """Its calls at home are run by the thread that serves, too."""


@proxied(published=["notice"])
class Model:
    notice = 0

    @batched(max=4, within=0.002)
    def double(self, numbers: list[int]) -> list[int]:
        return [2 * number for number in numbers]


class Things:
    """What is shared, on two listeners."""

    def __init__(self, one: Listener[Any], other: Listener[Any]) -> None:
        self.desks = [one.share(Desk()), other.share(Desk()), one.share(Bound())]
        self.desks.append(other.share(Bound()))
        self.model = one.share(Model())
        self.lock, self.again = one.share(threading.Lock()), one.share(threading.RLock())
        self.condition = one.share(threading.Condition())
        self.items = other.share(queue.Queue())


def call_in_section(things: Things, desk: Desk, other: Desk, random: Random) -> None:
    with locked(desk):
        desk.add(1)
        other.add(1)


def nest_sections(things: Things, desk: Desk, other: Desk, random: Random) -> None:
    with locked(desk), locked(other):
        other.add(1)


def give_up(things: Things, desk: Desk, other: Desk, random: Random) -> None:
    with timeout(random.uniform(0, 0.02)), locked(desk):
        other.add(1)


def call_beside(things: Things, desk: Desk, other: Desk, random: Random) -> None:
    number = random.randrange(1000)
    assert things.model.double(number) == 2 * number
    notify(desk.add, 1)
    things.model.notice = number
    for future in [submit(desk.add, 1) for _ in range(random.randrange(40))]:
        future.result(PATIENCE)


def call_back(things: Things, desk: Desk, other: Desk, random: Random) -> None:
    assert desk.apply(by_ref(lambda number: number + 1), 1) == 2
    assert sum(desk.numbers(50)) == sum(range(50))
    desk.pass_on(other)


def hold_locks(things: Things, desk: Desk, other: Desk, random: Random) -> None:
    with things.lock:
        pass
    with things.again, things.again:
        desk.add(1)
    with things.condition:
        things.condition.notify_all()
        things.condition.wait(0.002)
    things.items.put(1)
    things.items.get()


DEEDS = [call_in_section, nest_sections, give_up, call_beside, call_back, hold_locks]


def work(things: Things, seed: int, until: float) -> int:
    """Do one thing after another; return how many."""
    random = Random(seed)
    done = 0
    while monotonic() < until:
        desk, other = random.choices(things.desks, k=2)
        try:
            random.choice(DEEDS)(things, desk, other, random)
        except (DeadlockError, CallTimeout):
            pass
        done += 1
    return done


def mixture(seed: int, clients: int, threads: int, apart: bool, seconds: float = 3.0) -> Tally:
    """Let so many clients and threads of the owner's work until the time is over.

    Args:
        apart: each listener is served by a thread of its own.
    """
    until = monotonic() + seconds
    with ExitStack() as stack:
        listeners = [stack.enter_context(Listener()) for _ in range(2)]
        things = Things(*listeners)
        jobs = [partial(work, things, seed + number, until) for number in range(clients + threads)]
        children = [stack.enter_context(Child("fork", job)) for job in jobs[:clients]]
        at_home = [stack.enter_context(AtHome(job)) for job in jobs[clients:]]
        if apart:
            for listener in listeners:
                stack.enter_context(listener.background())
        waits = {child._control: child.result for child in children}
        waits.update({each.end: each.result for each in at_home})
        done = 0
        while waits:
            for ready in connection.wait([*waits, *(() if apart else listeners)]):
                done += waits.pop(ready)() if ready in waits else 0
            if not apart:
                for listener in listeners:
                    listener.poll()
        return Tally(done, 0)


class AtHome:
    """A thread of the owner's that runs a job."""

    def __init__(self, job: Callable[[], int]) -> None:
        self._job = job
        self.end, self._end = Pipe(duplex=False)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._end:
            self._end.send(self._job())

    def result(self) -> int:
        """Return what the job did; EOFError if it failed."""
        done: int = self.end.recv()
        return done

    def __enter__(self) -> AtHome:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join()
        self.end.close()


@pytest.mark.parametrize("apart", [False, True], ids=["one thread", "a thread each"])
@pytest.mark.parametrize(("clients", "threads"), [(3, 2), (0, 3), (4, 0)])
def test_nothing_waits_for_ever(clients: int, threads: int, apart: bool) -> None:
    trial = partial(mixture, clients=clients, threads=threads, apart=apart)
    tally = run(trial, 1, PATIENCE)
    assert not tally.lost, tally.note
    assert tally.tried > 20
