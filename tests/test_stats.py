"""What a listener says of itself."""

from __future__ import annotations

import multiprocessing
from typing import Any

import attrs
import pytest

from pipeproxy import Listener, share


class Account:
    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError(amount)
        self.balance += amount


def work(account: Account) -> None:
    for amount in (1, 2, 0, -1):
        try:
            account.deposit(amount)
        except ValueError:
            account.balance += 0


def test_a_listener_that_did_nothing_counts_nothing() -> None:
    with Listener[Any]() as listener:
        stats = listener.stats()
        assert (stats.clients, stats.references, stats.errors) == (0, 0, 0)
        assert dict(stats.calls) == {}


def test_calls_attributes_and_errors_are_counted(context: Any) -> None:
    proxy, listener = share(Account())
    with listener:
        client = context.Process(target=work, args=(proxy,))
        client.start()
        listener.serve(until=client)
        proxy.deposit(5)
        stats = listener.stats()
    assert dict(stats.calls) == {"Account.deposit": 5, "Account's attributes": 4}
    assert stats.errors == 2
    assert stats.references == 1
    assert stats.clients == 0, "it has ended"
    assert stats.waited > 0
    assert stats.ran > 0


def test_a_client_is_counted_for_as_long_as_it_lives() -> None:
    proxy, listener = share(Account())
    stop = multiprocessing.Event()
    client = multiprocessing.Process(target=stay, args=(proxy, stop))
    with listener:
        client.start()
        while not proxy.balance:
            listener.poll(1)
        assert listener.stats().clients == 1
        stop.set()
        listener.serve(until=client)
        assert listener.stats().clients == 0


def stay(account: Account, stop: Any) -> None:
    account.deposit(1)
    stop.wait(60)


def test_the_record_is_frozen() -> None:
    with Listener[Any]() as listener:
        stats: Any = listener.stats()
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            stats.errors = 5
        with pytest.raises(TypeError):
            stats.calls["x"] = 1
