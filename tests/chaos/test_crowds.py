"""Any number of processes and threads, made any way, also in the middle of everything else."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import pytest

from pipeproxy import ListenerClosed, share
from tests.children import Child
from tests.conformance.users import add_in_threads
from tests.support import PATIENCE, in_fork, is_readable

from .crowd import (
    HANGING,
    Adder,
    Forked,
    adds,
    daemonise,
    descend,
    finalise,
    fork_in_pickling,
    fork_in_traffic,
    fork_in_waiting,
)
from .rows import Row, Tally
from .sides import HUNG, Sharing, by_manager, by_pipeproxy, ends

pytestmark = pytest.mark.usefixtures("descriptors_kept")

METHODS = ("fork", "spawn", "forkserver")


def totals(proxy: Any, expected: int, found: Iterable[Any], tried: int) -> Tally:
    """Compare the total with what was added; each of `found` must be True."""
    wrong = [said for said in found if said is not True]
    note = described(wrong)
    total = proxy.get()
    if total != expected:
        note = f"{total:,} counted where {expected:,} were added"
    return Tally(tried, len(wrong) + (total != expected), note)


def described(wrong: list[Any]) -> str:
    """Say what clients said that should have said True."""
    if HUNG in wrong:
        return f"{wrong.count(HUNG)} hung"
    texts = [said for said in wrong if isinstance(said, str)]
    return f"a client: {texts[0]}" if texts else "wrong answers" if wrong else ""


def together(tallies: Iterable[Tally]) -> Tally:
    """Join what came of several trials."""
    all_ = list(tallies)
    notes = [tally.note for tally in all_ if tally.note]
    return Tally(
        sum(tally.tried for tally in all_),
        sum(tally.lost for tally in all_),
        notes[0] if notes else "",
    )


# Threads of processes -----------------------------------------------------------------------------


def threads_of_processes(
    sharing: Sharing,
    seed: int,
    processes: int = 8,
    threads: int = 16,
    times: int = 300,
    methods: Iterable[str] = METHODS,
) -> Tally:
    """Many threads of many processes add at once, for each way to start them."""
    tallies = []
    for method in methods:
        with sharing(Adder) as proxy:
            children = [
                Child(method, add_in_threads, proxy, threads, times, number)
                for number in range(processes)
            ]
            found = [said == [True] * threads or said for said in ends(children, 2 * PATIENCE)]
            added = processes * threads * times
            tallies.append(totals(proxy, added, found, added))
    return together(tallies)


# os.fork ------------------------------------------------------------------------------------------


def forks_in_traffic(sharing: Sharing, seed: int, clients: int = 3, forks: int = 60) -> Tally:
    """Two threads of each client fork while two others call; all the children call as well."""
    with sharing(Adder) as proxy:
        children = [
            Child("fork", fork_in_traffic, proxy, forks, seed + 10 * number)
            for number in range(clients)
        ]
        found = ends(children)
        total = proxy.get()
    counts = [said for said in found if isinstance(said, tuple)]
    failed = [said for said in found if not isinstance(said, tuple)]
    added, wrong, tried = (sum(column) for column in zip((0, 0, 0), *counts, strict=True))
    if failed or wrong:
        note = described(failed) or f"errors and answers that went to others in {wrong} processes"
    else:
        note = f"the total is off by {total - added:,}" if total != added else ""
    return Tally(tried, len(failed) + wrong + bool(note and not failed and not wrong), note)


def forks_in_a_call(sharing: Sharing, seed: int, rounds: int = 10) -> Tally:
    """A client forks while a call's arguments are pickled, and while it waits for the answer."""
    ways: list[tuple[Any, ...]] = [
        (fork_in_pickling,),
        (fork_in_waiting, False),
        (fork_in_waiting, True),
    ]
    found: list[Any] = []
    with sharing(Adder) as proxy:
        for _ in range(rounds):
            children = [Child("fork", way[0], proxy, *way[1:]) for way in ways]
            found += ends(children, HANGING)
    wrong = [said for said in found if said is not True]
    return Tally(len(found), len(wrong), described(wrong))


def forks_of_the_owner(seed: int, forks: int = 100) -> Tally:
    """The owner forks while it serves; the children call it and end as programs do."""
    forked = Forked()
    target = Adder()
    proxy, listener = share(target)
    clients = [Child("fork", adds, proxy, 2000) for _ in range(3)]

    def live_on() -> bool:
        """In a child: be a client; the copy of the listener serves nobody and harms nobody."""
        nonlocal listener
        fine = adds(proxy, 5)
        try:
            listener.poll()
        except ListenerClosed:
            listener.close()
        else:
            return False
        del listener
        gc.collect()
        fine = adds(proxy, 5) and fine
        finalise()
        return fine

    with listener, listener.background():
        for _ in range(forks):
            forked.fork(live_on)
        failed = forked.failed()
        found = ends(clients)
        tally = totals(TotalOf(target), 10 * forks + 3 * 2000, found, forks)
    return Tally(tally.tried, tally.lost + failed, tally.note)


class TotalOf:
    """Looks at the object itself."""

    def __init__(self, target: Adder) -> None:
        self._target = target

    def get(self) -> int:
        return self._target.total


def forks_of_the_maker(seed: int, forks: int = 100) -> Tally:
    """The process that made a manager forks; the children call and end as programs do."""
    forked = Forked()
    with by_manager(Adder) as proxy:
        clients = [Child("fork", adds, proxy, 2000) for _ in range(3)]

        def live_on() -> bool:
            fine = adds(proxy, 10)
            finalise()
            return fine

        for _ in range(forks):
            forked.fork(live_on)
        failed = forked.failed()
        tally = totals(proxy, 10 * forks + 3 * 2000, ends(clients), forks)
    return Tally(tally.tried, tally.lost + failed, tally.note)


