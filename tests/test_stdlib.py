"""The standard library's containers and primitives, shared as they are."""

from __future__ import annotations

import collections
import functools
import io
import logging
import multiprocessing
import multiprocessing.managers
import os
import queue
import signal
import sqlite3
import threading
import types
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from random import Random
from time import monotonic
from typing import Any

import pytest

from pipeproxy import Listener, NotExposed, proxied, run, share, timeout
from pipeproxy._channels._wire import CALL, header
from pipeproxy._proxies._proxy import link_of, members_of
from pipeproxy._specs._members import Members
from pipeproxy._specs._spec import Spec, describe
from pipeproxy._stands._reentrant import RLock
from pipeproxy.codecs.pickle import encode_call

from .children import Child, outcome, poll_until
from .support import PATIENCE, fork, is_readable, workers

pytestmark = pytest.mark.usefixtures("descriptors_kept")

FORK = multiprocessing.get_context("fork")

LOCKS: list[Any] = [threading.Lock, threading.RLock, RLock]
LOCKS += [threading.Semaphore, threading.BoundedSemaphore]
CONDITIONS: list[Any] = [threading.Condition, lambda: threading.Condition(threading.Lock())]
CONDITIONS += [lambda: threading.Condition(RLock())]  # type: ignore[arg-type]
NAMES = ["Lock", "RLock", "our RLock", "Semaphore", "BoundedSemaphore"]
OF = ["Condition", "Condition of a Lock", "Condition of our RLock"]
QUEUES = [queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue]

every_lock = pytest.mark.parametrize("make", LOCKS + CONDITIONS, ids=NAMES + OF)
every_condition = pytest.mark.parametrize("make", CONDITIONS, ids=OF)
every_queue = pytest.mark.parametrize("make", QUEUES)


@pytest.fixture
def listener() -> Iterator[Listener[Any]]:
    """A listener that leaves no thread behind."""
    before = threading.active_count()
    with Listener() as listener:
        yield listener
    poll_until(lambda: threading.active_count() <= before)


class Talk:
    """What a child says when it gets so far."""

    def __init__(self) -> None:
        self._mine, self._theirs = FORK.Pipe(duplex=False)

    def say(self) -> None:
        self._theirs.send(1)

    def was_said(self) -> bool:
        return self._mine.poll()

    def close(self) -> None:
        self._mine.close()
        self._theirs.close()


@pytest.fixture
def talk() -> Iterator[Talk]:
    talk = Talk()
    yield talk
    talk.close()


# What runs in children -------------------------------------------------------------------------


