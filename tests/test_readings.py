"""What a client keeps of what it reads, for how long, and what it does without anything to read."""

from __future__ import annotations

from typing import Any

import pytest

from pipeproxy import OwnerDied, proxied, share, spawn
from pipeproxy._client import _readings
from pipeproxy._proxies._proxy import link_of, unread

from .children import Child, poll_until
from .support import open_descriptors, opened_since

pytestmark = pytest.mark.usefixtures("descriptors_kept")


@proxied(published=["balance"])
class Account:
    balance = 0


def test_a_kept_value_is_handed_out_for_as_long_as_its_slot_has_that_version() -> None:
    account, host = spawn(Account)
    with host:
        assert read_until_kept(account)
        latest = link_of(account).latest
        word, version, value = latest[0]
        assert (word[()], value) == (version, 0)
        latest[0] = word, version, 7
        assert account.balance == 7
        latest[0] = word, version - 2, 7
        assert account.balance == 0


def test_what_is_kept_is_forgotten_when_the_owner_is_dead() -> None:
    account, host = spawn(Account)
    with host:
        assert read_until_kept(account)
        host.process.kill()
        poll_until(lambda: is_released(account))
        with pytest.raises(OwnerDied):
            account.balance


def test_a_forked_child_forgets_what_its_parent_kept_and_waits_for_the_death_itself() -> None:
    account, host = spawn(Account)
    with host:
        assert read_until_kept(account)
        with Child("fork", is_released, account) as child:
            assert child.result()
            assert child.do(read_until_kept, account).result()
            host.process.kill()
            assert child.do(read_until_the_end, account).result() == "OwnerDied"


def is_released(account: Account) -> bool:
    try:
        link_of(account).latest[0][0][()]
    except ValueError:
        return True
    return False


def read_until_the_end(account: Account) -> str:
    try:
        while True:
            account.balance
    except OwnerDied as error:
        return type(error).__name__


def test_a_link_keeps_nothing_at_first_and_one_place_for_each() -> None:
    (nothing,) = unread((*[()] * 10, ("balance",)))
    word, version, value = nothing
    assert word[()] != version
    assert value is None


def read_until_kept(account: Account) -> bool:
    for _ in range(5):
        account.balance
    return hasattr(link_of(account).latest[0][0], "obj")


def test_memory_that_the_owner_cannot_make_is_asked_for_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, listener = share(Account())
    with listener, Child("fork", read_until_kept, proxy) as child:
        with monkeypatch.context() as patch:
            patch.setattr("pipeproxy._system._memory.make", _fail)
            assert child.result(listener) is False
        assert child.do(skip_the_wait, proxy).result(listener) is True


def _fail(size: int) -> Any:
    raise OSError("no memory")


def skip_the_wait(account: Account) -> bool:
    readings = link_of(account).call.func.__self__._readings
    assert readings._asked is None
    assert readings._ask_at > 0
    readings._ask_at = 0
    return read_until_kept(account)


def test_an_owner_that_sends_no_memory_is_asked_for_each_value() -> None:
    proxy, listener = share(Account())
    with listener, Child("fork", read_what_is_no_memory, proxy) as child:
        child.result(listener)


def read_what_is_no_memory(account: Account) -> None:
    assert read_until_kept(account)
    readings = link_of(account).call.func.__self__._readings
    readings._memory = None
    link_of(account).latest[:] = unread(link_of(account).plain)
    before = open_descriptors()
    original, _readings._slots.TOTAL = _readings._slots.TOTAL, 5
    try:
        assert read_until_kept(account) is False
    finally:
        _readings._slots.TOTAL = original
    assert opened_since(before) == []
