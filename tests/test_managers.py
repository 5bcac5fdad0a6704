"""Managers: the standard one's calls, with live containers, errors as they are, and clean ends."""

from __future__ import annotations

import array
import ast
import copy
import gc
import multiprocessing
import operator
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator
from multiprocessing import AuthenticationError, ProcessError
from multiprocessing.connection import Client
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import CallTimeout, ListenerClosed, NotExposed, OwnerDied, managers, share, timeout
from pipeproxy._system import _life

from .children import ROOT, Child, poll_until
from .managed import (
    Counter,
    CounterProxy,
    Manager,
    Stranger,
    acquire,
    add,
    count_up,
    divide,
    get,
    give_back,
    hold,
    nest,
    note,
    square,
    wait,
    wait_for_state,
    wait_in,
)
from .support import PATIENCE, is_readable

pytestmark = pytest.mark.usefixtures("descriptors_kept")


@pytest.fixture(scope="module")
def manager() -> Iterator[Any]:
    with Manager() as made:
        made.dict()  # opens this thread's channel, which stays
        yield made


# What is in a container --------------------------------------------------------------------------


def test_what_is_picked_out_of_a_dict_is_live(manager: Any) -> None:
    table = manager.dict()
    table["a"] = {}
    table["a"]["b"] = 1
    table["a"]["c"] = {"d": []}
    table["a"]["c"]["d"].append(2)
    assert table["a"] == {"b": 1, "c": {"d": [2]}}
    table.get("a")["b"] += 1
    assert table["a"]["b"] == 2
    table.setdefault("rows", [[0] * 2] * 2)[0][1] = 5
    table.setdefault("rows", None)[1].append(6)
    assert table.copy() == {"a": {"b": 2, "c": {"d": [2]}}, "rows": [[0, 5], [0, 0, 6]]}
    assert table.get("none") is None
    assert table.get("none", 3) == 3


def test_what_is_picked_out_of_a_list_is_live(manager: Any) -> None:
    rows = manager.list([[0, 0], {"x": 1}])
    rows[0][1] = 5
    rows[-1]["y"] = [1]
    rows[1]["y"] += [2]
    assert rows == [[0, 5], {"x": 1, "y": [1, 2]}]
    first = rows[0]
    assert first is rows[0]
    rows.insert(0, "new")
    first.append(6)
    assert rows[1] == [0, 5, 6]
    assert isinstance(first, list)


def test_a_set_that_is_picked_out_is_live(manager: Any) -> None:
    table = manager.dict(tags={1, 2})
    table["tags"].add(3)
    table["tags"] -= {1}
    tags = table["tags"]
    assert (tags, str(tags), 3 in tags, len(tags)) == ({2, 3}, "{2, 3}", True, 2)
    plain = (tags | {4}, {4} | tags, tags & {2}, {2, 5} - tags, tags.union([7]), tags._getvalue())
    assert plain == ({2, 3, 4}, {2, 3, 4}, {2}, {5}, {2, 3, 7}, {2, 3})
    assert {type(value) for value in (*plain, table.copy()["tags"])} == {set}


def test_what_is_read_all_at_once_is_a_copy(manager: Any) -> None:
    table = manager.dict(a={"b": {}}, c=[[1]])
    table["a"]["b"]["x"] = 1
    assert table["c"][0][0] == 1
    for read in (table.copy(), dict(table.items()), table | {}, {} | table, table._getvalue()):
        assert pickle.loads(pickle.dumps(read)) == {"a": {"b": {"x": 1}}, "c": [[1]]}
        assert {type(value) for value in read.values()} == {dict, list}
        assert type(read["a"]["b"]) is dict
        read["a"]["b"]["x"] = 2
    assert table["a"]["b"]["x"] == 1
    rows = manager.list([[1], [2]])
    assert rows[0] == [1]
    for row in (
        *rows,
        *rows[:],
        *reversed(rows),
        *rows.copy(),
        *operator.add(rows, []),
        *(rows * 2),
        *rows._getvalue(),
    ):
        assert type(row) is list
        row.append(3)
    assert rows == [[1], [2]]
    assert table.keys() == ["a", "c"]
    assert table.values()[1] == [[1]]
    dict(table)["a"]["b"]["x"] = 3  # which picks out each value
    assert table.copy()["a"] == {"b": {"x": 3}}


