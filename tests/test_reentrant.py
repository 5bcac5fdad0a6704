"""A re-entrant lock belongs to whoever's call takes it, in whichever thread that runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest

from pipeproxy import CallTimeout, Listener, proxied, spawn, timeout
from pipeproxy._proxies._proxy import link_of
from pipeproxy._stands._reentrant import RLock

from .children import Child, outcome, poll_until
from .support import PATIENCE, fork, in_fork, interrupt, is_readable, workers

pytestmark = pytest.mark.usefixtures("descriptors_kept")

FORK = multiprocessing.get_context("fork")
UNOWNED = ("raised", "RuntimeError", "cannot release un-acquired lock")


def condition() -> threading.Condition:
    lock: Any = RLock()
    return threading.Condition(lock)


every_lock = pytest.mark.parametrize("make", [RLock, condition])


@pytest.fixture
def listener() -> Iterator[Listener[Any]]:
    """A listener that leaves no thread behind."""
    before = threading.active_count()
    with Listener() as listener:
        yield listener
    poll_until(lambda: threading.active_count() <= before)


# What runs in children -------------------------------------------------------------------------


def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(outcome(function, *args)))
    thread.start()
    thread.join()
    return found[0]


def is_taken(lock: Any) -> bool:
    """Whether a thread of its own finds it taken."""
    return in_thread(take_and_give_back, lock) == ("returned", False)


def take_and_give_back(lock: Any) -> bool:
    taken: bool = lock.acquire(False)
    if taken:
        lock.release()
    return taken


def take(lock: Any, times: int) -> list[bool]:
    return [lock.acquire() for _ in range(times)]


def give_back(lock: Any, times: int) -> Any:
    for _ in range(times - 1):
        lock.release()
    return outcome(lock.release)


def use_in_threads(lock: Any) -> list[Any]:
    with lock, lock:
        kept_out = in_thread(lock.acquire, False), in_thread(lock.release)
        late = in_thread(lock.acquire, True, 0.05)
    return [*kept_out, late, in_thread(take, lock, 2)]


def acquire_within(lock: Any, seconds: float) -> Any:
    with timeout(seconds):
        return lock.acquire()


def take_and_call(lock: Any, method: Any) -> Any:
    with lock:
        return method(lock)


def wait_deep(shared: Any, seconds: float | None = None) -> list[Any]:
    """Wait in a condition that was entered twice."""
    with shared:
        with shared:
            told = shared.wait(seconds)
        return [told, is_taken(shared)]


def notify(shared: Any) -> None:
    with shared:
        shared.notify()


# Whose it is -----------------------------------------------------------------------------------


@every_lock
def test_a_thread_of_a_client_takes_it_again_and_others_do_not(
    listener: Listener[Any], make: Any
) -> None:
    lock = listener.share(make())
    with Child(FORK, take, lock, 2) as child, Child(FORK) as other:
        assert child.result(listener) == [True, True]
        assert other.do(lock.acquire, False).result(listener) is False
        assert other.do(give_back, lock, 1).result(listener) == UNOWNED
        assert child.do(give_back, lock, 1).result(listener) == ("returned", None)
        assert other.do(lock.acquire, False).result(listener) is False
        assert child.do(give_back, lock, 1).result(listener) == ("returned", None)
        assert child.do(give_back, lock, 1).result(listener) == UNOWNED
        assert not any(client.holds for client in listener._objects.clients.values())
        assert other.do(lock.acquire, False).result(listener) is True


@every_lock
def test_threads_of_a_client_keep_one_another_out(listener: Listener[Any], make: Any) -> None:
    with Child(FORK, use_in_threads, listener.share(make())) as child:
        said = child.result(listener)
    assert said[:3] == [("returned", False), UNOWNED, ("returned", False)]
    assert said[3] == ("returned", [True, True])


@every_lock
def test_what_need_not_wait_starts_no_thread(listener: Listener[Any], make: Any) -> None:
    lock = listener.share(make())
    with Child(FORK, take, lock, 2) as child, Child(FORK) as other:
        child.result(listener)
        assert other.do(lock.acquire, False).result(listener) is False
        assert child.do(acquire_within, lock, PATIENCE).result(listener) is True
        child.do(give_back, lock, 3).result(listener)
        assert workers() == 0
        child.do(lock.acquire).result(listener)
        other.do(lock.acquire)
        poll_until(lambda: workers() == 1, listener)
        child.do(lock.release).result(listener)
        assert other.result(listener) is True


@every_lock
def test_the_owner_takes_it_as_any_other(listener: Listener[Any], make: Any) -> None:
    lock = listener.share(make())
    with Child(FORK) as child, lock, lock:
        assert child.do(lock.acquire, False).result(listener) is False
        assert child.do(give_back, lock, 1).result(listener) == UNOWNED
        assert is_taken(lock)
    with Child(FORK, take, lock, 2) as child:
        child.result(listener)
        assert outcome(lock.release) == UNOWNED
        assert lock.acquire(timeout=0.01) is False
        child.do(give_back, lock, 1)
        child.do(give_back, lock, 1)
        with listener.background():
            assert lock.acquire()
    lock.release()


def test_who_gives_it_back_wakes_who_waits(
    listener: Listener[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeproxy._system._bell._LONGEST", 10 * PATIENCE)
    monkeypatch.setattr("pipeproxy._stands._waits._SLICE", 10 * PATIENCE)
    lock = listener.share(RLock())
    with lock:
        child = Child(FORK, lock.acquire)
        poll_until(lambda: workers() == 1, listener)
    assert child.result(listener) is True
    child.end()


def test_who_waits_longest_is_the_next(listener: Listener[Any]) -> None:
    target = RLock()
    lock, order = listener.share(target), listener.share([])
    with lock:
        children = []
        for number in range(4):
            children.append(Child(FORK, note_inside, lock, order, number))
            poll_until(lambda: len(target._line) == len(children), listener)
        children.pop(1).kill()
        poll_until(lambda: len(target._line) == len(children), listener)
    for child in children:
        child.result(listener)
        child.end()
    assert list(order) == [0, 2, 3]


def note_inside(lock: Any, notes: list[int], number: int) -> None:
    with lock:
        notes.append(number)


def test_wrong_arguments_are_refused_and_take_nothing(listener: Listener[Any]) -> None:
    target = RLock()
    with Child(FORK) as child:
        for args in ((True, -2), (False, 1)):
            said = child.do(outcome, listener.share(target).acquire, *args).result(listener)
            assert said[:2] == ("raised", "ValueError")
    assert target.acquire(False)


# Chains of calls -------------------------------------------------------------------------------


@proxied
class Middle:
    """Takes what its callers have, or not."""

    def use(self, lock: Any) -> bool:
        with lock:
            return True

    def take(self, lock: Any) -> int:
        lock.acquire()
        return os.getpid()


def test_a_method_takes_what_its_caller_has(listener: Listener[Any]) -> None:
    lock, middle = listener.share(RLock()), listener.share(Middle())
    with Child(FORK, take_and_call, lock, middle.use) as child:
        assert child.result(listener) is True
        assert child.do(take_and_call, lock, is_taken).result(listener) is True
    assert lock.acquire(False)


def test_a_chain_through_another_process_has_it_and_each_gives_back_its_own(
    listener: Listener[Any],
) -> None:
    target = RLock()
    lock = listener.share(target)
    middle, host = spawn(Middle)
    with host, Child(FORK, take, lock, 2) as child:
        child.result(listener)
        assert child.do(middle.use, lock).result(listener) is True
        pid = child.do(middle.take, lock).result(listener)
        assert len(target._takings) == 3
        os.kill(pid, signal.SIGKILL)
        poll_until(lambda: len(target._takings) == 2, listener)
        assert child.do(give_back, lock, 2).result(listener) == ("returned", None)
    assert target.acquire(False)


# Who is gone -----------------------------------------------------------------------------------


@every_lock
def test_it_is_free_when_its_holder_is_dead_however_often_that_took_it(
    listener: Listener[Any], make: Any
) -> None:
    lock = listener.share(make())
    holder = Child(FORK, take, lock, 3)
    holder.result(listener)
    with Child(FORK, lock.acquire) as other:
        poll_until(lambda: workers() == 1, listener)
        holder.kill()
        assert other.result(listener) is True
        other.do(give_back, lock, 1).result(listener)
    assert lock.acquire(False)


@every_lock
def test_who_dies_or_gives_up_as_it_waits_takes_nothing(listener: Listener[Any], make: Any) -> None:
    lock = listener.share(make())
    with lock, Child(FORK, outcome, acquire_within, lock, 0.05) as child:
        dead = Child(FORK, lock.acquire)
        assert child.result(listener)[:2] == ("raised", CallTimeout.__name__)
        poll_until(lambda: workers() > 0, listener)
        dead.kill()
        poll_until(lambda: listener.stats().clients == 1, listener)
    poll_until(lambda: workers() == 0, listener)
    assert not is_taken(lock)


@every_lock
def test_what_an_interrupted_thread_did_not_learn_that_it_took_is_free(
    listener: Listener[Any], make: Any
) -> None:
    lock = listener.share(make())
    with Child(FORK, take, lock, 1) as child:
        child.result(listener)
        child.do(interrupted_before_the_reply, lock).result(listener)
        assert child.do(give_back, lock, 1).result(listener) == ("returned", None)
        assert child.do(give_back, lock, 1).result(listener) == UNOWNED


def interrupted_before_the_reply(lock: Any) -> None:
    line = link_of(lock).call.func.__self__.lines.mine(None)

    def interrupt(seconds: float | None) -> Any:
        assert is_readable(line.pipe.reader)
        raise KeyboardInterrupt

    line.wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        lock.acquire()


def test_a_closed_listener_holds_nothing_for_its_clients() -> None:
    target = RLock()
    with Listener[Any]() as listener, Child(FORK, take, listener.share(target), 2) as child:
        child.result(listener)
        assert is_taken(target)
        listener.close()
    assert target.acquire(False)


def test_a_handler_that_raises_leaves_it_taken_or_free_and_never_in_between() -> None:
    def client() -> None:
        lock = RLock()
        raised = 0
        while raised < 300:
            raised += interrupt(lambda: use_often(lock), rounds=50, longest=100e-6)
            while lock._is_owned():
                lock.release()
            assert not is_taken(lock)
            assert not lock._takings
            assert not lock._line

    in_fork(client)


def use_often(lock: RLock) -> None:
    for _ in range(30):
        with lock, lock:
            pass


# Conditions of it ------------------------------------------------------------------------------


def test_a_wait_gives_it_back_and_takes_it_again_as_often(listener: Listener[Any]) -> None:
    target = condition()
    shared = listener.share(target)
    with Child(FORK, wait_deep, shared) as child, Child(FORK) as other:
        poll_until(lambda: len(target._waiters) == 1, listener)  # type: ignore[attr-defined]
        other.do(notify, shared).result(listener)
        assert child.result(listener) == [True, True]
        assert child.do(wait_deep, shared, 0.01).result(listener) == [False, True]
        assert child.do(outcome, shared.wait).result(listener)[:2] == ("raised", "RuntimeError")
        assert child.do(outcome, shared.notify).result(listener)[:2] == ("raised", "RuntimeError")
    assert target.acquire(False)


def test_the_owner_waits_and_notifies_as_any_other(listener: Listener[Any]) -> None:
    target = condition()
    shared = listener.share(target)
    with Child(FORK, wait_deep, shared) as child:
        poll_until(lambda: len(target._waiters) == 1, listener)  # type: ignore[attr-defined]
        notify(shared)
        assert child.result(listener) == [True, True]
        with listener.background():
            assert shared.acquire()
            child.do(notify, shared)
            assert shared.wait(PATIENCE) is True
            shared.release()
            child.result()


def test_a_waiter_that_dies_is_not_notified_and_has_no_lock(listener: Listener[Any]) -> None:
    target = condition()
    shared = listener.share(target)
    dead = Child(FORK, wait_deep, shared)
    poll_until(lambda: len(target._waiters) == 1, listener)  # type: ignore[attr-defined]
    with Child(FORK, wait_deep, shared) as child:
        poll_until(lambda: len(target._waiters) == 2, listener)  # type: ignore[attr-defined]
        dead.kill()
        poll_until(lambda: listener.stats().clients == 1, listener)
        notify(shared)
        assert child.result(listener) == [True, True]
    assert target.acquire(False)


def test_a_waiter_that_dies_as_it_takes_the_lock_again_passes_that_on(
    listener: Listener[Any],
) -> None:
    target = condition()
    shared = listener.share(target)
    dead = Child(FORK, wait_deep, shared)
    poll_until(lambda: len(target._waiters) == 1, listener)  # type: ignore[attr-defined]
    with Child(FORK, take, shared, 1) as child:
        child.result(listener)
        child.do(shared.notify).result(listener)
        dead.kill()
        poll_until(lambda: listener.stats().clients == 1, listener)
        child.do(shared.release).result(listener)
        poll_until(lambda: workers() == 0, listener)
        assert child.do(shared.acquire, False).result(listener) is True


def test_a_condition_and_its_lock_know_the_same_holders(listener: Listener[Any]) -> None:
    for lock in (RLock(), threading.Lock()):
        shared = listener.share(lock)
        of_it: Any = listener.share(threading.Condition(lock))  # type: ignore[arg-type]
        dead = Child(FORK, wait_between, shared, of_it)
        dead.result(listener)
        with Child(FORK, shared.acquire) as child:
            child.result(listener)
            dead.kill()
            poll_until(lambda: listener.stats().clients == 1, listener)
            assert is_taken(shared)
        poll_until(lambda: listener.stats().clients == 0, listener)


def wait_between(lock: Any, of_it: Any) -> None:
    with lock:
        of_it.wait(0.01)
    of_it.acquire()
    lock.release()


def use_all(lock: Any, shared: Any) -> None:
    while True:
        with lock, lock:
            pass
        with shared, shared:
            shared.wait(0.002)
            shared.notify()


def test_processes_that_are_killed_at_any_moment_hold_nothing(listener: Listener[Any]) -> None:
    random = Random(7)
    lock, shared = RLock(), condition()
    both = listener.share(lock), listener.share(shared)
    for _ in range(12):
        pids = [fork(partial(use_all, *both)) for _ in range(3)]
        calls = sum(listener.stats().calls.values()) + random.randrange(300)
        poll_until(lambda calls=calls: sum(listener.stats().calls.values()) >= calls, listener)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    poll_until(lambda: listener.stats().clients == 0, listener)
    poll_until(lambda: workers() == 0, listener)
    assert lock.acquire(False)
    assert shared.acquire(False)
    assert not shared._waiters  # type: ignore[attr-defined]
