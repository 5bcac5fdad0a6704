"""Deadlines: blocks nest, the earliest counts, and only the caller's own thread or task has it."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipeproxy import CallTimeout, Listener, share, spawn, spawning, timeout
from pipeproxy._system import _deadline
from pipeproxy._system._deadline import LONGEST, check_wait, current, left, passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; it stands still unless the test moves it."""
    now = [1000.0]
    monkeypatch.setattr(_deadline, "monotonic", lambda: now[0])
    return now


# Blocks -------------------------------------------------------------------------------------------


def test_outside_of_every_block_there_is_no_deadline() -> None:
    assert current() is None
    assert left(current()) is None


def test_a_block_sets_a_deadline_and_takes_it_away(clock: list[float]) -> None:
    with timeout(5):
        assert current() == 1005
        clock[0] += 2
        assert current() == 1005
        assert left(current()) == 3
    assert current() is None


@pytest.mark.parametrize(("outer", "inner", "counts"), [(5, 2, 1002), (2, 5, 1002), (3, 3, 1003)])
@pytest.mark.usefixtures("clock")
def test_of_nested_blocks_the_earliest_deadline_counts(
    outer: float, inner: float, counts: float
) -> None:
    with timeout(outer):
        with timeout(inner):
            assert current() == counts
        assert current() == 1000 + outer
    assert current() is None


def test_an_inner_block_counts_from_when_it_is_entered(clock: list[float]) -> None:
    inner = timeout(4)
    with timeout(10):
        clock[0] += 3
        with inner:
            assert current() == 1007
        clock[0] += 5
        with inner:
            assert current() == 1010  # that of the outer block, which comes first now


def test_a_block_can_be_entered_again_and_inside_itself(clock: list[float]) -> None:
    block = timeout(5)
    for _ in range(2):
        with block:
            clock[0] += 1
            with block:
                assert current() == clock[0] + 4
            assert current() == clock[0] + 4
        assert current() is None


@pytest.mark.usefixtures("clock")
def test_a_block_that_is_left_by_an_exception_takes_its_deadline_away() -> None:
    with timeout(9):
        with pytest.raises(KeyError), timeout(5):
            raise KeyError
        assert current() == 1009


def test_a_deadline_that_passed_leaves_no_time(clock: list[float]) -> None:
    with timeout(5):
        clock[0] += 50
        assert left(current()) == 0


# Seconds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 0.0, -0.0, -1, -math.inf, math.nan, math.inf, 1e7])
def test_what_cannot_be_waited_for_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="a timeout"):
        timeout(seconds)


@pytest.mark.parametrize("seconds", [5e-324, 1e-9, 0.5, 3, True, LONGEST])
def test_every_other_number_of_seconds_is_accepted(seconds: float, clock: list[float]) -> None:
    with timeout(seconds):
        assert current() == clock[0] + seconds


@pytest.mark.parametrize("seconds", ["1", None, [], 1j])
def test_what_is_no_number_is_a_type_error(seconds: Any) -> None:
    with pytest.raises(TypeError):
        timeout(seconds)


def test_other_waits_are_held_to_the_same_bounds_but_for_zero() -> None:
    for seconds in (0, 0.1, LONGEST):
        check_wait(seconds, "spin")
    for seconds in (-1, math.nan, math.inf, LONGEST + 1):
        with pytest.raises(ValueError, match=r"^spin is a number of seconds up to 2000000 "):
            check_wait(seconds, "spin")


def test_seconds_have_no_name() -> None:
    with pytest.raises(TypeError):
        timeout(seconds=1)  # type: ignore[call-arg]


# Whose --------------------------------------------------------------------------------------------


def test_other_threads_have_no_part_in_a_deadline() -> None:
    seen: list[float | None] = [0.0]
    with timeout(5):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert contextvars.copy_context().run(current) == current() is not None
    assert seen == [0.0, None]


def test_tasks_have_deadlines_of_their_own(clock: list[float]) -> None:
    async def wait_a_turn(seconds: float) -> float | None:
        with timeout(seconds):
            await asyncio.sleep(0)
            return current()

    async def main() -> list[float | None]:
        with timeout(100):
            return await asyncio.gather(*map(wait_a_turn, [5, 7, 200]))

    assert asyncio.run(main()) == [1005, 1007, 1100]


# Calls --------------------------------------------------------------------------------------------


class Account:
    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def pid(self) -> int:
        return os.getpid()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does not answer, as one in a long call or in a debugger."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def account(context: Any) -> Iterator[Account]:
    with spawning(context):
        proxy, host = spawn(Account)
    with host:
        yield proxy


def test_a_call_that_is_not_answered_in_time_raises_and_its_late_answer_is_nobodys(
    account: Account,
) -> None:
    pid = account.pid()
    for rounds in (1, 2, 3):
        with stopped(pid), pytest.raises(CallTimeout, match="may still be running"), timeout(0.05):
            account.deposit(1)
        assert account.deposit(10) == 11 * rounds


def test_all_calls_of_a_block_share_its_time(account: Account) -> None:
    pid = account.pid()
    with timeout(0.05), stopped(pid):
        with pytest.raises(CallTimeout):
            account.deposit(1)
        with pytest.raises(CallTimeout):
            account.deposit(1)
    assert account.deposit(0) <= 2


def test_a_deadline_that_is_far_off_changes_nothing(account: Account) -> None:
    with timeout(LONGEST):
        assert account.deposit(5) == 5
        with timeout(1000):
            assert account.deposit(5) == 10


def test_an_owner_that_does_not_answer_the_door_in_time_is_a_timeout(account: Account) -> None:
    pid = account.pid()
    outcome: list[BaseException] = []

    def call() -> None:
        try:
            with timeout(0.05):
                account.deposit(1)  # the first of this thread, which needs a channel
        except BaseException as error:
            outcome.append(error)

    with stopped(pid):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert [type(error) for error in outcome] == [CallTimeout]
    assert account.deposit(0) == 0  # it was never sent


def test_at_home_a_call_takes_the_time_that_it_takes(clock: list[float]) -> None:
    class Slow:
        def work(self) -> str:
            clock[0] += 50
            return "done"

    proxy, listener = share(Slow())
    with listener, timeout(5):
        assert proxy.work() == "done"
        assert proxy.work() == "done"


def test_a_timeout_is_a_timeout_error_that_says_what_it_means() -> None:
    error = passed()
    assert isinstance(error, TimeoutError)
    assert "was not answered within its timeout" in str(error)
    assert "may still be running" in str(error)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 1e7])
def test_a_listener_refuses_to_wait_for_what_no_clock_can_count(seconds: float) -> None:
    with Listener[Any]() as listener, pytest.raises(ValueError, match="timeout is a number"):
        listener.poll(seconds)
    with pytest.raises(ValueError, match="spin is a number"):
        Listener(spin=seconds)