def test_what_is_taken_out_is_a_copy(manager: Any) -> None:
    table, rows = manager.dict(a={}, b={}), manager.list([[1], [2]])
    for value in (table["a"], rows[0]):
        assert isinstance(value, (dict, list))
    assert type(table.pop("a")) is dict
    assert table.pop("a", None) is None
    assert table.popitem() == ("b", {})
    with pytest.raises(KeyError):
        table.pop("a")
    assert type(rows.pop(0)) is list
    assert (rows.pop(), len(rows)) == ([2], 0)


def test_what_was_read_outlives_the_manager() -> None:
    with managers.Manager() as made:
        results = made.list()
        results.append({"score": [1]})
        results[0]["score"].append(2)
        kept = list(results)
        live = results[0]
    assert kept == [{"score": [1, 2]}]
    with pytest.raises(OwnerDied):
        live["score"]


def test_managed_ones_in_each_other_are_live_wherever_they_are_found(manager: Any) -> None:
    inner = manager.list([1])
    outer = manager.dict(one=inner)
    outer["two"] = [inner]
    outer["one"].append(2)
    outer["two"][0].append(3)
    outer.values()[0].append(4)
    assert inner == [1, 2, 3, 4]
    assert outer["one"] is inner
    outer["one"] = outer["one"]
    del inner
    gc.collect()
    assert outer["one"] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["Queue", "Lock", "Event", "Namespace", "Counter", "handmade"])
def test_whatever_is_managed_is_live_in_a_container(manager: Any, kind: str) -> None:
    table = manager.dict()
    table["it"] = getattr(manager, kind)()
    gc.collect()
    it = table["it"]
    assert type(it) is type(getattr(manager, kind)())
    assert it == table["it"] == table.values()[0] == table.copy()["it"]


def test_a_managed_array_is_live_in_a_container_and_its_slices_are_copies(manager: Any) -> None:
    rows = manager.list([manager.Array("i", [1, 2, 3])])
    rows[0][1] = 5
    rows[0].append(4)
    assert list(rows[0]) == [1, 5, 3, 4]
    assert rows[0][1:3].tolist() == [5, 3]
    assert str(rows[0]) == "array('i', [1, 5, 3, 4])"


def test_the_same_dict_in_two_places_is_one(manager: Any) -> None:
    table = manager.dict(a={})
    table["b"] = table["a"]
    table["b"]["x"] = 1
    assert table["a"] == {"x": 1}
    assert table["a"] is table["b"]


def test_a_child_changes_what_is_nested(manager: Any, context: BaseContext) -> None:
    table = manager.dict(rows=[[0]])
    with Child(context, nest, table) as child:
        child.result()
    assert table == {"rows": [[7]], "from child": {"list": [1]}}


def test_containers_are_printed_as_what_they_hold(manager: Any) -> None:
    assert str(manager.list([1, [2]])) == "[1, [2]]"
    table = manager.dict(a={})
    table["a"]["b"] = 1
    assert f"{table}" == "{'a': {'b': 1}}"
    assert str(manager.Namespace(x=1)) == "Namespace(x=1)"
    assert str(manager.Value("i", 3)) == "Value('i', 3)"


# Plain data --------------------------------------------------------------------------------------


def test_a_namespace_has_the_attributes_that_it_is_given(manager: Any) -> None:
    space = manager.Namespace(x=1)
    space.y = [1]
    assert (space.x, space.y) == (1, [1])
    del space.x
    assert not hasattr(space, "x")
    with pytest.raises(NotExposed):
        space._private = 1