# Daemons, grandchildren, workers -----------------------------------------------------------------


def daemons(sharing: Sharing, seed: int, rounds: int = 10, times: int = 10) -> Tally:
    """Clients become daemons: forked twice, in a session of their own, without 0, 1 and 2."""
    found: list[Any] = []
    with sharing(Adder) as proxy:
        for _ in range(rounds):
            for given, used in itertools.product((proxy, pickle.dumps(proxy)), (False, True)):
                reader, writer = os.pipe()
                child = Child("fork", daemonise, given, used, writer, times)
                os.close(writer)
                ended = is_readable(reader)
                said = os.read(reader, 100) if ended else b"hung"
                os.close(reader)
                found.append(ends([child]) == [None] and said == b"fine")
        return totals(proxy, len(found) * times, found, len(found))


def descendants(
    sharing: Sharing,
    seed: int,
    times: int = 20,
    orders: Iterable[tuple[str, ...]] = tuple(itertools.permutations(METHODS)),
) -> Tally:
    """Children, grandchildren and theirs, each made in another way."""
    lines = list(orders)
    with sharing(Adder) as proxy:
        children = [Child(first, descend, proxy, rest, times) for first, *rest in lines]
        found = ends(children, 2 * PATIENCE)
        generations = sum(map(len, lines))
        return totals(proxy, 2 * times * generations, found, generations)


def pool_of(method: str) -> Callable[[int], Any]:
    """Return what makes an executor of so many workers that are started by this method."""
    return partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context(method))


def loky_pool(workers: int) -> Any:
    """Return an executor of loky's."""
    from loky import ProcessPoolExecutor as LokyExecutor

    return LokyExecutor(workers)


EXECUTORS: tuple[Callable[[int], Any], ...] = (*map(pool_of, METHODS), loky_pool)


def workers(
    sharing: Sharing,
    seed: int,
    tasks: int = 300,
    executors: Iterable[Callable[[int], Any]] = EXECUTORS,
    pools: Iterable[str] = METHODS,
) -> Tally:
    """Many tasks for the workers of executors and pools; each adds five times."""
    tallies = []
    for make in executors:
        with sharing(Adder) as proxy, make(4) as executor:
            futures = [executor.submit(adds, proxy, 5) for _ in range(tasks)]
            found = [said_by(partial(future.result, PATIENCE)) for future in futures]
            tallies.append(totals(proxy, 5 * tasks, found, tasks))
    for method in pools:
        with sharing(Adder) as proxy, multiprocessing.get_context(method).Pool(4) as pool:
            results = [pool.apply_async(adds, (proxy, 5)) for _ in range(tasks)]
            found = [said_by(partial(result.get, PATIENCE)) for result in results]
            pool.close()
            pool.join()
            tallies.append(totals(proxy, 5 * tasks, found, tasks))
    return together(tallies)


def said_by(task: Callable[[], Any]) -> Any:
    """Return what a task returned, or the text of what it raised."""
    try:
        return task()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def both(title: str, trial: Callable[[Sharing, int], Tally], seconds: float = 60.0) -> Row:
    """Return the row of what is tried in the same way on both sides."""
    return Row(title, partial(trial, by_pipeproxy), partial(trial, by_manager), seconds)


ROWS = [
    both("16 threads × 8 processes × fork, spawn, forkserver", threads_of_processes, 200.0),
    both("os.fork in mid-traffic, from several threads", forks_in_traffic),
    both("os.fork inside a call: in pickling, in a signal handler", forks_in_a_call, 150.0),
    Row("os.fork of the owner while it serves", forks_of_the_owner, forks_of_the_maker),
    both("clients that became daemons", daemons, 400.0),
    both("grandchildren and theirs, each made another way", descendants),
    both("workers of ProcessPoolExecutor, Pool and loky", workers, 120.0),
]


# Tests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_threads_of_many_processes_lose_no_call(method: str) -> None:
    tally = threads_of_processes(by_pipeproxy, 1, times=15, methods=[method])
    assert tally == Tally(8 * 16 * 15, 0)


def test_forks_in_mid_traffic_lose_no_call() -> None:
    assert forks_in_traffic(by_pipeproxy, 1, clients=2, forks=30) == Tally(120, 0)


def test_a_fork_inside_a_call_leaves_both_processes_with_their_own_answers() -> None:
    assert forks_in_a_call(by_pipeproxy, 1, 3) == Tally(9, 0)


def test_children_of_the_owner_are_clients_and_their_listeners_say_nothing() -> None:
    assert forks_of_the_owner(1, 30) == Tally(30, 0)


def test_daemons_without_standard_descriptors_call_as_before() -> None:
    assert daemons(by_pipeproxy, 1, 3) == Tally(12, 0)


def test_descendants_made_in_any_order_call_as_their_parents_do() -> None:
    orders = [METHODS, METHODS[::-1]]
    assert descendants(by_pipeproxy, 1, orders=orders) == Tally(6, 0)


def test_workers_under_load_lose_no_call() -> None:
    tally = workers(by_pipeproxy, 1, 100, executors=[pool_of("fork")], pools=["fork"])
    assert tally == Tally(200, 0)


def test_workers_of_loky_under_load_lose_no_call() -> None:
    pytest.importorskip("loky")

    def owner() -> None:  # in a process of its own: loky keeps descriptors
        assert workers(by_pipeproxy, 1, 100, [loky_pool], []) == Tally(100, 0)

    in_fork(owner)
