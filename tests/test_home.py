"""What an object shows in its owner's own process."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeproxy import Listener, ListenerClosed, NotExposed, SpecError, readonly, share

from .support import in_fork


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


@pytest.mark.parametrize("value", [None, 5, "text", b"bytes", 1.5, True], ids=repr)
def test_what_never_changes_is_not_shared(listener: Listener[Any], value: object) -> None:
    with pytest.raises(SpecError, match="pass it as it is"):
        listener.share(value)