def test_a_value_is_read_and_set(manager: Any) -> None:
    value = manager.Value("d", 1.5)
    value.value += 1
    assert value.get() == value.value == 2.5
    value.set(0)
    assert value.value == 0


def test_an_array_is_used_as_one(manager: Any) -> None:
    numbers = manager.Array("i", range(5))
    numbers[1:3] = numbers[3:]
    numbers[0] = 9
    assert list(numbers) == [9, 3, 4, 3, 4]
    assert len(numbers) == 5
    assert numbers._getvalue() == array.array("i", [9, 3, 4, 3, 4])
    with pytest.raises(TypeError):
        numbers[0] = "x"


# Types of the user's -----------------------------------------------------------------------------


def test_an_object_of_a_class_of_the_users_is_shared_as_by_share(manager: Any) -> None:
    counter = manager.Counter(total=5)
    assert counter.add(1) == 6
    counter.total = 10
    assert counter.total == 10
    assert isinstance(counter, Counter)
    assert counter.pid() == manager._process.pid != os.getpid()
    with pytest.raises(NotExposed):
        counter._reset()
    with pytest.raises(AttributeError):
        counter.none


def test_every_proxy_calls_by_name_what_it_shows(manager: Any) -> None:
    table, rows, numbers = manager.dict(a={}), manager.list([3, 1]), manager.Array("i", [1, 2])
    table["a"]._callmethod("update", (), {"b": 1})
    assert table._callmethod("get", ("a",)) == {"b": 1}
    rows._callmethod("sort", kwds={"reverse": True})
    assert [rows._callmethod("__getitem__", (i,)) for i in range(2)] == [3, 1]
    assert numbers._callmethod("__len__") == 2
    value, space = manager.Value("i", 1), manager.Namespace(x=1)
    value._callmethod("set", (2,))
    space._callmethod("__setattr__", ("y", 3))
    space._callmethod("__delattr__", ("x",))
    assert (value.get(), space._callmethod("__getattribute__", ("y",))) == (2, 3)
    assert str(space) == "Namespace(y=3)"
    queue, lock, event = manager.Queue(), manager.Lock(), manager.Event()
    queue._callmethod("put", (4,))
    assert (queue._callmethod("get"), queue._callmethod("qsize")) == (4, 0)
    assert [lock._callmethod("acquire", (False,)) for _ in range(2)] == [True, False]
    event._callmethod("set")
    assert event.is_set()
    assert manager.deck([1])._callmethod("pop") == 1
    counter = manager.Counter(5)
    assert counter._callmethod("add", (1,)) == counter._callmethod("add", kwds={"amount": 0}) == 6
    assert manager.branch()._callmethod("grow").leaves == 1


def test_what_is_not_shown_is_not_called_by_name_either(manager: Any) -> None:
    for proxy in (manager.Counter(), manager.exposed(), manager.dict(), manager.Lock()):
        for name in ("_private", "__class__", "__reduce_ex__", "_getattr"):
            with pytest.raises(managers.RemoteError, match=name) as caught:
                proxy._callmethod(name)
            assert isinstance(caught.value, NotExposed)
    counter = manager.Counter()
    with pytest.raises(NotExposed):
        counter._callmethod("__getattribute__", ("_reset",))
    with pytest.raises(NotExposed):
        counter._callmethod("__setattr__", ("__class__", int))
    assert not hasattr(share(Counter())[0], "_callmethod")


def test_a_call_by_name_that_waits_keeps_nobody_waiting(manager: Any, context: BaseContext) -> None:
    queue = manager.Queue()
    with Child(context, take_by_name, queue) as child:
        poll_until(lambda: manager.waiting(queue) == 1)
        queue.put("put")
        assert child.result() == "put"


def take_by_name(queue: Any) -> Any:
    return queue._callmethod("get", (True, PATIENCE))


