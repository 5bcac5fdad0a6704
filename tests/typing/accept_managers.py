"""What `Manager` makes is of the types that it stands for."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from pipeproxy.managers import BaseProxy, Manager, SyncManager


class CounterProxy(BaseProxy):
    def increment(self) -> Any:
        return self._callmethod("increment")


def what_a_manager_makes_has_the_types_that_it_stands_for() -> None:
    with Manager() as manager:
        assert_type(manager, SyncManager)
        table = manager.dict(a={})
        table["a"]["b"] = 1
        numbers: list[Any] = manager.list([1, 2])
        numbers.append(3)
        queue, lock, space = manager.Queue(2), manager.Lock(), manager.Namespace(x=1)
        assert_type(queue.qsize(), int)
        assert_type(lock.acquire(timeout=1.0), bool)
        with lock:
            space.y = space.x
        assert_type(manager.Condition(lock).wait(), bool)
        assert_type(manager.Pool(2).map(abs, [1]), list[int])
