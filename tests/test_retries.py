"""Calls that have to wait are tried again before workers are given them."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from math import inf
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import Listener, cancelled, notify, ping, run, share, submit, timeout
from pipeproxy._managed._registry import Registration, Registry
from pipeproxy._owner._retries import Retries
from pipeproxy._stands._reentrant import RLock

from .children import Child, outcome, poll_until
from .support import PATIENCE, in_fork, interrupt, is_readable

pytestmark = pytest.mark.usefixtures("descriptors_kept")

LOCKS: list[Callable[[], Any]] = [threading.Lock, RLock, threading.Semaphore]
LOCKS += [lambda: threading.Condition(threading.Lock()), lambda: threading.Condition(RLock())]
OF = ["Lock", "RLock", "Semaphore", "Condition of a Lock", "Condition of an RLock"]
every_lock = pytest.mark.parametrize("make", LOCKS, ids=OF)


@pytest.fixture
def listener() -> Iterator[Listener[Any]]:
    with Listener() as listener:
        yield listener


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is given to no worker before its deadline: only another try can end it."""
    monkeypatch.setattr("pipeproxy._owner._retries.PATIENCE", 10 * PATIENCE)
    monkeypatch.setattr("pipeproxy._owner._retries.LONGEST", 10 * PATIENCE)


def lines_of(listener: Listener[Any]) -> list[Any]:
    return list(listener._service.dispatch.errands.retries.lines.values())


def waiting_at(listener: Listener[Any]) -> int:
    return sum(len(line.callers) for line in lines_of(listener))


def workers_of(listener: Listener[Any]) -> int:
    return len(listener._service.dispatch.errands.workers._all)