def test_every_proxy_returns_a_copy_of_its_object(manager: Any) -> None:
    table, space, counter = manager.dict(a={}), manager.Namespace(x=1), manager.Counter(5)
    copies = table._getvalue(), space._getvalue(), counter._getvalue()
    assert [type(kept) for kept in copies] == [dict, managers.Namespace, Counter]
    table["a"]["b"], space.x, counter.total = 1, 2, 6
    assert (copies[0], copies[1].x, copies[2].total) == ({"a": {}}, 1, 5)
    assert type(counter) is not Counter is type(copies[2])
    with pytest.raises(TypeError, match="cannot pickle"):
        manager.Lock()._getvalue()


def test_an_exception_arrives_as_itself_with_the_managers_traceback(manager: Any) -> None:
    with pytest.raises(ValueError, match="a failure of the counter's") as caught:
        manager.Counter().fail()
    text = "".join(traceback.format_exception(caught.value))
    assert "managed.py" in text
    assert 'raise ValueError("a failure of the counter\'s")' in text
    with pytest.raises(TypeError, match="unexpected keyword"):
        manager.Counter(wrong=1)


def test_a_proxy_type_of_the_users_calls_by_name(manager: Any, context: BaseContext) -> None:
    counter = manager.handmade(1)
    assert type(counter) is CounterProxy
    assert (counter.add_twice(2), counter.total) == (5, 5)
    assert (counter.reset(), counter.total) == ("reset", 0)
    with pytest.raises(NotExposed, match=r"Counter\.fail is not among the names"):
        counter._callmethod("fail")
    with Child(context, add_by_hand, counter) as child:
        assert child.result() == (6, CounterProxy)
    assert counter.total == 6
    assert repr(counter).startswith("<CounterProxy object, typeid 'handmade' at 0x")
    assert str(counter).startswith("<tests.managed.Counter object")


def add_by_hand(counter: Any) -> Any:
    return counter.add_twice(3), type(counter)


def test_a_proxy_type_need_not_be_known_to_others() -> None:
    class LocalProxy(CounterProxy):
        pass

    class Own(managers.BaseManager):
        pass

    Own.register("counter", Counter, LocalProxy)
    with Own(ctx=multiprocessing.get_context("fork")) as made:
        counter: Any = made.counter(1)  # type: ignore[attr-defined]
        assert (type(counter), counter.add_twice(1)) == (LocalProxy, 3)


def test_a_namespace_proxy_of_the_users_reaches_attributes(manager: Any) -> None:
    counter = manager.open(1)
    counter.total += 1
    assert counter.add(1) == counter.total == 3
    del counter.total
    assert not hasattr(counter, "total")
    counter._local = 1
    assert counter._local == 1
    del counter._local
    with pytest.raises(AttributeError):
        counter._local


def test_only_exposed_methods_are_there(manager: Any, context: BaseContext) -> None:
    counter = manager.exposed()
    assert counter.add(2) == 2
    assert counter._reset() == "reset"
    assert not hasattr(counter, "fail")
    assert not hasattr(counter, "total")
    assert type(counter) is type(manager.exposed())
    assert manager.shy()._say() == "said"
    with Child(context, add, counter, 4) as child:
        assert child.result() == (4, "AutoProxy[exposed]")


def test_results_become_managed_objects_where_it_was_said(
    manager: Any, context: BaseContext
) -> None:
    twin = manager.family(3).twin()
    assert twin.add(1) == 4
    again = twin.twin()
    assert type(again).__name__ == "AutoProxy[family]"
    assert again.add(1) == 5
    assert twin.add(0) == 4
    with Child(context, add_to_twin, twin) as child:
        assert child.result() == 6


def add_to_twin(counter: Any) -> Any:
    return counter.twin().add(2)


def test_a_proxy_type_is_derived_from_the_standard_ones(manager: Any, context: BaseContext) -> None:
    stack = same = manager.stack([1])
    stack.push(2).push(3)
    stack += [4]
    assert stack is same
    assert (len(stack), stack[-1], list(stack), 3 in stack) == (4, 4, [1, 2, 3, 4], True)
    assert isinstance(manager.table(a=1), dict)
    with Child(context, add, manager.adder(1), 2) as child:
        assert child.result() == (3, "AdderProxy")


