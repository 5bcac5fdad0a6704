"""What the generated types allow, and that none of them is Any."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Literal

from typing_extensions import assert_type

from pipeproxy_proxies.queue import QueueProxy
from pipeproxy_proxies.rich.progress import ProgressProxy
from pipeproxy_proxies.sqlite3 import ConnectionProxy
from pipeproxy_proxies.tests.typing.cases.zoo import (
    AccountProxy,
    DynamicProxy,
    FixedProxy,
    IntShelfProxy,
    LoudProxy,
    OrderedProxy,
    ShapeProxy,
    ShelfProxy,
    Square_CornerProxy,
    SquareProxy,
    TellerProxy,
)
from tests.typing.cases.zoo import Account, Colour, Currency, Teller

OptionalAccount = AccountProxy | None


def is_large(entry: int) -> bool:
    return entry > 3


def transferred(account: AccountProxy) -> AccountProxy:
    return account.transfer(account)


def attributes(account: AccountProxy) -> None:
    assert_type(account.bank, str)
    assert_type(account.limit, int)
    assert_type(account.kind, Literal["giro", "savings"])
    assert_type(account.owner, str)
    assert_type(account.number, int)
    assert_type(account.balance, int)
    assert_type(account.rate, float)
    assert_type(account.names, dict[str, int])
    assert_type(account.pair, tuple[int, str])
    assert_type(account.currency, Currency | None)
    assert_type(account.entries, list[int])
    assert_type(account.last, int)
    assert_type(account.statement, str)
    assert_type(account.total, int)
    assert_type(account.pin, int)
    assert_type(account.lock, threading.Lock)
    assert_type(account.Statement, type[Account.Statement])
    account.balance = 3
    account.currency = None
    account.pin = "1234"
    account.kind = "savings"
    account.statement = ""


def methods(account: AccountProxy) -> None:
    assert_type(account.deposit(3), int)
    assert_type(account.deposit(3, memo="a", colour=Colour.RED), int)
    assert_type(account.put(3, memo="a"), int)
    assert_type(account.quiet(object()), None)
    assert_type(account.list(), list[int])
    assert_type(account.later(), list[int])
    assert_type(account.parse("3"), int)
    assert_type(account.open("ada"), AccountProxy)
    assert_type(account.chain(account).chain(Account("ada"), bob=account), AccountProxy)
    assert_type(account.cached(3), str)
    assert_type(account.noted(3), list[str])
    assert_type(account.plain(3), str)
    assert_type(account._audit(0.5), str)
    assert_type(account.latest(), int)
    assert_type(account.find(is_large), int | None)
    assert_type(account.print(), Account.Statement)


def proxied_classes_arrive_as_proxies(account: AccountProxy) -> None:
    assert_type(account.transfer(account), AccountProxy)
    assert_type(account.partner, AccountProxy | None)
    assert_type(account.friend, AccountProxy | None)
    assert_type(account.all([account], {}), list[AccountProxy])
    assert_type(account.family([], {}), dict[str, list[AccountProxy]])
    assert_type(account.heirs(), Iterator[AccountProxy])
    assert_type(account.get(3), AccountProxy)
    assert_type(account.get("a", b"default"), AccountProxy | bytes)
    assert_type(account.make(Account), type[Account])
    with account.frozen() as inner:
        assert_type(inner, AccountProxy)
    assert_type(account.frozen(), contextlib._GeneratorContextManager[AccountProxy])


def proxies_and_objects_are_taken(account: AccountProxy) -> None:
    real = Account("ada")
    account.transfer(real)
    account.transfer(account)
    account.friend = real
    account.friend = account
    account.friend = None
    reals, proxies = [real], [account]
    account.all(reals, {})
    account.all(proxies, {"a": account})
    account.all([], {"a": real, "b": None})
    either: list[Account | AccountProxy] = [real, account]
    account.all(either, {})
    account.family(iter(reals), {"a": real})
    account.family((account, real), {"a": account})
    assert_type(account < real, bool)
    assert_type(account < account.transfer(real), bool)


def callbacks_take_proxies(account: AccountProxy, watch: Callable[[AccountProxy], None]) -> None:
    stop = account.watch(watch)
    stop(account)
    stop(Account("ada"))
    account.watch(transferred)


async def asynchronous(account: AccountProxy) -> None:
    coroutine: Coroutine[Any, Any, AccountProxy] = account.fetch(0.5)
    assert_type(await coroutine, AccountProxy)
    assert_type(await account.fetch(0.5), AccountProxy)
    assert_type(account.stream(), AsyncIterator[int])
    assert_type([n async for n in account.stream()], list[int])


def special_methods(account: AccountProxy) -> None:
    assert_type(len(account), int)
    assert_type(account == 3, bool)
    assert_type(hash(account), int)
    with account as entered:
        assert_type(entered, AccountProxy)


def generics(shelf: ShelfProxy[str, int], ints: IntShelfProxy) -> None:
    assert_type(shelf["a"], int)
    shelf["a"] = 3
    assert_type(list(shelf), list[str])
    assert_type(shelf.items, dict[str, int])
    assert_type(shelf.double(3), int)
    assert_type(shelf.double("a"), str)
    assert_type(shelf.map(str), list[str])
    assert_type(shelf.call(divmod, 3.5, 2.0), tuple[float, float])
    assert_type(ints["a"], int)
    assert_type(ints.map(float), list[float])
    assert_type("a" in ints, bool)


def texts_only(shelf: ShelfProxy[str, str]) -> None:
    assert_type(shelf.texts(), str)


def other_kinds(
    fixed: FixedProxy, ordered: OrderedProxy, dynamic: DynamicProxy, shape: ShapeProxy
) -> None:
    assert_type(fixed.size, int)
    assert_type(fixed.tags, list[str])
    ordered.size = 3
    assert_type(ordered < object(), bool)
    assert_type(dynamic.whatever, int)
    assert_type(shape.area(), float)
    assert_type(shape._scale, float)


def nested_classes(corner: Square_CornerProxy) -> None:
    assert_type(corner.opposite(), Square_CornerProxy)
    assert_type(corner.square(), SquareProxy | None)


def subclasses_follow(loud: LoudProxy) -> None:
    assert_type(loud.shout("a", 3), str)
    assert_type(loud.serve(Teller("ada"), Account("bob")), TellerProxy)
    assert_type(loud.balances(), Sequence[tuple[AccountProxy, int]] | None)
    teller: TellerProxy = loud
    teller.serve(loud, Account("bob"))


def classes_of_others(
    queue: QueueProxy[int], database: ConnectionProxy, progress: ProgressProxy
) -> None:
    assert_type(queue.get(timeout=3), int)
    queue.put(3)
    assert_type(database.in_transaction, bool)
    with database as entered:
        assert_type(entered, ConnectionProxy)
    task = progress.add_task("task", total=3)
    progress.update(task, advance=1)
    with progress:
        progress.advance(task)


class StandIn(AccountProxy):
    """A base of stand-ins in tests."""


def missing(account: OptionalAccount) -> str:
    return account.owner if account else ""
