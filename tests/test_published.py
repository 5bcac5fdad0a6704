"""Published attributes: read without a call, never torn, never stale for who has changed them."""

from __future__ import annotations

import asyncio
import math
import operator
import os
import sys
import threading
from decimal import Decimal
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
import pytest

from pipeproxy import (
    CodecError,
    Listener,
    ListenerClosed,
    OwnerDied,
    blocking,
    by_ref,
    locked,
    proxied,
    published,
    share,
    spawn,
)
from pipeproxy._proxies._proxy import Proxy, link_of
from pipeproxy._system import _slots

from .children import Child, run
from .support import PATIENCE, in_fork, interrupt, named_memory, open_descriptors, opened_since

pytestmark = pytest.mark.usefixtures("descriptors_kept")


@proxied(published=["balance", "history"])
class Account:
    def __init__(self, balance: Any = 0) -> None:
        self.balance = balance
        self.history: list[int] = []
        self._looks = 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        self.history.append(amount)
        return self.balance

    def fail(self, balance: int) -> None:
        self.balance = balance
        raise ValueError(balance)

    @published
    @property
    def twice(self) -> int:
        return 2 * self.balance

    @property
    @published
    def pair(self) -> tuple[int, int, str]:
        return self.balance, -self.balance, str(self.balance) * (self.balance % 7)

    @published
    @property
    def broken(self) -> int:
        self._looks += 1
        raise AttributeError("it has none")

    def looks(self) -> int:
        return self._looks


def calls(listener: Listener[Any]) -> int:
    return sum(listener.stats().calls.values())


# What is read -------------------------------------------------------------------------------------


def read_again(account: Account) -> None:
    for _ in range(1000):
        assert (account.balance, account.twice, account.history) == (5, 10, [5])


def test_only_the_first_read_of_an_attribute_is_a_call(context: Any) -> None:
    proxy, listener = share(Account())
    with listener:
        proxy.deposit(5)
        before = calls(listener)
        run(context, listener, read_again, proxy)
        assert calls(listener) == before + 3


def write_and_read(account: Any) -> None:
    for number in range(300):
        account.balance = number
        assert (account.balance, account.twice) == (number, 2 * number)
        assert account.deposit(1) == account.balance
        assert account.history[-1] == 1
        with pytest.raises(ValueError, match=f"^{-number}$"):
            account.fail(-number)
        assert account.balance == -number
    del account.balance
    with pytest.raises(AttributeError):
        account.balance
    account.balance = "back"
    assert account.balance == "back"


def test_what_a_proxy_changes_is_seen_by_its_next_read(context: Any) -> None:
    proxy, listener = share(Account())
    with listener:
        run(context, listener, write_and_read, proxy)


#: What goes into a slot as it is.
ATOMS = [
    *[0, 1, True, False, 1.0, -0.0, 0.0, math.inf, math.nan, -(2**80), 2**53 + 1, 1j, None, ...],
    *["", "text", "\0", "ß", b"", b"bytes", range(3)],
]
#: Of what every read is to make a copy.
COPIES = [
    *[(), (1, "a"), [], [1, [2]], {"a": [1]}, {1, 2}, frozenset([1]), bytearray(b"x")],
    *[np.float64(1.5), np.int8(3), np.array([1, 2]), Decimal("1.10"), ValueError("no")],
]
#: What has to be asked for.
LARGE = ["x" * 300, b"x" * 300, list(range(1000)), 2**4000]


def exact(value: Any) -> tuple[type, str]:
    return type(value), repr(value)


def read_values(account: Any, values: list[Any]) -> None:
    for value in values * 3:
        account.balance = value
        for _ in range(3):
            assert exact(account.balance) == exact(value)


@pytest.mark.parametrize("values", [ATOMS, COPIES, LARGE, ATOMS + LARGE + COPIES])
def test_values_arrive_as_of_a_call(values: list[Any]) -> None:
    proxy, listener = share(Account())
    with listener:
        run("fork", listener, read_values, proxy, values)


def read_many(account: Any, times: int) -> None:
    for _ in range(times):
        account.balance