def test_an_iterator_stays_where_it_is(manager: Any) -> None:
    squares = manager.squares()
    assert next(squares) == 0
    assert list(squares) == [1, 4, 9, 16]
    echo = manager.echo()
    assert (next(echo), echo.send("hello")) == ("ready", "hello")
    assert echo.throw(KeyError("thrown")) == ("thrown",)
    echo.close()
    with pytest.raises(StopIteration):
        next(echo)


def test_a_type_without_a_callable_takes_what_it_is_given(manager: Any) -> None:
    counter = manager.given(Counter(2))
    assert counter.add(1) == 3
    assert counter.pid() == manager._process.pid
    assert manager.number("5") == 5
    for wrong in (manager.given, lambda: manager.given(1, 2), lambda: manager.given(1, more=2)):
        with pytest.raises(TypeError, match="without a callable"):
            wrong()


def test_types_are_those_of_the_class_and_the_classes_above(manager: Any) -> None:
    assert not hasattr(managers.SyncManager, "Counter")
    assert not hasattr(managers.BaseManager, "dict")
    manager._registry["dict"]
    with pytest.raises(KeyError, match="none"):
        manager._create("none", (), {})


def test_proxies_that_call_by_name_are_compared_and_copied(manager: Any) -> None:
    counter = manager.handmade(4)
    other = pickle.loads(pickle.dumps(counter))
    assert (other, hash(other)) == (counter, hash(counter))
    assert counter != manager.handmade(4)
    assert counter != 4
    table = manager.dict({counter: 1})
    assert (table[counter], counter in manager.list([3, counter])) == (1, True)
    assert copy.copy(counter) is counter
    assert copy.deepcopy(counter).total == 4
    assert type(copy.deepcopy(counter)) is Counter


# Waiting -----------------------------------------------------------------------------------------


def waits_at(manager: Any, thing: Any, count: int = 1) -> None:
    """Wait until so many calls wait at it."""
    poll_until(lambda: manager.waiting(thing) == count)


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_processes_take_turns(manager: Any, kind: str) -> None:
    lock, table = getattr(manager, kind)(), manager.dict(count=0)
    children = [Child("fork", count_up, lock, table, 50) for _ in range(4)]
    for child in children:
        with child:
            child.result()
    assert table["count"] == 200


def test_who_waits_keeps_nobody_else_waiting(manager: Any, context: BaseContext) -> None:
    queue, table = manager.Queue(), manager.dict()
    with Child(context, get, queue) as child:
        waits_at(manager, queue)
        table["a"] = 1
        assert (queue.qsize(), queue.empty(), table["a"]) == (0, True, 1)
        queue.put({"item": 1})
        assert child.result() == {"item": 1}


def test_a_recursive_lock_is_had_by_a_thread_of_a_process(manager: Any) -> None:
    lock = manager.RLock()
    assert lock.acquire()
    assert lock.acquire()
    with (
        pytest.raises(AssertionError, match="un-acquired"),
        Child("fork", give_back, lock) as child,
    ):
        child.result()
    lock.release()
    with Child("fork", acquire, lock) as child:
        poll_until(lambda: manager.begun(lock) == 5)
        lock.release()
        assert child.result() is True


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_a_lock_dies_with_its_holder(manager: Any, kind: str) -> None:
    lock = getattr(manager, kind)()
    assert lock.acquire(True, None) is True
    lock.release()
    holder = Child("fork", acquire, lock)
    assert holder.result() is True
    other = Child("fork", acquire, lock)
    poll_until(lambda: manager.begun(lock) == 4)
    holder.kill()
    assert other.result() is True
    other.kill()
    assert lock.acquire(timeout=PATIENCE) is True
    lock.release()


