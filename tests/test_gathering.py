"""What a thread keeps back inside of blocks of `batch` is sent at the end of the outermost."""

from __future__ import annotations

import threading

from pipeproxy import batch
from pipeproxy._proxies._gathering import gathering

from .support import in_fork, interrupt


class Sent:
    def __init__(self) -> None:
        self.times = 0

    def hurry(self) -> None:
        self.times += 1


def test_the_outermost_block_sends_what_was_kept_back() -> None:
    kept = Sent()
    with batch():
        gathering.flights[kept] = None
        with batch():
            assert gathering.is_on()
        assert kept.times == 0
        assert gathering.is_on()
    assert (kept.times, gathering.is_on(), gathering.flights) == (1, False, {})


def test_a_block_is_of_one_thread() -> None:
    found: list[bool] = []
    with batch():
        thread = threading.Thread(target=lambda: found.append(gathering.is_on()))
        thread.start()
        thread.join()
    assert found == [False]


def test_a_block_that_an_exception_ends_sends_as_well() -> None:
    kept = Sent()
    try:
        with batch():
            gathering.flights[kept] = None
            raise LookupError
    except LookupError:
        pass
    assert (kept.times, gathering.is_on()) == (1, False)


def test_the_same_block_can_be_entered_again() -> None:
    block = batch()
    for _ in range(2):
        with block:
            assert gathering.is_on()
        assert not gathering.is_on()


def test_a_block_that_is_interrupted_at_any_moment_is_over() -> None:
    def client() -> None:
        def enter() -> None:
            for _ in range(50):
                with batch():
                    pass

        raised = 0
        while raised < 200:
            raised += interrupt(enter, rounds=50, longest=50e-6)
            assert not gathering.is_on()

    in_fork(client)
