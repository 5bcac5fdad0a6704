"""What a client keeps of what it reads, for how long, and what it does without anything to read."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from pipeproxy import _readings, proxied, share, spawn
from pipeproxy._proxy import link_of, unread
from pipeproxy._readings import _MOST, _Reading
from pipeproxy._slots import Slot

from .children import Child
from .support import open_descriptors, opened_since

pytestmark = pytest.mark.usefixtures("descriptors_kept")


@proxied(published=["balance"])
class Account:
    balance = 0


def paces(*moments: float) -> list[int]:
    reading = _Reading(Slot(memoryview(bytearray(256)), 0))
    return [reading.pace(moment) for moment in moments]


def test_who_reads_now_and_then_looks_each_time() -> None:
    assert paces(1, 2, 3, 4) == [1, 1, 1, 1]


def test_who_reads_all_the_time_looks_less_and_less_up_to_a_limit() -> None:
    found = paces(1, *[1 + number * 1e-5 for number in range(1, 12)])
    assert found == [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256, 256]
    assert found[-1] == _MOST


def test_after_a_pause_it_looks_again_each_time() -> None:
    assert paces(1, 1.00001, 1.00002, 2, 3, 3.00001) == [1, 2, 4, 1, 1, 2]


def test_a_kept_value_is_handed_out_as_often_as_it_may_be() -> None:
    account, host = spawn(Account)
    with host:
        account.balance
        account.balance
        latest = link_of(account).latest
        word, version, _ = latest[0]
        assert word[()] == version
        latest[0] = word, version, islice(iter([5, 6, 7]), 3)
        assert [account.balance for _ in range(4)] == [5, 6, 7, 0]


def test_a_link_keeps_nothing_at_first_and_one_place_for_each() -> None:
    (nothing,) = unread((*[()] * 10, ("balance",)))
    word, version, values = nothing
    assert word[()] != version
    assert list(values) == []


def read_until_kept(account: Account) -> bool:
    for _ in range(3):
        account.balance
    return hasattr(link_of(account).latest[0][0], "obj")


def test_memory_that_the_owner_cannot_make_is_asked_for_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, listener = share(Account())
    with listener, Child("fork", read_until_kept, proxy) as child:
        with monkeypatch.context() as patch:
            patch.setattr("pipeproxy._memory.make", _fail)
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