@pytest.mark.parametrize("kind", ["RLock", "Condition"])
def test_a_lock_that_its_dead_holder_took_twice_is_free(manager: Any, kind: str) -> None:
    lock = getattr(manager, kind)()
    holder = Child("fork", acquire, lock)
    assert holder.result() is True
    assert holder.do(acquire, lock).result() is True
    other = Child("fork", acquire, lock)
    poll_until(lambda: manager.begun(lock) == 3)
    holder.kill()
    assert other.result() is True
    other.end()


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "Condition"])
def test_what_need_not_wait_is_done_by_the_thread_that_serves(manager: Any, kind: str) -> None:
    lock, threads = getattr(manager, kind)(), manager.threads()
    with lock:
        assert lock.acquire(False) is (kind in {"RLock", "Condition"})
        if kind == "Condition":
            lock.notify()
            lock.notify_all()
        assert manager.threads() == threads


def test_conditions_of_one_lock_share_it(manager: Any) -> None:
    lock = manager.RLock()
    one, two = manager.Condition(lock), manager.Condition(lock)
    with Child("fork", wait_in, one) as child:
        waits_at(manager, one)
        with lock, two:
            two.notify()
            one.notify()
            with pytest.raises(AssertionError), Child("fork", give_back, two) as other:
                other.result()
        assert child.result() is True


def test_a_semaphore_that_tells_of_something_tells_of_no_death(manager: Any) -> None:
    semaphore = manager.Semaphore(0)
    semaphore.release()
    child = Child("fork", acquire, semaphore)
    assert child.result() is True
    child.kill()
    assert semaphore.acquire(False) is False


def test_the_dead_take_nothing_from_a_queue(manager: Any) -> None:
    queue = manager.Queue()
    dead, child = Child("fork", get, queue), Child("fork")
    waits_at(manager, queue)
    child.do(get, queue)
    waits_at(manager, queue, 2)
    dead.kill()
    queue.put("first")
    queue.put("second")
    assert child.result() == "first"
    assert queue.get() == "second"
    child.end()
    waits_at(manager, queue, 0)


def test_the_dead_are_not_notified(manager: Any) -> None:
    condition = manager.Condition()
    dead, child = Child("fork", wait_in, condition), Child("fork")
    waits_at(manager, condition)
    child.do(wait_in, condition)
    waits_at(manager, condition, 2)
    dead.kill()
    with condition:
        condition.notify()
    assert child.result() is True
    child.end()


def test_a_barrier_breaks_when_one_dies_at_it(manager: Any) -> None:
    barrier = manager.Barrier(3)
    dead, child = Child("fork", wait, barrier), Child("fork", wait, barrier)
    waits_at(manager, barrier, 2)
    dead.kill()
    with child, pytest.raises(AssertionError, match="BrokenBarrierError"):
        child.result()
    assert barrier.broken


def test_a_call_whose_deadline_passed_gets_nothing(manager: Any) -> None:
    lock, queue = manager.Lock(), manager.Queue()
    child = Child("fork", acquire, lock)
    assert child.result() is True
    for wait_ in (lock.acquire, queue.get):
        with pytest.raises(CallTimeout), timeout(0.05):
            wait_()
    waits_at(manager, queue, 0)
    queue.put(1)
    assert queue.get(timeout=PATIENCE) == 1
    child.do(give_back, lock).result()
    assert lock.acquire(False) is True
    child.end()


def test_what_a_condition_waits_for_is_asked_in_the_process_that_waits(
    manager: Any, context: BaseContext
) -> None:
    condition, state = manager.Condition(manager.Lock()), manager.Value("i", 0)
    with Child(context, wait_for_state, condition, state, 3) as child:
        for value in (1, 2, 3):
            waits_at(manager, condition)
            with condition:
                state.value = value
                condition.notify()
        assert child.result() is True
    with condition:
        assert condition.wait_for(lambda: False, 0.01) is False
        assert condition.wait(0.01) is False
        condition.notify_all()


def test_an_event_and_a_barrier_hold_processes_back(manager: Any, context: BaseContext) -> None:
    event, barrier = manager.Event(), manager.Barrier(2)
    with Child(context, wait, event) as child:
        waits_at(manager, event)
        event.set()
        assert child.result() is True
        child.do(wait, barrier)
        assert sorted([barrier.wait(), child.result()]) == [0, 1]


