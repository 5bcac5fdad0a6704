"""The verbs take a method as the proxy gives it, and so its types: nothing of them is Any."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TypeVar

from typing_extensions import assert_type

from pipeproxy import aio, batch, locked, notify, oneway, run, share, submit, timeout

T = TypeVar("T")


class Account:
    balance: int = 0

    def deposit(self, amount: int, memo: str = "") -> int:
        return self.balance + amount

    async def audit(self, since: float) -> list[str]:
        return [str(since)]

    @oneway
    def log(self, word: str) -> None: ...

    @staticmethod
    def currency() -> str:
        return "EUR"

    @classmethod
    def opened(cls, balance: int) -> Account:
        return cls()


proxy, _ = share(Account())


def submitted() -> None:
    assert_type(submit(proxy.deposit, 5), Future[int])
    assert_type(submit(proxy.deposit, 5, memo="x").result(), int)
    assert_type(submit(proxy.audit, 1.0), Future[list[str]])
    assert_type(submit(proxy.currency), Future[str])
    assert_type(submit(proxy.opened, 3), Future[Account])
    assert_type(submit(proxy.log, "x"), Future[None])


async def awaited() -> None:
    assert_type(await aio(proxy.deposit)(5, memo="x"), int)
    assert_type(await aio(proxy.audit)(1.0), list[str])
    assert_type(await aio(proxy.opened)(3), Account)


def notified() -> None:
    notify(proxy.deposit, 5)
    notify(proxy.log, word="x")
    proxy.log("x")


def together() -> None:
    with batch(), timeout(1.0), locked(proxy) as inner:
        assert_type(submit(inner.deposit, 1), Future[int])


def add_twice(account: Account, amount: int, *, memo: str = "") -> float:
    return account.deposit(amount) + account.deposit(amount, memo)


def itself(value: T) -> T:
    return value


def ran() -> None:
    assert_type(run(proxy, add_twice, 5, memo="x"), float)
    assert_type(run(proxy, Account.deposit, 5), int)
    assert_type(run(proxy, lambda account: account.balance), int)
    assert_type(run(proxy, itself), Account)
