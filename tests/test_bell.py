"""One thread wakes another, whatever a signal handler raises."""

from __future__ import annotations

import threading

import pytest

from pipeproxy._system._bell import Bell

from .children import poll_until
from .support import PATIENCE, in_fork, interrupt


def test_what_else_wakes_the_thread_is_called_each_time() -> None:
    woken: list[int] = []
    bell = Bell(lambda: woken.append(1), lambda: woken.append(2))
    bell.ring()
    bell.ring()
    assert woken == [1, 2, 1, 2]


def test_a_ring_is_heard_once_and_also_by_who_waits_later() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    bell.wait(PATIENCE)
    assert not bell._lock.acquire(False)


def test_a_ring_ends_the_wait_of_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeproxy._system._bell._LONGEST", PATIENCE)
    bell, waits = Bell(), threading.Event()

    def wait() -> None:
        waits.set()
        bell.wait(None)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(PATIENCE)
    bell.ring()
    thread.join(PATIENCE / 2)
    assert not thread.is_alive()


def test_a_wait_ends_by_itself() -> None:
    Bell().wait(None)
    Bell().wait(0)


def test_a_handler_that_raises_leaves_both_sides_able_to_ring_and_to_wait() -> None:
    def ring_and_wait() -> None:
        ping, pong = Bell(), Bell()
        heard = 0
        done = False

        def answer() -> None:
            nonlocal heard
            while not done:
                ping.wait(None)
                heard += 1
                pong.ring()

        def ask() -> None:
            for _ in range(10):
                ping.ring()
                pong.wait(None)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            assert interrupt(ask, rounds=1500, longest=100e-6) > 50
            before = heard
            poll_until(lambda: heard > before)
        finally:
            done = True
        thread.join(PATIENCE)
        assert not thread.is_alive()

    in_fork(ring_and_wait)