def test_threads_of_a_process_wait_beside_each_other(manager: Any) -> None:
    queue, found = manager.Queue(), []
    threads = [threading.Thread(target=lambda: found.append(queue.get())) for _ in range(5)]
    for thread in threads:
        thread.start()
    waits_at(manager, queue, 5)
    for item in range(5):
        queue.put(item)
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_a_pool_works_in_the_managers_process(manager: Any) -> None:
    with manager.Pool(2) as pool:
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
        assert pool.apply(square, (3,)) == 9
        result = pool.apply_async(square, (4,))
        assert result.get(PATIENCE) == 16
        assert (result.ready(), result.successful()) == (True, True)
        assert list(pool.imap(square, range(4))) == [0, 1, 4, 9]
        assert sorted(pool.imap_unordered(square, range(4))) == [0, 1, 4, 9]
        done = manager.list()
        pool.map_async(square, [5], callback=done.extend).wait()
        assert done == [25]
        with pytest.raises(ZeroDivisionError):
            pool.apply_async(divide, (0,)).get()
    with pytest.raises(ValueError, match="not running"):
        pool.map(square, [1])


# Life --------------------------------------------------------------------------------------------


def test_a_manager_has_states(manager: Any) -> None:
    made = managers.SyncManager()
    with pytest.raises(ProcessError, match="not started"):
        made.dict()
    made.shutdown()  # of nothing
    with made:
        assert made.dict(a=1) == {"a": 1}
        for act in (made.start, made.connect, made.get_server):
            with pytest.raises(ProcessError, match="is started"):
                act()
    made.shutdown()
    made.join()
    assert made._process.exitcode == 0
    for act in (made.start, made.dict):
        with pytest.raises(ProcessError, match="shut down"):
            act()
    with pytest.raises(ProcessError, match="shut down"), made:
        pass


def test_after_its_end_proxies_say_so() -> None:
    with managers.Manager() as made:
        table = made.dict()
    with pytest.raises(OwnerDied, match="exited with code 0"):
        table["a"] = 1


def test_a_manager_ends_when_it_and_all_its_proxies_are_forgotten() -> None:
    made = managers.Manager()
    process = made._process
    assert process is not None
    table = made.dict()
    del made
    gc.collect()
    table["a"] = 1
    assert table == {"a": 1}
    del table
    gc.collect()
    process.join(PATIENCE)
    assert process.exitcode == 0


def test_it_ends_with_its_creator() -> None:
    reader, writer = multiprocessing.Pipe(duplex=False)
    creator = multiprocessing.Process(target=create, args=(writer,))
    creator.start()
    writer.close()
    life = _life.watch(reader.recv())
    assert creator.pid is not None
    os.kill(creator.pid, signal.SIGKILL)
    creator.join()
    assert life is None or is_readable(life.fileno())
    reader.close()


def create(writer: Any) -> None:
    made = managers.Manager()
    assert made._process is not None
    writer.send(made._process.pid)
    threading.Event().wait()


def test_an_initializer_is_called_first(manager: Any, context: BaseContext) -> None:
    notes = manager.list()
    made = Manager(ctx=context)
    with pytest.raises(TypeError, match="must be a callable"):
        made.start(1)
    made.start(note, (notes, "initialized"))
    with made:
        assert notes == ["initialized", made._process.pid]
        assert made.Counter(2).add(1) == 3
        assert made.dict(a={}) == {"a": {}}


def test_what_nobody_holds_is_given_up(manager: Any) -> None:
    table = manager.dict(inner=manager.handmade(1))
    counter = weakref.ref(table["inner"])
    del table["inner"]
    gc.collect()
    assert counter() is None