@pytest.mark.parametrize("value", ATOMS + COPIES, ids=repr)
def test_small_values_need_no_call(value: Any) -> None:
    proxy, listener = share(Account(value))
    with listener:
        run("fork", listener, read_many, proxy, 100)
        assert calls(listener) == 1


@pytest.mark.parametrize("value", LARGE, ids=["text", "bytes", "list", "number"])
def test_large_values_are_asked_for(value: Any) -> None:
    proxy, listener = share(Account(value))
    with listener:
        run("fork", listener, read_many, proxy, 100)
        assert calls(listener) == 100


def change_copies(account: Account) -> None:
    account.deposit(1)
    for _ in range(3):
        history = account.history
        assert history == [1]
        history.append(2)


def test_what_can_be_changed_arrives_as_a_copy_of_ones_own() -> None:
    proxy, listener = share(Account())
    with listener:
        run("fork", listener, change_copies, proxy)


@proxied
class Thing:
    def name(self) -> str:
        return "thing"


def read_a_reference(account: Any) -> None:
    for _ in range(5):
        assert type(account.balance).__mro__[1] is Proxy
        assert account.balance.name() == "thing"
        assert account.balance is account.balance
        assert [thing.name() for thing in account.history] == ["thing"]


def test_what_travels_by_reference_is_asked_for() -> None:
    account = Account(Thing())
    account.history = [Thing()]  # type: ignore[list-item]
    proxy, listener = share(account)
    with listener:
        run("fork", listener, read_a_reference, proxy)


def read_what_cannot_be_sent(account: Any) -> None:
    for _ in range(3):
        with pytest.raises(CodecError, match=r"result of Account\.balance"):
            account.balance


def test_what_cannot_be_pickled_is_an_error_as_of_a_call() -> None:
    proxy, listener = share(Account(lambda: None))
    with listener:
        run("fork", listener, read_what_cannot_be_sent, proxy)
        proxy.balance = 5
        run("fork", listener, read_many, proxy, 2)


def read_what_raises(account: Account) -> None:
    for _ in range(5):
        with pytest.raises(AttributeError, match="it has none"):
            account.broken


def test_a_property_that_raises_is_called_once_for_each_read_and_not_looked_at_else() -> None:
    account = Account()
    proxy, listener = share(account)
    with listener:
        run("fork", listener, read_what_raises, proxy)
        assert calls(listener) == 5
        looks = account._looks
        for _ in range(5):
            proxy.deposit(1)
        assert account._looks == looks


def test_at_home_the_object_is_read() -> None:
    account = Account()
    proxy, listener = share(account)
    with listener:
        account.balance = 5
        assert (proxy.balance, proxy.twice) == (5, 10)
        assert proxy.history is account.history
        with pytest.raises(AttributeError, match="it has none"):
            proxy.broken
        assert account._looks == 1


def test_what_was_only_lent_is_asked_for() -> None:
    account = Account()
    proxy, host = spawn(Reader)
    with host:
        assert proxy.read(by_ref(account)) == [0, 0, 0]
        account.balance = 3
        assert proxy.read(by_ref(account)) == [3, 3, 3]


class Reader:
    def read(self, account: Account) -> list[Any]:
        return [account.balance for _ in range(3)]


# When it is written -------------------------------------------------------------------------------


class Bank:
    def __init__(self) -> None:
        self.accounts = [Account(), Account()]

    def account(self, number: int) -> Account:
        return self.accounts[number]

    def transfer(self, amount: int) -> None:
        self.accounts[0].balance -= amount
        self.accounts[1].balance += amount

    def steps(self) -> Any:
        for number in range(5):
            self.accounts[0].balance = number
            yield number

    def call(self, function: Any) -> Any:
        self.accounts[0].balance = 55
        return function()


def read_after_transfers(bank: Bank) -> None:
    one, other = bank.account(0), bank.account(1)
    for total in range(200):
        assert (one.balance, other.twice) == (-total, 2 * total)
        bank.transfer(1)
    for number in bank.steps():
        assert one.balance in (number, 4), "as much as was taken from the generator"
    total = other.balance

    def within() -> bool:
        bank.transfer(1)
        return (one.balance, other.balance) == (54, total + 1)

    assert bank.call(by_ref(within))


