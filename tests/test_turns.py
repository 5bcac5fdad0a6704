"""Who serves a listener: one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from pipeproxy._chains._residence import Residence
from pipeproxy._owner._turns import Turns


class Service:
    """What `Turns` needs of a service."""

    def __init__(self) -> None:
        self.closed = 0
        self.upcalls = SimpleNamespace()
        self.residence = Residence(lambda: None)

    def take(self, turns: Callable[[], object]) -> object:
        return turns()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def woken() -> list[None]:
    return []


@pytest.fixture
def turns(service: Service, woken: list[None]) -> Iterator[Turns]:
    return Turns(service, lambda: woken.append(None))  # type: ignore[arg-type, return-value]


def test_what_is_served_gives_its_result_and_the_right_is_free_again(turns: Turns) -> None:
    assert turns.take(lambda check: 5) == 5
    assert turns.take(lambda check: 6) == 6
    turns.check_free()


def test_an_exception_frees_the_right(turns: Turns) -> None:
    def fail(check: Callable[[], None]) -> None:
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011 - it is ours, and says nothing
            turns.take(fail)


def test_a_thread_that_serves_cannot_serve_inside(turns: Turns) -> None:
    with pytest.raises(RuntimeError, match="return first"):
        turns.take(lambda check: turns.take(lambda check: 1))


def test_two_threads_cannot_serve_at_once(turns: Turns) -> None:
    inside, leave = threading.Event(), threading.Event()

    def serve(check: Callable[[], None]) -> None:
        inside.set()
        leave.wait(30)

    thread = threading.Thread(target=turns.take, args=(serve,))
    thread.start()
    assert inside.wait(30)
    with pytest.raises(RuntimeError, match="another thread"):
        turns.take(lambda check: 1)
    leave.set()
    thread.join(30)
    assert turns.take(lambda check: 1) == 1


def test_it_is_closed_at_once_where_nobody_serves(turns: Turns, service: Service) -> None:
    turns.close(-1)
    assert service.closed


def test_it_is_closed_by_the_thread_that_serves_when_that_lets_go(
    turns: Turns, service: Service, woken: list[None]
) -> None:
    def serve(check: Callable[[], None]) -> int:
        turns.close(-1)  # inside a call: to wait for its end would be to wait for ever
        return service.closed

    assert turns.take(serve) == 0
    assert service.closed
    assert woken


def test_closing_waits_for_another_thread_and_no_longer_than_it_was_told(
    turns: Turns, service: Service
) -> None:
    inside, leave = threading.Event(), threading.Event()

    def serve(check: Callable[[], None]) -> None:
        inside.set()
        leave.wait(30)

    thread = threading.Thread(target=turns.take, args=(serve,))
    thread.start()
    assert inside.wait(30)
    turns.close(0)
    assert not service.closed
    leave.set()
    turns.close(-1)
    thread.join(30)
    assert service.closed
