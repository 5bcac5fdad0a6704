"""The listener in every loop that an owner may have, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from time import monotonic
from typing import Any

import pytest

from pipeproxy import Listener, ListenerClosed, OwnerDied, SpecError, proxied, share

from .children import Child, outcome, poll_until, run, run_program
from .support import PATIENCE, in_fork, open_descriptors

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Counter:
    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int = 1) -> int:
        before = self.total
        self.total = before + amount
        return self.total

    def use(self, name: str) -> Any:
        """Call a method of the listener that serves this very call."""
        return getattr(self.listener, name)()

    def fork(self) -> int:
        return os.fork()

    def blob(self, size: int) -> bytes:
        return bytes(size)

    listener: Any = None


def add(counter: Any, times: int = 1) -> int:
    for _ in range(times):
        counter.add()
    total: int = counter.total
    return total


def hammer(counter: Any) -> tuple[str, int]:
    """Call until it fails; return how that was and after how many calls."""
    calls = 0
    try:
        while True:
            counter.add()
            calls += 1
    except (ListenerClosed, OwnerDied) as error:
        return type(error).__name__, calls


# poll --------------------------------------------------------------------------------------------


def test_poll_counts_the_calls_that_it_answered() -> None:
    proxy, listener = share(Counter())
    with listener, Child("fork", add, proxy, 5) as child:
        answered = 0
        while answered < 6:
            count = listener.poll(PATIENCE)
            assert count > 0
            answered += count
        assert child.result() == 5
        assert answered == 6
        assert listener.poll() == 0


def test_poll_waits_for_as_long_as_it_is_told() -> None:
    proxy, listener = share(Counter())
    with listener:
        began = monotonic()
        assert listener.poll(0.05) == 0
        assert 0.05 <= monotonic() - began < PATIENCE / 2
        assert listener.poll() == 0
        with Child("fork", add, proxy) as child:
            began = monotonic()
            assert listener.poll(PATIENCE) == 1
            assert monotonic() - began < PATIENCE / 2
            assert child.result(listener) == 1


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf, 1e9])
def test_poll_refuses_a_time_that_cannot_be_waited_for(timeout: float) -> None:
    _, listener = share(Counter())
    with listener, pytest.raises(ValueError, match="timeout is a number of seconds"):
        listener.poll(timeout)


@pytest.mark.parametrize("spin", [-1, math.nan])
def test_a_spin_that_is_no_time_is_refused(spin: float) -> None:
    with pytest.raises(ValueError, match="spin is a number of seconds"):
        share(Counter(), spin=spin)


@pytest.mark.parametrize("spin", [0, 0.001])
def test_any_spin_gives_the_same_answers(context: BaseContext, spin: float) -> None:
    proxy, listener = share(Counter(), spin=spin)
    with listener:
        assert run(context, listener, add, proxy, 50) == 50


def test_an_idle_listener_uses_no_processor_time() -> None:
    proxy, listener = share(Counter())
    with listener, Child("fork", add, proxy) as child:
        child.result(listener)
        before = time.process_time()
        listener.poll(0.2)
        assert time.process_time() - before < 0.1


# Other loops -------------------------------------------------------------------------------------


def wait_by_connection(listener: Listener[Any]) -> bool:
    return wait([listener], PATIENCE) == [listener]


def wait_by_select(listener: Listener[Any]) -> bool:
    return select.select([listener], [], [], PATIENCE)[0] == [listener]


def wait_by_poll(listener: Listener[Any]) -> bool:
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    return bool(poller.poll(PATIENCE * 1000))


@pytest.mark.parametrize("wait_by", [wait_by_connection, wait_by_select, wait_by_poll])
def test_its_descriptor_is_readable_exactly_when_there_is_work(
    wait_by: Callable[[Listener[Any]], bool],
) -> None:
    proxy, listener = share(Counter())
    with listener, Child("fork", add, proxy) as child:
        answered = 0
        while answered < 2:
            assert wait_by(listener)
            answered += listener.poll()
        assert child.result() == 1
        assert select.select([listener], [], [], 0)[0] == []


def test_it_is_served_by_asyncio(context: BaseContext) -> None:
    proxy, listener = share(Counter())
    child = Child(context, add, proxy, 20)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_reader(listener.fileno(), listener.poll)
        loop.add_reader(child.process.sentinel, done.set)
        child.do(add, proxy, 20).do(os._exit, 0)
        await asyncio.wait_for(done.wait(), PATIENCE)
        loop.remove_reader(child.process.sentinel)
        loop.remove_reader(listener.fileno())

    with listener, child:
        asyncio.run(main())
        assert proxy.total == 40


def test_two_listeners_are_served_by_one_loop() -> None:
    first, listener = share(Counter())
    second, other = share(Counter())
    with listener, other, Child("fork", add_to_both, first, second) as child:
        assert child.result(listener, other) == (10, 10)


def add_to_both(first: Any, second: Any) -> tuple[int, int]:
    for _ in range(10):
        first.add()
        second.add()
    return first.total, second.total


# background --------------------------------------------------------------------------------------


def test_it_is_served_beside_the_main_thread(context: BaseContext) -> None:
    proxy, listener = share(Counter())
    with listener:
        with listener.background(), Child(context, add, proxy, 100) as child:
            assert child.result() == 100
            assert proxy.add() == 101
        assert [t.name for t in threading.enumerate() if t.name == "pipeproxy"] == []


def test_after_the_background_it_is_served_by_hand() -> None:
    proxy, listener = share(Counter())
    with listener, Child("fork") as child:
        with listener.background():
            assert child.do(add, proxy).result() == 1
        assert child.do(add, proxy).result(listener) == 2
        background = listener.background()
        assert child.do(add, proxy).result() == 3
        background.stop()
        background.stop()
        assert child.do(add, proxy).result(listener) == 4


def test_calls_at_home_and_elsewhere_are_one_at_a_time() -> None:
    counter = Counter()
    proxy, listener = share(counter)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with listener, listener.background(), Child("fork", add, proxy, 500) as child:
            threads = [threading.Thread(target=add, args=(proxy, 500)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            child.result()
    finally:
        sys.setswitchinterval(interval)
    assert counter.total == 2000


# Who may serve -----------------------------------------------------------------------------------

SERVING: dict[str, Callable[[Listener[Any]], object]] = {
    "poll": lambda listener: listener.poll(),
    "serve": lambda listener: listener.serve(until=lambda: True),
    "background": lambda listener: listener.background().stop(),
}


@pytest.mark.parametrize("way", SERVING)
def test_one_thread_at_a_time_serves(way: str) -> None:
    proxy, listener = share(Counter())
    with listener, Child("fork") as child:
        with listener.background():
            child.do(add, proxy).result()
            with pytest.raises(RuntimeError, match="another thread serves this listener"):
                SERVING[way](listener)
            assert child.do(add, proxy).result() == 2
        SERVING[way](listener)


def use_listener(counter: Any, name: str) -> tuple[Any, ...]:
    return outcome(counter.use, name)


@pytest.mark.parametrize("name", SERVING)
def test_a_served_method_cannot_serve(name: str) -> None:
    counter = Counter()
    proxy, counter.listener = share(counter)
    with counter.listener as listener, Child("fork", use_listener, proxy, name) as child:
        raised = child.result(listener)
        assert raised[:2] == ("raised", "RuntimeError")
        assert "a method that this listener serves cannot serve it" in raised[2]
        assert child.do(add, proxy).result(listener) == 1
    counter.listener = None


# close -------------------------------------------------------------------------------------------

USES: dict[str, Callable[[Listener[Any]], object]] = {
    **SERVING,
    "share": lambda listener: listener.share(Counter()),
    "fileno": lambda listener: listener.fileno(),
    "with": lambda listener: listener.__enter__(),
}


@pytest.mark.parametrize("way", USES)
def test_a_closed_listener_says_so(way: str) -> None:
    _, listener = share(Counter())
    listener.close()
    with pytest.raises(ListenerClosed, match=r"share the object again"):
        USES[way](listener)
    listener.close()


def call_once(counter: Any) -> tuple[Any, ...]:
    return outcome(counter.add)


def test_after_close_owner_and_clients_are_told(context: BaseContext) -> None:
    proxy, listener = share(Counter())
    with Child(context, add, proxy) as known, Child(context) as stranger:
        known.result(listener)
        listener.close()
        for ended in [
            outcome(proxy.add),
            known.do(call_once, proxy).result(),
            known.do(call_once, proxy).result(),
            stranger.do(call_once, proxy).result(),
        ]:
            assert ended[:2] == ("raised", "ListenerClosed")
    with pytest.raises(ListenerClosed):
        proxy.total


def test_calls_that_wait_for_an_answer_are_told(context: BaseContext) -> None:
    proxy, listener = share(Counter())
    with Child(context, add, proxy) as known, Child(context) as stranger:
        known.result(listener)
        known.do(call_once, proxy)
        stranger.do(call_once, proxy)
        # Readable: at least one of the calls has arrived, and is not served.
        assert wait([listener], PATIENCE)
        listener.close()
        assert known.result()[:2] == ("raised", "ListenerClosed")
        assert stranger.result()[:2] == ("raised", "ListenerClosed")


def test_a_reply_that_is_cut_off_by_close_is_no_answer() -> None:
    proxy, listener = share(Counter())
    with Child("fork", add, proxy) as child:
        child.result(listener)
        child.do(read_blob, proxy, 5 << 20)
        assert listener.poll(PATIENCE) == 1
        listener.close()
        assert child.result() in (5 << 20, "ListenerClosed")


def read_blob(counter: Any, size: int) -> Any:
    try:
        return len(counter.blob(size))
    except ListenerClosed as error:
        return type(error).__name__


def test_a_method_may_close_the_listener_that_serves_it() -> None:
    counter = Counter()
    proxy, counter.listener = share(counter)
    with Child("fork", use_listener, proxy, "close") as child:
        counter.listener.serve()
        assert child.result() == ("returned", None)
        assert child.do(call_once, proxy).result()[:2] == ("raised", "ListenerClosed")
    assert outcome(proxy.add)[:2] == ("raised", "ListenerClosed")
    counter.listener = None


def test_it_is_closed_from_another_thread_while_it_serves() -> None:
    proxy, listener = share(Counter())
    with Child("fork", add, proxy) as child:
        child.result(listener)
        closer = threading.Timer(0.05, listener.close)
        closer.start()
        listener.serve()
        closer.join()
        assert child.do(call_once, proxy).result()[:2] == ("raised", "ListenerClosed")


def test_it_is_closed_by_a_signal_handler_while_it_waits() -> None:
    """As a server does on SIGTERM."""

    def owner() -> None:
        _, listener = share(Counter())
        signal.signal(signal.SIGALRM, lambda *_: listener.close())
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        listener.serve()

    in_fork(owner)


def test_it_is_closed_by_a_signal_handler_in_a_busy_loop() -> None:
    proxy, listener = share(Counter())
    old = signal.signal(signal.SIGUSR1, lambda *_: listener.close())
    try:
        with Child("fork", hammer, proxy) as child:
            killer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
            killer.start()
            listener.serve()
            killer.join()
            name, calls = child.result()
            assert name == "ListenerClosed"
            assert calls > 0
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_one_that_is_dropped_closes_itself() -> None:
    gc.collect()  # what an earlier test left is not counted
    before = open_descriptors()
    proxy, listener = share(Counter())
    with Child("fork", add, proxy) as child:
        child.result(listener)
        del listener
        gc.collect()
        assert child.do(call_once, proxy).result()[:2] == ("raised", "ListenerClosed")
    assert outcome(proxy.add)[:2] == ("raised", "ListenerClosed")
    del child
    assert len(open_descriptors()) <= len(before) + 1  # the life descriptor of this process


def test_a_listener_and_its_objects_need_no_garbage_collector() -> None:
    counter = Counter()
    proxy, listener = share(counter)
    with Child("fork", add, proxy) as child:
        child.result(listener)
    del child
    gc.collect()
    gc.disable()
    try:
        owned = len(open_descriptors())
        del listener, proxy
        assert len(open_descriptors()) < owned
    finally:
        gc.enable()


# Forks -------------------------------------------------------------------------------------------


def test_a_forked_child_is_a_client_and_its_copy_of_the_listener_does_nothing() -> None:
    proxy, listener = share(Counter())
    pid = os.getpid()

    def child() -> None:
        for use in USES.values():
            with pytest.raises(ListenerClosed, match=f"belongs to process {pid}"):
                use(listener)
        listener.close()
        assert proxy.add() == 1

    def dropping_child() -> None:
        nonlocal listener
        listener.__del__()
        del listener
        gc.collect()
        assert proxy.add() == 2

    with listener, listener.background():
        in_fork(child)
        in_fork(dropping_child)
        assert proxy.add() == 3


def test_a_child_that_returns_from_the_method_that_forked_it_does_not_serve() -> None:
    def owner() -> None:
        counter = Counter()
        proxy, listener = share(counter)
        with Child("fork", fork_it, proxy) as child:
            me = os.getpid()
            try:
                pid = child.result(listener)
            except ListenerClosed as error:
                assert os.getpid() != me
                os._exit(0 if "forked" in str(error) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert child.do(add, proxy).result(listener) == 1

    in_fork(owner)


def fork_it(counter: Any) -> int:
    pid: int = counter.fork()
    return pid


# share -------------------------------------------------------------------------------------------


class Empty:
    __slots__ = ()


@proxied(expose=[])
class Closed:
    pass


@proxied(expose=["nothing"])
class Misspelt:
    def something(self) -> None: ...


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: math, "the module math cannot be shared"),
        (lambda: Counter, r"Counter is a class: share an object of it, or use spawn\(\)"),
        (Misspelt, "expose names 'nothing'"),
        (Empty, "Empty shows nothing to proxies"),
        (Closed, "Closed shows nothing to proxies"),
    ],
    ids=["module", "class", "misspelt", "empty", "closed"],
)
def test_what_cannot_be_shared_says_why(make: Callable[[], Any], words: str) -> None:
    gc.collect()  # what an earlier test left is not counted
    before = open_descriptors()
    with pytest.raises(SpecError, match=words):
        share(make())
    assert len(open_descriptors()) <= len(before) + 1
    with Listener[Any]() as listener:
        with pytest.raises(SpecError, match=words):
            listener.share(make())
        assert listener.stats().references == 0


def test_a_proxy_is_not_shared_again() -> None:
    proxy, listener = share(Counter())
    with listener, pytest.raises(SpecError, match="is a proxy already: pass it on as it is"):
        listener.share(proxy)


def test_an_object_may_be_shared_on_two_listeners() -> None:
    counter = Counter()
    first, listener = share(counter)
    second, other = share(counter)
    with listener, other, Child("fork", add_to_both, first, second) as child:
        assert child.result(listener, other) == (20, 20)
        assert first != second
    assert counter.total == 20


# stats -------------------------------------------------------------------------------------------


def fail(counter: Any) -> None:
    for wrong in (lambda: counter.add("x"), lambda: counter.nothing):
        assert outcome(wrong)[0] == "raised"


def test_stats_tell_what_it_did() -> None:
    proxy, listener = share(Counter())
    with listener, Child("fork", add, proxy, 3) as child, Child("fork", add, proxy) as other:
        child.result(listener)
        other.result(listener)
        child.do(fail, proxy).result(listener)
        proxy.add()
        stats = listener.stats()
        assert (stats.clients, stats.references, stats.errors) == (2, 1, 2)
        assert stats.calls == {"Counter.add": 6, "Counter's attributes": 3}
        assert stats.ran > 0
        assert stats.waited >= 0
        with pytest.raises(AttributeError):
            stats.clients = 5
        other.end()
        poll_until(lambda: listener.stats().clients == 1, listener)
    assert listener.stats().clients in (0, 1)


# The end of the program --------------------------------------------------------------------------

AT_HOME = """
from pipeproxy import share
class Thing:
    def f(self): return 1