def test_what_a_call_of_another_object_changes_is_seen_after_it() -> None:
    proxy, listener = share(Bank())
    with listener:
        run("fork", listener, read_after_transfers, proxy)


def wait_for_balance(account: Account, *balances: int) -> None:
    end = monotonic() + PATIENCE
    for balance in balances:
        while account.balance != balance:
            assert monotonic() < end


def test_what_the_owner_changes_is_seen_while_it_serves() -> None:
    account = Account()
    proxy, listener = share(account)
    with listener, listener.background(), Child("fork", wait_for_balance, proxy, 0) as child:
        child.result()
        before = calls(listener)
        for number in (5, 6, 7):
            child.do(wait_for_balance, proxy, number)
            account.balance = number
            child.result()
        assert calls(listener) == before


def test_a_poll_that_answers_nothing_publishes_what_the_owner_changed() -> None:
    account = Account()
    proxy, listener = share(account)
    with listener, Child("fork", wait_for_balance, proxy, 0) as child:
        child.result(listener)
        account.balance = 5
        assert listener.poll() == 0
        assert child.do(read_once, proxy).result() == 5  # nobody polls


def read_once(account: Account) -> Any:
    return account.balance


def read_history(account: Account) -> Any:
    return getattr(account, "history", "gone")


def test_what_the_owner_deletes_or_changes_in_place_is_seen_too() -> None:
    account: Any = Account()
    proxy, listener = share(account)
    with listener, Child("fork", read_history, proxy) as child:
        assert child.result(listener) == []
        account.history.append(5)
        listener.poll()
        assert child.do(read_history, proxy).result() == [5]  # nobody polls
        del account.history
        listener.poll()
        assert child.do(read_history, proxy).result(listener) == "gone"


def test_a_call_at_home_publishes_at_once() -> None:
    proxy, listener = share(Account())
    with listener, Child("fork", wait_for_balance, proxy, 0) as child:
        child.result(listener)
        for number in (1, 2, 3):
            proxy.deposit(1)
            assert child.do(read_once, proxy).result() == number  # nobody polls


@proxied(published=["total"])
class Audited:
    """Its property asks its own proxy."""

    me: Any = None

    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, amount: int) -> None:
        self.balance += amount

    def tell(self) -> int:
        return self.balance

    @property
    def total(self) -> int:
        return int(self.me.tell())


def deposit_and_read(account: Audited) -> int:
    account.deposit(5)
    return account.total


def test_a_property_may_ask_its_objects_own_proxy() -> None:
    account = Audited()
    account.me, listener = share(account)
    with listener, Child("fork", deposit_and_read, account.me) as child:
        assert child.result(listener) == 5
        assert child.do(read_total, account.me).result(listener) == 5
        account.me.deposit(2)
        assert child.do(read_total, account.me).result() == 7  # nobody polls


def read_total(account: Audited) -> int:
    return account.total


def test_an_object_of_two_listeners_is_published_on_both() -> None:
    account = Account()
    one, listener = share(account)
    other, another = share(account)
    with listener, another, Child("fork", wait_for_balance, other, 0) as child:
        child.result(another)
        one.deposit(5)
        assert child.do(read_once, other).result() == 5  # nobody polls


@proxied(dispatch="threads", published=["count"])
class Counter:
    def __init__(self) -> None:
        self._right = threading.Lock()
        self.count = 0

    def add(self) -> int:
        with self._right:
            self.count += 1
            return self.count


def count_up(counter: Counter, times: int) -> None:
    latest = 0
    for _ in range(times):
        mine = counter.add()
        read = counter.count
        assert read >= max(mine, latest)
        latest = read


def test_calls_in_threads_publish_in_order() -> None:
    proxy, listener = share(Counter())
    with listener, listener.background():
        children = [Child("fork", count_up, proxy, 500) for _ in range(4)]
        for child in children:
            child.result()
            child.end()


class Blocker:
    def __init__(self, account: Account) -> None:
        self._account = account

    @blocking
    def deposit(self, amount: int) -> int:
        return self._account.deposit(amount)


