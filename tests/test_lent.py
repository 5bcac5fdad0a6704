"""What a process lends without a listener."""

from __future__ import annotations

import gc
import queue
import threading
from functools import partial
from typing import Any

import pytest

from pipeproxy import Listener, SpecError, by_ref, proxied, share, submit
from pipeproxy._chains._activities import here
from pipeproxy._proxies._proxy import link_of
from pipeproxy._references._lent import lending

from .children import Child
from .support import PATIENCE, in_fork


@proxied
class Counter:
    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> int:
        before = self.total
        self.total = before + amount
        return self.total


def lent() -> int:
    """Return how many objects of this process somebody holds."""
    gc.collect()
    lending().tidy()
    return len(lending()._objects)


def test_a_proxy_calls_what_it_stands_for_directly() -> None:
    items = [1]
    by_ref(items).append(2)
    assert items == [1, 2]
    assert by_ref(len)("abc") == 3


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", b"bytes"])
def test_what_never_changes_is_returned_as_it_is(value: object) -> None:
    assert by_ref(value) is value


def test_a_proxy_is_returned_as_it_is() -> None:
    proxy, listener = share(Counter())
    with listener:
        assert by_ref(proxy) is proxy


def test_a_class_is_refused() -> None:
    with pytest.raises(SpecError, match="is a class"):
        by_ref(Counter)


def test_two_proxies_of_one_object_are_one() -> None:
    counter = Counter()
    assert by_ref(counter) is by_ref(counter)


def test_an_object_is_lent_for_as_long_as_somebody_holds_it() -> None:
    before = lent()
    proxy = by_ref(Counter())
    assert lent() == before + 1
    del proxy
    assert lent() == before


def test_threads_that_lend_and_forget_one_object_never_meet_a_proxy_of_nothing() -> None:
    counter = Counter()
    right: list[bool] = []

    def work() -> None:
        for _ in range(300):
            proxy = by_ref(counter)
            right.append(lending().target_of(link_of(proxy).number) is counter)
            del proxy

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 2400


def test_an_object_has_one_section_wherever_it_is_shared() -> None:
    counter = Counter()
    proxy, listener = share(counter)
    another, second = share(counter)
    lent_one: Any = by_ref(counter)
    with listener, second:
        sections = {
            home._objects.of(counter).section for home in (listener._home, second._home, lending())
        }
        assert len(sections) == 1

        def add(one: Any) -> None:
            for _ in range(2000):
                one.add(1)

        threads = [threading.Thread(target=partial(add, p)) for p in (proxy, another, lent_one)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counter.total == 6000


def be_called_back_twice(kept: Any, first: Any, second: Any, end: Any) -> int:
    """Have one function called inside a call of itself, by another chain."""
    deepest = depth = 0

    def function() -> None:
        nonlocal deepest, depth
        depth += 1
        deepest = max(depth, deepest)
        if depth == 1:
            first.set()
            assert second.wait(PATIENCE)
        depth -= 1

    kept.put(by_ref(function))
    assert end.wait(PATIENCE)
    return deepest


def test_a_function_is_called_at_once_also_inside_a_call_of_itself() -> None:
    with Listener[Any]() as listener:
        functions: queue.Queue[Any] = queue.Queue()
        first, second, end = (threading.Event() for _ in range(3))
        shared = [listener.share(each) for each in (functions, first, second, end)]
        with Child("fork", be_called_back_twice, *shared) as child, listener.background():
            function = functions.get(timeout=PATIENCE)
            thread = threading.Thread(target=function)
            thread.start()
            assert first.wait(PATIENCE)
            function()
            second.set()
            thread.join(PATIENCE)
            end.set()
            assert child.result() == 2


def be_called_back_apart(kept: Any, end: Any) -> list[int]:
    """Wait for a future, so that another thread answers what comes meanwhile."""
    under: list[int] = []
    kept.put(by_ref(lambda: under.append(len(here.stack.calls))))
    future = submit(end.wait, PATIENCE)
    assert future.result(PATIENCE)
    return under


def test_who_is_called_back_in_a_thread_apart_is_on_top_of_nothing() -> None:
    with Listener[Any]() as listener:
        functions: queue.Queue[Any] = queue.Queue()
        end = threading.Event()
        shared = [listener.share(each) for each in (functions, end)]
        with Child("fork", be_called_back_apart, *shared) as child, listener.background():
            functions.get(timeout=PATIENCE)()
            end.set()
            assert child.result() == [0]


def test_a_forked_child_lends_objects_of_its_own() -> None:
    proxy = by_ref(Counter())

    def child() -> None:
        assert lending() is not link_of(proxy)
        assert lent() == 0
        mine = by_ref(Counter())
        assert mine.add(2) == 2
        assert lent() == 1

    in_fork(child)
    assert proxy.add(1) == 1
