"""What `serve` may be told to serve until."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from time import monotonic
from typing import Any

import pytest

from pipeproxy import CallTimeout, Listener, share, timeout
from pipeproxy._system import _life

from .children import Child
from .support import PATIENCE

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.finished = threading.Event()

    def add(self) -> int:
        self.total += 1
        return self.total

    def finish(self) -> None:
        self.finished.set()


class Scene:
    def __init__(self) -> None:
        self.counter = Counter()
        self.proxy, self.listener = share(self.counter)

    def serve(self, until: Any) -> float:
        """Serve and return how long that took; a hang fails."""
        began = monotonic()
        self.listener.serve(until=until)
        took = monotonic() - began
        assert took < PATIENCE
        return took


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with scene.listener:
        yield scene


def add(counter: Any, times: int) -> None:
    for _ in range(times):
        counter.add()


# Processes ---------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["pidfds", "no pidfds"])
def _with_and_without_pidfds(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.param and not _life.PIDFDS:
        pytest.skip("this system has none")
    monkeypatch.setattr(_life, "PIDFDS", request.param)


@pytest.mark.usefixtures("_with_and_without_pidfds")
def test_a_process(scene: Scene, context: Any) -> None:
    process = context.Process(target=add, args=(scene.proxy, 20))
    process.start()
    scene.serve(process)
    assert scene.counter.total == 20
    process.join()
    assert process.exitcode == 0


@pytest.mark.usefixtures("_with_and_without_pidfds")
@pytest.mark.parametrize("kind", [list, tuple, set, iter])
def test_several_processes(scene: Scene, kind: Callable[[list[Any]], Any]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=add, args=(scene.proxy, n)) for n in range(4)]
    for process in processes:
        process.start()
    scene.serve(kind(processes))
    assert scene.counter.total == 6
    for process in processes:
        process.join()


@pytest.mark.usefixtures("_with_and_without_pidfds")
def test_a_process_that_is_killed(scene: Scene) -> None:
    with Child("fork") as child:
        child.do(kill_yourself)
        scene.serve(child.process)
        child.process.join(PATIENCE)
        assert child.process.exitcode == -signal.SIGKILL


def kill_yourself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("_with_and_without_pidfds")
@pytest.mark.parametrize("join", [False, True], ids=["not joined", "joined"])
def test_a_process_that_has_ended_before(scene: Scene, join: bool) -> None:
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    assert multiprocessing.connection.wait([process.sentinel], PATIENCE)
    if join:
        process.join()
    scene.serve(process)
    scene.serve([process])
    process.join()


def test_no_process_at_all(scene: Scene) -> None:
    scene.serve([])


def test_it_waits_for_the_last_of_several(scene: Scene) -> None:
    with Child("fork") as first, Child("fork") as last:
        first.do(os._exit, 0)
        opener = threading.Timer(0.1, last.do, (os._exit, 0))
        opener.start()
        scene.serve([first.process, last.process])
        opener.join()
        assert not last.process.is_alive()


def test_processes_of_an_executor(scene: Scene, context: BaseContext) -> None:
    executor = ProcessPoolExecutor(2, mp_context=context)
    futures = [executor.submit(add, scene.proxy, 5) for _ in range(4)]
    processes = list(executor._processes.values())
    assert processes
    closer = threading.Thread(target=executor.shutdown)
    closer.start()
    scene.serve(processes)
    closer.join()
    for future in futures:
        future.result(0)
    assert scene.counter.total == 20


def test_processes_of_a_pool(scene: Scene) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        result = pool.map_async(add_five, [scene.proxy] * 4, chunksize=1)
        pool.close()
        scene.serve(list(pool._pool))
        result.get(PATIENCE)
        pool.join()
    assert scene.counter.total == 20


def add_five(counter: Any) -> None:
    add(counter, 5)


def call_and_leave(counter: Any) -> str:
    try:
        with timeout(0.01):
            counter.add()
    except CallTimeout:
        return "left"
    return "answered"


def test_what_a_process_wrote_before_it_ended_is_served(scene: Scene) -> None:
    with Child("fork", add, scene.proxy, 1) as child:
        child.result(scene.listener)
        assert child.do(call_and_leave, scene.proxy).result() == "left"
    assert scene.counter.total == 1
    scene.serve(child.process)
    assert scene.counter.total == 2
    assert scene.listener.stats().clients == 0


def test_other_clients_stay_connected(scene: Scene) -> None:
    with Child("fork", add, scene.proxy, 1) as stays, Child("fork", add, scene.proxy, 1) as goes:
        stays.result(scene.listener)
        goes.result(scene.listener)
        goes.do(os._exit, 0)
        scene.serve(goes.process)
        stays.do(add, scene.proxy, 1).result(scene.listener)
        stays.do(add, scene.proxy, 1)
        stays.do(os._exit, 0)
        scene.serve(stays.process)
    assert scene.counter.total == 4


# Events ------------------------------------------------------------------------------------------


def test_an_event_of_threading_set_by_a_method(scene: Scene) -> None:
    with Child("fork", add_and_finish, scene.proxy) as child:
        scene.serve(scene.counter.finished)
        child.result(scene.listener)
    assert scene.counter.total == 3


def add_and_finish(counter: Any) -> None:
    add(counter, 3)
    counter.finish()


def test_an_event_of_threading_set_by_another_thread(scene: Scene) -> None:
    event = threading.Event()
    setter = threading.Timer(0.02, event.set)
    setter.start()
    scene.serve(event)
    setter.join()


def test_an_event_of_multiprocessing(scene: Scene, context: Any) -> None:
    event = context.Event()
    process = context.Process(target=add_and_set, args=(scene.proxy, event))
    process.start()
    scene.serve(event)
    assert scene.counter.total == 3
    process.join(PATIENCE)
    assert process.exitcode == 0


def add_and_set(counter: Any, event: Any) -> None:
    add(counter, 3)
    event.set()


def test_an_event_that_is_set_already(scene: Scene) -> None:
    event = threading.Event()
    event.set()
    scene.serve(event)


# Callables ---------------------------------------------------------------------------------------


def test_a_callable_is_asked_after_each_turn(scene: Scene) -> None:
    with Child("fork", add, scene.proxy, 50) as child:
        scene.serve(lambda: scene.counter.total >= 10)
        assert 10 <= scene.counter.total < 50
        scene.serve(lambda: scene.counter.total >= 50)
        child.result(scene.listener)


def test_a_callable_is_asked_while_nothing_happens(scene: Scene) -> None:
    asked: list[float] = []

    def enough() -> bool:
        asked.append(monotonic())
        return len(asked) > 4

    before = time.process_time()
    took = scene.serve(enough)
    assert took >= 0.1  # four waits of 50 ms, and not a busy loop
    assert time.process_time() - before < took


def test_what_a_callable_raises_leaves_the_listener_in_order(scene: Scene) -> None:
    def fail() -> bool:
        raise LookupError("not now")

    with pytest.raises(LookupError, match="not now"):
        scene.serve(fail)
    with Child("fork", add, scene.proxy, 5) as child:
        child.result(scene.listener)
    assert scene.counter.total == 5


def test_until_it_is_closed() -> None:
    scene = Scene()
    closer = threading.Timer(0.02, scene.listener.close)
    closer.start()
    scene.serve(None)
    closer.join()


# What is no goal ---------------------------------------------------------------------------------


def test_a_process_that_was_not_started_is_refused(scene: Scene) -> None:
    process = multiprocessing.get_context("fork").Process(target=int)
    for goal in (process, [process]):
        with pytest.raises(ValueError, match="was not started: start it"):
            scene.serve(goal)


@pytest.mark.parametrize(
    "goal",
    [5, 0, 2.5, "until", b"x", [5], ["p"], {1: 2}, object(), [None], [lambda: True]],
    ids=repr,
)
def test_what_is_no_goal_is_refused(scene: Scene, goal: Any) -> None:
    with pytest.raises(TypeError, match=r"serve\(until=\.\.\.\) takes a started process"):
        scene.serve(goal)


def test_a_thread_is_no_goal(scene: Scene) -> None:
    thread = threading.Thread(target=int)
    thread.start()
    for goal in (thread, [thread]):
        with pytest.raises(TypeError, match="takes a started process"):
            scene.serve(goal)
    thread.join()


def test_a_popen_is_no_goal_but_can_be_asked(scene: Scene) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as popen:
        with pytest.raises(TypeError, match="pass a callable"):
            scene.serve(popen)
        scene.serve(lambda: popen.poll() is not None)


def test_a_refused_goal_leaves_the_listener_in_order(scene: Scene) -> None:
    with pytest.raises(TypeError):
        scene.serve(5)
    listener: Listener[Any] = scene.listener
    with Child("fork", add, scene.proxy, 5) as child:
        child.result(listener)
    assert scene.counter.total == 5