proxy, listener = share(Thing())
bound = proxy.f
assert bound() == 1
"""

IN_BACKGROUND = (
    AT_HOME
    + """
background = listener.background()
"""
)

WITH_A_CHILD = (
    AT_HOME
    + """
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=proxy.f)
process.start()
listener.serve(until=process)
process.join()
assert process.exitcode == 0
"""
)

A_CLIENT = """
import pickle, sys
proxy = pickle.loads(bytes.fromhex(sys.argv[1]))
iterator = iter([proxy.add, proxy])
assert proxy.add() > 0
"""


@pytest.mark.parametrize("program", [AT_HOME, IN_BACKGROUND, WITH_A_CHILD])
def test_a_program_ends_silently_with_a_listener_open(program: str) -> None:
    done = run_program(program)
    assert (done.stderr, done.stdout, done.returncode) == ("", "", 0)


def test_a_program_ends_silently_with_a_proxy_in_use() -> None:
    proxy, listener = share(Counter())
    with listener, listener.background():
        done = run_program(A_CLIENT, pickle.dumps(proxy).hex())
    assert (done.stderr, done.stdout, done.returncode) == ("", "", 0)


CLIENTS_THAT_GO_ON = """
import multiprocessing
from pipeproxy import share, ListenerClosed, OwnerDied
class Thing:
    def f(self): return 1