def add_alone(lock: Any, cell: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            cell.append(cell.pop() + 1)


def note_inside(lock: Any, order: Any, number: int) -> None:
    with lock:
        order.append(number)


def add_by_handle(handle: Any, cell: Any, times: int) -> None:
    for _ in range(times):
        handle.call("acquire")
        cell.append(cell.pop() + 1)
        handle.call("release")


def put_many(shared: Any, number: int) -> None:
    for item in range(number):
        shared.put(item)


def get_many(shared: Any, number: int) -> list[int]:
    return [shared.get() for _ in range(number)]


def take_later(lock: Any) -> None:
    _taken.append(submit(lock.acquire))


def cancel_it() -> Any:
    future = _taken.pop()
    return future.cancel() or outcome(future.result, PATIENCE)[:2]


_taken: list[Future[bool]] = []


def take_within(seconds: float, lock: Any) -> Any:
    with timeout(seconds):
        return outcome(lock.acquire)[:2]


def tell_within(seconds: float, method: Callable[..., Any], *args: Any) -> None:
    with timeout(seconds):
        notify(method, *args)


def wait_inside(condition: Any, seconds: float) -> Any:
    with condition:
        return condition.wait(seconds)


def notify_inside(condition: Any) -> None:
    with condition:
        condition.notify()


def is_waited_in(condition: Any) -> bool:
    return condition._waiters and condition.acquire(False) and not condition.release()


def has_lock(lock: Any) -> bool:
    return bool(lock.locked())


class Calling:
    """A caller, and what it calls, as far as a line knows them."""

    def __init__(self) -> None:
        self.frames, self.ended = [b"frame"], False


class Late:
    def note(self, seen: list[bool]) -> None:
        seen.append(cancelled())


@pytest.mark.usefixtures("patient")
@every_lock
def test_who_gives_a_lock_back_lets_the_next_one_go_on(
    listener: Listener[Any], make: Callable[[], Any], context: BaseContext
) -> None:
    lock, cell = listener.share(make()), listener.share([0])
    children = [Child(context, add_alone, lock, cell, 100) for _ in range(4)]
    for child in children:
        child.result(listener)
        child.end()
    assert cell.pop() == 400
    assert workers_of(listener) == 0


@pytest.mark.usefixtures("patient")
def test_so_does_who_calls_it_by_a_handle_of_a_managers(listener: Listener[Any]) -> None:
    registry = Registry({"Lock": Registration(threading.Lock, ("acquire", "release"), {}, None)})
    lock = listener.share(registry.handle("Lock", (), {}, False).handle)
    cell = listener.share([0])
    children = [Child("fork", add_by_handle, lock, cell, 100) for _ in range(4)]
    for child in children:
        child.result(listener)
        child.end()
    assert cell.pop() == 400
    assert workers_of(listener) == 0


@pytest.mark.usefixtures("patient")
@every_lock
def test_who_comes_first_is_the_next(listener: Listener[Any], make: Callable[[], Any]) -> None:
    lock, order = listener.share(make()), listener.share([])
    with Child("fork", lock.acquire) as holder:
        holder.result(listener)
        children = []
        for number in range(4):
            children.append(Child("fork", note_inside, lock, order, number))
            poll_until(lambda: waiting_at(listener) == len(children), listener)
        children.pop(1).kill()
        poll_until(lambda: waiting_at(listener) == 3, listener)
        holder.do(lock.release).result(listener)
    for child in children:
        child.result(listener)
        child.end()
    assert list(order) == [0, 2, 3]


@pytest.mark.usefixtures("patient")
def test_as_many_go_on_as_there_is_room_for(listener: Listener[Any]) -> None:
    target = threading.Semaphore(0)
    semaphore = listener.share(target)
    children = [Child("fork", semaphore.acquire) for _ in range(4)]
    poll_until(lambda: waiting_at(listener) == 4, listener)
    with Child("fork", semaphore.release, 3) as other:
        other.result(listener)
        poll_until(lambda: sum(child._control.poll() for child in children) == 3, listener)
        other.do(semaphore.release).result(listener)
        for child in children:
            assert child.result(listener) is True
            child.end()


@pytest.mark.usefixtures("patient")
def test_those_who_fill_a_queue_and_those_who_empty_it_let_each_other_go_on(
    listener: Listener[Any],
) -> None:
    shared: Any = listener.share(queue.Queue(1))
    with Child("fork", put_many, shared, 100) as one, Child("fork", get_many, shared, 100) as other:
        one.result(listener)
        assert other.result(listener) == list(range(100))
    assert workers_of(listener) == 0


@pytest.mark.usefixtures("patient")
def test_who_waits_for_all_to_be_done_keeps_nobody_back(listener: Listener[Any]) -> None:
    target: Any = queue.Queue()
    target.put(1)
    target.get()
    shared = listener.share(target)
    with Child("fork", shared.join) as waiter, Child("fork", get_many, shared, 1) as other:
        poll_until(lambda: workers_of(listener) and waiting_at(listener), listener)
        with Child("fork", put_many, shared, 1) as child:
            child.result(listener)
        assert other.result(listener) == [0]
        target.task_done()
        target.task_done()
        waiter.result(listener)


@pytest.mark.usefixtures("patient")
def test_what_is_cancelled_is_not_tried_again(listener: Listener[Any]) -> None:
    target = threading.Lock()
    lock = listener.share(target)
    with Child("fork", lock.acquire) as holder, Child("fork") as other:
        holder.result(listener)
        other.do(take_later, lock).result(listener)
        poll_until(lambda: waiting_at(listener) == 1, listener)
        other.do(cancel_it).result(listener)
        holder.do(lock.release).result(listener)
        poll_until(lambda: not target.locked(), listener)
        assert other.do(lock.acquire).result(listener) is True


@pytest.mark.usefixtures("patient")
def test_what_has_a_deadline_is_tried_again_as_well(listener: Listener[Any]) -> None:
    target = threading.Lock()
    lock = listener.share(target)
    with Child("fork", lock.acquire) as holder, Child("fork") as other:
        holder.result(listener)
        for _ in range(3):
            assert other.do(take_within, 0.05, lock).result(listener) == ("raised", "CallTimeout")
        poll_until(lambda: waiting_at(listener) == 0, listener)
        other.do(take_within, 10 * PATIENCE, lock)
        poll_until(lambda: waiting_at(listener) == 1, listener)
        holder.do(lock.release).result(listener)
        assert other.result(listener) == ("returned", True)


def test_what_has_a_deadline_and_asks_no_reply_is_run(listener: Listener[Any]) -> None:
    event, late, seen = threading.Event(), Late(), listener.share([])
    with Child("fork", tell_within, 10 * PATIENCE, listener.share(event).set) as child:
        child.result(listener)
        poll_until(event.is_set, listener)
        child.do(tell_within, 10 * PATIENCE, listener.share(late).note, seen).result(listener)
        poll_until(lambda: len(seen), listener)
    assert list(seen) == [False]


@pytest.mark.usefixtures("patient")
def test_what_can_only_be_a_workers_stands_in_no_line(listener: Listener[Any]) -> None:
    barrier = listener.share(threading.Barrier(2))
    with Child("fork", barrier.wait) as one, Child("fork", barrier.wait) as other:
        assert {one.result(listener), other.result(listener)} == {0, 1}
    for make in LOCKS[3:]:
        target = make()
        condition = listener.share(target)
        with Child("fork", wait_inside, condition, 10 * PATIENCE) as waiter:
            poll_until(partial(is_waited_in, target), listener)
            with Child("fork", notify_inside, condition) as other:
                other.result(listener)
            assert waiter.result(listener) is True
    lock = listener.share(threading.Lock())
    with Child("fork", run, lock, has_lock) as child:
        assert child.result(listener) is False
        child.do(ping, lock).result(listener)
        child.do(take_within, 10 * PATIENCE, lock).result(listener)


def test_what_nobody_lets_go_on_becomes_a_workers(listener: Listener[Any]) -> None:
    target = threading.Lock()
    target.acquire()
    with Child("fork", listener.share(target).acquire) as child:
        while not workers_of(listener):
            assert is_readable(listener.fileno())  # as an event loop waits for something to do
            listener.poll()
        target.release()  # at home, which nobody who serves sees
        assert child.result(listener) is True


def test_what_nobody_lets_go_on_becomes_a_workers_beside_an_event_loop() -> None:
    target = threading.Lock()
    target.acquire()
    lock, listener = share(target)

    async def serve(child: Child) -> Any:
        serving = asyncio.create_task(listener.serve_async())
        await asyncio.to_thread(poll_until, partial(workers_of, listener))
        target.release()
        taken = await asyncio.to_thread(child.result)
        listener.close()
        await serving
        return taken

    with Child("fork", lock.acquire) as child:
        assert asyncio.run(serve(child)) is True


def test_what_waits_has_a_moment_whatever_interrupts_it() -> None:
    def test() -> None:
        made: list[Retries] = []
        caller: Any = Calling()

        def prepare() -> None:
            assert all(retries.due_in() != inf for retries in made)
            made[:] = [Retries(id)]
            made[0].tried(caller, for_good=False)

        raised = interrupt(
            lambda: made[0].line_up(caller, caller, None),
            rounds=3000,
            prepare=prepare,
            longest=15e-6,
        )
        assert raised > 100

    in_fork(test)


def test_who_is_gone_stands_in_no_line(listener: Listener[Any]) -> None:
    target = threading.Lock()
    target.acquire()
    lock = listener.share(target)
    for _ in range(3):
        child = Child("fork", lock.acquire)
        poll_until(lambda: waiting_at(listener) or workers_of(listener), listener)
        child.kill()
        poll_until(lambda: listener.stats().clients == 0, listener)
        poll_until(lambda: workers_of(listener) == 0, listener)
    retries = listener._service.dispatch.errands.retries
    poll_until(lambda: not retries.lines, listener)
    assert not retries._since
