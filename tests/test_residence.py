"""Objects that are bound to the thread that serves: whoever calls them, it runs the call."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeproxy import Listener, locked, proxied, share, timeout
from pipeproxy._chains import _residence

from .children import Child, outcome, poll_until
from .support import PATIENCE, in_fork, interrupt


@proxied(home="queue")
class Bound:
    """It notes which thread calls it."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:")  # checks that too
        self.db.execute("create table numbers (n int)")
        self.threads: set[int] = set()
        self.busy = threading.Event()
        self.go_on = threading.Event()

    def add(self, number: int) -> int:
        self.threads.add(threading.get_ident())
        self.db.execute("insert into numbers values (?)", [number])
        return int(self.db.execute("select count(*) from numbers").fetchone()[0])

    def __iter__(self) -> Iterator[int]:
        for (number,) in self.db.execute("select n from numbers order by n"):
            self.threads.add(threading.get_ident())
            yield number

    def wait(self) -> None:
        self.busy.set()
        assert self.go_on.wait(PATIENCE)

    def fail(self) -> None:
        raise KeyError("no")

    def close(self) -> None:
        self.db.close()


@pytest.fixture
def bound() -> Iterator[tuple[Bound, Bound, Listener[Bound]]]:
    target = Bound()
    proxy, listener = share(target)
    with listener:
        yield target, proxy, listener
    target.close()


def in_thread(function: Callable[..., Any], *args: Any) -> tuple[threading.Thread, list[Any]]:
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(outcome(function, *args)))
    thread.start()
    return thread, said


def add_many(proxy: Any, times: int) -> None:
    for number in range(times):
        proxy.add(number)


def test_calls_of_all_threads_and_processes_are_run_by_the_thread_that_serves(
    bound: tuple[Bound, Bound, Listener[Bound]],
) -> None:
    target, proxy, listener = bound
    threads = [in_thread(add_many, proxy, 100)[0] for _ in range(3)]
    children = [Child("fork", add_many, proxy, 100) for _ in range(2)]
    poll_until(lambda: not any(thread.is_alive() for thread in threads), listener)
    for child in children:
        child.result(listener)
        child.end()
    assert proxy.add(0) == 501  # in this thread, which served last, at once
    assert target.threads == {threading.get_ident()}


def test_what_iterates_runs_there_too(bound: tuple[Bound, Bound, Listener[Bound]]) -> None:
    target, proxy, listener = bound
    add_many(proxy, 3)
    thread, said = in_thread(list, proxy)
    poll_until(lambda: said, listener)
    thread.join()
    assert said == [("returned", [0, 1, 2])]
    assert target.threads == {threading.get_ident()}


def test_what_it_raises_is_raised_in_the_thread_that_called(
    bound: tuple[Bound, Bound, Listener[Bound]],
) -> None:
    _, proxy, listener = bound
    thread, said = in_thread(proxy.fail)
    poll_until(lambda: said, listener)
    thread.join()
    assert said == [("raised", "KeyError", "'no'")]


def test_a_thread_waits_for_who_is_in_a_section(
    bound: tuple[Bound, Bound, Listener[Bound]],
) -> None:
    _, proxy, listener = bound
    with locked(proxy):
        thread, said = in_thread(proxy.add, 1)
        for _ in range(20):
            listener.poll(0.01)
        assert not said
        assert proxy.add(1) == 1
    poll_until(lambda: said, listener)
    thread.join()
    assert said == [("returned", 2)]


def test_a_thread_waits_no_longer_than_its_deadline_and_runs_nothing_later(
    bound: tuple[Bound, Bound, Listener[Bound]],
) -> None:
    _, proxy, listener = bound

    def call() -> None:
        with timeout(0.05):
            proxy.add(1)

    thread, said = in_thread(call)
    thread.join(PATIENCE)
    assert said[0][:2] == ("raised", "CallTimeout")
    listener.poll()
    assert proxy.add(1) == 1


def test_closing_ends_the_wait(bound: tuple[Bound, Bound, Listener[Bound]]) -> None:
    _, proxy, listener = bound
    thread, said = in_thread(proxy.add, 1)
    poll_until(lambda: listener._service.residence.calls)
    listener.close()
    thread.join(PATIENCE)
    assert said[0][:2] == ("raised", "ListenerClosed")


def test_a_thread_that_is_not_served_says_so(
    bound: tuple[Bound, Bound, Listener[Bound]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_residence, "_PATIENCE", 0.0)
    _, proxy, listener = bound
    thread, said = in_thread(proxy.add, 1)
    heard = ""

    def complained() -> bool:
        nonlocal heard
        heard += capsys.readouterr().err
        return "use listener.serve()" in heard

    poll_until(complained)
    poll_until(lambda: said, listener)
    thread.join()
    assert heard.count("\n") == 1


def test_in_the_background_it_is_bound_to_that_thread_until_it_ends(
    bound: tuple[Bound, Bound, Listener[Bound]],
) -> None:
    _, _, listener = bound
    with listener.background():
        poll_until(lambda: not listener._service.residence.is_here())
    assert listener._service.residence.is_here()


def test_calls_at_home_are_run_though_handlers_raise_at_random() -> None:
    def owner() -> None:
        target = Bound()
        proxy, listener = share(target)
        done = threading.Event()
        said: list[Any] = []

        def call() -> None:
            while not done.is_set():
                said.append(outcome(proxy.add, 1)[:2])

        thread = threading.Thread(target=call)
        thread.start()
        try:
            interrupt(lambda: listener.poll(0.001), rounds=500, longest=4e-4)
            count = len(said)
            poll_until(lambda: len(said) > count + 10, listener)
        finally:
            done.set()
            poll_until(lambda: not thread.is_alive(), listener)
        lost = {("raised", "CallLost"), ("raised", "Interrupted")}
        assert {outcome for outcome in said if outcome[0] == "raised"} <= lost
        listener.close()

    in_fork(owner)