def deposit_there(blocker: Blocker, account: Account) -> None:
    for _ in range(300):
        assert blocker.deposit(1) == account.balance


def test_what_a_call_in_a_thread_changes_elsewhere_is_seen_after_it() -> None:
    account = Account()
    with Listener[Any]() as listener:
        run(
            "fork",
            listener,
            deposit_there,
            listener.share(Blocker(account)),
            listener.share(account),
        )


@proxied(home="queue", published=["looks"])
class Bound:
    """Is bound to the thread that serves."""

    def __init__(self) -> None:
        self._threads: set[int] = set()

    @property
    def looks(self) -> int:
        self._threads.add(threading.get_ident())
        return len(self._threads)


def read_beside(bound: Bound, blocker: Blocker) -> None:
    for _ in range(100):
        assert bound.looks == 1
        blocker.deposit(1)


def test_what_is_bound_to_the_thread_that_serves_is_looked_at_there_only() -> None:
    bound = Bound()
    with Listener[Any]() as listener:
        proxies = listener.share(bound), listener.share(Blocker(Account()))
        run("fork", listener, read_beside, *proxies)
        assert bound._threads == {threading.get_ident()}
        assert dict(listener.stats().calls)["Bound's attributes"] == 1


@proxied(dispatch="asyncio", published=["count"])
class Slow:
    def __init__(self) -> None:
        self.count = 0

    async def add(self) -> int:
        await asyncio.sleep(0)
        self.count += 1
        return self.count


def add_slowly(slow: Any) -> None:
    for _ in range(100):
        mine = slow.add()
        assert slow.count >= mine


def test_async_methods_publish_before_they_reply() -> None:
    slow = Slow()
    proxy, listener = share(slow)

    async def serve(child: Child) -> None:
        serving = asyncio.create_task(listener.serve_async())
        await asyncio.to_thread(child.result)
        child.do(wait_for_count, proxy, 1234)
        slow.count = 1234  # nobody calls
        await asyncio.to_thread(child.result)
        listener.close()
        await serving

    with listener, Child("fork", add_slowly, proxy) as child:
        asyncio.run(serve(child))


def wait_for_count(slow: Slow, count: int) -> None:
    end = monotonic() + PATIENCE
    while slow.count != count:
        assert monotonic() < end


def read_inside(account: Account) -> None:
    with locked(account):
        for number in range(1, 50):
            assert account.deposit(1) == account.balance == number


def test_a_read_in_a_block_is_one_and_one_outside_does_not_wait() -> None:
    proxy, listener = share(Account())
    with listener:
        run("fork", listener, read_inside, proxy)
        with listener.background(), Child("fork", wait_for_balance, proxy, 49) as child:
            child.result()
            with locked(proxy):
                assert child.do(read_once, proxy).result() == 49


@proxied(published=["itself"])
class Selfish:
    @property
    def itself(self) -> int:
        return self.proxy.number()

    def number(self) -> int:
        return 5


def test_a_property_that_calls_its_own_object_is_published() -> None:
    selfish = Selfish()
    proxy, listener = share(selfish)
    selfish.proxy = proxy
    with listener, Child("fork", getattr, proxy, "itself") as child:
        assert child.result(listener) == 5
        assert [p.asks for p in listener._objects.publications.values()] == [False]


class Auditor:
    def audit(self, bank: Bank) -> None:
        one, other = bank.account(0), bank.account(1)
        for total in range(100):
            assert (one.balance, other.balance) == (-total, total)
            bank.transfer(1)
        assert is_published(other)


def have_audited(auditor: Auditor) -> None:
    proxy, listener = share(Bank())
    with listener, listener.background():
        auditor.audit(proxy)


def test_what_a_called_back_object_changes_elsewhere_is_seen_by_who_called_it() -> None:
    proxy, listener = share(Auditor())
    with listener:
        run("fork", listener, have_audited, proxy)


# Hammered -----------------------------------------------------------------------------------------


