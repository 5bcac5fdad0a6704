"""Rights are taken without waiting, and given back whatever raises."""

from __future__ import annotations

import threading

import pytest

from pipeproxy._rights import TAKEN, attempt

from .support import PATIENCE, in_fork, interrupt


def test_what_it_does_has_the_right_and_no_more_after_that() -> None:
    right = threading.RLock()
    assert attempt(right, right._is_owned) is True  # type: ignore[attr-defined]
    assert not right._is_owned()  # type: ignore[attr-defined]


def test_nobody_waits_for_a_right_that_another_thread_has() -> None:
    right = threading.RLock()
    taken, over = threading.Event(), threading.Event()

    def take() -> None:
        with right:
            taken.set()
            over.wait(PATIENCE)

    thread = threading.Thread(target=take)
    thread.start()
    taken.wait(PATIENCE)
    assert attempt(right, lambda: "done") is TAKEN
    over.set()
    thread.join()
    assert attempt(right, lambda: "done") == "done"


def test_an_exception_gives_it_back() -> None:
    right = threading.RLock()

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        attempt(right, fail)
    assert not right._is_owned()  # type: ignore[attr-defined]


def test_an_interrupt_at_any_moment_gives_it_back() -> None:
    def client() -> None:
        right = threading.RLock()
        raised = 0
        while raised < 200:
            raised += interrupt(
                lambda: [attempt(right, list) for _ in range(100)], rounds=50, longest=50e-6
            )
            assert not right._is_owned()  # type: ignore[attr-defined]

    in_fork(client)