def test_what_the_dead_held_is_given_up(manager: Any) -> None:
    table, queue = manager.dict(), manager.Queue()
    objects, threads = manager.objects(), manager.threads()
    children = [Child("fork", hold, manager, table) for _ in range(8)]
    for child in children:
        child.result()
        child.do(get, queue)
    waits_at(manager, queue, len(children))
    assert manager.objects() > objects
    assert manager.threads() > threads
    for child in children:
        child.kill()
    poll_until(lambda: (manager.objects(), manager.threads()) == (objects, threads))
    assert (table, queue.qsize()) == ({}, 0)


def test_the_example_shows_the_difference() -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "migrating.py")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    _, sold, lock, _ = [line.split() for line in done.stdout.splitlines()]
    assert sold == "apples sold 0 of 400 400 of 400".split()
    assert lock == "lock of a dead clerk held free".split()


def test_there_is_one_serializer() -> None:
    with pytest.raises(ValueError, match="by pickle"):
        managers.BaseManager(serializer="xmlrpclib")


# Strangers ---------------------------------------------------------------------------------------

ADD = """
import sys
from tests.managed import Stranger
address, key = eval(sys.argv[1])
stranger = Stranger(address, key)
stranger.connect()
one, two, three = stranger.Counter(1), stranger.handmade(2), stranger.exposed(3)
print(one.add(1), two.add_twice(2), three.add(3), hasattr(three, "fail"))
"""


@pytest.mark.parametrize("address", [None, ("127.0.0.1", 0)], ids=["made up", "port"])
def test_a_stranger_with_the_key_connects(address: Any) -> None:
    with Manager(address, b"a key") as made:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", ADD, repr((made.address, b"a key"))],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("2 6 6 False\n", "")


def test_a_stranger_with_another_key_is_refused() -> None:
    with Manager(authkey=b"a key") as made:
        stranger = Stranger(made.address, b"another")
        with pytest.raises(AuthenticationError):
            stranger.connect()
        with pytest.raises(ProcessError, match="not started"):
            stranger.Counter()
        stranger = Stranger(made.address, b"a key")
        stranger.connect()
        assert stranger.Counter(1).add(1) == 2
        stranger.shutdown()
        assert made.dict() == {}


def test_a_stranger_that_says_nothing_keeps_nobody_waiting() -> None:
    with Manager(authkey=b"a key") as made, Client(made.address):
        stranger = Stranger(made.address, b"a key")
        stranger.connect()
        assert stranger.Counter(1).add(1) == 2  # type: ignore[attr-defined]


def test_an_address_that_is_taken_is_said() -> None:
    with Manager(("127.0.0.1", 0)) as made:
        other = Manager(made.address)
        with pytest.raises(OSError, match="in use"):
            other.start()
        assert other._process.exitcode is not None


def test_a_server_serves_in_this_process() -> None:
    before = threading.active_count()
    server = Manager(authkey=b"a key").get_server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Child("spawn", add_as_stranger, server.address) as child:
            assert child.result() == (3, os.getpid())
    finally:
        server.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    poll_until(lambda: threading.active_count() == before)


def add_as_stranger(address: Any) -> tuple[int, int]:
    stranger = Stranger(address, b"a key")
    stranger.connect()
    counter: Any = stranger.Counter(1)
    return counter.add(2), counter.pid()


SERVE = """
import signal
from tests.managed import Manager
signal.signal(signal.SIGINT, signal.default_int_handler)
server = Manager(authkey=b"a key").get_server()
print(repr(server.address), flush=True)
server.serve_forever()
print("served")
"""


def test_a_server_ends_in_peace_by_ctrl_c() -> None:
    command = [sys.executable, "-W", "error", "-c", SERVE]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as server:
        try:
            stranger = Stranger(ast.literal_eval(server.stdout.readline()), b"a key")
            stranger.connect()
            counter: Any = stranger.Counter(1)
            assert (counter.add(1), counter.pid()) == (2, server.pid)
            server.send_signal(signal.SIGINT)
            assert server.communicate(timeout=PATIENCE) == ("served\n", "")
        finally:
            server.kill()
    assert server.returncode == 0
    with pytest.raises((OwnerDied, ListenerClosed)):
        counter.add(1)
