"""mypy with pipeproxy's plugin: `share` yields the generated type of classes that have one."""

from __future__ import annotations

import queue
import sqlite3

from rich.progress import Progress
from typing_extensions import assert_type

from pipeproxy import Host, Listener, locked, share, spawn
from pipeproxy_proxies.queue import QueueProxy
from pipeproxy_proxies.rich.progress import ProgressProxy
from pipeproxy_proxies.sqlite3 import ConnectionProxy
from pipeproxy_proxies.tests.typing.cases.zoo import (
    AccountProxy,
    IntShelfProxy,
    LoudProxy,
    ShelfProxy,
    Square_CornerProxy,
    TellerProxy,
)
from tests.typing.cases.accept_proxied import Bare
from tests.typing.cases.zoo import Account, IntShelf, Loud, Shelf, Square, Teller


def share_gives_the_generated_type() -> None:
    proxy, listener = share(Account("ada"))
    assert_type(proxy, AccountProxy)
    assert_type(listener, Listener[AccountProxy])
    assert_type(listener.share(Account("bob")), AccountProxy)
    with locked(proxy) as inner:
        assert_type(inner, AccountProxy)


def spawn_gives_the_generated_type() -> None:
    proxy, host = spawn(Account, "ada", number=3)
    assert_type(proxy, AccountProxy)
    assert_type(host, Host)


def generic_classes_keep_their_arguments() -> None:
    shelf, _ = share(Shelf({"a": 3}))
    assert_type(shelf, ShelfProxy[str, int])
    ints, _ = share(IntShelf({"a": 3}))
    assert_type(ints, IntShelfProxy)


def the_nearest_type_is_taken() -> None:
    assert_type(share(Loud("ada"))[0], LoudProxy)
    assert_type(share(Teller("ada"))[0], TellerProxy)
    assert_type(share(Square.Corner())[0], Square_CornerProxy)


def classes_of_others() -> None:
    numbers: queue.Queue[int] = queue.Queue()
    assert_type(share(numbers)[0], QueueProxy[int])
    assert_type(share(sqlite3.connect(":memory:"))[0], ConnectionProxy)
    assert_type(share(Progress())[0], ProgressProxy)


def the_object_stays_itself(account: Account) -> None:
    assert_type(account, Account)
    assert_type(account.transfer(account), Account)
    account.wipe()
    assert_type(Account("ada"), Account)


def classes_without_a_stub_stay_as_they_are() -> None:
    assert_type(share(Bare("ada"))[0], Bare)
    assert_type(share([1])[0], list[int])