def read_all_the_time(account: Account, until: int) -> int:
    latest, reads = (0, 0, 0), 0
    while min(latest) < until:
        balance, minus, text = account.pair
        assert (minus, text) == (-balance, str(balance) * (balance % 7))
        now = balance, account.balance, account.twice // 2
        assert all(map(operator.ge, now, latest)), "one went back"
        latest = now
        reads += 1
    return reads


def deposit_all_the_time(account: Account, times: int) -> None:
    for _ in range(times):
        account.deposit(1)


def test_nothing_is_torn_or_goes_back_while_it_is_written(context: Any) -> None:
    proxy, listener = share(Account())
    with listener, listener.background():
        readers = [Child(context, read_all_the_time, proxy, 3000) for _ in range(3)]
        with Child(context, deposit_all_the_time, proxy, 3000) as writer:
            writer.result()
        reads = [reader.result() for reader in readers]
        for reader in readers:
            reader.end()
        assert min(reads) > 0
        assert dict(listener.stats().calls)["Account.deposit"] == 3000


def test_the_owner_can_write_at_any_time() -> None:
    """From a thread of its own, by calls at home, beside the one that serves."""
    proxy, listener = share(Account())
    with listener, listener.background():
        readers = [Child("fork", read_all_the_time, proxy, 5000) for _ in range(2)]
        deposit_all_the_time(proxy, 5000)
        for reader in readers:
            reader.result()
            reader.end()


# Many, and reused ---------------------------------------------------------------------------------


class Branch:
    def open(self, balance: int) -> Account:
        return Account(balance)


def open_many(branch: Branch, count: int) -> None:
    kept = branch.open(-1)
    for number in range(count):
        account = branch.open(number)
        assert [account.balance for _ in range(3)] == [number] * 3
        assert is_published(account)
        assert kept.balance == -1
    readings = link_of(branch).call.func.__self__._readings
    assert len(readings._places) <= 8


def test_slots_of_objects_that_are_gone_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slots, "COUNT", 8)
    proxy, listener = share(Branch())
    with listener:
        run("fork", listener, open_many, proxy, 100)
        assert listener._objects.publisher._used <= 8


def keep_many(branch: Branch, count: int) -> None:
    accounts = [branch.open(number) for number in range(count)]
    for _ in range(3):
        assert [account.balance for account in accounts] == list(range(count))
    for account in accounts:
        account.deposit(1)
    assert [account.balance for account in accounts] == list(range(1, count + 1))


@pytest.mark.parametrize("slots", [0, 1, 20, 1024])
def test_more_attributes_than_slots_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    monkeypatch.setattr(_slots, "COUNT", slots)
    proxy, listener = share(Branch())
    with listener:
        run("fork", listener, keep_many, proxy, 50)


def test_a_slot_that_is_of_another_object_now_is_not_read() -> None:
    """A client that still looks there does not get the other one's value."""
    one, other = Account(1), Account(2)
    listener: Listener[Any] = Listener()
    with listener:
        proxy = listener.share(one)
        with Child("fork", wait_for_balance, proxy, 1) as child:
            child.result(listener)
            publisher = listener._objects.publisher
            (publication,) = listener._objects.publications.values()
            publication.end()
            another = listener.share(other)
            other_reader = Child("fork", wait_for_balance, another, 2)
            other_reader.result(listener)
            other_reader.end()
            (taken,) = listener._objects.publications.values()
            assert taken.place == publication.place
            assert publisher._used == 1
            assert child.do(read_once, proxy).result(listener) == 1


# Ends ---------------------------------------------------------------------------------------------


def is_published(account: Any) -> bool:
    """Whether its balance has been read without a call."""
    return hasattr(link_of(account).latest[0][0], "obj")


def test_a_dead_owner_is_noticed_in_the_end_by_who_only_reads() -> None:
    account, host = spawn(Account)
    with host:
        for _ in range(5000):
            assert account.balance == 0
        host.process.kill()
        host.process.join()
        end = monotonic() + PATIENCE
        with pytest.raises(OwnerDied, match="SIGKILL"):  # noqa: PT012 - until it does
            while monotonic() < end:
                account.balance


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is so always")
def test_without_life_descriptors_the_dead_are_noticed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    account, host = spawn(Account)
    with host:
        for _ in range(3):
            account.balance
        assert is_published(account)
        owner = link_of(account).call.func.__self__
        owner.lines._life = None
        host.process.kill()
        host.process.join()
        assert owner.lines.is_dead()


