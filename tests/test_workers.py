"""Calls that may wait run in threads of the owner's, one for each thread of a client's."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import (
    CallLost,
    CallTimeout,
    Listener,
    ListenerClosed,
    blocking,
    locked,
    proxied,
    share,
    timeout,
)

from .children import Child, outcome, poll_until
from .support import PATIENCE, Interrupted, fork, in_fork, interrupt, is_readable, workers

pytestmark = pytest.mark.usefixtures("descriptors_kept")

FORK = multiprocessing.get_context("fork")


@proxied(dispatch="threads")
class Gate:
    """Whoever comes waits until it is opened, in threads of the owner's."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.waiting = 0
        self.total = 0
        self.served: list[str] = []

    def wait(self) -> str:
        self.waiting += 1
        assert self.opened.wait(PATIENCE)
        return "through"

    def open(self) -> None:
        self.opened.set()

    def count(self) -> None:
        self.total += 1

    def thread(self) -> int:
        return numbered.number

    def is_daemon(self) -> bool:
        return threading.current_thread().daemon

    def note(self, word: str) -> None:
        self.served.append(word)

    def wait_and_note(self, word: str) -> None:
        assert self.opened.wait(PATIENCE)
        self.served.append(word)

    def fail(self) -> None:
        raise KeyError("no")

    def give(self, size: int) -> bytes:
        return bytes(size)

    def fork(self) -> int:
        pid = os.fork()
        if pid == 0:
            os.close(2)  # it ends with a traceback
            return 0
        return os.waitpid(pid, 0)[1]

    def close_listener(self) -> None:
        listeners.pop().close()


class Serial:
    def __init__(self) -> None:
        self.opened = threading.Event()
        self.value = 0
        self.before: list[int] = []

    @blocking
    def wait(self) -> str:
        assert self.opened.wait(PATIENCE)
        return "through"

    def open(self) -> int:
        self.opened.set()
        return threading.get_ident()

    def add(self) -> int:
        self.value += 1
        return self.value


listeners: list[Listener[Any]] = []


class Numbered(threading.local):
    """A number for each thread; that of the system is used again."""

    def __init__(self) -> None:
        self.number = next(numbers)


numbers = itertools.count()
numbered = Numbered()


@pytest.fixture
def gate() -> Iterator[tuple[Gate, Gate, Listener[Gate]]]:
    """The object, its proxy and its listener, which leaves no thread behind."""
    before = threading.active_count()
    target = Gate()
    proxy, listener = share(target)
    yield target, proxy, listener
    target.opened.set()
    listener.close()
    poll_until(lambda: threading.active_count() <= before)


# What runs in children -------------------------------------------------------------------------


def threads_of(proxy: Any) -> tuple[list[int], list[int]]:
    """The owner's threads that ran three calls of this thread, and three of another one."""
    here = [proxy.thread() for _ in range(3)]
    there: list[int] = []
    other = threading.Thread(target=lambda: there.extend(proxy.thread() for _ in range(3)))
    other.start()
    other.join()
    return here, there


def count(proxy: Any, times: int) -> None:
    for _ in range(times):
        proxy.count()


def in_section(proxy: Any, entered: Any, leave: Any) -> str:
    with locked(proxy):
        entered.set()
        assert leave.wait(PATIENCE)
        proxy.note("inside")
        return "left"


# Threads ---------------------------------------------------------------------------------------


def test_a_client_thread_has_one_thread_of_the_owner_and_no_other_has_it(
    gate: tuple[Gate, Gate, Listener[Gate]], context: BaseContext
) -> None:
    _, proxy, listener = gate
    with Child(context, threads_of, proxy) as one, Child(context, threads_of, proxy) as two:
        first, second = one.result(listener), two.result(listener)
    threads = [*first, *second]
    assert all(len(set(calls)) == 1 for calls in threads)
    assert len({calls[0] for calls in threads} - {numbered.number}) == 4