def client(thing):
    try:
        while True:
            thing.f()
    except (ListenerClosed, OwnerDied):
        print("told", flush=True)
proxy, listener = share(Thing())
process = multiprocessing.get_context("fork").Process(target=client, args=(proxy,))
process.start()
while not listener.stats().calls:
    listener.poll(1)
"""


@pytest.mark.parametrize("serving", ["", "background = listener.background()"])
def test_a_program_whose_children_still_call_ends_and_tells_them(serving: str) -> None:
    done = run_program(CLIENTS_THAT_GO_ON + serving)
    assert (done.stderr, done.stdout, done.returncode) == ("", "told\n", 0)


# Under load --------------------------------------------------------------------------------------


class Slow(Counter):
    """Answers more slowly than its clients ask, so that some call always waits."""

    def add(self, amount: int = 1) -> int:
        time.sleep(0.001)
        return super().add(amount)


def under_load(leave: Callable[[Slow, Listener[Any]], object]) -> None:
    slow = Slow()
    proxy, listener = share(slow)
    children = [Child("fork", hammer, proxy) for _ in range(3)]
    leave(slow, listener)
    listener.close()
    assert {child.result()[0] for child in children} == {"ListenerClosed"}
    for child in children:
        child.end()


def test_serve_returns_though_clients_call_on_and_on() -> None:
    def leave(slow: Slow, listener: Listener[Any]) -> None:
        listener.serve(until=lambda: slow.total >= 10)
        assert 10 <= slow.total < 1000

    in_fork(lambda: under_load(leave))


def test_serve_returns_when_its_process_ended_though_others_call_on_and_on() -> None:
    def leave(slow: Slow, listener: Listener[Any]) -> None:
        with Child("fork") as child:
            child.do(os._exit, 0)
            listener.serve(until=child.process)
            assert slow.total < 1000

    in_fork(lambda: under_load(leave))


def test_the_background_stops_though_clients_call_on_and_on() -> None:
    def leave(slow: Slow, listener: Listener[Any]) -> None:
        background = listener.background()
        poll_until(lambda: slow.total >= 10)
        background.stop()
        assert 10 <= slow.total < 1000

    in_fork(lambda: under_load(leave))


HANGING = """
import multiprocessing, sys, threading
from pipeproxy import ListenerClosed, share
class Slow:
    def __init__(self):
        self.entered = multiprocessing.Event()
    def hang(self):
        self.entered.set()
        threading.Event().wait()
def call(proxy):
    try:
        proxy.hang()
    except ListenerClosed:
        print("closed")
slow = Slow()
proxy, listener = share(slow)
serving = listener.background()
for _ in range(2):
    multiprocessing.get_context("fork").Process(target=call, args=(proxy,)).start()
slow.entered.wait()
"""


def test_a_program_ends_though_its_children_wait_for_a_call_that_hangs() -> None:
    done = run_program(HANGING)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.count("closed") == 2
