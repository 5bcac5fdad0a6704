"""What an object shows in its owner's own process."""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeproxy import (
    Listener,
    ListenerClosed,
    NotExposed,
    SpecError,
    _residence,
    locked,
    proxied,
    readonly,
    share,
    timeout,
)

from .children import Child, outcome, poll_until
from .support import PATIENCE, in_fork, interrupt


class Account:
    def __init__(self, balance: int = 0) -> None:
        self.balance = balance
        self._pin = 1234
        self.seen: Any = None

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def itself(self) -> Account:
        return self

    def look_at(self, other: Any, *, beside: Any = None) -> None:
        self.seen = other, beside

    @property
    @readonly
    def limit(self) -> int:
        return 10

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.balance))


@pytest.fixture
def listener() -> Iterator[Listener[Any]]:
    with Listener() as listener:
        yield listener


def test_a_proxy_at_home_acts_on_the_object_itself(listener: Listener[Any]) -> None:
    account = Account(1)
    proxy = listener.share(account)
    assert proxy.deposit(2) == 3
    proxy.balance = 7
    assert account.balance == 7
    assert list(proxy) == list(range(7))


def test_what_is_refused_elsewhere_is_refused_at_home(listener: Listener[Any]) -> None:
    proxy: Any = listener.share(Account())
    for act in (
        lambda: proxy._pin,
        lambda: setattr(proxy, "deposit", None),
        lambda: setattr(proxy, "limit", 3),
        lambda: delattr(proxy, "limit"),
    ):
        with pytest.raises(NotExposed):
            act()


def test_a_shared_object_that_is_returned_is_its_proxy(listener: Listener[Any]) -> None:
    account = Account()
    proxy = listener.share(account)
    assert proxy.itself() is not account
    assert proxy.itself() == proxy


def test_a_proxy_that_is_passed_is_its_object(listener: Listener[Any]) -> None:
    one, other = Account(), Account()
    first, second = listener.share(one), listener.share(other)
    first.look_at(second, beside=second)
    assert one.seen == (other, other)


def test_sharing_twice_is_one_object(listener: Listener[Any]) -> None:
    account = Account()
    assert listener.share(account) == listener.share(account)
    assert listener.share(account) != listener.share(Account())


def test_threads_that_share_the_same_object_at_once_share_one(listener: Listener[Any]) -> None:
    account, proxies = Account(), []
    barrier = threading.Barrier(8)

    def share_it() -> None:
        barrier.wait(30)
        proxies.append(listener.share(account))

    threads = [threading.Thread(target=share_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(proxies) == 8
    assert len(set(proxies)) == 1


def test_what_is_unpickled_at_home_calls_the_object(listener: Listener[Any]) -> None:
    account = Account()
    pickle.loads(pickle.dumps(listener.share(account))).deposit(5)
    assert account.balance == 5


def test_calls_at_home_from_many_threads_lose_nothing(listener: Listener[Any]) -> None:
    account = Account()
    proxy = listener.share(account)
    threads = [
        threading.Thread(target=lambda: [proxy.deposit(1) for _ in range(500)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert account.balance == 4000


def test_nothing_answers_at_home_after_the_listener_is_closed(listener: Listener[Any]) -> None:
    proxy = listener.share(Account())
    listener.close()
    with pytest.raises(ListenerClosed, match="was closed"):
        proxy.deposit(1)


def test_a_bound_method_that_a_child_inherits_calls_the_owner_and_not_its_copy() -> None:
    account = Account()
    proxy, listener = share(account)
    deposit = proxy.deposit
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(deposit(5) != 5 or account.balance != 0)
        finally:
            os._exit(1)
    with listener:
        while not account.balance:
            listener.poll(0.1)
        assert os.waitpid(pid, 0)[1] == 0
    assert account.balance == 5


def test_a_forked_child_does_not_run_the_finalizers_of_the_objects() -> None:
    class Finalized(Account):
        def __del__(self) -> None:
            ended.append(os.getpid())

    ended: list[int] = []
    proxy, listener = share(Finalized())

    def child() -> None:
        assert ended == []

    in_fork(child)
    listener.close()
    assert proxy is not None


# Bound to the thread that serves ---------------------------------------------------------------


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


def test_in_the_background_it_is_bound_to_that_thread_until_it_ends() -> None:
    _, listener = share(Account())
    with listener:
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


@pytest.mark.parametrize("value", [None, 5, "text", b"bytes", 1.5, True], ids=repr)
def test_what_never_changes_is_not_shared(listener: Listener[Any], value: object) -> None:
    with pytest.raises(SpecError, match="pass it as it is"):
        listener.share(value)
