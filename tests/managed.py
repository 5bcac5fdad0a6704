"""Types that tests register with managers, and what their children do; loads no pytest."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from queue import Queue
from typing import Any

from pipeproxy import by_reference
from pipeproxy._references._references import homes
from pipeproxy.managers import (
    BaseManager,
    BaseProxy,
    DictProxy,
    IteratorProxy,
    ListProxy,
    MakeProxyType,
    NamespaceProxy,
    SyncManager,
)


class Counter:
    """A class that says nothing of proxies."""

    def __init__(self, total: int = 0) -> None:
        self.total = total

    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    def fail(self) -> None:
        raise ValueError("a failure of the counter's")

    def pid(self) -> int:
        return os.getpid()

    def twin(self) -> Counter:
        return Counter(self.total)

    def _reset(self) -> str:
        self.total = 0
        return "reset"


class Branch:
    """A class whose objects come by reference from a method."""

    def __init__(self, leaves: int = 0) -> None:
        self.leaves = leaves

    @by_reference
    def grow(self) -> Branch:
        return Branch(self.leaves + 1)


class Deck(Queue):  # type: ignore[type-arg]
    """A queue with a method more, and one of its own."""

    def __init__(self, cards: list[Any]) -> None:
        super().__init__()
        for card in cards:
            self.put(card)

    def pop(self) -> Any:
        return self.get(False)


class Shy:
    def _say(self) -> str:
        return "said"


class CounterProxy(BaseProxy):
    _exposed_ = ("add", "_reset", "__getattribute__")

    def add_twice(self, amount: int) -> Any:
        self._callmethod("add", (amount,))
        return self._callmethod("add", (amount,))

    def reset(self) -> Any:
        return self._callmethod("_reset")

    @property
    def total(self) -> Any:
        return self._callmethod("__getattribute__", ("total",))


class OpenProxy(NamespaceProxy):
    _exposed_ = ("__getattribute__", "__setattr__", "__delattr__", "add")

    def add(self, amount: int) -> Any:
        return self._callmethod("add", (amount,))


def echo() -> Any:
    said: Any = "ready"
    while True:
        try:
            said = yield said
        except KeyError as error:
            said = error.args


class StackProxy(ListProxy):  # type: ignore[valid-type,misc]
    def push(self, item: Any) -> Any:
        self._callmethod("append", (item,))
        return self


AdderProxy = MakeProxyType("AdderProxy", ["add"])


def squares() -> Iterator[int]:
    for i in range(5):
        yield i * i


def waiting(thing: Any) -> int:
    """How many threads wait in a queue, an event, a barrier or a condition."""
    if isinstance(thing, BaseProxy):
        thing = thing._handle._target
    if isinstance(thing, Queue):
        thing = thing.not_empty
    return len(getattr(thing, "_cond", thing)._waiters)


def begun(thing: Any) -> int:
    """How many calls of an object have begun."""
    if isinstance(thing, BaseProxy):
        thing = thing._handle
    (shared,) = (s for home in homes.values() for s in home._objects if s.target is thing)
    return sum(shared.counts)


def objects() -> int:
    """How many objects are shared."""
    return sum(len(home._objects) for home in homes.values())


class Manager(SyncManager):
    """A manager with types of its own."""


Manager.register("Counter", Counter)
Manager.register("branch", Branch)
Manager.register("deck", Deck)
Manager.register("handmade", Counter, CounterProxy)
Manager.register("open", Counter, OpenProxy)
Manager.register("exposed", Counter, exposed=("add", "_reset"))
Manager.register("family", Counter, method_to_typeid={"twin": "family"})
Manager.register("squares", squares, proxytype=IteratorProxy)
Manager.register("echo", echo, proxytype=IteratorProxy)
Manager.register("stack", list, StackProxy)
Manager.register("table", dict, DictProxy)
Manager.register("adder", Counter, AdderProxy)
Manager.register("shy", Shy, exposed=["_say"])
Manager.register("given")
Manager.register("number", int)
Manager.register("waiting", waiting)
Manager.register("begun", begun)
Manager.register("objects", objects)
Manager.register("threads", threading.active_count)


class Stranger(BaseManager):
    """A manager that only connects to another: it knows the names."""


Stranger.register("Counter")
Stranger.register("handmade", proxytype=CounterProxy)
Stranger.register("exposed")


def note(notes: Any, *words: str) -> None:
    notes.extend([*words, os.getpid()])


def add(counter: Any, amount: int) -> tuple[Any, str]:
    return counter.add(amount), type(counter).__name__


def nest(table: Any) -> None:
    table["from child"] = {"list": []}
    table["from child"]["list"].append(1)
    table["rows"][0][0] = 7


# Waiting -----------------------------------------------------------------------------------------


def acquire(lock: Any) -> Any:
    return lock.acquire()


def count_up(lock: Any, table: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            table["count"] = table["count"] + 1


def give_back(lock: Any) -> Any:
    lock.release()


def get(queue: Any) -> Any:
    return queue.get()


def wait(thing: Any) -> Any:
    return thing.wait()


def wait_in(condition: Any) -> Any:
    with condition:
        return condition.wait()


def wait_for_state(condition: Any, state: Any, wanted: int) -> Any:
    with condition:
        return condition.wait_for(lambda: state.value == wanted, 30)


def square(number: int) -> int:
    return number * number


def divide(number: int) -> float:
    return 1 / number


_held: list[Any] = []


def hold(manager: Any, table: Any) -> None:
    """Hold objects of every kind, for as long as this process lives."""
    lock, handmade, rows = manager.Lock(), manager.handmade(1), manager.list([[1], []])
    lock.acquire()
    rows[1].append(manager.dict(a={}))
    table[os.getpid()] = {"list": []}
    _held.extend([lock, handmade, rows, rows[0], rows[1][0]["a"], iter(rows), table[os.getpid()]])
    table.pop(os.getpid())
