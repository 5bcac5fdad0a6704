"""What any proxy can be asked: is somebody there, how far is it; and that it is given back."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import (
    Listener,
    aio,
    by_ref,
    is_alive,
    locked,
    notify,
    ping,
    proxied,
    release,
    run,
    share,
    spawn,
    spawning,
    submit,
    timeout,
)

from .children import Child, outcome, poll_until
from .support import fork, in_fork, interrupt

pytestmark = pytest.mark.usefixtures("descriptors_kept")

RELEASED = (
    "raised",
    "Released",
    "this proxy was given back, by release(); ask for the object again",
)


@proxied(published=["balance"])
class Account:
    def __init__(self, owner: str) -> None:
        self.owner, self.balance = owner, 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def __iter__(self) -> Iterator[int]:
        return iter([self.balance])


@proxied
class Bank:
    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def account(self, owner: str) -> Account:
        return self.accounts.setdefault(owner, Account(owner))

    def close(self, account: Account) -> None:
        del self.accounts[account.owner]

    def ask(self, teller: Callable[[Account], Any]) -> Any:
        return teller(self.account("ada"))


@pytest.fixture
def listener() -> Iterator[Listener[Any]]:
    with Listener() as listener:
        yield listener


def references(listener: Listener[Any]) -> int:
    return listener.stats().references


# Giving back -------------------------------------------------------------------------------------


kept: list[Any] = []


def hold(bank: Bank) -> int:
    gc.disable()
    account = bank.account("ada")
    kept.append(account)
    return account.deposit(5)


def release_it() -> Any:
    release(kept[-1])
    release(kept[-1])  # which does nothing
    return outcome(kept[-1].deposit, 1)


def every_use(bank: Bank) -> list[Any]:
    account: Any = bank.account("ada")
    before = hash(account), account.balance
    bound = account.deposit
    release(account)

    async def wait() -> Any:
        return await aio(account.deposit)(1)

    uses: list[Callable[[], Any]] = [
        lambda: account.deposit(1),
        lambda: bound(1),
        lambda: account.owner,
        lambda: account.balance,
        lambda: setattr(account, "owner", "grace"),
        lambda: delattr(account, "owner"),
        lambda: list(account),
        lambda: submit(account.deposit, 1),
        lambda: notify(account.deposit, 1),
        lambda: asyncio.run(wait()),
        lambda: run(account, id),
        lambda: locked(account).__enter__(),
        lambda: pickle.dumps(account),
        lambda: ping(account),
    ]
    said = [outcome(use) for use in uses]
    said.append(outcome(bank.close, account)[:2])
    said.append((hash(account), 0) == before and "released" in repr(account))
    return said


def hold_again(bank: Bank) -> list[Any]:
    account = bank.account("ada")
    account.deposit(5)
    release(account)
    again = bank.account("ada")
    return [again is account, again.deposit(1), outcome(account.deposit, 1)]


def pass_on_and_release(bank: Bank) -> bytes:
    account = bank.account("ada")
    pickled = pickle.dumps(account)
    bank.close(account)
    release(account)
    return pickled


def fork_and_release(bank: Bank) -> int:
    account = bank.account("ada")
    bank.close(account)
    reader, writer = os.pipe()
    pid = fork(lambda: os.read(reader, 1) and account.deposit(7))
    release(account)
    os.write(writer, b"!")
    status = os.waitpid(pid, 0)[1]
    os.close(reader)
    os.close(writer)
    return status


def release_within(bank: Bank) -> tuple[Any, ...]:
    account = bank.account("ada")
    with locked(account):
        release(account)
    return outcome(account.deposit, 1)


def lend_and_release(bank: Bank) -> Any:
    def teller(account: Account) -> int:
        account.deposit(3)
        release(account)
        return account is bank.account("ada")

    return bank.ask(by_ref(teller))


def test_what_is_released_is_given_back_at_once(
    listener: Listener[Any], context: BaseContext
) -> None:
    bank = listener.share(Bank())
    with Child(context, hold, bank) as child:
        assert child.result(listener) == 5
        held = references(listener)
        assert child.do(release_it).result(listener) == RELEASED
        poll_until(lambda: references(listener) == held - 1, listener)  # it makes no other call


def test_nothing_can_be_done_with_what_is_released(
    listener: Listener[Any], context: BaseContext
) -> None:
    *uses, as_argument, stays_the_same = run_in(context, listener, every_use)
    assert uses == [RELEASED] * len(uses)
    assert as_argument == ("raised", "CodecError")
    assert stays_the_same


def run_in(context: Any, listener: Listener[Any], function: Callable[[Any], Any]) -> Any:
    with Child(context, function, listener.share(Bank())) as child:
        return child.result(listener)


def test_an_object_that_arrives_again_is_another_proxy(listener: Listener[Any]) -> None:
    assert run_in("fork", listener, hold_again) == [False, 6, RELEASED]


def test_what_was_pickled_is_held_still(listener: Listener[Any]) -> None:
    with Child("fork", pass_on_and_release, listener.share(Bank())) as child:
        account = pickle.loads(child.result(listener))
        assert account.deposit(2) == 2


def test_what_a_child_inherited_is_held_still(listener: Listener[Any]) -> None:
    assert run_in("fork", listener, fork_and_release) == 0


def test_a_section_ends_though_its_object_was_released_inside(listener: Listener[Any]) -> None:
    bank: Any = listener.share(Bank())
    with Child("fork", release_within, bank) as child:
        assert child.result(listener) == RELEASED
    assert bank.account("ada").deposit(1) == 1


def test_what_came_with_an_upcall_can_be_released(listener: Listener[Any]) -> None:
    assert run_in("fork", listener, lend_and_release) is False


def test_at_home_the_object_stays_shared_and_the_proxy_leads_nowhere(
    listener: Listener[Any],
) -> None:
    target = Bank()
    bank: Any = listener.share(target)
    account = bank.account("ada")
    before = len(listener._objects)
    release(account)
    assert len(listener._objects) == before - 1  # nobody holds it
    release(bank)
    assert len(listener._objects) == before - 1  # it is shared for good
    assert outcome(bank.account, "ada") == outcome(account.deposit, 1) == RELEASED
    assert not is_alive(bank)
    again: Any = listener.share(target)
    assert again.account("ada").deposit(1) == 1
    assert outcome(again.close, account) == RELEASED


def test_what_an_interrupt_leaves_half_released_can_be_released() -> None:
    def test() -> None:
        with Listener() as listener:
            bank: Any = listener.share(Bank())
            before = len(listener._objects)
            accounts: list[Any] = []

            def check() -> None:
                for account in accounts:
                    release(account)
                    assert outcome(account.deposit, 1) == RELEASED
                    assert bank.account("ada").deposit(1)  # by another proxy
                accounts[:] = [bank.account("ada")]

            raised = interrupt(
                lambda: release(accounts[0]), rounds=3000, prepare=check, longest=15e-6
            )
            assert raised > 100
            release(accounts.pop())
            listener._home.tidy()
            assert len(listener._objects) == before

    in_fork(test)


# Whether somebody is there -----------------------------------------------------------------------


def look(proxy: Any) -> bool:
    return is_alive(proxy)


def test_an_open_listener_is_alive_whether_it_is_served_or_not(
    listener: Listener[Any], context: BaseContext
) -> None:
    bank: Any = listener.share(Bank())
    assert is_alive(bank)
    with Child(context, look, bank) as child:
        assert child.result() is True  # nobody serves
        child.do(call, bank).result(listener)
        assert child.do(look, bank).result() is True
        listener.close()
        assert not is_alive(bank)
        assert child.do(look, bank).result() is False


def call(bank: Bank) -> None:
    bank.account("ada")


def test_a_stopped_owner_is_alive_and_a_dead_one_is_not() -> None:
    with spawning(multiprocessing.get_context("fork")):
        bank, host = spawn(Bank)
    pid = host.process.pid
    assert pid is not None
    assert is_alive(bank)
    os.kill(pid, signal.SIGSTOP)
    assert is_alive(bank)
    pickled = pickle.dumps(bank)
    os.kill(pid, signal.SIGKILL)
    host.process.join()
    assert not is_alive(bank)
    with Child("spawn", look_at, pickled) as stranger:
        assert stranger.result() is False  # which never met the owner
    host.close()


def look_at(pickled: bytes) -> bool:
    return is_alive(pickle.loads(pickled))


# How far it is -----------------------------------------------------------------------------------


def test_ping_takes_as_long_as_a_call(listener: Listener[Any], context: BaseContext) -> None:
    bank: Any = listener.share(Bank())
    with Child(context, ping, bank) as child:
        assert child.result(listener) > 0
        assert child.do(ping_within, 0.05, bank).result()[:2] == ("raised", "CallTimeout")
        with locked(bank):
            child.do(ping_within, 0.05, bank)  # somebody is in the section
            poll_until(child._control.poll, listener)
        assert child.result()[:2] == ("raised", "CallTimeout")
    assert ping(bank) > 0  # at home


def ping_within(seconds: float, proxy: Any) -> Any:
    with timeout(seconds):
        return outcome(ping, proxy)


@pytest.mark.parametrize("function", [release, is_alive, ping])
def test_what_is_no_proxy_is_refused(function: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="a proxy is needed"):
        function(Bank())


def test_nothing_of_it_can_be_mistaken_for_a_method() -> None:
    @proxied
    class Same:
        def release(self) -> str:
            return "its own"

        def ping(self) -> str:
            return "its own"

        is_alive = True

    proxy, listener = share(Same())
    with listener:
        assert proxy.release() == proxy.ping() == "its own"
        assert proxy.is_alive is True
