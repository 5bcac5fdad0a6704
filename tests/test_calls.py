"""What a client's call takes with it, and what becomes of that where the call fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any

import pytest

from pipeproxy import CodecError, OwnerDied, by_ref, proxied, spawn, spawning
from pipeproxy._channels._door import Route
from pipeproxy._proxies._proxy import link_of
from pipeproxy._references._lent import lending
from pipeproxy._references._references import owner_at, rebuild
from pipeproxy.codecs import pickle as codec

from .support import Interrupted, interrupted_once


@proxied
class Own:
    """An object of the client's."""

    def __init__(self, value: int) -> None:
        self.value = value

    def get(self) -> int:
        return self.value


class Friend:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def use(self, *own: Any, each: Callable[[Any], Any] = lambda own: own.get()) -> list[Any]:
        return [each(one) for one in own]

    def keep(self, own: Any) -> None:
        self.kept.append(own)

    def give_back(self) -> list[Any]:
        kept, self.kept = self.kept, []
        return kept

    def forget(self) -> None:
        self.kept.clear()


@pytest.fixture(scope="module")
def friend() -> Iterator[Any]:
    with spawning(get_context("fork")):
        friend, host = spawn(Friend)
    with host:
        yield friend


def all_lent() -> set[int]:
    home = lending()
    home.tidy()
    return {shared.number for shared in home._objects}


@pytest.fixture(autouse=True)
def lent() -> Callable[[], int]:
    """How much is lent now that was not before the test."""
    before = all_lent()
    return lambda: len(all_lent() - before)


def let_go(friend: Any) -> None:
    """Let the owner hold nothing, and tell so: that comes with its replies."""
    for _ in range(3):
        friend.forget()


def test_what_a_signal_handler_raises_as_a_result_is_read_is_not_lost(
    friend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "loads", interrupted_once())
    with pytest.raises(Interrupted):
        friend.use()
    assert friend.give_back() == []


def test_ones_own_objects_are_called_where_they_are(friend: Any) -> None:
    assert friend.use(Own(3), Own(4)) == [3, 4]


def test_a_function_by_reference_runs_here_in_this_thread(friend: Any) -> None:
    seen = []

    def look(own: Any) -> Any:
        seen.append((threading.get_ident(), os.getpid()))
        return own.get() + 1  # the very object: it is at home here

    assert friend.use(Own(3), each=by_ref(look)) == [4]
    assert seen == [(threading.get_ident(), os.getpid())]


def test_what_was_kept_comes_back_as_the_object_itself(
    friend: Any, lent: Callable[[], int]
) -> None:
    own = Own(5)
    friend.keep(own)
    assert lent() == 1
    assert friend.give_back()[0] is own
    let_go(friend)
    assert lent() == 0


def test_what_is_not_kept_is_not_lent_any_more_when_the_call_has_ended(
    friend: Any, lent: Callable[[], int]
) -> None:
    friend.use(Own(1), Own(2))
    let_go(friend)
    assert lent() == 0


def test_nothing_is_lent_by_a_call_that_cannot_be_sent(
    friend: Any, lent: Callable[[], int]
) -> None:
    with pytest.raises(CodecError, match=r"argument 'own' .*cannot pickle|number 2"):
        friend.use(Own(1), threading.Lock())
    assert lent() == 0


def test_a_process_without_a_door_that_is_no_client_cannot_be_called() -> None:
    route = Route(b"its home's name!", b"another process!", 12345, b"", b"", 0.0)
    proxy = rebuild(tuple(route), 1, link_of(by_ref(Own(1))).plain)
    assert not owner_at(route).route.address
    with pytest.raises(OwnerDied, match="12345.*no listener.*share the object on a Listener"):
        proxy.get()
