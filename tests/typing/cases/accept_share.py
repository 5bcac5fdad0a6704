"""A proxy is statically the shared object's type, whichever way it was shared."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from multiprocessing import Event, Process
from typing import Any, Generic, TypeVar

from typing_extensions import Self, assert_type

from pipeproxy import Listener, proxied, share, timeout
from tests.typing.cases.accept_proxied import Bare, Box

T = TypeVar("T")


class Undecorated:
    level: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None: ...

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __getitem__(self, index: slice) -> list[str]:
        return []

    def __add__(self, other: int) -> float:
        return 0.5 + other


def clerk(account: Bare) -> None: ...


def share_gives_the_same_type_and_its_listener() -> None:
    proxy, listener = share(Bare("ada"))
    assert_type(proxy, Bare)
    assert_type(listener, Listener[Bare])
    assert_type(proxy.balance, int)
    proxy.balance = 3
    Process(target=clerk, args=(proxy,))
    clerk(proxy)


def share_takes_undecorated_and_generic_objects() -> None:
    plain, _ = share(Undecorated())
    assert_type(plain, Undecorated)
    box, listener = share(Box(b"bytes"), spin=0.0)
    assert_type(box, Box[bytes])
    assert_type(listener, Listener[Box[bytes]])
    numbers, _ = share([1, 2, 3])
    assert_type(numbers, list[int])
    assert_type(numbers[0], int)


def special_methods_keep_their_types() -> None:
    proxy, _ = share(Undecorated())
    assert_type(len(proxy), int)
    assert_type(list(proxy), list[str])
    assert_type(proxy[1:], list[str])
    assert_type(proxy + 1, float)
    with proxy as entered:
        assert_type(entered, Undecorated)


def one_listener_serves_objects_of_many_types() -> None:
    listener = Listener()
    assert_type(listener.share(Bare("ada")), Bare)
    assert_type(listener.share({"a": 1}), dict[str, int])
    with Listener(spin=0) as entered:
        assert_type(entered.share(1.5), float)


def a_function_over_any_shared_object_is_generic(obj: T) -> tuple[T, Listener[T]]:
    return share(obj)


def everything_that_serve_can_wait_for(listener: Listener[Bare], processes: list[Process]) -> None:
    listener.serve()
    listener.serve(None)
    listener.serve(until=processes[0])
    listener.serve(until=processes)
    listener.serve(until=tuple(processes))
    listener.serve(until=threading.Event())
    listener.serve(until=Event())
    listener.serve(until=lambda: True)


def the_loops(listener: Listener[Any]) -> None:
    assert_type(listener.poll(), int)
    assert_type(listener.poll(0.5), int)
    assert_type(listener.poll(timeout=1), int)
    assert_type(listener.fileno(), int)
    with listener.background():
        pass
    listener.close()


def a_block_with_a_deadline_cannot_swallow_an_error(proxy: Bare) -> int:
    with timeout(0.5):
        return proxy.balance


class Holder(Generic[T]):
    """Users keep proxies and listeners in attributes of their own."""

    def __init__(self, obj: T) -> None:
        self.proxy, self.listener = share(obj)

    def get(self) -> T:
        return self.proxy


@proxied
class Node:
    """A class that hands out proxies of its own kind."""

    def child(self) -> Node:
        return Node()


def results_are_typed_as_the_class_says() -> None:
    proxy, _ = share(Node())
    assert_type(proxy.child().child(), Node)
