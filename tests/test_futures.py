"""Futures of calls in flight, when a signal handler raises."""

from __future__ import annotations

from concurrent import futures
from typing import Any

import pytest

from pipeproxy import share, submit
from pipeproxy._client._futures import Future

from .children import Child
from .support import PATIENCE, interrupt


def test_a_future_that_is_not_done_is_not_waited_for_longer_than_asked() -> None:
    future: Future[int] = Future()
    with pytest.raises(futures.TimeoutError):
        future.result(0.01)
    future.keep(5)
    assert future.result(0) == 5
    assert futures.wait([future]).done == {future}


def test_who_cancels_makes_no_list_in_place_of_one_that_another_thread_waits_in() -> None:
    future: Future[int] = Future()
    assert future.cancel()
    assert future._waiting is None


def ask_while_interrupted(proxy: Any) -> int:
    """Let calls fly, wait for them and cancel them while a handler raises; then for some more."""

    def ask() -> None:
        asked = [submit(proxy.count, "token") for _ in range(5)]
        asked[-1].cancel()
        for future in asked[:-1]:
            assert future.result(PATIENCE) == 1

    raised = interrupt(ask, rounds=1500, longest=400e-6)
    asked = [submit(proxy.count, "token") for _ in range(20)]
    assert [future.result(PATIENCE) for future in asked] == [1] * 20
    return raised


def test_a_handler_that_raises_lets_no_future_hang() -> None:
    proxy, listener = share(["token"])
    with listener, listener.background(), Child("fork", ask_while_interrupted, proxy) as child:
        assert child.result() > 100