def add_alone(lock: Any, cell: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            cell.append(cell.pop() + 1)


def hold(lock: Any, talk: Talk | None = None) -> None:
    lock.acquire()
    if talk is not None:
        talk.say()
        threading.Event().wait()


def take_twice(lock: Any) -> list[Any]:
    said = [lock.acquire(), lock.acquire(), lock.release(), lock.release()]
    return [*said, outcome(lock.release)[:2]]


def wait_in(condition: Any, talk: Talk) -> Any:
    with condition:
        talk.say()
        return condition.wait()


def notify(condition: Any, number: int = 1) -> None:
    with condition:
        condition.notify(number)


def exchange(lock: Any) -> list[Any]:
    return [
        lock.acquire(timeout=0.05),
        lock.acquire(False),
        outcome(lock.acquire, True, -2)[:2] if hasattr(lock, "locked") else None,
    ]


def get_many(shared: Any, number: int) -> list[Any]:
    return [shared.get() for _ in range(number)]


def put_many(shared: Any, items: list[Any]) -> None:
    for item in items:
        shared.put(item)


def count_in(proxy: Any) -> list[int]:
    return list(proxy)


# Locks -----------------------------------------------------------------------------------------


@every_lock
def test_a_shared_lock_keeps_processes_apart(
    listener: Listener[Any], make: Any, context: BaseContext
) -> None:
    lock, cell = listener.share(make()), listener.share([0])
    children = [Child(context, add_alone, lock, cell, 100) for _ in range(3)]
    with listener.background():
        add_alone(lock, cell, 100)
        for child in children:
            child.result()
            child.end()
    assert cell.pop() == 400


@every_lock
def test_what_a_killed_process_had_locked_is_free(
    listener: Listener[Any], make: Any, talk: Talk
) -> None:
    target = make()
    lock = listener.share(target)
    holder = Child(FORK, hold, lock, talk)
    poll_until(talk.was_said, listener)
    assert not target.acquire(False)
    waits = [Child(FORK, lock.acquire), Child(FORK, lock.acquire)]
    holder.kill()
    poll_until(lambda: any(child._control.poll() for child in waits), listener)
    for child in waits:
        child.kill()
    poll_until(lambda: listener.stats().clients == 0, listener)
    poll_until(lambda: target.acquire(False), listener)
    target.release()


@every_lock
def test_a_killed_process_that_waits_takes_no_lock(listener: Listener[Any], make: Any) -> None:
    target = make()
    lock = listener.share(target)
    target.acquire()
    children = [Child(FORK, lock.acquire) for _ in range(3)]
    poll_until(lambda: sum(listener.stats().calls.values()) == 3, listener)
    for child in children:
        child.kill()
    poll_until(lambda: listener.stats().clients == 0, listener)
    poll_until(lambda: workers() == 0, listener)  # nothing waits for it any more
    target.release()
    assert target.acquire(False)
    target.release()


@every_lock
def test_a_lock_that_is_taken_is_waited_for_as_long_as_was_said(
    listener: Listener[Any], make: Any
) -> None:
    target = make()
    target.acquire()
    with Child(FORK, exchange, listener.share(target)) as child:
        assert child.result(listener)[:2] == [False, False]
    target.release()


def test_an_rlock_belongs_to_the_thread_that_took_it(listener: Listener[Any]) -> None:
    lock = listener.share(threading.RLock())
    with Child(FORK, take_twice, lock) as child, Child(FORK) as other:
        said = child.result(listener)
        assert said == [True, True, None, None, ("raised", "RuntimeError")]
        other.do(hold, lock).result(listener)
        assert child.do(lock.acquire, False).result(listener) is False
        assert child.do(outcome, lock.release).result(listener)[:2] == ("raised", "RuntimeError")
        other.do(lock.release).result(listener)
        assert child.do(lock.acquire, False).result(listener) is True


def test_a_lock_may_be_released_by_another_and_is_not_released_again(
    listener: Listener[Any], talk: Talk
) -> None:
    target = threading.Lock()
    lock = listener.share(target)
    holder = Child(FORK, hold, lock, talk)
    poll_until(talk.was_said, listener)
    with Child(FORK, lock.release) as other:
        other.result(listener)
        other.do(lock.acquire).result(listener)
        holder.kill()
        poll_until(lambda: listener.stats().clients == 1, listener)
        assert target.locked()


def test_a_semaphore_gives_back_what_the_dead_had_and_no_more(
    listener: Listener[Any], talk: Talk
) -> None:
    target = threading.Semaphore(3)
    semaphore = listener.share(target)
    semaphore.acquire()  # at home
    holder = Child(FORK, hold, semaphore, talk)
    poll_until(talk.was_said, listener)
    with Child(FORK, semaphore.acquire) as other:
        other.result(listener)
        assert not target.acquire(False)
        holder.kill()
        poll_until(lambda: listener.stats().clients == 1, listener)
        assert target.acquire(False)
        assert not target.acquire(False)


# Conditions, events, barriers ------------------------------------------------------------------


@every_condition
def test_a_notification_wakes_one_that_lives(
    listener: Listener[Any], make: Any, talk: Talk
) -> None:
    target = make()
    condition = listener.share(target)
    dead = Child(FORK, wait_in, condition, talk)
    poll_until(lambda: len(target._waiters) == 1, listener)
    with Child(FORK, wait_in, condition, talk) as child:
        poll_until(lambda: len(target._waiters) == 2, listener)
        dead.kill()
        poll_until(lambda: listener.stats().clients == 1, listener)
        notify(target)
        assert child.result(listener) is True


@every_condition
def test_a_condition_waits_no_longer_than_was_said(listener: Listener[Any], make: Any) -> None:
    condition = listener.share(make())
    with Child(FORK, wait_briefly, condition) as child:
        assert child.result(listener) == [False, False, ("raised", "RuntimeError")]


def wait_briefly(condition: Any) -> list[Any]:
    with condition:
        said = [condition.wait(0.05), condition.wait_for(bool, 0.05)]
    return [*said, outcome(condition.wait)[:2]]


def test_an_event_is_waited_for_in_every_process(
    listener: Listener[Any], context: BaseContext
) -> None:
    target = threading.Event()
    event = listener.share(target)
    with Child(context, event.wait) as one, Child(FORK) as other:
        assert other.do(event.wait, 0.05).result(listener) is False
        poll_until(lambda: len(target._cond._waiters) == 1, listener)
        other.do(event.set).result(listener)
        assert one.result(listener) is True
        assert one.do(event.wait).result(listener) is True


def test_a_pulse_wakes_who_waits_for_an_event(listener: Listener[Any]) -> None:
    target = threading.Event()
    event = listener.share(target)
    with Child(FORK, event.wait) as child:
        poll_until(lambda: len(target._cond._waiters) == 1, listener)
        target.set()
        target.clear()
        assert child.result(listener) is True


def test_processes_meet_at_a_barrier(listener: Listener[Any]) -> None:
    barrier = listener.share(threading.Barrier(3))
    children = [Child(FORK, barrier.wait) for _ in range(3)]
    assert sorted(child.result(listener) for child in children) == [0, 1, 2]
    for child in children:
        child.end()


def test_a_barrier_is_broken_when_a_party_dies(listener: Listener[Any]) -> None:
    target = threading.Barrier(3)
    barrier = listener.share(target)
    children = [Child(FORK, outcome, barrier.wait) for _ in range(2)]
    poll_until(lambda: target.n_waiting == 2, listener)
    children[0].kill()
    assert children[1].result(listener)[:2] == ("raised", "BrokenBarrierError")
    children[1].end()


def test_a_barrier_tells_of_itself_and_is_broken_while_others_wait(listener: Listener[Any]) -> None:
    target = threading.Barrier(3)
    barrier = listener.share(target)
    with Child(FORK, outcome, barrier.wait) as child, Child(FORK) as other:
        poll_until(lambda: target.n_waiting == 1, listener)
        assert other.do(parties_of, barrier).result(listener) == (3, 1, False)
        assert workers() == 1  # that waits
        other.do(barrier.reset).result(listener)
        assert child.result(listener)[:2] == ("raised", "BrokenBarrierError")
        other.do(barrier.abort).result(listener)
        assert other.do(parties_of, barrier).result(listener) == (3, 0, True)


def parties_of(barrier: Any) -> tuple[int, int, bool]:
    return barrier.parties, barrier.n_waiting, barrier.broken


def test_a_barrier_whose_action_runs_keeps_nobody_else_waiting(listener: Listener[Any]) -> None:
    runs, goes_on = threading.Event(), threading.Event()

    def act() -> None:
        runs.set()
        goes_on.wait(PATIENCE)

    barrier, event = listener.share(threading.Barrier(1, act)), listener.share(goes_on)
    with Child(FORK, barrier.wait) as child, Child(FORK) as other, Child(FORK) as third:
        poll_until(runs.is_set, listener)
        other.do(barrier.reset)
        third.do(event.set).result(listener)
        assert child.result(listener) == 0
        other.result(listener)


# Queues ----------------------------------------------------------------------------------------


@every_queue
def test_a_shared_queue_loses_nothing_and_keeps_its_order(
    listener: Listener[Any], make: Any, context: BaseContext
) -> None:
    shared = listener.share(make())
    with Child(context, put_many, shared, [3, 1, 2]) as child:
        child.result(listener)
        plain = make()
        put_many(plain, [3, 1, 2])
        assert child.do(get_many, shared, 3).result(listener) == get_many(plain, 3)
        for get in (shared.get_nowait, shared.get):
            assert child.do(outcome, get, *[False] * (get == shared.get)).result(listener)[:2] == (
                "raised",
                "Empty",
            )
        assert child.do(outcome, shared.get, True, 0.05).result(listener)[1] == "Empty"
        assert child.do(outcome, shared.get, True, -1).result(listener)[1] == "ValueError"


@every_queue
def test_a_killed_process_that_waits_takes_no_item(listener: Listener[Any], make: Any) -> None:
    target = make()
    shared = listener.share(target)
    children = [Child(FORK, shared.get) for _ in range(4)]
    poll_until(lambda: sum(listener.stats().calls.values()) == 4, listener)
    for child in children[1:]:
        child.kill()
    poll_until(lambda: workers() == 1, listener)  # one waits
    put_many(target, [1, 2, 3, 4])
    taken = children[0].result(listener)
    assert sorted([taken, *get_many(target, 3)]) == [1, 2, 3, 4]
    assert target.empty()
    children[0].end()


def test_16_getters_blocked_at_once_all_get_their_item(listener: Listener[Any]) -> None:
    shared = listener.share(queue.Queue())
    children = [Child(FORK, shared.get) for _ in range(16)]
    poll_until(lambda: sum(listener.stats().calls.values()) == 16, listener)
    with Child(FORK, put_many, shared, list(range(16))) as child:
        child.result(listener)
    assert sorted(child.result(listener) for child in children) == list(range(16))
    for child in children:
        child.end()


def test_a_full_queue_takes_more_when_there_is_room(listener: Listener[Any]) -> None:
    target: queue.Queue[int] = queue.Queue(1)
    shared = listener.share(target)
    with Child(FORK, put_many, shared, [1, 2]) as child, Child(FORK) as other:
        poll_until(lambda: listener.stats().calls.get("Queue.put") == 2, listener)
        said = other.do(outcome, shared.put, 3, True, 0.05).result(listener)
        assert said[:2] == ("raised", "Full")
        assert target.get() == 1
        child.result(listener)
        assert target.get() == 2


def test_a_queue_is_joined_when_all_is_done(listener: Listener[Any]) -> None:
    target: queue.Queue[int] = queue.Queue()
    shared = listener.share(target)
    target.put(1)
    with Child(FORK, shared.join) as child, Child(FORK) as other:
        poll_until(lambda: "Queue.join" in listener.stats().calls, listener)
        other.do(shared.get).result(listener)
        other.do(shared.task_done).result(listener)
        child.result(listener)


# Others ----------------------------------------------------------------------------------------

CONTAINERS: list[tuple[Any, Any]] = [
    ([3, 1], lambda p: (p.append(2), p.sort(), p[0], 3 in p, len(p), list(p))),
    ({"a": 1}, lambda p: (p.setdefault("b", 2), p.get("c"), p.pop("a"), list(p), p == {"b": 2})),
    ({1, 2}, lambda p: (p.add(3), 3 in p, sorted(p), p | {4})),
    (collections.deque([1], 3), lambda p: (p.appendleft(0), p.rotate(1), list(p), p.maxlen)),
    (collections.Counter("aab"), lambda p: (p.update("b"), p.most_common(1), p["z"])),
    (collections.OrderedDict(a=1, b=2), lambda p: (p.move_to_end("a"), list(p), p.popitem())),
    (collections.defaultdict(list), lambda p: (p["x"], "x" in p, p == {"x": []})),
    (
        types.SimpleNamespace(a=1),
        lambda p: (p.a, setattr(p, "b", 2), p.b, outcome(getattr, p, "c")),
    ),
    (multiprocessing.managers.Namespace(a=1), lambda p: (p.a, setattr(p, "b", 2), p.b)),
    (io.StringIO("a\nb\n"), lambda p: (p.readline(), p.read(), p.write("c"), p.seek(0), list(p))),
    (io.BytesIO(b"ab"), lambda p: (p.read(1), p.write(b"c"), p.getvalue(), p.closed, p.close())),
    (functools.partial(divmod, 7), lambda p: p(2)),
    (len, lambda p: p("abc")),
    ("abc".upper, lambda p: p()),
]


def use(number: int, proxy: Any) -> Any:
    return CONTAINERS[number][1](proxy)


@pytest.mark.parametrize("number", range(len(CONTAINERS)))
def test_what_is_shared_acts_as_what_it_is(listener: Listener[Any], number: int) -> None:
    import copy

    target = CONTAINERS[number][0]
    plain = target if callable(target) else copy.deepcopy(target) if number != 9 else None
    shared = copy.deepcopy(target) if not callable(target) else target
    if plain is None:
        plain, shared = io.StringIO("a\nb\n"), io.StringIO("a\nb\n")
    with Child(FORK, use, number, listener.share(shared)) as child:
        assert child.result(listener) == use(number, plain)


def test_a_function_can_be_called_and_nothing_else(listener: Listener[Any]) -> None:
    function = listener.share(use)
    spec = describe(type(use))
    assert [method.name for method in spec.methods] == ["__call__"]
    with pytest.raises(NotExposed):
        function.__globals__
    with Child(FORK, function, 0, [1]) as child:
        assert child.result(listener)[0] is None


def test_a_file_is_written_by_many_processes(listener: Listener[Any], tmp_path: Any) -> None:
    with open(tmp_path / "log", "w") as file:
        shared = listener.share(file)
        children = [Child(FORK, write_lines, shared, str(n)) for n in range(3)]
        for child in children:
            child.result(listener)
            child.end()
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(["0", "1", "2"] * 50)


def write_lines(file: Any, word: str) -> None:
    for _ in range(50):
        file.write(f"{word}\n")


def test_a_logger_of_the_owner_logs_for_others(listener: Listener[Any]) -> None:
    logger = logging.Logger("shared", logging.INFO)  # noqa: LOG001 - of this test alone
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    shared = listener.share(logger)
    with Child(FORK, shared.info, "%d of %d", 1, 2) as child:
        child.result(listener)
        assert child.do(shared.isEnabledFor, logging.DEBUG).result(listener) is False
    assert heard == ["1 of 2"]


# What is shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "shown", "inner"),
    [
        (queue.Queue(), "put get qsize join task_done maxsize", "mutex queue not_empty _put"),
        (threading.Lock(), "acquire release locked __enter__", "acquire_lock _at_fork_reinit"),
        (threading.RLock(), "acquire release __exit__", "_is_owned _release_save"),
        (threading.Condition(), "acquire release wait notify_all", "_lock _waiters"),
        (threading.Event(), "set clear wait is_set", "isSet _cond"),
        (threading.Barrier(2), "wait abort reset parties n_waiting broken", "_cond"),
        (sqlite3.connect(":memory:"), "cursor execute commit total_changes", "__call__"),
        (io.StringIO(), "read write seek closed", "detach fileno"),
        (logging.getLogger(), "info getChild level setLevel", "manager parent handlers"),
        ({}, "get keys items", "fromkeys"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_inner_things_are_not_shown(target: Any, shown: str, inner: str) -> None:
    spec = describe(type(target))
    known = {m.name for m in spec.methods} | {a.name for a in spec.attributes}
    assert known >= set(shown.split())
    assert not known & set(inner.split())
    for name in inner.split():
        with pytest.raises(NotExposed):
            Members(spec.plain).check_read(name)
    if type(target) is sqlite3.Connection:
        target.close()


def test_what_may_wait_is_run_by_threads() -> None:
    for make in [*LOCKS, *CONDITIONS, *QUEUES, threading.Event]:
        assert describe(type(make())).conduct.dispatch == "threads"
    assert describe(list).conduct.dispatch == "serial"


def test_the_signatures_of_what_has_none_are_known() -> None:
    spec: Spec = describe(type(threading.Lock()))
    acquire = next(method for method in spec.methods if method.name == "acquire")
    assert [p.name for p in acquire.parameters or ()] == ["blocking", "timeout"]


class Own(queue.Queue):  # type: ignore[type-arg]
    """A queue whose items can be looked at, and that numbers what it gives."""

    given = 0

    def peek(self) -> Any:
        return self.queue[0]

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self.given += 1
        return self.given, super().get(block, timeout)


def test_a_subclass_keeps_what_it_overrides_and_waits_as_its_base(
    listener: Listener[Any],
) -> None:
    shared = listener.share(Own(1))
    with Child(FORK, shared.put, "a") as child, Child(FORK) as other:
        child.result(listener)
        child.do(shared.put, "b")
        assert other.do(shared.peek).result(listener) == "a"
        assert other.do(shared.get).result(listener) == (1, "a")
        child.result(listener)


def test_what_a_user_says_of_a_class_comes_first() -> None:
    class Mine(queue.Queue):  # type: ignore[type-arg]
        pass

    proxied(Mine, dispatch="serial", expose=["put", "get", "mutex"])
    spec = describe(Mine)
    assert spec.conduct.dispatch == "serial"
    assert {m.name for m in spec.methods} == {"put", "get"}


def test_a_lock_that_the_owner_takes_at_home_is_taken_for_all() -> None:
    lock, listener = share(threading.Lock())
    with listener, lock, Child(FORK) as child:
        assert child.do(lock.acquire, False).result(listener) is False


def test_a_database_is_used_by_threads_and_processes_in_the_thread_that_serves(
    listener: Listener[Any],
) -> None:
    target = sqlite3.connect(":memory:")  # which checks the thread
    database = listener.share(target)
    database.execute("create table words (word text)")
    thread = threading.Thread(target=insert, args=(database, "thread"))
    thread.start()
    with Child("fork", insert, database, "child") as child:
        rows = child.result(listener)
        poll_until(lambda: not thread.is_alive(), listener)
    assert ("child",) in rows
    cursor = database.cursor()
    cursor.execute("select word from words order by word")
    assert cursor.fetchall() == [("child",), ("thread",)]
    del cursor
    database.close()


def insert(database: Any, word: str) -> Any:
    with database:
        cursor = database.execute("insert into words values (?)", [word])
        assert cursor.lastrowid
        return list(database.execute("select word from words"))


def put_later(items: Any, item: int) -> Any:
    """Run in the owner: wait until another process lets it go on."""
    return items.get(), items.put(item)


def test_what_a_function_of_a_clients_waits_for_keeps_nobody_else_waiting(
    listener: Listener[Any],
) -> None:
    target: queue.Queue[int] = queue.Queue()
    shared = listener.share(target)
    with Child(FORK, run, shared, put_later, 2) as child, Child(FORK) as other:
        poll_until(lambda: workers() == 1, listener)
        other.do(shared.put, 1).result(listener)
        assert child.result(listener) == (1, None)
        assert target.get(False) == 2


# Who is gone without the reply -----------------------------------------------------------------


def stop_before_the_reply(proxy: Any, method: str, *args: Any) -> None:
    """Make a call, in a process that has its reply in its pipe and does not read it."""
    line = link_of(proxy).call.func.__self__.lines.mine(None)
    payload = encode_call(args, None)
    member = members_of(proxy).numbers[method]
    line.send(header(CALL, len(payload), 1, link_of(proxy).number, member) + payload)
    assert is_readable(line.pipe.reader)
    os.kill(os.getpid(), signal.SIGSTOP)


def test_an_item_that_a_dead_process_did_not_read_is_the_next_one_again(
    listener: Listener[Any],
) -> None:
    target: queue.Queue[int] = queue.Queue()
    put_many(target, [1, 2])
    pid = fork(functools.partial(stop_before_the_reply, listener.share(target), "get"))
    poll_until(lambda: os.waitpid(pid, os.WUNTRACED | os.WNOHANG)[0], listener)
    assert target.qsize() == 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    poll_until(lambda: listener.stats().clients == 0, listener)
    assert get_many(target, 2) == [1, 2]


def test_an_item_that_was_read_is_not_given_again(listener: Listener[Any]) -> None:
    target: queue.Queue[int] = queue.Queue()
    put_many(target, [1, 2])
    shared = listener.share(target)
    child = Child(FORK, shared.get)
    assert child.result(listener) == 1
    child.kill()
    poll_until(lambda: listener.stats().clients == 0, listener)
    assert get_many(target, 1) == [2]
    assert target.empty()


@pytest.mark.parametrize("make", [threading.Lock, threading.Semaphore])
def test_what_an_interrupted_thread_did_not_learn_that_it_took_is_free(
    listener: Listener[Any], make: Any
) -> None:
    target = make()
    lock = listener.share(target)
    with Child(FORK, interrupted_before_the_reply, lock) as child:
        child.result(listener)
        assert child.do(lock.acquire, False).result(listener) is True
        assert child.do(lock.acquire, False).result(listener) is False


def interrupted_before_the_reply(lock: Any) -> None:
    line = link_of(lock).call.func.__self__.lines.mine(None)

    def interrupt(seconds: float | None) -> Any:
        assert is_readable(line.pipe.reader)
        raise KeyboardInterrupt

    line.wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        lock.acquire()


def use_all(lock: Any, rlock: Any, semaphore: Any, condition: Any, shared: Any) -> None:
    while True:
        with lock:
            shared.put(1)
        with rlock, rlock:
            shared.get()
        with semaphore:
            pass
        with condition:
            condition.wait(0.005)
            condition.notify()


def test_processes_that_are_killed_at_any_moment_hold_nothing(listener: Listener[Any]) -> None:
    random = Random(4)
    semaphore, condition = threading.Semaphore(2), threading.Condition()
    locks: list[Any] = [threading.Lock(), threading.RLock(), semaphore, condition]
    everything = [listener.share(each) for each in [*locks, queue.Queue()]]
    for _ in range(12):
        pids = [fork(functools.partial(use_all, *everything)) for _ in range(3)]
        end = monotonic() + random.uniform(0, 0.15)
        poll_until(functools.partial(has_come, end), listener)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    poll_until(lambda: listener.stats().clients == 0, listener)
    poll_until(lambda: workers() == 0, listener)
    assert all(lock.acquire(False) for lock in locks)
    assert semaphore.acquire(False)
    assert not condition._waiters  # type: ignore[attr-defined]


def has_come(moment: float) -> bool:
    return monotonic() > moment


# Given up as they are answered -------------------------------------------------------------------


def take_and_tell(take: Any) -> tuple[Any, ...]:
    with timeout(10 * PATIENCE):
        return outcome(take)


def give_up_late(take: Any) -> Any:
    """Call something, and hear nothing of its reply before the time is over."""
    link = link_of(take.__self__)
    line = link.call.func.__self__.lines.mine(None)
    line.wait = lambda seconds: []  # it came too late to be seen
    with timeout(0.05):
        return outcome(take)[:2]


@pytest.mark.parametrize("make", [threading.Lock, RLock, threading.Semaphore])
def test_what_a_call_took_whose_reply_came_too_late_is_given_back(
    listener: Listener[Any], make: Any
) -> None:
    lock = listener.share(make())
    with Child(FORK, lock.acquire, False) as child, Child(FORK) as other:
        child.result(listener)
        child.do(lock.release).result(listener)
        assert child.do(give_up_late, lock.acquire).result(listener) == ("raised", "CallTimeout")
        assert other.do(take_and_tell, lock.acquire).result(listener) == ("returned", True)


def test_an_item_whose_reply_came_too_late_is_put_back(listener: Listener[Any]) -> None:
    shared: Any = listener.share(queue.Queue())
    shared.put("first")
    shared.put("second")
    with Child(FORK, shared.qsize) as child, Child(FORK) as other:
        child.result(listener)
        assert child.do(give_up_late, shared.get).result(listener) == ("raised", "CallTimeout")
        assert other.do(get_many, shared, 2).result(listener) == ["first", "second"]