def read_until_closed(account: Account) -> None:
    with pytest.raises(ListenerClosed):  # noqa: PT012 - until it does
        while True:
            account.balance
    with pytest.raises(ListenerClosed):
        account.balance


def test_after_close_reads_raise(context: Any) -> None:
    proxy, listener = share(Account())
    with listener, listener.background(), Child(context, wait_for_balance, proxy, 0) as child:
        child.result()
        child.do(read_until_closed, proxy)
        proxy.deposit(0)
        listener.close()
        child.result()


def read_in_children(account: Account) -> None:
    assert [account.balance for _ in range(3)] == [0] * 3
    before = open_descriptors()
    for _ in range(3):
        in_fork(lambda: wait_for_balance(account, 0))
    assert opened_since(before) == []
    account.deposit(1)
    assert account.balance == 1


def test_a_forked_child_of_a_reader_reads_on_without_a_call() -> None:
    proxy, listener = share(Account())
    with listener:
        run("fork", listener, read_in_children, proxy)
        assert dict(listener.stats().calls) == {"Account's attributes": 1, "Account.deposit": 1}


@proxied(published=["number"])
class Forker:
    def __init__(self) -> None:
        self.number = 0

    def fork(self) -> int:
        """Fork a child that goes on with the call."""
        pid = os.fork()
        self.number += 1 if pid else 1000
        return pid


def fork_there(forker: Forker) -> None:
    assert forker.number == 0
    assert forker.number == 0
    forker.fork()
    for _ in range(100):
        assert forker.number == 1


def test_a_forked_child_of_the_owner_publishes_nothing() -> None:
    def owner() -> None:
        forker = Forker()
        proxy, listener = share(forker)
        with Child("fork", fork_there, proxy) as child:
            try:
                child.result(listener)
            except ListenerClosed:
                os._exit(0)  # the child
        listener.close()
        assert os.wait()[1] == 0

    in_fork(owner)


def test_who_asked_before_it_forked_loses_nothing_to_its_child() -> None:
    proxy, listener = share(Account())
    with listener, Child("fork", partial(ask_and_fork, proxy)) as child:
        child.result(listener)


def ask_and_fork(account: Account) -> None:
    assert account.balance == 0  # asked for, not taken yet
    in_fork(lambda: wait_for_balance(account, 0, 0))
    before = [account.balance for _ in range(3)]
    assert before == [0] * 3
    assert is_published(account)


def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    proxy, listener = share(Account())
    with listener, Child("fork", read_once, proxy) as child:
        child.result(listener)
        (publication,) = listener._objects.publications.values()

        def look() -> None:
            publication.look()
            publication.end()

        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with listener._objects.publisher.right:
                held.set()
                done.wait(PATIENCE)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(PATIENCE)
        try:
            in_fork(look)
        finally:
            done.set()
            thread.join()


def test_an_owner_without_clients_looks_at_nothing() -> None:
    proxy, listener = share(Account())
    with listener:
        child = Child("fork", read_again_and_again, proxy)
        child.result(listener)
        assert listener._service.looks
        child.end()
        listener.serve(until=child.process)
        assert not listener._service.looks
        run("fork", listener, read_again_and_again, proxy)


def test_nothing_is_left_of_readers_and_owners() -> None:
    named = named_memory()
    before = open_descriptors()
    for _ in range(3):
        proxy, listener = share(Account())
        with listener:
            run("fork", listener, read_again_and_again, proxy)
        account, host = spawn(Account)
        with host:
            read_again_and_again(account)
        del account, host, proxy, listener
    assert opened_since(before) == []
    assert named_memory() <= named


def read_again_and_again(account: Account) -> None:
    for _ in range(10):
        account.balance


def test_without_descriptors_reads_are_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_left(size: int) -> Any:
        raise OSError("no descriptor left")

    monkeypatch.setattr("pipeproxy._system._memory.make", nothing_left)
    proxy, listener = share(Account())
    with listener:
        run("fork", listener, read_many, proxy, 20)
        assert calls(listener) == 20


