"""The courier carries what is in flight, burns nothing meanwhile, and does not end."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from time import monotonic, sleep
from typing import Any

import pytest

from pipeproxy import batch, notify, share, spawn, spawning, submit
from pipeproxy._client._courier import courier
from pipeproxy._system import _life
from pipeproxy._system._descriptors import Descriptor

from .children import Child, poll_until, run_program
from .support import PATIENCE, fork

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Desk:
    def __init__(self) -> None:
        self.words: list[Any] = []

    def note(self, word: Any) -> Any:
        self.words.append(word)
        return word

    def sleep(self, seconds: float) -> None:
        sleep(seconds)


@pytest.fixture
def desks() -> Iterator[list[Any]]:
    with spawning(get_context("fork")):
        proxy, host = spawn(Desk)
    proxies = [proxy]
    del proxy
    with host:
        yield proxies
        proxies.clear()  # else it would live until the test is forgotten


def couriers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "pipeproxy courier"]


def turns_while(act: Callable[[], object]) -> int:
    """Count the turns of the courier while something goes on."""
    turns = 0
    real = courier._turn

    def counted() -> None:
        nonlocal turns
        turns += 1
        real()

    courier._turn = counted  # type: ignore[method-assign]
    try:
        act()
    finally:
        courier._turn = real  # type: ignore[method-assign]
    return turns


def test_one_thread_carries_the_calls_of_all(desks: list[Any]) -> None:
    [desk] = desks
    begun: list[Any] = []
    threads = [
        threading.Thread(target=lambda: begun.append(submit(desk.note, 1))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threads.clear()
    del thread
    assert [each.result(PATIENCE) for each in begun] == [1] * 20
    assert len(couriers()) == 1


def test_it_sleeps_while_a_call_takes_long_and_when_nothing_is_in_flight(desks: list[Any]) -> None:
    [desk] = desks
    submit(desk.note, 1).result(PATIENCE)

    def wait_long() -> None:
        submit(desk.sleep, 0.3).result(PATIENCE)
        sleep(0.2)

    assert turns_while(wait_long) < 10


def test_it_sleeps_while_a_batch_is_kept_back(desks: list[Any]) -> None:
    [desk] = desks
    submit(desk.note, 1).result(PATIENCE)

    def keep_back() -> None:
        with batch():
            submit(desk.note, 2)
            sleep(0.3)

    assert turns_while(keep_back) < 10


def test_a_batch_that_is_held_for_long_is_sent_all_the_same(desks: list[Any]) -> None:
    [desk] = desks
    called = threading.Event()
    with batch():
        submit(desk.note, 1).add_done_callback(lambda _: called.set())
        assert called.wait(PATIENCE)


def test_what_was_noted_just_before_an_interrupt_is_carried_with_the_next(
    desks: list[Any],
) -> None:
    [desk] = desks
    with batch():  # so that it is not over, and has forgotten its flight
        first = submit(desk.note, 1)
        flight: Any = first.flight
    assert first.result(PATIENCE) == 1
    poll_until(lambda: flight not in courier._flights)
    courier._flights[flight] = None  # and the handler raised before the courier was rung
    assert submit(desk.note, 2).result(PATIENCE) == 2


def test_it_reminds_once_and_at_the_first_moment_that_was_named() -> None:
    alarm = Alarm()
    courier.remind(alarm.ring, monotonic() + 10 * PATIENCE)
    courier.remind(alarm.ring, monotonic() + 0.01)
    courier.remind(alarm.ring, monotonic() + 10 * PATIENCE)
    assert alarm.rung.acquire(timeout=PATIENCE)
    other = Alarm()
    courier.remind(other.ring, monotonic() + 0.01)
    assert other.rung.acquire(timeout=PATIENCE)
    assert not alarm.rung.acquire(blocking=False)


def test_it_keeps_nobody_alive_to_remind_it() -> None:
    alarm = Alarm()
    courier.remind(alarm.ring, monotonic() + 10 * PATIENCE)
    gone = weakref.ref(alarm)
    del alarm
    assert gone() is None


def test_it_goes_on_when_a_life_that_it_watches_is_closed() -> None:
    life, alarm = _life.descriptor(), Alarm()
    assert life is not None
    watched = Descriptor(os.dup(life.fileno()), "rb")
    courier.watch(watched, alarm.ring)
    watched.close()
    courier.remind(alarm.ring, monotonic())
    assert alarm.rung.acquire(timeout=PATIENCE)
    courier.remind(alarm.ring, monotonic())
    assert alarm.rung.acquire(timeout=PATIENCE)


class Alarm:
    def __init__(self) -> None:
        self.rung = threading.Semaphore(0)

    def ring(self) -> None:
        self.rung.release()


def test_it_is_started_again_if_there_was_no_thread_for_it() -> None:
    program = """
from multiprocessing import get_context
from pipeproxy import spawn, spawning, submit
from pipeproxy._client import _courier
from tests.test_courier import Desk

with spawning(get_context("fork")):
    desk, host = spawn(Desk)
real = _courier.start_new_thread
def refuse(*args):
    raise RuntimeError("can't start new thread")
_courier.start_new_thread = refuse
try:
    submit(desk.note, 1)
except RuntimeError as error:
    print(error)
_courier.start_new_thread = real
print(submit(desk.note, 2).result(10))
host.close()
"""
    ended = run_program(program)
    assert (ended.stdout, ended.stderr) == ("can't start new thread\n2\n", "")


def test_a_forked_child_has_one_of_its_own(desks: list[Any]) -> None:
    [desk] = desks
    submit(desk.note, 1).result(PATIENCE)

    def child() -> None:
        assert couriers() == []
        assert submit(desk.note, 2).result(PATIENCE) == 2
        assert len(couriers()) == 1

    assert os.waitpid(fork(child), 0)[1] == 0
    assert submit(desk.note, 3).result(PATIENCE) == 3


def notify_and_end(desk: Any, go: Any) -> None:
    for number in range(3000):
        notify(desk.note, number)
    go.send("ends")


def test_the_end_of_a_process_waits_until_all_is_written() -> None:
    """Its owner begins to read only then; the pipe does not hold it all."""
    here, there = get_context("fork").Pipe()
    desk = Desk()
    proxy, listener = share(desk)
    with here, there, listener, Child("fork", notify_and_end, proxy, there) as child:
        child.result(listener)
        child.end()
        poll_until(lambda: len(desk.words) == 3000, listener)
    assert desk.words == list(range(3000))