def test_16_blocked_clients_keep_nobody_waiting(gate: tuple[Gate, Gate, Listener[Gate]]) -> None:
    target, proxy, listener = gate
    children = [Child(FORK, proxy.wait) for _ in range(16)]
    poll_until(lambda: target.waiting == 16, listener)
    with Child(FORK, count, proxy, 100) as other:
        other.result(listener)
        other.do(proxy.open).result(listener)
    for child in children:
        assert child.result(listener) == "through"
        child.end()
    assert target.total == 100


def test_a_blocked_call_leaves_the_owner_asleep(gate: tuple[Gate, Gate, Listener[Gate]]) -> None:
    target, proxy, listener = gate
    with Child(FORK, proxy.wait) as child:
        poll_until(lambda: target.waiting == 1, listener)
        listener.poll()
        assert not is_readable(listener.fileno(), 0.2)
        target.opened.set()
        assert child.result(listener) == "through"


def test_what_comes_behind_a_blocked_call_waits_for_it(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    target, proxy, listener = gate
    with Child(FORK, note_behind, proxy) as child, Child(FORK) as other:
        assert child.result(listener) == "CallTimeout"
        child.do(proxy.note, "last")
        other.do(proxy.note, "other").result(listener)
        assert target.served == ["other"]
        target.opened.set()
        child.result(listener)
    assert target.served == ["other", "first", "last"]


def note_behind(proxy: Any) -> str:
    proxy.count()  # opens its channel
    try:
        with timeout(0.5):
            proxy.wait_and_note("first")
    except CallTimeout:
        return "CallTimeout"
    return "nothing"


def test_replies_of_any_size_come_whole(gate: tuple[Gate, Gate, Listener[Gate]]) -> None:
    _, proxy, listener = gate
    with Child(FORK) as child:
        for size in (0, 1 << 10, 1 << 16, (1 << 16) + 1, 5 << 20):
            assert len(child.do(proxy.give, size).result(listener)) == size


def test_an_exception_arrives_and_is_counted(gate: tuple[Gate, Gate, Listener[Gate]]) -> None:
    _, proxy, listener = gate
    with Child(FORK, outcome, proxy.fail) as child:
        assert child.result(listener) == ("raised", "KeyError", "'no'")
    assert listener.stats().errors == 1


def test_calls_of_many_clients_are_counted_to_the_last(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    _, proxy, listener = gate
    children = [Child(FORK, count, proxy, 500) for _ in range(4)]
    for child in children:
        child.result(listener)
        child.end()
    assert listener.stats().calls["Gate.count"] == 2000


def test_a_method_that_is_marked_blocks_nobody_and_the_others_stay_serial() -> None:
    target = Serial()
    proxy, listener = share(target)
    with listener, Child(FORK, proxy.wait) as child, Child(FORK) as other:
        assert [other.do(proxy.add).result(listener) for _ in range(3)] == [1, 2, 3]
        assert other.do(proxy.open).result(listener) == threading.get_ident()
        assert child.result(listener) == "through"


def test_a_section_waits_for_no_call_and_lets_none_begin(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    target, proxy, listener = gate
    entered, leave = FORK.Event(), FORK.Event()
    with ExitStack() as stack:
        blocked = stack.enter_context(Child(FORK, proxy.wait))
        poll_until(lambda: target.waiting == 1, listener)
        holder = stack.enter_context(Child(FORK, in_section, proxy, entered, leave))
        poll_until(entered.is_set, listener)
        other = stack.enter_context(Child(FORK))
        other.do(proxy.note, "outside")
        at_home = threading.Thread(target=proxy.note, args=("at home",))
        with listener.background():
            at_home.start()
            leave.set()
            at_home.join(PATIENCE)
        assert holder.result(listener) == "left"
        other.result(listener)
        assert target.served[0] == "inside"
        assert sorted(target.served[1:]) == ["at home", "outside"]
        target.opened.set()
        assert blocked.result(listener) == "through"


def test_calls_at_home_run_in_the_thread_that_makes_them_and_keep_nobody_out(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    target, proxy, listener = gate
    assert proxy.thread() == numbered.number
    waits = threading.Thread(target=proxy.wait)
    waits.start()
    poll_until(lambda: target.waiting == 1)
    with Child(FORK, proxy.open) as child:
        child.result(listener)
    waits.join(PATIENCE)
    assert not waits.is_alive()


# Ends ------------------------------------------------------------------------------------------


def test_a_worker_ends_with_the_thread_that_it_worked_for(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    _, proxy, listener = gate
    before = threading.active_count()
    with Child(FORK, threads_of, proxy) as child:
        child.result(listener)
        poll_until(lambda: threading.active_count() == before + 1, listener)
    poll_until(lambda: threading.active_count() == before, listener)


def test_a_dead_client_costs_nothing_but_the_thread_that_its_call_is_in(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    target, proxy, listener = gate
    before = threading.active_count()
    child = Child(FORK, proxy.wait)
    poll_until(lambda: target.waiting == 1, listener)
    child.kill()
    poll_until(lambda: listener.stats().clients == 0, listener)
    assert threading.active_count() == before + 1
    target.opened.set()
    poll_until(lambda: threading.active_count() == before, listener)


def test_closing_ends_blocked_calls_for_their_callers(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    target, proxy, listener = gate
    children = [Child(FORK, outcome, proxy.wait) for _ in range(3)]
    poll_until(lambda: target.waiting == 3, listener)
    target.opened.clear()
    closes = threading.Thread(target=listener.close)
    closes.start()
    for child in children:
        assert child.result()[:2] == ("raised", "ListenerClosed")
        child.end()
    target.opened.set()
    closes.join(PATIENCE)


def test_a_call_in_a_worker_may_close_the_listener(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    _, proxy, listener = gate
    listeners.append(listener)
    with Child(FORK, outcome, proxy.close_listener) as child:
        listener.serve()
        assert child.result()[:2] == ("raised", "ListenerClosed")
    with pytest.raises(ListenerClosed):
        proxy.thread()


def test_a_child_that_is_forked_in_a_worker_sends_nothing(
    gate: tuple[Gate, Gate, Listener[Gate]],
) -> None:
    _, proxy, listener = gate
    with Child(FORK) as child:
        assert child.do(proxy.fork).result(listener) == 0
        assert child.do(proxy.thread).result(listener) != numbered.number


def test_ctrl_c_ends_serving_although_calls_are_blocked() -> None:
    def owner() -> None:
        target = Gate()
        proxy, listener = share(target)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pid = fork(proxy.wait)
        own = os.getpid()
        stop = threading.Thread(
            target=lambda: (poll_until(lambda: target.waiting), os.kill(own, signal.SIGINT))
        )
        stop.start()
        with pytest.raises(KeyboardInterrupt):
            listener.serve()
        stop.join()
        target.opened.set()
        listener.serve(until=lambda: os.waitpid(pid, os.WNOHANG)[0])
        listener.close()

    in_fork(owner)


def call_until(proxy: Any, stop: Any) -> int:
    """How many calls were lost; every answer was the call's own."""
    lost = 0
    sizes = itertools.cycle([10, 1000, 200_000])
    while not stop.poll():
        size = next(sizes)
        try:
            assert len(proxy.give(size)) == size
        except (CallLost, Interrupted):
            lost += 1
    return lost


def test_an_interrupt_of_the_loop_loses_the_calls_in_hand_and_no_others() -> None:
    def owner() -> None:
        target = Gate()
        proxy, listener = share(target)
        mine, theirs = FORK.Pipe()
        children = [Child(FORK, call_until, proxy, mine) for _ in range(3)]
        raised = interrupt(lambda: listener.poll(0.001), rounds=1500, longest=3e-4)
        theirs.send(None)
        assert sum(child.result(listener) for child in children) <= raised
        for child in children:
            child.do(count, proxy, 10).result(listener)
            child.end()
        assert target.total == 30
        poll_until(lambda: workers() == 0, listener)
        listener.close()

    in_fork(owner)


def test_a_system_without_more_threads_is_an_error_of_the_call(
    gate: tuple[Gate, Gate, Listener[Gate]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    _, proxy, listener = gate
    with Child(FORK) as child:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            said = child.do(outcome, proxy.thread).result(listener)
        assert said == ("raised", "RuntimeError", "can't start new thread")
        assert child.do(proxy.is_daemon).result(listener) is True