# Interrupted --------------------------------------------------------------------------------------


def test_an_interrupted_reader_reads_on_and_nothing_is_swallowed() -> None:
    def reader() -> None:
        account, host = spawn(Account)
        with host:
            for _ in range(3):
                account.deposit(1)

            def read() -> None:
                account.history
                account.balance
                link_of(account).latest[0] = _UNREAD

            read()
            before = open_descriptors()
            assert interrupt(read, rounds=3000, longest=30e-6) > 300
            assert (account.balance, account.history) == (3, [1, 1, 1])
            assert len(opened_since(before)) <= 5  # lines that were left are opened anew

    in_fork(reader)


_UNREAD: Any = ({(): None}, 0, ())


def test_an_interrupted_owner_publishes_on_and_nothing_is_swallowed() -> None:
    def owner() -> None:
        account = Account()
        proxy, listener = share(account)
        with listener:
            child = Child("fork", read_both, proxy)
            child.result(listener)
            assert len(listener._objects.publications) == 2
            deposits = interrupt(lambda: proxy.deposit(1), rounds=3000, longest=30e-6)
            assert deposits > 300
            proxy.deposit(1)
            expected = account.balance, account.twice
            assert child.do(read_both, proxy).result() == expected  # nobody polls
            child.end()

    in_fork(owner)


def read_both(account: Account) -> tuple[int, int]:
    return account.balance, account.twice


def test_a_signal_handler_that_changes_what_is_being_written_is_heeded() -> None:
    account = Account()
    proxy, listener = share(account)
    with listener, Child("fork", read_once, proxy) as child:
        child.result(listener)
        (publication,) = listener._objects.publications.values()
        slot = publication._slot
        publication._slot = Handled(slot, [partial(proxy.deposit, 10), partial(proxy.deposit, 20)])
        proxy.deposit(1)
        assert account.balance == 31
        assert slot.word[()] % 2 == 0
        assert child.do(read_once, proxy).result() == 31  # nobody polls


class Handled:
    """A slot in the middle of whose writes a signal handler makes calls."""

    def __init__(self, slot: Any, handlers: list[Any]) -> None:
        self.word = slot.word
        self.slot, self.handlers = slot, handlers
        self.body, slot._body = slot._body, self

    def write(self, *args: Any) -> None:
        self.slot.write(*args)

    def __setitem__(self, place: Any, data: Any) -> None:
        if self.handlers:
            self.handlers.pop()()
        self.body[place] = data


def test_what_a_signal_handler_raises_in_a_property_is_not_taken_for_its_own() -> None:
    @proxied(published=["value"])
    class Once:
        raises = 0

        @property
        def value(self) -> int:
            if self.raises:
                self.raises -= 1
                raise KeyError("a handler's")
            return 5

        def call(self) -> None: ...

    target = Once()
    proxy, listener = share(target)
    with listener, Child("fork", getattr, proxy, "value") as child:
        assert child.result(listener) == 5
        target.raises = 1
        with pytest.raises(KeyError, match="a handler's"):
            proxy.call()
        target.raises = 2
        proxy.call()  # it raises each time: it is the property's
        assert [p.asks for p in listener._objects.publications.values()] == [True]


def test_a_look_that_is_overtaken_begins_again() -> None:
    """Another thread publishes what is newer while this one still has the older value."""

    @proxied(dispatch="threads", published=["value"])
    class Raced:
        number = 0
        overtake: Any = None

        @property
        def value(self) -> int:
            seen = self.number
            if self.overtake is not None:
                overtake, self.overtake = self.overtake, None
                overtake()
            return seen

        def add(self) -> None:
            self.number += 1

    target = Raced()
    proxy, listener = share(target)
    with listener, Child("fork", getattr, proxy, "value") as child:
        child.result(listener)

        def overtake() -> None:
            thread = threading.Thread(target=proxy.add)
            thread.start()
            thread.join()

        for number in (2, 4, 6):
            target.overtake = overtake
            proxy.add()
            assert child.do(getattr, proxy, "value").result() == number  # nobody polls
